//! A sidecar that holds the WhatsApp credentials, so that applications need none.

pub mod config;
pub mod provider;
pub mod sandbox;
pub mod units;
