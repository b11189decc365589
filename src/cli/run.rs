//! `keyside run`

use std::process::ExitCode;

use super::config::ConfigArgs;
use crate::app::{App, AppError};
use crate::listener::PassedSockets;

/// The options of `keyside run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until a signal. Exits with 78 where the configuration or a secret has a fault.
pub(super) async fn run(args: RunArgs) -> ExitCode {
    let sockets = match PassedSockets::take() {
        Ok(sockets) => sockets,
        Err(error) => return failed(&error),
    };
    let app = match App::start(args.config.file(), sockets).await {
        Ok(app) => app,
        Err(error @ AppError::Load(_)) => {
            complain!("{error}");
            return ExitCode::from(super::BAD_CONFIGURATION);
        }
        Err(error) => return failed(&error),
    };
    match app.serve_until_signal().await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    complain!("keyside: {error}");
    ExitCode::FAILURE
}
