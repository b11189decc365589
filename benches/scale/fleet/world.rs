//! The events of a fleet, one after the other: messages come, sidecars ask the server, messages go.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Duration;

use keyside::config::OnFailure;
use keyside::limit::{
    Demand, Next, Patience, Place, Sharing, TakeReply, TakeRequest, TakeScriptReply, Turnstile,
};
use keyside::provider::Metering;
use keyside::shared::DECISION_TIMEOUT;
use keyside::units::{Quota, Rate};
use tokio::time::Instant;

use super::chance::{Chance, Delay};
use super::outcome::Outcome;
use super::scripts::{Bucket, Shared};

/// The facts of a run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Number of sidecars.
    pub sidecars: usize,
    /// Numbers that every sidecar sends from.
    pub numbers: usize,
    /// Messages that a number may send in a second.
    pub rate: u32,
    /// Messages that come, as a multiple of the rate.
    pub offered: f64,
    /// True if a fifth of the sidecars has four fifths of the load.
    pub is_uneven: bool,
    /// Way to the server and back.
    pub round_trip: Delay,
    /// Part of the replies that never come.
    pub lost: f64,
    /// Failover of the server, if any.
    pub failover: Option<Failover>,
    /// Longest wait of a message.
    pub max_wait: Duration,
    /// Length of the run.
    pub time: Duration,
    /// Seed of chance.
    pub seed: u64,
}

impl Scenario {
    /// Sidecars that share a number of 1,000 messages a second, asked for a tenth more, beside the
    /// server.
    pub fn of(sidecars: usize) -> Self {
        Self {
            sidecars,
            numbers: 1,
            rate: 1000,
            offered: 1.1,
            is_uneven: false,
            round_trip: Delay::NEAR,
            lost: 0.0,
            failover: None,
            max_wait: Duration::from_secs(2),
            time: Duration::from_secs(60),
            seed: 1,
        }
    }
}

/// A time in which the server does not answer.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// Beginning.
    pub at: Duration,
    /// Length.
    pub lasts: Duration,
    /// True if the new server knows nothing.
    pub forgets: bool,
}

/// Runs a scenario.
pub fn run(scenario: &Scenario) -> Outcome {
    let mut world = World::new(*scenario);
    while let Some(Reverse(next)) = world.events.pop() {
        if next.at >= world.outcome.until {
            break;
        }
        world.now = next.at;
        world.happen(next.event);
    }
    world.outcome
}

struct World {
    scenario: Scenario,
    base: Instant,
    /// Microseconds since `base`.
    now: u64,
    chance: Chance,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    sidecars: Vec<Sidecar>,
    /// The limits of the first sidecar, of the second, and so on; made when used.
    lines: Vec<Option<Box<Line>>>,
    server: Server,
    outcome: Outcome,
}

struct Sidecar {
    /// Messages that come in a second.
    per_second: f64,
    is_connected: bool,
}

/// A limit in a sidecar, with the task that serves it.
struct Line {
    turnstile: Turnstile<Message>,
    task: Task,
    /// Number of the wake-up that the task waits for.
    wake: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    Rests,
    Sleeps,
    /// Waits for the server.
    Talks,
}

#[derive(Clone, Copy)]
struct Message {
    urgency: u8,
    arrived: u64,
}

struct Server {
    buckets: Vec<Bucket>,
    shared: Shared,
    busy_until: u64,
    is_up: bool,
}

#[derive(Clone, Copy)]
enum Event {
    Comes {
        sidecar: usize,
    },
    Asks {
        line: usize,
        asked: u64,
        request: TakeRequest,
    },
    Replies {
        line: usize,
        asked: u64,
        reply: TakeScriptReply,
        wanted: u32,
    },
    GivesBack {
        line: usize,
        asked: u64,
        count: u32,
    },
    HasGivenBack {
        line: usize,
    },
    IsLost {
        line: usize,
    },
    Connects {
        sidecar: usize,
    },
    Wakes {
        line: usize,
        wake: u64,
    },
    GivesUp {
        line: usize,
        number: u64,
    },
    ServerGoes,
    ServerComes {
        forgets: bool,
    },
}

struct Scheduled {
    at: u64,
    number: u64,
    event: Event,
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut chance = Chance(scenario.seed);
        let weights: Vec<f64> = (0..scenario.sidecars)
            .map(|_| {
                if scenario.is_uneven {
                    chance.pareto()
                } else {
                    1.0
                }
            })
            .collect();
        let all = f64::from(scenario.rate) * scenario.numbers as f64 * scenario.offered;
        let each = all / weights.iter().sum::<f64>();
        let sidecar = |weight: f64| Sidecar {
            per_second: weight * each,
            is_connected: true,
        };
        let lines = scenario.sidecars * scenario.numbers;
        let mut world = Self {
            base: Instant::now(),
            now: 0,
            chance,
            events: BinaryHeap::new(),
            scheduled: 0,
            sidecars: weights.into_iter().map(sidecar).collect(),
            lines: std::iter::repeat_with(|| None).take(lines).collect(),
            server: Server {
                buckets: vec![Bucket::default(); scenario.numbers],
                shared: Shared::default(),
                busy_until: 0,
                is_up: true,
            },
            outcome: Outcome {
                counted_from: micros(WARM_UP),
                until: micros(WARM_UP + scenario.time),
                rate: scenario.rate,
                reached: vec![Vec::new(); scenario.numbers],
                ..Outcome::default()
            },
            scenario,
        };
        for sidecar in 0..world.sidecars.len() {
            world.next_message(sidecar);
        }
        if let Some(Failover { at, lasts, forgets }) = world.scenario.failover {
            world.schedule(micros(at), Event::ServerGoes);
            world.schedule(micros(at + lasts), Event::ServerComes { forgets });
        }
        world
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        let number = self.scheduled;
        self.events.push(Reverse(Scheduled { at, number, event }));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Comes { sidecar } => {
                self.next_message(sidecar);
                self.message_comes(sidecar);
            }
            Event::Asks {
                line,
                asked,
                request,
            } => self.server_takes(line, asked, request),
            Event::GivesBack { line, asked, count } => self.server_gets_back(line, asked, count),
            Event::Replies {
                line,
                asked,
                reply,
                wanted,
            } => {
                let now = self.instant(self.now);
                let reply = TakeReply::of_script(reply, self.instant(asked), now);
                self.line(line).turnstile.add(reply, wanted, now);
                self.serve(line);
            }
            Event::HasGivenBack { line } => self.serve(line),
            Event::IsLost { line } => {
                self.lose_server(line / self.scenario.numbers);
                self.serve(line);
            }
            Event::Connects { sidecar } => self.connect(sidecar),
            Event::Wakes { line, wake } => {
                let sleeper = self.line(line);
                if sleeper.task == Task::Sleeps && sleeper.wake == wake {
                    self.serve(line);
                }
            }
            Event::GivesUp { line, number } => self.line(line).turnstile.leave(number),
            Event::ServerGoes => self.server.is_up = false,
            Event::ServerComes { forgets } => {
                self.server.is_up = true;
                if forgets {
                    self.server.shared = Shared::default();
                    self.server.buckets.fill(Bucket::default());
                }
            }
        }
    }

    fn next_message(&mut self, sidecar: usize) {
        let is_rush = self.scenario.offered > 1.0 && self.now < micros(RUSH);
        let haste = if is_rush { 1.5 } else { 1.0 };
        let per_second = self.sidecars[sidecar].per_second * haste;
        let at = self.now + micros(self.chance.gap(per_second));
        self.schedule(at, Event::Comes { sidecar });
    }

    fn message_comes(&mut self, sidecar: usize) {
        if self.outcome.counts(self.now) {
            self.outcome.offered += 1;
        }
        let number = self.chance.below(self.scenario.numbers);
        let urgency = match self.chance.below(10) {
            0 => 0,
            1 | 2 => 7,
            _ => 3,
        };
        let message = Message {
            urgency,
            arrived: self.now,
        };
        let now = self.instant(self.now);
        let demand = Demand {
            sender: "",
            recipients: &[],
            metering: Metering::Common,
            messages: 1,
            application: 1,
            urgency,
            arrived: now,
            patience: Patience {
                max_wait: self.scenario.max_wait,
                max_queue: 1000,
            },
        };
        let line = sidecar * self.scenario.numbers + number;
        let turnstile = &mut self.line(line).turnstile;
        match turnstile.enter(&demand, now, || (message, ())) {
            Ok(Place::Through(_)) => {
                let runs_low = turnstile.runs_low(now);
                self.message_goes(number, message);
                if runs_low {
                    self.wake(line);
                }
            }
            Ok(Place::Waiting {
                number, deadline, ..
            }) => {
                let at = self.micros_of(deadline);
                self.schedule(at, Event::GivesUp { line, number });
                self.wake(line);
            }
            Err(_) => {}
        }
    }

    fn message_goes(&mut self, number: usize, message: Message) {
        if self.outcome.counts(self.now) {
            let wait = u32::try_from(self.now - message.arrived).unwrap_or(u32::MAX);
            self.outcome.waits.push((message.urgency, wait));
        }
        let on_the_way = TO_PROVIDER.draw(&mut self.chance);
        self.outcome.reached[number].push(self.now + micros(on_the_way));
    }

    /// The limit, after a look at whether the server is there.
    fn line(&mut self, line: usize) -> &mut Line {
        let now = self.instant(self.now);
        let scenario = &self.scenario;
        let is_connected = self.sidecars[line / scenario.numbers].is_connected;
        let line = self.lines[line].get_or_insert_with(|| {
            let rate = Rate {
                count: whole(scenario.rate),
                per: Duration::from_secs(1),
            };
            let quota: Quota = Sharing::shared_quota(rate);
            let replicas = u32::try_from(scenario.sidecars).unwrap_or(u32::MAX);
            Box::new(Line {
                turnstile: Turnstile::shared(quota, whole(replicas), now),
                task: Task::Rests,
                wake: 0,
            })
        });
        line.turnstile
            .server_is((!is_connected).then_some(OnFailure::Local), now);
        line
    }

    fn wake(&mut self, line: usize) {
        if self.line(line).task != Task::Talks {
            self.serve(line);
        }
    }

    /// The task of a limit, up to its next rest.
    fn serve(&mut self, index: usize) {
        let now = self.instant(self.now);
        let mut gone = Vec::new();
        let line = self.line(index);
        line.wake += 1;
        let wake = line.wake;
        let next = line.turnstile.let_through(now, |message, _| {
            gone.push(message);
            true
        });
        line.task = match next {
            Next::At(_) => Task::Sleeps,
            Next::Ask(_) | Next::GiveBack(_) => Task::Talks,
            Next::Rest => Task::Rests,
        };
        let request = match next {
            Next::Ask(wanted) => line.turnstile.request(wanted, now),
            _ => None,
        };
        for message in gone {
            self.message_goes(index % self.scenario.numbers, message);
        }
        let asked = self.now;
        match (next, request) {
            // Timers have whole milliseconds.
            (Next::At(at), _) => {
                let at = (self.micros_of(at) + 1).next_multiple_of(1000);
                self.schedule(at.max(self.now + 1), Event::Wakes { line: index, wake });
            }
            (Next::Ask(_), Some(request)) => {
                self.send(Event::Asks {
                    line: index,
                    asked,
                    request,
                });
            }
            (Next::GiveBack(count), _) => {
                self.send(Event::GivesBack {
                    line: index,
                    asked,
                    count,
                });
            }
            _ => {}
        }
    }

    fn send(&mut self, command: Event) {
        if self.outcome.counts(self.now) {
            self.outcome.commands += 1;
        }
        let at = self.now + self.one_way();
        self.schedule(at, command);
    }

    fn server_takes(&mut self, line: usize, asked: u64, request: TakeRequest) {
        let Some(done) = self.server_works(line, asked) else {
            return;
        };
        let bucket = &mut self.server.buckets[line % self.scenario.numbers];
        let time = EPOCH + done;
        let reply = bucket.take(&mut self.server.shared, time, request.arguments());
        let wanted = request.wanted;
        self.answer(
            line,
            (asked, done),
            Event::Replies {
                line,
                asked,
                reply,
                wanted,
            },
        );
    }

    fn server_gets_back(&mut self, line: usize, asked: u64, count: u32) {
        let Some(done) = self.server_works(line, asked) else {
            return;
        };
        let interval = 1_000_000 / u64::from(self.scenario.rate);
        let bucket = &mut self.server.buckets[line % self.scenario.numbers];
        bucket.give_back(EPOCH + done, [interval, count.into()]);
        self.answer(line, (asked, done), Event::HasGivenBack { line });
    }

    /// The time at which the server has done a command, in order; `None` for a stopped server.
    fn server_works(&mut self, line: usize, asked: u64) -> Option<u64> {
        if !self.server.is_up {
            self.schedule(asked + micros(DECISION_TIMEOUT), Event::IsLost { line });
            return None;
        }
        let done = self.server.busy_until.max(self.now) + SERVICE;
        self.server.busy_until = done;
        Some(done)
    }

    fn answer(&mut self, line: usize, (asked, done): (u64, u64), reply: Event) {
        let at = done + self.one_way();
        let late = asked + micros(DECISION_TIMEOUT);
        if at > late || (self.scenario.lost > 0.0 && self.chance.happens(self.scenario.lost)) {
            self.schedule(late.max(self.now), Event::IsLost { line });
        } else {
            self.schedule(at, reply);
        }
    }

    fn lose_server(&mut self, sidecar: usize) {
        if std::mem::replace(&mut self.sidecars[sidecar].is_connected, false) {
            let at = self.now + 6 * self.one_way();
            self.schedule(at, Event::Connects { sidecar });
        }
    }

    fn connect(&mut self, sidecar: usize) {
        if self.server.is_up {
            self.sidecars[sidecar].is_connected = true;
        } else {
            let at = self.now + micros(RECONNECT_INTERVAL) + self.one_way();
            self.schedule(at, Event::Connects { sidecar });
        }
    }

    fn one_way(&mut self) -> u64 {
        micros(self.scenario.round_trip.draw(&mut self.chance) / 2)
    }

    fn instant(&self, micros: u64) -> Instant {
        self.base + Duration::from_micros(micros)
    }

    fn micros_of(&self, instant: Instant) -> u64 {
        micros(instant.saturating_duration_since(self.base))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn whole(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// Time before the counting.
pub const WARM_UP: Duration = Duration::from_secs(10);
/// Time at the beginning in which half as many messages more come, if more come than may be sent:
/// the burst is used up soon, and messages wait.
const RUSH: Duration = Duration::from_secs(5);
/// Microseconds of the server's clock at the beginning.
const EPOCH: u64 = 1_700_000_000_000_000;
/// The microseconds of the server for a script: `benches/redis` measures the time.
const SERVICE: u64 = 30;
/// The wait of the product between two attempts to connect.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(100);
/// The way of a message to the provider. Shared limits make room for 50 ms of it: `SEND_DELAY` of
/// `Sharing`.
const TO_PROVIDER: Delay = Delay {
    least: Duration::from_millis(20),
    median: Duration::from_millis(4),
    sigma: 0.7,
};
