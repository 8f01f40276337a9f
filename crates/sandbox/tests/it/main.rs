//! The sandbox, seen from outside: through its socket, its ledger and its journal.

#[cfg(test)]
mod binary;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod readings;
#[cfg(test)]
mod refunds;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod support;
#[cfg(test)]
mod torture;
#[cfg(test)]
mod v1;
#[cfg(test)]
mod validation;
#[cfg(test)]
mod wallet;
#[cfg(test)]
mod webhooks;
