//! Verifies the audit's chain and hangs its head out where the database cannot reach it. Reads only.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use domain::audit::{Check, Head, Verified};

use crate::ports::audit::AuditFilter;
use crate::ports::{Clock, Listed, Store, StoreError};

/// Lines read at once.
const PAGE: u64 = 2_000;
/// How often the head is told to the log: what is sent there within the hour can be held against the database.
const ANCHOR_EVERY: Duration = Duration::from_secs(3_600);

/// Computes the whole chain again, a page at a time; `seen` is told how many lines have been read and how many there are.
///
/// # Errors
/// The store's.
pub async fn verify(
    store: &dyn Store,
    anchor: Option<Head>,
    mut seen: impl FnMut(u64, u64),
) -> Result<Verified, StoreError> {
    let head = store.audit_head().await?;
    let expected = head.as_ref().map_or(0, |head| head.last_id.unsigned_abs());
    let mut check = Check::new(head, anchor);
    let (mut after, mut read) = (None, 0_u64);
    loop {
        let page = store.audit_lines(&AuditFilter::default(), &after, PAGE).await?;
        let last = page.rows.iter().rev().find_map(|row| match row {
            Listed::Whole(link) => Some(link.id),
            Listed::Damaged(_) => None,
        });
        if last.is_some_and(|last| last > check.ends_at()) {
            // Others have written meanwhile: lines and head move in one transaction.
            check.goes_on(store.audit_head().await?);
        }
        read = read.saturating_add(u64::try_from(page.rows.len()).unwrap_or(u64::MAX));
        for row in &page.rows {
            match row {
                Listed::Whole(link) => check.take(link),
                Listed::Damaged(row) => check.pass_unreadable(&row.id),
            }
        }
        seen(read, expected.max(read));
        after = page.next;
        if after.is_none() {
            return Ok(check.finish());
        }
    }
}

/// Tells the log where the chain ends, at once and then every hour, until it is stopped.
pub async fn hang_out(store: Arc<dyn Store>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        match store.audit_head().await {
            Ok(Some(Head { chain, last_id, seal })) => {
                let seal = seal.to_string();
                tracing::info!(
                    event = "audit_anchor",
                    chain,
                    items = last_id,
                    hash = seal,
                    "the audit's chain ends here"
                );
            }
            Ok(None) => {
                tracing::error!(event = "audit_headless", "the head of the audit is missing: autopay audit verify");
            }
            Err(error) => {
                tracing::warn!(event = "audit_anchor_failed", error = %error, "the audit's head cannot be read");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(ANCHOR_EVERY) => {}
        }
    }
}
