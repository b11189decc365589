//! `keyside status`

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::client::ask;

/// The options of `keyside status`.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// The admin listener: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    admin: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StatusArgs) -> ExitCode {
    match ask(&args.admin, "GET", "/status") {
        Ok((200, status)) if args.json => println!("{status:#}"),
        Ok((200, status)) => print_for_people(&status),
        Ok((code, _)) => {
            eprintln!("keyside: the sidecar answered {code}");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("keyside: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn print_for_people(status: &Value) {
    let reload = &status["reload"];
    println!(
        "keyside {}, generation {}, last reload: {}",
        text(&status["version"]),
        status["generation"],
        text(&reload["last_result"])
    );
    for reason in list(&reload["refused_because"]) {
        println!("  refused: {}", text(reason));
    }
    print_table(
        ["CREDENTIAL", "SECRET", "FINGERPRINT", "AGE", "POLICY", "STATE", "CONFIRMED", "FROM"],
        list(&status["credentials"]).flat_map(secrets),
    );
    print_table(
        ["CREDENTIAL", "USABLE", "SENDS", "PROVIDER SAYS", "ENDS IN", "SCOPES", "PREVIOUS ENDS IN"],
        list(&status["credentials"]).map(credential),
    );
    list(&status["credentials"]).for_each(tell_what_to_do);
    print_table(
        ["ROUTE", "PATH", "CREDENTIAL", "UPSTREAM", "PER SENDER", "WAITING", "OPERATIONS"],
        list(&status["routes"]).map(route),
    );
    tell_of_sharing(&status["shared_limits"]);
    if list(&status["webhooks"]).next().is_some() {
        let webhook = |webhook: &Value| ["name", "path", "credential", "forward"].map(|key| text(&webhook[key]));
        print_table(["WEBHOOK", "PATH", "CREDENTIAL", "FORWARD"], list(&status["webhooks"]).map(webhook));
    }
}

fn secrets(credential: &Value) -> impl Iterator<Item = [String; 8]> {
    let ago = |at: &Value| {
        at.as_u64().map_or_else(|| "-".to_owned(), |at| format!("{} ago", days(&now().saturating_sub(at).into())))
    };
    list(&credential["secrets"]).map(move |secret| {
        [
            text(&credential["name"]),
            text(&secret["name"]),
            text(&secret["fingerprint"]),
            days(&secret["age_seconds"]),
            days(&credential["max_age_seconds"]),
            text(&secret["state"]),
            ago(&secret["confirmed"]),
            text(&secret["reference"]),
        ]
    })
}

fn credential(credential: &Value) -> [String; 7] {
    let left = |pointer| {
        let at = credential.pointer(pointer).and_then(Value::as_u64);
        at.map_or_else(|| "-".to_owned(), |at| days(&at.saturating_sub(now()).into()))
    };
    let at = |pointer| credential.pointer(pointer).map_or_else(|| "-".to_owned(), text);
    let scopes: Vec<_> = credential.pointer("/check/scopes").into_iter().flat_map(list).map(text).collect();
    [
        at("/name"),
        if credential["usable"] == true { "yes" } else { "NO" }.to_owned(),
        at("/sends"),
        at("/check/result"),
        left("/check/expires"),
        scopes.join(" "),
        left("/previous/0/ends"),
    ]
}

fn route(route: &Value) -> [String; 7] {
    let operations: Vec<_> = list(&route["operations"]).map(text).collect();
    let limit = |pointer| route.pointer(pointer).unwrap_or(&Value::Null);
    [
        text(&route["name"]),
        text(&route["path"]),
        text(&route["credential"]),
        text(&route["upstream"]),
        text(limit("/limit/per_sender")),
        limit("/limit/waiting").to_string(),
        operations.join(" "),
    ]
}

/// What is wrong with a credential, and what to do about it.
fn tell_what_to_do(credential: &Value) {
    let name = text(&credential["name"]);
    let checked = credential.pointer("/check/result").is_some_and(|result| result == "refused");
    if checked || credential["refused_by_provider"] == true {
        println!("  {name}: the provider refuses it: put a new secret in its place and reload");
    }
    if credential["sends"] == "previous" {
        println!("  {name}: sends with the secret from before the last rotation, because the new one is refused");
    }
    if let Some(reason) = credential.pointer("/check/reason").and_then(Value::as_str) {
        println!("  {name}: {reason}");
    }
    for unread in list(&credential["unread"]) {
        let [secret, reference, problem] = ["secret", "reference", "problem"].map(|key| text(&unread[key]));
        println!("  {name}: {secret} cannot be read from {reference}: {problem}");
    }
    for secret in list(&credential["secrets"]).filter(|secret| secret["state"] != "ok") {
        println!("  {name}: {} is {}: rotate it", text(&secret["name"]), text(&secret["state"]));
    }
}

/// Whether limits are shared with other sidecars, and what holds where they should be.
fn tell_of_sharing(shared: &Value) {
    let redis = text(&shared["redis"]);
    match (shared["in_use"].as_bool(), shared["problem"].as_str()) {
        (Some(true), _) => println!("\nlimits are shared through {redis}"),
        (Some(false), problem) => {
            let (problem, on_failure) = (problem.unwrap_or("no connection"), text(&shared["on_failure"]));
            println!(
                "\nlimits are NOT shared: {redis}: {problem}; until it answers, on_failure = \"{on_failure}\" holds"
            );
        }
        (None, _) => {}
    }
}

fn print_table<const COLUMNS: usize>(titles: [&str; COLUMNS], rows: impl Iterator<Item = [String; COLUMNS]>) {
    let rows: Vec<_> = std::iter::once(titles.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    println!();
    for row in rows {
        let line: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        println!("{}", line.trim_end());
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn days(seconds: &Value) -> String {
    let seconds = seconds.as_u64().unwrap_or_default();
    match seconds {
        0..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
