//! The switches: where the vendor's pages disagree or say nothing, which reading this sandbox follows.
//!
//! Each row of contract §11 is one of them, and so is each choice that a test wants to turn. Every switch has a name, its
//! values (the first is the default) and a page in docs/sandbox/; it is set in [`crate::Options`], on the command line and over HTTP.

use serde::{Deserialize, Serialize};

/// What all readings of one subject share.
pub(crate) trait Reading: Copy + std::str::FromStr<Err = String> {
    const VALUES: &'static [&'static str];

    fn value(self) -> &'static str;
}

macro_rules! readings {
    ($($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$about])* #[serde(rename = $text)] $variant,)*
        }

        impl Reading for $name {
            const VALUES: &'static [&'static str] = &[$($text,)*];

            fn value(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(format!("`{text}` is not one of: {}", Self::VALUES.join(", "))),
                }
            }
        }
    )*};
}

readings! {
    /// What a repeated `merchantTransactionId` means (contract §4.6).
    Idempotency {
        /// 202 with the stored payment, nothing is charged again; five submissions, then 422.
        #[default]
        Replay = "replay",
        /// As `Replay`, but when the stored payment is `FAILED` the method is charged again; five submissions in all.
        NewAttemptAfterFailed = "new-attempt-after-failed",
        /// 403 `MerchantTransaction Id cannot be reused`.
        RejectDuplicate = "reject-duplicate",
    }
    /// Which shapes of a bank payment's consent are taken (contract §3.6).
    ConsentShape {
        /// Either; a body with neither is refused.
        #[default]
        Both = "both",
        /// The public pages': `merchantConsentId`, `collectionTimestamp`, `collectionDetails`.
        Public = "public",
        /// The engineering guide's: `type`, `timestamp`, `ipAddress`.
        Flat = "flat",
    }
    /// How a look-up answers for a failed payment or refund (contract §3.2, §4.7).
    FailureStatus {
        /// 422 `PAYMENT_ERROR` or `REFUND_ERROR` with the resource in `data`: the newest pages.
        #[default]
        Unprocessable = "422",
        /// 406 `PAYMENT_METHOD_ERROR` or `NOT_ACCEPTABLE` with the reason in `detail` and no `data`: older pages.
        NotAcceptable = "406",
    }
    /// How `partialAuthorization` and `authorizeCard` go together (contract §4.2, §4.9).
    PartialAuthorization {
        /// The first needs the second.
        #[default]
        Optional = "optional",
        /// Each needs the other.
        Coupled = "coupled",
    }
    /// How many `paymentAllocations` there must be (contract §4.7).
    AllocationCount {
        /// One or two.
        #[default]
        OneOrTwo = "one-or-two",
        /// Two, as the error text says.
        Two = "two",
    }
    /// What may be paid in two parts (contract §4.12).
    SplitTender {
        /// Two cards, paid at once: the engineering guide.
        #[default]
        Cards = "cards",
        /// Bank accounts too, and holds on two cards: the business plans.
        Mixed = "mixed",
    }
    /// Which states a payment shows (contract §4.5).
    StatusSet {
        /// The sixteen of the lifecycle page.
        #[default]
        Lifecycle = "lifecycle",
        /// The eleven of the domain-model page; the others show on allocations only.
        DomainModel = "domain-model",
    }
    /// How the event of a cancelled payment is spelled (contract §8.3).
    CancelledEvent {
        /// `PAYMENT_CANCELLED`, v2.
        #[default]
        Cancelled = "cancelled",
        /// `PAYMENT_CANCELED`, v1.
        Canceled = "canceled",
        /// Both, one after the other.
        Both = "both",
    }
    /// How long a bank payment takes that does not say so itself (contract §4.13).
    AchSettlement {
        /// `Options::ach_days` days of the calendar; three, unless told otherwise, is inside both readings.
        #[default]
        Fixed = "fixed",
        /// One to three business days, the seed decides.
        OneToThree = "1-3",
        /// Three to five business days, the seed decides.
        ThreeToFive = "3-5",
    }
    /// What the outcomes of refunds are called (contract §5).
    RefundNames {
        /// `COMPLETED`, `PARTIAL_SUCCESS`, `FAILED`.
        #[default]
        Newest = "newest",
        /// `REFUNDED`, `PARTIAL_REFUND`, `REFUND_FAILED`.
        Older = "older",
    }
    /// The shape of an allocation's `error` (contract §3.2).
    AllocationError {
        /// `{code, message}` on payments, `{title, detail, errorDetails}` on refunds.
        #[default]
        AsDocumented = "as-documented",
        /// `{code, message}` on both.
        CodeMessage = "code-message",
        /// `{title, detail, errorDetails}` on both.
        ErrorDetails = "error-details",
    }
    /// Where tokens are given out (contract §2).
    TokenPath {
        /// On both paths.
        #[default]
        Both = "both",
        /// On `/oauth2/token`.
        Unversioned = "oauth2",
        /// On `/v1/oauth2/token`.
        V1 = "v1",
    }
    /// Which values of `X-Upstream-Env` exist (contract §1).
    UpstreamEnv {
        /// `dev`, `stage`, `test`.
        #[default]
        Three = "three",
        /// `reg` and `perf` too.
        Five = "five",
        /// Whatever it says is ignored.
        Ignored = "ignored",
    }
    /// Whether `paymentMethodType` is in v2 shapes (contract §0).
    PaymentMethodType {
        /// It is gone, as the changelog says.
        #[default]
        Removed = "removed",
        /// It is in webhooks, as their sample shows.
        Webhooks = "webhooks",
    }
    /// Whether the body of a webhook is signed (contract §8.1).
    WebhookSignature {
        /// It is not.
        #[default]
        None = "none",
        /// `X-Payload-Signature` carries a detached ES256 signature of it; the header is this sandbox's choice.
        Payload = "payload",
    }
    /// The smallest amount, in cents (contract §3.3).
    MinimumAmount {
        /// 1, as the API checks.
        #[default]
        One = "1",
        /// 50, as the webhook tables say.
        Fifty = "50",
    }
    /// The longest `description`, in characters (contract §3.3).
    DescriptionLimit {
        /// 100, as the API checks.
        #[default]
        Hundred = "100",
        /// 50, as the webhook tables say.
        Fifty = "50",
    }
    /// How a v1 create is answered (contract §0, §4.1).
    V1Create {
        /// 202 `INITIATED`, as the OpenAPI document says, and v2.
        #[default]
        Accepted = "202",
        /// 200 with the final state, as the guide to v1 says.
        Final = "200",
    }
    /// How the flag of the default method is spelled (contract §5, §6).
    DefaultFlag {
        /// `default` in v1 shapes, `isDefault` in v2 shapes.
        #[default]
        AsDocumented = "as-documented",
        /// `default` everywhere.
        Default = "default",
        /// `isDefault` everywhere.
        IsDefault = "isDefault",
    }
    /// Which spelling of `metadata` a v1 create reads (contract §4.2).
    MetadataSpelling {
        /// `metadata`, and `metaData` where there is none.
        #[default]
        Both = "both",
        /// `metadata`; the other is ignored.
        Metadata = "metadata",
        /// `metaData`; the other is ignored.
        MetaData = "metaData",
    }
    /// What a bank's return after `COMPLETED` does (contract §4.13, §12).
    LateReturn {
        /// The payment becomes `FAILED` and `PAYMENT_FAILED` is sent.
        #[default]
        Failed = "failed",
        /// A dispute is opened; the payment stays `COMPLETED`.
        Dispute = "dispute",
        /// Only the ledger knows, as a payout report would.
        Report = "report",
    }
    /// The envelope of a wallet search (contract §6, §12).
    WalletEnvelope {
        /// `{url, data: [..]}`.
        #[default]
        Data = "data",
        /// A bare array.
        Bare = "bare",
    }
    /// In which order a replacement is told (contract §8.4).
    ReplacementOrder {
        /// `PAYMENT_METHOD_DELETED`, then `PAYMENT_METHOD_REPLACED`.
        #[default]
        DeletedFirst = "deleted-first",
        /// The other way round.
        ReplacedFirst = "replaced-first",
    }
    /// How the event of a paid payment is spelled (contract §8.3).
    SucceededEvent {
        /// `PAYMENT_SUCCEEDED`.
        #[default]
        Succeeded = "succeeded",
        /// `PAYMENT_SUCCEDED`, the old misspelling.
        Misspelt = "misspelt",
        /// Both, as until June 2024.
        Both = "both",
    }
    /// What a repeated `merchantTransactionId` of a refund means (contract §4.6, §5).
    RefundDuplicate {
        /// 400 `merchantTransactionId already used`.
        #[default]
        Reject = "reject",
        /// 202 with the stored refund.
        Replay = "replay",
    }
    /// When a refund that cannot be is refused (contract §5).
    RefundChecks {
        /// It is taken and fails with an error on its allocation.
        #[default]
        Late = "late",
        /// At once, with 400 `INVALID_REQUEST`: the older pages.
        AtOnce = "at-once",
    }
    /// The shape of payments and refunds in webhooks (contract §8.4).
    WebhookShape {
        /// With `paymentAllocations` and `refundAllocations`.
        #[default]
        V2 = "v2",
        /// Flat.
        V1 = "v1",
    }
    /// Whether a split payment whose good part was refunded sends `PAYMENT_REFUNDED` too (contract §4.12, §8.3).
    RollbackEvent {
        /// `PAYMENT_FAILED` alone.
        #[default]
        Failed = "failed",
        /// Both.
        Refunded = "refunded",
    }
    /// Whether the merchant may store manufacturer cards (contract §6).
    ManufacturerCards {
        /// `MANUFACTURER_CARD category type is not enabled`.
        #[default]
        Disabled = "disabled",
        /// It may.
        Enabled = "enabled",
    }
    /// Whether the merchant may store bank accounts (contract §6).
    BankAccounts {
        /// It may.
        #[default]
        Configured = "configured",
        /// 403 `Payment method: BANK_ACCOUNT not configured in Merchant: <id>`.
        NotConfigured = "not-configured",
    }
}

macro_rules! switches {
    ($($(#[$doc:meta])* $field:ident: $type:ident, $variant:ident = $name:literal, $row:expr, $section:literal;)*) => {
        /// The reading of every subject. The default is each subject's first.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct Switches {
            $($(#[$doc])* #[serde(rename = $name)] pub $field: $type,)*
        }

        /// A switch by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Switch {
            $($(#[$doc])* $variant,)*
        }

        impl Switch {
            /// Every switch, the rows of contract §11 first and in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the command line, over HTTP and of its page.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its row in contract §11, if it has one.
            #[must_use]
            pub const fn row(self) -> Option<u8> {
                match self { $(Self::$variant => $row,)* }
            }

            /// The section of the contract that it is about.
            #[must_use]
            pub const fn section(self) -> &'static str {
                match self { $(Self::$variant => $section,)* }
            }

            /// What it can be set to; the first is the default.
            #[must_use]
            pub const fn values(self) -> &'static [&'static str] {
                match self { $(Self::$variant => <$type as Reading>::VALUES,)* }
            }
        }

        impl Switches {
            /// What a switch is set to.
            #[must_use]
            pub fn get(&self, switch: Switch) -> &'static str {
                match switch { $(Switch::$variant => self.$field.value(),)* }
            }

            /// Sets a switch.
            ///
            /// # Errors
            ///
            /// A sentence that lists the values, when this is not one.
            pub fn set(&mut self, switch: Switch, value: &str) -> Result<(), String> {
                match switch { $(Switch::$variant => self.$field = value.parse()?,)* }
                Ok(())
            }
        }
    };
}

switches! {
    /// [`Idempotency`]
    idempotency: Idempotency, Idempotency = "idempotency", Some(1), "§4.6";
    /// [`ConsentShape`]
    consent_shape: ConsentShape, ConsentShape = "consent-shape", Some(2), "§3.6";
    /// [`FailureStatus`]
    failure_status: FailureStatus, FailureStatus = "failure-status", Some(3), "§3.2";
    /// [`PartialAuthorization`]
    partial_authorization: PartialAuthorization, PartialAuthorization = "partial-authorization", Some(4), "§4.2";
    /// [`AllocationCount`]
    allocation_count: AllocationCount, AllocationCount = "allocation-count", Some(5), "§4.7";
    /// [`SplitTender`]
    split_tender: SplitTender, SplitTender = "split-tender", Some(6), "§4.12";
    /// [`StatusSet`]
    status_set: StatusSet, StatusSet = "status-set", Some(7), "§4.5";
    /// [`CancelledEvent`]
    cancelled_event: CancelledEvent, CancelledEvent = "cancelled-event", Some(8), "§8.3";
    /// [`AchSettlement`]
    ach_settlement: AchSettlement, AchSettlement = "ach-settlement", Some(9), "§4.13";
    /// [`RefundNames`]
    refund_names: RefundNames, RefundNames = "refund-names", Some(10), "§5";
    /// [`AllocationError`]
    allocation_error: AllocationError, AllocationError = "allocation-error", Some(11), "§3.2";
    /// [`TokenPath`]
    token_path: TokenPath, TokenPath = "token-path", Some(12), "§2";
    /// [`UpstreamEnv`]
    upstream_env: UpstreamEnv, UpstreamEnv = "upstream-env", Some(13), "§1";
    /// [`PaymentMethodType`]
    payment_method_type: PaymentMethodType, PaymentMethodType = "payment-method-type", Some(14), "§0";
    /// [`WebhookSignature`]
    webhook_signature: WebhookSignature, WebhookSignature = "webhook-signature", Some(15), "§8.1";
    /// [`MinimumAmount`]
    minimum_amount: MinimumAmount, MinimumAmount = "minimum-amount", Some(16), "§3.3";
    /// [`DescriptionLimit`]
    description_limit: DescriptionLimit, DescriptionLimit = "description-limit", Some(17), "§3.3";
    /// [`V1Create`]
    v1_create: V1Create, V1Create = "v1-create", Some(18), "§4.1";
    /// [`DefaultFlag`]
    default_flag: DefaultFlag, DefaultFlag = "default-flag", Some(19), "§6";
    /// [`MetadataSpelling`]
    metadata_spelling: MetadataSpelling, MetadataSpelling = "metadata-spelling", Some(20), "§4.2";
    /// [`LateReturn`]
    late_return: LateReturn, LateReturn = "late-return", None, "§4.13";
    /// [`WalletEnvelope`]
    wallet_envelope: WalletEnvelope, WalletEnvelope = "wallet-envelope", None, "§6";
    /// [`ReplacementOrder`]
    replacement_order: ReplacementOrder, ReplacementOrder = "replacement-order", None, "§8.4";
    /// [`SucceededEvent`]
    succeeded_event: SucceededEvent, SucceededEvent = "succeeded-event", None, "§8.3";
    /// [`RefundDuplicate`]
    refund_duplicate: RefundDuplicate, RefundDuplicate = "refund-duplicate", None, "§5";
    /// [`RefundChecks`]
    refund_checks: RefundChecks, RefundChecks = "refund-checks", None, "§5";
    /// [`WebhookShape`]
    webhook_shape: WebhookShape, WebhookShape = "webhook-shape", None, "§8.4";
    /// [`RollbackEvent`]
    rollback_event: RollbackEvent, RollbackEvent = "rollback-event", None, "§4.12";
    /// [`ManufacturerCards`]
    manufacturer_cards: ManufacturerCards, ManufacturerCards = "manufacturer-cards", None, "§6";
    /// [`BankAccounts`]
    bank_accounts: BankAccounts, BankAccounts = "bank-accounts", None, "§6";
}

impl Switch {
    /// The switch with this name.
    ///
    /// # Errors
    ///
    /// A sentence that says there is none.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|switch| switch.name() == name);
        found.copied().ok_or_else(|| format!("there is no switch `{name}`"))
    }
}

impl Switches {
    /// Sets a switch from `name=value`, as the command line does.
    ///
    /// # Errors
    ///
    /// A sentence that says what was not understood.
    pub fn apply(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is not name=value"))?;
        self.set(Switch::named(name)?, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_takes_each_of_its_values_and_starts_at_the_first() {
        for &switch in Switch::ALL {
            assert_eq!(Switches::default().get(switch), switch.values()[0], "{}", switch.name());
            for value in switch.values() {
                let mut switches = Switches::default();
                switches.apply(&format!("{}={value}", switch.name())).unwrap();
                assert_eq!(switches.get(switch), *value);
            }
            assert!(Switches::default().set(switch, "nonsense").is_err());
        }
        assert!(Switches::default().apply("idempotency").is_err());
        assert!(Switches::default().apply("brake=on").is_err());
    }

    #[test]
    fn each_row_where_the_pages_disagree_is_one_switch() {
        let rows: Vec<_> = Switch::ALL.iter().filter_map(|switch| switch.row()).collect();
        assert_eq!(rows, (1..=20).collect::<Vec<_>>());
    }
}
