//! Credentials as tables for people: what is in their slots, what the provider says, what is wrong and what to do. They
//! are read from the JSON that `/status` has for programs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::table::{self, duration, list, text};

/// Prints all there is to say about these.
pub(super) fn print(credentials: &Value) {
    table::print(
        [
            "CREDENTIAL",
            "SECRET",
            "SLOT",
            "FINGERPRINT",
            "AGE",
            "MAX AGE",
            "COUNTED FROM",
            "STATE",
            "CONFIRMED",
            "SOURCE",
        ],
        list(credentials).flat_map(secrets),
    );
    table::print(
        ["CREDENTIAL", "USABLE", "SENDS", "PROVIDER SAYS", "ASKED", "TOKEN ENDS", "DATA ACCESS ENDS", "SCOPES"],
        list(credentials).map(credential),
    );
    println!();
    let tasks: Vec<_> = list(credentials).flat_map(tasks).collect();
    if tasks.is_empty() {
        println!("Nothing is wrong with a credential.");
    } else {
        println!("What is wrong, and what to do:");
        tasks.iter().for_each(|task| println!("  {task}"));
    }
}

fn secrets(credential: &Value) -> Vec<[String; 10]> {
    let mut rows = Vec::new();
    let policy = seconds(&credential["max_age_seconds"]);
    for secret in list(&credential["secrets"]) {
        let mut row = |held: &Value, slot: &str, state: String| {
            rows.push([
                text(&credential["name"]),
                text(&secret["name"]),
                slot.to_owned(),
                text(&held["fingerprint"]),
                seconds(&held["age_seconds"]),
                policy.clone(),
                text(&held["since_from"]),
                state,
                ago(&held["confirmed"]),
                text(&held["reference"]),
            ]);
        };
        row(secret, "current", text(&secret["state"]));
        for accepted in list(&secret["accepted"]) {
            row(accepted, "accepted", "-".to_owned());
        }
        for previous in list(&credential["previous"]) {
            let ends = format!("until in {}", seconds(&previous["ends_in_seconds"]));
            let of_it = list(&previous["secrets"]).filter(|held| held["name"] == secret["name"]);
            // Where only another of its secrets was replaced, this one is current too.
            for held in of_it.filter(|held| held["fingerprint"] != secret["fingerprint"]) {
                row(held, "previous", ends.clone());
            }
        }
    }
    rows
}

fn credential(credential: &Value) -> [String; 8] {
    let check = &credential["check"];
    let end = |end: &Value| match end.as_u64() {
        Some(end) => format!("in {}", duration(end.saturating_sub(now()))),
        None if check["result"] == "proved" => "never".to_owned(),
        None => "-".to_owned(),
    };
    let scopes: Vec<_> = list(&check["scopes"]).map(text).collect();
    let asked = check["asked_seconds_ago"].as_u64();
    [
        text(&credential["name"]),
        if credential["usable"] == true { "yes" } else { "NO" }.to_owned(),
        text(&credential["sends"]),
        text(&check["result"]),
        asked.map_or_else(|| "-".to_owned(), |asked| format!("{} ago", duration(asked))),
        end(&check["expires"]),
        end(&check["data_access_expires"]),
        scopes.join(" "),
    ]
}

/// What is wrong with a credential, and what to do about it, a line for each.
fn tasks(credential: &Value) -> Vec<String> {
    let name = text(&credential["name"]);
    let check = &credential["check"];
    let mut tasks = Vec::new();
    for unread in list(&credential["unread"]) {
        let [secret, reference, problem] = ["secret", "reference", "problem"].map(|key| text(&unread[key]));
        tasks.push(format!("{name}: {secret} cannot be read from {reference}: {problem}"));
    }
    for missing in list(&credential["missing"]).map(text) {
        tasks.push(format!("{name}: there is no {missing} to send with: its requests get 503 until there is"));
    }
    let reason = check["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    if check["result"] == "refused" || credential["refused_by_provider"] == true {
        tasks.push(format!("{name}: the provider refuses it: put a new secret in its place and reload{reason}"));
    }
    if check["result"] == "unproved" {
        tasks.push(format!("{name}: it is used unproved, and the provider asked again from time to time{reason}"));
    }
    if credential["sends"] == "previous" {
        let left = list(&credential["previous"]).next().map(|previous| seconds(&previous["ends_in_seconds"]));
        let left = left.unwrap_or_default();
        tasks.push(format!(
            "{name}: the provider refuses the new secret, so the one before is sent, which ends in {left}: put a good one \
             in its place and reload"
        ));
    }
    let days = check["ends_in_seconds"].as_u64().map(|left| left / 86_400);
    if check["ends_in_seconds"] == 0 {
        tasks.push(format!("{name}: the token has ended: put a new one in its place and reload"));
    } else if let Some(days) = days.filter(|days| *days < SOON) {
        tasks.push(format!(
            "{name}: the token ends in {days} days: exchange it with `keyside rotate {name}`, or replace it"
        ));
    }
    for secret in list(&credential["secrets"]).filter(|secret| secret["state"] != "ok") {
        let (age, policy) = (seconds(&secret["age_seconds"]), seconds(&credential["max_age_seconds"]));
        tasks.push(format!("{name}: {} is {age} old, of {policy} at most: rotate it", text(&secret["name"])));
    }
    tasks.extend(list(&credential["concerns"]).map(|concern| format!("{name}: the token {}", text(concern))));
    tasks
}

fn seconds(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), duration)
}

fn ago(at: &Value) -> String {
    at.as_u64().map_or_else(|| "-".to_owned(), |at| format!("{} ago", duration(now().saturating_sub(at))))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The days ahead of which the log has the first alarm.
const SOON: u64 = 14;
