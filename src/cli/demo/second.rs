//! The second destination of the demo's events: a stream on a machine with Redis.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use super::DemoResult;
use super::folder::DemoFolder;
use super::receiver::{ReceivedEvent, Receiver};

/// The second destination.
pub(super) enum Second {
    /// A stream of a Redis of the demo.
    Stream {
        /// The port of the Redis.
        port: u16,
        /// Killed when dropped.
        _server: Child,
    },
    /// A second application, on a machine without Redis.
    Application(Receiver),
}

impl Second {
    /// Starts a Redis, or a second application on a machine without Redis.
    pub(super) async fn start(folder: &DemoFolder) -> DemoResult<Self> {
        let port = free_port().await?;
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(server) = server else {
            return Ok(Self::Application(Receiver::start()?));
        };
        let end = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if Instant::now() > end {
                return Ok(Self::Application(Receiver::start()?));
            }
            sleep(Duration::from_millis(50)).await;
        }
        folder.replace("events_url", &format!("redis://127.0.0.1:{port}"))?;
        Ok(Self::Stream {
            port,
            _server: server,
        })
    }

    /// Returns the name for texts.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Stream { .. } => "the stream in Redis",
            Self::Application(_) => "the second application",
        }
    }

    /// Returns the lines of `[[webhook.to]]`.
    pub(super) fn lines(&self, dir: &str) -> String {
        match self {
            Self::Stream { .. } => {
                format!("publish = \"redis-stream:events\"\nserver  = \"file:{dir}events_url\"\n")
            }
            Self::Application(receiver) => {
                format!("forward = \"http://{}/events\"\n", receiver.address())
            }
        }
    }

    /// Returns the events so far.
    pub(super) async fn events(&self) -> DemoResult<Vec<ReceivedEvent>> {
        let port = match self {
            Self::Stream { port, .. } => port,
            Self::Application(receiver) => return Ok(receiver.events()),
        };
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd("XRANGE");
        command.arg("events").arg("-").arg("+");
        let entries: Vec<(String, HashMap<String, String>)> =
            command.query_async(&mut connection).await?;
        let events = entries.into_iter().map(|(_, mut fields)| ReceivedEvent {
            id: fields.remove("id").unwrap_or_default(),
            body: fields.remove("body").unwrap_or_default(),
        });
        Ok(events.collect())
    }
}

async fn free_port() -> DemoResult<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    Ok(listener.local_addr()?.port())
}

/// The time for a Redis to start: it takes some ten milliseconds, on a busy machine some seconds.
const START_TIMEOUT: Duration = Duration::from_secs(10);
