//! The line to a message server: one connection for all lanes, made anew whenever it fails.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::spool::{Outcome, StreamAnswer};

/// An event on its way to a stream.
#[derive(Clone, Copy, Debug)]
pub struct PublishedEvent<'e> {
    /// The id, by which consumers tell repeats.
    pub id: &'e str,
    /// The headers that an application gets with the event.
    pub headers: &'e [(String, Vec<u8>)],
    /// The body, byte for byte.
    pub body: &'e Bytes,
}

impl PublishedEvent<'_> {
    /// Returns the headers with names in lower case, and without those of an HTTP connection.
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
    async fn dial(&self) -> Result<Self::Connection, Fault>;

    /// Returns the time for [`Broker::dial`].
    fn dial_timeout(&self) -> Duration;

    /// Returns false if the connection is known to have ended.
    fn is_up(&self, connection: &Self::Connection) -> bool;

    /// Publishes an event, and waits until the server has it.
    async fn send(
        &self,
        connection: &Self::Connection,
        event: &PublishedEvent<'_>,
    ) -> Result<(), Fault>;

    /// Returns the cause for which a server that is connected gave no answer in time.
    fn silence(&self, connection: &Self::Connection) -> Fault;
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
    /// The number of dials that have ended. A connection has the number of its dial.
    dials: u64,
    /// The fault of the last dial, if it failed.
    fault: Option<Fault>,
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

    /// Publishes an event. A connection that fails or gives no answer in time is dropped; the next event dials anew.
    ///
    /// A kept connection may have ended while no event used it: servers close idle connections, and restart. The event
    /// then goes out once more at once, with the same id.
    pub(super) async fn publish(&self, event: &PublishedEvent<'_>) -> Result<(), Fault> {
        let connected = self.connection().await?;
        let is_kept = connected.is_kept;
        match self.send(connected, event).await {
            Err(ended @ Fault::Interrupted(_)) if is_kept => {
                let connected = self.connection().await.map_err(|_| ended)?;
                self.send(connected, event).await
            }
            sent => sent,
        }
    }

    async fn send(
        &self,
        connected: Connected<B::Connection>,
        event: &PublishedEvent<'_>,
    ) -> Result<(), Fault> {
        let connection = connected.connection;
        let sent = timeout(self.patience, self.broker.send(&connection, event)).await;
        let sent = sent.unwrap_or_else(|_| Err(self.broker.silence(&connection)));
        if sent.as_ref().is_err_and(Fault::ends_connection) {
            self.lose(connected.number);
        }
        sent
    }

    /// Returns the present connection, or makes one. Of many events that wait for a connection, one dials, and all get
    /// the result: a server that is silent costs each event the time of one dial.
    async fn connection(&self) -> Result<Connected<B::Connection>, Fault> {
        let seen = match self.present() {
            Ok(present) => return Ok(present),
            Err(dials) => dials,
        };
        let _turn = self.dialling.lock().await;
        match self.present() {
            Ok(present) => return Ok(present),
            Err(dials) if dials != seen => {
                let fault = self.present.lock().fault.clone();
                return Err(fault.unwrap_or_else(|| Fault::unreachable("the connection was lost")));
            }
            Err(_) => {}
        }
        let patience = self.broker.dial_timeout();
        let dialled = timeout(patience, self.broker.dial()).await;
        let dialled = dialled.unwrap_or_else(|_| {
            let seconds = patience.as_secs_f32();
            Err(Fault::Unreachable(format!(
                "no connection within {seconds:.0} s"
            )))
        });
        let mut present = self.present.lock();
        present.dials += 1;
        present.fault = dialled.as_ref().err().cloned();
        let connection = dialled?;
        present.connection = Some(connection.clone());
        Ok(Connected {
            connection,
            number: present.dials,
            is_kept: false,
        })
    }

    /// Returns the kept connection, or the number of dials while there is no connection.
    fn present(&self) -> Result<Connected<B::Connection>, u64> {
        let mut present = self.present.lock();
        let is_up = |connection: &B::Connection| self.broker.is_up(connection);
        if !present.connection.as_ref().is_some_and(is_up) {
            present.connection = None;
        }
        match &present.connection {
            Some(connection) => Ok(Connected {
                connection: connection.clone(),
                number: present.dials,
                is_kept: true,
            }),
            None => Err(present.dials),
        }
    }

    /// Gives up a connection, if it is still the present one.
    fn lose(&self, number: u64) {
        let mut present = self.present.lock();
        if present.dials == number {
            present.connection = None;
        }
    }
}

/// A connection for one event.
struct Connected<C> {
    connection: C,
    number: u64,
    /// True if other events may have used the connection before.
    is_kept: bool,
}

/// The cause for which an event is not published. No text holds a part of the server's URL or of an event.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// No connection came about; the event did not leave.
    Unreachable(String),
    /// The connection ended after the event may have left.
    Interrupted(String),
    /// The server gave no answer in time; the event may have left.
    Silent,
    /// The server answered, in the words of the second part.
    Answer(StreamAnswer, String),
}

impl Fault {
    pub(super) fn unreachable(cause: &str) -> Self {
        Self::Unreachable(cause.to_owned())
    }

    pub(super) fn interrupted(cause: &str) -> Self {
        Self::Interrupted(cause.to_owned())
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(_) => Outcome::Unreachable,
            Self::Interrupted(_) | Self::Silent => Outcome::Interrupted,
            Self::Answer(answer, _) => Outcome::Published(*answer),
        }
    }

    /// True if the next event needs a new connection. A server that is not ready may have handed its part to another
    /// one, and new rights of a user count from the next login.
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(cause) | Self::Interrupted(cause) | Self::Answer(_, cause) => {
                f.write_str(cause)
            }
            Self::Silent => f.write_str("no answer in time"),
        }
    }
}
