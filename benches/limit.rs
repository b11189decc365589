//! `cargo bench --bench limit`: what a decision costs, with few and many senders and recipients, and what a million
//! recipients take.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measurement")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyside::limit::{Account, Budget, Demand, Limiter, Pairs, Patience, Scope};
use keyside::units::{Quota, Rate};

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        for keys in [1, 1_000, 1_000_000] {
            let names: Vec<String> = (0..keys).map(|key| format!("1555{key:07}")).collect();
            senders(names.get(..keys.min(1_000)).unwrap_or_default()).await;
            recipients(&names).await;
        }
    });
}

async fn senders(names: &[String]) {
    let limiter =
        Limiter { senders: Some(Arc::new(Budget::new(Scope::Sender, rate(1_000_000_000), false))), ..limiter() };
    let demands = names.iter().map(|name| demand(name, None));
    report("senders", names.len(), measure(&limiter, demands).await, None);
}

async fn recipients(names: &[String]) {
    // An hour for one, so that none is forgotten meanwhile.
    let quota = Quota { rate: Rate { count: one(1), per: Duration::from_secs(3600) }, burst: one(1_000_000) };
    let before = resident();
    let limiter = Limiter { pairs: Some(Pairs::after(None, quota)), ..limiter() };
    let demands = names.iter().map(|name| demand("106540352242922", Some(name)));
    let time = measure(&limiter, demands).await;
    report("recipients", names.len(), time, Some(resident().saturating_sub(before)));
}

async fn measure<'a>(limiter: &Limiter, demands: impl Iterator<Item = Demand<'a>> + Clone) -> Duration {
    for demand in demands.clone() {
        limiter.send(&demand).await.expect("there is room");
    }
    let began = Instant::now();
    for demand in demands.cycle().take(DECISIONS) {
        limiter.send(&demand).await.expect("there is room");
    }
    began.elapsed()
}

fn report(what: &str, keys: usize, time: Duration, bytes: Option<usize>) {
    let each = time.as_nanos() / DECISIONS as u128;
    let bytes = bytes.map(|bytes| format!(", {} bytes for each", bytes / keys)).unwrap_or_default();
    println!("{keys:>9} {what}: {each} ns a decision{bytes}");
}

fn limiter() -> Limiter {
    let patience = Patience { max_wait: Duration::ZERO, max_queue: 0 };
    Limiter {
        account: Arc::new(Account::default()),
        senders: None,
        pairs: None,
        sends: None,
        management: None,
        patience,
        retries: false,
    }
}

fn demand<'a>(sender: &'a str, recipient: Option<&'a str>) -> Demand<'a> {
    let patience = Patience { max_wait: Duration::ZERO, max_queue: 0 };
    Demand { sender, recipient, caller: 1, urgency: 3, now: tokio::time::Instant::now(), patience }
}

fn rate(per_second: u32) -> Rate {
    Rate { count: one(per_second), per: Duration::from_secs(1) }
}

fn one(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("more than none")
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

const DECISIONS: usize = 2_000_000;
