//! `cargo bench --bench scale [-- SECONDS]`: fleets of 1 to 2,000 sidecars that share numbers, in
//! virtual time, for so many seconds each (60). Prints the tables of `docs/scale.md`, and draws its
//! plots into `docs/scale/`.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a measurement, which prints its result"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use fleet::chance::Delay;
use fleet::outcome::Outcome;
use fleet::world::{Failover, Scenario, WARM_UP, run};
use plot::Plot;

#[expect(dead_code, reason = "the tests ask the scripts for pauses as well")]
mod fleet;
mod plot;

fn main() {
    let began = Instant::now();
    let seconds = std::env::args().find_map(|argument| argument.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(60));
    let sweep = |name: &'static str, change: fn(Scenario) -> Scenario| {
        let runs = FLEETS.map(|sidecars| {
            run(&change(Scenario {
                time,
                ..Scenario::of(sidecars)
            }))
        });
        table(name, &runs);
        (name, runs)
    };
    let drawn = [
        sweep("even load", |base| base),
        sweep("uneven load", |base| Scenario {
            is_uneven: true,
            ..base
        }),
        sweep("10 ms away", |base| Scenario {
            round_trip: Delay::FAR,
            ..base
        }),
        sweep("lost replies", |base| Scenario {
            lost: 0.001,
            ..base
        }),
        sweep("failover", |base| with_failover(base, false)),
    ];
    draw(&drawn);
    sweep("a failover that forgets", |base| with_failover(base, true));
    sweep("twice the rate is offered", |base| Scenario {
        offered: 2.0,
        ..base
    });
    sweep("nine tenths of the rate are offered", |base| Scenario {
        offered: 0.9,
        ..base
    });
    sweep("100 numbers of 80 a second", |base| Scenario {
        numbers: 100,
        rate: 80,
        time: base.time / 10,
        ..base
    });
    println!("\nin {:.0?}", began.elapsed());
}

/// A failover of two seconds in the middle of the counted time.
fn with_failover(base: Scenario, forgets: bool) -> Scenario {
    let failover = Failover {
        at: WARM_UP + base.time / 2,
        lasts: Duration::from_secs(2),
        forgets,
    };
    Scenario {
        failover: Some(failover),
        ..base
    }
}

type Sweep = (&'static str, [Outcome; FLEETS.len()]);

fn table(name: &str, outcomes: &[Outcome]) {
    println!("\n### {name}\n");
    println!(
        "| sidecars | used | most over | commands for a message | for one offered | commands/s | wait p50, p99: u=0 | u=3 | u=7 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (sidecars, outcome) in FLEETS.iter().zip(outcomes) {
        let wait = |urgency| {
            let [half, most] =
                [50, 99].map(|percent| outcome.wait(urgency, percent).as_secs_f64() * 1e3);
            format!("{half:.1}, {most:.0} ms")
        };
        println!(
            "| {sidecars} | {:.1} % | {:.0} | {:.2} | {:.2} | {:.0} | {} | {} | {} |",
            outcome.used() * 100.0,
            outcome.over().max(0.0),
            outcome.commands_each(),
            outcome.commands_each_offered(),
            outcome.commands_a_second(),
            wait(0),
            wait(3),
            wait(7),
        );
    }
}

fn draw(sweeps: &[Sweep]) {
    let lines = |value: fn(&Outcome) -> f64| {
        let line = |(name, outcomes): &Sweep| (*name, outcomes.iter().map(value).collect());
        sweeps.iter().map(line).collect::<Vec<_>>()
    };
    let (_, even) = &sweeps[0];
    let waits = [(0, "urgent (u=0)"), (3, "usual (u=3)"), (7, "last (u=7)")];
    let waits = waits.map(|(urgency, name)| {
        let wait = |outcome: &Outcome| outcome.wait(urgency, 50).as_secs_f64();
        (name, even.iter().map(wait).collect())
    });
    let used = lines(|outcome| outcome.used() * 100.0);
    let over = lines(|outcome| outcome.over().max(0.0));
    let commands = lines(Outcome::commands_each);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scale");
    std::fs::create_dir_all(&folder).expect("docs can be written");
    for (file, title, range, goal, lines) in [
        (
            "used",
            "Part of the rate used, in %",
            (90.0, 102.0),
            Some(97.0),
            used,
        ),
        (
            "over",
            "Most messages over a limit of 1,000 a second",
            (0.0, 100.0),
            None,
            over,
        ),
        (
            "commands",
            "Commands of the shared server for a message",
            (0.0, 2.0),
            Some(1.2),
            commands,
        ),
        (
            "wait",
            "Median wait by priority, in seconds",
            (0.0, 2.0),
            None,
            waits.to_vec(),
        ),
    ] {
        let plot = Plot {
            title,
            sidecars: &FLEETS,
            range,
            goal,
            lines,
        };
        std::fs::write(folder.join(format!("{file}.svg")), plot.svg())
            .expect("docs/scale is there");
    }
}

/// Numbers of sidecars.
const FLEETS: [usize; 11] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
