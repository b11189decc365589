//! `keyside run`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::{App, AppError};

/// The options of `keyside run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The configuration [default: proxy.toml, then /etc/keyside/proxy.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(args: RunArgs) -> ExitCode {
    let app = match App::start(super::config_path(args.config)).await {
        Ok(app) => app,
        Err(error @ AppError::Load(_)) => {
            eprintln!("{error}");
            return ExitCode::from(super::BAD_CONFIGURATION);
        }
        Err(error) => return failed(&error),
    };
    match app.serve_until_signal().await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &AppError) -> ExitCode {
    eprintln!("keyside: {error}");
    ExitCode::FAILURE
}
