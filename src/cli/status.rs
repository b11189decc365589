//! `keyside status`

use std::process::ExitCode;

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
    let mut secrets =
        vec![["CREDENTIAL", "SECRET", "FINGERPRINT", "AGE", "POLICY", "STATE", "FROM"].map(str::to_owned)];
    for credential in list(&status["credentials"]) {
        for secret in list(&credential["secrets"]) {
            let (age, max_age) = (days(&secret["age_seconds"]), days(&credential["max_age_seconds"]));
            secrets.push([
                text(&credential["name"]),
                text(&secret["name"]),
                text(&secret["fingerprint"]),
                age,
                max_age,
                text(&secret["state"]),
                text(&secret["reference"]),
            ]);
        }
    }
    print_table(&secrets);
    let mut routes =
        vec![["ROUTE", "PATH", "CREDENTIAL", "UPSTREAM", "PER SENDER", "WAITING", "OPERATIONS"].map(str::to_owned)];
    for route in list(&status["routes"]) {
        let operations: Vec<_> = list(&route["operations"]).map(text).collect();
        let limit = &route["limit"];
        routes.push([
            text(&route["name"]),
            text(&route["path"]),
            text(&route["credential"]),
            text(&route["upstream"]),
            text(&limit["per_sender"]),
            limit["waiting"].to_string(),
            operations.join(" "),
        ]);
    }
    print_table(&routes);
    let mut webhooks = vec![["WEBHOOK", "PATH", "CREDENTIAL", "FORWARD"].map(str::to_owned)];
    for webhook in list(&status["webhooks"]) {
        webhooks.push(["name", "path", "credential", "forward"].map(|key| text(&webhook[key])));
    }
    if webhooks.len() > 1 {
        print_table(&webhooks);
    }
}

fn print_table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) {
    let mut widths = [0; COLUMNS];
    for row in rows {
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

fn days(seconds: &Value) -> String {
    let seconds = seconds.as_u64().unwrap_or_default();
    match seconds {
        0..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
