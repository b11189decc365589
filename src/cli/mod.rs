//! The command line: one file per command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::metrics::Metrics;
use crate::reload::{Live, load};

mod audit;
mod check;
mod client;
mod credentials;
mod demo;
mod explain;
mod providers;
mod reload;
mod rotate;
mod run;
mod sandbox;
mod sign;
mod status;
mod table;

/// A sidecar that holds the WhatsApp credentials, so that applications need none.
#[derive(Debug, Parser)]
#[command(name = "keyside", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar
    Run(run::RunArgs),
    /// Validate configuration and secrets, and report every fault
    Check(check::CheckArgs),
    /// Tell which route, operation, credential and limits a request would meet
    Explain(explain::ExplainArgs),
    /// Reload a running sidecar, and print what changed or why it was refused
    Reload(reload::ReloadArgs),
    /// Show credentials and limits of a running sidecar
    Status(status::StatusArgs),
    /// Show the whole story on loopback, against the built-in sandbox
    Demo(demo::DemoArgs),
    /// Run an emulator of the Cloud API, or of another provider's, for development and tests
    Sandbox(sandbox::SandboxArgs),
    /// Read an event on standard input, and print the header lines with which a provider would sign it
    Sign(sign::SignArgs),
    /// Exchange a token of Meta's for a new one, put it in its place, prove it, and revoke the old one
    Rotate(rotate::RotateArgs),
    /// Check an audit file
    Audit(audit::AuditArgs),
    /// List the providers that ship with Keyside, or print one as TOML
    Providers(providers::ProvidersArgs),
}

/// Runs the command that was asked for.
pub async fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Run(args) => run::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Reload(args) => reload::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Demo(args) => demo::run(args).await,
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Sign(args) => sign::run(args).await,
        Command::Rotate(args) => rotate::run(args).await,
        Command::Audit(args) => audit::run(&args),
        Command::Providers(args) => providers::run(args),
    }
}

/// Bad configuration or secret: `EX_CONFIG` of sysexits(3).
const BAD_CONFIGURATION: u8 = 78;

/// All that the configuration leads to; else what is wrong with it was printed.
async fn loaded(named: Option<std::path::PathBuf>) -> Result<Live, ExitCode> {
    let loaded = load(&config_path(named), None, &Metrics::new()).await;
    loaded.map_err(|error| {
        eprintln!("{error}");
        ExitCode::from(BAD_CONFIGURATION)
    })
}

/// The configuration file that was named, or the first of the two places where one is looked for.
fn config_path(named: Option<std::path::PathBuf>) -> std::path::PathBuf {
    named.unwrap_or_else(|| {
        let here = std::path::PathBuf::from("proxy.toml");
        if here.exists() { here } else { "/etc/keyside/proxy.toml".into() }
    })
}
