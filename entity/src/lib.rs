//! The tables, as SeaORM sees them; no behaviour. The migration beside this crate says what each column means.

pub mod adjustment;
pub mod adjustment_use;
pub mod approval;
pub mod attempt;
pub mod audit;
pub mod authorization_order;
pub mod change_set;
pub mod charge;
pub mod charge_part;
pub mod cycle_override;
pub mod dispute;
pub mod dispute_event;
pub mod dunning_policy_version;
pub mod gateway_rate;
pub mod hold;
pub mod observation;
pub mod outbox_event;
pub mod payment_method;
pub mod plan_version;
pub mod refund;
pub mod refund_observation;
pub mod run;
pub mod run_day;
pub mod subscription;
pub mod wallet_customer;
pub mod webhook_inbox;
