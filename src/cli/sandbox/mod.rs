//! `keyside sandbox`: runs the emulator until a signal, with its secrets in files.

mod account;
mod files;
mod introduction;

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{self, App, Dialect, Options, Sandbox};
use account::Account;
use files::{about, directory, replace};
use introduction::Introduction;

/// An emulator of the Cloud API, or of another provider's, for development and tests.
#[derive(Debug, clap::Args)]
#[command(after_help = magic_recipients(None))]
pub(super) struct SandboxArgs {
    /// Answer as this provider does, in the place of Meta
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Dialect::all().map(|dialect| dialect.name)))]
    #[arg(conflicts_with_all = ["media_listen", "media_host", "require_proof", "pair_limit", "throttle_status", "senders"])]
    provider: Option<String>,
    /// Where the emulated graph.facebook.com, or the provider's host, listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9443")]
    listen: SocketAddr,
    /// Where the emulated lookaside.fbsbx.com listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9444")]
    media_listen: SocketAddr,
    /// The host (and port) in links to media, instead of the address of --media-listen
    #[arg(long, value_name = "HOST")]
    media_host: Option<String>,
    /// HTTP instead of HTTPS
    #[arg(long)]
    plain: bool,
    /// Holds ca.pem and the secrets, such as token and app_secret; made if it is not there [default: a new one for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Refuse calls without appsecret_proof
    #[arg(long)]
    require_proof: bool,
    /// Messages per second that one number may send; 130429 beyond, or what the provider has for that
    #[arg(long, value_name = "N")]
    per_sender: Option<NonZeroU32>,
    /// Enforce one message in 6 s to one recipient, 45 of them borrowed; 131056 beyond
    #[arg(long)]
    pair_limit: bool,
    /// The HTTP status of those two
    #[arg(long, value_name = "400|429", default_value_t = 400, value_parser = throttle_status)]
    throttle_status: u16,
    /// A phone number id that may send; may be repeated [default: any]
    #[arg(long = "sender", value_name = "ID")]
    senders: Vec<String>,
    /// A callback URL that gets webhooks, for Meta once it answers the handshake
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// The authority of the callback's certificate, in PEM [default: the sandbox's own]
    #[arg(long, value_name = "FILE")]
    callback_ca: Option<PathBuf>,
    /// How long every answer takes
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = time)]
    latency: Duration,
}

/// Runs the sandbox until SIGINT or SIGTERM.
pub(super) async fn run(args: SandboxArgs) -> ExitCode {
    match serve(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyside: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: SandboxArgs) -> Result<(), Box<dyn std::error::Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let dir = directory(args.dir.as_deref())?;
    let provider = args.provider.as_deref().and_then(Dialect::named);
    let account = Account::new(&dir, provider)?;
    let callback_ca = args.callback_ca.as_deref().map(|file| std::fs::read(file).map_err(|error| about(file, &error)));
    let tls = !args.plain;
    let sandbox = Sandbox::start(Options {
        provider,
        listen: args.listen,
        media_listen: args.media_listen,
        media_host: args.media_host,
        tls,
        tokens: vec![account.key.clone()],
        app_secret: Some(account.signing.clone()),
        require_proof: args.require_proof,
        senders: args.senders,
        per_sender: args.per_sender.map(NonZeroU32::get),
        pair_limit: args.pair_limit,
        throttle_status: args.throttle_status,
        latency: args.latency,
        callback_ca: callback_ca.transpose()?,
    })
    .await?;
    replace(&dir.join("ca.pem"), sandbox.ca_pem())?;
    // Whoever started it may have closed its end of the pipe: that is no reason to stop.
    let callback = args.callback.as_deref().unwrap_or("http://127.0.0.1:8081/webhooks/whatsapp");
    let introduction = Introduction { sandbox: &sandbox, provider, account: &account, dir: &dir, tls, callback };
    drop(io::stdout().write_all(introduction.text()?.as_bytes()));
    tokio::select! {
        never = follow(&sandbox, &account) => match never {},
        never = keep_asking(&sandbox, args.callback.map(|callback| app(&account, callback))) => match never {},
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Makes what the file of the key says valid too, whenever it says something else.
async fn follow(sandbox: &Sandbox, account: &Account) -> Infallible {
    let mut beat = tokio::time::interval(LOOK);
    loop {
        beat.tick().await;
        if let Some(key) = account.current_key().await {
            sandbox.accept_token(&key);
        }
    }
}

fn app(account: &Account, callback: String) -> App {
    let (secret, verify_token) = (account.signing.clone(), account.verify_token.clone());
    App { name: "sandbox".to_owned(), callback, secret, verify_token }
}

/// Subscribes the app as soon as its callback answers: whoever is to answer may start later.
async fn keep_asking(sandbox: &Sandbox, app: Option<App>) -> Infallible {
    let mut last = String::new();
    while let Some(app) = &app {
        let said = match sandbox.subscribe(app.clone()).await {
            Ok(()) => format!("Webhooks go to {}\n", app.callback),
            Err(error) => format!("No webhooks yet: {error}\n"),
        };
        let done = said.starts_with("Webhooks");
        if said != last {
            drop(io::stdout().write_all(said.as_bytes()));
            last = said;
        }
        if done {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    std::future::pending().await
}

/// How often that file is looked at, and a callback asked again.
const LOOK: Duration = Duration::from_secs(1);

fn magic_recipients(provider: Option<&Dialect>) -> String {
    let lines = sandbox::magic_recipients(provider).map(|(number, what)| format!("  {number}  {what}\n"));
    format!("Recipients for whom something happens:\n{}", lines.collect::<String>())
}

fn throttle_status(text: &str) -> Result<u16, String> {
    match text {
        "400" => Ok(400),
        "429" => Ok(429),
        _ => Err("expected 400 or 429".to_owned()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let (number, unit): (&str, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis),
        None => (text.strip_suffix('s').unwrap_or_default(), Duration::from_secs),
    };
    number.parse().map(unit).map_err(|_| "expected a time such as 5ms or 2s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_in_milliseconds_or_seconds() {
        assert_eq!(time("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(time("2s"), Ok(Duration::from_secs(2)));
        assert!(time("5").is_err() && time("s").is_err());
    }
}
