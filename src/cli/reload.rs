//! `keyside reload`

use std::process::ExitCode;

use serde_json::Value;

use super::client::{admin_address, ask};
use super::sidecars::DEFAULT_ADMIN;
use crate::document::shown_place;
use crate::json::words::{list, text};

/// The options of `keyside reload`.
#[derive(Debug, clap::Args)]
pub(super) struct ReloadArgs {
    /// The admin listener of a running sidecar: HOST:PORT or unix:/path. Several sidecars are
    /// reloaded one after the other
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = admin_address)]
    admin: Vec<String>,
}

/// Reloads the sidecars, and prints the changes or the faults. A refusal stops no further reload.
pub(super) fn run(args: &ReloadArgs) -> ExitCode {
    let mut exit = ExitCode::SUCCESS;
    for admin in &args.admin {
        let place = if args.admin.len() > 1 {
            format!("{}: ", shown_place(admin))
        } else {
            String::new()
        };
        if reload(admin, &place) != ExitCode::SUCCESS {
            exit = ExitCode::FAILURE;
        }
    }
    exit
}

/// Reloads one sidecar. `place` precedes the first line.
fn reload(admin: &str, place: &str) -> ExitCode {
    match ask(admin, "POST", "/reload") {
        Ok((200, answer)) => {
            say!(
                "{place}reloaded: generation {} is in use",
                answer.get("generation").unwrap_or(&Value::Null)
            );
            for change in texts(answer.get("changes"), "nothing changed") {
                say!("  {change}");
            }
            print_kept_back(&answer);
            ExitCode::SUCCESS
        }
        Ok((_, answer)) => {
            complain!(
                "{place}reload refused; the sidecar runs on as before. Mend this and reload again:"
            );
            for reason in texts(answer.get("reasons"), "the sidecar gave no reason") {
                complain!("  {reason}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            complain!("keyside: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the secrets that the sidecar keeps back.
fn print_kept_back(answer: &Value) {
    let mut lines = list(&answer["kept_back"]).map(text).peekable();
    if lines.peek().is_some() {
        complain!(
            "These secrets cannot be used, and what was in use before them stays in use. Mend them:"
        );
    }
    for line in lines {
        complain!("  {line}");
    }
}

/// Returns the texts of a JSON list, or `default` where the list is empty or missing.
fn texts<'a>(list: Option<&'a Value>, default: &'a str) -> Vec<&'a str> {
    match list.and_then(Value::as_array) {
        Some(texts) if !texts.is_empty() => texts.iter().filter_map(Value::as_str).collect(),
        _ => vec![default],
    }
}
