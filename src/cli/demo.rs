//! `keyside demo`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::Method;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::app::App;
use crate::config::ListenAddress;
use crate::provider::Ca;
use crate::provider::Origin;
use crate::sandbox::{Options, Sandbox};
use crate::tls;
use crate::upstream::{Head, Limits, Outgoing, OutgoingBody, Upstream};

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
    let token = folder.write_token()?;
    let options = Options { tls: true, tokens: vec![token], ..Options::default() };
    let sandbox = Arc::new(Sandbox::start(options).await?);
    let app = start_sidecar(&folder, &sandbox, once).await?;
    let application = Application::calling(app.addresses())?;
    println!("A sandbox that behaves like Meta's Cloud API is up at https://{}.", sandbox.graph());
    println!("A sidecar is up in front of it, and holds the token: {}\n", folder.path("token").display());

    let mut good = sends_without_a_token(&application, &sandbox).await?;
    good &= is_refused_what_it_may_not_do(&application).await?;
    good &= is_held_to_the_limit(&application).await?;
    good &= notices_no_rotation(&application, &sandbox, &folder).await?;
    if once {
        app.stop(Duration::from_secs(5)).await;
    } else {
        say_what_to_try(&application, &folder);
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
            let (old, new) = (folder.read_token()?, folder.new_token());
            sandbox.accept_token(&new);
            folder.replace_token(&new)?;
            let sandbox = Arc::clone(sandbox);
            tokio::spawn(async move {
                sleep(Duration::from_secs(1)).await;
                sandbox.revoke_token(&old);
            });
        }
        let application = application.clone();
        sends.spawn(async move { application.send("", "15550001234").await.map_or(0, |(status, _)| status) });
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

fn say_what_to_try(application: &Application, folder: &Folder) {
    let url = &application.url;
    println!("Everything stays up. Try:\n");
    println!(
        "   curl {url}/v23.0/{SENDER}/messages -H 'Content-Type: application/json' -d '{}'",
        message("15550001234")
    );
    println!("   curl -i {url}/v23.0/{SENDER}/messages -H 'Host: evil.example'");
    println!("   curl -i -X POST {url}/v23.0/{SENDER}/register");
    println!("   cat {}", folder.path("proxy.toml").display());
    println!("\nCtrl-C ends it.");
}

async fn start_sidecar(folder: &Folder, sandbox: &Sandbox, once: bool) -> Outcome<App> {
    std::fs::write(folder.path("ca.pem"), sandbox.ca_pem())?;
    // Port 8080 where it is free, so that what the README says to try works as it stands.
    for port in if once { [0, 0] } else { [8080, 0] } {
        std::fs::write(folder.path("proxy.toml"), configuration(folder, sandbox, port))?;
        match App::start(folder.path("proxy.toml")).await {
            Err(crate::app::AppError::Bind(_)) if port != 0 => {}
            result => return Ok(result?),
        }
    }
    Err("no port is free".into())
}

fn configuration(folder: &Folder, sandbox: &Sandbox, port: u16) -> String {
    let (graph, media) = (sandbox.graph(), sandbox.media());
    let (ca, token) = (folder.path("ca.pem"), folder.path("token"));
    let (ca, token, admin) = (ca.display(), token.display(), folder.path("admin.sock"));
    format!(
        r#"[outbound]
listen = ["127.0.0.1:{port}"]

[admin]
listen = ["unix:{admin}"]

[reload]
watch = "200ms"

[log]
level = "warn"

[provider.sandbox]
extends        = "meta"
upstream       = "https://{graph}"
media_upstream = "https://{media}"
ca             = "{ca}"

[credential.demo]
provider = "sandbox"
token    = "file:{token}"

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
"#,
        admin = admin.display()
    )
}

/// What stands for an application: it knows an address on localhost and nothing else.
#[derive(Clone)]
struct Application {
    url: String,
    host: String,
    keyside: Arc<Upstream>,
}

impl Application {
    fn calling(addresses: &[ListenAddress]) -> Outcome<Self> {
        let Some(ListenAddress::Tcp(address)) = addresses.first() else {
            return Err("the sidecar has no address".into());
        };
        let origin = Origin { tls: false, host: address.ip().to_string(), port: address.port() };
        let keyside = Arc::new(Upstream::new(origin, tls::client_config(&Ca::Bundled, None)?)?);
        Ok(Self { url: format!("http://{address}"), host: address.to_string(), keyside })
    }

    async fn send(&self, prefix: &str, recipient: &str) -> Outcome<(u16, String)> {
        self.call(Method::POST, &format!("{prefix}/v23.0/{SENDER}/messages"), &message(recipient)).await
    }

    async fn call(&self, method: Method, path: &str, body: &str) -> Outcome<(u16, String)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let seconds = Duration::from_secs;
        let limits = Limits {
            start: Instant::now(),
            deadline: Instant::now() + seconds(20),
            head: seconds(20),
            progress: seconds(20),
        };
        let mut bytes = Head::default();
        bytes.push(head.as_bytes());
        let request = Outgoing::new(method, bytes, OutgoingBody::Whole(bytes::Bytes::new()));
        let answer = self.keyside.send(request, limits, &AtomicBool::new(false)).await?;
        let status = answer.status.as_u16();
        let text = answer.body.whole(1 << 20).await?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }
}

fn message(recipient: &str) -> String {
    format!(r#"{{"messaging_product":"whatsapp","to":"{recipient}","type":"text","text":{{"body":"Hello"}}}}"#)
}

/// A folder of the demo's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Outcome<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("keyside-demo-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write_token(&self) -> Outcome<String> {
        let token = self.new_token();
        self.replace_token(&token)?;
        Ok(token)
    }

    fn read_token(&self) -> Outcome<String> {
        Ok(std::fs::read_to_string(self.path("token"))?)
    }

    /// In one step, so that nobody reads half a token.
    fn replace_token(&self, token: &str) -> Outcome<()> {
        write_private(&self.path("token.new"), token)?;
        Ok(std::fs::rename(self.path("token.new"), self.path("token"))?)
    }

    fn new_token(&self) -> String {
        crate::sandbox::new_token()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

const SENDER: &str = "106540352242922";
const RATE: u32 = 200;
/// Between two rotations.
const ROTATION_TIME: Duration = Duration::from_millis(1500);
