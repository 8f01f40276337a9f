//! Webhooks: where events are told, how unreliably, and what the ledger remembers of each (contract §8).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Where events are told and how reliably. Rates are shares from 0 to 1, decided by the seed for each event.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookOptions {
    /// The receiver; `None` tells nobody.
    pub url: Option<String>,
    /// The signing key as a PKCS#8 PEM file; `None` makes one from the seed.
    #[serde(skip)]
    pub key_pem: Option<String>,
    /// The key after the next rotation, in the same form.
    #[serde(skip)]
    pub next_key_pem: Option<String>,
    /// Events that are never sent.
    pub loss: f64,
    /// Events that are sent twice.
    pub duplicate: f64,
    /// Events that are sent late.
    pub delay: f64,
    /// How late, in milliseconds by the sandbox's clock.
    pub delay_ms: u64,
    /// Events that wait until the one after them was sent, or for a minute by the sandbox's clock.
    pub reorder: f64,
    /// How long an answer is waited for, in real milliseconds. 30 s (contract §8.1).
    pub timeout_ms: u64,
    /// How long a delivery's token is valid, in seconds.
    pub token_life_s: u32,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self {
            url: None,
            key_pem: None,
            next_key_pem: None,
            loss: 0.0,
            duplicate: 0.0,
            delay: 0.0,
            delay_ms: 60_000,
            reorder: 0.0,
            timeout_ms: 30_000,
            token_life_s: 4 * 3_600,
        }
    }
}

impl std::fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut view = f.debug_struct("WebhookOptions");
        view.field("on", &self.url.is_some()).field("loss", &self.loss).field("duplicate", &self.duplicate);
        view.field("delay", &self.delay).field("reorder", &self.reorder).finish_non_exhaustive()
    }
}

impl WebhookOptions {
    /// Reads one `name=value` of the command line: `loss=0.1`, `delay_ms=5000`.
    ///
    /// # Errors
    ///
    /// A sentence that says what was not understood.
    pub fn apply(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is not name=value"))?;
        let rate = || value.parse::<f64>().map_err(|_| format!("`{value}` is not a rate from 0 to 1"));
        let number = || value.parse::<u64>().map_err(|_| format!("`{value}` is not a whole number"));
        match name {
            "loss" => self.loss = rate()?,
            "duplicate" => self.duplicate = rate()?,
            "delay" => self.delay = rate()?,
            "reorder" => self.reorder = rate()?,
            "delay_ms" => self.delay_ms = number()?,
            "timeout_ms" => self.timeout_ms = number()?,
            "token_life_s" => {
                self.token_life_s = u32::try_from(number()?).map_err(|_| format!("`{value}` is too long"))?;
            }
            _ => return Err(format!("there is no webhook setting `{name}`")),
        }
        self.check()
    }

    /// Whether every rate is a share and the receiver is an HTTP address.
    ///
    /// # Errors
    ///
    /// A sentence that names what is not.
    pub fn check(&self) -> Result<(), String> {
        for (name, rate) in
            [("loss", self.loss), ("duplicate", self.duplicate), ("delay", self.delay), ("reorder", self.reorder)]
        {
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("the rate of {name} is {rate}, it must be from 0 to 1"));
            }
        }
        match &self.url {
            Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
                Err("the webhook URL must begin with http:// or https://".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is on its way, or will be tried again.
    Waiting,
    /// The receiver answered 2xx.
    Delivered,
    /// The receiver answered 400, 401, 403, 404 or 413: final.
    Refused,
    /// Five attempts in fifty minutes failed.
    GivenUp,
    /// It was lost on purpose.
    Lost,
    /// It did not come to pass: a hold was captured before it ran out, say.
    Dropped,
}

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryAttempt {
    /// When, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// When, by the machine's clock.
    pub real_at: DateTime<Utc>,
    /// The status of the answer; `None` when there was none in time.
    pub answered: Option<u16>,
}

/// An event on its way to the receiver, as the ledger has it. A doubled event is two of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The event. The receiver does not learn this id: the gateway's envelope has none.
    pub event: Uuid,
    /// Its name.
    pub name: String,
    /// For whom.
    pub merchant: Uuid,
    /// The payment, refund, method or dispute.
    pub subject: Uuid,
    /// When it happened, by the sandbox's clock.
    pub happened_at: DateTime<Utc>,
    /// Whether this is the second copy of a doubled event.
    pub copy: bool,
    /// Every attempt.
    pub attempts: Vec<DeliveryAttempt>,
    /// What became of it.
    pub fate: Fate,
}

/// An event that no resource remembers: a line of the journal.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) event: Uuid,
    pub(crate) name: String,
    pub(crate) merchant: Uuid,
    pub(crate) subject: Uuid,
    pub(crate) at_us: i64,
    pub(crate) payload: Value,
    pub(crate) source: Option<Box<str>>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told").field("event", &self.event).field("name", &self.name).finish_non_exhaustive()
    }
}
