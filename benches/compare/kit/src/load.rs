//! The load generator: one thread, raw epoll. A closed loop, or (`--rate`) a constant rate, where
//! latency counts from the moment a request was due, so a stall of the proxy shows in the latency.
//!
//! At both ends of the measured window the generator reads the CPU time of the sessions named by
//! `--sid` and `--upsid`: CPU time and requests belong to one window. The result is one line of
//! JSON.

use crate::args::Args;
use crate::hist::Hist;
use crate::message::{Body, Malformed};
use crate::net::*;
use crate::procfs::{SessionCpu, machine_ticks, now_ns, own_cpu_ns, session_cpu};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const SEND: &str = r#"{"messaging_product":"whatsapp","recipient_type":"individual","to":"16505551234","type":"template","template":{"name":"order_confirmation","language":{"code":"en_US"},"components":[{"type":"body","parameters":[{"type":"text","text":"Jessica"},{"type":"text","text":"SKBUP2-4CPIG9"}]}]}}"#;
const EVENT_START: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},"contacts":[{"profile":{"name":"Sheena Nelson"},"wa_id":"16505551234"}],"messages":[{"from":"16505551234","id":"wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA=","timestamp":"1749416383","type":"text","text":{"body":""#;
const EVENT_END: &str = r#""}}]},"field":"messages"}]}]}"#;

pub fn run(args: &Args) {
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    let window = Window {
        sid: args.num("sid", 0),
        upsid: args.num("upsid", 0),
        ignored: args.get("ignore-sids").unwrap_or("").split(',').filter_map(|sid| sid.parse().ok()).collect(),
    };
    let mut load = Load::new(args);
    let warm_end = now_ns() + seconds(args.num("warm", 0.5));
    load.run_until(warm_end);

    load.counts = Counts::default();
    load.latency = Hist::new();
    let before = window.sample();
    let end = before.at + seconds(args.num("secs", 3.0));
    load.run_until(end);
    load.report(&before, &window.sample());
}

/// Sends a request on each connection at once, after `--silence` seconds; before the silence,
/// `--prime` times as well.
pub fn burst(args: &Args) {
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    let mut load = Load::new(args);
    for _ in 0..args.num("prime", 0) {
        load.all_at_once();
    }
    load.connect();
    std::thread::sleep(Duration::from_nanos(seconds(args.num("silence", 0.0))));
    // Connections closed by the proxy during the test.
    load.run_idle(now_ns() + seconds(0.05));
    load.connect();
    load.counts = Counts::default();
    load.latency = Hist::new();
    load.all_at_once();
    let Counts { done, good, fail_connect, fail_noreply, fail_partial, .. } = load.counts;
    println!(
        r#"{{"done":{done},"good":{good},"failed":{},"p50":{:.1},"p99":{:.1},"max":{:.1}}}"#,
        fail_connect + fail_noreply + fail_partial,
        load.latency.quantile(0.5),
        load.latency.quantile(0.99),
        load.latency.max(),
    );
}

fn seconds(s: f64) -> u64 {
    (s * 1e9) as u64
}

fn request(args: &Args) -> Vec<u8> {
    let body = match args.num::<usize>("body-bytes", 0) {
        0 => SEND.to_string(),
        length => event(length),
    };
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: kit/1\r\naccept: */*\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        args.get("path").unwrap_or("/v23.0/106540352242922/messages"),
        args.get("host").unwrap_or("localhost"),
        body.len()
    );
    for header in args.all("header") {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if let Some(secret) = args.get("sign") {
        let signature = sign(secret, &body, args.has("bad-sig"));
        head.push_str(&format!("x-hub-signature-256: sha256={signature}\r\n"));
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// A webhook event of this many bytes.
fn event(length: usize) -> String {
    let text = length.saturating_sub(EVENT_START.len() + EVENT_END.len());
    let letters: String = ('a'..='z').cycle().take(text).collect();
    format!("{EVENT_START}{letters}{EVENT_END}")
}

fn sign(secret: &str, body: &str, wrongly: bool) -> String {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let mut tag = aws_lc_rs::hmac::sign(&key, body.as_bytes()).as_ref().to_vec();
    tag[31] ^= u8::from(wrongly);
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Load {
    addr: SocketAddr,
    tls: Option<(Arc<rustls::ClientConfig>, String)>,
    request: Vec<u8>,
    expected: u16,
    /// ns between requests; 0 in a closed loop.
    interval: u64,
    next_due: u64,
    due: VecDeque<u64>,
    epoll: Epoll,
    slots: Vec<Slot>,
    idle: Vec<usize>,
    dead: Vec<usize>,
    counts: Counts,
    latency: Hist,
}

/// A place for a connection.
struct Slot {
    conn: Option<Conn>,
    /// Number of the connection: events of earlier connections in the place have other numbers.
    generation: u32,
    retry_at: u64,
    exchange: Option<Exchange>,
}

/// A request under way.
struct Exchange {
    due: u64,
    answer: Option<Answer>,
    got_bytes: bool,
}

struct Answer {
    status: u16,
    body: Body,
    last: bool,
}

#[derive(Default)]
struct Counts {
    done: u64,
    good: u64,
    reconnects: u64,
    /// Failures: the connection was refused, ended before the first byte of an answer, or ended
    /// within an answer.
    fail_connect: u64,
    fail_noreply: u64,
    fail_partial: u64,
}

impl Load {
    fn new(args: &Args) -> Load {
        let rate: f64 = args.num("rate", 0.0);
        let connections: usize = args.num("conns", 16);
        Load {
            addr: args.required("addr").parse().expect("--addr"),
            tls: args
                .get("ca")
                .map(|ca| (Arc::new(client_config(ca)), args.get("sni").unwrap_or("localhost").to_string())),
            request: request(args),
            expected: args.num("expect", 200),
            interval: if rate > 0.0 { seconds(1.0 / rate) } else { 0 },
            next_due: now_ns(),
            due: VecDeque::new(),
            epoll: Epoll::new(),
            slots: (0..connections).map(|_| Slot { conn: None, generation: 0, retry_at: 0, exchange: None }).collect(),
            idle: Vec::with_capacity(connections),
            dead: (0..connections).collect(),
            counts: Counts::default(),
            latency: Hist::new(),
        }
    }

    fn run_until(&mut self, end: u64) {
        while now_ns() < end {
            self.connect();
            self.start_requests();
            let mut until = end;
            if self.interval > 0 && !self.idle.is_empty() {
                until = until.min(self.next_due);
            }
            if !self.dead.is_empty() {
                until = until.min(now_ns() + 5_000_000);
            }
            self.wait(until);
        }
    }

    /// Sends one request on each connection, and waits for the answers.
    fn all_at_once(&mut self) {
        let (before, end) = (self.counts.done, now_ns() + seconds(30.0));
        self.connect();
        self.start_requests();
        while self.counts.done < before + self.slots.len() as u64 && self.dead.is_empty() && now_ns() < end {
            self.wait(end);
        }
    }

    /// Takes note of what happens to idle connections.
    fn run_idle(&mut self, end: u64) {
        while now_ns() < end {
            self.wait(end);
        }
    }

    fn wait(&mut self, until: u64) {
        for i in 0..self.epoll.wait(Some(Duration::from_nanos(until.saturating_sub(now_ns())))) {
            let (token, events) = self.epoll.event(i);
            self.progress(token, events);
        }
    }

    fn connect(&mut self) {
        for index in std::mem::take(&mut self.dead) {
            let slot = &mut self.slots[index];
            if slot.retry_at > now_ns() {
                self.dead.push(index);
                continue;
            }
            match Conn::connect(self.addr, self.tls.as_ref()) {
                Ok(conn) => {
                    slot.generation = slot.generation.wrapping_add(1);
                    self.epoll.add(conn.fd(), u64::from(slot.generation) << 32 | index as u64, BOTH);
                    slot.conn = Some(conn);
                    self.idle.push(index);
                }
                Err(_) => {
                    self.counts.fail_connect += 1;
                    slot.retry_at = now_ns() + 10_000_000;
                    self.dead.push(index);
                }
            }
        }
    }

    fn start_requests(&mut self) {
        let now = now_ns();
        while self.interval > 0 && self.next_due <= now {
            self.due.push_back(self.next_due);
            self.next_due += self.interval;
        }
        while !self.idle.is_empty() {
            let due = if self.interval == 0 { Some(now_ns()) } else { self.due.pop_front() };
            let Some(due) = due else { return };
            let Some(index) = self.idle.pop() else { return };
            let slot = &mut self.slots[index];
            slot.exchange = Some(Exchange { due, answer: None, got_bytes: false });
            if !slot.conn.as_mut().is_some_and(|conn| conn.send(&self.request).is_ok()) {
                self.fail(index);
            }
        }
    }

    fn progress(&mut self, token: u64, events: u32) {
        let index = (token & 0xffff_ffff) as usize;
        let slot = &mut self.slots[index];
        let Some(conn) = slot.conn.as_mut().filter(|_| slot.generation == (token >> 32) as u32) else { return };
        if events & OUT != 0 {
            // After a failed write the answer may still be there to read.
            let _ = conn.flush();
        }
        if events & (IN | GONE) == 0 {
            return;
        }
        let ended = !matches!(conn.fill(events & GONE != 0), Ok(Fill::Open));
        let Some(exchange) = &mut slot.exchange else {
            if ended {
                self.idle.retain(|idle| *idle != index);
                self.reconnect(index);
            }
            return;
        };
        match exchange.read_answer(&mut conn.inbuf) {
            Ok(Some((status, last))) => {
                self.latency.add(now_ns() - exchange.due);
                self.counts.done += 1;
                self.counts.good += u64::from(status == self.expected);
                slot.exchange = None;
                if ended || last { self.reconnect(index) } else { self.idle.push(index) }
            }
            Ok(None) if !ended => {}
            Ok(None) | Err(Malformed) => self.fail(index),
        }
    }

    fn reconnect(&mut self, index: usize) {
        self.counts.reconnects += 1;
        self.slots[index].conn = None;
        self.dead.push(index);
    }

    fn fail(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.conn = None;
        self.dead.push(index);
        match slot.exchange.take() {
            Some(exchange) if exchange.got_bytes => self.counts.fail_partial += 1,
            _ => self.counts.fail_noreply += 1,
        }
    }

    fn report(&self, before: &Sample, after: &Sample) {
        let Counts { done, good, reconnects, fail_connect, fail_noreply, fail_partial } = self.counts;
        let wall = (after.at - before.at) as f64;
        let cpu = after.proxy.ns.saturating_sub(before.proxy.ns) as f64;
        let up = after.upstream.ns.saturating_sub(before.upstream.ns) as f64;
        let own = (after.own - before.own) as f64;
        let ignored = after.ignored.saturating_sub(before.ignored) as f64;
        let user = after.proxy.user.saturating_sub(before.proxy.user) as f64;
        let system = after.proxy.system.saturating_sub(before.proxy.system) as f64;
        let busy = (after.busy - before.busy) as f64 * 1e7;
        println!(
            r#"{{"done":{done},"good":{good},"rps":{:.1},"p50":{:.1},"p99":{:.1},"p999":{:.1},"max":{:.1},"fail_connect":{fail_connect},"fail_noreply":{fail_noreply},"fail_partial":{fail_partial},"reconnects":{reconnects},"cpu_us":{:.3},"cpu_busy":{:.4},"cpu_user_frac":{:.3},"other_busy":{:.4},"foreign":{:.4},"steal_ticks":{}}}"#,
            done as f64 * 1e9 / wall,
            self.latency.quantile(0.5),
            self.latency.quantile(0.99),
            self.latency.quantile(0.999),
            self.latency.max(),
            cpu / 1e3 / done.max(1) as f64,
            cpu / wall,
            user / (user + system).max(1.0),
            (up + own) / wall,
            (busy - cpu - up - own - ignored) / wall,
            after.stolen - before.stolen,
        );
    }
}

impl Exchange {
    /// Reads from `buffer`. Returns the status of a whole answer, and true if the connection ends
    /// after the answer.
    fn read_answer(&mut self, buffer: &mut Vec<u8>) -> Result<Option<(u16, bool)>, Malformed> {
        self.got_bytes |= !buffer.is_empty();
        while self.answer.is_none() {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            let length = match response.parse(buffer) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(_) => return Err(Malformed),
            };
            let status = response.code.unwrap_or(0);
            if status >= 200 {
                let closes = |h: &httparse::Header<'_>| {
                    h.name.eq_ignore_ascii_case("connection") && h.value.eq_ignore_ascii_case(b"close")
                };
                let last = response.version == Some(0) || response.headers.iter().any(closes);
                self.answer = Some(Answer { status, body: Body::of(response.headers)?, last });
            }
            buffer.drain(..length);
        }
        let Some(answer) = &mut self.answer else { return Ok(None) };
        let whole = answer.body.consume(buffer, &mut 0)?;
        Ok(whole.then_some((answer.status, answer.last)))
    }
}

/// The sessions sampled at both ends of the measured window.
struct Window {
    sid: i64,
    upsid: i64,
    ignored: Vec<i64>,
}

struct Sample {
    at: u64,
    proxy: SessionCpu,
    upstream: SessionCpu,
    own: u64,
    /// Processes of the harness, known to run.
    ignored: u64,
    busy: u64,
    stolen: u64,
}

impl Window {
    fn sample(&self) -> Sample {
        let (busy, stolen) = machine_ticks();
        Sample {
            proxy: session_cpu(self.sid),
            upstream: session_cpu(self.upsid),
            own: own_cpu_ns(),
            ignored: self.ignored.iter().map(|sid| session_cpu(*sid).ns).sum(),
            busy,
            stolen,
            at: now_ns(),
        }
    }
}
