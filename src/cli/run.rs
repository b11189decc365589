//! `keyside run`

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing::level_filters::LevelFilter;

use super::config::ConfigArgs;
use crate::app::{App, AppError, Signals};
use crate::config::LogConfig;
use crate::listener::PassedSockets;
use crate::log::{Log, LogFormat};
use crate::reload::FirstConfig;

/// The options of `keyside run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until a signal. Exits with 78 where the configuration or a secret has a fault, and with 0
/// after a signal during the start.
pub(super) async fn run(args: RunArgs) -> ExitCode {
    let mut signals = match Signals::receive() {
        Ok(signals) => signals,
        Err(error) => return failed(DEFAULT_LOG, &[error.to_string()]),
    };
    let passed = PassedSockets::take();
    // The log comes before the secrets: the wait for an unreachable server would otherwise be
    // silent.
    let config = tokio::select! {
        config = FirstConfig::read(args.config.file()) => config,
        // The file may hang with its disk. How to log stands in the file.
        () = signals.end() => return ExitCode::SUCCESS,
    };
    let settings = config.as_ref().map_or(DEFAULT_LOG, FirstConfig::log);
    let _log = Log::start(settings.level, settings.format);
    let sockets = match passed {
        Ok(sockets) => sockets,
        Err(error) => return failed(settings, &[error.to_string()]),
    };
    let started = match config {
        Ok(config) => tokio::select! {
            started = App::start(config, sockets) => started,
            () = signals.end() => {
                tracing::info!("stopped before the start was complete");
                return ExitCode::SUCCESS;
            }
        },
        Err(error) => Err(AppError::Load(error)),
    };
    let app = match started {
        Ok(app) => app,
        Err(AppError::Load(error)) => {
            failed(settings, &error.reasons());
            return ExitCode::from(super::BAD_CONFIGURATION);
        }
        Err(error) => return failed(settings, &[error.to_string()]),
    };
    app.serve_until_signal(signals).await;
    ExitCode::SUCCESS
}

/// Tells the reasons for not serving: a person at the terminal in plain text, a program in the log.
fn failed(log: LogConfig, reasons: &[String]) -> ExitCode {
    let is_read_by_people = std::io::stderr().is_terminal() || log.level == LevelFilter::OFF;
    for reason in reasons {
        if is_read_by_people {
            complain!("keyside: {reason}");
        } else {
            tracing::error!(reason, "the sidecar does not serve");
        }
    }
    ExitCode::FAILURE
}

/// The log of a sidecar whose configuration has faults.
const DEFAULT_LOG: LogConfig = LogConfig {
    level: LevelFilter::INFO,
    format: LogFormat::Auto,
};
