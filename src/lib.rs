//! A sidecar that holds the WhatsApp credentials, so that applications need none.
//!
//! Applications send plain HTTP to localhost as if it were the provider's API, with the same paths and
//! bodies and no credential. Keyside checks the call against what the credential is for, paces it,
//! injects the credential, sends it on over TLS and hands the answer back.
//!
//! # One request
//!
//! ```text
//! listener::Listener::serve
//! └ outbound::Outbound::handle            cannot fail: an error becomes an answer, a log line, a count
//!   └ forward
//!       generation.load_full()            once: no request sees half a reload
//!       guard::admit                      400 403 405 421: who may call, what may pass
//!       policy.check      -> Permit       403 404: route, operation, sender; only this makes a Permit
//!       take_body                         400 413 503: whole where something in it may change or is needed
//!       permit.with_senders               403: whom the body names as its sender
//!       once::begin       -> Keyed        409 422: a message with an Idempotency-Key goes out once
//!       limiter.send      -> Ticket       429: the turn of its recipient and sender, or of the account
//!       exchange.send                     once more with another secret where the provider refuses this one
//!       ├ access_token                    503: minted or exchanged for the secret, where the provider takes one
//!       └ inject::compose                 503: credentials of the caller's out, ours in; wants the Permit
//!         upstream.send   -> Answer       502 504: what was written is never written again
//!       learn::learn                      what the answer says of the provider's limits
//!       answer::clean                     links led back through Keyside, secrets out
//! ```
//!
//! # One webhook
//!
//! ```text
//! inbound::Inbound::handle                cannot fail, as above
//! └ receive
//!     GET  -> challenge::answer           200 403: the handshake, which needs no application
//!     POST -> verifier.begin  -> Check    401: from the headers alone, before a byte of the body
//!             body::receive               408 413 503: bounded, hashed as it arrives
//!             check.finish    -> Proof    401: every accepted secret is tried
//!             Event::new                  takes nothing but a Proof
//!             delivery.deliver            200 503: takes nothing but an Event
//! ```
//!
//! # One reload
//!
//! [`reload::load`] reads and checks everything aside: configuration, secrets, authorities, policy; and
//! asks the provider about new tokens.
//! Connections and what was used of a limit are carried over. Then it is published in a row with nothing
//! awaited in between, or, if anything is wrong, not at all.
//!
//! # The code, from the top down
//!
//! Imports point down this list, never up; `tests/tidy.rs` holds it.
//!
//! | floor | modules |
//! |---|---|
//! | commands | [`cli`], and [`sandbox`], an emulator of the Cloud API and of other providers that knows nothing of the rest |
//! | the process | [`app`], [`admin`], [`rotation`], [`reload`] |
//! | the way of a request, of a question | [`outbound`], [`inbound`], [`listener`]; [`health`] |
//! | what it uses | [`limit`], [`credential`], [`upstream`], [`tls`], [`sends`], [`shared`] |
//! | what is meant | [`config`], [`provider`] |
//! | the ground | [`audit`], [`document`], [`headers`], [`json`], [`log`], [`metrics`], [`query`], [`response`], [`room`], [`secret`], [`units`], [`watchdog`] |
//!
//! # What always holds
//!
//! - A secret is a [`secret::Secret`]; each place that looks into one says why. It leaves the process in
//!   a request to its provider, over TLS, and nowhere else.
//! - A request that should carry a credential carries one or does not leave.
//! - One request of a caller is at most one request that the provider acts on: what may have been is never sent
//!   again.
//! - One thread does all the work, so that a request needs no lock that another could hold for long;
//!   files are read and names are resolved on threads of their own.
//! - Every wait, queue, body, header and table has a bound, which stands as a constant beside its use.

pub mod admin;
pub mod app;
pub mod audit;
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "commands speak to the terminal")]
pub mod cli;
pub mod config;
pub mod credential;
pub mod document;
pub mod headers;
pub mod health;
pub mod inbound;
pub mod json;
pub mod limit;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod outbound;
pub mod provider;
pub mod query;
pub mod reload;
pub mod response;
pub mod room;
pub mod rotation;
pub mod sandbox;
pub mod secret;
pub mod sends;
pub mod shared;
pub mod tls;
pub mod units;
pub mod upstream;
pub mod watchdog;
