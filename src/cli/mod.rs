//! The command line: one file per command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use prometheus_client::registry::Registry;

use crate::app;
use crate::log::wants_color;
use crate::reload::metrics::ReloadMetrics;
use crate::reload::{Live, load};
use config::ConfigArgs;

#[macro_use]
mod output;

mod argument;
mod audit;
mod ca;
mod check;
mod client;
mod completions;
mod config;
mod credentials;
mod demo;
mod doctor;
mod dry_run;
mod events;
mod explain;
mod fate;
mod init;
mod new_secret;
mod own_secrets;
mod problems;
mod progress;
mod providers;
mod reload;
mod resume;
mod revoke;
mod rotate;
mod run;
mod sandbox;
mod scan;
mod shown_request;
mod sidecars;
mod sign;
mod status;
mod strays;
mod table;
mod usage;
mod webhooks;

/// A sidecar that holds the WhatsApp credentials, so that applications need none.
#[derive(Debug, Parser)]
#[command(name = "keyside", version, about, color = help_color())]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the smallest configuration for a provider, with what to fill in
    Init(init::InitArgs),
    /// Run the sidecar
    Run(run::RunArgs),
    /// Validate the configuration and the secrets, and report every fault
    Check(check::CheckArgs),
    /// Examine the whole way to providers and back, and say for each step what to mend
    Doctor(doctor::DoctorArgs),
    /// Show the route, operation, credential and limits of a request, and its fate if sent now
    Explain(explain::ExplainArgs),
    /// Reload a running sidecar, and print the changes or the faults
    Reload(reload::ReloadArgs),
    /// Show the credentials, routes and limits of a running sidecar
    Status(status::StatusArgs),
    /// Show the whole story on loopback, against the built-in sandbox
    Demo(demo::DemoArgs),
    /// Run an emulator of a provider's API for development and tests
    Sandbox(sandbox::SandboxArgs),
    /// Read a webhook body on standard input, and print the signature headers of a provider
    Sign(sign::SignArgs),
    /// Put a new secret in the place of an old one, see that requests go out with it, and revoke
    /// the old one
    Rotate(rotate::RotateArgs),
    /// List, show, replay, export and erase the events that wait on disk
    Events(events::EventsArgs),
    /// Find credentials where none belong
    Scan(scan::ScanArgs),
    /// Revoke what a rotation left alive at the provider
    Revoke(revoke::RevokeArgs),
    /// Make or renew a local CA and a certificate for SDKs with the provider's address built in
    Ca(ca::CaArgs),
    /// Check an audit file
    Audit(audit::AuditArgs),
    /// List the built-in providers, or print one as TOML
    Providers(providers::ProvidersArgs),
    /// Print the script with which a shell completes commands and options
    Completions(completions::CompletionsArgs),
    /// Write manual pages into a folder
    Man(completions::ManArgs),
}

impl Arguments {
    /// Reads the arguments of the process. Prints the text of `--help`, or what is wrong with the
    /// arguments.
    ///
    /// # Errors
    /// The exit status of the process, if there is no command to run.
    pub fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let error = usage::without_stray_argument(error);
            error.print().ok();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        })
    }
}

/// Returns the colours of `--help` and of faults in the arguments, by the rule of every other
/// output. The rule of clap alone has colours for a dumb terminal where the variable `CI` is set.
fn help_color() -> clap::ColorChoice {
    if wants_color() {
        clap::ColorChoice::Auto
    } else {
        clap::ColorChoice::Never
    }
}

/// Runs the command that the arguments name.
pub async fn run(arguments: Arguments) -> ExitCode {
    let code = run_command(arguments.command).await;
    match output::failure() {
        Some(error) if code == ExitCode::SUCCESS => {
            complain!("keyside: standard output cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

async fn run_command(command: Command) -> ExitCode {
    match command {
        Command::Init(args) => init::run(&args),
        Command::Run(args) => run::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Explain(args) => explain::run(args).await,
        Command::Reload(args) => reload::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Demo(args) => demo::run(args).await,
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Sign(args) => sign::run(args).await,
        Command::Rotate(args) => Box::pin(rotate::run(args)).await,
        Command::Events(args) => events::run(&args),
        Command::Scan(args) => scan::run(args).await,
        Command::Revoke(args) => Box::pin(revoke::run(args)).await,
        Command::Ca(args) => ca::run(args),
        Command::Audit(args) => audit::run(&args),
        Command::Providers(args) => providers::run(args),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    }
}

/// The exit status for a bad configuration or secret: `EX_CONFIG` of sysexits(3).
const BAD_CONFIGURATION: u8 = 78;

/// Loads the configuration with all secrets. Prints every fault.
///
/// # Errors
/// The exit status of the command.
async fn load_or_print(config: ConfigArgs) -> Result<Live, ExitCode> {
    harden();
    load(&config.file(), &unread_metrics())
        .await
        .map_err(|error| {
            complain!("{error}");
            ExitCode::from(BAD_CONFIGURATION)
        })
}

/// Makes metrics for a command that loads a configuration and ends: nobody reads them.
fn unread_metrics() -> ReloadMetrics {
    ReloadMetrics::register(&mut Registry::default())
}

/// Closes the memory of a command that reads secrets, as `keyside run` does.
fn harden() {
    for error in app::harden() {
        complain!(
            "keyside: warning: debuggers and core dumps can read the memory of this process: {error}"
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn an_example_in_a_help_fits_a_terminal_and_can_be_copied() {
        let commands = Arguments::command();
        let texts = commands.get_subcommands().filter_map(|command| {
            let text = command.get_after_help()?.to_string();
            Some((command.get_name().to_owned(), text))
        });
        let texts: Vec<_> = texts.collect();
        assert!(texts.len() > 1, "{texts:?}");
        for (name, text) in texts {
            for line in text.lines() {
                assert!(line.len() <= 80, "{name}: {line}");
            }
        }
    }
}
