//! The pacing of one limit: may the next request go, and when. Pure: time and the number of waiting
//! requests are arguments; a pacer has no channel and no clock, and no lock but that of the buckets
//! of all pairs, if the limit is that of a pair.
//!
//! Four things decide, in this order: a pause; who counts the tokens; a slowdown that throttles
//! have taught; the bucket. While the shared server counts, tokens come through [`Prefetch`].
//!
//! # A shared limit, its server lost and back
//!
//! A hand-over gives no token away: the new counter assumes all tokens used that the old counter
//! may have given.
//!
//! | server | counter | least time to a full bucket, as told to the server | who may send |
//! |---|---|---|---|
//! | answers | the server | by the last reply | requests with a held token |
//! | lost, before `alone_from` | the sidecar | not told | requests with a held token: other sidecars hold tokens too |
//! | lost, from `alone_from` on | the sidecar | not told | requests with a token of the share, empty at `alone_from` |
//! | back before `LOST_POLL` | the server | by the last reply and the tokens used alone, the later time; if the state is lost, as in the next row | requests with a held token |
//! | back later | the server | by the tokens used alone, as if every sidecar had used a token more than here; and `LOST_POLL` | no request until the next reply |
//!
//! A loss that comes soon after the last is one loss with it: nothing is assumed to be used anew.
//!
//! The share is whole while the server has never answered. `on_failure` may close or open the limit
//! in place of the share.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::demand::{Ticket, UnqueuedMessages};
use super::pause::{NO_GROWTH, Pause, PauseLength, PauseReason, growth};
use super::remote::{CountedBy, Prefetch, RemotePause};
use super::slowdown::Slowdown;
use super::tokens::Tokens;
use crate::config::OnFailure;
use crate::provider::Scope;
use crate::units::{Quota, saturated};

#[cfg(test)]
mod tests;

/// The pacing state of one limit.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Subject of the limit.
    pub(super) scope: Scope,
    /// Quota of all sidecars together; none if only pauses hold requests back.
    pub(super) quota: Option<Quota>,
    /// Tokens of the sidecar; the share, if the limit is shared. A token of the server costs a
    /// token of the share too: the share is used already when the server is lost.
    tokens: Tokens,
    /// The current counter of tokens.
    pub(super) counted_by: CountedBy,
    /// Time of the last loss of the shared server.
    lost_at: Instant,
    /// Time from which on the local share is used after that loss; `None` while the server has
    /// never answered.
    alone_from: Option<Instant>,
    /// The last pause, running or over.
    pause: Option<Pause>,
    slowdown: Option<Slowdown>,
    pub(super) prefetch: Prefetch,
    /// Time of the next turn, as far as the last decision knew.
    next_at: Instant,
}

/// The next step of a limit that lets no request through now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Decide again at the given time.
    At(Instant),
    /// Ask the shared server for a number of tokens.
    Ask(u32),
    /// Give a number of tokens back to the shared server.
    GiveBack(u32),
    /// Rest until a request comes.
    Rest,
}

impl Pacer {
    /// An unused pacer, counted by the sidecar until [`Self::set_counter`] says otherwise.
    pub(super) fn new(scope: Scope, quota: Option<Quota>, tokens: Tokens, now: Instant) -> Self {
        Self {
            scope,
            quota,
            tokens,
            counted_by: CountedBy::Local,
            lost_at: now,
            alone_from: None,
            pause: None,
            slowdown: None,
            prefetch: Prefetch::new(now),
            next_at: now,
        }
    }

    /// A copy with new quota and tokens and the old pause, slowdown and debt: a reload never
    /// refills the bucket. Held tokens of a shared bucket are lost: [`Self::return_all`] comes
    /// first. As of [`Self::new`], the sidecar counts.
    pub(super) fn with_terms(&self, quota: Option<Quota>, tokens: Tokens, now: Instant) -> Self {
        let tokens = tokens.after(&self.tokens, now);
        // The server may know nothing of the bucket at the new quota. The sidecar knows the least
        // use of a shared bucket, and does not round up.
        let used = self.bucket_in_charge().map_or(0, |bucket| {
            if self.is_shared() {
                bucket.tokens_in(bucket.full_in(now))
            } else {
                bucket.missing(now)
            }
        });
        let full_in = quota.map(|quota| quota.interval().saturating_mul(used));
        Self {
            lost_at: self.lost_at,
            alone_from: self.alone_from,
            pause: self.pause,
            slowdown: self.slowdown.filter(|_| quota.is_some()),
            prefetch: self.prefetch.at_new_quota(full_in.unwrap_or_default(), now),
            ..Self::new(self.scope, quota, tokens, now)
        }
    }

    /// Lets a request through, or says what to do next, while `waiting` requests wait, the most
    /// patient until `latest`. With none, held tokens of the shared server are only returned or
    /// refilled.
    pub(super) fn decide(
        &mut self,
        waiting: usize,
        latest: Instant,
        now: Instant,
    ) -> Result<Ticket, Next> {
        if waiting == 0 {
            return Err(self.return_or_refill(now));
        }
        let turn = match self.pause {
            Some(pause) if pause.is_running(now) => {
                self.prefetch.discard_before(pause.until);
                Err(Next::At(pause.until))
            }
            _ => self.take(waiting, latest, now),
        };
        match turn {
            Err(Next::At(at)) => self.next_at = at,
            Err(Next::Ask(_)) => self.next_at = now,
            _ => {}
        }
        turn
    }

    fn take(&mut self, waiting: usize, latest: Instant, now: Instant) -> Result<Ticket, Next> {
        match self.counted_by {
            CountedBy::Server => self.take_prefetched(waiting, latest, now),
            CountedBy::LocalWhileLost(OnFailure::Open) => {
                Ok(Ticket::new(self.scope, self.quota, u32::MAX))
            }
            CountedBy::LocalWhileLost(OnFailure::Closed) => Err(Next::At(now + LOST_POLL)),
            CountedBy::LocalWhileLost(OnFailure::Local) => self.take_while_lost(now),
            CountedBy::Local => self.take_own(now),
        }
    }

    /// Takes note of who counts.
    pub(super) fn set_counter(&mut self, counted_by: CountedBy, now: Instant) {
        let before = std::mem::replace(&mut self.counted_by, counted_by);
        match (before, counted_by) {
            (CountedBy::Server, CountedBy::LocalWhileLost(_)) => self.server_lost(now),
            (CountedBy::LocalWhileLost(_), CountedBy::Server) => self.server_back(now),
            _ => return,
        }
        self.next_at = now;
    }

    fn server_lost(&mut self, now: Instant) {
        let is_again = self.alone_from.is_some() && now - self.lost_at < LOST_AGAIN;
        self.lost_at = now;
        // A server that comes and goes would take a second's tokens with every loss, and leave none
        // to send with.
        if is_again {
            return;
        }
        // A share begins without a burst, and without a single token too: thousands of sidecars
        // would send one message each.
        if let Some(bucket) = self.tokens.bucket() {
            self.charge_present(tokens_of_a_second(&bucket), now);
        }
        self.alone_from = Some(now + self.prefetch.taken_ahead());
    }

    fn server_back(&mut self, now: Instant) {
        let (Some(quota), Some(own)) = (self.quota, self.tokens.bucket()) else {
            return;
        };
        // Messages sent alone count against the common quota, even if the server lost its state.
        let full_in = quota.interval().saturating_mul(own.missing(now));
        let if_lost = (own.full_in(now) + own.quota().interval()).min(quota.window());
        // A server away for longer than a single lost reply was lost to the other sidecars as well.
        if now - self.lost_at < LOST_POLL {
            self.prefetch.resume(full_in, if_lost, now);
        } else {
            // Other sidecars notice the server's return up to LOST_POLL later, and send from their
            // shares until then.
            self.prefetch.restart(if_lost + LOST_POLL, now);
        }
    }

    /// Pauses for `length`, for any reason but a throttle. Returns the pause to tell the other
    /// sidecars of.
    pub(super) fn pause(
        &mut self,
        length: Duration,
        reason: PauseReason,
        now: Instant,
    ) -> Option<RemotePause> {
        // Every answer near the limit repeats the lesson. A pause extended each time would keep the
        // waiting requests for ever.
        if reason == PauseReason::NearLimit && self.pause_at(now).is_some() {
            return None;
        }
        self.pause = Some(Pause::new(length, reason, now).or_later(self.pause));
        Some(RemotePause::named(length))
    }

    /// Pauses after a throttle. With a rate of a sender,
    /// the interval doubles after the pause and recovers in some seconds; without, each pause in a
    /// row is longer. Returns the pause to tell the other sidecars of.
    pub(super) fn throttled(&mut self, length: PauseLength, now: Instant) -> Option<RemotePause> {
        let slows = self.quota.is_some() && self.scope != Scope::Recipient;
        let growth = if slows { NO_GROWTH } else { growth(self.scope) };
        let before = self.pause.filter(|pause| pause.is_running(now));
        let pause = Pause::after_throttle(self.pause, length, growth, now)?;
        self.pause = Some(pause);
        if slows && before.is_none_or(|before| before.reason != PauseReason::Throttled) {
            let normal = self.interval();
            let current = self.slowed_interval(now).unwrap_or(normal);
            self.slowdown = Some(Slowdown::new(current, normal, pause.until, now));
        }
        Some(RemotePause::after_throttle(length, growth))
    }

    /// Takes tokens for messages that cannot wait. If the sidecar counts, missing tokens overdraw
    /// the bucket, and no request goes until they have come.
    pub(super) fn charge(&mut self, messages: UnqueuedMessages, now: Instant) {
        if self.is_shared() {
            self.charge_present(messages.count(), now);
        } else if let Tokens::Own(bucket) = &mut self.tokens {
            bucket.charge(messages, now);
        }
    }

    /// Takes the tokens of the sidecar's bucket that are left, at most as many as given.
    fn charge_present(&mut self, tokens: u32, now: Instant) {
        (0..tokens)
            .take_while(|_| self.tokens.take(now).is_ok())
            .for_each(drop);
    }

    /// The running pause, if any; an overdrawn bucket is a pause too.
    pub(super) fn pause_at(&self, now: Instant) -> Option<Pause> {
        let pause = self.pause.filter(|pause| pause.is_running(now));
        let length = match &self.tokens {
            Tokens::Own(bucket) => bucket.overdrawn_for(now),
            _ => Duration::ZERO,
        };
        if length.is_zero() {
            return pause;
        }
        Some(Pause::new(length, PauseReason::Overdrawn, now).or_later(pause))
    }

    /// Number of requests with a token now, and the time until the next token.
    pub(super) fn remaining(&self, now: Instant) -> (u32, Duration) {
        self.bucket_in_charge()
            .map_or((u32::MAX, Duration::ZERO), |bucket| bucket.left(now))
    }

    /// Time between two requests, if a slowdown makes the interval longer than the quota says.
    pub(super) fn slowed_interval(&self, now: Instant) -> Option<Duration> {
        self.slowdown
            .map(|slowdown| slowdown.interval(now))
            .filter(|interval| *interval > self.interval())
    }

    /// The running pause for the status: learnt here, or from the shared server where its pause
    /// ends later by more than the way to the server takes. A pause of the account is told as such
    /// alone.
    pub(super) fn shown_pause(&self, now: Instant) -> Option<Pause> {
        let own = self.pause_at(now);
        let known_end = own.map_or(now, |own| own.until + SAME_PAUSE);
        let told_end = self.prefetch.told_pause_end();
        let longer = told_end.filter(|end| self.is_shared() && *end > known_end);
        let told = longer.map(|end| Pause::new(end - now, PauseReason::Elsewhere, now));
        told.or(own)
    }

    /// The slowed interval for the status: taught by throttles here, or by throttles that another
    /// sidecar met, as the shared server told.
    pub(super) fn shown_interval(&self, now: Instant) -> Option<Duration> {
        let told = self.prefetch.told_interval(now);
        let told = told.filter(|told| self.is_shared() && *told > self.interval());
        told.max(self.slowed_interval(now))
    }

    /// Time until the turn of a request with `ahead` requests before it; without a token of a
    /// shared bucket the least time.
    pub(super) fn wait(&self, ahead: usize, now: Instant) -> Duration {
        let pause = self.pause_at(now);
        let pause_end = pause.map_or(now, |pause| pause.until);
        let turn = match self.prefetch.turn(ahead, self.quota, now) {
            Err(_) if !self.is_shared() => self.own_turn(ahead, pause_end, now),
            // No reply tells of a slowdown before the end of the pause that taught it.
            Err((at, more)) if pause.is_some() => at.max(self.paced_turn(pause_end, more, now)),
            Ok(at) | Err((at, _)) => at.max(pause_end),
        };
        turn.saturating_duration_since(now)
    }

    fn own_turn(&self, ahead: usize, pause_end: Instant, now: Instant) -> Instant {
        let first = self.next_at.max(pause_end).max(now);
        if self.counted_by == CountedBy::LocalWhileLost(OnFailure::Open) {
            return first;
        }
        let ahead = saturated(ahead);
        // The queue of a server that was just lost finds the tokens of the share.
        let bucket = self.tokens.bucket();
        let by_bucket = bucket.map_or(first, |bucket| bucket.token_after(ahead, now));
        self.paced_turn(first, ahead, now).max(by_bucket)
    }

    /// Time of the turn that comes `more` turns after the turn `first`, as far as a slowdown taught
    /// here tells.
    fn paced_turn(&self, first: Instant, more: u32, now: Instant) -> Instant {
        self.slowdown
            .filter(|_| self.slowed_interval(now).is_some())
            .map_or(first, |slowdown| {
                slowdown.turn_after(first, more, self.interval())
            })
    }

    /// True if the turn of a request with `ahead` requests before it comes after a deadline,
    /// however the server replies.
    pub(super) fn is_in_vain(&self, ahead: usize, deadline: Instant, now: Instant) -> bool {
        let wait = self.wait(ahead, now);
        let margin = if self.is_shared() && ahead >= self.prefetch.held() {
            self.prefetch.margin(wait)
        } else {
            Duration::ZERO
        };
        now + wait + margin > deadline
    }

    /// Returns the held tokens of a shared bucket, to be given back to the server. Their number is
    /// the result.
    pub(super) fn return_all(&mut self) -> u32 {
        let quota = self.quota.filter(|_| self.is_shared());
        quota.map_or(0, |quota| self.prefetch.return_all(quota))
    }

    /// True if held tokens run low and new ones should be asked for before a request waits.
    pub(super) fn runs_low(&self, now: Instant) -> bool {
        self.is_shared() && self.prefetch.ask_from(Duration::ZERO) <= now && self.wanted(0, now) > 0
    }

    /// True if the wait is known. While the server is asked, and tokens were not short before,
    /// there may be no wait at all.
    pub(super) fn is_wait_known(&self) -> bool {
        !self.is_shared() || self.prefetch.is_short()
    }

    /// True while the shared server counts.
    pub(super) fn is_shared(&self) -> bool {
        self.counted_by == CountedBy::Server
    }

    /// True while no request goes because the shared server is lost.
    pub(super) fn is_closed(&self) -> bool {
        self.counted_by == CountedBy::LocalWhileLost(OnFailure::Closed)
    }

    /// True if a new pacer would decide alike. The bucket of a pair lives elsewhere.
    pub(super) fn is_unused(&self, now: Instant) -> bool {
        let is_full = match &self.tokens {
            Tokens::Own(own) => {
                let shared = self.prefetch.bucket(own.quota());
                own.full_in(now).is_zero() && shared.full_in(now).is_zero()
            }
            Tokens::Unlimited | Tokens::Pair(..) => true,
        };
        is_full
            && self.pause.is_none_or(|pause| pause.is_forgotten(now))
            && self.slowed_interval(now).is_none()
    }

    /// Time in which a token comes: to all sidecars while the server counts, else to the local
    /// share.
    pub(super) fn interval(&self) -> Duration {
        self.bucket_in_charge()
            .map_or(Duration::ZERO, |bucket| bucket.quota().interval())
    }

    /// Quota that counts now: of all sidecars while the server counts, else of the local share.
    pub(super) fn quota_in_charge(&self) -> Option<Quota> {
        self.bucket_in_charge()
            .map_or(self.quota, |bucket| Some(bucket.quota()))
    }

    /// The bucket of all sidecars, as far as known, while the server counts; else the bucket of the
    /// sidecar.
    fn bucket_in_charge(&self) -> Option<Bucket> {
        if self.is_shared() {
            self.quota.map(|quota| self.prefetch.bucket(quota))
        } else {
            self.tokens.bucket()
        }
    }

    fn take_while_lost(&mut self, now: Instant) -> Result<Ticket, Next> {
        self.prefetch.discard_unused(now);
        match self.prefetch.use_token(now) {
            Ok(()) => Ok(self.ticket_of_held(now)),
            Err(Some(due)) => Err(Next::At(due)),
            Err(None) => self.take_alone(now),
        }
    }

    fn take_alone(&mut self, now: Instant) -> Result<Ticket, Next> {
        if let Some(alone_from) = self.alone_from {
            if now < alone_from {
                return Err(Next::At(alone_from));
            }
            // Until `alone_from`, sidecars still sent with tokens the server had granted. The share
            // must not add to those, so it starts empty.
            if let Tokens::Own(bucket) = &mut self.tokens {
                bucket.remove_at_least(tokens_of_a_second(bucket), alone_from);
            }
        }
        self.take_own(now)
    }

    fn ticket_of_held(&mut self, now: Instant) -> Ticket {
        self.tokens.take(now).ok();
        Ticket::new(self.scope, self.quota, self.prefetch.left())
    }

    fn take_own(&mut self, now: Instant) -> Result<Ticket, Next> {
        if self.slowed_interval(now).is_none() {
            self.slowdown = None;
        }
        if let Some(at) = self.slowdown.map(|slowdown| slowdown.next_at(now))
            && at > now
        {
            return Err(Next::At(at));
        }
        let left = self.tokens.take(now).map_err(|wait| Next::At(now + wait))?;
        if let Some(slowdown) = &mut self.slowdown {
            slowdown.note_sent(now);
        }
        let quota = self.tokens.bucket().map(|bucket| bucket.quota());
        Ok(Ticket::new(self.scope, quota, left))
    }

    fn take_prefetched(
        &mut self,
        waiting: usize,
        latest: Instant,
        now: Instant,
    ) -> Result<Ticket, Next> {
        let Err(due) = self.prefetch.use_token(now) else {
            return Ok(self.ticket_of_held(now));
        };
        let patience = latest.saturating_duration_since(now);
        let ask_from = self.prefetch.ask_from(patience);
        match due {
            Some(due) if self.prefetch.held() >= waiting => Err(Next::At(due)),
            _ if ask_from <= now => Err(Next::Ask(self.wanted(waiting, now))),
            Some(due) => Err(Next::At(due.min(ask_from))),
            None => Err(Next::At(ask_from)),
        }
    }

    /// Number of tokens to ask the server for. A pair takes none ahead, because its limit exists
    /// only while a request waits.
    fn wanted(&self, waiting: usize, now: Instant) -> u32 {
        match (&self.tokens, self.quota) {
            (Tokens::Own(_), Some(quota)) => self.prefetch.wanted(waiting, quota, now),
            _ => saturated(waiting.saturating_sub(self.prefetch.held())),
        }
    }

    fn return_or_refill(&mut self, now: Instant) -> Next {
        if let (true, Some(quota)) = (self.is_shared(), self.quota) {
            if self.runs_low(now) {
                return Next::Ask(self.wanted(0, now));
            }
            let unused = self.prefetch.return_unused(quota, now);
            if unused > 0 {
                return Next::GiveBack(unused);
            }
            if let Some(at) = self.prefetch.return_at() {
                return Next::At(at);
            }
        }
        self.prefetch.forget_shortage();
        Next::Rest
    }
}

/// Number of tokens that a share is taken to lack when it begins to be used alone.
fn tokens_of_a_second(share: &Bucket) -> u32 {
    share.tokens_in(Duration::from_secs(1)).max(1)
}

/// The difference up to which a pause known here and a pause that the server tells of count as one:
/// longer than a command takes on its way, and of no interest to a reader.
const SAME_PAUSE: Duration = Duration::from_secs(1);
/// Time within which a loss of the shared server belongs to the loss before: each loss is taken to
/// cost the tokens of a second, so that losses within a second would cost more than there are.
const LOST_AGAIN: Duration = Duration::from_secs(1);
/// Time between two looks at the shared server's state: as long as between two attempts to connect.
/// Sidecars that wait longer would send from their shares beside a server that counts again.
pub(super) const LOST_POLL: Duration = Duration::from_millis(100);
