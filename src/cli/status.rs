//! `keyside status`

use std::process::ExitCode;

use serde_json::Value;

use super::client::ask;
use super::credentials;
use super::table::{self, duration, list, text};

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
        "keyside {}, generation {}, up {}, last reload: {}",
        text(&status["version"]),
        status["generation"],
        duration(status["uptime_seconds"].as_u64().unwrap_or_default()),
        text(&reload["last_result"])
    );
    for reason in list(&reload["refused_because"]) {
        println!("  refused: {}", text(reason));
    }
    credentials::print(&status["credentials"]);
    table::print(
        ["ROUTE", "PATH", "CREDENTIAL", "UPSTREAM", "PER SENDER", "WAITING", "OPERATIONS"],
        list(&status["routes"]).map(route),
    );
    tell_of_sharing(&status["shared_limits"]);
    if list(&status["webhooks"]).next().is_some() {
        let webhook = |webhook: &Value| ["name", "path", "credential", "forward"].map(|key| text(&webhook[key]));
        table::print(["WEBHOOK", "PATH", "CREDENTIAL", "FORWARD"], list(&status["webhooks"]).map(webhook));
    }
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
