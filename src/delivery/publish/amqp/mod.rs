//! RabbitMQ, by AMQP 0-9-1: an event is a persistent message, confirmed by the server and taken by
//! a queue.

mod socket;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::tcp::AsyncTcpStream;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Error, ErrorKind,
};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::timeout;

use super::PublisherError;
use super::line::{Broker, PublishFault, PublishedEvent};
use super::url::{BrokerUrl, UrlScheme};
use crate::secret::Secret;
use crate::spool::StreamAnswer;
use socket::{SocketEnd, Sockets, runtime};

/// An exchange with a routing key.
pub(super) struct AmqpExchange {
    exchange: ShortString,
    routing_key: ShortString,
    url: BrokerUrl,
    tls: Arc<ClientConfig>,
    host_timeout: Duration,
}

/// A connection with idle channels.
pub(super) struct AmqpConnection {
    connection: Connection,
    /// Channels without an event. Events never share a channel: the server answers some faults by
    /// closing the channel, and the answer must be about a single event.
    idle: Mutex<Vec<Channel>>,
    _end: Arc<SocketEnd>,
}

impl AmqpExchange {
    pub(super) fn new(
        exchange: &str,
        routing_key: &str,
        url: &Secret,
        authorities: Option<&[u8]>,
        host_timeout: Duration,
    ) -> Result<Self, PublisherError> {
        Ok(Self {
            exchange: name(exchange)?,
            routing_key: name(routing_key)?,
            url: BrokerUrl::parse(url, &SCHEME)?,
            tls: Arc::new(super::tls(authorities)?),
            host_timeout,
        })
    }

    /// Makes a connection to a host.
    async fn dial_host(&self, host: &str, port: u16) -> Result<AmqpConnection, PublishFault> {
        let end = Arc::new(SocketEnd::default());
        let sockets = Sockets {
            tls: self.url.tls.then(|| Arc::clone(&self.tls)),
            end: Arc::downgrade(&end),
            timeout: self.host_timeout,
        };
        let connect = Connection::connector(
            self.uri(host, port),
            runtime(),
            async move |uri: AMQPUri, _| {
                let stream = sockets.connect(&uri.authority.host, uri.authority.port);
                Ok(AsyncTcpStream::Plain(stream.await?))
            },
            ConnectionProperties::default().with_connection_name("keyside".into()),
        );
        let connection = match timeout(self.host_timeout, connect).await {
            Ok(connected) => connected.map_err(|error| match fault(&error) {
                PublishFault::Answer(answer, cause) => PublishFault::Answer(answer, cause),
                ended => PublishFault::Unreachable(ended.to_string()),
            })?,
            Err(_) => return Err(PublishFault::unreachable("no answer in time")),
        };
        Ok(AmqpConnection {
            connection,
            idle: Mutex::default(),
            _end: end,
        })
    }

    fn uri(&self, host: &str, port: u16) -> AMQPUri {
        let text = |part: &Option<zeroize::Zeroizing<String>>| {
            part.as_ref()
                .map_or_else(|| "guest".to_owned(), |part| part.to_string())
        };
        let vhost = self.url.path.as_deref().filter(|path| !path.is_empty());
        AMQPUri {
            scheme: if self.url.tls {
                AMQPScheme::AMQPS
            } else {
                AMQPScheme::AMQP
            },
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: text(&self.url.user),
                    password: text(&self.url.password),
                },
                host: host.to_owned(),
                port,
            },
            vhost: vhost.unwrap_or("/").to_owned(),
            query: AMQPQueryString {
                heartbeat: Some(HEARTBEAT_SECONDS),
                ..AMQPQueryString::default()
            },
        }
    }
}

impl Broker for AmqpExchange {
    type Connection = Arc<AmqpConnection>;

    async fn dial(&self) -> Result<Arc<AmqpConnection>, PublishFault> {
        let mut last = PublishFault::unreachable("no host");
        for (host, port) in &self.url.hosts {
            match self.dial_host(host, *port).await {
                Ok(connection) => return Ok(Arc::new(connection)),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    fn dial_timeout(&self) -> Duration {
        self.host_timeout * u32::try_from(self.url.hosts.len()).unwrap_or(1)
    }

    fn is_up(&self, connection: &Arc<AmqpConnection>) -> bool {
        connection.connection.status().connected()
    }

    async fn send(
        &self,
        connection: &Arc<AmqpConnection>,
        event: &PublishedEvent<'_>,
    ) -> Result<(), PublishFault> {
        if connection.connection.status().blocked() {
            return Err(blocked());
        }
        let channel = connection.channel().await.map_err(|error| fault(&error))?;
        let confirm = channel.basic_publish(
            self.exchange.clone(),
            self.routing_key.clone(),
            BasicPublishOptions {
                mandatory: true,
                immediate: false,
            },
            event.body,
            properties(event),
        );
        let confirmation = confirm.await.map_err(|error| fault(&error))?.await;
        match confirmation.map_err(|error| fault(&error))? {
            Confirmation::Ack(None) => {
                connection.idle.lock().push(channel);
                Ok(())
            }
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                connection.idle.lock().push(channel);
                let cause = "no queue takes the message from the exchange";
                Err(PublishFault::Answer(
                    StreamAnswer::Missing,
                    cause.to_owned(),
                ))
            }
            // A queue at the bound of length or bytes, with `overflow = reject-publish`.
            Confirmation::Nack(None) => {
                connection.idle.lock().push(channel);
                let cause = "the queue rejects the message";
                Err(PublishFault::Answer(StreamAnswer::Full, cause.to_owned()))
            }
            Confirmation::NotRequested => {
                Err(PublishFault::interrupted("the channel confirms nothing"))
            }
        }
    }

    fn silence(&self, connection: &Arc<AmqpConnection>) -> PublishFault {
        if connection.connection.status().blocked() {
            return blocked();
        }
        PublishFault::Silent
    }
}

impl AmqpConnection {
    /// Returns a channel without an event.
    async fn channel(&self) -> Result<Channel, Error> {
        let idle = {
            let mut idle = self.idle.lock();
            idle.retain(|channel| channel.status().connected());
            idle.pop()
        };
        if let Some(channel) = idle {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(channel)
    }
}

/// True if a password in the URL would cross a network without TLS.
pub(super) fn exposes_password(url: &Secret) -> bool {
    BrokerUrl::parse(url, &SCHEME).is_ok_and(|url| url.exposes_password())
}

/// The answer of a server without memory or disk: all publishers are stopped.
fn blocked() -> PublishFault {
    let cause = "the server has blocked its publishers, for want of memory or disk";
    PublishFault::Answer(StreamAnswer::Full, cause.to_owned())
}

/// Returns a name of AMQP: 255 bytes at most.
fn name(text: &str) -> Result<ShortString, PublisherError> {
    ShortString::try_new(text).map_err(|_| PublisherError::Name)
}

/// Returns the properties of the message. A header with a name too long for AMQP stays away.
fn properties(event: &PublishedEvent<'_>) -> BasicProperties {
    let mut headers = FieldTable::default();
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let Ok(id) = ShortString::try_new(event.id) {
        properties = properties.with_message_id(id);
    }
    for (name, value) in event.fields() {
        let Ok(name) = ShortString::try_new(name) else {
            continue;
        };
        let media_type = ShortString::try_new(String::from_utf8_lossy(value).into_owned());
        if let ("content-type", Ok(media_type)) = (name.as_str(), media_type) {
            properties = properties.with_content_type(media_type);
        }
        headers.insert(name, AMQPValue::LongString(LongString::from(value)));
    }
    properties.with_headers(headers)
}

/// Judges an error by the number. The words of an error may quote the event.
fn fault(error: &Error) -> PublishFault {
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        return PublishFault::interrupted(match error.kind() {
            ErrorKind::MissingHeartbeatError => "the server is silent",
            ErrorKind::IOError(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "the connection is refused"
            }
            _ => "the connection ended",
        });
    };
    let number = refusal.get_id();
    match answer(number, refusal.get_message().as_str()) {
        Some(answer) => PublishFault::Answer(answer, format!("the server answers {number}")),
        None => PublishFault::interrupted("the server has closed the connection"),
    }
}

/// Returns the meaning of a reply code; `None` for the end of all connections, as at the stop of
/// the server.
fn answer(number: u16, words: &str) -> Option<StreamAnswer> {
    Some(match number {
        CONNECTION_FORCED => return None,
        NOT_FOUND => StreamAnswer::Missing,
        ACCESS_REFUSED | NOT_ALLOWED => StreamAnswer::Denied,
        PRECONDITION_FAILED if words.contains("larger than") => StreamAnswer::TooLarge,
        RESOURCE_ERROR | INTERNAL_ERROR => StreamAnswer::Unready,
        _ => StreamAnswer::Failed,
    })
}

/// The words of AMQP URLs. The path is the virtual host, `/` without a path.
const SCHEME: UrlScheme = UrlScheme {
    plain: "amqp",
    tls: "amqps",
    port: 5672,
    tls_port: 5671,
    form: "amqp://[USER:PASSWORD@]HOST[/VHOST], or amqps:// for TLS",
};
/// The delivery mode of persistent messages: a restart of the server loses none.
const PERSISTENT: u8 = 2;
/// The time between two signs of life. The library ends a connection after twice the time in
/// silence.
const HEARTBEAT_SECONDS: u16 = 15;

// The reply codes of AMQP 0-9-1.
const CONNECTION_FORCED: u16 = 320;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const RESOURCE_ERROR: u16 = 506;
const NOT_ALLOWED: u16 = 530;
const INTERNAL_ERROR: u16 = 541;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_code_has_its_meaning() {
        for (number, words, expected) in [
            (
                320,
                "CONNECTION_FORCED - broker forced connection closure",
                None,
            ),
            (
                404,
                "NOT_FOUND - no exchange 'x' in vhost '/'",
                Some(StreamAnswer::Missing),
            ),
            (
                403,
                "ACCESS_REFUSED - access refused",
                Some(StreamAnswer::Denied),
            ),
            (
                530,
                "NOT_ALLOWED - vhost x not found",
                Some(StreamAnswer::Denied),
            ),
            (
                406,
                "PRECONDITION_FAILED - message size 3 is larger than configured max size 2",
                Some(StreamAnswer::TooLarge),
            ),
            (
                406,
                "PRECONDITION_FAILED - fast reply consumer",
                Some(StreamAnswer::Failed),
            ),
            (541, "INTERNAL_ERROR", Some(StreamAnswer::Unready)),
        ] {
            assert_eq!(answer(number, words), expected, "{words}");
        }
    }
}
