//! `keyside demo`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use keyside_sandbox::{Options, Sandbox, new_token};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::level_filters::LevelFilter;

mod application;
mod folder;
mod outage;
mod receiver;
mod screen;
mod second;
mod webhooks;

use application::{DemoApplication, message};
use folder::DemoFolder;
use receiver::Receiver;
use second::Second;

use super::output;
use crate::app::{App, AppError, Signals};
use crate::config::{ConfigFile, ListenAddress};
use crate::listener::PassedSockets;
use crate::log::{Log, LogFormat};
use crate::reload::FirstConfig;
use crate::shell::shell_word;

/// The options of `keyside demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Show all steps and exit, with 0 if all went well and with 1 otherwise
    #[arg(long)]
    once: bool,
}

/// The event that ends a demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DemoEnd {
    /// The last step.
    LastStep,
    /// A signal: the sidecar stays up for the user to try, on the usual ports if they are free.
    Signal,
}

/// The result of a step. An error ends the demo and is printed.
type DemoResult<T> = Result<T, Box<dyn std::error::Error>>;

pub(super) async fn run(args: DemoArgs) -> ExitCode {
    let end = if args.once {
        DemoEnd::LastStep
    } else {
        DemoEnd::Signal
    };
    match show(end).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            complain!("keyside: a step of the demo did not go as it should, see above");
            ExitCode::FAILURE
        }
        Err(error) => {
            complain!("keyside: the demo stopped: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Shows all steps, and stays up to the `end`; without a reader the last step is the end. Returns
/// true if every step went well.
async fn show(end: DemoEnd) -> DemoResult<bool> {
    let folder = DemoFolder::new()?;
    let options = Options {
        tls: true,
        tokens: vec![folder.read("token")?],
        ..Options::default()
    };
    let sandbox = Arc::new(Sandbox::start(options).await?);
    let receiver = Receiver::start()?;
    let _log = Log::start(LevelFilter::ERROR, LogFormat::Auto);
    let second = Second::start(&folder).await?;
    let destinations = destinations(&folder, &receiver, &second);
    let app = start_sidecar(&folder, &sandbox, &destinations, end).await?;
    let application = DemoApplication::new(app.addresses())?;
    say!(
        "A sandbox that behaves like Meta's Cloud API is up at https://{}.",
        sandbox.graph()
    );
    say!(
        "A sidecar is up in front of it, and holds the token: {}\n",
        folder.path("token").display()
    );

    let mut all_well = show_send(&application, &sandbox).await?;
    all_well &= show_refusal(&application).await?;
    all_well &= show_limit(&application).await?;
    all_well &= show_rotation(&application, &sandbox, &folder).await?;
    let callback = webhooks::callback(app.inbound_addresses())?;
    all_well &= webhooks::show_handshake(&callback, &sandbox, &folder).await?;
    all_well &= webhooks::show_forgery(&sandbox, &receiver).await?;
    all_well &= webhooks::show_secret_change(&sandbox, &receiver, &folder).await?;
    let spool = app.spool().ok_or("the sidecar has no spool")?;
    all_well &= outage::show_outage(spool, &sandbox, &receiver, &second).await?;
    if end == DemoEnd::LastStep || output::is_unread() {
        app.stop(STOP_TIMEOUT).await;
    } else {
        print_suggestions(&application, &callback, &folder);
        show_page(app.admin_addresses());
        app.serve_until_signal(Signals::receive()?).await;
    }
    Ok(all_well)
}

async fn show_send(application: &DemoApplication, sandbox: &Sandbox) -> DemoResult<bool> {
    say!("1. An application sends a message. The application has no token, and sends none:\n");
    say!(
        "   POST {}/v23.0/{SENDER}/messages\n   {}\n",
        application.url,
        message("15550001234")
    );
    let (status, answer) = application.send("", "15550001234").await?;
    say!("   {status} {answer}\n");
    Ok(status == 200 && sandbox.accepted().len() == 1)
}

async fn show_refusal(application: &DemoApplication) -> DemoResult<bool> {
    say!(
        "2. The application tries to list the account's phone numbers. The token is allowed to, but this route\n   \
         only allows sending:\n"
    );
    say!("   GET {}{NUMBERS}\n", application.url);
    let (status, answer) = application.call(Method::GET, NUMBERS, "").await?;
    say!("   {status} {answer}\n");
    Ok(status == 403)
}

async fn show_limit(application: &DemoApplication) -> DemoResult<bool> {
    say!(
        "3. A route has a limit of 2 messages in 10 seconds. The third message exceeds the limit and is not sent:\n"
    );
    let mut statuses = Vec::new();
    for number in 1..=3 {
        let (status, answer) = application.send("/limited", "15550001234").await?;
        let shown = if status == 200 { "" } else { &answer };
        say!("   message {number}: {status} {shown}");
        statuses.push(status);
    }
    say!();
    Ok(statuses == [200, 200, 429])
}

async fn show_rotation(
    application: &DemoApplication,
    sandbox: &Arc<Sandbox>,
    folder: &DemoFolder,
) -> DemoResult<bool> {
    say!(
        "4. The token file is replaced three times while {RATE} messages a second are sent. A second later the\n   \
         provider revokes the old token:\n"
    );
    let before = sandbox.accepted().len();
    let outcomes = send_while_rotating(application, sandbox, folder).await?;
    let failures = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let failures = counted(failures);
    let failed: usize = failures.values().sum();
    let accepted = sandbox.accepted().split_off(before);
    let tokens = first_uses(accepted.iter().map(|send| send.token.as_str()));
    say!(
        "   {} messages sent, {failed} failed, {} arrived; fingerprints of the tokens: {}\n",
        outcomes.len(),
        accepted.len(),
        tokens.join(" -> ")
    );
    for (failure, count) in &failures {
        say!("   {count} times: {failure}");
    }
    Ok(failed == 0 && accepted.len() == outcomes.len() && tokens.len() == ROTATIONS + 1)
}

/// Returns the failures, each with its number.
fn counted<'f>(failures: impl Iterator<Item = &'f String>) -> BTreeMap<&'f str, usize> {
    let mut counted = BTreeMap::new();
    for failure in failures {
        *counted.entry(failure.as_str()).or_default() += 1;
    }
    counted
}

/// Returns the tokens in the order of their first use. Beside a change, a message that began with
/// the old token may arrive after one with the new token.
fn first_uses<'t>(tokens: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut used = Vec::new();
    for token in tokens {
        if !used.contains(&token) {
            used.push(token);
        }
    }
    used
}

/// Sends messages during three rotations. Returns the outcome of each message: an error is the
/// answer that is no success, or the reason why there is none.
async fn send_while_rotating(
    application: &DemoApplication,
    sandbox: &Arc<Sandbox>,
    folder: &DemoFolder,
) -> DemoResult<Vec<Result<(), String>>> {
    let before = sandbox.accepted().len();
    let uses_newest = |rotations: usize| {
        let accepted = sandbox.accepted().split_off(before);
        first_uses(accepted.iter().map(|send| send.token.as_str())).len() > rotations
    };
    let mut sends = JoinSet::new();
    let under_way = Arc::new(Semaphore::new(MAX_UNDER_WAY));
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    // A busy machine sends fewer messages, as an application does that waits for its answers.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut since = Instant::now();
    let mut rotations = 0;
    loop {
        ticks.tick().await;
        let is_used = since.elapsed() >= ROTATION_INTERVAL && uses_newest(rotations);
        if is_used || since.elapsed() >= ROTATION_PATIENCE {
            if rotations == ROTATIONS {
                break;
            }
            rotations += 1;
            since = Instant::now();
            rotate(sandbox, folder)?;
        }
        let place = Arc::clone(&under_way).acquire_owned().await?;
        // Each message has its own recipient: Meta takes one message in 6 seconds to a recipient.
        let application = application.clone();
        let recipient = format!("49170{:07}", sends.len());
        sends.spawn(async move {
            let _place = place;
            match application.send("", &recipient).await {
                Ok((200, _)) => Ok(()),
                Ok((status, answer)) => Err(format!("{status} {answer}")),
                Err(error) => Err(error.to_string()),
            }
        });
    }
    Ok(sends.join_all().await)
}

/// Replaces the token file, and lets the provider revoke the old token a second later.
fn rotate(sandbox: &Arc<Sandbox>, folder: &DemoFolder) -> DemoResult<()> {
    let old = folder.read("token")?;
    let new = new_token();
    sandbox.accept_token(&new);
    folder.replace("token", &new)?;
    let sandbox = Arc::clone(sandbox);
    tokio::spawn(async move {
        sleep(Duration::from_secs(1)).await;
        sandbox.revoke_token(&old);
    });
    Ok(())
}

fn print_suggestions(application: &DemoApplication, callback: &str, folder: &DemoFolder) {
    let url = &application.url;
    say!("Sandbox and sidecar stay up. Try:\n");
    say!(
        "   curl {url}/v23.0/{SENDER}/messages -H 'Content-Type: application/json' -d '{}'",
        message("15550001234")
    );
    say!("   curl -i {url}/v23.0/{SENDER}/messages -H 'Host: evil.example'");
    say!("   curl -i -X POST {url}/v23.0/{SENDER}/register");
    say!("   curl -i -d '{{}}' {callback}");
    let file = folder.path("proxy.toml").display().to_string();
    say!("   cat {}", shell_word(&file));
    say!();
}

/// Prints the address of the status page, and opens the page where a person has a screen.
fn show_page(addresses: &[ListenAddress]) {
    if let Some(ListenAddress::Tcp(address)) = addresses.first() {
        let page = format!("http://{address}/");
        say!("The status page, with the traffic so far: {page}");
        if output::is_terminal() && screen::is_there() {
            screen::open(&page);
        }
    }
    say!("Press Ctrl-C to stop.");
}

/// Starts Keyside in this process. A sidecar that stays up listens on ports 8080, 8081 and 9900, as
/// the README assumes, if they are free.
async fn start_sidecar(
    folder: &DemoFolder,
    sandbox: &Sandbox,
    destinations: &str,
    end: DemoEnd,
) -> DemoResult<App> {
    let any_ports = Ports {
        outbound: 0,
        inbound: 0,
        admin: 0,
    };
    let usual_ports = Ports {
        outbound: 8080,
        inbound: 8081,
        admin: 9900,
    };
    std::fs::write(folder.path("ca.pem"), sandbox.ca_pem())?;
    let file = folder.path("proxy.toml");
    if end == DemoEnd::Signal {
        let text = configuration(folder, sandbox, destinations, usual_ports);
        std::fs::write(&file, text)?;
        match start_at(file.clone()).await {
            Err(AppError::Bind(_)) => {}
            result => return Ok(result?),
        }
    }
    let text = configuration(folder, sandbox, destinations, any_ports);
    std::fs::write(&file, text)?;
    Ok(start_at(file).await?)
}

/// Starts a sidecar with the configuration in `file`.
async fn start_at(file: PathBuf) -> Result<App, AppError> {
    let config = FirstConfig::read(ConfigFile::Named(file)).await;
    App::start(config.map_err(AppError::Load)?, PassedSockets::default()).await
}

/// The ports of the sidecar; 0 for any port.
#[derive(Clone, Copy)]
struct Ports {
    outbound: u16,
    inbound: u16,
    admin: u16,
}

/// Writes the sidecar's configuration.
fn configuration(
    folder: &DemoFolder,
    sandbox: &Sandbox,
    destinations: &str,
    ports: Ports,
) -> String {
    let Ports {
        outbound,
        inbound,
        admin,
    } = ports;
    let graph = sandbox.graph();
    let media = sandbox.media();
    let path = folder.path("");
    let dir = path.display();
    format!(
        r#"[outbound]
listen = ["127.0.0.1:{outbound}"]

[inbound]
listen = ["127.0.0.1:{inbound}"]

[admin]
listen = ["127.0.0.1:{admin}"]

[reload]
watch = "200ms"

[log]
level = "error"

[provider.sandbox]
extends        = "meta"
upstream       = "https://{graph}"
media_upstream = "https://{media}"
upstreams      = {{ api = "https://{graph}" }}
ca             = "{dir}ca.pem"

[credential.demo]
provider     = "sandbox"
token        = "file:{dir}token"
app_secret   = ["file:{dir}app_secret", "file:{dir}app_secret.old"]
verify_token = "file:{dir}verify_token"

[[route]]
credential = "demo"
[route.limits]
per_sender = "1000/s"

[[route]]
name       = "limited"
credential = "demo"
path       = "/limited"
[route.limits]
per_sender = "2/10s"
max_wait   = "1s"

[[webhook]]
path       = "/webhooks/whatsapp"
credential = "demo"
{destinations}
[spool]
dir = "{dir}spool"
"#
    )
}

/// Writes the destinations of events.
fn destinations(folder: &DemoFolder, receiver: &Receiver, second: &Second) -> String {
    let application = receiver.address();
    let dir = folder.path("");
    let second = second.lines(&dir.display().to_string());
    format!(
        r#"[[webhook.to]]
name    = "application"
forward = "http://{application}/events"

[[webhook.to]]
name    = "second"
{second}"#
    )
}

/// The phone number id that the demo sends from.
const SENDER: &str = "106540352242922";

/// The path of the account's phone numbers.
const NUMBERS: &str = "/v23.0/102290129340398/phone_numbers";

/// The messages per second during the rotations: enough for several to be under way at any moment.
const RATE: u32 = 200;

/// The interval between two rotations: a hundred messages and more go out with each token.
const ROTATION_INTERVAL: Duration = Duration::from_millis(1500);

/// The number of rotations: with a single one, success could be luck.
const ROTATIONS: usize = 3;

/// The time in which a message with the new token must have gone out: 5 ms at 200 messages a
/// second, and the rest is for a machine that is busy otherwise.
const ROTATION_PATIENCE: Duration = Duration::from_secs(60);

/// The most messages under way: an application sends no further message while that many have no
/// answer. On a busy machine, an application without a bound would open connections until there is
/// no place for another one, and wait for each answer in vain.
const MAX_UNDER_WAY: usize = 64;

/// The time for requests under way when the demo stops: the sandbox answers within milliseconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_began_before_a_change_of_tokens_is_no_further_change() {
        for (tokens, expected) in [
            ("a a b b c d", "a b c d"),
            ("a b a b c d", "a b c d"),
            ("a a", "a"),
            ("", ""),
        ] {
            let used = first_uses(tokens.split_whitespace());
            assert_eq!(used.join(" "), expected, "{tokens}");
        }
    }
}
