//! `cargo bench --bench limit`: time of a decision, with few and many senders and recipients, and
//! the memory of a million recipients; with `KEYSIDE_REDIS_URL`, time of a decision at 1,000 a
//! second with shared limits.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measurement of real time, which prints its result"
)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyside::config::OnFailure;
use keyside::limit::{
    AccountPause, Demand, KeyedLimits, LimitKind, LimitTerms, Limiter, Pairs, Patience, Sharing,
};
use keyside::provider::Metering;
use keyside::secret::Secret;
use keyside::shared::metrics::SharedMetrics;
use keyside::shared::{ServerAddress, SharedServer};
use keyside::units::{Quota, Rate};
use prometheus_client::registry::Registry;
use zeroize::Zeroizing;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for keys in [1, 1_000, 1_000_000] {
            let names: Vec<String> = (0..keys).map(|key| format!("1555{key:07}")).collect();
            senders(names.get(..keys.min(1_000)).unwrap_or_default()).await;
            recipients(&names).await;
        }
        if let Ok(url) = std::env::var("KEYSIDE_REDIS_URL") {
            shared(&url).await;
        }
    });
}

/// A thousand decisions a second for some seconds: of the limit of a sender, and of a recipient for
/// comparison.
async fn shared(url: &str) {
    let url = Secret::parse(Zeroizing::new(url.as_bytes().to_vec())).expect("a URL");
    let shared = SharedServer::new(
        ServerAddress::parse(&url, None).expect("a URL of a server"),
        SharedMetrics::register(&mut Registry::default()),
    );
    shared.connect().await;
    assert!(shared.is_up(), "{:?}", shared.status());
    let account = Arc::new(AccountPause::default());
    let sharing = Sharing::new(
        shared,
        Arc::clone(&account),
        "bench",
        OnFailure::Closed,
        one(1),
    );
    let terms = LimitTerms {
        sharing: Some(sharing.clone()),
        ..fixed(rate(10_000))
    };
    let of_sender = Limiter {
        senders: Arc::new(KeyedLimits::new(LimitKind::Sender, terms)),
        ..Limiter::default()
    };
    let quota = Quota {
        rate: rate(10_000),
        burst: one(10_000),
    };
    let of_pair = Limiter {
        pairs: Some(Arc::new(Pairs::new(Some(quota), Some(sharing)))),
        ..Limiter::default()
    };
    let nothing = Limiter::default();
    let idle = paced(&nothing).await.0;
    for (what, limiter) in [("sender", of_sender), ("recipient", of_pair)] {
        let (cpu, mut waits) = paced(&limiter).await;
        waits.sort();
        let at = |share: usize| {
            waits
                .get(waits.len() * share / 100)
                .copied()
                .unwrap_or_default()
        };
        let mean = waits.iter().sum::<Duration>() / u32::try_from(waits.len()).expect("few");
        let cpu = cpu.saturating_sub(idle) / u32::try_from(waits.len()).expect("few");
        println!(
            "   shared {what}: mean wait {mean:?}, p50 {:?}, p99 {:?}, {cpu:?} of CPU a decision at 1000 a second",
            at(50),
            at(99)
        );
    }
}

/// Terms with a single rate for all keys.
fn fixed(rate: Rate) -> LimitTerms {
    LimitTerms {
        rate: Some(rate),
        ..LimitTerms::default()
    }
}

/// Processor time, and the time of each decision.
async fn paced(limiter: &Limiter) -> (Duration, Vec<Duration>) {
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    let (began, mut waits) = (cpu(), Vec::new());
    for number in 0..5_000_u32 {
        beat.tick().await;
        let recipients = [(number % 100).to_string()];
        let asked = Instant::now();
        let demand = demand((SENDER, &recipients), tokio::time::Instant::now());
        limiter.send(&demand).await.expect("there is room");
        waits.push(asked.elapsed());
    }
    (cpu() - began, waits)
}

/// Processor time of the thread, which does all the work.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(
        stat.split(' ')
            .next()
            .and_then(|nanos| nanos.parse().ok())
            .expect("a number"),
    )
}

async fn senders(names: &[String]) {
    let terms = fixed(rate(1_000_000_000));
    let limiter = Limiter {
        senders: Arc::new(KeyedLimits::new(LimitKind::Sender, terms)),
        ..Limiter::default()
    };
    let parties = names.iter().map(|name| (name.as_str(), &[][..]));
    report(
        "senders",
        names.len(),
        measure(&limiter, parties).await,
        None,
    );
}

async fn recipients(names: &[String]) {
    // Minutes for a token, lest a recipient be forgotten meanwhile, and a burst above the demand.
    let quota = Quota {
        rate: Rate {
            count: one(1),
            per: Duration::from_secs(360),
        },
        burst: one(4_000_000),
    };
    let before = resident();
    let limiter = Limiter {
        pairs: Some(Arc::new(Pairs::new(Some(quota), None))),
        ..Limiter::default()
    };
    let parties = names
        .iter()
        .map(|name| (SENDER, std::slice::from_ref(name)));
    let time = measure(&limiter, parties).await;
    report(
        "recipients",
        names.len(),
        time,
        Some(resident().saturating_sub(before)),
    );
}

/// A sender, and perhaps recipients.
type Parties<'a> = (&'a str, &'a [String]);

/// Requests come in a row, with their time of arrival: the clock is read for every hundredth
/// request.
async fn measure<'a>(
    limiter: &Limiter,
    parties: impl Iterator<Item = Parties<'a>> + Clone,
) -> Duration {
    for parties in parties.clone() {
        limiter
            .send(&demand(parties, tokio::time::Instant::now()))
            .await
            .expect("there is room");
    }
    let (began, mut now) = (Instant::now(), tokio::time::Instant::now());
    for (number, parties) in parties.cycle().take(DECISIONS).enumerate() {
        if number % 100 == 0 {
            now = tokio::time::Instant::now();
        }
        limiter
            .send(&demand(parties, now))
            .await
            .expect("there is room");
    }
    began.elapsed()
}

fn report(what: &str, keys: usize, time: Duration, bytes: Option<usize>) {
    let each = time.as_nanos() / DECISIONS as u128;
    let bytes = bytes
        .map(|bytes| format!(", {} bytes for each", bytes / keys))
        .unwrap_or_default();
    println!("{keys:>9} {what}: {each} ns a decision{bytes}");
}

fn demand((sender, recipients): Parties<'_>, now: tokio::time::Instant) -> Demand<'_> {
    Demand {
        sender,
        recipients,
        metering: Metering::Common,
        messages: 1,
        application: 1,
        urgency: 3,
        arrived: now,
        patience: Patience::default(),
    }
}

fn rate(per_second: u32) -> Rate {
    Rate {
        count: one(per_second),
        per: Duration::from_secs(1),
    }
}

fn one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("more than none")
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok())
        .expect("a number")
        * 4096
}

const DECISIONS: usize = 2_000_000;
const SENDER: &str = "106540352242922";
