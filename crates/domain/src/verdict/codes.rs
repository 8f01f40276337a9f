//! The one table from the codes of gateway, processor, banks and networks to the classes, with the source of each line.
//!
//! Where sources disagree the most restrictive reading stands here (billing-rules.md §1.2). A code that is not in the table is
//! [`DeclineClass::Unclassified`].

use super::DeclineClass::{self, Contact, LaterFunds, LaterTechnical, Never, NewData, Unclassified};
use super::FallThrough;

/// Whose code it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The gateway's own.
    Gateway,
    /// A decline code as Stripe publishes them.
    Stripe,
    /// An ACH return code.
    Ach,
    /// The code of a notice of change, or of its refusal.
    Change,
    /// A response code of a card network.
    Card,
    /// A merchant advice code of Mastercard.
    Advice,
}

impl Origin {
    /// Every one, in the order of the table.
    pub const ALL: [Self; 6] = [Self::Gateway, Self::Stripe, Self::Ach, Self::Change, Self::Card, Self::Advice];

    /// Is it a bank's word? It is more precise than any other.
    pub(super) const fn is_bank(self) -> bool {
        match self {
            Self::Ach | Self::Change => true,
            Self::Gateway | Self::Stripe | Self::Card | Self::Advice => false,
        }
    }

    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Stripe => "stripe",
            Self::Ach => "ach",
            Self::Change => "ach_change",
            Self::Card => "card_network",
            Self::Advice => "mastercard_advice",
        }
    }

    /// Where these codes and what follows from them are written.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::Gateway => "contract of the gateway, section 4",
            Self::Stripe => "Stripe, decline codes",
            Self::Ach => "return-code list of moov-io/ach; Nacha operating rules, subsection 2.12.4",
            Self::Change => "change-code list of moov-io/ach; Nacha operating rules, notifications of change",
            Self::Card => "checkout.com, Visa response codes; Forte and TabaPay where they are stricter",
            Self::Advice => "Mastercard merchant advice codes: Braintree and Antom, documentation",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeRow {
    /// Whose code.
    pub origin: Origin,
    /// The code.
    pub code: &'static str,
    /// What it means for further tries.
    pub class: DeclineClass,
    /// What it says.
    pub meaning: &'static str,
    /// What follows besides the class's own consequence.
    pub then: Option<&'static str>,
    /// No try earlier than so many hours after it.
    pub wait_hours: u16,
    /// So many further tries of the charge at most, whatever the policy says.
    pub most_retries: Option<u16>,
}

impl CodeRow {
    const fn then(self, then: &'static str) -> Self {
        Self { then: Some(then), ..self }
    }

    const fn not_before(self, wait_hours: u16) -> Self {
        Self { wait_hours, ..self }
    }

    const fn retried(self, most: u16) -> Self {
        Self { most_retries: Some(most), ..self }
    }

    /// What follows, as a sentence part.
    #[must_use]
    pub const fn consequence(&self) -> &'static str {
        match self.then {
            Some(then) => then,
            None => self.class.consequence(),
        }
    }

    /// Does the policy take its next step by it? A code of which no try follows leaves the ladder where it is.
    #[must_use]
    pub const fn takes_step(&self) -> bool {
        self.class.takes_step() && !matches!(self.most_retries, Some(0))
    }

    /// May another method of the customer be charged in its place?
    #[must_use]
    pub fn fall_through(&self) -> FallThrough {
        if blames_the_instrument(self.code) { self.class.fall_through() } else { FallThrough::No }
    }

    /// Does it ask that the stored method be changed before anything is charged to it again (billing-rules.md §1.5)?
    #[must_use]
    pub const fn notifies_of_change(&self) -> bool {
        matches!(self.origin, Origin::Change) && matches!(self.class, NewData)
    }

    /// Of two codes of one answer, the one that forbids more counts.
    const fn restricts(&self) -> u8 {
        match (self.class, self.most_retries) {
            (Never, _) => 6,
            (NewData, _) => 5,
            (_, Some(0)) => 4,
            (Contact, _) => 3,
            (Unclassified | DeclineClass::Partial, _) => 2,
            (LaterFunds, _) => 1,
            (LaterTechnical, _) => 0,
        }
    }
}

const fn row(origin: Origin, code: &'static str, class: DeclineClass, meaning: &'static str) -> CodeRow {
    CodeRow { origin, code, class, meaning, then: None, wait_hours: 0, most_retries: None }
}

use Origin::{Ach, Advice, Card, Change, Gateway, Stripe};

/// The table.
pub(super) const CODES: &[CodeRow] = &[
    // Codes of the gateway itself.
    row(Gateway, "card_declined", Unclassified, "declined, no reason given"),
    row(Gateway, "PAYMENT_ERROR", Unclassified, "the payment failed, no reason given"),
    row(Gateway, "PAYMENT_METHOD_ERROR", Unclassified, "the payment method failed, no reason given"),
    row(Gateway, "payment_method_not_found", NewData, "the wallet does not know the payment method"),
    row(Gateway, "cancelled_at_gateway", Never, "the payment was cancelled at the gateway")
        .then("a person decides; the instrument is not blamed"),
    // Stripe's published decline codes: the gateway's codes look like Stripe's own.
    row(Stripe, "insufficient_funds", LaterFunds, "insufficient funds"),
    row(Stripe, "withdrawal_count_limit_exceeded", LaterFunds, "over a limit of the card"),
    row(Stripe, "card_velocity_exceeded", LaterFunds, "over a limit of the card"),
    row(Stripe, "processing_error", LaterTechnical, "error at the processor"),
    row(Stripe, "issuer_not_available", LaterTechnical, "the issuer cannot be reached"),
    row(Stripe, "try_again_later", LaterTechnical, "no reason given; try later"),
    row(Stripe, "reenter_transaction", LaterTechnical, "the issuer asks for the payment again"),
    row(Stripe, "approve_with_id", LaterTechnical, "the payment cannot be authorized now"),
    // The name of 05.
    row(Stripe, "do_not_honor", Contact, "the issuer refused").then("two tries, then the customer").retried(2),
    row(Stripe, "call_issuer", Contact, "the customer must call the issuer"),
    row(Stripe, "no_action_taken", Contact, "the issuer refused"),
    row(Stripe, "not_permitted", Contact, "not permitted for this card"),
    row(Stripe, "service_not_allowed", Contact, "not allowed for this card"),
    row(Stripe, "transaction_not_allowed", Contact, "not allowed for this card"),
    row(Stripe, "security_violation", Contact, "the issuer refused"),
    row(Stripe, "duplicate_transaction", Contact, "a payment of the same amount was made just before")
        .then("an operator looks: it may have been charged by somebody else")
        .retried(0),
    row(Stripe, "generic_decline", Unclassified, "declined, no reason given"),
    row(Stripe, "expired_card", NewData, "the card has expired"),
    row(Stripe, "incorrect_cvc", NewData, "wrong security code"),
    row(Stripe, "invalid_cvc", NewData, "wrong security code"),
    row(Stripe, "incorrect_zip", NewData, "wrong postal code"),
    row(Stripe, "incorrect_address", NewData, "wrong address"),
    row(Stripe, "invalid_expiry_month", NewData, "wrong expiry month"),
    row(Stripe, "invalid_expiry_year", NewData, "wrong expiry year"),
    row(Stripe, "authentication_required", NewData, "the customer must confirm the payment"),
    row(Stripe, "pin_required", NewData, "a PIN is needed"),
    row(Stripe, "offline_pin_required", NewData, "a PIN is needed"),
    row(Stripe, "online_or_offline_pin_required", NewData, "a PIN is needed"),
    row(Stripe, "incorrect_pin", NewData, "wrong PIN"),
    row(Stripe, "invalid_pin", NewData, "wrong PIN"),
    row(Stripe, "pin_try_exceeded", NewData, "too many wrong PINs"),
    row(Stripe, "card_not_supported", NewData, "this kind of card is not supported"),
    row(Stripe, "currency_not_supported", NewData, "the card does not take this currency"),
    row(Stripe, "new_account_information_available", NewData, "the account has changed"),
    row(Stripe, "invalid_amount", Contact, "the amount is not allowed").then("an operator looks").retried(0),
    row(Stripe, "testmode_decline", Contact, "a test card was used").then("an operator looks").retried(0),
    row(Stripe, "lost_card", Never, "reported lost"),
    row(Stripe, "stolen_card", Never, "reported stolen"),
    row(Stripe, "pickup_card", Never, "to be picked up"),
    row(Stripe, "restricted_card", Never, "restricted"),
    row(Stripe, "fraudulent", Never, "suspected fraud"),
    row(Stripe, "merchant_blacklist", Never, "on the block list of the merchant"),
    row(Stripe, "incorrect_number", Never, "wrong number"),
    row(Stripe, "invalid_number", Never, "wrong number"),
    row(Stripe, "invalid_account", Never, "no such account"),
    row(Stripe, "revocation_of_authorization", Never, "the customer revoked this mandate")
        .then("the mandate is closed"),
    row(Stripe, "revocation_of_all_authorizations", Never, "the customer revoked every mandate")
        .then("the mandate is closed"),
    row(Stripe, "stop_payment_order", Never, "the customer stopped the payment").then("the mandate is closed"),
    // ACH returns and notices of change; descriptions from the return-code list, not from web articles.
    row(Ach, "R01", LaterFunds, "insufficient funds").then("2 re-initiations within 180 days"),
    row(Ach, "R09", LaterFunds, "uncollected funds").then("2 re-initiations within 180 days"),
    row(Ach, "R08", Contact, "payment stopped")
        .then("no entry unless the customer authorizes it after the return")
        .retried(0),
    row(Ach, "R11", Contact, "entry not in accordance with the terms")
        .then("not re-initiated: a corrected new entry within 60 days; find the mistake")
        .retried(0),
    row(Ach, "R17", Contact, "questionable or invalid").then("a person reviews it for fraud").retried(0),
    row(Ach, "R02", Never, "account closed").then("the customer is asked for another account"),
    row(Ach, "R03", Never, "no account, or unable to find it").then("the customer is asked for another account"),
    row(Ach, "R04", Never, "invalid account number").then("the customer is asked for another account"),
    row(Ach, "R20", Never, "no account for debits").then("the customer is asked for another account"),
    row(Ach, "R05", Never, "debit of a consumer account with a corporate entry")
        .then("the instrument is closed; dispute flow"),
    row(Ach, "R07", Never, "authorization revoked").then("the mandate is closed for every subscription"),
    row(Ach, "R10", Never, "not authorized").then("the instrument is closed; dispute flow"),
    row(Ach, "R29", Never, "corporate customer did not authorize").then("the instrument is closed; dispute flow"),
    row(Ach, "R51", Never, "item not eligible").then("the instrument is closed; dispute flow"),
    row(Ach, "R14", Never, "representative payee deceased").then("every subscription of the person stops"),
    row(Ach, "R15", Never, "account holder deceased").then("every subscription of the person stops"),
    row(Ach, "R16", Never, "account frozen").then("a person reviews it"),
    row(Ach, "R24", Never, "duplicate entry").then("an operator is paged: it may be a double charge"),
    row(Ach, "R37", Never, "source document presented").then("no entry"),
    row(Ach, "R38", Never, "stop payment on the source document").then("no entry"),
    row(Ach, "R52", Never, "stop payment on the item").then("no entry"),
    row(Ach, "R53", Never, "item and entry both presented").then("no entry"),
    row(Ach, "R12", NewData, "branch sold to another bank").then("a new entry after the correction"),
    row(Ach, "R13", NewData, "bank takes no entries").then("a new entry after the correction"),
    row(Ach, "R28", NewData, "routing number is wrong").then("a new entry after the correction"),
    row(Ach, "R06", LaterTechnical, "returned at the request of our bank")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R31", LaterTechnical, "return that both banks agreed upon")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R61", LaterTechnical, "misrouted return").then("handled between banks: an operator looks").retried(0),
    row(Ach, "R62", LaterTechnical, "return of an erroneous entry")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R67", LaterTechnical, "duplicate return").then("handled between banks: an operator looks").retried(0),
    row(Ach, "R68", LaterTechnical, "untimely return").then("handled between banks: an operator looks").retried(0),
    row(Ach, "R69", LaterTechnical, "field error in a return")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R70", LaterTechnical, "permissible return not accepted")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R71", LaterTechnical, "misrouted dishonored return")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R72", LaterTechnical, "untimely dishonored return")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R73", LaterTechnical, "the return was timely")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R74", LaterTechnical, "corrected return").then("handled between banks: an operator looks").retried(0),
    row(Ach, "R75", LaterTechnical, "the return was no duplicate")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R76", LaterTechnical, "no errors found").then("handled between banks: an operator looks").retried(0),
    row(Ach, "R77", LaterTechnical, "dishonored return not accepted")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R63", LaterTechnical, "handled between banks")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R64", LaterTechnical, "handled between banks")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R65", LaterTechnical, "handled between banks")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R66", LaterTechnical, "handled between banks")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R18", LaterTechnical, "improper effective date")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R19", LaterTechnical, "amount field error")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R25", LaterTechnical, "addenda error")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R26", LaterTechnical, "mandatory field error")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R27", LaterTechnical, "trace number error")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R80", LaterTechnical, "coding error of an international entry")
        .then("a person of compliance looks")
        .retried(0),
    row(Ach, "R81", LaterTechnical, "bank takes no international entries")
        .then("a person of compliance looks")
        .retried(0),
    row(Ach, "R82", LaterTechnical, "foreign bank is not known").then("a person of compliance looks").retried(0),
    row(Ach, "R83", LaterTechnical, "foreign bank cannot settle").then("a person of compliance looks").retried(0),
    row(Ach, "R84", LaterTechnical, "not processed by the gateway operator")
        .then("a person of compliance looks")
        .retried(0),
    row(Ach, "R85", LaterTechnical, "incorrectly coded international payment")
        .then("a person of compliance looks")
        .retried(0),
    row(Ach, "R90", LaterTechnical, "held for a sanctions check").then("a person of compliance looks").retried(0),
    row(Ach, "R21", LaterTechnical, "company id is not valid")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R22", LaterTechnical, "individual id is not valid")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R35", LaterTechnical, "debit of an entry class that takes none")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R36", LaterTechnical, "credit of an entry class that takes none")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Ach, "R23", LaterTechnical, "credit refused by the receiver")
        .then("a credit was refused, no debit: an operator looks")
        .retried(0),
    row(Ach, "R30", LaterTechnical, "bank takes no truncated checks")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R32", LaterTechnical, "bank cannot settle").then("handled between banks: an operator looks").retried(0),
    row(Ach, "R33", LaterTechnical, "return of a destroyed-check entry")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R34", LaterTechnical, "bank limited by its supervisor")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Ach, "R39", Never, "improper source document").then("no entry"),
    row(Ach, "R50", Never, "law of the state on re-presented checks").then("no entry"),
    // Automated enrolments with federal agencies: no debit of ours is one.
    row(Ach, "R40", LaterTechnical, "enrolment returned by the agency")
        .then("an enrolment with an agency, no debit: an operator looks")
        .retried(0),
    row(Ach, "R41", LaterTechnical, "enrolment: transaction code")
        .then("an enrolment with an agency, no debit: an operator looks")
        .retried(0),
    row(Ach, "R42", LaterTechnical, "enrolment: routing number")
        .then("an enrolment with an agency, no debit: an operator looks")
        .retried(0),
    row(Ach, "R43", LaterTechnical, "enrolment: account number")
        .then("an enrolment with an agency, no debit: an operator looks")
        .retried(0),
    row(Ach, "R44", LaterTechnical, "enrolment: individual id")
        .then("an enrolment with an agency, no debit: an operator looks")
        .retried(0),
    row(Ach, "R45", LaterTechnical, "enrolment: name")
        .then("an enrolment with an agency, no debit: an operator looks")
        .retried(0),
    row(Ach, "R46", LaterTechnical, "enrolment: representative payee")
        .then("an enrolment with an agency, no debit: an operator looks")
        .retried(0),
    row(Ach, "R47", LaterTechnical, "enrolment: duplicate")
        .then("an enrolment with an agency, no debit: an operator looks")
        .retried(0),
    // Notices of change.
    row(Change, "C01", NewData, "change notified: account number")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C02", NewData, "change notified: routing number")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C03", NewData, "change notified: routing and account number")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C04", NewData, "change notified: name").then("the stored instrument is updated before the next entry"),
    row(Change, "C05", NewData, "change notified: account type")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C06", NewData, "change notified: account number and type")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C07", NewData, "change notified: routing, account number and type")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C08", NewData, "change notified: foreign receiving bank")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C09", NewData, "change notified: individual id")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C10", LaterTechnical, "change notified: our company name")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Change, "C11", LaterTechnical, "change notified: our company id")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Change, "C12", LaterTechnical, "change notified: our company name and id")
        .then("our file or format: an operator mends it; no message to the customer")
        .retried(0),
    row(Change, "C13", NewData, "change notified: addenda")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C14", NewData, "change notified: international entry")
        .then("the stored instrument is updated before the next entry"),
    row(Change, "C61", LaterTechnical, "refused notice: misrouted")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Change, "C62", LaterTechnical, "refused notice: trace number")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Change, "C63", LaterTechnical, "refused notice: company id")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Change, "C64", LaterTechnical, "refused notice: individual id")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Change, "C65", LaterTechnical, "refused notice: form of the data")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Change, "C66", LaterTechnical, "refused notice: discretionary data")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Change, "C67", LaterTechnical, "refused notice: routing number is not the original one")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Change, "C68", LaterTechnical, "refused notice: account number is not the original one")
        .then("handled between banks: an operator looks")
        .retried(0),
    row(Change, "C69", LaterTechnical, "refused notice: transaction code")
        .then("handled between banks: an operator looks")
        .retried(0),
    // Response codes of card networks.
    row(Card, "04", Never, "pick up card"),
    row(Card, "07", Never, "pick up card, special condition"),
    row(Card, "12", Never, "invalid transaction"),
    row(Card, "14", Never, "no such number"),
    row(Card, "15", Never, "no such issuer"),
    row(Card, "41", Never, "lost card"),
    row(Card, "43", Never, "stolen card"),
    row(Card, "46", Never, "closed account"),
    row(Card, "57", Never, "not permitted to the cardholder"),
    row(Card, "R0", Never, "stop this payment").then("the customer is asked"),
    row(Card, "R1", Never, "authorization revoked").then("the mandate is closed"),
    row(Card, "R3", Never, "all authorizations revoked").then("the mandate is closed"),
    row(Card, "03", Never, "invalid merchant").then("no try until an operator maps the code for this gateway"),
    row(Card, "62", Never, "restricted card").then("no try until an operator maps the code for this gateway"),
    row(Card, "78", Never, "blocked at first use").then("no try until an operator maps the code for this gateway"),
    row(Card, "93", Never, "cannot be completed").then("no try until an operator maps the code for this gateway"),
    row(Card, "51", LaterFunds, "insufficient funds"),
    row(Card, "61", LaterFunds, "over the amount limit"),
    row(Card, "65", LaterFunds, "over the count limit"),
    row(Card, "75", LaterFunds, "too many wrong PINs"),
    row(Card, "19", LaterTechnical, "enter the transaction again"),
    row(Card, "91", LaterTechnical, "issuer down"),
    row(Card, "96", LaterTechnical, "system malfunction"),
    row(Card, "59", Contact, "suspected fraud").then("one try, then the customer").retried(1),
    row(Card, "5C", Contact, "not supported or blocked by the issuer").then("one try, then the customer").retried(1),
    row(Card, "9G", Contact, "blocked by the cardholder").then("the customer must act").retried(0),
    row(Card, "86", Contact, "PIN cannot be verified").then("two tries, then the customer").retried(2),
    row(Card, "N3", Contact, "cash service not available").then("two tries, then the customer").retried(2),
    row(Card, "N4", Contact, "cash request over the limit").then("two tries, then the customer").retried(2),
    row(Card, "05", Contact, "do not honor").then("two tries, then the customer").retried(2),
    row(Card, "54", NewData, "expired card"),
    row(Card, "55", NewData, "wrong PIN"),
    row(Card, "82", NewData, "wrong security code"),
    row(Card, "1A", NewData, "the customer must authenticate"),
    row(Card, "N7", NewData, "wrong security code"),
    // Merchant advice codes of Mastercard.
    row(Advice, "MAC01", NewData, "new account information available")
        .then("the stored card is updated, or the customer asked"),
    row(Advice, "MAC02", LaterFunds, "try later").then("72 hours").not_before(72),
    row(Advice, "MAC03", Never, "do not try again"),
    row(Advice, "MAC21", Never, "stop recurring payments").then("the mandate is closed"),
    row(Advice, "MAC41", Never, "single-use virtual card"),
    row(Advice, "MAC04", LaterTechnical, "token requirements not met").then("an operator looks").retried(0),
    row(Advice, "MAC22", LaterTechnical, "merchant does not qualify for the product code")
        .then("an operator looks")
        .retried(0),
    row(Advice, "MAC24", LaterTechnical, "try again after 1 hour").then("not before 1 hour").not_before(1),
    row(Advice, "MAC25", LaterFunds, "try again after 24 hours").then("not before 24 hours").not_before(24),
    row(Advice, "MAC26", LaterFunds, "try again after 2 days").then("not before 2 days").not_before(48),
    row(Advice, "MAC27", LaterFunds, "try again after 4 days").then("not before 4 days").not_before(96),
    row(Advice, "MAC28", LaterFunds, "try again after 6 days").then("not before 6 days").not_before(144),
    row(Advice, "MAC29", LaterFunds, "try again after 8 days").then("not before 8 days").not_before(192),
    row(Advice, "MAC30", LaterFunds, "try again after 10 days").then("not before 10 days").not_before(240),
    row(Advice, "MAC40", Contact, "non-reloadable prepaid card").then("one try, then another method").retried(1),
    row(Advice, "MAC43", Contact, "multi-use virtual card").then("two tries, then another method").retried(2),
];

/// The line of a code, whatever its case.
pub(super) fn known(code: &str) -> Option<&'static CodeRow> {
    CODES.iter().find(|row| row.code.eq_ignore_ascii_case(code))
}

/// The day as of which the table stands: the version that is cited where a line of it ends trying.
const AS_OF: &str = "2026-11-26";

/// What nobody gave a reason for is tried at most once in so many hours, by whatever policy (billing-rules.md §1.4). No network sets it.
const WITHOUT_A_REASON_HOURS: u16 = 72;

/// So many further tries of a charge at most, by a line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// How many.
    pub(crate) most: u16,
    row: &'static CodeRow,
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { most, row } = self;
        let CodeRow { code, meaning, origin, .. } = row;
        let tries = match most {
            0 => "no more".to_owned(),
            1 => "once more at most".to_owned(),
            most => format!("{most} times more at most"),
        };
        let (name, source) = (origin.as_str(), origin.source());
        write!(f, "after {code} ({meaning}) a charge is tried {tries} ({name}-{code}, version {AS_OF}; {source})")
    }
}

/// What a decline asks of further tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asks {
    /// No try earlier than so many hours after the decline.
    pub(crate) wait_hours: u16,
    /// So many further tries of the charge at most.
    pub(crate) budget: Option<Budget>,
}

/// What a decline asks for by its code, or several joined with `+`, and for want of one.
#[must_use]
pub(crate) fn asks(class: DeclineClass, code: &str) -> Asks {
    let wait_hours = match class {
        Unclassified => WITHOUT_A_REASON_HOURS,
        Never | NewData | Contact | LaterFunds | LaterTechnical | DeclineClass::Partial => 0,
    };
    let mut asks = Asks { wait_hours, budget: None };
    for row in code.split('+').filter_map(known) {
        asks.wait_hours = asks.wait_hours.max(row.wait_hours);
        let budget = row.most_retries.map(|most| Budget { most, row });
        asks.budget = [asks.budget, budget].into_iter().flatten().min_by_key(|budget| budget.most);
    }
    asks
}

/// Codes that say nothing against one instrument alone: the customer stopped the payment or took the authorization back, nobody
/// authorized it, its owner has died, it may be fraud, or the mistake is ours, the gateway's or a bank's. Where sources let some of them
/// go on with another instrument (R08, 9G: billing-rules.md §1.4 against §1.5), the stricter one counts.
const NOT_OF_THE_INSTRUMENT: &[&str] = &[
    "revocation_of_authorization",
    "revocation_of_all_authorizations",
    "stop_payment_order",
    "R1",
    "R3",
    "MAC21",
    "R07",
    "R0",
    "R08",
    "R38",
    "R52",
    "9G",
    "R05",
    "R10",
    "R29",
    "R51",
    "R14",
    "R15",
    "fraudulent",
    "merchant_blacklist",
    "59",
    "R16",
    "R17",
    "cancelled_at_gateway",
    "R11",
    "R24",
    "R37",
    "R53",
    "12",
    "03",
    "78",
    "93",
    "invalid_amount",
    "testmode_decline",
    "duplicate_transaction",
    "R39",
    "R50",
];

/// Is it the instrument that was declined, so that another one may be tried? Every code of several joined with `+` must say so.
#[must_use]
pub(crate) fn blames_the_instrument(code: &str) -> bool {
    let not = |part: &str| NOT_OF_THE_INSTRUMENT.iter().any(|one| one.eq_ignore_ascii_case(part));
    // An answer that names somebody who must look first is no reason to charge another instrument meanwhile.
    let looked_at = |row: &CodeRow| row.then.is_some_and(|then| then.contains("operator"));
    !code.split('+').any(|part| not(part) || known(part).is_some_and(looked_at))
}

/// The codes that a sentence of the gateway's names: returns and notices of change by themselves, advice codes after "MAC" or
/// "advice code", response codes after "response code".
pub(super) fn in_words(message: &str) -> Vec<&'static CodeRow> {
    let words: Vec<&str> =
        message.split(|ch: char| !ch.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    let mut before = ["", ""];
    for word in words {
        let is = |text: &str, wanted: &str| text.eq_ignore_ascii_case(wanted);
        let says = |kind: &str| is(before[0], kind) && is(before[1], "code");
        let row = if says("advice") || is(before[1], "mac") {
            advice(word)
        } else if says("response") {
            known(word).filter(|row| row.origin == Card)
        } else if word.len() == 3 && word.starts_with(['R', 'C']) {
            known(word).filter(|row| row.origin.is_bank())
        } else {
            named_advice(word)
        };
        found.extend(row);
        before = [before[1], word];
    }
    found
}

/// An advice code under its name: `MAC03`, `mac_3`, `MAC-24`.
pub(super) fn named_advice(text: &str) -> Option<&'static CodeRow> {
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    letters.to_ascii_uppercase().strip_prefix("MAC").and_then(advice)
}

/// An advice code by its number.
fn advice(number: &str) -> Option<&'static CodeRow> {
    let number: u8 = number.parse().ok()?;
    known(&format!("MAC{number:02}")).filter(|row| row.origin == Advice)
}

/// What several codes of one answer come to: the strictest class, under all their names, the strictest first.
pub(super) fn strictest(mut rows: Vec<&'static CodeRow>) -> Option<(String, DeclineClass)> {
    rows.sort_by_key(|row| (std::cmp::Reverse(row.restricts()), row.origin, row.code));
    rows.dedup();
    let class = rows.first()?.class;
    // Beside a code that forbids every try, nothing else matters.
    let names = rows.iter().take(if matches!(class, Never | NewData) { 1 } else { 3 }).map(|row| row.code);
    Some((names.collect::<Vec<_>>().join("+"), class))
}
