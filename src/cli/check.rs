//! `keyside check`

use std::path::PathBuf;
use std::process::ExitCode;

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
}

pub(super) async fn run(args: CheckArgs) -> ExitCode {
    let path = super::config_path(args.config.clone());
    match load(&path, None, &Metrics::new()).await {
        Ok(live) => {
            for warning in &live.warnings {
                eprintln!("warning: {warning}");
            }
            for (name, credential) in &live.credentials {
                for (secret, slot) in credential.slots() {
                    println!(
                        "credential {name}: {secret} {} from {}",
                        slot.current.fingerprint(),
                        slot.current.reference
                    );
                }
            }
            let unread: Vec<_> = live.unread().collect();
            if !unread.is_empty() {
                return report(unread.iter());
            }
            if args.online && !ask(&live).await {
                return ExitCode::from(super::BAD_CONFIGURATION);
            }
            println!(
                "{}: {} credentials, {} routes, {} webhooks: good",
                path.display(),
                live.credentials.len(),
                live.config.routes.len(),
                live.config.webhooks.len()
            );
            ExitCode::SUCCESS
        }
        Err(error) => report(error.reasons().iter()),
    }
}

fn report(faults: impl ExactSizeIterator<Item: std::fmt::Display>) -> ExitCode {
    let count = faults.len();
    for fault in faults {
        eprintln!("{fault}");
    }
    eprintln!("{count} {}", if count == 1 { "fault" } else { "faults" });
    ExitCode::from(super::BAD_CONFIGURATION)
}

/// Asks about every credential, and for the server of shared limits, and prints what was said; false where one is refused
/// or the server does not answer.
async fn ask(live: &Live) -> bool {
    live.begin().await;
    let problem = live.shared().and_then(|shared| shared.standing().problem);
    if let (Some(limits), true) = (&live.config.limits, live.shared().is_some()) {
        println!("limits: {} {}", limits.redis, problem.as_deref().unwrap_or("answers"));
    }
    let mut answers = ask_about(live).await;
    answers.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    for (credential, asked) in &answers {
        println!("credential {}: {}", credential.name, asked.verdict);
        if let Verdict::Proved(facts) = &asked.verdict
            && !facts.kind.is_empty()
        {
            println!("  a {} token of app {} with {}", facts.kind, facts.app, facts.scopes.join(" "));
            match asked.ends_in() {
                Some(left) => println!("  good for {} more days", left.as_secs() / 86_400),
                None => println!("  it does not expire"),
            }
        }
    }
    problem.is_none() && !answers.iter().any(|(_, asked)| matches!(asked.verdict, Verdict::Refused(_)))
}
