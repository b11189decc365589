//! `keyside sign`: the header lines of a signed event, ready for `curl -H @-`.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use crate::config::{Reference, ReferenceError};
use crate::credential::source::{Managers, read_all};
use crate::document::choices;
use crate::inbound::sign::{ToSign, sign};
use crate::provider::webhook::Webhook;
use crate::provider::{PRESETS, Provider};

/// The options of `keyside sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  keyside sign --secret file:/run/secrets/acme/app_secret <event.json >lines
  curl -H @lines -H 'Content-Type: application/json' --data-binary @event.json http://127.0.0.1:8081/webhooks/whatsapp")]
pub(super) struct SignArgs {
    /// Where the secret lives: env:NAME, file:/path, systemd:NAME or exec:/program; never the secret itself
    #[arg(long, value_name = "REF")]
    secret: String,
    /// The provider whose way of signing it is; `keyside providers` lists them
    #[arg(long, value_name = "S", default_value = "meta")]
    scheme: String,
    /// The whole URL that the event will be sent to, for providers that sign it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The time in seconds since 1970, for providers that sign it [default: now]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// The nonce, for providers that sign one [default: made up]
    #[arg(long)]
    nonce: Option<String>,
    /// The event's id, for providers that sign one [default: made up]
    #[arg(long)]
    id: Option<String>,
    /// The body is a form, for providers that sign its parameters
    #[arg(long)]
    form: bool,
}

pub(super) async fn run(args: SignArgs) -> ExitCode {
    match lines(&args).await {
        Ok(lines) => {
            print!("{lines}");
            ExitCode::SUCCESS
        }
        Err(Problem { message, code }) => {
            eprintln!("keyside: {message}");
            ExitCode::from(code)
        }
    }
}

struct Problem {
    message: String,
    code: u8,
}

async fn lines(args: &SignArgs) -> Result<String, Problem> {
    let usage = |message: String| Problem { message, code: 2 };
    let webhook = webhook(&args.scheme).map_err(usage)?;
    let reference: Reference =
        args.secret.parse().map_err(|error: ReferenceError| usage(format!("--secret: {error}")))?;
    let found = read_all([reference.clone()].into(), &Managers::default().into()).await.findings.remove(&reference);
    let secret = match found {
        Some(Ok(found)) => found.secret,
        Some(Err(error)) => {
            return Err(Problem { message: format!("`{reference}`: {error}"), code: super::BAD_CONFIGURATION });
        }
        None => return Err(Problem { message: format!("`{reference}` was not read"), code: 1 }),
    };
    let mut body = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut body);
    read.map_err(|error| Problem {
        message: format!("the body cannot be read from standard input: {error}"),
        code: 1,
    })?;
    let made_up = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    let time = args.timestamp.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let event = ToSign {
        body: &body,
        is_form: args.form,
        url: args.url.as_deref(),
        time: time.unwrap_or_else(SystemTime::now),
        nonce: args.nonce.as_ref().unwrap_or(&made_up),
        id: args.id.as_ref().unwrap_or(&made_up),
    };
    let lines = sign(&webhook, &secret, &event).map_err(|error| Problem { message: error.to_string(), code: 1 })?;
    Ok(lines.into_iter().map(|line| format!("{}: {}\n", as_written(&line.name), line.value)).collect())
}

/// A header's name as people write it.
fn as_written(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

fn webhook(scheme: &str) -> Result<Webhook, String> {
    let sending = || PRESETS.iter().filter_map(|(name, _)| Some((*name, Provider::preset(name)?.webhook?)));
    let found = sending().find(|(name, _)| *name == scheme);
    found.map(|(_, webhook)| webhook).ok_or_else(|| {
        let names: Vec<_> = sending().map(|(name, _)| name).collect();
        format!("--scheme: no such provider, {}", choices(scheme, names.into_iter()))
    })
}
