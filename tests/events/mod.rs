//! Events on disk: answered once stored, and delivered from the disk to every destination.

mod delivery;
mod destinations;
mod failures;
mod kills;
mod lateness;
mod order;
mod power_cut;
mod soak;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::get;
use crate::support::eventually;
use crate::support::upstream::{After, Upstream, Wire};
use crate::support::webhook::delivered;

/// The time for an event from the disk to a willing application.
const SOON: Duration = Duration::from_secs(5);

/// Waits until an application has got these messages, in any order.
#[track_caller]
fn must_get(application: &Upstream, ids: &[&str]) {
    let mut got = Vec::new();
    let all = eventually(SOON, || {
        got = delivered(application);
        ids.iter().all(|id| got.iter().any(|one| one == id))
    });
    assert!(all, "{ids:?} of {got:?}");
}

/// Waits until as many whole requests have arrived.
#[track_caller]
fn must_arrive(application: &Upstream, requests: usize) {
    let all = eventually(SOON, || application.arrivals() >= requests);
    assert!(all, "{} of {requests} arrived", application.arrivals());
}

fn answer(wire: &mut Wire, status: u16, headers: &str) {
    wire.write(format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes());
}
