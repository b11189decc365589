//! `keyside rotate`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::Value;

use super::client::ask;
use crate::config::Reference;
use crate::credential::source::{Found, read_all, replace};
use crate::credential::{Credential, Facts, Sent, Verdict, references};
use crate::health::{self, Question};
use crate::metrics::Metrics;
use crate::outbound::policy::Route;
use crate::reload::{Live, load};
use crate::secret::Secret;

/// The options of `keyside rotate`.
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    /// The credential
    name: String,
    /// The configuration [default: proxy.toml, then /etc/keyside/proxy.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin listener of the running sidecar: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    admin: String,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The secret that is rotated.
const TOKEN: &str = "token";

pub(super) async fn run(args: RotateArgs) -> ExitCode {
    let path = super::config_path(args.config.clone());
    let live = match load(&path, None, &Metrics::new()).await {
        Ok(live) => live,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(super::BAD_CONFIGURATION);
        }
    };
    match rotate(&args, &live).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("keyside: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Exchange, place, prove, revoke: until the last step the old token is good, and whatever fails before it
/// leaves the old one in use.
async fn rotate(args: &RotateArgs, live: &Live) -> Result<(), String> {
    let (old, home) = rotatable(args, live)?;
    let place = Place::of(live, &args.name)?;
    let Facts { app, expires, .. } = match place.ask(old.newest()).await {
        Verdict::Proved(facts) => facts,
        other => return Err(format!("the token in use is {other}; nothing was changed")),
    };
    println!("1. the token in use is good: {}, of app {app}", shown(&old));
    if args.dry_run {
        println!("2. it would be exchanged for a new one, and that written to {home}");
        println!("3. the sidecar at {} would be reloaded, and the old token then revoked", args.admin);
        return Ok(());
    }
    let exchanged = health::exchange(&place.question(old.newest()), &app, expires.is_some()).await;
    let token = Arc::new(exchanged.map_err(|reason| format!("{reason}; nothing was changed"))?);
    let new = with_token(live, &args.name, &token).await?;
    match place.ask(new.newest()).await {
        Verdict::Proved(_) => println!("2. exchanged for {}, which is good", shown(&new)),
        other => return Err(format!("the new token is {other}; nothing was changed, and the old one goes on")),
    }
    write(live, &home, &token).await.map_err(|problem| format!("{home}: {problem}; the old token goes on"))?;
    println!("3. written to {home}");
    if let Err(problem) = take_up(args, &new) {
        let old = old_token(&old)?;
        let back = match write(live, &home, &old).await {
            Ok(()) => format!("is back in {home}"),
            Err(error) => format!("could not be written back to {home}: {error}"),
        };
        return Err(format!("{problem}; the old token is good and {back}"));
    }
    println!("4. the sidecar at {} sends with it", args.admin);
    let gone = health::revoke(&place.question(new.newest()), &app, &*old_token(&old)?).await;
    gone.map_err(|reason| format!("the new token is in use, but {reason}: revoke {} by hand", shown(&old)))?;
    match place.ask(old.newest()).await {
        Verdict::Refused(_) => println!("5. the old token is revoked, and dead"),
        other => return Err(format!("the new token is in use, but the old one is still {other}: revoke it by hand")),
    }
    println!("Other sidecars with the old token need the new one too: give it to them where they read it from.");
    Ok(())
}

/// The credential and where its token comes from, where both are such as can be rotated.
fn rotatable(args: &RotateArgs, live: &Live) -> Result<(Arc<Credential>, Reference), String> {
    let name = &args.name;
    let credential = live.credentials.get(name).ok_or_else(|| format!("there is no credential `{name}`"))?;
    if credential.provider.health.is_none() {
        return Err(format!("`{name}` is for {}; only tokens of Meta's can be exchanged", credential.provider.title));
    }
    if credential.current("app_secret").is_none() {
        return Err(format!("`{name}` has no app_secret, without which Meta exchanges no token"));
    }
    match credential.slots().get(TOKEN).map(|slot| &slot.current.reference) {
        Some(home @ (Reference::File(_) | Reference::Vault { .. })) => Ok((Arc::clone(credential), home.clone())),
        Some(other) => Err(format!("the token of `{name}` comes from {other}; only files and Vault can be written")),
        None => Err(format!("`{name}` has no token")),
    }
}

/// Puts a token where it will be read.
async fn write(live: &Live, home: &Reference, token: &Secret) -> Result<(), String> {
    match home {
        Reference::File(path) => replace(path, token).map_err(|error| format!("cannot be written: {error}")),
        home => live.managers.write(home, token).await.map_err(|error| error.to_string()),
    }
}

/// Where the provider is asked.
struct Place<'l> {
    route: &'l Route,
    senders: Vec<&'l str>,
}

impl<'l> Place<'l> {
    fn of(live: &'l Live, name: &str) -> Result<Self, String> {
        let routes = || live.generation.policy.routes().iter().filter(|route| route.credential.name == name);
        let route = routes().next().ok_or_else(|| format!("no route sends with `{name}`"))?;
        Ok(Self { route, senders: routes().flat_map(|route| &route.senders).map(String::as_str).collect() })
    }

    async fn ask(&self, sent: Sent<'_>) -> Verdict {
        health::ask(sent, &self.route.upstream, &self.route.host, &self.senders).await
    }

    fn question<'q>(&'q self, sent: Sent<'q>) -> Question<'q> {
        Question { sent, upstream: &self.route.upstream, host: &self.route.host }
    }
}

/// The credential as it will be with the new token.
async fn with_token(live: &Live, name: &str, token: &Arc<Secret>) -> Result<Credential, String> {
    let config = live.config.credentials.get(name).ok_or_else(|| format!("there is no credential `{name}`"))?;
    let all = BTreeMap::from([(name.to_owned(), config.clone())]);
    let mut findings = read_all(references(&all), &live.managers).await.findings;
    if let Some(reference) = config.secrets.get(TOKEN).and_then(|references| references.first()) {
        let found = Found { secret: Arc::clone(token), since: None, warnings: Vec::new() };
        findings.insert(reference.clone(), Ok(found));
    }
    let faults = |faults: Vec<_>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Credential::assemble(name, config, &findings, None).map_err(faults)
}

/// Reloads the sidecar and makes sure that it sends with the new token.
fn take_up(args: &RotateArgs, new: &Credential) -> Result<(), String> {
    let (status, answer) = ask(&args.admin, "POST", "/reload").map_err(|error| error.to_string())?;
    if status != 200 {
        let reasons = answer.get("reasons").unwrap_or(&Value::Null);
        return Err(format!("the sidecar refused it: {reasons}"));
    }
    let (_, status) = ask(&args.admin, "GET", "/status").map_err(|error| error.to_string())?;
    let mut credentials = status.get("credentials").and_then(Value::as_array).into_iter().flatten();
    let uses = credentials.any(|credential| {
        let mut secrets = credential["secrets"].as_array().into_iter().flatten();
        credential["name"] == new.name.as_str()
            && credential["sends"] == "current"
            && secrets.any(|secret| secret["name"] == TOKEN && secret["fingerprint"] == shown(new).as_str())
    });
    if uses { Ok(()) } else { Err("the sidecar does not send with it".to_owned()) }
}

fn old_token(credential: &Credential) -> Result<Arc<Secret>, String> {
    credential.slots().get(TOKEN).map(|slot| slot.current.shared()).ok_or_else(|| "there is no old token".to_owned())
}

fn shown(credential: &Credential) -> String {
    credential.fingerprint().map(|fingerprint| fingerprint.to_string()).unwrap_or_default()
}
