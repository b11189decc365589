//! A sidecar under repeated kills while events come: no event with the answer 200 is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::*;
use crate::support::client::Client;
use crate::support::webhook::{genuine, ids, message, spooled};

/// The providers that send at a time.
const PROVIDERS: u32 = 8;
/// The time between two events of a provider, which makes up for a kill: together they send a
/// thousand a second.
const PACE: Duration = Duration::from_millis(8);
/// The conversations of each provider.
const USERS: u32 = 50;

/// Sends events until `stop`, each until it is answered 200, as a provider does. Returns the ids of
/// what was answered.
fn provider(number: u32, inbound: SocketAddr, stop: &AtomicBool) -> Vec<String> {
    let mut answered = Vec::new();
    let mut client = None;
    let began = Instant::now();
    for count in 0.. {
        let user = format!("{number}.{}", count % USERS);
        let id = format!("{user}.{}", count / USERS);
        let request = genuine(message(&id, &user).as_bytes());
        loop {
            if stop.load(Ordering::Relaxed) {
                return answered;
            }
            let connected = client.take().or_else(|| Client::connect(inbound).ok());
            let Some(mut connected) = connected else {
                std::thread::sleep(PACE);
                continue;
            };
            if connected
                .ask(&request)
                .is_ok_and(|answer| answer.status == 200)
            {
                client = Some(connected);
                break;
            }
        }
        answered.push(id);
        std::thread::sleep((PACE * (count + 1)).saturating_sub(began.elapsed()));
    }
    answered
}

#[test]
fn nothing_that_was_answered_200_is_lost_however_often_the_sidecar_is_killed() {
    soak(Duration::from_secs(8), Duration::from_millis(1500));
}

/// Twenty seconds and seven kills; `KEYSIDE_SOAK_SECONDS=60` makes it a minute and twenty kills.
#[test]
#[ignore = "measures for long and alone: tests/run servers"]
fn nothing_is_lost_in_a_long_run_with_many_kills() {
    let seconds = std::env::var("KEYSIDE_SOAK_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(20);
    soak(Duration::from_secs(seconds), Duration::from_millis(2900));
}

/// Sends events for a time, and kills the sidecar at intervals. Every event that was answered 200
/// must be delivered, in order, and twice under one id alone.
#[track_caller]
fn soak(time: Duration, interval: Duration) {
    let application = Upstream::plain(|_, wire| {
        answer(wire, 200, "");
        After::Keep
    });
    let forward = format!("forward = \"{}/\"", application.url());
    let mut keyside = spooled(&forward).start();
    let (inbound, stop) = (keyside.inbound(), Arc::new(AtomicBool::new(false)));
    let providers: Vec<_> = (0..PROVIDERS)
        .map(|number| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || provider(number, inbound, &stop))
        })
        .collect();
    let began = Instant::now();
    let mut kills = 0;
    while began.elapsed() < time {
        std::thread::sleep(interval);
        keyside.end(Signal::KILL);
        keyside.begin();
        kills += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let took = began.elapsed();
    let answered: BTreeSet<String> = providers
        .into_iter()
        .flat_map(|provider| provider.join().unwrap())
        .collect();
    let mut missing = Vec::new();
    let all = eventually(Duration::from_secs(20), || {
        let got: BTreeSet<_> = delivered(&application).into_iter().collect();
        missing = answered.difference(&got).cloned().collect();
        missing.is_empty()
    });
    assert!(
        all,
        "{} of {} lost: {missing:.3?}",
        missing.len(),
        answered.len()
    );
    let repeats = delivered(&application).len() - answered.len();
    eprintln!(
        "{} events answered in {:.0} s, {kills} kills: 0 lost, {repeats} repeated",
        answered.len(),
        took.as_secs_f64()
    );
    assert!(
        kills >= 3 && answered.len() > 500,
        "{kills} kills, {} events",
        answered.len()
    );
    must_be_in_order_with_one_id(&application);
}

/// Asserts an equal id for both copies of a repeated message, and the order of the first copies of
/// each user.
fn must_be_in_order_with_one_id(application: &Upstream) {
    let mut event_ids = BTreeMap::new();
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for request in application
        .requests()
        .iter()
        .filter(|request| request.complete)
    {
        let event_id = request.header("keyside-event-id").unwrap();
        for id in ids(&request.body) {
            let first = event_ids
                .entry(id.clone())
                .or_insert_with(|| event_id.clone());
            assert_eq!(*first, event_id, "{id}");
            let (user, count) = id.rsplit_once('.').unwrap();
            let next = next.entry(user.to_owned()).or_default();
            let count: usize = count.parse().unwrap();
            assert!(count <= *next, "{id} came before number {next} of its user");
            *next = (*next).max(count + 1);
        }
    }
}
