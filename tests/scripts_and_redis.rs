//! The scripts of shared limits and their arithmetic in the simulation of `benches/scale`: the same
//! calls give the same answers.

use std::cell::RefCell;

use keyside::limit::TakeScriptReply;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use redis::{Connection, Script};

use crate::fleet::scripts::{Bucket, Shared};
use crate::support::redis::Redis;

/// A call of a script, at a time after the last.
#[derive(Clone, Debug)]
enum Call {
    Take([u64; 6], Known),
    GiveBack([u64; 2]),
    Pause([u64; 5]),
    PauseAccount([u64; 5]),
    Forget,
}

/// The epoch that a sidecar names.
#[derive(Clone, Copy, Debug)]
enum Known {
    Nothing,
    Epoch,
    Former,
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn the_simulation_counts_as_the_scripts_do() {
    let redis = Redis::start();
    let client = redis::Client::open(redis.url()).unwrap();
    let connection = RefCell::new(client.get_connection().unwrap());
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let calls = vec((0..3_000_000_u64, call()), 1..60);
    // Each run tries equal histories, so CI fails for a change and not by chance.
    let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, chance)
        .run(&calls, |calls| {
            let mut connection = connection.borrow_mut();
            forget(&mut connection);
            is_the_same(&mut connection, &calls);
            Ok(())
        })
        .unwrap();
}

fn is_the_same(connection: &mut Connection, calls: &[(u64, Call)]) {
    let take = script(include_str!("../src/limit/remote/scripts/take.lua"));
    let give_back = script(include_str!("../src/limit/remote/scripts/give_back.lua"));
    let pause = script(include_str!("../src/limit/remote/scripts/pause.lua"));
    let (mut bucket, mut shared) = (Bucket::default(), Shared::default());
    let (mut now, mut epoch) = (1_700_000_000_000_000, 0_u64);
    for (step, (later, call)) in calls.iter().enumerate() {
        now += later;
        let at = format!("step {step} of {calls:?}");
        match call {
            Call::Take([interval, burst, wanted, ahead, full_in, given], known) => {
                let known = match known {
                    Known::Nothing => 0,
                    Known::Epoch => epoch,
                    Known::Former => epoch.saturating_sub(1_000_000),
                };
                let arguments = [
                    *interval,
                    *burst,
                    *wanted,
                    *ahead,
                    *full_in,
                    full_in * 2,
                    known,
                    *given,
                ];
                let answer: TakeScriptReply = ask(
                    connection,
                    &take,
                    &["tokens", "taught", "since", "account"],
                    now,
                    &arguments,
                );
                epoch = answer.epoch;
                assert_eq!(answer, bucket.take(&mut shared, now, arguments), "{at}");
            }
            Call::GiveBack(arguments) => {
                let () = ask(connection, &give_back, &["tokens"], now, arguments);
                bucket.give_back(now, *arguments);
            }
            Call::Pause(arguments) => {
                let answer: i64 = ask(connection, &pause, &["taught"], now, arguments);
                assert_eq!(answer, bucket.pause(now, *arguments), "{at}");
            }
            Call::PauseAccount(arguments) => {
                let answer: i64 = ask(connection, &pause, &["account"], now, arguments);
                assert_eq!(answer, shared.pause(now, *arguments), "{at}");
            }
            Call::Forget => {
                forget(connection);
                (bucket, shared) = (Bucket::default(), Shared::default());
            }
        }
    }
}

fn ask<T: redis::FromRedisValue>(
    connection: &mut Connection,
    script: &Script,
    keys: &[&str],
    now: u64,
    arguments: &[u64],
) -> T {
    let mut call = script.prepare_invoke();
    for key in keys {
        call.key(*key);
    }
    for argument in arguments {
        call.arg(*argument);
    }
    call.arg(now / 1_000_000).arg(now % 1_000_000);
    call.invoke(connection).unwrap()
}

fn forget(connection: &mut Connection) {
    redis::cmd("FLUSHALL").exec(connection).unwrap();
}

/// A script of the product that reads the clock from the last two arguments. The script's keys do
/// not expire: the clock of the test runs faster than the server's clock, and an expired key means
/// the same as a missing key.
fn script(text: &str) -> Script {
    let clock = "local server = redis
local redis = {call = function(command, key, value)
  if command == 'TIME' then return {ARGV[#ARGV - 1], ARGV[#ARGV]} end
  if command == 'SET' then return server.call('SET', key, value) end
  if command == 'PTTL' then return 1 end
  return server.call(command, key)
end}";
    Script::new(&format!("{clock}\n{text}"))
}

fn call() -> impl Strategy<Value = Call> {
    let known = prop_oneof![
        2 => Just(Known::Epoch),
        1 => Just(Known::Nothing),
        1 => Just(Known::Former),
    ];
    let interval = prop_oneof![
        Just(1000_u64),
        Just(12_500),
        Just(6_000_000),
        1..2_000_000_u64
    ];
    let ahead = prop_oneof![Just(50_000_u64), 0..30_000_000_u64];
    let take = (
        interval.clone(),
        1..1200_u64,
        0..400_u64,
        ahead,
        0..2_000_000_u64,
        prop_oneof![Just(0), 0..20_000_000_u64],
    );
    let pause = (
        1..5_000_000_u64,
        prop_oneof![Just(0), 1..9_000_000_u64],
        1..5_u64,
        0..2_u64,
    );
    let pause = pause
        .prop_map(|(first, named, growth, slows)| [first, named, growth, slows, 3_600_000_000]);
    prop_oneof![
        16 => (take, known).prop_map(|((interval, burst, wanted, ahead, full_in, given), known)| {
            Call::Take([interval, burst, wanted, ahead, full_in, given], known)
        }),
        4 => (interval, 1..100_u64).prop_map(|(interval, count)| Call::GiveBack([interval, count])),
        2 => pause.clone().prop_map(Call::Pause),
        1 => pause.prop_map(Call::PauseAccount),
        1 => Just(Call::Forget),
    ]
}
