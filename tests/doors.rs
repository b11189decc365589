//! The doors: connections, their places, and their end, on every listener.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::authority::{Authority, client_config};
use crate::support::client::{Client, NoAnswer, get, post};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{After, Upstream, json};
use crate::support::webhook::{self, EVENT, beside, event, genuine, signature};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

/// The time that the upstream, the application and a reload take.
const SLOW: Duration = Duration::from_millis(400);
/// The time after which an impatient caller goes away.
const PATIENCE: Duration = Duration::from_millis(100);
/// Callers of one kind at a time.
const CALLERS: usize = 30;

/// An upstream and an application with answers after [`SLOW`], and between the two a Keyside with a
/// reload of equal length.
struct House {
    keyside: Keyside,
    _upstream: Upstream,
    _application: Upstream,
}

fn slow_house(outbound: &str) -> House {
    let upstream = Upstream::scripted(|_, wire| {
        thread::sleep(SLOW);
        wire.write(&json("{}"));
        After::Keep
    });
    let application = Upstream::plain(|_, wire| {
        thread::sleep(SLOW);
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    let keyside = beside(&upstream, &application)
        .file("token.sh", format!("sleep 0.4; echo {TOKEN}"))
        .credential(
            "token = \"exec:/bin/sh @DIR@/token.sh\"\napp_secret = \"file:@DIR@/app_secret\"\nverify_token = \"file:@DIR@/verify_token\"\n",
        )
        .outbound(outbound)
        .start();
    House {
        keyside,
        _upstream: upstream,
        _application: application,
    }
}

/// A listener, with a request whose answer takes a while.
struct Door {
    name: &'static str,
    address: SocketAddr,
    request: Vec<u8>,
}

fn doors(keyside: &Keyside) -> [Door; 3] {
    [
        Door {
            name: "outbound",
            address: keyside.outbound(),
            request: post(MESSAGES, "{}"),
        },
        Door {
            name: "inbound",
            address: keyside.inbound(),
            request: genuine(EVENT.as_bytes()),
        },
        Door {
            name: "admin",
            address: keyside.admin(),
            request: post("/reload", ""),
        },
    ]
}

/// The end of a caller's patience.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Closes the connection with the answer unread.
    HangsUp,
    /// Ends its own side at once, and reads to the end.
    HalfCloses,
    /// Sends three requests in one go, and closes.
    Pipelines,
    /// Sends three requests in one go, ends its own side, and reads to the end.
    PipelinesAndHalfCloses,
    /// Resets the connection.
    Resets,
}

impl Manner {
    const ALL: [Self; 5] = [
        Self::HangsUp,
        Self::HalfCloses,
        Self::Pipelines,
        Self::PipelinesAndHalfCloses,
        Self::Resets,
    ];

    /// Calls once. Returns the number of answers that the caller waited for and got.
    fn call(self, door: &Door) -> usize {
        let mut stream = TcpStream::connect(door.address).unwrap();
        let requests = match self {
            Self::Pipelines | Self::PipelinesAndHalfCloses => door.request.repeat(3),
            _ => door.request.clone(),
        };
        stream.write_all(&requests).unwrap();
        match self {
            Self::HangsUp | Self::Pipelines => thread::sleep(PATIENCE),
            Self::Resets => {
                thread::sleep(PATIENCE);
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
            Self::HalfCloses | Self::PipelinesAndHalfCloses => {
                // The end follows once the request is read: before, a caller that waits counts as
                // gone.
                thread::sleep(PATIENCE);
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answers = Vec::new();
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                stream.read_to_end(&mut answers).unwrap();
                return String::from_utf8_lossy(&answers)
                    .matches("HTTP/1.1 200 OK")
                    .count();
            }
        }
        0
    }

    /// The answers that a caller gets.
    fn answers(self) -> usize {
        match self {
            Self::HalfCloses => 1,
            Self::PipelinesAndHalfCloses => 3,
            Self::HangsUp | Self::Pipelines | Self::Resets => 0,
        }
    }
}

fn open(keyside: &Keyside, listener: &str) -> f64 {
    let label = format!("listener=\"{listener}\"");
    keyside.metric("keyside_connections", &[&label])
}

#[test]
fn a_connection_ends_with_its_caller_whatever_the_manner_of_the_end() {
    let House {
        keyside,
        _upstream,
        _application,
    } = &slow_house("");
    for door in doors(keyside) {
        for manner in Manner::ALL {
            let callers = if door.name == "admin" { 3 } else { CALLERS };
            let answers: Vec<usize> = thread::scope(|scope| {
                let calls: Vec<_> = (0..callers)
                    .map(|_| scope.spawn(|| manner.call(&door)))
                    .collect();
                calls.into_iter().map(|call| call.join().unwrap()).collect()
            });
            let case = format!("{} {manner:?}", door.name);
            assert_eq!(answers, vec![manner.answers(); callers], "{case}");
            // The connection that asks is one of admin's.
            let rest = if door.name == "admin" { 1.0 } else { 0.0 };
            let ended = eventually(Duration::from_secs(3), || open(keyside, door.name) <= rest);
            assert!(ended, "{case}: {} are open", open(keyside, door.name));
        }
    }
}

#[test]
fn a_thousand_and_nine_hundred_impatient_callers_take_no_place_from_the_next() {
    let House {
        keyside,
        _upstream,
        _application,
    } = &slow_house("");
    let address = keyside.outbound();
    for _ in 0..19 {
        let crowd: Vec<_> = (0..100)
            .map(|_| {
                let mut client = Client::connect(address).unwrap();
                assert!(client.send(&post(MESSAGES, "{}")));
                client
            })
            .collect();
        thread::sleep(PATIENCE / 2);
        drop(crowd);
    }
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert!(eventually(Duration::from_secs(5), || {
        open(keyside, "outbound") == 0.0
    }));
}

#[test]
fn a_caller_with_a_slow_hand_gets_the_end_of_its_answer_after_it_has_ended_its_own_side() {
    let body = vec![b'x'; 4 << 20];
    let upstream = Upstream::answering(move |_| {
        crate::support::upstream::answer("200 OK", &[("Content-Type", "image/png")], &body)
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect().patience(Duration::from_secs(10));
    assert!(client.send(&get("/whatsapp_business/attachments/?mid=1")));
    thread::sleep(Duration::from_millis(300));
    client.half_close();
    thread::sleep(Duration::from_millis(300));
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 4 << 20));
}

#[test]
fn a_connection_over_a_unix_socket_ends_with_its_caller() {
    let upstream = Upstream::answering(|_| {
        thread::sleep(SLOW);
        json("{}")
    });
    let setup = Setup::new(&upstream);
    let keyside = setup
        .config(
            "[outbound]\nlisten = [\"unix:@DIR@/send.sock\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
             [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [credential.acme]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n[[route]]\ncredential = \"acme\"\n",
        )
        .start();
    let socket = keyside.dir().join("send.sock");
    for half_closes in [false, true] {
        let mut callers: Vec<_> = (0..CALLERS)
            .map(|_| Client::connect_unix(&socket).unwrap())
            .collect();
        for caller in &mut callers {
            assert!(caller.send(&post(MESSAGES, "{}")));
        }
        thread::sleep(PATIENCE);
        if half_closes {
            for caller in &mut callers {
                caller.half_close();
                assert_eq!(caller.answer().map(|answer| answer.status), Ok(200));
            }
        }
        drop(callers);
        let ended = eventually(Duration::from_secs(3), || open(&keyside, "outbound") == 0.0);
        assert!(ended, "{} are open", open(&keyside, "outbound"));
    }
}

#[test]
fn a_connection_over_tls_ends_with_its_caller() {
    let application = Upstream::plain(|_, wire| {
        thread::sleep(SLOW);
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    let authority = Authority::new();
    let (cert, key) = authority.server_pem();
    let tls = "[inbound.tls]\ncert = \"@DIR@/tls.crt\"\nkey = \"@DIR@/tls.key\"";
    let forward = format!("forward = \"{}/\"", application.url());
    let keyside = webhook::configured(&forward, tls)
        .file("tls.crt", cert)
        .file("tls.key", key)
        .start();
    let config = client_config(&[&authority.pem()], None);
    let request = genuine(EVENT.as_bytes());
    // No byte, half a handshake, a handshake and a request without a reader of the answer.
    for bytes in [b"".as_slice(), &[0x16, 3, 1, 0, 5, 1]] {
        for _ in 0..CALLERS {
            let mut stream = TcpStream::connect(keyside.inbound()).unwrap();
            stream.write_all(bytes).unwrap();
        }
    }
    let mut callers: Vec<_> = (0..CALLERS)
        .map(|_| Client::connect_tls(keyside.inbound(), std::sync::Arc::clone(&config)).unwrap())
        .collect();
    for caller in &mut callers {
        assert!(caller.send(&request));
    }
    thread::sleep(PATIENCE);
    drop(callers);
    let ended = eventually(Duration::from_secs(3), || open(&keyside, "inbound") == 0.0);
    assert!(ended, "{} are open", open(&keyside, "inbound"));
}

fn refused(keyside: &Keyside, listener: &str, reason: &str) -> f64 {
    let labels = [
        format!("listener=\"{listener}\""),
        format!("reason=\"{reason}\""),
    ];
    let labels: Vec<_> = labels.iter().map(String::as_str).collect();
    keyside.metric("keyside_connections_refused_total", &labels)
}

#[test]
fn past_its_bound_a_listener_closes_the_connection_idle_longest() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .outbound("max_connections = 4")
        .start();
    let mut idle: Vec<Client> = (0..4)
        .map(|_| {
            let mut client = keyside.connect();
            assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
            client
        })
        .collect();
    // The first is used again, so that the second is idle longest.
    assert_eq!(idle[0].ask(&post(MESSAGES, "{}")).unwrap().status, 200);
    let mut newcomer = keyside.connect();
    assert_eq!(newcomer.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
    assert_eq!(idle[1].end(Duration::from_secs(3)), Some(NoAnswer::Closed));
    for place in [0, 2, 3] {
        assert_eq!(idle[place].ask(&post(MESSAGES, "{}")).unwrap().status, 200);
    }
    assert_eq!(refused(&keyside, "outbound", "overloaded"), 0.0);
    let log = keyside.log();
    assert_eq!(log.matches("idle longest was closed").count(), 1, "{log}");
}

#[test]
fn a_crowd_of_idle_callers_keeps_nobody_from_being_served() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).level("info").start();
    let crowd: Vec<Client> = (0..1500).map(|_| keyside.connect()).collect();
    for _ in 0..5 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    }
    assert!(open(&keyside, "outbound") <= 1024.0);
    drop(crowd);
}

#[test]
fn with_every_connection_at_work_a_newcomer_gets_503_and_nothing_of_it_goes_out() {
    let upstream = Upstream::answering(|_| {
        thread::sleep(Duration::from_secs(2));
        json("{}")
    });
    let keyside = Setup::new(&upstream)
        .outbound("max_connections = 4")
        .start();
    let mut at_work: Vec<Client> = (0..4).map(|_| keyside.connect()).collect();
    for client in &mut at_work {
        assert!(client.send(&post(MESSAGES, "{}")));
    }
    assert!(upstream.wait_for(4, Duration::from_secs(3)));
    for _ in 0..5 {
        let mut newcomer = keyside.connect();
        let answer = newcomer.ask(&post(MESSAGES, "{}")).unwrap();
        answer.must_be_a_refusal("overloaded");
        assert_eq!((answer.status, answer.slug()), (503, "overloaded"));
        assert_eq!(newcomer.end(Duration::from_secs(3)), Some(NoAnswer::Closed));
    }
    // Callers that say nothing hold neither descriptors nor tasks.
    let before = keyside.descriptors();
    let silent: Vec<Client> = (0..100).map(|_| keyside.connect()).collect();
    assert!(eventually(Duration::from_secs(2), || {
        keyside.descriptors() < before + 10
    }));
    // Callers that do not wait leave no message behind.
    for _ in 0..20 {
        let mut impatient = keyside.connect();
        impatient.send(&post(MESSAGES, "{}"));
    }
    for client in &mut at_work {
        assert_eq!(client.answer().map(|answer| answer.status), Ok(200));
    }
    drop(silent);
    assert_eq!(upstream.heads(), 4);
    assert!(refused(&keyside, "outbound", "overloaded") >= 5.0);
    let log = keyside.log();
    let lines = log.matches("every place is taken, and no connection is idle");
    assert_eq!(lines.count(), 1, "{log}");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}

/// A request for a message with a head of `length` bytes.
fn with_long_head(length: usize) -> Vec<u8> {
    let plain = String::from_utf8(post(MESSAGES, "{}")).unwrap();
    let line = format!("X-Long: {}\r\n", "x".repeat(length));
    plain
        .replacen("\r\n", &format!("\r\n{line}"), 1)
        .into_bytes()
}

#[test]
fn an_idle_connection_gives_its_buffers_up_and_serves_the_next_request() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    let begun = post(MESSAGES, "{}");
    for pause in [0, 10, 1100, 0, 2500] {
        thread::sleep(Duration::from_millis(pause));
        let whole = [with_long_head(30_000), begun.clone()].concat();
        assert_eq!(client.ask(&whole).unwrap().status, 200, "{pause}");
        assert_eq!(client.answer().unwrap().status, 200, "{pause}");
        // The beginning of the next request waits where its end comes after the buffers are gone.
        let (first, second) = begun.split_at(30);
        let ahead = [begun.as_slice(), first].concat();
        assert_eq!(client.ask(&ahead).unwrap().status, 200, "{pause}");
        thread::sleep(Duration::from_millis(pause));
        assert_eq!(client.ask(second).unwrap().status, 200, "{pause}");
    }
    assert_eq!(upstream.heads(), 20);
}

#[test]
fn long_heads_past_the_memory_for_them_get_503_and_short_requests_go_on() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .more("[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\nmax_in_flight = \"4MiB\"")
        .start();
    let request = with_long_head(30_000);
    let (whole_but_the_end, _) = request.split_at(request.len() - 100);
    let mut crowd: Vec<Client> = (0..1000)
        .map(|_| {
            let mut client = keyside.connect();
            client.send(whole_but_the_end);
            client
        })
        .collect();
    let memory = || refused(&keyside, "outbound", "memory");
    assert!(eventually(Duration::from_secs(5), || memory() >= 50.0));
    for _ in 0..10 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    }
    let answer = crowd.pop().unwrap().answer().unwrap();
    answer.must_be_a_refusal("a long head without room");
    assert_eq!((answer.status, answer.slug()), (503, "overloaded"));
    let log = keyside.log();
    assert_eq!(
        log.matches("have used up the memory that they may have")
            .count(),
        1,
        "{log}"
    );
}

#[test]
fn refusals_have_their_series_from_the_start() {
    let keyside = Keyside::start(&Upstream::ok());
    let metrics = keyside.metrics();
    for listener in ["outbound", "inbound", "admin"] {
        for reason in ["overloaded", "per_address", "user", "memory", "tls"] {
            let series = format!(
                "keyside_connections_refused_total{{listener=\"{listener}\",reason=\"{reason}\"}} 0"
            );
            assert!(metrics.contains(&series), "{series} in\n{metrics}");
        }
    }
}

/// An event that a proxy hands on for a client.
fn forwarded(client: &str) -> Vec<u8> {
    let body = EVENT.as_bytes();
    let forwarded_for = format!("X-Forwarded-For: 198.51.100.1, {client}");
    event(&[&signature(APP_SECRET, body), &forwarded_for], body)
}

#[test]
fn four_hundred_events_through_one_ingress_get_four_hundred_answers() {
    let application = Upstream::plain(|_, wire| {
        thread::sleep(SLOW);
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    let keyside = webhook::setup(&application).start();
    let mut proxy: Vec<Client> = (0..400)
        .map(|_| Client::connect(keyside.inbound()).unwrap())
        .collect();
    for connection in &mut proxy {
        assert!(connection.send(&genuine(EVENT.as_bytes())));
    }
    let answers = proxy.iter_mut().map(|connection| connection.answer());
    let statuses: Vec<_> = answers
        .map(|answer| answer.map(|answer| answer.status))
        .collect();
    assert_eq!(statuses, vec![Ok(200); 400]);
    assert_eq!(refused(&keyside, "inbound", "per_address"), 0.0);
}

#[test]
fn the_client_that_a_trusted_proxy_names_has_the_bound_and_the_log() {
    let application = Upstream::plain(|_, wire| {
        thread::sleep(Duration::from_secs(2));
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]";
    let forward = format!("forward = \"{}/\"", application.url());
    let keyside = webhook::configured(&forward, trusted).start();
    let mut crowd: Vec<Client> = (0..256)
        .map(|_| {
            let mut client = Client::connect(keyside.inbound()).unwrap();
            assert!(client.send(&forwarded("203.0.113.9")));
            client
        })
        .collect();
    assert!(application.wait_for(256, Duration::from_secs(5)));
    let one_more = keyside.event(&forwarded("203.0.113.9"));
    assert_eq!((one_more.status, one_more.slug()), (503, "overloaded"));
    assert_eq!(keyside.event(&forwarded("203.0.113.10")).status, 200);
    for client in &mut crowd {
        assert_eq!(client.answer().map(|answer| answer.status), Ok(200));
    }
    assert_eq!(refused(&keyside, "inbound", "per_address"), 1.0);
    let unsigned = event(&["X-Forwarded-For: 203.0.113.11"], b"{}");
    assert_eq!(keyside.event(&unsigned).status, 401);
    let log = keyside.log();
    assert!(log.contains(r#""caller":"203.0.113.11""#), "{log}");
    // A reload withdraws the trust.
    let config = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    keyside
        .dir()
        .write("proxy.toml", config.replace(trusted, ""));
    assert_eq!(keyside.reload().status, 200);
    let unsigned = event(&["X-Forwarded-For: 203.0.113.12"], b"{}");
    assert_eq!(keyside.event(&unsigned).status, 401);
    assert!(!keyside.log().contains("203.0.113.12"));
}

#[test]
fn callers_that_are_gone_give_their_places_up_while_a_host_stalls_and_half_closed_ones_get_their_answers()
 {
    let stalled = Upstream::scripted(|_, wire| {
        thread::sleep(Duration::from_secs(6));
        wire.write(&json("{}"));
        After::Keep
    });
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .media(&stalled)
        .outbound("max_connections = 12")
        .start();
    let attachment = get("/whatsapp_business/attachments/?mid=1");
    let mut waiting: Vec<Client> = (0..12).map(|_| keyside.connect()).collect();
    for client in &mut waiting {
        assert!(client.send(&attachment));
    }
    assert!(stalled.wait_for(12, Duration::from_secs(3)));
    let mut half_closed: Vec<Client> = waiting.drain(..2).collect();
    half_closed.iter_mut().for_each(Client::half_close);
    drop(waiting);
    let served = eventually(Duration::from_secs(3), || {
        keyside.post(MESSAGES, "{}").status == 200
    });
    assert!(
        served,
        "{} connections are open",
        open(&keyside, "outbound")
    );
    assert!(open(&keyside, "outbound") <= 3.0);
    for client in &mut half_closed {
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200);
    }
    assert_eq!((stalled.heads(), upstream.heads()), (12, 1));
}

#[test]
fn an_upload_that_waits_at_a_limit_leaves_the_queue_with_its_caller() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .provider("limits.management_requests = [\"POST /{v}/{upload}\"]\n")
        .route("operations = [\"uploads\"]")
        .limits("management = \"1/60s\"\nmax_wait = \"90s\"")
        .start();
    let head = "POST /v23.0/upload:x HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
    let whole = format!("{head}3\r\n\r\nabc");
    assert_eq!(keyside.send(whole.as_bytes()).status, 200);
    let part = [
        format!("{head}1000000\r\n\r\n").into_bytes(),
        vec![b'x'; 300_000],
    ]
    .concat();
    for pipelines in [false, true] {
        let mut client = keyside.connect();
        let bytes = if pipelines {
            whole.repeat(2).into_bytes()
        } else {
            part.clone()
        };
        assert!(client.send(&bytes));
        let is_open = || open(&keyside, "outbound") == 1.0;
        assert!(eventually(Duration::from_secs(2), is_open));
        drop(client);
        let ended = eventually(Duration::from_secs(2), || open(&keyside, "outbound") == 0.0);
        assert!(ended, "pipelines: {pipelines}");
    }
    assert_eq!(upstream.heads(), 1);
}
