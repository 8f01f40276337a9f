//! How the tables came to be: expand first, contract a release later. No migration is ever edited after it was released.

pub use sea_orm_migration::prelude::*;

mod m20261122_000001_the_main_job;
mod m20261126_000002_charges_out_of_reach;
mod m20261126_000002_webhooks;
mod m20261126_000003_wallet;
mod m20261126_000004_refunds;
mod m20261126_000005_captures;
mod m20261126_000006_refund_parts;
mod m20261126_000008_kinds;
mod m20261126_000009_adjustments;
mod m20261126_000010_change_sets;
mod m20261126_000011_book;
mod m20261126_000012_brakes;
mod m20261126_000013_settlements;
mod m20261126_000014_consolidation;
mod m20261126_000017_budgets;
mod m20261126_000018_tries_elsewhere;
mod m20261126_000019_ladders;
mod m20261126_000020_cases;
mod m20261126_000021_ledger;
mod m20261126_000022_notices;
mod m20261126_000022_outbox;
mod m20261126_000023_reconciliation;
mod m20261126_000024_audit_chain;
mod m20261126_000025_planned_changes;
mod m20261126_000026_backups;
mod m20261126_000027_handed_over;
mod m20261126_000028_unpaid;
mod m20261126_000030_fees;
mod m20261126_000034_notices_of_change;
mod m20261126_000035_backlog;
mod m20261126_000037_kinds_of_holds;
mod m20261126_000038_damaged_cases;
mod m20261126_000040_returned_installments;
mod m20261126_000041_holds_side_by_side;
mod m20261126_000050_fees_of_merchants;
mod m20261126_000051_changed_methods;
mod m20261126_000060_matched_rows;

/// Every migration, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_the_main_job::Migration),
            Box::new(m20261126_000002_charges_out_of_reach::Migration),
            Box::new(m20261126_000002_webhooks::Migration),
            Box::new(m20261126_000003_wallet::Migration),
            Box::new(m20261126_000004_refunds::Migration),
            Box::new(m20261126_000005_captures::Migration),
            Box::new(m20261126_000006_refund_parts::Migration),
            Box::new(m20261126_000008_kinds::Migration),
            Box::new(m20261126_000009_adjustments::Migration),
            Box::new(m20261126_000010_change_sets::Migration),
            Box::new(m20261126_000011_book::Migration),
            Box::new(m20261126_000012_brakes::Migration),
            Box::new(m20261126_000013_settlements::Migration),
            Box::new(m20261126_000014_consolidation::Migration),
            Box::new(m20261126_000017_budgets::Migration),
            Box::new(m20261126_000019_ladders::Migration),
            Box::new(m20261126_000018_tries_elsewhere::Migration),
            Box::new(m20261126_000020_cases::Migration),
            Box::new(m20261126_000021_ledger::Migration),
            Box::new(m20261126_000022_outbox::Migration),
            Box::new(m20261126_000022_notices::Migration),
            Box::new(m20261126_000023_reconciliation::Migration),
            Box::new(m20261126_000024_audit_chain::Migration),
            Box::new(m20261126_000025_planned_changes::Migration),
            Box::new(m20261126_000026_backups::Migration),
            Box::new(m20261126_000027_handed_over::Migration),
            Box::new(m20261126_000028_unpaid::Migration),
            Box::new(m20261126_000030_fees::Migration),
            Box::new(m20261126_000034_notices_of_change::Migration),
            Box::new(m20261126_000035_backlog::Migration),
            Box::new(m20261126_000037_kinds_of_holds::Migration),
            Box::new(m20261126_000038_damaged_cases::Migration),
            Box::new(m20261126_000040_returned_installments::Migration),
            Box::new(m20261126_000041_holds_side_by_side::Migration),
            Box::new(m20261126_000050_fees_of_merchants::Migration),
            Box::new(m20261126_000051_changed_methods::Migration),
            Box::new(m20261126_000060_matched_rows::Migration),
        ]
    }
}
