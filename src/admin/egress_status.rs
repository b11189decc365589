//! The way out in `/status`.

use serde_json::{Value, json};

use crate::reload::Live;

/// Returns the way out: the proxy without its credentials, and where it was read.
pub(super) fn egress_status(live: &Live) -> Value {
    let egress = &live.egress;
    json!({
        "proxy": egress.proxy().map(ToString::to_string),
        "source": egress.source().to_string(),
        "no_proxy": egress.bypass().len(),
        "problem": egress.problem(),
        "warm": live.config.egress.warm,
    })
}
