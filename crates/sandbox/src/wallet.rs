//! Wallets: whose methods the gateway keeps, and what becomes of them.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::books::App;
use crate::deeds::Deed;
use crate::lock;
use crate::making::replacement_of;
use crate::method::{Behaviour, Refusal, behaviour_of, last4};
use crate::request::Customer;
use crate::resource::Flag;
use crate::switches::{ReplacementOrder, Switches};

/// The kind of a stored method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MethodKind {
    /// A card.
    Card,
    /// A bank account.
    BankAccount,
}

/// Whether a stored method can be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MethodStatus {
    /// It can.
    Active,
    /// It cannot, and cannot be updated; it can only be removed.
    Invalidated,
}

/// A stored method as a wallet shows it (contract §6). Fields of the other kind are ignored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalletMethod {
    /// Its id; what it does when it is charged may be written in it.
    pub id: Uuid,
    /// Card or bank account.
    pub kind: MethodKind,
    /// Whether it can be charged.
    pub status: MethodStatus,
    /// Whether it is its customer's default.
    pub is_default: bool,
    /// What its owner calls it.
    pub nickname: Option<String>,
    /// The last four digits of its number.
    pub last4: String,
    /// Name on the card or the account.
    pub name: String,
    /// The card's brand, such as `VISA`.
    pub brand: String,
    /// 1 to 12.
    pub expiry_month: u8,
    /// With the century.
    pub expiry_year: u16,
    /// Five digits.
    pub zip: String,
    /// Whether it is a drug manufacturer's card.
    pub manufacturer: bool,
    /// `CHECKING` or `SAVINGS`.
    pub account_type: String,
    /// Nine digits.
    pub routing_number: Option<String>,
    /// The bank's name.
    pub bank_name: String,
}

impl std::fmt::Debug for WalletMethod {
    /// Without names and addresses: they are somebody's, even when they are made up.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut view = f.debug_struct("WalletMethod");
        view.field("id", &self.id).field("kind", &self.kind).field("status", &self.status);
        view.field("is_default", &self.is_default).finish_non_exhaustive()
    }
}

impl Default for WalletMethod {
    fn default() -> Self {
        Self::new(Uuid::nil(), MethodKind::Card)
    }
}

impl WalletMethod {
    fn new(id: Uuid, kind: MethodKind) -> Self {
        let (expiry_year, expiry_month) = match behaviour_of(id) {
            Some(Behaviour::Expires { year, month }) => (year, month),
            _ => (2030, 12),
        };
        Self {
            id,
            kind,
            status: MethodStatus::Active,
            is_default: false,
            nickname: None,
            last4: last4(id),
            name: "Sandbox Customer".to_owned(),
            brand: "VISA".to_owned(),
            expiry_month,
            expiry_year,
            zip: "55344".to_owned(),
            manufacturer: false,
            account_type: "CHECKING".to_owned(),
            routing_number: Some("110000000".to_owned()),
            bank_name: "SANDBOX BANK".to_owned(),
        }
    }

    /// A card with this id; an expiring one says when.
    #[must_use]
    pub fn card(id: Uuid) -> Self {
        Self::new(id, MethodKind::Card)
    }

    /// A bank account with this id.
    #[must_use]
    pub fn bank_account(id: Uuid) -> Self {
        Self::new(id, MethodKind::BankAccount)
    }

    /// The item of a search, an update and an event.
    pub(crate) fn shown(&self, switches: &Switches) -> Value {
        let mut item = json!({
            "id": self.id, "paymentMethodType": self.kind, "nickname": self.nickname,
            "sourceProvider": { "name": "SANDBOX" },
            "paymentMethodDetails": match self.kind {
                MethodKind::Card => json!({
                    "type": "CARD", "last4": self.last4, "status": self.status, "cardBrand": self.brand,
                    "expiryYear": self.expiry_year.to_string(), "expiryMonth": format!("{:02}", self.expiry_month),
                    "nameOnCard": self.name, "zipCode": self.zip, "manufacturerCard": self.manufacturer,
                }),
                MethodKind::BankAccount => json!({
                    "type": "BANK_ACCOUNT", "last4": self.last4, "status": self.status,
                    "accountType": self.account_type, "routingNumber": self.routing_number,
                    "nameOnAccount": self.name, "bankName": self.bank_name,
                }),
            },
        });
        if let (Some(item), Ok(Value::Object(flag))) =
            (item.as_object_mut(), serde_json::to_value(Flag::new(self.is_default, true, switches)))
        {
            item.extend(flag);
        }
        item
    }
}

/// A customer that the gateway made: a line of the journal.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CustomerRow {
    pub(crate) id: Uuid,
    /// What it is found by, the most telling first.
    pub(crate) identities: Vec<String>,
    /// As it was sent.
    pub(crate) customer: Value,
}

impl std::fmt::Debug for CustomerRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomerRow").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A stored method and whose it is: a line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MethodRow {
    pub(crate) merchant: Uuid,
    pub(crate) customer: Uuid,
    pub(crate) method: WalletMethod,
    pub(crate) removed: bool,
    /// The method that took its place.
    pub(crate) replaced_by: Option<Uuid>,
    /// What it does from now on, when that is not what its id says.
    pub(crate) behaviour: Option<Behaviour>,
    /// Its place in the wallet.
    pub(crate) number: u64,
}

/// Every wallet.
#[derive(Default)]
pub(crate) struct Wallet {
    customers: BTreeMap<Uuid, CustomerRow>,
    by_identity: HashMap<String, Uuid>,
    methods: BTreeMap<Uuid, MethodRow>,
    stored: u64,
}

impl Wallet {
    pub(crate) fn restore_customer(&mut self, row: CustomerRow) {
        for identity in &row.identities {
            self.by_identity.entry(identity.clone()).or_insert(row.id);
        }
        self.customers.insert(row.id, row);
    }

    pub(crate) fn restore_method(&mut self, row: MethodRow) {
        self.stored = self.stored.max(row.number);
        self.methods.insert(row.method.id, row);
    }

    pub(crate) fn holds(&self, method: Uuid) -> bool {
        self.methods.get(&method).is_some_and(|row| !row.removed)
    }

    /// The stored method, unless it was removed.
    pub(crate) fn method(&self, id: Uuid) -> Option<MethodRow> {
        self.methods.get(&id).filter(|row| !row.removed).cloned()
    }

    pub(crate) fn customer(&self, id: Uuid) -> Option<&CustomerRow> {
        self.customers.get(&id)
    }

    /// The methods of a customer, in the order in which they were stored.
    pub(crate) fn methods_of(&self, customer: Uuid) -> Vec<WalletMethod> {
        let mut rows: Vec<_> = self.methods.values().filter(|row| row.customer == customer && !row.removed).collect();
        rows.sort_by_key(|row| row.number);
        rows.into_iter().map(|row| row.method.clone()).collect()
    }

    /// Every customer and what is in the wallet.
    pub(crate) fn all(&self) -> Vec<(CustomerRow, Vec<WalletMethod>)> {
        self.customers.values().map(|row| (row.clone(), self.methods_of(row.id))).collect()
    }

    fn known(&self, identities: &[String]) -> Option<CustomerRow> {
        let id = identities.iter().find_map(|identity| self.by_identity.get(identity))?;
        self.customers.get(id).cloned()
    }
}

/// What a customer is found by (contract §3.4): enterprise id, HSID, the merchant's own metadata.
fn identities(merchant: Uuid, customer: &Customer) -> Vec<String> {
    let enterprise = customer.enterprise_id.iter().map(|id| format!("enterprise {id}"));
    let hsid = customer.hsid.iter().map(|id| format!("hsid {}", id.to_ascii_lowercase()));
    let own = customer.metadata.iter().flatten().map(|(key, value)| format!("{merchant} {key}={value}"));
    enterprise.chain(hsid).chain(own).collect()
}

/// When something that was done is durable; `None` without a journal.
pub(crate) type Durable = Option<oneshot::Receiver<bool>>;

/// Waits until it is; `false` when it never will be.
pub(crate) async fn is_durable(durable: Durable) -> bool {
    match durable {
        Some(durable) => durable.await.unwrap_or(false),
        None => true,
    }
}

impl App {
    /// The customer that these fields name, made if there is none.
    pub(crate) fn find_or_create(&self, merchant: Uuid, customer: &Customer, raw: &Value) -> (CustomerRow, Durable) {
        let identities = identities(merchant, customer);
        let mut wallet = lock(&self.wallet);
        if let Some(known) = wallet.known(&identities) {
            return (known, None);
        }
        let name = format!("{} {}", self.options.seed, identities.first().map_or("", String::as_str));
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("customer {name}").as_bytes());
        let row = CustomerRow { id, identities, customer: raw.clone() };
        wallet.restore_customer(row.clone());
        let durable = self.note(merchant, self.options.clock.now_us(), &Deed::Customer(row.clone()));
        (row, durable)
    }

    /// Puts a method into a wallet, without an event.
    pub(crate) fn store_method(
        &self,
        merchant: Uuid,
        customer: Uuid,
        method: WalletMethod,
        behaviour: Option<Behaviour>,
    ) -> Durable {
        let number = lock(&self.wallet).stored + 1;
        let row = MethodRow { merchant, customer, method, removed: false, replaced_by: None, behaviour, number };
        self.put(row, self.options.clock.now_us())
    }

    /// Writes a row; a default takes the flag from the others of its customer.
    fn put(&self, row: MethodRow, at_us: i64) -> Durable {
        if let Some(behaviour) = row.behaviour {
            self.register(row.method.id, behaviour);
        }
        let mut others = Vec::new();
        {
            let mut wallet = lock(&self.wallet);
            if row.method.is_default && !row.removed {
                let same = wallet.methods.values_mut().filter(|other| other.customer == row.customer);
                for other in same.filter(|other| other.method.is_default && other.method.id != row.method.id) {
                    other.method.is_default = false;
                    others.push(other.clone());
                }
            }
            wallet.restore_method(row.clone());
        }
        for other in others {
            drop(self.note(other.merchant, at_us, &Deed::Method(other)));
        }
        self.note(row.merchant, at_us, &Deed::Method(row))
    }

    /// Writes a changed method back and tells of it.
    pub(crate) fn update_method(&self, row: &MethodRow, at_us: i64, agent: Option<&Value>) -> Durable {
        let durable = self.put(row.clone(), at_us);
        self.tell_method("PAYMENT_METHOD_UPDATED", row, at_us, agent, None);
        durable
    }

    /// The row of a method; one that is in no wallet gets a place in that of a customer without a name.
    fn row_of(&self, method: Uuid) -> Option<MethodRow> {
        let wallet = lock(&self.wallet);
        if let Some(row) = wallet.methods.get(&method) {
            return (!row.removed).then(|| row.clone());
        }
        let bank = self.behaviour(method).is_bank_account();
        Some(MethodRow {
            merchant: self.merchants.first().copied().unwrap_or_default(),
            customer: Uuid::nil(),
            method: if bank { WalletMethod::bank_account(method) } else { WalletMethod::card(method) },
            removed: false,
            replaced_by: None,
            behaviour: None,
            number: wallet.stored + 1,
        })
    }

    /// The merchant through which a method was stored.
    pub(crate) fn merchant_of_method(&self, method: Uuid) -> Uuid {
        self.row_of(method).map_or_else(|| self.merchants.first().copied().unwrap_or_default(), |row| row.merchant)
    }

    /// Removes a method: charges of it fail as not found. `None` when there is no such method any more.
    pub(crate) fn delete_method(&self, method: Uuid, at_us: i64, agent: Option<&Value>) -> Option<Durable> {
        let mut row = self.row_of(method)?;
        row.removed = true;
        row.behaviour = Some(Behaviour::NotFound);
        let durable = self.put(row.clone(), at_us);
        self.tell_method("PAYMENT_METHOD_DELETED", &row, at_us, agent, None);
        Some(durable)
    }

    /// Puts another method in the place of one (contract §8.4): the new one does what the old one did.
    pub(crate) fn replace_method(&self, method: Uuid, new_id: Option<Uuid>, at_us: i64) -> Option<(Uuid, Durable)> {
        let mut old = self.row_of(method)?;
        let behaviour = match self.behaviour(method) {
            // A bank that has told its news has no more to tell, and a new card has another date on it.
            Behaviour::AchNoc { .. } => Behaviour::AchSettles { days: None },
            Behaviour::Expires { .. } | Behaviour::Refused(_) => Behaviour::Pays,
            other => other,
        };
        let new_id = new_id.unwrap_or_else(|| replacement_of(method, 1));
        let mut new = old.clone();
        new.method = WalletMethod { id: new_id, last4: last4(new_id), ..old.method.clone() };
        new.method.expiry_year = new.method.expiry_year.saturating_add(3);
        new.method.status = MethodStatus::Active;
        new.behaviour = behaviour_of(new_id).is_none().then_some(behaviour);
        new.number = lock(&self.wallet).stored + 1;
        old.removed = true;
        old.method.is_default = false;
        old.behaviour = Some(Behaviour::NotFound);
        old.replaced_by = Some(new_id);
        drop(self.put(old.clone(), at_us));
        let durable = self.put(new.clone(), at_us);
        let deleted = || self.tell_method("PAYMENT_METHOD_DELETED", &old, at_us, None, None);
        let replaced = || self.tell_method("PAYMENT_METHOD_REPLACED", &new, at_us, None, Some(method));
        match self.switches().replacement_order {
            ReplacementOrder::DeletedFirst => {
                deleted();
                replaced();
            }
            ReplacementOrder::ReplacedFirst => {
                replaced();
                deleted();
            }
        }
        Some((new_id, durable))
    }

    /// Makes a method unusable: charges of it are refused as invalid.
    pub(crate) fn invalidate_method(&self, method: Uuid, at_us: i64) -> Option<Durable> {
        let mut row = self.row_of(method)?;
        row.method.status = MethodStatus::Invalidated;
        row.behaviour = Some(Behaviour::Refused(Refusal::Invalid));
        Some(self.update_method(&row, at_us, None))
    }

    /// Changes the stored details of a bank account, as a notification of change does that keeps the number.
    pub(crate) fn correct_method(&self, method: Uuid, at_us: i64) -> Option<Durable> {
        let mut row = self.row_of(method)?;
        row.method.routing_number = Some("021000021".to_owned());
        Some(self.update_method(&row, at_us, None))
    }

    pub(crate) fn tell_method(
        &self,
        name: &'static str,
        row: &MethodRow,
        at_us: i64,
        agent: Option<&Value>,
        deleted: Option<Uuid>,
    ) {
        if !self.outbox.is_on() {
            return;
        }
        let customer = lock(&self.wallet).customer(row.customer).map(|row| webhook_customer(&row.customer));
        let mut payload = json!({
            "paymentMethod": row.method.shown(&self.switches()), "customer": customer, "agent": agent,
        });
        if let Some(deleted) = deleted {
            payload["deletedPaymentMethodId"] = json!(deleted);
        }
        self.tell(row.merchant, name, row.method.id, at_us, payload);
    }
}

/// A customer as webhooks spell it: `enterpriseIdentifier`.
fn webhook_customer(customer: &Value) -> Value {
    let mut customer = customer.clone();
    if let Some(fields) = customer.as_object_mut()
        && let Some(id) = fields.remove("enterpriseId")
    {
        fields.insert("enterpriseIdentifier".to_owned(), id);
    }
    customer
}
