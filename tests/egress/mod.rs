//! The way out of the machine: `[egress]`, and connections that are opened ahead of use.

mod proxies;
mod settings;
mod warm;
