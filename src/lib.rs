//! A sidecar that holds the WhatsApp credentials, so that applications need none.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod credential;
pub mod document;
pub mod headers;
pub mod json;
pub mod limit;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod outbound;
pub mod provider;
pub mod query;
pub mod reload;
pub mod response;
pub mod secret;
pub mod tls;
pub mod units;
pub mod upstream;
pub mod watchdog;
