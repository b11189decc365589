//! The way out of the machine: `[egress]`.

mod proxies;
mod settings;
