//! The promises of Keyside to users, tested from outside: each module is a behaviour, and the name
//! of each test is a sentence.
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

/// The simulation of `benches/scale`.
#[path = "../benches/scale/fleet/mod.rs"]
mod fleet;

mod access_tokens;
mod accounts;
mod alias;
mod alias_ca;
mod audit;
mod bodies;
mod buckets;
mod callers;
mod checks;
mod checks_candidate;
mod clock;
mod commands;
mod credential_metrics;
mod crowds;
mod deliveries;
mod descriptors;
mod doctor;
mod doors;
mod egress;
mod event_forms;
mod events;
mod events_command;
mod events_samples;
mod explain;
mod fallback;
mod families;
mod forgotten;
mod hangs;
mod hold;
mod incidents;
mod journals;
mod kept_back;
mod kept_files;
mod kept_values;
mod kubernetes;
mod late_managers;
mod lifecycle;
mod limits;
mod managers;
mod many_files;
mod memory;
mod meta;
mod metrics;
mod minute;
mod mistakes;
mod monitoring;
mod once;
mod outside_faults;
mod page;
mod places;
mod presets;
mod providers;
mod quiet;
mod raw_requests;
mod readings;
mod received_media;
mod recipients;
mod redaction;
mod refusals;
mod reload;
mod renewals;
mod replays;
mod rotate;
mod rotate_cuts;
mod rotate_exchange;
mod rotate_given;
mod rotate_held;
mod rotate_new;
mod rotate_places;
mod rotate_program;
mod rotate_proof;
mod rotate_source;
mod rotation;
mod rotation_matrix;
mod rotation_speed;
mod sandbox_providers;
mod sandbox_webhooks;
mod scale;
mod scan;
mod scripts_and_redis;
mod secret_forms;
mod secrets;
mod sender_places;
mod senders;
mod sending;
mod shared_limits;
mod sign;
mod simulated_fleet;
mod soak;
mod stalls;
mod state;
mod streams;
mod systemd;
#[cfg(feature = "otlp")]
mod telemetry;
mod tenants;
mod terminal;
mod throttles;
mod tidy;
mod traffic;
mod turns;
mod upstream_faults;
mod webhook_rotation;
mod webhook_tls;
mod webhooks;
