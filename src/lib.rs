//! A sidecar that holds the WhatsApp credentials, so that applications need none.

pub mod config;
pub mod document;
pub mod provider;
pub mod units;
