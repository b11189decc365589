//! Redis Streams: an event is an entry of a stream, written by `XADD`.

use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, Value};

use super::line::{Broker, PublishFault, PublishedEvent};
use crate::shared::{ServerClient, ServerConnection};
use crate::spool::StreamAnswer;

/// A stream of a single server, of the master named by Sentinels, or of a cluster.
pub(super) struct RedisStream {
    key: String,
    client: tokio::sync::Mutex<ServerClient>,
    dial_timeout: Duration,
}

impl RedisStream {
    pub(super) fn new(key: &str, client: ServerClient) -> Self {
        Self {
            key: key.to_owned(),
            dial_timeout: client.connect_timeout(),
            client: tokio::sync::Mutex::new(client),
        }
    }

    fn command(&self, event: &PublishedEvent<'_>) -> Cmd {
        let mut command = redis::cmd("XADD");
        command.arg(&self.key).arg("MAXLEN").arg("~").arg(LENGTH);
        command.arg("*").arg("id").arg(event.id);
        for (name, value) in event.fields() {
            command.arg(name).arg(value);
        }
        command.arg("body").arg(event.body.as_ref());
        command
    }
}

impl Broker for RedisStream {
    type Connection = ServerConnection;

    async fn dial(&self) -> Result<ServerConnection, PublishFault> {
        let mut client = self.client.lock().await;
        client.open().await.map_err(|error| match fault(&error) {
            PublishFault::Answer(answer, cause) => PublishFault::Answer(answer, cause),
            ended => PublishFault::Unreachable(ended.to_string()),
        })
    }

    fn dial_timeout(&self) -> Duration {
        self.dial_timeout
    }

    fn is_up(&self, _connection: &ServerConnection) -> bool {
        true
    }

    async fn send(
        &self,
        connection: &ServerConnection,
        event: &PublishedEvent<'_>,
    ) -> Result<(), PublishFault> {
        let written = connection.query::<Value>(&self.command(event)).await;
        written.map(|_| ()).map_err(|error| fault(&error))
    }

    fn silence(&self, _connection: &ServerConnection) -> PublishFault {
        PublishFault::Silent
    }
}

/// Judges an error by the code. The words of an error may quote the command with the event.
fn fault(error: &RedisError) -> PublishFault {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return PublishFault::Answer(StreamAnswer::Denied, "the login is refused".to_owned());
    }
    let Some(code) = error.code() else {
        if error.is_timeout() {
            return PublishFault::Silent;
        }
        return PublishFault::interrupted(match error.kind() {
            _ if error.is_connection_refusal() => "the connection is refused",
            ErrorKind::Io => "the connection ended",
            ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::EmptySentinelList => {
                "the Sentinels name no master"
            }
            ErrorKind::ClusterConnectionNotFound => "no node of the cluster answers",
            _ => "the server's answer cannot be read",
        });
    };
    let detail = error.detail().unwrap_or_default();
    let answer = if error.to_string().starts_with(REFUSED_DATABASE) {
        answer_to_select(detail)
    } else {
        answer(code, detail)
    };
    PublishFault::Answer(answer, format!("the server answers {code}"))
}

fn answer(code: &str, detail: &str) -> StreamAnswer {
    match code {
        "OOM" => StreamAnswer::Full,
        "WRONGTYPE" => StreamAnswer::WrongKind,
        "NOPERM" | "NOAUTH" | "WRONGPASS" => StreamAnswer::Denied,
        "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK"
        | "MISCONF" | "NOREPLICAS" | "BUSY" | "UNBLOCKED" => StreamAnswer::Unready,
        // `proto-max-bulk-len`: the server closes the connection as well.
        _ if detail.contains("invalid bulk length") => StreamAnswer::TooLarge,
        // A command of more than ten parts, before a login: the server closes the connection as
        // well.
        _ if detail.contains("unauthenticated") => StreamAnswer::Denied,
        _ => StreamAnswer::Failed,
    }
}

/// Judges the answer to the choice of the database, whose code the library leaves out.
fn answer_to_select(detail: &str) -> StreamAnswer {
    match detail {
        _ if detail.starts_with("Authentication required") => StreamAnswer::Denied,
        // The server starts, has lost its master, or runs a long script.
        _ if ["loading", "MASTER", "busy"]
            .iter()
            .any(|word| detail.contains(word)) =>
        {
            StreamAnswer::Unready
        }
        _ if ["DB index", "no permissions", "not allowed in cluster"]
            .iter()
            .any(|words| detail.contains(words)) =>
        {
            StreamAnswer::NoDatabase
        }
        _ => StreamAnswer::Failed,
    }
}

/// The library's words for a refused database.
const REFUSED_DATABASE: &str = "Redis server refused to switch database";
/// The least number of entries in a stream before the oldest go. A server without memory refuses
/// entries before, and events then wait on disk.
const LENGTH: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_meaning() {
        for (code, detail, expected) in [
            (
                "OOM",
                "command not allowed when used memory > 'maxmemory'.",
                StreamAnswer::Full,
            ),
            (
                "WRONGTYPE",
                "Operation against a key holding the wrong kind of value",
                StreamAnswer::WrongKind,
            ),
            (
                "NOPERM",
                "this user has no permissions",
                StreamAnswer::Denied,
            ),
            ("NOAUTH", "Authentication required.", StreamAnswer::Denied),
            (
                "READONLY",
                "You can't write against a read only replica.",
                StreamAnswer::Unready,
            ),
            (
                "MISCONF",
                "Redis is configured to save RDB snapshots",
                StreamAnswer::Unready,
            ),
            (
                "ERR",
                "Protocol error: invalid bulk length",
                StreamAnswer::TooLarge,
            ),
            ("ERR", "unknown command 'XADD'", StreamAnswer::Failed),
            (
                "ERR",
                "Protocol error: unauthenticated multibulk length",
                StreamAnswer::Denied,
            ),
            (
                "ERR",
                "Protocol error: unauthenticated bulk length",
                StreamAnswer::Denied,
            ),
        ] {
            assert_eq!(answer(code, detail), expected, "{code} {detail}");
        }
    }
    #[test]
    fn a_refused_database_is_told_from_a_missing_login_and_a_start() {
        for (detail, expected) in [
            ("DB index is out of range", StreamAnswer::NoDatabase),
            ("invalid DB index", StreamAnswer::NoDatabase),
            (
                "this user has no permissions to run the 'select' command",
                StreamAnswer::NoDatabase,
            ),
            (
                "SELECT is not allowed in cluster mode",
                StreamAnswer::NoDatabase,
            ),
            ("Authentication required.", StreamAnswer::Denied),
            (
                "Redis is busy running a script. You can only call SCRIPT KILL",
                StreamAnswer::Unready,
            ),
            ("something else", StreamAnswer::Failed),
            (
                "Redis is loading the dataset in memory",
                StreamAnswer::Unready,
            ),
        ] {
            assert_eq!(answer_to_select(detail), expected, "{detail}");
        }
    }
}
