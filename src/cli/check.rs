//! `keyside check`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::metrics::Metrics;
use crate::reload::load;

/// The options of `keyside check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The configuration [default: proxy.toml, then /etc/keyside/proxy.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(args: CheckArgs) -> ExitCode {
    let path = super::config_path(args.config);
    match load(&path, None, &Metrics::new()).await {
        Ok(live) => {
            for warning in &live.config.warnings {
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
            println!(
                "{}: {} credentials, {} routes, {} webhooks: good",
                path.display(),
                live.credentials.len(),
                live.config.routes.len(),
                live.config.webhooks.len()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            let reasons = error.reasons();
            for reason in &reasons {
                eprintln!("{reason}");
            }
            eprintln!("{} {}", reasons.len(), if reasons.len() == 1 { "fault" } else { "faults" });
            ExitCode::from(super::BAD_CONFIGURATION)
        }
    }
}
