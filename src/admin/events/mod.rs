//! `/events`: the events of the spool, a page at a time, and orders about events. `keyside events`
//! is a client.
//!
//! An answer is a page with the first number of the next page, rather than a stream: a slow reader
//! then holds neither memory nor a view of the store, and after a cut an order goes on from the
//! last page.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

mod orders;
mod question;
mod shown;

use super::spool::stats;
use super::{NOT_FOUND, wrong_method};
use crate::audit::Audit;
use crate::listener::{Link, Peer};
use crate::response::{BAD_REQUEST, JSON, Refusal, RefusalKind};
use crate::spool::{Spool, SpoolRefusal, StoreError, UnreadEvent};
use orders::{NextReplay, drop_events, replay};
use question::{EventPart, PARAMETERS, Question, Unclear};
use shown::{listed, request, unread};

/// The answers under `/events`.
#[derive(Debug)]
pub(super) struct Events {
    spool: Option<Arc<Spool>>,
    /// Held by the answer in the making: pages take turns, because each takes memory and disk.
    turn: Semaphore,
    next_replay: NextReplay,
}

/// The orders and questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Page,
    Stats,
    Replay,
    Drop,
}

impl Events {
    pub(super) fn new(spool: Option<Arc<Spool>>) -> Self {
        Self {
            spool,
            turn: Semaphore::new(1),
            next_replay: NextReplay::new(),
        }
    }

    /// True for the paths of events.
    pub(super) fn has(path: &str) -> bool {
        path == "/events" || path.starts_with("/events/")
    }

    /// Answers a request. Programs on the sidecar's machine alone see events, even if the listener
    /// is bound further.
    pub(super) async fn answer<B>(
        self: &Arc<Self>,
        asked: &Request<B>,
        link: &Link,
        audit: Audit,
    ) -> Response<Bytes> {
        let is_read = matches!(*asked.method(), Method::GET | Method::HEAD);
        let ask = match asked.uri().path() {
            "/events" if is_read => Ask::Page,
            "/events/stats" if is_read => Ask::Stats,
            "/events/replay" if asked.method() == Method::POST => Ask::Replay,
            "/events/drop" if asked.method() == Method::POST => Ask::Drop,
            "/events" | "/events/stats" => return wrong_method("GET, HEAD"),
            "/events/replay" | "/events/drop" => return wrong_method("POST"),
            _ => return EventsError::Path.refusal().to_response(),
        };
        let is_here = match link.peer() {
            Peer::Unix { .. } => true,
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
        };
        let Some(spool) = self.spool.clone() else {
            return EventsError::NoSpool.refusal().to_response();
        };
        let question = Question::parse(asked.uri().query().unwrap_or_default());
        let result = match question {
            _ if !is_here => Err(EventsError::Elsewhere),
            Err(unclear) => Err(EventsError::Unclear(unclear)),
            Ok(question) => self.make(ask, spool, question, audit, link.caller()).await,
        };
        match result {
            Ok(value) => in_json(&value),
            Err(error) => error.refusal().to_response(),
        }
    }

    /// Makes an answer on a thread for reads of the store. An order goes on to the end when the
    /// client is gone.
    async fn make(
        self: &Arc<Self>,
        ask: Ask,
        spool: Arc<Spool>,
        mut question: Question,
        audit: Audit,
        client: String,
    ) -> Result<Value, EventsError> {
        let events = Arc::clone(self);
        let runtime = Handle::current();
        let made = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                // The semaphore is never closed.
                let _turn = match ask {
                    Ask::Replay => None,
                    Ask::Page | Ask::Stats | Ask::Drop => Some(events.turn.acquire().await),
                };
                if ask != Ask::Drop {
                    question = question.about_readable().map_err(EventsError::Unclear)?;
                }
                question.filter.to = named(&spool, &question)?;
                match ask {
                    Ask::Page => page(&spool, &question),
                    Ask::Stats => Ok(stats(&spool.survey())),
                    Ask::Replay => replay(&spool, &events.next_replay, &question).await,
                    Ask::Drop => drop_events(&spool, &audit, &question, client).await,
                }
            })
        });
        // The answer is lost at the end of the process only.
        made.await
            .unwrap_or(Err(EventsError::Refused(SpoolRefusal::Closed)))
    }
}

/// Returns the numbers of the destinations in a question.
fn named(spool: &Spool, question: &Question) -> Result<BTreeSet<u32>, EventsError> {
    let known = spool.known();
    let wanted = question.filter.webhook.as_deref();
    let is_of = |webhook: &str| wanted.is_none_or(|wanted| wanted == webhook);
    if !known.iter().any(|(_, webhook, _)| is_of(webhook)) {
        return Err(EventsError::NoWebhook);
    }
    let Some(name) = &question.to else {
        return Ok(BTreeSet::new());
    };
    let numbers: BTreeSet<_> = known
        .iter()
        .filter(|(_, webhook, to)| is_of(webhook) && to == name)
        .map(|(number, ..)| *number)
        .collect();
    if numbers.is_empty() {
        return Err(EventsError::NoDestination);
    }
    Ok(numbers)
}

/// Returns a page of events. A page ends after many events, or after many bytes of bodies.
fn page(spool: &Spool, question: &Question) -> Result<Value, EventsError> {
    let found = spool.list(&question.filter, question.from, question.most)?;
    let destinations = spool.known();
    let mut events = Vec::new();
    let mut bytes = 0;
    let mut next = found.next;
    let mut unreadable: Vec<_> = found.unreadable.iter().map(unread).collect();
    for event in &found.events {
        if bytes > MAX_BYTES {
            next = Some(event.seq);
            break;
        }
        let mut shown = listed(event, &destinations, question.names);
        if question.part == EventPart::Whole {
            match spool.show(event.seq) {
                Ok(Some((_, arrived))) => {
                    bytes += arrived.body.len();
                    if let Some(fields) = shown.as_object_mut() {
                        fields.insert("request".to_owned(), request(&arrived));
                    }
                }
                // The event has gone since the list was read.
                Ok(None) => continue,
                Err(StoreError::Record(why)) => {
                    unreadable.push(unread(&UnreadEvent {
                        seq: event.seq,
                        id: Some(event.head.id.clone()),
                        received_ms: Some(event.head.received_ms),
                        why,
                    }));
                    continue;
                }
                Err(error) => {
                    tracing::debug!(%error, number = event.seq, "the store cannot be read");
                    return Err(EventsError::Refused(SpoolRefusal::Broken));
                }
            }
        }
        events.push(shown);
    }
    Ok(json!({ "events": events, "unreadable": unreadable, "next": next, "end": spool.end() }))
}

fn in_json(value: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{value}\n")));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// The reasons why a question about events has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventsError {
    Path,
    NoSpool,
    Elsewhere,
    Unclear(Unclear),
    NoWebhook,
    NoDestination,
    TooWide,
    DropWhat,
    Refused(SpoolRefusal),
}

impl From<SpoolRefusal> for EventsError {
    fn from(refused: SpoolRefusal) -> Self {
        Self::Refused(refused)
    }
}

impl EventsError {
    fn refusal(self) -> Refusal {
        let kind = match self {
            Self::Path | Self::NoSpool | Self::NoWebhook | Self::NoDestination => NOT_FOUND,
            Self::Elsewhere => ELSEWHERE,
            Self::Unclear(_) | Self::TooWide | Self::DropWhat => BAD_REQUEST,
            Self::Refused(_) => UNREADABLE,
        };
        Refusal::new(kind, self.to_string(), self.advice())
    }

    fn advice(self) -> String {
        match self {
            Self::Path => "ask for /events, /events/stats, or POST /events/replay, /events/drop",
            Self::NoSpool => {
                "add `[spool]` with a `dir` to the configuration and restart: docs/events.md"
            }
            Self::Elsewhere => "ask on the machine of the sidecar, over loopback or a Unix socket",
            Self::Unclear(_) => return format!("the parameters are {PARAMETERS}"),
            Self::NoWebhook | Self::NoDestination => {
                "`keyside events stats` lists those that there are"
            }
            Self::TooWide => "name events by `since`, `state`, `match` or `id`",
            Self::DropWhat => {
                "name the events by `id`, the person by `user`, or `state=unreadable`, and nothing else"
            }
            Self::Refused(_) => "`keyside status --problems` says what is wrong with the spool",
        }
        .to_owned()
    }
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "there is nothing at this path under /events",
            Self::NoSpool => "the sidecar has no spool, so no events wait on disk",
            Self::Elsewhere => "events are shown to programs of the sidecar's machine alone",
            Self::Unclear(unclear) => return unclear.fmt(f),
            Self::NoWebhook => "no events of a webhook with this name are in the spool",
            Self::NoDestination => "the spool knows no destination with this name",
            Self::TooWide => "a replay of every event there is must be asked for by a time",
            Self::DropWhat => "an erasure names events or a person",
            Self::Refused(refused) => return refused.fmt(f),
        })
    }
}

impl std::error::Error for EventsError {}

/// The bound on bytes of bodies in a page, but for the last body of 4 MiB at most: an answer fits
/// into the 16 MiB that a command reads.
const MAX_BYTES: usize = 2 << 20;
/// The refusal of programs on other machines.
const ELSEWHERE: RefusalKind =
    RefusalKind::new("operation_not_allowed", StatusCode::FORBIDDEN, 200);
/// The refusal while the store cannot be used.
const UNREADABLE: RefusalKind = RefusalKind::new("overloaded", StatusCode::SERVICE_UNAVAILABLE, 2);
