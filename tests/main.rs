//! What Keyside promises to those who use it, tested from outside: each module is a behaviour, each test's name a sentence.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::let_underscore_must_use,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, measure time and say all that it has to say; support is shared by all behaviours"
)]

mod support;

mod access_tokens;
mod audit;
mod buckets;
mod callers;
mod checks;
mod clock;
mod explain;
mod fallback;
mod lifecycle;
mod limits;
mod managers;
mod once;
mod presets;
mod providers;
mod raw_requests;
mod reload;
mod rotate;
mod rotation;
mod sandbox_providers;
mod sandbox_webhooks;
mod secrets;
mod sending;
mod shared_limits;
mod sign;
mod throttles;
mod tidy;
mod turns;
mod upstream_faults;
mod webhook_rotation;
mod webhook_tls;
mod webhooks;
