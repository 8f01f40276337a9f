//! The conformance suite: the client against the sandbox, through every row of the gateway's written contract.
//!
//! Not allowed here: taking the client's or the sandbox's word for what is right. Requests are written by hand in the
//! shapes of the contract and put on the wire by [`relay`] in place of the client's own, so that the sandbox is asked for
//! what the client would refuse to send; the class an error must land in follows from the contract's table of classes
//! ([`stage::class_by_contract`]), not from the client's. What passed the relay is written down for a third judge,
//! `tests/fuzz/reference.py`. docs/conformance.md says which test shows which section.

mod accepted;
mod bodies;
mod events;
mod inbox;
mod page;
mod readings;
mod refusals;
mod refused_money;
mod refused_people;
mod refused_wallet;
mod relay;
mod settled;
mod stage;
