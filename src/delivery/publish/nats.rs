//! NATS JetStream: an event is a message, acknowledged by a stream.

use std::error::Error as _;
use std::str::FromStr;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{
    ConnectErrorKind, ConnectOptions, Event, HeaderMap, HeaderName, HeaderValue, ServerAddr,
    ServerError,
};
use tokio::sync::watch;
use tokio::time::sleep;

use super::PublisherError;
use super::line::{Broker, PublishFault, PublishedEvent};
use super::url::{BrokerUrl, BrokerUrlError, UrlScheme};
use crate::secret::Secret;
use crate::spool::StreamAnswer;

/// A subject with a stream.
pub(super) struct NatsSubject {
    subject: String,
    url: BrokerUrl,
    servers: Vec<ServerAddr>,
    tls: rustls::ClientConfig,
    host_timeout: Duration,
}

/// A connection, with the state by the server's messages.
#[derive(Clone)]
pub(super) struct NatsConnection {
    context: jetstream::Context,
    state: watch::Receiver<NatsState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NatsState {
    Up,
    Lost,
    /// The user has no right to publish to the subject, or to hear of the acknowledgement.
    Denied,
}

impl NatsSubject {
    pub(super) fn new(
        subject: &str,
        url: &Secret,
        authorities: Option<&[u8]>,
        host_timeout: Duration,
    ) -> Result<Self, PublisherError> {
        let url = BrokerUrl::parse(url, &SCHEME)?;
        if url.path.as_ref().is_some_and(|path| !path.is_empty()) {
            return Err(BrokerUrlError::Path.into());
        }
        let servers = url.hosts.iter().map(|(host, port)| {
            let scheme = if url.tls { SCHEME.tls } else { SCHEME.plain };
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            format!("{scheme}://{host}:{port}").parse()
        });
        Ok(Self {
            subject: subject.to_owned(),
            servers: servers
                .collect::<Result<_, _>>()
                .map_err(|_| BrokerUrlError::Host)?,
            tls: super::tls(authorities)?,
            url,
            host_timeout,
        })
    }

    fn options(&self, state: watch::Sender<NatsState>) -> ConnectOptions {
        let options = ConnectOptions::new()
            .name("keyside")
            .connection_timeout(self.host_timeout)
            .tls_client_config(self.tls.clone())
            .require_tls(self.url.tls)
            // The line dials again. The library alone would try for ever, and for a connection
            // without an owner.
            .max_reconnects(self.servers.len())
            .ignore_discovered_servers()
            .event_callback(move |event| {
                if let Some(now) = standing_after(&event) {
                    state.send_replace(now);
                }
                std::future::ready(())
            });
        match (&self.url.user, &self.url.password) {
            (Some(user), Some(password)) => {
                options.user_and_password(user.to_string(), password.to_string())
            }
            (Some(token), None) | (None, Some(token)) => options.token(token.to_string()),
            (None, None) => options,
        }
    }

    /// Publishes an event. A cluster without a leader answers as if there were no stream: a second
    /// look after a moment tells.
    async fn publish(
        &self,
        context: &jetstream::Context,
        event: &PublishedEvent<'_>,
    ) -> Result<(), PublishFault> {
        let mut looks = 1;
        loop {
            match self.publish_once(context, event).await {
                Err(error)
                    if error.kind() == PublishErrorKind::StreamNotFound && looks < MAX_LOOKS =>
                {
                    looks += 1;
                    sleep(LOOK_INTERVAL).await;
                }
                published => return published.map_err(|error| fault(&error)),
            }
        }
    }

    async fn publish_once(
        &self,
        context: &jetstream::Context,
        event: &PublishedEvent<'_>,
    ) -> Result<(), PublishError> {
        let message = PublishMessage::build()
            .payload(event.body.clone())
            .headers(headers(event))
            .message_id(message_id(event));
        let acknowledgement = context.send_publish(self.subject.clone(), message).await?;
        acknowledgement.await.map(|_| ())
    }
}

impl Broker for NatsSubject {
    type Connection = NatsConnection;

    async fn dial(&self) -> Result<NatsConnection, PublishFault> {
        let (sender, state) = watch::channel(NatsState::Up);
        let options = self.options(sender);
        match options.connect(self.servers.as_slice()).await {
            Ok(client) => {
                let mut context = jetstream::new(client);
                // The line bounds the wait. The library's bound would be shorter.
                context.set_timeout(ACK_TIMEOUT);
                Ok(NatsConnection { context, state })
            }
            Err(error) => Err(match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    PublishFault::Answer(StreamAnswer::Denied, "the login is refused".to_owned())
                }
                ConnectErrorKind::Dns => {
                    PublishFault::unreachable("the name of the server is unknown")
                }
                ConnectErrorKind::TimedOut => PublishFault::unreachable("no answer in time"),
                ConnectErrorKind::Tls => PublishFault::unreachable("no agreement on TLS"),
                _ => PublishFault::unreachable("no connection"),
            }),
        }
    }

    fn dial_timeout(&self) -> Duration {
        self.host_timeout * u32::try_from(self.servers.len()).unwrap_or(1)
    }

    fn is_up(&self, connection: &NatsConnection) -> bool {
        *connection.state.borrow() == NatsState::Up
    }

    async fn send(
        &self,
        connection: &NatsConnection,
        event: &PublishedEvent<'_>,
    ) -> Result<(), PublishFault> {
        let mut state = connection.state.clone();
        let fell = state.wait_for(|state| *state != NatsState::Up);
        tokio::select! {
            biased;
            published = self.publish(&connection.context, event) => published,
            fell = fell => Err(match fell.as_deref() {
                Ok(NatsState::Denied) => PublishFault::Answer(
                    StreamAnswer::Denied,
                    "the user may not publish to the subject, or hear of the acknowledgement".to_owned(),
                ),
                _ => PublishFault::interrupted("the connection ended"),
            }),
        }
    }

    fn silence(&self, _connection: &NatsConnection) -> PublishFault {
        PublishFault::Silent
    }
}

/// True if a password or token in the URL would cross a network without TLS.
pub(super) fn exposes_password(url: &Secret) -> bool {
    BrokerUrl::parse(url, &SCHEME).is_ok_and(|url| url.exposes_password())
}

/// Returns the new state of a connection after an event; `None` without a change.
fn standing_after(event: &Event) -> Option<NatsState> {
    match event {
        Event::Disconnected | Event::Closed => Some(NatsState::Lost),
        Event::ServerError(ServerError::AuthorizationViolation) => Some(NatsState::Denied),
        Event::ServerError(ServerError::Other(words)) => words
            .to_ascii_lowercase()
            .starts_with("permissions violation")
            .then_some(NatsState::Denied),
        _ => None,
    }
}

/// Returns the id for JetStream, which drops repeats. A replay is no repeat: the time of the order
/// goes along.
fn message_id(event: &PublishedEvent<'_>) -> String {
    match event.ordered_ms {
        Some(ordered_ms) => format!("{}/{ordered_ms}", event.id),
        None => event.id.to_owned(),
    }
}

/// Returns the headers of the message. A header unfit for NATS stays away.
fn headers(event: &PublishedEvent<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in event.fields() {
        let value = String::from_utf8_lossy(value);
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(&name), HeaderValue::from_str(&value))
        {
            headers.append(name, value);
        }
    }
    headers
}

fn fault(error: &PublishError) -> PublishFault {
    let answer = match error.kind() {
        PublishErrorKind::StreamNotFound => StreamAnswer::Missing,
        PublishErrorKind::MaxPayloadExceeded => StreamAnswer::TooLarge,
        PublishErrorKind::TimedOut => return PublishFault::Silent,
        PublishErrorKind::BrokenPipe => return PublishFault::interrupted("the connection ended"),
        _ => {
            let refusal = error.source().and_then(|source| source.downcast_ref());
            let Some(refusal): Option<&jetstream::Error> = refusal else {
                return PublishFault::interrupted("the connection ended");
            };
            let code = refusal.error_code();
            return PublishFault::Answer(
                answer(code),
                format!("the stream answers error {}", code.0),
            );
        }
    };
    PublishFault::Answer(answer, error.kind().to_string())
}

fn answer(code: ErrorCode) -> StreamAnswer {
    match code {
        // The bound of bytes or messages, with `discard = new`.
        ErrorCode::STREAM_STORE_FAILED
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::MEMORY_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => StreamAnswer::Full,
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            StreamAnswer::TooLarge
        }
        ErrorCode::STREAM_SEALED => StreamAnswer::WrongKind,
        ErrorCode::STREAM_NOT_FOUND => StreamAnswer::Missing,
        ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::CLUSTER_NOT_AVAILABLE
        | ErrorCode::CLUSTER_NOT_LEADER => StreamAnswer::Unready,
        _ => StreamAnswer::Failed,
    }
}

/// The words of NATS URLs. A login without a colon is a token.
const SCHEME: UrlScheme = UrlScheme {
    plain: "nats",
    tls: "tls",
    port: 4222,
    tls_port: 4222,
    form: "nats://[USER:PASSWORD@]HOST, nats://TOKEN@HOST, or tls:// for TLS from the beginning",
};
/// The looks for a stream before a verdict: the schedule of the spool tries the event again anyway,
/// so that a long election is no matter for a single attempt.
const MAX_LOOKS: u32 = 3;
/// The time between two looks: together half a second, in which a running election mostly ends, and
/// a fraction of the time of an attempt.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// The library's own bound for an acknowledgement: longer than any line waits.
const ACK_TIMEOUT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_a_stream_has_its_meaning() {
        for (code, expected) in [
            (10077, StreamAnswer::Full),
            (10047, StreamAnswer::Full),
            (10054, StreamAnswer::TooLarge),
            (10059, StreamAnswer::Missing),
            (10109, StreamAnswer::WrongKind),
            (10023, StreamAnswer::Unready),
            (10001, StreamAnswer::Failed),
        ] {
            assert_eq!(answer(ErrorCode(code)), expected, "{code}");
        }
    }

    #[test]
    fn a_violation_of_permissions_is_told_from_other_errors() {
        let error = |words: &str| Event::ServerError(ServerError::Other(words.to_owned()));
        for (event, expected) in [
            (Event::Disconnected, Some(NatsState::Lost)),
            (Event::Closed, Some(NatsState::Lost)),
            (
                error("Permissions Violation for Publish to \"events\""),
                Some(NatsState::Denied),
            ),
            (error("Stale Connection"), None),
            (Event::LameDuckMode, None),
        ] {
            assert_eq!(standing_after(&event), expected, "{event:?}");
        }
    }
}
