//! `keyside status`: the `/status` of a running sidecar as tables, or only what is wrong.

use std::process::ExitCode;

use serde_json::Value;

use super::client::ask;
use super::credentials;
use super::problems::{
    self, Gravity, Problem, audit_problem, of_certificates, of_credentials, of_sidecar,
    sharing_problem,
};
use super::table::{self, counted, duration, list, text};

/// The options of `keyside status`.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Show only the credentials, routes and webhooks with these names, and what belongs to them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print only the problems, with what to do
    #[arg(long)]
    problems: bool,
    /// Exit with 1 if anything is wrong, and print only that. Alone it prints nothing while all is well
    #[arg(long)]
    check: bool,
    /// The admin listener of the running sidecar: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    admin: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks the sidecar, and prints the answer.
pub(super) fn run(args: &StatusArgs) -> ExitCode {
    match status(args) {
        Ok(status) => print(args, &status),
        Err(problem) => {
            complain!("keyside: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the part of the status that the arguments ask for.
fn status(args: &StatusArgs) -> Result<Value, Box<dyn std::error::Error>> {
    let (code, mut status) = ask(&args.admin, "GET", "/status")?;
    if code != 200 {
        return Err(format!("the sidecar at {} answered {code}", args.admin).into());
    }
    if !args.names.is_empty() {
        // The name is not repeated: a secret may stand in its place.
        if let Some(position) = args.names.iter().position(|name| !has_name(&status, name)) {
            let number = position + 1;
            return Err(format!("no credential, route or webhook has name {number}").into());
        }
        keep_named(&mut status, &args.names);
    }
    Ok(status)
}

fn print(args: &StatusArgs, status: &Value) -> ExitCode {
    let mut problems = of_credentials(&status["credentials"]);
    if args.names.is_empty() {
        problems.extend(of_sidecar(status));
    }
    let is_wrong = |problem: &Problem| problem.gravity == Gravity::Wrong;
    let has_wrong = problems.iter().any(is_wrong);
    if args.json {
        say!("{status:#}");
    } else if args.problems || args.check {
        let is_shown = |problem: &&Problem| args.problems || is_wrong(problem);
        for problem in problems.iter().filter(is_shown) {
            say!("{}", problem.text);
        }
    } else {
        print_tables(status);
    }
    if args.check && has_wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// True if a credential, a route or a webhook has the name.
fn has_name(status: &Value, name: &str) -> bool {
    KINDS
        .iter()
        .any(|kind| list(&status[*kind]).any(|entry| entry["name"] == name))
}

/// Keeps the entries with these names: a credential with its routes and webhooks, and a route or webhook with its
/// credential.
fn keep_named(status: &mut Value, names: &[String]) {
    let is_named = |value: &Value| names.iter().any(|name| value == name);
    let credentials: Vec<_> = ["routes", "webhooks"]
        .iter()
        .flat_map(|kind| list(&status[*kind]))
        .filter(|entry| is_named(&entry["name"]))
        .map(|entry| entry["credential"].clone())
        .collect();
    for kind in KINDS {
        let Some(entries) = status.get_mut(kind).and_then(Value::as_array_mut) else {
            continue;
        };
        entries.retain(|entry| {
            let name = &entry["name"];
            is_named(name)
                || (kind == CREDENTIALS && credentials.contains(name))
                || is_named(&entry["credential"])
        });
    }
}

fn print_tables(status: &Value) {
    let reload = &status["reload"];
    say!(
        "keyside {}, generation {}, up {}, last reload: {}",
        text(&status["version"]),
        status["generation"],
        duration(status["uptime_seconds"].as_u64().unwrap_or_default()),
        text(&reload["last_result"])
    );
    for reason in list(&reload["refused_because"]) {
        say!("  last reload refused, mend this: {}", text(reason));
    }
    credentials::print_tables(&status["credentials"]);
    let problems = of_credentials(&status["credentials"]);
    problems::print(problems.iter().map(|problem| &problem.text));
    table::print(
        [
            "ROUTE",
            "PATH",
            "CREDENTIAL",
            "UPSTREAM",
            "PER SENDER",
            "WAITING",
            "OPERATIONS",
        ],
        list(&status["routes"]).map(route),
    );
    print_sharing(&status["shared_limits"]);
    print_audit(&status["audit"]);
    for problem in of_certificates(status) {
        say!("\n{}", problem.text);
    }
    if list(&status["webhooks"]).next().is_some() {
        let webhook = |webhook: &Value| {
            ["name", "path", "credential", "forward"].map(|key| text(&webhook[key]))
        };
        table::print(
            ["WEBHOOK", "PATH", "CREDENTIAL", "FORWARD"],
            list(&status["webhooks"]).map(webhook),
        );
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

/// Prints the audit file, and the reason for which the file cannot be written.
fn print_audit(audit: &Value) {
    if let Some(problem) = audit_problem(audit) {
        say!("\n{problem}");
    } else if !audit.is_null() {
        let lost = audit["lost"].as_u64().unwrap_or_default();
        say!(
            "\naudit: {}, lost: {}",
            text(&audit["file"]),
            counted(lost, "event")
        );
    }
}

/// Prints the state of the shared server, and the rule while the server is lost.
fn print_sharing(shared: &Value) {
    if let Some(problem) = sharing_problem(shared) {
        say!("\n{problem}");
    } else if !shared.is_null() {
        say!("\nLimits are shared through {}.", text(&shared["redis"]));
    }
}

/// The name of the list of credentials.
const CREDENTIALS: &str = "credentials";
/// The lists of entries with names.
const KINDS: [&str; 3] = [CREDENTIALS, "routes", "webhooks"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_keeps_what_belongs_to_it() {
        let status = json!({
            "credentials": [{ "name": "acme" }, { "name": "other" }],
            "routes": [
                { "name": "acme", "credential": "acme" },
                { "name": "bulk", "credential": "acme" },
                { "name": "other", "credential": "other" },
            ],
            "webhooks": [{ "name": "hook", "credential": "other" }],
        });
        for (name, expected) in [
            ("acme", ["acme", "acme bulk", ""]),
            ("bulk", ["acme", "bulk", ""]),
            ("hook", ["other", "", "hook"]),
            ("other", ["other", "other", "hook"]),
        ] {
            let mut kept = status.clone();
            assert!(has_name(&kept, name));
            keep_named(&mut kept, &[name.to_owned()]);
            let names = KINDS.map(|kind| {
                let names: Vec<_> = list(&kept[kind])
                    .map(|entry| text(&entry["name"]))
                    .collect();
                names.join(" ")
            });
            assert_eq!(names, expected, "{name}");
        }
        assert!(!has_name(&status, "EAATOKEN"));
    }
}
