//! `keyside demo`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

mod application;
mod folder;
mod receiver;
mod webhooks;

use application::{Application, message};
use folder::Folder;
use receiver::Receiver;

use crate::app::{App, AppError};
use crate::sandbox::{Options, Sandbox};

/// The options of `keyside demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Show the story and end with 0, or with 1 if something went wrong
    #[arg(long)]
    once: bool,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub(super) async fn run(args: DemoArgs) -> ExitCode {
    match tell(args.once).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("keyside: the demo cannot go on: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tell(once: bool) -> Outcome<bool> {
    let folder = Folder::new()?;
    let options = Options { tls: true, tokens: vec![folder.read("token")?], ..Options::default() };
    let sandbox = Arc::new(Sandbox::start(options).await?);
    let receiver = Receiver::start()?;
    let app = start_sidecar(&folder, &sandbox, &receiver, once).await?;
    let application = Application::calling(app.addresses())?;
    println!("A sandbox that behaves like Meta's Cloud API is up at https://{}.", sandbox.graph());
    println!("A sidecar is up in front of it, and holds the token: {}\n", folder.path("token").display());

    let mut good = sends_without_a_token(&application, &sandbox).await?;
    good &= is_refused_what_it_may_not_do(&application).await?;
    good &= is_held_to_the_limit(&application).await?;
    good &= notices_no_rotation(&application, &sandbox, &folder).await?;
    let callback = webhooks::callback(app.inbound_addresses())?;
    good &= webhooks::the_handshake_is_answered(&callback, &sandbox, &folder).await?;
    good &= webhooks::only_genuine_events_arrive(&sandbox, &receiver).await?;
    good &= webhooks::no_event_is_lost_while_the_secret_changes(&sandbox, &receiver, &folder).await?;
    if once {
        app.stop(Duration::from_secs(5)).await;
    } else {
        say_what_to_try(&application, &callback, &folder);
        app.serve_until_signal().await?;
    }
    Ok(good)
}

async fn sends_without_a_token(application: &Application, sandbox: &Sandbox) -> Outcome<bool> {
    println!("1. An application sends a message. It holds no token, and sends none:\n");
    println!("   POST {}/v23.0/{SENDER}/messages\n   {}\n", application.url, message("15550001234"));
    let (status, answer) = application.send("", "15550001234").await?;
    println!("   {status} {answer}\n");
    Ok(status == 200 && sandbox.accepted().len() == 1)
}

async fn is_refused_what_it_may_not_do(application: &Application) -> Outcome<bool> {
    println!(
        "2. The same application tries to list the account's phone numbers. The token could;\n   this route is for sending:\n"
    );
    println!("   GET {}/v23.0/102290129340398/phone_numbers\n", application.url);
    let (status, answer) = application.call(Method::GET, "/v23.0/102290129340398/phone_numbers", "").await?;
    println!("   {status} {answer}\n");
    Ok(status == 403)
}

async fn is_held_to_the_limit(application: &Application) -> Outcome<bool> {
    println!("3. A route with a limit of 2 messages in 10 seconds. The third is over it, and never leaves:\n");
    let mut last = 0;
    for number in 1..=3 {
        let (status, answer) = application.send("/limited", "15550001234").await?;
        println!("   message {number}: {status} {}", if status == 200 { "" } else { &answer });
        last = status;
    }
    println!();
    Ok(last == 429)
}

async fn notices_no_rotation(application: &Application, sandbox: &Arc<Sandbox>, folder: &Folder) -> Outcome<bool> {
    println!(
        "4. The token is replaced on disk three times while {RATE} messages a second flow; each old one\n   is revoked at the provider a second later:\n"
    );
    let before = sandbox.accepted().len();
    let mut sends = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    let start = Instant::now();
    let mut rotations = 0;
    while start.elapsed() < ROTATION_TIME * 4 {
        ticks.tick().await;
        if rotations < 3 && start.elapsed() > ROTATION_TIME * (rotations + 1) {
            rotations += 1;
            let (old, new) = (folder.read("token")?, crate::sandbox::new_token());
            sandbox.accept_token(&new);
            folder.replace("token", &new)?;
            let sandbox = Arc::clone(sandbox);
            tokio::spawn(async move {
                sleep(Duration::from_secs(1)).await;
                sandbox.revoke_token(&old);
            });
        }
        // To many, because to one recipient Meta takes one message in 6 seconds.
        let (application, recipient) = (application.clone(), format!("49170{:07}", sends.len()));
        sends.spawn(async move { application.send("", &recipient).await.map_or(0, |(status, _)| status) });
    }
    let statuses = sends.join_all().await;
    let failed = statuses.iter().filter(|status| **status != 200).count();
    let accepted: Vec<_> = sandbox.accepted().into_iter().skip(before).collect();
    let mut tokens: Vec<_> = accepted.iter().map(|send| send.token.clone()).collect();
    tokens.dedup();
    println!(
        "   {} messages sent, {failed} failed, {} arrived; tokens in use, by fingerprint: {}\n",
        statuses.len(),
        accepted.len(),
        tokens.join(" -> ")
    );
    Ok(failed == 0 && accepted.len() == statuses.len() && tokens.len() == 4)
}

fn say_what_to_try(application: &Application, callback: &str, folder: &Folder) {
    let url = &application.url;
    println!("Everything stays up. Try:\n");
    println!(
        "   curl {url}/v23.0/{SENDER}/messages -H 'Content-Type: application/json' -d '{}'",
        message("15550001234")
    );
    println!("   curl -i {url}/v23.0/{SENDER}/messages -H 'Host: evil.example'");
    println!("   curl -i -X POST {url}/v23.0/{SENDER}/register");
    println!("   curl -i -d '{{}}' {callback}");
    println!("   cat {}", folder.path("proxy.toml").display());
    println!("\nCtrl-C ends it.");
}

async fn start_sidecar(folder: &Folder, sandbox: &Sandbox, receiver: &Receiver, once: bool) -> Outcome<App> {
    std::fs::write(folder.path("ca.pem"), sandbox.ca_pem())?;
    // Ports 8080 and 8081 where they are free, so that what the README says to try works as it stands.
    for ports in if once { [(0, 0); 2] } else { [(8080, 8081), (0, 0)] } {
        std::fs::write(folder.path("proxy.toml"), configuration(folder, sandbox, receiver, ports))?;
        match App::start(folder.path("proxy.toml")).await {
            Err(AppError::Bind(_)) if ports != (0, 0) => {}
            result => return Ok(result?),
        }
    }
    Err("no port is free".into())
}

fn configuration(folder: &Folder, sandbox: &Sandbox, receiver: &Receiver, (port, inbound): (u16, u16)) -> String {
    let (graph, media) = (sandbox.graph(), sandbox.media());
    let dir = folder.path("");
    let (dir, application) = (dir.display(), receiver.address());
    format!(
        r#"[outbound]
listen = ["127.0.0.1:{port}"]

[inbound]
listen = ["127.0.0.1:{inbound}"]

[admin]
listen = ["unix:{dir}admin.sock"]

[reload]
watch = "200ms"

[log]
level = "error"

[provider.sandbox]
extends        = "meta"
upstream       = "https://{graph}"
media_upstream = "https://{media}"
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
forward    = "http://{application}/events"
"#
    )
}

const SENDER: &str = "106540352242922";
const RATE: u32 = 200;
/// Between two rotations.
const ROTATION_TIME: Duration = Duration::from_millis(1500);
