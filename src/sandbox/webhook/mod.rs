//! Webhooks as Meta sends them: to every app that is subscribed, signed with its secret, again and again until 200; and
//! those of other providers, signed in their way and sent in the same.

mod call;
mod event;
mod order;
mod record;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use rustls::ClientConfig;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::dialect::{Dialect, Event, Lines, Webhook};
use super::ids;
use super::json::{Json, object};
use super::magic::Magic;
use super::state::lock;
use super::token::now;

pub(super) use order::Order;
pub use record::Attempt;

use call::{Target, ask};
use event::Change;
use record::Attempts;

/// An app that is subscribed to the account.
#[derive(Clone)]
pub struct App {
    /// What it is called here.
    pub name: String,
    /// Its callback URL.
    pub callback: String,
    /// Its secret, with which events are signed.
    pub secret: String,
    /// What the handshake names.
    pub verify_token: String,
}

/// With which secret an app's events are signed after its secret was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// The old one goes on signing, as the dashboard offers for some hours.
    Old,
    /// The new one signs.
    New,
    /// Now the one, now the other.
    Both,
}

/// An app with what became of it.
struct Subscribed {
    app: App,
    old_secret: Option<String>,
    signing: Signing,
}

/// All that has to do with webhooks.
pub(super) struct Webhooks {
    provider: Option<&'static Dialect>,
    apps: Mutex<Vec<Subscribed>>,
    attempts: Attempts,
    /// How many events may be under way.
    room: Arc<Semaphore>,
    next: AtomicU64,
    tls: Arc<ClientConfig>,
}

/// Why an app is not subscribed, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct SubscribeError(String);

impl std::fmt::Display for SubscribeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for SubscribeError {}

impl Webhooks {
    /// Without an app yet; `tls` is what callbacks with TLS are reached with.
    pub(super) fn new(tls: Arc<ClientConfig>, provider: Option<&'static Dialect>) -> Webhooks {
        let room = Arc::new(Semaphore::new(UNDER_WAY));
        Webhooks { provider, apps: Mutex::default(), attempts: Attempts::default(), room, next: AtomicU64::new(1), tls }
    }

    /// Makes sure that the callback is the app's own, where the provider does, and subscribes it; an app of the same name
    /// is replaced.
    pub(super) async fn subscribe(&self, app: App) -> Result<(), SubscribeError> {
        let target = Target::parse(&app.callback).ok_or_else(|| {
            SubscribeError("the callback is not a URL that begins with http:// or https://".to_owned())
        })?;
        if self.provider.is_none() {
            self.shake_hands(&app, &target).await?;
        }
        let mut apps = lock(&self.apps);
        apps.retain(|known| known.app.name != app.name);
        if apps.len() >= MOST_APPS {
            return Err(SubscribeError(format!("there are {MOST_APPS} apps already")));
        }
        apps.push(Subscribed { app, old_secret: None, signing: Signing::New });
        Ok(())
    }

    async fn shake_hands(&self, app: &App, target: &Target) -> Result<(), SubscribeError> {
        let challenge = ids::object_id();
        let query = format!(
            "hub.mode=subscribe&hub.challenge={challenge}&hub.verify_token={}",
            percent_encoding::utf8_percent_encode(&app.verify_token, percent_encoding::NON_ALPHANUMERIC)
        );
        let answer = ask(&target.with_query(&query), &self.tls, Method::GET, Vec::new(), Vec::new()).await;
        let (status, body) =
            answer.map_err(|error| SubscribeError(format!("the callback URL could not be validated: {error}")))?;
        let is_challenge = bool::from(body.as_slice().ct_eq(challenge.as_bytes()));
        if status != StatusCode::OK || !is_challenge {
            return Err(SubscribeError(format!(
                "the callback URL or verify token could not be validated: it answered {status}{}",
                if is_challenge { "" } else { ", and not with the challenge" }
            )));
        }
        Ok(())
    }

    /// Takes an app off; whether it was there.
    pub(super) fn unsubscribe(&self, name: &str) -> bool {
        let mut apps = lock(&self.apps);
        let before = apps.len();
        apps.retain(|known| known.app.name != name);
        apps.len() < before
    }

    /// Changes an app's secret, and says which one signs from now on; whether the app was there.
    pub(super) fn change_secret(&self, name: &str, secret: Option<String>, signing: Signing) -> bool {
        let mut apps = lock(&self.apps);
        let Some(app) = apps.iter_mut().find(|known| known.app.name == name) else {
            return false;
        };
        if let Some(secret) = secret {
            app.old_secret = Some(std::mem::replace(&mut app.app.secret, secret));
        }
        app.signing = signing;
        true
    }

    /// The apps as JSON, without their secrets.
    pub(super) fn apps_json(&self) -> Json {
        let apps = lock(&self.apps);
        let one = |known: &Subscribed| {
            object([("name", known.app.name.as_str().into()), ("callback", known.app.callback.as_str().into())])
        };
        Json::List(apps.iter().map(one).collect())
    }

    /// Whether only Meta's users can send what was ordered, and this is not Meta.
    pub(super) fn is_metas_only(&self, order: &Order) -> bool {
        self.provider.is_some() && !order.is_plain()
    }

    /// The attempts so far.
    pub(super) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Sends the status updates of a message that was accepted: how it fares, or why it failed after all.
    pub(super) fn report(self: &Arc<Self>, sender: &str, recipient: &str, wamid: &str, magic: Option<Magic>) {
        if lock(&self.apps).is_empty() {
            return;
        }
        let updates = match magic.and_then(Magic::later_error) {
            Some(code) => vec![Change::failed(sender, recipient, wamid, code)],
            None => ["sent", "delivered", "read"].map(|status| Change::status(sender, recipient, wamid, status)).into(),
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            for update in updates {
                this.send(event::envelope(&[update]).graph().into_bytes(), false).await;
                tokio::time::sleep(BETWEEN_STATUSES).await;
            }
        });
    }

    /// Sends what was ordered, at the ordered rate; returns when the last of it is under way.
    pub(super) async fn carry_out(self: Arc<Self>, order: Order) {
        let total = order.count;
        let mut events: Vec<_> = (0..total).collect();
        if order.shuffle {
            // Far from where they belong is all that has to be true of them.
            events.reverse();
        }
        let mut beat = order.rate.map(|rate| tokio::time::interval(Duration::from_secs(1) / rate.get()));
        for batch in events.chunks(order.batch.max(1)) {
            if let Some(beat) = &mut beat {
                beat.tick().await;
            }
            for body in order.bodies(batch, self.webhook()) {
                for _ in 0..=u32::from(order.duplicate) {
                    self.send(body.clone(), order.forged).await;
                }
            }
        }
    }

    /// One POST to each app, tried until it is answered with 200. Waits where too many are under way.
    async fn send(self: &Arc<Self>, body: Vec<u8>, forged: bool) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let addressed: Vec<_> = lock(&self.apps)
            .iter()
            .map(|known| {
                let (secret, which) = known.signs(number);
                let secret = if forged { NOBODYS_SECRET } else { secret };
                (App { secret: secret.to_owned(), ..known.app.clone() }, which)
            })
            .collect();
        // Forgers do not try again.
        let attempts = if forged { 1 } else { ATTEMPTS };
        for (app, which) in addressed {
            let Ok(place) = Arc::clone(&self.room).acquire_owned().await else { return };
            let (this, body) = (Arc::clone(self), body.clone());
            tokio::spawn(async move {
                this.deliver(number, &app, which, &body, attempts).await;
                drop(place);
            });
        }
    }

    async fn deliver(&self, event: u64, app: &App, secret: &'static str, body: &[u8], attempts: u32) {
        let Some(target) = Target::parse(&app.callback) else { return };
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=attempts {
            let began = std::time::Instant::now();
            // Signed anew each time: a nonce that comes again is a replay.
            let answer = ask(&target, &self.tls, Method::POST, self.lines(app, body), body.to_vec()).await;
            let done = matches!(&answer, Ok((StatusCode::OK, _)));
            self.attempts.add(Attempt {
                event,
                app: app.name.clone(),
                attempt,
                secret,
                result: answer.map(|(status, _)| status.as_u16()).map_err(|error| error.to_string()),
                took: began.elapsed(),
            });
            if done || attempt == attempts {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// The headers of an event.
    fn lines(&self, app: &App, body: &[u8]) -> Lines {
        let nonce = ids::hex(32);
        let event = Event { body, url: &app.callback, secret: &app.secret, time: now(), nonce: &nonce };
        self.webhook().map_or_else(|| event::headers(&event), |webhook| webhook.lines(&event))
    }

    fn webhook(&self) -> Option<&'static Webhook> {
        self.provider.and_then(|provider| provider.webhook.as_ref())
    }
}

impl Subscribed {
    /// The secret that signs this event, and its name.
    fn signs(&self, event: u64) -> (&str, &'static str) {
        match (&self.old_secret, self.signing) {
            (Some(old), Signing::Old) => (old, "old"),
            (Some(old), Signing::Both) if event.is_multiple_of(2) => (old, "old"),
            _ => (&self.app.secret, "new"),
        }
    }
}

/// Meta goes on for days, with longer and longer pauses; here it is about a minute.
const ATTEMPTS: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
const BETWEEN_STATUSES: Duration = Duration::from_millis(20);
const UNDER_WAY: usize = 2000;
const NOBODYS_SECRET: &str = "not the secret of any app";
const MOST_APPS: usize = 16;
