//! A row of a settlement file against the book, as the book stands after the gateway was asked: what it says moved, and what is wrong.

use super::{BankCode, RowKind, SettlementRow};
use crate::dispute::Standing;
use crate::money::Money;
use crate::recon::Kind;

/// What the book says moved, in minor units and with the sign of [`SettlementRow::moved`], and what is wrong; `None` where both agree.
pub type Said = (i64, Option<Kind>);

/// A payment, of which the book says that so much was collected, in minor units.
#[must_use]
pub fn payment(row: &SettlementRow, ours: i64) -> Said {
    let kind = match ours {
        0 => Some(Kind::PaidThereNotHere),
        ours if ours == row.moved() => None,
        _ => Some(Kind::AmountDiffers),
    };
    (ours, kind)
}

/// A return of a payment; `known` is the code and the amount with which the book has it, where it has one that no other row tells of.
#[must_use]
pub fn taken_back(row: &SettlementRow, known: Option<(&str, Money)>) -> Said {
    let ours = known.map_or(0, |(_, amount)| amount.minor().saturating_neg());
    let kind = match known {
        _ if row.is_double_entry() => Some(Kind::DoubleEntry),
        None => Some(Kind::Returned),
        Some(_) if ours != row.moved() => Some(Kind::AmountDiffers),
        Some((code, _)) => codes_differ(row, code).then_some(Kind::CodeDiffers),
    };
    (ours, kind)
}

/// The return codes of a bank among the codes of a decline, which stand joined with `+`.
pub fn returns_of(code: &str) -> impl Iterator<Item = &str> {
    code.split('+').filter(|code| BankCode::read(code) == Some(BankCode::Return))
}

/// Where the book has no bank's code, the row says more, and nothing else.
fn codes_differ(row: &SettlementRow, ours: &str) -> bool {
    returns_of(ours).next().is_some() && returns_of(ours).all(|code| Some(code) != row.code.as_deref())
}

/// A dispute that the book has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Where it stands.
    pub standing: Standing,
    /// What is withdrawn: all of the payment where nobody said how much.
    pub amount: Money,
}

/// A dispute, or the money of one that was won, against the disputes about the charge. `before` are rows about the charge that were
/// compared already: each of them takes one dispute, the one of its amount first.
#[must_use]
pub fn contested(row: &SettlementRow, claims: &[Claim], before: &[SettlementRow]) -> Said {
    let won = row.kind == RowKind::DisputeWon;
    let mut left: Vec<&Claim> = claims.iter().filter(|claim| !won || claim.standing == Standing::Won).collect();
    for other in before.iter().filter(|other| other.kind == row.kind) {
        take(&mut left, other.gross);
    }
    match take(&mut left, row.gross) {
        Some(claim) => {
            let minor = claim.amount.minor();
            let ours = if won { minor } else { minor.saturating_neg() };
            (ours, (ours != row.moved()).then_some(Kind::AmountDiffers))
        }
        None if !won => (0, Some(Kind::Disputed)),
        // Nobody ever told of a dispute that could have been won.
        None if claims.is_empty() && before.iter().all(|other| other.kind != RowKind::Dispute) => {
            (0, Some(Kind::OnlyInFile))
        }
        None => (0, Some(Kind::Reinstated)),
    }
}

fn take<'c>(left: &mut Vec<&'c Claim>, amount: Money) -> Option<&'c Claim> {
    let exact = left.iter().position(|claim| claim.amount == amount);
    let place = exact.or_else(|| (!left.is_empty()).then_some(0))?;
    Some(left.remove(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;
    use chrono::NaiveDate;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn row(kind: RowKind, minor: i64, code: Option<&str>) -> SettlementRow {
        SettlementRow {
            line: 2,
            kind,
            gateway_id: Some("a".to_owned()),
            key: None,
            gross: usd(minor),
            fee: usd(0),
            net: usd(minor),
            settled_on: NaiveDate::from_ymd_opt(2027, 1, 17).unwrap(),
            code: code.map(ToOwned::to_owned),
            occurrence: 1,
        }
    }

    fn claim(standing: Standing, minor: i64) -> Claim {
        Claim { standing, amount: usd(minor) }
    }

    #[test]
    fn a_payment_is_compared_to_the_cent() {
        let paid = row(RowKind::Payment, 7_900, None);
        assert_eq!(payment(&paid, 7_900), (7_900, None));
        assert_eq!(payment(&paid, 7_901), (7_901, Some(Kind::AmountDiffers)));
        assert_eq!(payment(&paid, 0), (0, Some(Kind::PaidThereNotHere)));
    }

    #[test]
    fn a_return_is_compared_by_amount_and_by_code() {
        let returned = row(RowKind::Return, 7_900, Some("R03"));
        assert_eq!(taken_back(&returned, None), (0, Some(Kind::Returned)));
        for agreed in ["R03", "card_declined+R03", "card_declined"] {
            assert_eq!(taken_back(&returned, Some((agreed, usd(7_900)))), (-7_900, None), "{agreed}");
        }
        for other in ["R02", "card_declined+R02"] {
            assert_eq!(taken_back(&returned, Some((other, usd(7_900)))), (-7_900, Some(Kind::CodeDiffers)), "{other}");
        }
        assert_eq!(taken_back(&returned, Some(("R02", usd(7_901)))), (-7_901, Some(Kind::AmountDiffers)));
        let alarm = row(RowKind::Return, 7_900, Some("R24"));
        assert_eq!(taken_back(&alarm, Some(("R24", usd(7_900)))), (-7_900, Some(Kind::DoubleEntry)));
    }

    #[test]
    fn a_dispute_is_compared_with_the_one_of_its_amount_whatever_became_of_it() {
        let dispute = |minor| row(RowKind::Dispute, minor, None);
        for standing in Standing::ALL {
            assert_eq!(contested(&dispute(4_200), &[claim(standing, 4_200)], &[]), (-4_200, None), "{standing:?}");
        }
        let two = [claim(Standing::Lost, 1_000), claim(Standing::Open, 4_200)];
        assert_eq!(contested(&dispute(4_200), &two, &[]), (-4_200, None));
        assert_eq!(contested(&dispute(1_000), &two, &[dispute(4_200)]), (-1_000, None));
        assert_eq!(contested(&dispute(4_200), &two, &[dispute(4_200)]), (-1_000, Some(Kind::AmountDiffers)));
        assert_eq!(contested(&dispute(99_900), &two[1..], &[]), (-4_200, Some(Kind::AmountDiffers)));
        assert_eq!(contested(&dispute(4_200), &two[1..], &[dispute(4_200)]), (0, Some(Kind::Disputed)));
        assert_eq!(contested(&dispute(4_200), &[], &[]), (0, Some(Kind::Disputed)));
    }

    #[test]
    fn money_comes_back_of_a_dispute_that_was_won_and_of_no_other() {
        let won = |minor| row(RowKind::DisputeWon, minor, None);
        let both = [claim(Standing::Open, 4_200), claim(Standing::Won, 4_200)];
        assert_eq!(contested(&won(4_200), &both, &[]), (4_200, None));
        assert_eq!(contested(&won(50_000), &both, &[]), (4_200, Some(Kind::AmountDiffers)));
        assert_eq!(contested(&won(4_200), &both, &[won(4_200)]), (0, Some(Kind::Reinstated)));
        assert_eq!(contested(&won(4_200), &both[..1], &[]), (0, Some(Kind::Reinstated)));
        assert_eq!(contested(&won(4_200), &[], &[row(RowKind::Dispute, 4_200, None)]), (0, Some(Kind::Reinstated)));
        assert_eq!(contested(&won(4_200), &[], &[]), (0, Some(Kind::OnlyInFile)));
    }
}
