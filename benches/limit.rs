//! `cargo bench --bench limit`: what a decision costs, with few and many senders and recipients, and what a million
//! recipients take; with `KEYSIDE_REDIS_URL`, what one costs at 1,000 a second where limits are shared.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measurement")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyside::config::OnFailure;
use keyside::limit::{Account, Budget, Demand, Limiter, Pairs, Patience, Scope, Sharing, Terms};
use keyside::metrics::Metrics;
use keyside::secret::Secret;
use keyside::shared::{Server, Shared};
use keyside::units::{Quota, Rate};
use zeroize::Zeroizing;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
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

/// A thousand decisions a second for some seconds, of one sender's limit, and of one recipient's for comparison.
async fn shared(url: &str) {
    let url = Secret::parse(Zeroizing::new(url.as_bytes().to_vec())).expect("a URL");
    let shared = Shared::new(Server::parse(&url, None).expect("a URL of a server"), Metrics::new());
    shared.begin().await;
    assert!(shared.is_up(), "{:?}", shared.standing());
    let account = Arc::new(Account::default());
    let sharing = Sharing::new(shared, Arc::clone(&account), "bench", OnFailure::Closed, one(1));
    let senders =
        Budget::new(Scope::Sender, "sender", Terms { sharing: Some(sharing.clone()), ..Terms::fixed(rate(10_000)) });
    let of_sender = Limiter { senders: Some(Arc::new(senders)), ..Limiter::default() };
    let quota = Quota { rate: rate(10_000), burst: one(10_000) };
    let of_pair = Limiter { pairs: Some(Pairs::after(None, quota, Some(sharing))), ..Limiter::default() };
    let nothing = Limiter::default();
    let idle = paced(&nothing).await.0;
    for (what, limiter) in [("sender", of_sender), ("recipient", of_pair)] {
        let (cpu, mut waits) = paced(&limiter).await;
        waits.sort();
        let at = |share: usize| waits.get(waits.len() * share / 100).copied().unwrap_or_default();
        let mean = waits.iter().sum::<Duration>() / u32::try_from(waits.len()).expect("few");
        let cpu = cpu.saturating_sub(idle) / u32::try_from(waits.len()).expect("few");
        println!(
            "   shared {what}: mean wait {mean:?}, p50 {:?}, p99 {:?}, {cpu:?} of CPU a decision at 1000 a second",
            at(50),
            at(99)
        );
    }
}

/// The processor's time, and how long each decision took.
async fn paced(limiter: &Limiter) -> (Duration, Vec<Duration>) {
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    let (began, mut waits) = (cpu(), Vec::new());
    for number in 0..5_000_u32 {
        beat.tick().await;
        let recipient = (number % 100).to_string();
        let asked = Instant::now();
        let demand = demand((SENDER, Some(&recipient)), tokio::time::Instant::now());
        limiter.send(&demand).await.expect("there is room");
        waits.push(asked.elapsed());
    }
    (cpu() - began, waits)
}

/// What this thread, which does all the work, has used of the processor.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

async fn senders(names: &[String]) {
    let budget = Budget::new(Scope::Sender, "sender", Terms::fixed(rate(1_000_000_000)));
    let limiter = Limiter { senders: Some(Arc::new(budget)), ..Limiter::default() };
    let parties = names.iter().map(|name| (name.as_str(), None));
    report("senders", names.len(), measure(&limiter, parties).await, None);
}

async fn recipients(names: &[String]) {
    // Minutes for one, so that none is forgotten meanwhile, and more at once than are asked for.
    let quota = Quota { rate: Rate { count: one(1), per: Duration::from_secs(360) }, burst: one(4_000_000) };
    let before = resident();
    let limiter = Limiter { pairs: Some(Pairs::after(None, quota, None)), ..Limiter::default() };
    let parties = names.iter().map(|name| (SENDER, Some(name.as_str())));
    let time = measure(&limiter, parties).await;
    report("recipients", names.len(), time, Some(resident().saturating_sub(before)));
}

/// A sender, and perhaps a recipient.
type Parties<'a> = (&'a str, Option<&'a str>);

/// Requests come one after another, and know when they did: what time it is is asked once for a hundred of them.
async fn measure<'a>(limiter: &Limiter, parties: impl Iterator<Item = Parties<'a>> + Clone) -> Duration {
    for parties in parties.clone() {
        limiter.send(&demand(parties, tokio::time::Instant::now())).await.expect("there is room");
    }
    let (began, mut now) = (Instant::now(), tokio::time::Instant::now());
    for (number, parties) in parties.cycle().take(DECISIONS).enumerate() {
        if number % 100 == 0 {
            now = tokio::time::Instant::now();
        }
        limiter.send(&demand(parties, now)).await.expect("there is room");
    }
    began.elapsed()
}

fn report(what: &str, keys: usize, time: Duration, bytes: Option<usize>) {
    let each = time.as_nanos() / DECISIONS as u128;
    let bytes = bytes.map(|bytes| format!(", {} bytes for each", bytes / keys)).unwrap_or_default();
    println!("{keys:>9} {what}: {each} ns a decision{bytes}");
}

fn demand((sender, recipient): Parties<'_>, now: tokio::time::Instant) -> Demand<'_> {
    Demand { sender, recipient, caller: 1, urgency: 3, now, patience: Patience::default() }
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
const SENDER: &str = "106540352242922";
