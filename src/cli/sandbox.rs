//! `keyside sandbox`: runs the emulator until a signal, with its secrets in files.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{self, App, Options, Sandbox};

/// An emulator of the Cloud API for development and tests.
#[derive(Debug, clap::Args)]
#[command(after_help = magic_recipients())]
pub(super) struct SandboxArgs {
    /// Where the emulated graph.facebook.com listens
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
    /// Holds ca.pem, token, app_secret and verify_token; made if it is not there [default: a new one for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Refuse calls without appsecret_proof
    #[arg(long)]
    require_proof: bool,
    /// Messages per second that one number may send; 130429 beyond
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
    /// A callback URL that gets webhooks, once it answers the handshake
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
    let token_file = dir.join("token");
    let token = kept(&token_file, sandbox::new_token)?;
    let app_secret = kept(&dir.join("app_secret"), sandbox::new_app_secret)?;
    let verify_token = kept(&dir.join("verify_token"), sandbox::new_app_secret)?;
    let app = args.callback.map(|callback| App {
        name: "sandbox".to_owned(),
        callback,
        secret: app_secret.clone(),
        verify_token,
    });
    let callback_ca = args.callback_ca.as_deref().map(|file| std::fs::read(file).map_err(|error| about(file, &error)));
    let tls = !args.plain;
    let sandbox = Sandbox::start(Options {
        listen: args.listen,
        media_listen: args.media_listen,
        media_host: args.media_host,
        tls,
        tokens: vec![token],
        app_secret: Some(app_secret),
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
    drop(io::stdout().write_all(introduction(&sandbox, &dir, tls)?.as_bytes()));
    tokio::select! {
        never = follow(&sandbox, &token_file) => match never {},
        never = keep_asking(&sandbox, app) => match never {},
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Makes what the token file says valid too, whenever it says something else.
async fn follow(sandbox: &Sandbox, file: &Path) -> Infallible {
    let mut beat = tokio::time::interval(LOOK);
    loop {
        beat.tick().await;
        // A file that is being replaced may be missing or empty for a moment.
        if let Ok(token) = tokio::fs::read_to_string(file).await
            && !token.trim().is_empty()
        {
            sandbox.accept_token(token.trim());
        }
    }
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

/// How often the token file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The directory asked for, or a new one that only the user can read.
fn directory(asked: Option<&Path>) -> io::Result<PathBuf> {
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    let dir = match asked {
        Some(dir) => {
            builder.recursive(true).create(dir)?;
            dir.to_owned()
        }
        None => {
            let dir = std::env::temp_dir().join(format!("keyside-sandbox-{:.12}", sandbox::new_app_secret()));
            builder.create(&dir)?;
            dir
        }
    };
    dir.canonicalize()
}

/// The content of a file, which is made if it is not there.
fn kept(file: &Path, make: fn() -> String) -> io::Result<String> {
    match std::fs::read_to_string(file) {
        Ok(content) if !content.trim().is_empty() => Ok(content.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(about(file, &error)),
        _ => {
            let made = make();
            replace(file, &format!("{made}\n"))?;
            Ok(made)
        }
    }
}

/// Writes a file as a whole, for the user alone: a reader finds the old content or the new.
fn replace(file: &Path, content: &str) -> io::Result<()> {
    let beside = file.with_extension("new");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        new.write_all(content.as_bytes())?;
        std::fs::rename(&beside, file)
    };
    write().map_err(|error| about(file, &error))
}

fn about(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

/// What to know, and what to paste into `proxy.toml`.
fn introduction(sandbox: &Sandbox, dir: &Path, tls: bool) -> Result<String, std::fmt::Error> {
    let scheme = if tls { "https" } else { "http" };
    let (graph, media) = (sandbox.graph(), sandbox.media());
    let mut text = String::new();
    writeln!(text, "The sandbox answers for graph.facebook.com on {scheme}://{graph}")?;
    writeln!(text, "                and for lookaside.fbsbx.com on {scheme}://{media}")?;
    writeln!(text, "Its secrets are in {}", dir.display())?;
    writeln!(text, "What was sent:     {scheme}://{graph}/_sandbox/sends")?;
    writeln!(
        text,
        "A user writes:     POST {scheme}://{graph}/_sandbox/events, such as {{\"type\":\"text\",\"text\":\"Hello\"}}"
    )?;
    writeln!(text, "What came of it:   {scheme}://{graph}/_sandbox/deliveries\n")?;
    writeln!(text, "[provider.sandbox]")?;
    writeln!(text, "extends        = \"meta\"")?;
    writeln!(text, "upstream       = \"{scheme}://{graph}\"")?;
    writeln!(text, "media_upstream = \"{scheme}://{media}\"")?;
    if tls {
        writeln!(text, "ca             = {}", quoted("", &dir.join("ca.pem")))?;
    }
    writeln!(text, "\n[credential.sandbox]")?;
    writeln!(text, "provider   = \"sandbox\"")?;
    writeln!(text, "token      = {}", quoted("file:", &dir.join("token")))?;
    writeln!(text, "app_secret = {}", quoted("file:", &dir.join("app_secret")))?;
    writeln!(text, "verify_token = {}", quoted("file:", &dir.join("verify_token")))?;
    writeln!(text, "\n[[route]]\ncredential = \"sandbox\"")?;
    writeln!(text, "\n[[webhook]]\npath       = \"/webhooks/whatsapp\"\ncredential = \"sandbox\"")?;
    writeln!(text, "forward    = \"http://127.0.0.1:3000/webhooks/whatsapp\"\n")?;
    write!(text, "{}", magic_recipients())?;
    Ok(text)
}

/// A path as a TOML string.
fn quoted(scheme: &str, path: &Path) -> String {
    let path = path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{scheme}{path}\"")
}

fn magic_recipients() -> String {
    let lines = sandbox::magic_recipients().map(|(number, what)| format!("  {number}  {what}\n"));
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_the_user_alone() {
        let dir = directory(None).unwrap();
        let file = dir.join("token");
        let made = kept(&file, sandbox::new_token).unwrap();
        assert_eq!(kept(&file, sandbox::new_token).unwrap(), made);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test]
    async fn what_it_prints_holds_no_secret_and_quotes_paths() {
        let sandbox = Sandbox::start(Options { tokens: vec!["EAATEST".to_owned()], ..Options::default() }).await;
        let text = introduction(&sandbox.unwrap(), Path::new("/tmp/x \"y\""), true).unwrap();
        assert!(!text.contains("EAA"));
        assert!(text.contains("token      = \"file:/tmp/x \\\"y\\\"/token\"\n"), "{text}");
    }

    #[test]
    fn a_latency_is_in_milliseconds_or_seconds() {
        assert_eq!(time("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(time("2s"), Ok(Duration::from_secs(2)));
        assert!(time("5").is_err() && time("s").is_err());
    }
}
