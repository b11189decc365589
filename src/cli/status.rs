//! `keyside status`: the `/status` of running sidecars as tables, what is wrong first, or only what
//! is wrong.

use std::fmt;
use std::process::ExitCode;

use serde_json::Value;

use super::client::{NoStatus, admin_address, ask_status};
use super::credentials;
use super::events::print_spool;
use super::problems;
use super::sidecars::DEFAULT_ADMIN;
use super::table;
use super::webhooks;
use crate::admin::credential_problems::of_credentials;
use crate::admin::problems::{Gravity, ProblemLine, of_routes, of_sidecar, of_webhooks};
use crate::json::words::{counted, duration, list, slowed_senders, text};

/// The options of `keyside status`.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Show only the credentials, routes and webhooks with these names, and what belongs to them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print only the problems, with what to do
    #[arg(long)]
    problems: bool,
    /// Exit with 1 if anything is wrong, and print only that. Alone it prints nothing while all is
    /// well
    #[arg(long)]
    check: bool,
    /// The admin listener of a running sidecar: HOST:PORT or unix:/path. Several are shown in one
    /// table
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = admin_address)]
    admin: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A sidecar that was asked.
struct Sidecar<'a> {
    admin: &'a str,
    status: Result<Value, NoStatus>,
}

/// Asks the sidecars, and prints the answers.
pub(super) fn run(args: &StatusArgs) -> ExitCode {
    let mut sidecars: Vec<_> = args
        .admin
        .iter()
        .map(|admin| Sidecar {
            admin,
            status: ask_status(admin, ""),
        })
        .collect();
    if let Err(problem) = keep_asked(&mut sidecars, &args.names) {
        complain!("keyside: {problem}");
        return ExitCode::FAILURE;
    }
    let problems = problems_of(&sidecars, args);
    if args.json {
        print_json(&sidecars);
    } else if args.problems || args.check {
        let is_shown = |problem: &&ProblemLine| args.problems || problem.gravity == Gravity::Wrong;
        for problem in problems.iter().filter(is_shown) {
            say!("{}", problem.text);
        }
    } else {
        print_tables(&sidecars, &problems);
    }
    let mut is_answered = true;
    for sidecar in &sidecars {
        if let Err(problem) = &sidecar.status {
            complain!("keyside: {problem}");
            is_answered = false;
        }
    }
    let is_wrong = problems
        .iter()
        .any(|problem| problem.gravity == Gravity::Wrong);
    if !is_answered || (args.check && is_wrong) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Keeps what belongs to the names, if there are names.
fn keep_asked(sidecars: &mut [Sidecar<'_>], names: &[String]) -> Result<(), UnknownName> {
    let mut statuses: Vec<_> = sidecars
        .iter_mut()
        .filter_map(|sidecar| sidecar.status.as_mut().ok())
        .collect();
    for (position, name) in names.iter().enumerate() {
        let is_unknown = !statuses.iter().any(|status| has_name(status, name));
        if is_unknown && !statuses.is_empty() {
            return Err(UnknownName(position + 1));
        }
    }
    if !names.is_empty() {
        for status in &mut statuses {
            keep_named(status, names);
        }
    }
    Ok(())
}

/// The number of an argument, from 1, that is the name of nothing. The name is not repeated: a
/// secret may stand in its place.
struct UnknownName(usize);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no credential, route or webhook has name {}", self.0)
    }
}

/// Returns what is wrong, the worst first, each line with the sidecar where there are several.
fn problems_of(sidecars: &[Sidecar<'_>], args: &StatusArgs) -> Vec<ProblemLine> {
    let mut problems = Vec::new();
    for sidecar in sidecars {
        let Ok(status) = &sidecar.status else {
            continue;
        };
        let mut own = of_credentials(&status["credentials"]);
        own.extend(of_routes(&status["routes"]));
        if args.names.is_empty() {
            own.extend(of_sidecar(status));
        } else {
            own.extend(of_webhooks(status));
        }
        if sidecars.len() > 1 {
            for problem in &mut own {
                problem.text = format!("{}: {}", sidecar.admin, problem.text);
            }
        }
        problems.extend(own);
    }
    problems.sort_by_key(|problem| problem.gravity != Gravity::Wrong);
    problems
}

/// Prints the JSON of a sidecar, or of several by their addresses.
fn print_json(sidecars: &[Sidecar<'_>]) {
    if let [sidecar] = sidecars {
        if let Ok(status) = &sidecar.status {
            say!("{status:#}");
        }
        return;
    }
    let statuses = sidecars.iter().filter_map(|sidecar| {
        let status = sidecar.status.as_ref().ok()?;
        Some((sidecar.admin.to_owned(), status.clone()))
    });
    say!("{:#}", Value::Object(statuses.collect()));
}

/// True if a credential, a route or a webhook has the name.
fn has_name(status: &Value, name: &str) -> bool {
    KINDS
        .iter()
        .any(|kind| list(&status[*kind]).any(|entry| entry["name"] == name))
}

/// Keeps the entries with these names: a credential with its routes and webhooks, and a route or
/// webhook with its credential.
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
    let webhooks: Vec<_> = list(&status["webhooks"])
        .map(|webhook| webhook["name"].clone())
        .collect();
    for part in ["/spool/alarms", "/spool/destinations", "/unusable_files"] {
        if let Some(parts) = status.pointer_mut(part).and_then(Value::as_array_mut) {
            parts.retain(|part| webhooks.contains(&part["webhook"]));
        }
    }
    let kept: Vec<_> = list(&status[CREDENTIALS])
        .map(|credential| credential["name"].clone())
        .collect();
    if let Some(sends) = status
        .get_mut("sends_without_status")
        .and_then(Value::as_array_mut)
    {
        sends.retain(|sends| kept.contains(&sends["credential"]));
    }
}

fn print_tables(sidecars: &[Sidecar<'_>], problems: &[ProblemLine]) {
    let answered = || {
        sidecars.iter().filter_map(|sidecar| {
            let status = sidecar.status.as_ref().ok()?;
            let admin = (sidecars.len() > 1).then_some(sidecar.admin);
            Some((admin.unwrap_or_default(), status))
        })
    };
    if answered().next().is_none() {
        return;
    }
    for (admin, status) in answered() {
        print_head(admin, status);
    }
    problems::print(problems);
    let entries = |kind: &str| marked(answered(), kind);
    credentials::print_tables(&entries(CREDENTIALS));
    table::print(
        [
            "SIDECAR",
            "ROUTE",
            "PATH",
            "CREDENTIAL",
            "UPSTREAM",
            "LAST SUCCESS",
            "FAILED IN 1H",
            "PER SENDER",
            "WAITING",
            "OPERATIONS",
        ],
        list(&entries("routes")).map(route),
    );
    for (_, status) in answered() {
        print_way_out(&status["egress"]);
        print_sharing(&status["shared_limits"]);
        print_audit(&status["audit"]);
    }
    let entries_of_webhooks = entries("webhooks");
    if list(&entries_of_webhooks).next().is_some() {
        table::print(
            [
                "SIDECAR",
                "WEBHOOK",
                "PATH",
                "CREDENTIAL",
                "LAST DELIVERY",
                "FAILED IN 1H",
                "FORWARD",
            ],
            list(&entries_of_webhooks).map(webhooks::row),
        );
    }
    for (_, status) in answered() {
        if !status["spool"].is_null() {
            say!();
            print_spool(&status["spool"]);
        }
    }
}

/// Returns the entries of one list of all sidecars, each with the address of the sidecar.
fn marked<'s>(answered: impl Iterator<Item = (&'s str, &'s Value)>, kind: &str) -> Value {
    let marked = answered.flat_map(|(admin, status)| {
        list(&status[kind]).map(move |entry| {
            let mut entry = entry.clone();
            if let Some(fields) = entry.as_object_mut() {
                fields.insert("sidecar".to_owned(), admin.into());
            }
            entry
        })
    });
    Value::Array(marked.collect())
}

/// Prints the line about a sidecar as a whole.
fn print_head(admin: &str, status: &Value) {
    let place = if admin.is_empty() {
        String::new()
    } else {
        format!(" at {admin}")
    };
    say!(
        "keyside {}{place}, generation {}, up {}, last reload: {}",
        text(&status["version"]),
        status["generation"],
        duration(status["uptime_seconds"].as_u64().unwrap_or_default()),
        text(
            status
                .pointer("/reload/last_result")
                .unwrap_or(&Value::Null)
        )
    );
}

fn route(route: &Value) -> [String; 10] {
    let operations: Vec<_> = list(&route["operations"]).map(text).collect();
    let limit = |pointer| route.pointer(pointer).unwrap_or(&Value::Null);
    let hour = |result: &str| {
        let of = |kind: &str| {
            let pointer = format!("/traffic/{kind}/{result}_last_hour");
            route.pointer(&pointer).and_then(Value::as_u64)
        };
        of("sends").unwrap_or_default() + of("others").unwrap_or_default()
    };
    let failed = hour("failed");
    let all = failed + hour("succeeded");
    [
        text(&route["sidecar"]),
        text(&route["name"]),
        text(&route["path"]),
        text(&route["credential"]),
        text(&route["upstream"]),
        credentials::ago(
            route
                .pointer("/traffic/last_success")
                .unwrap_or(&Value::Null),
        ),
        if all == 0 {
            "-".to_owned()
        } else {
            format!("{failed} of {all}")
        },
        per_sender(&route["limit"]),
        limit("/limit/waiting").to_string(),
        operations.join(" "),
    ]
}

/// Returns the rate of a sender, with the senders that have less.
fn per_sender(limit: &Value) -> String {
    let rate = text(&limit["per_sender"]);
    match slowed_senders(limit) {
        Some(slowed) => format!("{rate}, {slowed}"),
        None => rate,
    }
}

/// Prints the audit file. A file that cannot be written is among the problems.
fn print_audit(audit: &Value) {
    if !audit.is_null() {
        let lost = audit["lost"].as_u64().unwrap_or_default();
        say!(
            "\naudit: {}, lost: {}",
            text(&audit["file"]),
            counted(lost, "event")
        );
    }
}

/// Prints the proxy. A way out that is closed is among the problems.
fn print_way_out(egress: &Value) {
    if let Some(proxy) = egress["proxy"].as_str() {
        let source = text(&egress["source"]);
        say!("\nConnections to providers leave through {proxy} ({source}).");
    }
}

/// Prints the shared server. A lost one is among the problems.
fn print_sharing(shared: &Value) {
    if shared["in_use"] == true {
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
