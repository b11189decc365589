//! The aims of shared limits for thousands of sidecars, in the simulation of `benches/scale`: a
//! short form of its runs.

use std::time::Duration;

use keyside::limit::TakeScriptReply;

use crate::fleet::chance::Delay;
use crate::fleet::outcome::Outcome;
use crate::fleet::scripts::{Bucket, Shared};
use crate::fleet::world::{Failover, Scenario, run};

/// A time of the server's clock, in microseconds.
const NOON: u64 = 1_700_000_000_000_000;

/// Two thousand sidecars that share a number of 1,000 messages a second, and are asked for a tenth
/// more.
fn crowd() -> Scenario {
    Scenario {
        time: Duration::from_secs(8),
        ..Scenario::of(2000)
    }
}

fn holds(name: &str, outcome: &Outcome, commands: f64) {
    let (used, over) = (outcome.used(), outcome.over());
    assert!(used >= 0.97, "{name}: {used} of the rate is used");
    assert!(over <= 0.0, "{name}: {over} over the limit");
    let each = outcome.commands_each();
    assert!(each < commands, "{name}: {each} commands for each message");
}

#[test]
fn two_thousand_sidecars_use_the_rate_and_ask_about_once_for_each_message() {
    holds("even", &run(&crowd()), 1.2);
}

#[test]
fn an_uneven_load_and_slow_or_lost_replies_cost_no_rate() {
    let uneven = Scenario {
        is_uneven: true,
        ..crowd()
    };
    holds("uneven", &run(&uneven), 1.2);
    let slow = Scenario {
        round_trip: Delay::FAR,
        ..crowd()
    };
    holds("slow", &run(&slow), 1.2);
    let lost = Scenario {
        lost: 0.001,
        ..crowd()
    };
    holds("lost replies", &run(&lost), 1.2);
}

#[test]
fn a_fleet_that_loses_its_server_stays_within_the_limit() {
    for (sidecars, is_uneven) in [(8, false), (64, true), (2000, false), (2000, true)] {
        for forgets in [false, true] {
            let failover = Failover {
                at: Duration::from_secs(12),
                lasts: Duration::from_secs(2),
                forgets,
            };
            let over = run(&Scenario {
                failover: Some(failover),
                sidecars,
                is_uneven,
                ..crowd()
            })
            .over();
            let name = format!("{sidecars} sidecars, {is_uneven}, {forgets}");
            assert!(over <= 0.0, "{name}: {over} over");
        }
    }
}

#[test]
fn one_sidecar_and_eight_do_as_well_as_thousands() {
    for sidecars in [1, 8, 64] {
        holds(
            "few",
            &run(&Scenario {
                sidecars,
                ..crowd()
            }),
            1.2,
        );
    }
}

#[test]
fn a_run_is_the_same_whenever_it_is_repeated() {
    let scenario = Scenario {
        sidecars: 50,
        is_uneven: true,
        lost: 0.001,
        ..crowd()
    };
    let runs = [(); 2].map(|()| format!("{:?}", run(&scenario)));
    assert_eq!(runs[0], runs[1]);
}

/// A take of `wanted` tokens of a bucket of ten a second, with what a sidecar knows of the bucket.
fn take(
    (bucket, shared): &mut (Bucket, Shared),
    wanted: u64,
    full_in: i64,
    epoch: u64,
    given_back: u64,
) -> TakeScriptReply {
    let full_in = u64::try_from(full_in).unwrap();
    let arguments = [100_000, 10, wanted, 0, full_in, full_in, epoch, given_back];
    bucket.take(shared, NOON, arguments)
}

#[test]
fn tokens_that_one_sidecar_gives_back_are_there_for_a_sidecar_that_knew_them_as_taken() {
    let mut server = (Bucket::default(), Shared::default());
    let known = take(&mut server, 10, 0, 0, 0);
    assert_eq!(known.taken, 10, "the whole burst");
    server.0.give_back(NOON, [100_000, 4]);
    let after = take(
        &mut server,
        10,
        known.full_in,
        known.epoch,
        known.given_back,
    );
    assert_eq!(after.taken, 4, "what was given back");
    // A server that has lost the bucket learns all taken tokens, and no returned tokens.
    server.0 = Bucket::default();
    let lost = take(
        &mut server,
        10,
        after.full_in,
        known.epoch,
        after.given_back,
    );
    assert_eq!(lost.taken, 0);
}
