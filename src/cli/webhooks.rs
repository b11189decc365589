//! Webhooks in `keyside status`.

use serde_json::Value;

use super::credentials::ago;
use crate::json::words::{list, text};

/// Returns the row of a webhook, with the deliveries of all destinations.
pub(super) fn row(webhook: &Value) -> [String; 7] {
    let [sidecar, name, path, credential, forward] =
        ["sidecar", "name", "path", "credential", "forward"].map(|key| text(&webhook[key]));
    let of_each = |key: &'static str| {
        let health = list(&webhook["to"]).map(|to| &to["traffic"]);
        health.filter_map(move |health| health[key].as_u64())
    };
    let last_success = of_each("last_success").max();
    let failed: u64 = of_each("failed_last_hour").sum();
    let all = failed + of_each("succeeded_last_hour").sum::<u64>();
    let failures = match all {
        0 => "-".to_owned(),
        all => format!("{failed} of {all}"),
    };
    let last = ago(&last_success.map_or(Value::Null, Value::from));
    [sidecar, name, path, credential, last, failures, forward]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_deliveries_of_all_destinations_count_together() {
        let health = |failed: u64| {
            json!({ "traffic": {
                "last_success": null, "failed_last_hour": failed, "succeeded_last_hour": 2, "problem": null,
            }})
        };
        let webhook = json!({
            "sidecar": "", "name": "acme", "path": "/hook", "credential": "a", "forward": "b, c",
            "to": [health(0), health(3), { "traffic": null }],
        });
        assert_eq!(
            row(&webhook),
            ["", "acme", "/hook", "a", "-", "3 of 7", "b, c"]
        );
        let unused = json!({ "name": "acme", "to": [] });
        assert_eq!(row(&unused)[5], "-");
    }
}
