//! What Keyside promises to those who use it, tested from outside: each module is a behaviour, each test's name a sentence.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]
#![allow(unreachable_pub, dead_code, reason = "support is shared by all behaviours")]

mod support;

mod callers;
mod lifecycle;
mod limits;
mod raw_requests;
mod reload;
mod secrets;
mod sending;
mod upstream_faults;
