//! The arithmetic of the scripts in `src/limit/remote/scripts`, for a server in virtual time.
//! Numbers follow Lua, so each answer is equal to the digit: `scripts_and_redis` of the tests
//! compares the answers.

use keyside::limit::TakeScriptReply;

/// The server's state of one limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    tokens: Option<Tokens>,
    taught: Option<Taught>,
}

/// The server's state of an account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared {
    taught: Option<Taught>,
    epoch: Option<u64>,
}

/// The text of the key of tokens: when the bucket is full, when the last token was good, how long
/// tokens may be owed, and the worth of the tokens given back.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    full: f64,
    last: f64,
    owed: f64,
    given: f64,
}

/// The text of the key of what throttles have taught: end of the pause, its length, the factor of
/// the interval.
#[derive(Clone, Copy, Debug)]
struct Taught {
    ends: f64,
    length: f64,
    slowness: f64,
}

impl Taught {
    /// End of the last pause, and the factor of the interval at a time.
    fn at(taught: Option<Self>, now: f64, at: f64) -> (f64, f64) {
        match taught {
            Some(taught) if taught.ends - now <= taught.length => {
                let seconds = ((at - taught.ends).max(0.0) / 1e6).floor();
                (taught.ends, taught.slowness * 0.85_f64.powf(seconds))
            }
            _ => (0.0, 1.0),
        }
    }

    fn pause(taught: &mut Option<Self>, now: u64, arguments: [u64; 5]) -> i64 {
        let [first, named, growth, slows, longest] = arguments.map(|argument| argument as f64);
        let now = now as f64;
        let (before, length, mut slowness) = match taught {
            Some(last) if last.ends - now <= last.length => (last.ends, last.length, last.slowness),
            _ => (0.0, 0.0, 1.0),
        };
        let is_paused = before > now;
        if is_paused && named == 0.0 {
            return (before - now) as i64;
        }
        let pause = if named > 0.0 {
            named
        } else if before + length > now {
            length * growth
        } else {
            first
        };
        let pause = pause.min(longest);
        if !is_paused {
            let seconds = ((now - before) / 1e6).floor();
            slowness = (slowness * 0.85_f64.powf(seconds)).max(1.0);
            if slows == 1.0 {
                slowness = (slowness * 2.0).min(32.0);
            }
        }
        let ends = (now + pause).max(before);
        *taught = Some(Self {
            ends: written(ends),
            length: written(ends - now),
            slowness: four_places(slowness),
        });
        (ends - now).ceil() as i64
    }
}

impl Shared {
    /// `pause.lua` for the account.
    pub fn pause(&mut self, now: u64, arguments: [u64; 5]) -> i64 {
        Taught::pause(&mut self.taught, now, arguments)
    }
}

/// `take.lua` while a pause has so many microseconds left, after which tokens come at a `spacing`.
fn paused_for(left: i64, spacing: f64, epoch: u64) -> TakeScriptReply {
    TakeScriptReply {
        interval: spacing.ceil() as i64,
        next_in: left,
        paused: left,
        epoch,
        ..TakeScriptReply::default()
    }
}

impl Bucket {
    /// `take.lua`.
    pub fn take(&mut self, shared: &mut Shared, now: u64, arguments: [u64; 8]) -> TakeScriptReply {
        let epoch = *shared.epoch.get_or_insert(now);
        let now = now as f64;
        let (account, _) = Taught::at(shared.taught, now, now);
        let (paused, slowness) = Taught::at(self.taught, now, account.max(now));
        let spacing = arguments[0] as f64 * slowness.max(1.0);
        if account > now {
            let left = (account - now) as i64;
            return TakeScriptReply {
                account_paused: left,
                ..paused_for(left, spacing, epoch)
            };
        }
        if paused > now {
            return paused_for((paused - now) as i64, spacing, epoch);
        }
        self.take_unpaused(epoch, spacing, now, arguments)
    }

    /// `take.lua` where no pause is running.
    fn take_unpaused(
        &mut self,
        epoch: u64,
        spacing: f64,
        now: f64,
        arguments: [u64; 8],
    ) -> TakeScriptReply {
        let [interval, burst, wanted, ahead, ..] = arguments.map(|argument| argument as f64);
        let tolerance = interval * burst;
        let before = self.tokens;
        let owed = before.map_or(0.0, |tokens| tokens.owed);
        let given = before.map_or(0.0, |tokens| tokens.given);
        let last = before.map_or(0.0, |tokens| tokens.last);
        let last = last.min(now + ahead.max(owed).max(2e6));
        let kept = |full: f64, last: f64, owed: f64| Tokens {
            full: written(full),
            last: written(last),
            owed: if full > now + 2.0 * tolerance {
                owed.max(ahead)
            } else {
                0.0
            },
            given,
        };
        let mut owed = owed;
        let mut full = before.map_or(now, |tokens| tokens.full);
        if full > now + 2.0 * tolerance + ahead.max(owed) {
            full = now + 2.0 * tolerance;
            let cut = kept(full, last, owed);
            owed = cut.owed;
            self.tokens = Some(cut);
        }
        full = full.max(known_full(epoch, given, tolerance, now, arguments));
        let mut first = full + interval - tolerance;
        if spacing > interval {
            first = first.max(last + spacing).max(now);
        }
        let taken = wanted.min(((now + ahead - first) / spacing).floor() + 1.0);
        if taken < 1.0 {
            return TakeScriptReply {
                interval: spacing.ceil() as i64,
                full_in: (full - now).ceil() as i64,
                next_in: (first - now).ceil() as i64,
                epoch,
                given_back: given as u64,
                ..TakeScriptReply::default()
            };
        }
        let after = full + taken * interval;
        let last = last.max(first + (taken - 1.0) * spacing);
        self.tokens = Some(kept(after, last, owed));
        let left = ((now + tolerance - after) / interval).floor().max(0.0) as i64;
        TakeScriptReply {
            taken: taken as i64,
            first_in: (first - now).ceil() as i64,
            interval: spacing.ceil() as i64,
            left,
            full_in: (after - now).ceil() as i64,
            next_in: (first + taken * spacing - now).ceil() as i64,
            epoch,
            given_back: given as u64,
            ..TakeScriptReply::default()
        }
    }

    /// `give_back.lua`.
    pub fn give_back(&mut self, now: u64, [interval, count]: [u64; 2]) {
        if let Some(tokens) = &mut self.tokens {
            let returned = interval as f64 * count as f64;
            tokens.full = written((tokens.full - returned).max(now as f64));
            tokens.given += returned;
        }
    }

    /// `pause.lua` for the limit.
    pub fn pause(&mut self, now: u64, arguments: [u64; 5]) -> i64 {
        Taught::pause(&mut self.taught, now, arguments)
    }
}

/// Time at which the bucket is full at the earliest, by what the sidecar knows.
fn known_full(epoch: u64, given: f64, tolerance: f64, now: f64, arguments: [u64; 8]) -> f64 {
    let known = arguments[6];
    let [.., full_in, full_in_if_lost, _, known_given] = arguments.map(|argument| argument as f64);
    if known == epoch {
        return now + full_in - (given - known_given).max(0.0);
    }
    let since = match known {
        0 => 0.0,
        _ => epoch as f64 + tolerance.min(1e7),
    };
    since.max(now + full_in_if_lost)
}

/// A number as the scripts write it, by `%.4f`, and read it again. A product with 10,000 would be
/// rounded twice.
fn four_places(number: f64) -> f64 {
    format!("{number:.4}").parse().unwrap_or(number)
}

/// A number as the scripts write it, by `%.0f`.
fn written(number: f64) -> f64 {
    number.round_ties_even()
}
