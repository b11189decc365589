//! The way out of the machine: `[egress]`, and connections that are opened ahead of use.

#[cfg(feature = "clouds")]
mod clouds;
mod proxies;
mod settings;
mod warm;
