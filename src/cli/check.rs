//! `keyside check`

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::credentials;
use crate::admin::status;
use crate::credential::Verdict;
use crate::metrics::Metrics;
use crate::reload::{Live, ask_about, load};

/// The options of `keyside check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The configuration [default: proxy.toml, then /etc/keyside/proxy.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the providers about the credentials as well
    #[arg(long)]
    online: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: CheckArgs) -> ExitCode {
    let path = super::config_path(args.config.clone());
    let (found, faults) = match load(&path, None, &Metrics::new()).await {
        Ok(live) => {
            let mut faults: Vec<_> = live.unread().map(|fault| fault.to_string()).collect();
            if args.online {
                faults.extend(ask(&live).await);
            }
            (Some(live), faults)
        }
        Err(error) => (None, error.reasons()),
    };
    if args.json {
        let warnings = found.as_ref().map(|live| live.warnings.as_slice()).unwrap_or_default();
        let credentials = found.as_ref().map_or(Value::Null, status::credentials);
        println!("{:#}", json!({ "faults": faults, "warnings": warnings, "credentials": credentials }));
    } else {
        if let Some(live) = &found {
            live.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            credentials::print(&status::credentials(live));
            println!();
        }
        match &found {
            Some(live) if faults.is_empty() => println!(
                "{}: {} credentials, {} routes, {} webhooks: good",
                path.display(),
                live.credentials.len(),
                live.config.routes.len(),
                live.config.webhooks.len()
            ),
            _ => report(&faults),
        }
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::BAD_CONFIGURATION) }
}

fn report(faults: &[String]) {
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    eprintln!("{} {}", faults.len(), if faults.len() == 1 { "fault" } else { "faults" });
}

/// Asks about every credential, and for the server of shared limits; gives what is refused or not there.
async fn ask(live: &Live) -> Vec<String> {
    let mut refused = Vec::new();
    live.begin().await;
    if let Some((limits, shared)) = live.config.limits.as_ref().zip(live.shared()) {
        match shared.standing().problem {
            Some(problem) => refused.push(format!("limits.redis: `{}`: {problem}", limits.redis)),
            None => println!("limits are shared through {}", limits.redis),
        }
    }
    for (credential, asked) in ask_about(live).await {
        if let Verdict::Refused(reason) = &asked.verdict {
            refused.push(format!("credential.{}: the provider refuses it: {reason}", credential.name));
            credential.standing().refuse();
        }
        credential.keep(asked);
    }
    refused.sort();
    refused
}
