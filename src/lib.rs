//! A sidecar that holds the WhatsApp credentials, so that applications need none.
//!
//! Applications send plain HTTP to localhost as if Keyside were the provider's API: the same paths,
//! the same bodies, no credential. Keyside checks the request against the rules of a route, waits
//! for the limits of the provider, injects the credential, sends the request over TLS, and returns
//! the answer. In the other direction Keyside receives the webhooks of the provider, checks their
//! signatures, and hands the genuine events to the application.
//!
//! # Glossary
//!
//! Each word has one meaning in the code, the configuration, the metrics and the messages.
//!
//! | word | meaning |
//! |---|---|
//! | application | the program behind Keyside: sends requests, receives events |
//! | provider | an API for messages: Meta's Cloud API, or the API of a reseller. A *preset* is a provider shipped with Keyside |
//! | upstream | the authority of a provider, with a pool of connections |
//! | egress | the way out of this machine: straight, or through a proxy that opens tunnels |
//! | peer | the other end of a connection: an address, or a user of this machine |
//! | client | the end behind a trusted reverse proxy, as the proxy names it |
//! | caller | whoever sends a request to a listener: the client if a proxy names one, else the peer |
//! | sender | the phone number of the business, named by the provider's id |
//! | recipient | the phone number of the person who gets a message |
//! | pair | a sender and a recipient: providers limit messages of each pair |
//! | account | the owner of senders at a provider; management limits count per account |
//! | credential | the secrets of one account at one provider, under one name |
//! | secret | one value of a credential: `token`, `app_secret`, `verify_token`, an API key |
//! | reference | the address of a secret in the configuration: `file:/path`, `vault:MOUNT/PATH#FIELD`. The value never stands there |
//! | secret version | a secret as read at one time, with its age and its source |
//! | secret set | the versions of all secrets in one request |
//! | slot | the versions of one secret: the current version, and older versions still accepted |
//! | hold | the wait while a provider refuses every secret of a credential: closed by a refusal, opened by a new secret or by an accepted request |
//! | first sight | the time at which a sidecar first saw a secret, known to all sidecars with a shared server |
//! | fingerprint | the only visible form of a secret: the first 12 hex digits of SHA-256 over `keyside:` and the secret, or a hash under a key of the process for a value that a person may have chosen |
//! | route | a path with rules: credential, operations, senders, limits |
//! | operation | a named group of methods and paths of a provider: `messages`, `media`, `templates` |
//! | policy | all routes of a generation |
//! | permit | the proof of permission for a request, made by the policy alone |
//! | quota | a rate with a burst |
//! | burst | the number of requests allowed at once after a quiet time |
//! | bucket | the state of a quota: tokens, refilled at the rate, and debt |
//! | token of a bucket | the right to send one request now |
//! | debt | the tokens already taken from the future; carried over by a reload |
//! | interval | the time between two tokens |
//! | queue, waiter | the waiting requests of a limit, in fair order; a waiting request |
//! | pause | a time without requests, ordered by the provider's answers |
//! | shared server | the Redis or Valkey of `[limits] redis`: several sidecars count together there |
//! | webhook | an endpoint for the events of a provider: path, credential, application |
//! | event | a webhook request with a verified signature |
//! | signature | the provider's proof of a webhook request: an HMAC, a public-key signature, a JWT, or a fixed header |
//! | challenge | the handshake by which a provider checks the owner of a webhook |
//! | delivery | handing an event to the application |
//! | destination | the receiver of the events of a webhook: an application, or a message server |
//! | spool | the store on disk in which events wait until every destination has them |
//! | item | the smallest thing that a provider repeats: a message, a status; known for 8 days |
//! | lane | the events of a conversation (sender and user) at a destination, delivered in order and one at a time |
//! | dead letter | an event that a destination will not get: refused three times, too old, or damaged |
//! | probe | the single event that goes out to a destination in trouble |
//! | trace, span | the way of one request through several programs; a piece of that way, with a beginning and an end |
//! | receiver | the server that takes traces and metrics by OTLP |
//! | generation | a valid configuration with secrets. A request runs on one generation from start to end |
//! | load, draft, publish | building a generation aside; the generation while it is built; putting the generation in use |
//! | place | the right to one of a bounded number: of connections to a listener or to an upstream, of waiters in a queue |
//! | seat | the use of one connection of a listener, by which the one to leave is chosen where a place is needed |
//! | beat | the common time of periodic work: an idle process wakes once for all of it |
//! | boot time | the time since the machine started: it tells a stop of the process from a step of the wall clock |
//! | budget | a bound on memory or time that many requests share |
//! | drain | the end of serving: no new request is accepted, requests under way are finished |
//!
//! # One request
//!
//! ```text
//! listener::Listener::serve
//! └ outbound::Outbound::handle            cannot fail: an error becomes an answer, a log line, a count
//!     generation.load_full                once: no request sees half a reload
//!   └ forward
//!       guard::admit                      400 403 405 421: who may call, what may pass
//!       answer_for_token                  200: a placeholder for an SDK that asks for an access token itself
//!       policy.check        -> Permit     403 404: route, operation, sender; only the policy makes a Permit
//!       guard::admit_user                 403: the user at the other end of a Unix socket
//!       body::receive                     400 413 415 503: read whole, but for uploads
//!       contents::read      -> Contents   400: refused names, senders, recipient; the application's credential out
//!       permit.decided_by                 the operation, where the body decides between several
//!       permit.with_senders               403: the senders that body and query name
//!       once::begin         -> NextStep   409 422: a message with an Idempotency-Key goes out once
//!       turn::send_in_turn                again after a throttle, if the route has `retry = "throttled"`
//!       ├ wait              -> Ticket     429: waits at the limits of recipient, sender and account
//!       ├ exchange.send                   once more with other secrets after a refused credential
//!       │ └ send_with
//!       │     access_token                503: minted or exchanged for the secret, if the provider takes tokens
//!       │   └ send_once
//!       │       inject::edit_body         the credential into the body, if it goes there
//!       │       inject::compose           503: the same for path, query and headers
//!       │       upstream.send   -> Answer 502 504: written bytes are never written again
//!       │       answer::meaning           success, refused credential, throttle, or an objection
//!       └ learn::learn                    the lessons of the answer: pauses of what the answer is about
//!       answer::clean                     links led back through Keyside, secrets out
//!       keyed.settle | forget             the outcome is kept under the Idempotency-Key, or no message went out
//! ```
//!
//! # One webhook
//!
//! ```text
//! inbound::Inbound::handle                cannot fail, as above
//!     generation.find                     404: the webhook of the path
//! └ receive
//!     GET  -> challenge::answer           200 403 429: the handshake, which needs no application
//!     POST -> check_head                  400 405 415: method and codings
//!             verifier.begin  -> Check    401 503: from the headers alone, before a byte of the body
//!             body::receive               400 408 413 503: bounded, hashed as it arrives
//!             check.finish    -> Proof    401: every accepted secret is tried
//!             proof.freshness             200 401: an accepted event is not delivered again
//!             Event::new                  accepts nothing but a Proof
//!             delivery.deliver            200 503: accepts nothing but an Event; without a spool, or with `reply`
//!             store::store                200 503: accepts nothing but an Event; on disk, synced, and not twice
//!             received::take_note         statuses settle sends of unknown outcome; received messages count
//!             proof.spend                 the nonce of an accepted event is spent
//! ```
//!
//! # One delivery
//!
//! ```text
//! delivery::Deliveries                    a worker for each destination: one that hangs holds nobody else up
//! └ Worker::run
//!     spool.next                          the next events: lanes in order, messages before statuses
//!     room.enter                          memory for the body
//!   └ Way::attempt    -> Outcome          one attempt: an application by HTTP, a stream of a message server
//!     spool.settle    -> Verdict          done, again later, a dead letter, or the destination is down
//! ```
//!
//! # One reload
//!
//! ```text
//! reload::Reloader::reload                one at a time; a fault anywhere changes nothing
//! ├ load
//! │   Inputs::read                        configuration, secrets, certificates
//! │   Draft::new                          credentials, the shared server, the certificates of the listeners
//! │   draft.routes      -> OutboundDraft  policy, upstreams, limits
//! │   draft.webhooks    -> InboundDraft   verifiers, connections to applications
//! │   draft.into_live   -> Live
//! │   check_publishable                   asks the providers about new secrets; not at the start
//! ├ follow_audit                          a file that was moved away is opened anew
//! ├ take_destinations                     the spool learns the destinations before an event arrives for them
//! ├ live.connect_shared
//! └ publish                               all parts in one go, without an `.await` in between
//! ```
//!
//! Open connections and the debt of every limit are carried over. See [`reload::load`].
//!
//! # The code, from the top down
//!
//! Imports point down this list, never up. The tests in `tests/tidy/` check the direction, and a
//! stricter order of the files inside some modules.
//!
//! | floor | modules |
//! |---|---|
//! | commands | [`cli`]. The emulators of Meta's Cloud API and of other providers are the crate [`keyside_sandbox`] in `crates/sandbox/`, which knows nothing of this crate; only `cli` uses them |
//! | the process | [`app`]; [`admin`], [`rotation`], [`doctor`]; [`reload`] |
//! | requests, events, questions to providers | [`outbound`], [`inbound`], [`listener`]; [`health`] |
//! | events on their way to destinations | [`delivery`] |
//! | services of the floor above | [`limit`], [`credential`], [`upstream`], [`egress`], [`tls`], [`ca`], [`sends`], [`shared`], [`spool`], [`scan`], [`state`], `telemetry` |
//! | the configuration, checked | [`config`], [`provider`] |
//! | the ground | [`audit`], [`beat`], [`boot`], [`document`], [`headers`], [`json`], [`log`], [`media_type`], [`memory`], [`multipart`], [`named`], [`portion`], [`query`], [`refusal_form`], [`response`], [`secret`], [`service_manager`], [`spelling`], [`trace`], [`traffic`], [`units`], [`watchdog`], [`workers`] |
//!
//! # What always holds
//!
//! - Every secret is a [`secret::Secret`], and every reader of the value states the reason. A
//!   secret leaves the process only in a request to the provider, over TLS.
//! - A request without its credential does not leave.
//! - The provider acts at most once on a request of an application: after the provider may have
//!   received a request, the request is never sent again.
//! - One thread handles all requests, and no request waits for more than a moment at a lock. Other
//!   threads read files, resolve names, build generations, write the answers that look at all
//!   tenants, and work on large bodies.
//! - Every wait, queue, body, header and table has a bound: a constant beside the use.

pub mod admin;
pub mod app;
pub mod audit;
pub mod beat;
pub mod boot;
pub mod ca;
pub mod cli;
pub mod config;
pub mod credential;
pub mod delivery;
pub mod doctor;
pub mod document;
pub mod egress;
pub mod headers;
pub mod health;
pub mod inbound;
pub mod json;
pub mod limit;
pub mod listener;
pub mod log;
pub mod media_type;
pub mod memory;
pub mod multipart;
pub mod named;
pub mod outbound;
pub mod portion;
pub mod provider;
pub mod query;
pub mod refusal_form;
pub mod reload;
pub mod response;
pub mod rotation;
pub mod scan;
pub mod secret;
pub mod sends;
pub mod service_manager;
pub mod shared;
pub mod shell;
pub mod spelling;
pub mod spool;
pub mod state;
#[cfg(feature = "otlp")]
pub mod telemetry;
pub mod tls;
pub mod trace;
pub mod traffic;
pub mod units;
pub mod upstream;
pub mod watchdog;
pub mod workers;
