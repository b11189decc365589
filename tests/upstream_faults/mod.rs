//! Upstream faults: the answers to a client if the provider or the network fails. A POST is never
//! sent twice.

mod answers;
mod broken_answers;
mod connections;
mod unreachable;
