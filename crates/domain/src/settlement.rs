//! Rows of settlement files: what a gateway or a bank reports of money that moved. A report, never an answer: nothing moves by it.

pub mod against;

use chrono::NaiveDate;
use serde::Serialize;
use uuid::Uuid;

use crate::id::{Key, MerchantId};
use crate::money::Money;
use crate::verdict::Decline;

/// What a row tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowKind {
    /// A payment was collected.
    Payment,
    /// A refund gave money back.
    Refund,
    /// The bank took a payment back.
    Return,
    /// A dispute withdrew a payment.
    Dispute,
    /// A dispute was won, and its money came back.
    DisputeWon,
    /// A fee that belongs to no single payment.
    Fee,
}

impl RowKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Payment, Self::Refund, Self::Return, Self::Dispute, Self::DisputeWon, Self::Fee];

    /// The word in files, in the database and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Refund => "refund",
            Self::Return => "return",
            Self::Dispute => "dispute",
            Self::DisputeWon => "dispute_won",
            Self::Fee => "fee",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Does its money come to the merchant?
    #[must_use]
    pub const fn comes_in(self) -> bool {
        match self {
            Self::Payment | Self::DisputeWon => true,
            Self::Refund | Self::Return | Self::Dispute | Self::Fee => false,
        }
    }
}

/// What a bank's code is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankCode {
    /// The bank takes the money back: `R01`.
    Return,
    /// The bank notifies of a change of the account, or refuses such a notice: `C01`. No money moves.
    Notice,
}

impl BankCode {
    /// What this code is of; `None` where the table of codes has no such code of a bank. Banks write them in capitals.
    ///
    /// ```
    /// use domain::settlement::BankCode;
    /// assert_eq!(BankCode::read("R01"), Some(BankCode::Return));
    /// assert_eq!(BankCode::read("C05"), Some(BankCode::Notice));
    /// assert_eq!((BankCode::read("R99"), BankCode::read("R"), BankCode::read("51")), (None, None, None));
    /// ```
    #[must_use]
    pub fn read(code: &str) -> Option<Self> {
        let of = match code.as_bytes() {
            [b'R', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit() => Self::Return,
            [b'C', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit() => Self::Notice,
            _ => return None,
        };
        Decline::table().iter().any(|row| row.code == code).then_some(of)
    }
}

/// One row. Amounts are without a sign; the kind says which way the money went. Only a fee that is given back is less than nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SettlementRow {
    /// Where it stands in its file, from 1.
    pub line: u64,
    /// What it tells of.
    pub kind: RowKind,
    /// The gateway's id of the payment, refund or dispute, or the trace number of a bank's entry.
    pub gateway_id: Option<String>,
    /// The `merchantTransactionId` it names: a key of ours, unless somebody else collected.
    pub key: Option<String>,
    /// What moved, before fees.
    pub gross: Money,
    /// What was kept of it.
    pub fee: Money,
    /// What was paid out or drawn, without a sign.
    pub net: Money,
    /// The civil day of settlement.
    pub settled_on: NaiveDate,
    /// A return or decline code: `R01`.
    pub code: Option<String>,
    /// Which of several rows of its file that say the very same, from 1.
    pub occurrence: u32,
}

/// A row of a merchant's settlement files, whichever of them it stands in, as the ledger calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub Uuid);

impl std::fmt::Display for RowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row_{}", self.0.simple())
    }
}

/// Characters of a key of ours as it goes out; another spelling of one is somebody else's word.
const HYPHENATED: usize = 36;

/// Namespace of row identities. Changing it would let every file in again.
const ROW_NAMESPACE: Uuid = Uuid::from_u128(0x3d1b_8c40_6a52_5f7e_9b3c_70d2_41ae_c023);

impl SettlementRow {
    /// What the row says, without its line and file: files that overlap hold the same rows. Pure and injective.
    #[must_use]
    pub fn identity(&self) -> String {
        self.id().to_string()
    }

    /// What the row is called in the ledger of a deployment: two merchants may be told the very same.
    #[must_use]
    pub fn entry(&self, merchant: MerchantId) -> RowId {
        RowId(Uuid::new_v5(&merchant.0, self.identity().as_bytes()))
    }

    /// The key of ours that it names.
    #[must_use]
    pub fn our_key(&self) -> Option<Key> {
        self.key.as_deref().and_then(|key| Uuid::try_parse(key).ok()).map(Key)
    }

    fn id(&self) -> Uuid {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let parts = [
            self.kind.as_str().to_owned(),
            text(&self.gateway_id),
            text(&self.key),
            self.gross.minor().to_string(),
            self.fee.minor().to_string(),
            self.gross.currency().code().to_owned(),
            self.settled_on.to_string(),
            text(&self.code),
            self.occurrence.to_string(),
        ];
        // Lengths in front, so that no two lists of parts read alike.
        let name: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
        Uuid::new_v5(&ROW_NAMESPACE, name.as_bytes())
    }

    /// What moved: positive to the merchant, in minor units. A notice of change moves nothing, whatever stands beside it.
    #[must_use]
    pub fn moved(&self) -> i64 {
        let minor = self.gross.minor();
        match self.is_notice() {
            true => 0,
            false if self.kind.comes_in() => minor,
            false => minor.saturating_neg(),
        }
    }

    /// Does a bank only notify of a change of the account (billing-rules.md §1.5)? It stands among returns, under a code of its own.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        self.kind == RowKind::Return && self.code.as_deref().and_then(BankCode::read) == Some(BankCode::Notice)
    }

    /// Does the gateway give a fee back?
    #[must_use]
    pub fn is_fee_given_back(&self) -> bool {
        self.kind == RowKind::Fee && self.gross.minor() < 0
    }

    /// Did a bank take a payment back?
    #[must_use]
    pub fn is_return(&self) -> bool {
        self.kind == RowKind::Return && !self.is_notice()
    }

    /// What the gateway and its processors kept: of a row that tells of a fee all of it, else what was kept of what moved. `None`
    /// where it is nothing, given back, or more than an amount can be.
    #[must_use]
    pub fn kept(&self) -> Option<Money> {
        let kept = match self.kind {
            RowKind::Fee if self.is_fee_given_back() => return None,
            RowKind::Fee => self.gross.checked_add(self.fee).ok()?,
            RowKind::Payment | RowKind::Refund | RowKind::Return | RowKind::Dispute | RowKind::DisputeWon => self.fee,
        };
        Some(kept).filter(|kept| kept.is_positive())
    }

    /// Do both rows, which belong to one charge, tell of one movement? Of one that is told by its id here and by its key there nobody can
    /// say so for certain: it is taken for the same, so that no fee is posted twice. Fees are told one by one.
    #[must_use]
    pub fn tells_what(&self, other: &Self) -> bool {
        let same = |one: Option<&String>, other: Option<&String>| {
            one.zip(other).map(|(one, other)| one.eq_ignore_ascii_case(other))
        };
        if (self.kind, self.gross) != (other.kind, other.gross) || self.kind == RowKind::Fee {
            return false;
        }
        let ids = same(self.gateway_id.as_ref(), other.gateway_id.as_ref());
        // What others call a payment says nothing against a key of ours.
        let is_ours =
            |row: &Self| row.our_key().is_some() && row.key.as_ref().is_some_and(|key| key.len() == HYPHENATED);
        let alike = is_ours(self) == is_ours(other);
        let keys = same(self.key.as_ref(), other.key.as_ref()).filter(|same| *same || alike);
        match (ids, keys) {
            (Some(true), _) => true,
            // One key may have been charged twice; what went back under one key went back once, whatever a bank calls its entry.
            (Some(false), Some(true)) => self.kind != RowKind::Payment,
            (Some(false), Some(false) | None) => false,
            (None, Some(same)) => same,
            (None, None) => matches!(self.kind, RowKind::Payment | RowKind::Return),
        }
    }

    /// Does the bank say that it was debited twice?
    #[must_use]
    pub fn is_double_entry(&self) -> bool {
        self.kind == RowKind::Return && self.code.as_deref() == Some("R24")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    fn row() -> SettlementRow {
        let money = |minor| Money::new(minor, Currency::USD);
        SettlementRow {
            line: 2,
            kind: RowKind::Payment,
            gateway_id: Some("a".to_owned()),
            key: None,
            gross: money(7_900),
            fee: money(30),
            net: money(7_870),
            settled_on: NaiveDate::from_ymd_opt(2027, 1, 17).unwrap(),
            code: None,
            occurrence: 1,
        }
    }

    #[test]
    fn a_row_is_the_same_in_every_file_and_differs_from_every_other() {
        let base = row();
        assert_eq!(SettlementRow { line: 99, ..row() }.identity(), base.identity());
        let others = [
            SettlementRow { kind: RowKind::Refund, ..row() },
            SettlementRow { gateway_id: None, key: Some("a".to_owned()), ..row() },
            SettlementRow { gross: Money::new(7_901, Currency::USD), ..row() },
            SettlementRow { code: Some("R01".to_owned()), ..row() },
            SettlementRow { occurrence: 2, ..row() },
        ];
        for other in others {
            assert_ne!(other.identity(), base.identity(), "{other:?}");
        }
        let [one, other] = [1, 2].map(|n| MerchantId(Uuid::from_u128(n)));
        assert_eq!(SettlementRow { line: 99, ..row() }.entry(one), base.entry(one));
        assert_ne!(base.entry(one), base.entry(other), "each merchant's fee is posted");
    }

    #[test]
    fn what_is_kept_of_a_row_is_its_fee_and_all_of_a_fee() {
        let usd = |minor| Some(Money::new(minor, Currency::USD));
        assert_eq!(row().kept(), usd(30));
        assert_eq!(SettlementRow { kind: RowKind::Fee, ..row() }.kept(), usd(7_930));
        for kind in RowKind::ALL {
            let free = SettlementRow { kind, fee: Money::new(0, Currency::USD), ..row() };
            assert_eq!(free.kept(), if kind == RowKind::Fee { usd(7_900) } else { None });
        }
        let back = SettlementRow { kind: RowKind::Fee, gross: Money::new(-2_500, Currency::USD), ..row() };
        assert_eq!((back.is_fee_given_back(), back.kept(), back.moved()), (true, None, 2_500));
    }

    #[test]
    fn a_movement_is_known_by_its_id_or_its_key_in_other_words_too() {
        let told = |id: Option<&str>, key: Option<&str>| SettlementRow {
            gateway_id: id.map(str::to_owned),
            key: key.map(str::to_owned),
            settled_on: NaiveDate::from_ymd_opt(2027, 1, 18).unwrap(),
            ..row()
        };
        let of = |kind| move |row: SettlementRow| SettlementRow { kind, ..row };
        for (one, other, payment, went_back, refund) in [
            (told(Some("p"), None), told(Some("P"), Some("k")), true, true, true),
            (told(Some("p"), Some("k")), told(Some("q"), Some("k")), false, true, true),
            (told(Some("p"), Some("k")), told(Some("q"), Some("l")), false, false, false),
            (told(Some("p"), None), told(Some("q"), Some("k")), false, false, false),
            (told(None, Some("k")), told(Some("q"), Some("K")), true, true, true),
            (told(None, Some("k")), told(Some("q"), Some("l")), false, false, false),
            (told(None, Some("k")), told(Some("p"), None), true, true, false),
            (told(None, Some("counter-17")), told(Some("p"), Some(&Uuid::nil().to_string())), true, true, false),
        ] {
            for (kind, same) in [
                (RowKind::Payment, payment),
                (RowKind::Return, went_back),
                (RowKind::Refund, refund),
                (RowKind::Dispute, refund),
                (RowKind::Fee, false),
            ] {
                let [one, other] = [&one, &other].map(|row| of(kind)(row.clone()));
                assert_eq!((one.tells_what(&other), other.tells_what(&one)), (same, same), "{one:?} {other:?}");
                let more = SettlementRow { gross: Money::new(1, Currency::USD), ..other };
                assert!(!one.tells_what(&more), "another amount is another movement");
            }
        }
    }

    #[test]
    fn money_goes_the_way_its_kind_says() {
        for kind in RowKind::ALL {
            assert_eq!(RowKind::parse(kind.as_str()), Some(kind));
            assert_eq!(SettlementRow { kind, ..row() }.moved() > 0, kind.comes_in());
        }
        assert!(SettlementRow { kind: RowKind::Return, code: Some("R24".to_owned()), ..row() }.is_double_entry());
        let notice = SettlementRow { kind: RowKind::Return, code: Some("C01".to_owned()), ..row() };
        assert_eq!((notice.is_notice(), notice.is_return(), notice.moved()), (true, false, 0));
        assert!(!SettlementRow { kind: RowKind::Dispute, ..notice }.is_notice(), "a dispute has codes of its own");
    }
}
