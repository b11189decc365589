//! Buckets, local and remote, let through as much as a plain model: counted by the sidecar, or by
//! the script in the shared server.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyside::config::OnFailure;
use keyside::limit::{
    AccountPause, Demand, KeyedLimits, LimitKind, LimitTerms, Limiter, LocalView, Patience,
    Sharing, TakeRequest,
};
use keyside::secret::Secret;
use keyside::shared::metrics::SharedMetrics;
use keyside::shared::{ServerAddress, SharedServer};
use keyside::units::{Quota, Rate};
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use zeroize::Zeroizing;

use crate::support::redis::Redis;

/// The plain model. The model knows only moments before and after a taking of tokens, so the level
/// is known within bounds.
struct Plain {
    quota: Quota,
    least: f64,
    most: f64,
    last: (Instant, Instant),
}

impl Plain {
    fn full(quota: Quota) -> Self {
        let (burst, now) = (f64::from(quota.burst.get()), Instant::now());
        Self {
            quota,
            least: burst,
            most: burst,
            last: (now, now),
        }
    }

    /// Checks `taken` of `wanted` tokens between two moments against the bounds, or returns the
    /// contradiction.
    fn take(&mut self, wanted: u32, taken: u32, between: (Instant, Instant)) -> Result<(), String> {
        let (burst, interval) = (
            f64::from(self.quota.burst.get()),
            self.quota.interval().as_secs_f64(),
        );
        let tokens = |time: Duration| time.as_secs_f64() / interval;
        self.least =
            burst.min(self.least + tokens(between.0.saturating_duration_since(self.last.1)));
        self.most = burst.min(self.most + tokens(between.1 - self.last.0));
        self.last = between;
        let (wanted, taken) = (f64::from(wanted), f64::from(taken));
        // A microsecond's worth: bucket and model may round differently.
        let slack = 1e-6 / interval;
        if taken > wanted
            || taken > self.most + slack
            || taken + slack < wanted.min((self.least - slack).floor())
        {
            return Err(format!(
                "{taken} of {wanted} were taken of {} to {}",
                self.least, self.most
            ));
        }
        (self.least, self.most) = ((self.least - taken).max(0.0), self.most - taken);
        Ok(())
    }
}

fn quota(count: u32, per_ms: u64) -> Quota {
    Rate {
        count: NonZeroU32::new(count).unwrap(),
        per: Duration::from_millis(per_ms),
    }
    .into()
}

/// Terms with a single rate for all keys.
fn fixed(rate: Rate) -> LimitTerms {
    LimitTerms {
        rate: Some(rate),
        ..LimitTerms::default()
    }
}

/// Rows of milliseconds to wait and tokens to take then.
fn steps() -> impl Strategy<Value = (u32, u64, Vec<(u64, u32)>)> {
    (
        1_u32..12,
        20_u64..200,
        prop::collection::vec((0_u64..12, 1_u32..6), 1..25),
    )
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn the_local_bucket_lets_through_what_a_plain_one_does() {
    let runtime = runtime();
    let property = |(count, per_ms, steps)| {
        let quota = quota(count, per_ms);
        let terms = fixed(quota.rate);
        let limiter = Limiter {
            senders: Arc::new(KeyedLimits::new(LimitKind::Sender, terms)),
            ..Limiter::default()
        };
        let mut plain = Plain::full(quota);
        for (wait, wanted) in steps {
            std::thread::sleep(Duration::from_millis(wait));
            for _ in 0..wanted {
                let before = Instant::now();
                let demand = Demand {
                    sender: "1",
                    recipients: &[],
                    metering: keyside::provider::Metering::Common,
                    messages: 1,
                    application: 1,
                    urgency: 3,
                    arrived: tokio::time::Instant::now(),
                    patience: Patience::default(),
                };
                let taken = u32::from(runtime.block_on(limiter.send(&demand)).is_ok());
                plain
                    .take(1, taken, (before, Instant::now()))
                    .map_err(TestCaseError::fail)?;
            }
        }
        Ok(())
    };
    runner(60).run(&steps(), property).unwrap();
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn the_shared_bucket_lets_through_what_a_plain_one_does() {
    let (redis, runtime) = (Redis::start(), runtime());
    let url = Secret::parse(Zeroizing::new(redis.url().into_bytes())).unwrap();
    let shared = SharedServer::new(
        ServerAddress::parse(&url, None).unwrap(),
        SharedMetrics::register(&mut Registry::default()),
    );
    runtime.block_on(shared.connect());
    assert!(shared.is_up(), "{:?}", shared.status());
    let sharing = Sharing::new(
        shared,
        Arc::new(AccountPause::default()),
        "acme",
        OnFailure::Closed,
        NonZeroU32::MIN,
    );
    let number = std::cell::Cell::new(0);
    let property = |(count, per_ms, steps)| {
        let quota = quota(count, per_ms);
        number.set(number.get() + 1);
        let bucket = sharing.bucket(LimitKind::Sender, &[&number.get().to_string()]);
        let mut plain = Plain::full(quota);
        for (wait, wanted) in steps {
            std::thread::sleep(Duration::from_millis(wait));
            let before = Instant::now();
            let request = TakeRequest {
                quota,
                wanted,
                ahead: Duration::ZERO,
                known: LocalView::default(),
            };
            let reply = runtime
                .block_on(bucket.take(request))
                .map_err(|_| TestCaseError::fail("the server is lost"))?;
            plain
                .take(wanted, reply.count, (before, Instant::now()))
                .map_err(TestCaseError::fail)?;
        }
        Ok(())
    };
    runner(60).run(&steps(), property).unwrap();
}
