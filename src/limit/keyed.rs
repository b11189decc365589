//! Limits of one kind, by key: a sender, an object, or `""` for the whole account.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::demand::{Demand, Limited, Ticket, UnqueuedMessages};
use super::kind::LimitKind;
use super::limit::{self, Limit};
use super::pause::{PauseLength, PauseReason};
use super::remote::Sharing;
use super::report::{LimitStatus, LimitUsage};
use super::table::{LimitTable, usage};
use super::terms::Terms;
use crate::units::{Quota, Rate, saturated};

/// Limits of one kind by key. Live on over reloads: used tokens stay used, pauses stay pauses.
///
/// Without a rate no tokens are counted, and only a paused key has a limit.
#[derive(Debug)]
pub struct KeyedLimits {
    kind: LimitKind,
    state: Mutex<KeyedState>,
}

/// The rate and the sharing of limits of one kind. Can change while requests wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitTerms {
    /// Rate of each key; none if only pauses hold requests back.
    pub rate: Option<Rate>,
    /// True if the rate of each sender is read from the provider. Then `rate` holds for
    /// senders not read yet.
    pub auto: bool,
    /// Sharing with other sidecars, if any.
    pub sharing: Option<Sharing>,
}

#[derive(Debug, Default)]
struct KeyedState {
    terms: LimitTerms,
    limits: LimitTable<Box<str>>,
    /// Rates of senders as read from the provider, with the time of reading.
    levels: HashMap<Box<str>, (Rate, Instant)>,
}

impl LimitTerms {
    /// Quota of all sidecars together at a rate.
    fn quota(&self, rate: Rate) -> Quota {
        match self.sharing {
            Some(_) => Sharing::shared_quota(rate),
            None => rate.into(),
        }
    }
}

impl KeyedState {
    fn rate_of(&self, key: &str) -> Option<Rate> {
        let level = self.levels.get(key).filter(|_| self.terms.auto);
        level.map(|(rate, _)| *rate).or(self.terms.rate)
    }

    fn quota_of(&self, key: &str) -> Option<Quota> {
        self.rate_of(key).map(|rate| self.terms.quota(rate))
    }

    fn terms_of(&self, kind: LimitKind, key: &str) -> Terms {
        let quota = self.quota_of(key);
        Terms::new(kind, &[key], quota, self.terms.sharing.as_ref())
    }

    /// The limit of a key; made if missing.
    fn limit(&mut self, kind: LimitKind, key: &str) -> Arc<Limit> {
        if let Some(limit) = self.limits.get(key) {
            return limit;
        }
        // Beyond the bound all new keys share a limit.
        let key = if self.limits.has_room() { key } else { "" };
        let terms = self.terms_of(kind, key);
        self.limits
            .get_or_insert(key.into(), || Limit::new(kind.scope(), terms))
    }
}

impl KeyedLimits {
    /// Unused limits.
    #[must_use]
    pub fn new(kind: LimitKind, terms: LimitTerms) -> Self {
        Self {
            kind,
            state: Mutex::new(KeyedState {
                terms,
                ..KeyedState::default()
            }),
        }
    }

    /// Current terms.
    #[must_use]
    pub fn terms(&self) -> LimitTerms {
        self.state.lock().terms.clone()
    }

    /// Current rate of keys without a level.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.state.lock().terms.rate
    }

    /// Senders, of `senders` and of the limits in use, with a rate not read for `age`.
    #[must_use]
    pub fn unread(&self, senders: impl IntoIterator<Item = String>, age: Duration) -> Vec<String> {
        let state = self.state.lock();
        let in_use = state
            .limits
            .all()
            .into_iter()
            .map(|(name, _)| name.into_string())
            .filter(|name| !name.is_empty());
        let mut all: Vec<_> = senders.into_iter().chain(in_use).collect();
        all.sort();
        all.dedup();
        all.retain(|name| {
            let level = state.levels.get(name.as_str());
            level.is_none_or(|(_, read_at)| read_at.elapsed() >= age)
        });
        all
    }

    /// Takes over a sender's own rate, as read from the provider.
    pub fn set_level(&self, sender: &str, rate: Rate) {
        let mut state = self.state.lock();
        let before = state.quota_of(sender);
        let read = (rate, Instant::now());
        state.levels.insert(sender.into(), read);
        if before != state.quota_of(sender)
            && let Some(limit) = state.limits.get(sender)
        {
            limit.change(state.terms_of(self.kind, sender));
        }
    }

    /// Changes the terms. Used tokens stay used, and waiting requests keep their places.
    pub fn change(&self, terms: &LimitTerms) {
        let mut state = self.state.lock();
        if state.terms == *terms {
            return;
        }
        state.terms = terms.clone();
        for (key, limit) in state.limits.all() {
            limit.change(state.terms_of(self.kind, &key));
        }
    }

    /// A copy with new terms and every old debt and pause: a reload never refills a bucket.
    #[must_use]
    pub fn copy_with_terms(&self, terms: LimitTerms) -> Self {
        let before = self.state.lock();
        let mut state = KeyedState {
            terms,
            levels: before.levels.clone(),
            ..KeyedState::default()
        };
        for (key, limit) in before.limits.all() {
            let copy = limit.copy_with_terms(state.terms_of(self.kind, &key));
            state.limits.get_or_insert(key, || copy);
        }
        Self {
            kind: self.kind,
            state: Mutex::new(state),
        }
    }

    /// The limit of a key; none if no tokens are counted and no pause is remembered.
    pub(super) fn limit(&self, key: &str) -> Option<Arc<Limit>> {
        let mut state = self.state.lock();
        if state.terms.rate.is_none() && !state.terms.auto {
            return state.limits.get(key);
        }
        Some(state.limit(self.kind, key))
    }

    /// Waits for a turn at the limit of a key.
    ///
    /// # Errors
    /// If the turn cannot come in time.
    pub async fn pass(&self, key: &str, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        limit::pass(self.limit(key).as_ref(), demand, Instant::now()).await
    }

    /// Pauses a key, for any reason but a throttle.
    pub fn pause(&self, key: &str, length: Duration, reason: PauseReason) {
        let limit = self.state.lock().limit(self.kind, key);
        limit.pause(length, reason);
    }

    /// Pauses a key after a throttle.
    pub fn throttled(&self, key: &str, length: PauseLength) {
        let limit = self.state.lock().limit(self.kind, key);
        limit.throttled(length);
    }

    /// Counts received messages by age, without a wait: outgoing messages wait for the tokens. A
    /// message older than the window of the bucket costs nothing: the token has come back since.
    pub fn count_received(&self, sender: &str, ages: &[Duration]) {
        if let Some(limit) = self.limit(sender) {
            let memory = limit.window().max(MAX_USUAL_LAG);
            let messages = ages.iter().filter(|age| **age <= memory).count();
            limit.charge(UnqueuedMessages::Received(saturated(messages)));
        }
    }

    /// Use of all the limits.
    #[must_use]
    pub fn usage(&self) -> LimitUsage {
        usage(self.all())
    }

    fn all(&self) -> Vec<(Box<str>, Arc<Limit>)> {
        self.state.lock().limits.all()
    }

    /// State of the limit of a key; an unused limit if the key is not known.
    #[must_use]
    pub fn status(&self, key: &str) -> LimitStatus {
        let state = self.state.lock();
        match state.limits.get(key) {
            Some(limit) => limit.status(),
            None => Limit::new(self.kind.scope(), state.terms_of(self.kind, key)).status(),
        }
    }

    /// At most `most` limits in use: first the longest queues, then paused
    /// limits, then the limits with the fewest tokens left.
    #[must_use]
    pub fn busiest(&self, most: usize) -> Vec<(String, LimitStatus)> {
        let mut all: Vec<_> = self
            .all()
            .into_iter()
            .map(|(key, limit)| (key.into_string(), limit.status()))
            .filter(|(_, status)| !status.is_idle())
            .collect();
        all.sort_by_key(|(_, status)| {
            (
                Reverse(status.waiting),
                status.pause.is_none(),
                status.remaining,
            )
        });
        all.truncate(most);
        all
    }
}

/// The age up to which a received message counts in any case: providers tell times in whole
/// seconds, and events take some.
const MAX_USUAL_LAG: Duration = Duration::from_secs(10);
