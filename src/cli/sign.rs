//! `keyside sign`: the headers of a signed webhook event, ready for `curl -H @-`.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::output::to_stdout;
use crate::config::{Reference, ReferenceError};
use crate::credential::source::{Managers, read_all};
use crate::document::choices;
use crate::inbound::sign::{UnsignedEvent, sign};
use crate::provider::presets;
use crate::provider::webhook::WebhookSpec;
use crate::secret::Secret;

/// The options of `keyside sign`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  keyside sign --secret file:/run/secrets/acme/app_secret <event.json >lines
  curl -H @lines -H 'Content-Type: application/json' \\
    --data-binary @event.json http://127.0.0.1:8081/webhooks/whatsapp")]
pub(super) struct SignArgs {
    /// A reference to the secret: env:NAME, file:/path, systemd:NAME or exec:/program; never the
    /// value
    #[arg(long, value_name = "REF")]
    secret: String,
    /// The name of the secret, for a provider with several signatures, such as shared_key [default:
    /// the first]
    #[arg(long, value_name = "NAME")]
    secret_name: Option<String>,
    /// The provider that would sign the event; `keyside providers` lists the names
    #[arg(long, value_name = "S", default_value = "meta")]
    scheme: String,
    /// The whole URL of the webhook, for providers that sign the URL
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The time in seconds since 1970, for providers that sign the time [default: now]
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// The nonce, for providers that sign a nonce [default: a new one]
    #[arg(long)]
    nonce: Option<String>,
    /// The id of the event, for providers that sign an id [default: a new one]
    #[arg(long)]
    id: Option<String>,
    /// Treat the body as a form, for providers that sign the parameters of a form
    #[arg(long)]
    form: bool,
}

/// Signs standard input, and prints the headers.
pub(super) async fn run(args: SignArgs) -> ExitCode {
    super::harden();
    match headers(&args).await {
        Ok(headers) => {
            to_stdout(format_args!("{headers}"));
            ExitCode::SUCCESS
        }
        Err(Problem { message, code }) => {
            complain!("keyside: {message}");
            ExitCode::from(code)
        }
    }
}

/// A message for the user, with the exit status of the command.
struct Problem {
    message: String,
    code: u8,
}

impl Problem {
    fn usage(message: String) -> Self {
        Self { message, code: 2 }
    }

    fn failed(message: String) -> Self {
        Self { message, code: 1 }
    }
}

async fn headers(args: &SignArgs) -> Result<String, Problem> {
    let mut webhook = webhook(&args.scheme)?;
    if let Some(name) = &args.secret_name {
        choose(&mut webhook, name)?;
    }
    let secret = read_secret(&args.secret).await?;
    let mut body = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut body)
        .map_err(|error| {
            Problem::failed(format!(
                "the body cannot be read from standard input: {error}"
            ))
        })?;
    let now = SystemTime::now();
    let time = args.timestamp.map_or(now, |seconds| {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    });
    // Nanoseconds do not repeat, and neither must a nonce or an id.
    let new_id = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        .to_string();
    let event = UnsignedEvent {
        body: &body,
        is_form: args.form,
        url: args.url.as_deref(),
        time,
        nonce: args.nonce.as_ref().unwrap_or(&new_id),
        id: args.id.as_ref().unwrap_or(&new_id),
    };
    let lines =
        sign(&webhook, &secret, &event).map_err(|error| Problem::failed(error.to_string()))?;
    Ok(lines
        .into_iter()
        .map(|line| format!("{}: {}\n", as_written(&line.name), line.value))
        .collect())
}

async fn read_secret(reference: &str) -> Result<Arc<Secret>, Problem> {
    let reference: Reference = reference
        .parse()
        .map_err(|error: ReferenceError| Problem::usage(format!("--secret: {error}")))?;
    let found = read_all([reference.clone()].into(), &Managers::default().into())
        .await
        .findings
        .remove(&reference);
    match found {
        Some(Ok(found)) => Ok(found.secret),
        Some(Err(error)) => Err(Problem {
            message: format!("`{reference}`: {error}"),
            code: super::BAD_CONFIGURATION,
        }),
        None => Err(Problem::failed(format!("`{reference}` was not read"))),
    }
}

/// Returns the name of a header with a capital at the begin of each word.
fn as_written(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

/// Keeps the signatures by the secret `name` alone.
fn choose(webhook: &mut WebhookSpec, name: &str) -> Result<(), Problem> {
    let known: Vec<_> = webhook
        .schemes
        .iter()
        .map(|scheme| scheme.secret.clone())
        .collect();
    webhook.schemes.retain(|scheme| scheme.secret == name);
    if webhook.schemes.is_empty() {
        let names = known.iter().map(String::as_str);
        return Err(Problem::usage(format!(
            "--secret-name: no signature with such a secret, {}",
            choices(name, names)
        )));
    }
    Ok(())
}

/// Returns the webhook rules of the preset `scheme`.
fn webhook(scheme: &str) -> Result<WebhookSpec, Problem> {
    let with_webhook = || {
        presets::names().filter_map(|name| Some((name, presets::provider(name)?.webhook.clone()?)))
    };
    with_webhook()
        .find(|(name, _)| *name == scheme)
        .map(|(_, webhook)| webhook)
        .ok_or_else(|| {
            let names: Vec<_> = with_webhook().map(|(name, _)| name).collect();
            Problem::usage(format!(
                "--scheme: no such provider, {}",
                choices(scheme, names.into_iter())
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_secret_chooses_the_signature() {
        for (name, expected) in [
            ("auth_token", Some(1)),
            ("shared_key", Some(1)),
            ("token", None),
        ] {
            let mut twilio = webhook("twilio").ok().unwrap();
            let chosen = choose(&mut twilio, name)
                .ok()
                .map(|()| twilio.schemes.len());
            assert_eq!(chosen, expected, "{name}");
            let is_named = |scheme: &crate::provider::webhook::Scheme| scheme.secret == name;
            assert!(twilio.schemes.iter().all(is_named), "{name}");
        }
    }
}
