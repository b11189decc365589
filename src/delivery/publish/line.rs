//! The line to a message server: a connection for all lanes, made anew after each failure.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::spool::{AttemptOutcome, StreamAnswer};

/// An event for a stream.
#[derive(Clone, Copy, Debug)]
pub struct PublishedEvent<'e> {
    /// The id of the event: consumers tell repeats by the id.
    pub id: &'e str,
    /// The time of the order behind the delivery, such as a replay, in milliseconds since 1970;
    /// `None` without an order, after the arrival alone.
    pub ordered_ms: Option<u64>,
    /// The headers, as for an application.
    pub headers: &'e [(String, Vec<u8>)],
    /// The body, byte for byte.
    pub body: &'e Bytes,
}

impl PublishedEvent<'_> {
    /// Returns the headers with names in lower case, and without the headers of an HTTP connection.
    pub(super) fn fields(&self) -> impl Iterator<Item = (String, &[u8])> {
        let fields = self.headers.iter().map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            (name, value.as_slice())
        });
        fields.filter(|(name, _)| !matches!(name.as_str(), "host" | "content-length"))
    }
}

/// A kind of message server.
pub(super) trait Broker {
    /// A connection. Clones use the connection at the same time.
    type Connection: Clone;

    /// Makes a connection.
    async fn dial(&self) -> Result<Self::Connection, PublishFault>;

    /// Returns the time for [`Broker::dial`].
    fn dial_timeout(&self) -> Duration;

    /// Returns false if the connection is known to have ended.
    fn is_up(&self, connection: &Self::Connection) -> bool;

    /// Publishes an event, and waits for the answer of the server.
    async fn send(
        &self,
        connection: &Self::Connection,
        event: &PublishedEvent<'_>,
    ) -> Result<(), PublishFault>;

    /// Returns the cause of a connected server for giving no answer in time.
    fn silence(&self, connection: &Self::Connection) -> PublishFault;
}

/// The connection to a message server.
pub(super) struct Line<B: Broker> {
    pub(super) broker: B,
    patience: Duration,
    present: Mutex<Present<B::Connection>>,
    dialling: tokio::sync::Mutex<()>,
}

struct Present<C> {
    connection: Option<C>,
    /// The number of finished dials. A connection has the number of the dial.
    dials: u64,
    /// The fault of the last dial, after a failure.
    fault: Option<PublishFault>,
}

impl<B: Broker> Line<B> {
    /// Returns a line without a connection. An answer may take `patience`.
    pub(super) fn new(broker: B, patience: Duration) -> Self {
        Self {
            broker,
            patience,
            present: Mutex::new(Present {
                connection: None,
                dials: 0,
                fault: None,
            }),
            dialling: tokio::sync::Mutex::default(),
        }
    }

    /// Publishes an event. A failed or silent connection is dropped; the next event dials anew.
    ///
    /// A kept connection may have ended between two events: servers close idle connections, and
    /// restart. The event then goes out once more at once, under the id of the first try.
    pub(super) async fn publish(&self, event: &PublishedEvent<'_>) -> Result<(), PublishFault> {
        let connected = self.connection().await?;
        let is_kept = connected.is_kept;
        match self.send(connected, event).await {
            Err(ended @ PublishFault::Interrupted(_)) if is_kept => {
                let connected = self.connection().await.map_err(|_| ended)?;
                self.send(connected, event).await
            }
            sent => sent,
        }
    }

    async fn send(
        &self,
        connected: LineConnection<B::Connection>,
        event: &PublishedEvent<'_>,
    ) -> Result<(), PublishFault> {
        let connection = connected.connection;
        let sent = timeout(self.patience, self.broker.send(&connection, event))
            .await
            .unwrap_or_else(|_| Err(self.broker.silence(&connection)));
        if sent.as_ref().is_err_and(PublishFault::ends_connection) {
            self.lose(connected.number);
        }
        sent
    }

    /// Returns the present connection, or dials. Of many events without a connection, the first
    /// dials, and all get the result: a silent server costs each event the time of a single dial.
    async fn connection(&self) -> Result<LineConnection<B::Connection>, PublishFault> {
        let seen = match self.present() {
            Ok(present) => return Ok(present),
            Err(dials) => dials,
        };
        let _turn = self.dialling.lock().await;
        match self.present() {
            Ok(present) => return Ok(present),
            Err(dials) if dials != seen => {
                let fault = self.present.lock().fault.clone();
                return Err(
                    fault.unwrap_or_else(|| PublishFault::unreachable("the connection was lost"))
                );
            }
            Err(_) => {}
        }
        let patience = self.broker.dial_timeout();
        let dialled = timeout(patience, self.broker.dial())
            .await
            .unwrap_or_else(|_| {
                let seconds = patience.as_secs_f32();
                Err(PublishFault::Unreachable(format!(
                    "no connection within {seconds:.0} s"
                )))
            });
        let mut present = self.present.lock();
        present.dials += 1;
        present.fault = dialled.as_ref().err().cloned();
        let connection = dialled?;
        present.connection = Some(connection.clone());
        Ok(LineConnection {
            connection,
            number: present.dials,
            is_kept: false,
        })
    }

    /// Returns the kept connection, or the number of dials while there is no connection.
    fn present(&self) -> Result<LineConnection<B::Connection>, u64> {
        let mut present = self.present.lock();
        let is_up = |connection: &B::Connection| self.broker.is_up(connection);
        if !present.connection.as_ref().is_some_and(is_up) {
            present.connection = None;
        }
        match &present.connection {
            Some(connection) => Ok(LineConnection {
                connection: connection.clone(),
                number: present.dials,
                is_kept: true,
            }),
            None => Err(present.dials),
        }
    }

    /// Gives up the present connection, unless a newer connection has taken the place.
    fn lose(&self, number: u64) {
        let mut present = self.present.lock();
        if present.dials == number {
            present.connection = None;
        }
    }
}

/// A connection for an event.
struct LineConnection<C> {
    connection: C,
    number: u64,
    /// True if other events may have used the connection before.
    is_kept: bool,
}

/// The cause of an event's failure. No text holds a part of the server's URL or of an event.
#[derive(Clone, Debug)]
pub(super) enum PublishFault {
    /// No connection came about; the event did not leave.
    Unreachable(String),
    /// The connection ended after the event may have left.
    Interrupted(String),
    /// The server gave no answer in time; the event may have left.
    Silent,
    /// The server answered, in the words of the second part.
    Answer(StreamAnswer, String),
}

impl PublishFault {
    pub(super) fn unreachable(cause: &str) -> Self {
        Self::Unreachable(cause.to_owned())
    }

    pub(super) fn interrupted(cause: &str) -> Self {
        Self::Interrupted(cause.to_owned())
    }

    pub(super) fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Unreachable(_) => AttemptOutcome::Unreachable,
            Self::Interrupted(_) | Self::Silent => AttemptOutcome::Interrupted,
            Self::Answer(answer, _) => AttemptOutcome::Published(*answer),
        }
    }

    /// True if the next event needs a new connection. After a failover a new connection leads to
    /// the new master, and new rights of a user count from the next login.
    fn ends_connection(&self) -> bool {
        !matches!(
            self,
            Self::Answer(
                StreamAnswer::Full | StreamAnswer::Missing | StreamAnswer::WrongKind,
                _
            )
        )
    }
}

impl fmt::Display for PublishFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) | Self::Interrupted(cause) | Self::Answer(_, cause) => {
                f.write_str(cause)
            }
            Self::Silent => f.write_str("no answer in time"),
        }
    }
}
