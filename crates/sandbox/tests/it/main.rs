//! The sandbox, seen from outside: through its socket, its ledger and its journal.

#[cfg(test)]
mod binary;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod support;
#[cfg(test)]
mod torture;
#[cfg(test)]
mod validation;
