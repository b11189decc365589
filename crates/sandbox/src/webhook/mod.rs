//! Webhooks: sent to every subscribed app, signed with the app's secret, and repeated until the
//! answer is 200.
//!
//! The bodies and the signature are Meta's, or the signature is another provider's; see
//! [`crate::dialect`].

mod app;
mod callback;
mod event;
mod order;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::clock::unix_time;
use crate::dialect::{Dialect, EventSigning, EventToSign, HeaderLines};
use crate::ids;
use crate::magic::Magic;
use crate::store::attempt::{Attempt, AttemptResult, Attempts};

use app::MAX_APPS;
use callback::Callback;
use event::{Change, envelope};

pub use app::{App, Signing, SubscribeError};
pub use callback::CallbackError;
pub(crate) use order::{Order, OrderError};

/// The subscribed apps, and the webhooks under way to them.
pub(crate) struct Webhooks {
    provider: Option<&'static Dialect>,
    apps: Mutex<Vec<Subscription>>,
    attempts: Attempts,
    /// A permit for each delivery under way.
    deliveries: Arc<Semaphore>,
    next_event: AtomicU64,
    tls: Arc<ClientConfig>,
}

impl Webhooks {
    /// Webhooks without an app. Callback URLs with TLS are reached with `tls`.
    pub(crate) fn new(tls: Arc<ClientConfig>, provider: Option<&'static Dialect>) -> Self {
        Self {
            provider,
            apps: Mutex::default(),
            attempts: Attempts::default(),
            deliveries: Arc::new(Semaphore::new(MAX_DELIVERIES)),
            next_event: AtomicU64::new(1),
            tls,
        }
    }

    /// Subscribes an app, after Meta's handshake with the callback URL. An app of the same name is
    /// replaced.
    pub(crate) async fn subscribe(&self, app: App) -> Result<(), SubscribeError> {
        let callback = Callback::parse(&app.callback).ok_or(SubscribeError::Url)?;
        if self.provider.is_none() {
            self.shake_hands(&app, &callback).await?;
        }
        let mut apps = self.apps.lock();
        apps.retain(|known| known.app.name != app.name);
        if apps.len() >= MAX_APPS {
            return Err(SubscribeError::TooManyApps);
        }
        apps.push(Subscription {
            app,
            old_secret: None,
            signing: Signing::New,
        });
        Ok(())
    }

    async fn shake_hands(&self, app: &App, callback: &Callback) -> Result<(), SubscribeError> {
        let challenge = ids::object_id();
        let query = format!(
            "hub.mode=subscribe&hub.challenge={challenge}&hub.verify_token={}",
            utf8_percent_encode(&app.verify_token, NON_ALPHANUMERIC)
        );
        let (status, body) = callback
            .with_query(&query)
            .request(&self.tls, Method::GET, Vec::new(), Vec::new())
            .await
            .map_err(SubscribeError::NoAnswer)?;
        let is_challenge = bool::from(body.ct_eq(challenge.as_bytes()));
        if status != StatusCode::OK {
            return Err(SubscribeError::Status(status));
        }
        is_challenge.then_some(()).ok_or(SubscribeError::Challenge)
    }

    /// Removes an app and returns true if the app was there.
    pub(crate) fn unsubscribe(&self, name: &str) -> bool {
        let mut apps = self.apps.lock();
        let before = apps.len();
        apps.retain(|known| known.app.name != name);
        apps.len() < before
    }

    /// Changes the secret of an app and the choice of the signing secret; false for an unknown app.
    pub(crate) fn change_secret(
        &self,
        name: &str,
        secret: Option<String>,
        signing: Signing,
    ) -> bool {
        let mut apps = self.apps.lock();
        let Some(known) = apps.iter_mut().find(|known| known.app.name == name) else {
            return false;
        };
        if let Some(secret) = secret {
            known.old_secret = Some(std::mem::replace(&mut known.app.secret, secret));
        }
        known.signing = signing;
        true
    }

    /// Returns name and callback URL of each app.
    pub(crate) fn apps(&self) -> Vec<(String, String)> {
        let apps = self.apps.lock();
        let names = apps.iter().map(|known| &known.app);
        names
            .map(|app| (app.name.clone(), app.callback.clone()))
            .collect()
    }

    /// Returns true if the users of the emulated provider can send what the order asks for.
    pub(crate) fn can_carry_out(&self, order: &Order) -> bool {
        self.provider.is_none() || order.is_plain()
    }

    /// Returns the attempts to deliver webhooks.
    pub(crate) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Sends the statuses of an accepted message: sent, delivered and read, or the failure of a
    /// magic recipient.
    pub(crate) fn report_status(
        self: &Arc<Self>,
        sender: &str,
        recipient: &str,
        wamid: &str,
        magic: Option<Magic>,
    ) {
        if self.apps.lock().is_empty() {
            return;
        }
        let changes = match magic.and_then(Magic::later_error) {
            Some(code) => vec![Change::failed(sender, recipient, wamid, code)],
            None => ["sent", "delivered", "read"]
                .map(|status| Change::status(sender, recipient, wamid, status))
                .into(),
        };
        let webhooks = Arc::clone(self);
        tokio::spawn(async move {
            for change in changes {
                let body = envelope(&[change]).into_bytes();
                webhooks.send(&body, Signer::App).await;
                tokio::time::sleep(STATUS_INTERVAL).await;
            }
        });
    }

    /// Sends the events of an order at its rate, and returns when the last event is under way.
    pub(crate) async fn carry_out(self: Arc<Self>, order: Order) {
        let mut numbers: Vec<_> = (0..order.count).collect();
        if order.shuffle {
            // Any order but the original will do, and the reverse is the same in every run.
            numbers.reverse();
        }
        let signer = if order.forged {
            Signer::Forger
        } else {
            Signer::App
        };
        let repeats = if order.duplicate { 2 } else { 1 };
        let mut ticks = order
            .rate
            .map(|rate| tokio::time::interval(Duration::from_secs(1) / rate.get()));
        for batch in numbers.chunks(order.batch.max(1)) {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            for body in order.bodies(batch, self.signing()) {
                for _ in 0..repeats {
                    self.send(&body, signer).await;
                }
            }
        }
    }

    /// Starts one delivery to each app. Waits while [`MAX_DELIVERIES`] are under way.
    async fn send(self: &Arc<Self>, body: &[u8], signer: Signer) {
        let event = self.next_event.fetch_add(1, Ordering::Relaxed);
        let deliveries: Vec<_> = {
            let apps = self.apps.lock();
            apps.iter()
                .map(|known| known.delivery(event, body, signer))
                .collect()
        };
        for delivery in deliveries {
            let Ok(permit) = Arc::clone(&self.deliveries).acquire_owned().await else {
                return;
            };
            let webhooks = Arc::clone(self);
            tokio::spawn(async move {
                webhooks.deliver(delivery).await;
                drop(permit);
            });
        }
    }

    async fn deliver(&self, delivery: Delivery) {
        let app = &delivery.app;
        let Some(callback) = Callback::parse(&app.callback) else {
            return;
        };
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=delivery.attempts {
            let start = Instant::now();
            // Each attempt has a new signature: a repeated nonce would count as a replay.
            let headers = self.sign(app, &delivery.body);
            let answer = callback
                .request(&self.tls, Method::POST, headers, delivery.body.clone())
                .await;
            let is_delivered = matches!(&answer, Ok((StatusCode::OK, _)));
            self.attempts.add(Attempt {
                event: delivery.event,
                app: app.name.clone(),
                attempt,
                secret: delivery.secret_name,
                result: match answer {
                    Ok((status, _)) => AttemptResult::Answered(status.as_u16()),
                    Err(error) => AttemptResult::Unanswered(error.to_string()),
                },
                took: start.elapsed(),
            });
            if is_delivered || attempt == delivery.attempts {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Makes the headers of an event, with its signature.
    fn sign(&self, app: &App, body: &[u8]) -> HeaderLines {
        let nonce = ids::hex(32);
        let event = EventToSign {
            body,
            url: &app.callback,
            secret: &app.secret,
            time: unix_time(),
            nonce: &nonce,
        };
        match self.signing() {
            Some(signing) => signing.headers(&event),
            None => event::headers(&event),
        }
    }

    /// Returns the way in which another provider than Meta signs events.
    fn signing(&self) -> Option<&'static EventSigning> {
        self.provider.and_then(|provider| provider.events.as_ref())
    }
}

/// A subscribed app with its secrets.
struct Subscription {
    app: App,
    old_secret: Option<String>,
    signing: Signing,
}

impl Subscription {
    fn delivery(&self, event: u64, body: &[u8], signer: Signer) -> Delivery {
        let (secret, secret_name) = self.signing_secret(event);
        let (secret, attempts) = match signer {
            Signer::App => (secret, MAX_TRIES),
            // A forger does not try again.
            Signer::Forger => (FORGERS_SECRET, 1),
        };
        Delivery {
            event,
            app: App {
                secret: secret.to_owned(),
                ..self.app.clone()
            },
            secret_name,
            body: body.to_vec(),
            attempts,
        }
    }

    /// Returns the secret that signs an event, and the secret's name in records.
    fn signing_secret(&self, event: u64) -> (&str, &'static str) {
        match (&self.old_secret, self.signing) {
            (Some(old), Signing::Old) => (old, "old"),
            (Some(old), Signing::Both) if event.is_multiple_of(2) => (old, "old"),
            _ => (&self.app.secret, "new"),
        }
    }
}

/// The signer of an event.
#[derive(Clone, Copy)]
enum Signer {
    /// The provider signs with the app's secret.
    App,
    /// A stranger signs with a guess.
    Forger,
}

/// An event on its way to one app.
struct Delivery {
    event: u64,
    /// The app, with the secret that signs this event.
    app: App,
    secret_name: &'static str,
    body: Vec<u8>,
    /// The attempts until the delivery is given up.
    attempts: u32,
}

/// The attempts per delivery, about a minute in sum. Meta repeats for days, with growing pauses.
const MAX_TRIES: u32 = 20;

/// The pause after the first attempt. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two attempts: a test waits for a retry that long at most.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The interval between the statuses of a message, so that they usually arrive in order.
const STATUS_INTERVAL: Duration = Duration::from_millis(20);

/// The deliveries under way at once, a bound for sockets and memory.
const MAX_DELIVERIES: usize = 2000;

/// The secret that signs forged events.
const FORGERS_SECRET: &str = "not the secret of any app";
