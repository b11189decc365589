//! `keyside sandbox`: runs the emulator until a signal, with its secrets in files.

mod account;
mod files;
mod introduction;
mod standing;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use keyside_sandbox::{App, Dialect, Options, Sandbox, ThrottleStatus, magic_recipients};
use tokio::signal::unix::{SignalKind, signal};

use super::output::to_stdout;
use crate::units::{UnitError, duration};
use account::SandboxAccount;
use files::{FileError, directory, replace};
use introduction::Introduction;
use standing::StandingArgs;

/// The options of `keyside sandbox`.
#[derive(Debug, clap::Args)]
#[command(after_help = describe_magic_recipients(None))]
pub(super) struct SandboxArgs {
    /// Emulate this provider instead of Meta
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Dialect::all().map(|dialect| dialect.name)))]
    #[arg(conflicts_with_all = ["media_listen", "media_host", "require_proof", "pair_limit", "throttle_status", "senders", "number_status", "quality", "tier", "health", "unsubscribed", "number_callback", "account_callback"])]
    provider: Option<String>,
    /// Address of the emulated graph.facebook.com, or of the provider's host
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9443")]
    listen: SocketAddr,
    /// Address of the emulated lookaside.fbsbx.com
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9444")]
    media_listen: SocketAddr,
    /// Host, with a port if needed, in links to media [default: the address of --media-listen]
    #[arg(long, value_name = "HOST")]
    media_host: Option<String>,
    /// Speak HTTP instead of HTTPS
    #[arg(long)]
    plain: bool,
    /// Directory for ca.pem and the secrets, such as token and app_secret; made if missing
    /// [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Refuse calls without appsecret_proof
    #[arg(long)]
    require_proof: bool,
    /// Messages per second of one sender; more are refused with 130429, or with the provider's own
    /// error
    #[arg(long, value_name = "N")]
    per_sender: Option<NonZeroU32>,
    /// Limit messages to one recipient: one in 6 s, and 45 at once; more are refused with 131056
    #[arg(long)]
    pair_limit: bool,
    /// HTTP status of errors 130429 and 131056
    #[arg(long, value_name = "400|429", default_value = "400")]
    throttle_status: ThrottleStatus,
    /// Phone number id that may send; may be repeated [default: any]
    #[arg(long = "sender", value_name = "ID")]
    senders: Vec<String>,
    /// Callback URL for webhooks; with Meta, webhooks start after the handshake
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// Trusted authorities for the callback URL, in PEM [default: the sandbox's own authority]
    #[arg(long, value_name = "FILE")]
    callback_ca: Option<PathBuf>,
    #[command(flatten)]
    standing: StandingArgs,
    /// Delay of every answer
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = latency)]
    latency: Duration,
}

/// Runs the sandbox until SIGINT or SIGTERM.
pub(super) async fn run(args: SandboxArgs) -> ExitCode {
    match serve(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("keyside: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: SandboxArgs) -> Result<(), Box<dyn std::error::Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let dir = directory(args.dir.as_deref())?;
    let provider = args.provider.as_deref().and_then(Dialect::named);
    let account = SandboxAccount::new(&dir, provider)?;
    let callback = args.callback.clone();
    let tls = !args.plain;
    let sandbox = Sandbox::start(options(args, provider, &account)?).await?;
    replace(&dir.join("ca.pem"), sandbox.ca_pem())?;
    let introduction = Introduction {
        sandbox: &sandbox,
        provider,
        account: &account,
        dir: &dir,
        tls,
        callback: callback.as_deref().unwrap_or(DEFAULT_CALLBACK),
    };
    // A sandbox whose output nobody reads goes on until a signal.
    to_stdout(format_args!("{}", introduction.text()?));
    let app = callback.map(|callback| App {
        name: "sandbox".to_owned(),
        callback,
        secret: account.signing_key.clone(),
        verify_token: account.verify_token.clone(),
    });
    tokio::select! {
        never = follow_key_file(&sandbox, &account) => match never {},
        never = subscribe(&sandbox, app) => match never {},
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn options(
    args: SandboxArgs,
    provider: Option<&'static Dialect>,
    account: &SandboxAccount,
) -> Result<Options, FileError> {
    let callback_ca = match args.callback_ca {
        Some(file) => Some(std::fs::read(&file).map_err(|error| FileError::Io(file, error))?),
        None => None,
    };
    Ok(Options {
        provider,
        listen: args.listen,
        media_listen: args.media_listen,
        media_host: args.media_host,
        tls: !args.plain,
        tokens: vec![account.key.clone()],
        app_secret: Some(account.signing_key.clone()),
        require_proof: args.require_proof,
        senders: args.senders,
        per_sender: args.per_sender.map(NonZeroU32::get),
        pair_limit: args.pair_limit,
        throttle_status: args.throttle_status,
        latency: args.latency,
        callback_ca,
        standing: args.standing.into(),
    })
}

/// Makes each new key in the key's file valid. Old keys stay valid.
async fn follow_key_file(sandbox: &Sandbox, account: &SandboxAccount) -> Infallible {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        if let Some(key) = account.current_key().await {
            sandbox.accept_token(&key);
        }
    }
}

/// Subscribes the app, again and again until its callback URL answers: the sidecar behind it may
/// start later.
async fn subscribe(sandbox: &Sandbox, app: Option<App>) -> Infallible {
    let mut printed = String::new();
    while let Some(app) = &app {
        let error = match sandbox.subscribe(app.clone()).await {
            Ok(()) => {
                say!("Webhooks go to {}", app.callback);
                break;
            }
            Err(error) => format!("No webhooks yet: {error}"),
        };
        if error != printed {
            say!("{error}");
            printed = error;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    std::future::pending().await
}

fn describe_magic_recipients(provider: Option<&Dialect>) -> String {
    let lines =
        magic_recipients(provider).map(|(number, effect)| format!("  {number}  {effect}\n"));
    format!(
        "Recipients that trigger a failure:\n{}",
        lines.collect::<String>()
    )
}

/// Reads a delay, which may be zero.
fn latency(text: &str) -> Result<Duration, UnitError> {
    match duration(text) {
        Err(UnitError::Zero) => Ok(Duration::ZERO),
        result => result,
    }
}

/// The callback URL in the printed configuration if none was given: that of a sidecar on its usual
/// port.
const DEFAULT_CALLBACK: &str = "http://127.0.0.1:8081/webhooks/whatsapp";

/// The interval between two looks at the key's file, and between two attempts to subscribe the app:
/// people who try a rotation wait that long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_a_unit_and_may_be_zero() {
        assert_eq!(latency("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(latency("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(latency("0ms"), Ok(Duration::ZERO));
        assert!(latency("5").is_err() && latency("s").is_err());
    }
}
