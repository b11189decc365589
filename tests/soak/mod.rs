//! The soak: two minutes of callers with bad manners on every listener, and patient callers beside
//! them.

mod manners;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::authority::{Authority, client_config};
use crate::support::client::{Client, get, post};
use crate::support::keyside::{Keyside, Setup, free_port};
use crate::support::upstream::{After, Upstream, answer, json};
use crate::support::webhook::{EVENT, HOOK, VERIFY_TOKEN, genuine};
use crate::support::{APP_SECRET, MESSAGES, eventually, shown};
use manners::{Door, MANNERS, Manner, Place, pause};

/// A memory cgroup of 128 MiB, on a machine with cgroups. The kernel kills a larger program.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let path_of = |line: &str| {
            line.rsplit(':')
                .next()
                .map(|path| path.trim_start_matches('/').to_owned())
        };
        let v1 = own.lines().find(|line| line.contains(":memory:"));
        let (parent, limit) = match v1 {
            Some(line) => (
                PathBuf::from("/sys/fs/cgroup/memory").join(path_of(line)?),
                "memory.limit_in_bytes",
            ),
            None => (
                PathBuf::from("/sys/fs/cgroup").join(path_of(own.lines().next()?)?),
                "memory.max",
            ),
        };
        let group = Self(parent.join(format!("keyside-soak-{}", std::process::id())));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join(limit), (128 << 20).to_string()).ok()?;
        Some(group)
    }

    /// A program that enters the group and becomes the program named by its arguments.
    fn wrapper(&self) -> String {
        format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The bound on the memory of the sidecar.
enum Bound {
    /// A cgroup: what is resident counts.
    Resident(Cgroup),
    /// `ulimit -v`, on a machine without cgroups: every mapping counts, and an allocation past the
    /// bound fails.
    Mapped,
}

impl Bound {
    fn new() -> Self {
        Cgroup::new().map_or(Self::Mapped, Self::Resident)
    }

    /// A program for setting the bound, in front of the program in the arguments.
    fn wrapper(&self) -> String {
        match self {
            Self::Resident(cgroup) => cgroup.wrapper(),
            Self::Mapped => format!("ulimit -v {MAX_MAPPED_KIB} && exec \"$@\""),
        }
    }
}

/// The address space of a sidecar: 128 MiB of memory, the program itself, and the stacks and arenas
/// of its threads, which are mapped and hardly used.
const MAX_MAPPED_KIB: u64 = 2 << 20;

/// The state of all callers with bad manners.
#[derive(Default)]
struct Crowd {
    is_calling: AtomicBool,
    is_over: AtomicBool,
}

impl Crowd {
    /// Calls in one manner until the crowd is over, on several connections at a time, and pauses
    /// while the crowd does not call.
    fn call(&self, door: &Door, manner: Manner) {
        // The processor is for the sidecar, the patient caller and the upstream.
        let give_way = || rustix::process::setpriority_process(None, 19).unwrap();
        give_way();
        while !self.is_over.load(Ordering::Relaxed) {
            if !self.is_calling.load(Ordering::Relaxed) {
                pause(50);
                continue;
            }
            thread::scope(|scope| {
                for _ in 0..door.callers {
                    scope.spawn(|| {
                        give_way();
                        if let Ok(mut line) = door.place.call() {
                            manner(door, &mut *line);
                        }
                    });
                }
            });
            pause(400);
        }
    }

    /// Lets the crowd begin or stop, and waits until it has.
    fn set_calling(&self, is_calling: bool) {
        self.is_calling.store(is_calling, Ordering::Relaxed);
        thread::sleep(if is_calling { BEGIN } else { END });
    }
}

/// Time for the crowd to begin.
const BEGIN: Duration = Duration::from_millis(500);
/// Time for the crowd to end its calls: the slowest wait 2 s for an answer, and its bytes are taken
/// for 2 s more.
const END: Duration = Duration::from_secs(5);

/// The times of a patient caller.
#[derive(Default)]
struct Times {
    /// The times of sends through the sidecar.
    sends: Vec<Duration>,
    /// The times of the same requests straight to a server of the test's own: the wait for the
    /// machine alone.
    machine: Vec<Duration>,
}

impl Times {
    fn extend(&mut self, other: Self) {
        self.sends.extend(other.sends);
        self.machine.extend(other.machine);
    }
}

/// Sends patiently, on one connection and on new ones, and asks every listener. Returns the times
/// of the sends on the one connection, and of requests to the application, which have the machine
/// alone to wait for. Every answer must be 200.
fn be_patient(keyside: &Keyside, doors: &[Door], application: &Upstream, time: Duration) -> Times {
    let patience = Duration::from_secs(20);
    let mut client = keyside.connect().patience(patience);
    let straight = ([127, 0, 0, 1], application.port()).into();
    let mut straight = Client::connect(straight).unwrap().patience(patience);
    let (began, mut times, mut number) = (Instant::now(), Times::default(), 0);
    let ask = |client: &mut Client, times: &mut Vec<Duration>| {
        let sent = Instant::now();
        let answer = client.ask(&post(MESSAGES, "{}")).expect("an answer");
        times.push(sent.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    while began.elapsed() < time {
        ask(&mut client, &mut times.sends);
        ask(&mut straight, &mut times.machine);
        number += 1;
        if number % 3 == 0 {
            let door = &doors[number / 3 % doors.len()];
            let mut client = door.place.client().unwrap().patience(patience);
            let answer = client.ask(&door.short).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        pause(10);
    }
    times
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 99 / 100]
}

/// The resident memory of the sidecar, in bytes.
fn resident(keyside: &Keyside) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", keyside.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<u64>().unwrap() * 1024
}

fn slow_parties() -> (Upstream, Upstream) {
    let image = vec![b'x'; 256 * 1024];
    let upstream = Upstream::scripted(move |request, wire| {
        if request.target().contains("attachments") {
            wire.write(&answer("200 OK", &[("Content-Type", "image/png")], &image));
        } else {
            if request.header("x-slow").is_some() {
                pause(100);
            }
            wire.write(&json("{}"));
        }
        After::Keep
    });
    let application = Upstream::plain(|request, wire| {
        if request.body.len() > EVENT.len() {
            pause(100);
        }
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    (upstream, application)
}

/// The addresses that a soak adds to those of every test.
struct Further {
    metrics: u16,
    tls: u16,
    authority: Authority,
}

impl Further {
    fn new() -> Self {
        Self {
            metrics: free_port(),
            tls: free_port(),
            authority: Authority::new(),
        }
    }

    /// A sidecar with a listener of every kind: TCP, Unix sockets and TLS for applications, events,
    /// operators, watchers.
    fn setup(&self, upstream: &Upstream, application: &Upstream) -> Setup {
        let (certificate, key) = self.authority.server_pem();
        let text = CONFIG
            .replace("@METRICS@", &self.metrics.to_string())
            .replace("@TLS@", &self.tls.to_string())
            .replace("@HOOK@", HOOK)
            .replace("@APPLICATION@", &application.url());
        Setup::new(upstream)
            .file("app_secret", APP_SECRET)
            .file("verify_token", VERIFY_TOKEN)
            .file("alias.pem", certificate)
            .file("alias.key", key)
            .config(&text)
    }

    fn doors(&self, keyside: &Keyside) -> Vec<Door> {
        let slow = format!(
            "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let door = |place, short, long, crowd, callers| Door {
            place,
            short,
            long,
            crowd,
            callers,
        };
        let message = || post(MESSAGES, "{}");
        let media = || get("/whatsapp_business/attachments/?mid=1");
        let event = |text: &str| genuine(text.as_bytes());
        let socket = |name: &str| Place::Unix(keyside.dir().join(name));
        let tls = Place::Tls(
            ([127, 0, 0, 1], self.tls).into(),
            client_config(&[&self.authority.pem()], None),
        );
        let outbound = Place::Tcp(keyside.outbound());
        let metrics = Place::Tcp(([127, 0, 0, 1], self.metrics).into());
        vec![
            door(outbound.clone(), message(), slow.clone().into(), 1200, 4),
            door(outbound, message(), media(), 1200, 2),
            door(socket("send.sock"), message(), slow.clone().into(), 1200, 2),
            door(tls, message(), slow.into(), 1200, 2),
            door(
                Place::Tcp(keyside.inbound()),
                event(EVENT),
                event(&format!("{EVENT} ")),
                700,
                3,
            ),
            door(
                Place::Tcp(keyside.admin()),
                get("/livez"),
                get("/readyz"),
                200,
                1,
            ),
            door(socket("admin.sock"), get("/livez"), get("/status"), 200, 1),
            door(metrics, get("/livez"), get("/metrics"), 100, 1),
        ]
    }
}

const CONFIG: &str = r#"
[outbound]
listen = ["127.0.0.1:@PORT@", "unix:@DIR@/send.sock"]
[outbound.tls]
listen = ["127.0.0.1:@TLS@"]
cert = "@DIR@/alias.pem"
key = "@DIR@/alias.key"
[inbound]
listen = ["127.0.0.1:@INBOUND@"]
[admin]
listen = ["127.0.0.1:@ADMIN@", "unix:@DIR@/admin.sock"]
[metrics]
listen = ["127.0.0.1:@METRICS@"]
[reload]
watch = "off"
[log]
level = "info"
[provider.test]
extends = "meta"
upstream = "@UPSTREAM@"
media_upstream = "@MEDIA@"
ca = "@DIR@/ca.pem"
[credential.acme]
provider = "test"
check = "off"
hold = "off"
token = "file:@DIR@/token"
app_secret = "file:@DIR@/app_secret"
verify_token = "file:@DIR@/verify_token"
[[route]]
credential = "acme"
limits = { per_sender = "100000/s", per_recipient = { rate = "100000/s" } }
[[webhook]]
path = "@HOOK@"
credential = "acme"
forward = "@APPLICATION@/events"
"#;

#[test]
#[ignore = "takes two minutes: tests/run servers"]
fn patient_callers_notice_nothing_of_callers_with_bad_manners() {
    let seconds = std::env::var("KEYSIDE_SOAK_SECONDS").ok();
    let seconds = seconds.map_or(120, |seconds| seconds.parse().expect("a number of seconds"));
    let (upstream, application) = slow_parties();
    let bound = Bound::new();
    let further = Further::new();
    let keyside = further
        .setup(&upstream, &application)
        .under(&["/bin/sh", "-c", &bound.wrapper(), "sh"])
        .start();
    let crowd = Crowd::default();
    let doors = further.doors(&keyside);
    let (mut alone, mut beside, mut sizes) = (Times::default(), Times::default(), Vec::new());
    let be_patient = |seconds: Duration| be_patient(&keyside, &doors, &application, seconds);
    thread::scope(|scope| {
        for door in &doors {
            for manner in MANNERS {
                let crowd = &crowd;
                scope.spawn(move || crowd.call(door, manner));
            }
        }
        let over = OverWhenDropped(&crowd);
        // In turns, so that whatever else the machine does falls on both.
        for _ in 0..ROUNDS {
            crowd.set_calling(false);
            alone.extend(be_patient(Duration::from_secs(seconds) / ROUNDS / 4));
            crowd.set_calling(true);
            beside.extend(be_patient(Duration::from_secs(seconds) / ROUNDS * 3 / 4));
            sizes.push(resident(&keyside));
        }
        drop(over);
    });
    let (early, late) = (sizes[0], sizes[sizes.len() - 1]);
    let machine = p99(beside.machine);
    let straight = p99(alone.machine);
    let (alone, beside) = (p99(alone.sends), p99(beside.sends));
    eprintln!(
        "p99 alone {alone:?}, beside {beside:?}; straight to a server alone {straight:?}, beside {machine:?}; resident {sizes:?} bytes; \
         in a cgroup: {}",
        matches!(bound, Bound::Resident(_))
    );
    // A send has two hops, of which each waits for the machine as a request without the sidecar
    // does.
    let own = beside.saturating_sub(machine * HOPS);
    assert!(
        own <= alone * 3,
        "p99 alone {alone:?}, beside {beside:?}, of the machine {machine:?}"
    );
    assert!(late < 96 << 20, "{late} bytes are resident");
    assert!(late < early + (8 << 20), "memory grows: {early} to {late}");
    for (listener, rest) in [
        ("outbound", 0.0),
        ("inbound", 0.0),
        ("admin", 1.0),
        ("metrics", 0.0),
    ] {
        let label = format!("listener=\"{listener}\"");
        let open = || keyside.metric("keyside_connections", &[&label]);
        let ended = eventually(Duration::from_secs(5), || open() <= rest);
        assert!(ended, "{} connections of {listener} are open", open());
    }
    let refused = keyside.metric("keyside_connections_refused_total", &[]);
    assert_eq!(refused, 0.0);
    drop(keyside);
    drop(bound);
}

#[test]
#[ignore = "takes half a minute: tests/run servers"]
fn more_callers_than_places_leave_a_bounded_sidecar_to_others() {
    for bound in [Bound::new(), Bound::Mapped] {
        let (upstream, application) = slow_parties();
        let further = Further::new();
        let keyside = further
            .setup(&upstream, &application)
            .under(&["/bin/sh", "-c", &bound.wrapper(), "sh"])
            .start();
        be_crowded(&keyside, &further.doors(&keyside));
        let after = resident(&keyside);
        assert!(
            after < (96 << 20) + ROOM_OF_TLS,
            "{after} bytes are resident after the crowds"
        );
    }
}

/// Opens more connections at each listener than it has places, each with half of a head, for some
/// seconds. A patient caller is served all the same, and the sidecar stays within its bounds.
fn be_crowded(keyside: &Keyside, doors: &[Door]) {
    for door in doors {
        let mut open: Vec<_> = (0..door.crowd)
            .filter_map(|_| {
                let mut stream = door.place.call().ok()?;
                stream.write_all(b"GET /x HTTP/1.1\r\nHo").ok()?;
                Some(stream)
            })
            .collect();
        assert!(open.len() > door.crowd / 2, "{} connections", open.len());
        // A head may take a second.
        pause(1200);
        // The machine may be slow to accept the crowd, so that some heads are young: a second try
        // is fine then.
        let is_served = || {
            let mut patient = door.place.client().unwrap();
            patient
                .ask(&door.short)
                .is_ok_and(|answer| answer.status < 500)
        };
        for _ in 0..20 {
            let in_time = Duration::from_secs(5);
            assert!(eventually(in_time, is_served), "{:?}", shown(&door.short));
        }
        open.clear();
    }
    for listener in ["outbound", "inbound", "metrics"] {
        let label = format!("listener=\"{listener}\"");
        let open = || keyside.metric("keyside_connections", &[&label]);
        let ended = eventually(Duration::from_secs(5), || open() <= 0.0);
        assert!(ended, "{} connections of {listener} are open", open());
    }
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}

/// Ends the crowd, also when an assertion fails.
struct OverWhenDropped<'c>(&'c Crowd);

impl Drop for OverWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// The room of TLS beside the 96 MiB of all other parts: a record of 16 KiB for each of the 1,024
/// connections of the listener that speaks TLS. The sidecar has 128 MiB here.
const ROOM_OF_TLS: u64 = 1024 * 16 * 1024;
/// The number of times that the patient caller is alone, and beside the crowd.
const ROUNDS: u32 = 6;
/// The waits of a send for the machine beside those of the sidecar itself: for the sidecar and for
/// the upstream.
const HOPS: u32 = 2;
