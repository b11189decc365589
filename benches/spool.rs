//! `cargo bench --bench spool [-- PART...]`: what events that wait on disk cost, on the disk of
//! `KEYSIDE_BENCH_DIR` (default: the folder for temporary files). Parts: `speed`, `ack`, `disk`,
//! `million`, `replay`; `KEYSIDE_BENCH_EVENTS` changes the number of events of the last two.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a measurement of real time, which prints its result"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use keyside::config::SpoolConfig;
use keyside::spool::{
    AttemptOutcome, Destination, EventContents, NewEvent, Request, Sealing, Spool, SpoolClock,
    SpoolDestination,
};
use tokio::task::JoinSet;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let chosen: Vec<_> = std::env::args()
        .skip(1)
        .filter(|part| !part.starts_with('-'))
        .collect();
    let is_chosen = |part: &str| chosen.is_empty() || chosen.iter().any(|one| one == part);
    println!("load of the machine: {}", load());
    runtime.block_on(async {
        if is_chosen("speed") {
            for at_once in [1, 64, 512] {
                speed(at_once).await;
            }
        }
        if is_chosen("ack") {
            for application in [Application::Quick, Application::Hanging] {
                ack(3_300, Duration::from_secs(10), application).await;
            }
        }
        if is_chosen("disk") {
            disk().await;
        }
        if is_chosen("million") {
            million().await;
        }
        if is_chosen("replay") {
            replay().await;
        }
    });
    println!("load of the machine: {}", load());
}

/// Events accepted in a second, so many at a time, first without deliveries, then with a
/// destination that takes each event.
async fn speed(at_once: usize) {
    for drains in [false, true] {
        let stand = Stand::open("speed").await;
        let taker =
            drains.then(|| tokio::spawn(take_all(Arc::clone(&stand.spool), Arc::clone(&stand.to))));
        let (began, mut next, mut under_way) = (Instant::now(), 0_u64, JoinSet::new());
        let mut waits = Vec::new();
        while began.elapsed() < ROUND || !under_way.is_empty() {
            while under_way.len() < at_once && began.elapsed() < ROUND {
                under_way.spawn(accept(Arc::clone(&stand.spool), next));
                next += 1;
            }
            waits.extend(
                under_way
                    .join_next()
                    .await
                    .map(|wait| wait.expect("accepted")),
            );
        }
        let rate =
            f64::from(u32::try_from(next).unwrap_or(u32::MAX)) / began.elapsed().as_secs_f64();
        let what = if drains {
            "while all are delivered"
        } else {
            "while all wait"
        };
        println!(
            "{at_once:4} at once, {what}: {rate:.0} events/s, {}",
            percentiles(&mut waits)
        );
        if let Some(taker) = taker {
            taker.abort();
        }
        stand.close();
    }
}

/// An application behind the spool.
#[derive(Clone, Copy, Debug)]
enum Application {
    /// Answers at once.
    Quick,
    /// Never answers: events wait.
    Hanging,
}

/// The time until an event is on disk, at a steady rate, while an application takes each event or
/// hangs.
async fn ack(rate: u32, time: Duration, application: Application) {
    let stand = Stand::open("ack").await;
    let (spool, to) = (Arc::clone(&stand.spool), Arc::clone(&stand.to));
    let taker = tokio::spawn(async move {
        match application {
            Application::Quick => take_all(spool, to).await,
            Application::Hanging => {
                // The application holds 32 events, the most that may be under way, and settles
                // none.
                let _held = spool.next(&to, 32).await.expect("the spool is open");
                std::future::pending::<()>().await;
            }
        }
    });
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let (began, mut next, mut under_way) = (Instant::now(), 0_u64, JoinSet::new());
    while began.elapsed() < time {
        ticks.tick().await;
        let due = began.elapsed().as_secs_f64() * f64::from(rate);
        while f64::from(u32::try_from(next).unwrap_or(u32::MAX)) < due {
            under_way.spawn(accept(Arc::clone(&stand.spool), next));
            next += 1;
        }
    }
    let mut waits = under_way.join_all().await;
    println!(
        "{rate}/s of 1 KiB, application {application:?}, synced: {}",
        percentiles(&mut waits)
    );
    taker.abort();
    stand.close();
}

/// The size of the file next to the size of the events: while they come, and while as many come as
/// go.
async fn disk() {
    let stand = Stand::open("disk").await;
    fill(&stand.spool, 0..200_000).await;
    let payload = |count: u64| count * u64::try_from(BODY).unwrap_or(0);
    let grown = stand.spool.numbers();
    println!("200,000 waiting: {}", ratio(grown.file, payload(200_000)));
    let mut next = 200_000;
    while next < 400_000 {
        fill(&stand.spool, next..next + 20_000).await;
        next += 20_000;
        take(&stand.spool, &stand.to, 20_000).await;
    }
    let drained = stand.spool.numbers();
    println!(
        "200,000 waiting after as many more came and went: {}",
        ratio(drained.file, payload(200_000))
    );
    stand.close();
}

/// A million waiting events: memory, and the time of a start after a stop and after a kill.
async fn million() {
    let stand = Stand::open("million").await;
    let before = resident();
    let began = Instant::now();
    let events = events();
    fill(&stand.spool, 0..events).await;
    println!(
        "{events} waiting, filled in {:.0} s: {} MiB resident, {} MiB before",
        began.elapsed().as_secs_f64(),
        resident() >> 20,
        before >> 20
    );
    let numbers = stand.spool.numbers();
    println!(
        "{events} waiting: {}",
        ratio(numbers.file, events * u64::try_from(BODY).unwrap_or(0))
    );
    let began = Instant::now();
    stand.spool.close();
    println!("close: {} ms", began.elapsed().as_millis());
    let Stand { spool, to, dir } = stand;
    drop((spool, to));
    let began = Instant::now();
    let spool = open(&dir);
    println!("open after a stop: {} ms", began.elapsed().as_millis());
    let began = Instant::now();
    let to = destination(&spool).await;
    let first = spool.next(&to, 32).await.expect("events wait").len();
    println!(
        "first {first} events to deliver: {} ms",
        began.elapsed().as_millis()
    );
    fill(&spool, events..events + 1_000).await;
    let began = Instant::now();
    spool
        .list(&keyside::spool::Filter::default(), 0, 100)
        .expect("a page");
    println!(
        "page of a list: {} ms; {} MiB resident",
        began.elapsed().as_millis(),
        resident() >> 20
    );
    // A copy of the file of a running spool is what a kill leaves behind.
    let killed = dir.join("killed");
    std::fs::create_dir_all(&killed).expect("a folder");
    std::fs::copy(dir.join("spool.redb"), killed.join("spool.redb")).expect("a copy");
    drop((spool, to));
    let began = Instant::now();
    drop(open(&killed));
    println!("open after a kill: {} ms", began.elapsed().as_millis());
    std::fs::remove_dir_all(dir).ok();
}

/// The replay of many delivered events, page by page as the admin listener does it: time, memory,
/// and the size of the file.
async fn replay() {
    let stand = Stand::open_to_keep("replay").await;
    let events = events();
    let mut next = 0;
    while next < events {
        let few = (events - next).min(20_000);
        fill(&stand.spool, next..next + few).await;
        take(&stand.spool, &stand.to, few).await;
        next += few;
    }
    let (before, file) = (resident(), stand.spool.numbers().file);
    let began = Instant::now();
    let (mut replayed, mut peak, mut from) = (0, before, Some(0));
    while let Some(at) = from {
        let page = stand
            .spool
            .list(&keyside::spool::Filter::default(), at, 256)
            .expect("a page");
        let wanted: Vec<_> = page
            .events
            .iter()
            .map(|event| (event.seq, stand.to.id()))
            .collect();
        replayed += stand.spool.replay_all(&wanted).await.expect("replayed");
        peak = peak.max(resident());
        from = page.next;
    }
    println!(
        "{replayed} of {events} replayed in {:.0} s: {} MiB resident at most, {} MiB before; {} MiB on disk, {} MiB before",
        began.elapsed().as_secs_f64(),
        peak >> 20,
        before >> 20,
        stand.spool.numbers().file >> 20,
        file >> 20
    );
    let began = Instant::now();
    let oldest = stand.spool.oldest(&stand.to).expect("the store is read");
    println!(
        "look for the oldest: {} ms ({oldest:?})",
        began.elapsed().as_millis()
    );
    let began = Instant::now();
    stand.spool.expire().await.expect("expired");
    println!("search for old events: {} ms", began.elapsed().as_millis());
    let began = Instant::now();
    take(&stand.spool, &stand.to, replayed).await;
    println!(
        "delivered again in {:.0} s: {} MiB resident",
        began.elapsed().as_secs_f64(),
        resident() >> 20
    );
    stand.close();
}

/// The number of events of a long part.
fn events() -> u64 {
    let count = std::env::var("KEYSIDE_BENCH_EVENTS").ok();
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000_000)
}

/// A spool with one destination, in a folder of its own.
struct Stand {
    spool: Arc<Spool>,
    to: Arc<Destination>,
    dir: PathBuf,
}

impl Stand {
    async fn open(name: &str) -> Self {
        Self::keeping(name, Duration::ZERO).await
    }

    /// A spool that keeps delivered events.
    async fn open_to_keep(name: &str) -> Self {
        Self::keeping(name, Duration::from_secs(86_400)).await
    }

    async fn keeping(name: &str, keep: Duration) -> Self {
        let above =
            std::env::var_os("KEYSIDE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = above.join(format!("keyside-bench-{name}-{}", std::process::id()));
        let spool = open_keeping(&dir, keep);
        let to = destination(&spool).await;
        Self { spool, to, dir }
    }

    fn close(self) {
        self.spool.close();
        std::fs::remove_dir_all(self.dir).ok();
    }
}

fn open(dir: &Path) -> Arc<Spool> {
    open_keeping(dir, Duration::ZERO)
}

fn open_keeping(dir: &Path, keep: Duration) -> Arc<Spool> {
    let config = SpoolConfig {
        dir: dir.to_owned(),
        max_size: 1 << 40,
        max_age: Duration::from_secs(7 * 86_400),
        keep,
    };
    let clock = SpoolClock::start(tokio::time::Instant::now(), SystemTime::now(), None);
    Arc::new(Spool::open(config, Sealing::Off, clock).expect("a spool"))
}

async fn destination(spool: &Spool) -> Arc<Destination> {
    let app = SpoolDestination {
        webhook: "bench".to_owned(),
        name: "app".to_owned(),
        fields: BTreeSet::new(),
        senders: BTreeSet::new(),
        lanes: 32,
        interval: None,
        from: Duration::ZERO,
    };
    spool
        .set_destinations(vec![app])
        .await
        .expect("a destination")
        .remove(0)
}

/// Accepts an event; returns the time until it is on disk.
async fn accept(spool: Arc<Spool>, number: u64) -> Duration {
    let event = event(number);
    let began = Instant::now();
    spool.accept(event).await.expect("the disk takes it");
    began.elapsed()
}

/// Stores events, 512 at a time.
async fn fill(spool: &Arc<Spool>, numbers: std::ops::Range<u64>) {
    let mut under_way = JoinSet::new();
    for number in numbers {
        if under_way.len() >= 512 {
            under_way.join_next().await;
        }
        under_way.spawn(accept(Arc::clone(spool), number));
    }
    under_way.join_all().await;
}

/// Takes all events that come, as an application does that answers at once.
async fn take_all(spool: Arc<Spool>, to: Arc<Destination>) {
    take(&spool, &to, u64::MAX).await;
}

async fn take(spool: &Arc<Spool>, to: &Arc<Destination>, count: u64) {
    let (mut taken, mut settling) = (0, JoinSet::new());
    while taken < count {
        for delivery in spool.next(to, 32).await.expect("the spool is open") {
            taken += 1;
            let spool = Arc::clone(spool);
            settling.spawn(async move {
                let done = AttemptOutcome::Answered {
                    status: 200,
                    retry_after: None,
                };
                spool.settle(delivery, done).await.expect("settled");
            });
        }
        while settling.try_join_next().is_some() {}
    }
    settling.join_all().await;
}

/// An event of Meta's form with a body of 1 KiB, of one of 10,000 conversations.
fn event(number: u64) -> NewEvent {
    let user = 4_915_100_000_000 + number % 10_000;
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550001234","phone_number_id":"106540352242922"}},"messages":[{{"from":"{user}","id":"wamid.{number:032}","timestamp":"1749416383","type":"text","text":{{"body":""#
    );
    let tail = r#""}}]}}]}]}"#;
    let filling = "x".repeat(BODY.saturating_sub(body.len() + tail.len()));
    let body = Bytes::from(format!("{body}{filling}{tail}"));
    NewEvent {
        webhook: "bench".to_owned(),
        id: format!("{number:032x}"),
        contents: EventContents::read(&body),
        request: Request {
            method: "POST".to_owned(),
            query: None,
            headers: vec![
                ("content-type".to_owned(), b"application/json".to_vec()),
                ("x-hub-signature-256".to_owned(), vec![b'a'; 71]),
            ],
            body,
        },
    }
}

fn percentiles(waits: &mut [Duration]) -> String {
    waits.sort_unstable();
    let at = |thousandth: usize| {
        let index = waits.len().saturating_sub(1) * thousandth / 1000;
        waits.get(index).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        at(500),
        at(990),
        at(999)
    )
}

fn ratio(file: u64, payload: u64) -> String {
    format!(
        "{} MiB on disk for {} MiB of bodies ({:.2})",
        file >> 20,
        payload >> 20,
        mib(file) / mib(payload)
    )
}

fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0
}

/// The resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() << 10
}

/// The load of the machine: figures of a busy one are worth less.
fn load() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The length of a body.
const BODY: usize = 1024;
/// The time of a round.
const ROUND: Duration = Duration::from_secs(5);
