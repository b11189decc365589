//! Credentials as tables for people, made from the JSON of `/status`: the secrets in each slot, and
//! the word of the provider.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::table;
use crate::json::words::{duration, list, seconds, text};

/// Prints the credentials as tables.
pub(super) fn print_tables(credentials: &Value) {
    table::print(
        [
            "SIDECAR",
            "CREDENTIAL",
            "SECRET",
            "SLOT",
            "FINGERPRINT",
            "AGE",
            "MAX AGE",
            "AGE SINCE",
            "STATE",
            "CONFIRMED",
            "SOURCE",
        ],
        list(credentials).flat_map(secrets),
    );
    table::print(
        [
            "SIDECAR",
            "CREDENTIAL",
            "USABLE",
            "IN USE",
            "PROVIDER SAYS",
            "CHECKED",
            "TOKEN EXPIRES",
            "DATA ACCESS EXPIRES",
            "SCOPES",
        ],
        list(credentials).map(credential),
    );
}

fn secrets(credential: &Value) -> Vec<[String; 11]> {
    let mut rows = Vec::new();
    let max_age = seconds(&credential["max_age_seconds"]);
    for secret in list(&credential["secrets"]) {
        let mut row = |version: &Value, slot: &str, state: String| {
            rows.push([
                text(&credential["sidecar"]),
                text(&credential["name"]),
                text(&secret["name"]),
                slot.to_owned(),
                text(&version["fingerprint"]),
                seconds(&version["age_seconds"]),
                max_age.clone(),
                text(&version["since_from"]),
                state,
                ago(&version["confirmed"]),
                text(&version["reference"]),
            ]);
        };
        row(secret, "current", text(&secret["state"]));
        for accepted in list(&secret["accepted"]) {
            row(accepted, "accepted", "-".to_owned());
        }
        for previous in list(&credential["previous"]) {
            let ends = format!("ends in {}", seconds(&previous["ends_in_seconds"]));
            // A previous set holds every secret of the credential. An unchanged secret is already
            // in the table as the current version.
            let replaced = list(&previous["secrets"]).filter(|version| {
                version["name"] == secret["name"] && version["fingerprint"] != secret["fingerprint"]
            });
            for version in replaced {
                row(version, "previous", ends.clone());
            }
        }
    }
    rows
}

fn credential(credential: &Value) -> [String; 9] {
    let check = &credential["check"];
    let end = |end: &Value| match end.as_u64() {
        Some(end) => format!("in {}", duration(end.saturating_sub(now()))),
        None if check["result"] == "proved" => "never".to_owned(),
        None => "-".to_owned(),
    };
    let scopes: Vec<_> = list(&check["scopes"]).map(text).collect();
    let checked = check["asked_seconds_ago"].as_u64();
    [
        text(&credential["sidecar"]),
        text(&credential["name"]),
        if credential["usable"] == true {
            "yes"
        } else {
            "NO"
        }
        .to_owned(),
        text(&credential["sends"]),
        text(&check["result"]),
        checked.map_or_else(
            || "-".to_owned(),
            |seconds| format!("{} ago", duration(seconds)),
        ),
        end(&check["expires"]),
        end(&check["data_access_expires"]),
        scopes.join(" "),
    ]
}

/// Returns how long ago a Unix time was, and `-` for any other value.
pub(super) fn ago(at: &Value) -> String {
    at.as_u64().map_or_else(
        || "-".to_owned(),
        |at| format!("{} ago", duration(now().saturating_sub(at))),
    )
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
