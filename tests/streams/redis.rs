//! Redis Streams, with Redis and Valkey.

use super::*;
use crate::support::redis::{Cluster, Engine, PASSWORD, Redis, Watched};

impl Server for Redis {
    fn stream(&self) -> StreamAddress {
        events()
    }

    fn url_through(&self, port: u16) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{port}")
    }

    fn port(&self) -> u16 {
        Self::port(self)
    }

    fn ids(&self) -> Vec<String> {
        let entries = self.ask(&["XRANGE", "events", "-", "+"]);
        let mut lines = entries.lines();
        let mut ids = Vec::new();
        while lines.by_ref().any(|line| line == "id") {
            ids.extend(lines.next().map(str::to_owned));
        }
        ids
    }

    fn restart(&mut self) {
        Self::restart(self);
    }

    fn signal(&self, signal: Signal) {
        Self::signal(self, signal);
    }
}

fn events() -> StreamAddress {
    StreamAddress::Redis {
        key: "events".to_owned(),
    }
}

/// A server with all answered writes on disk, even after a kill.
pub fn durable(engine: Engine) -> Redis {
    Redis::of(engine, &["--appendonly", "yes", "--appendfsync", "always"])
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn an_entry_has_the_id_the_headers_and_the_body_of_its_event() {
    let redis = Redis::start();
    an_event_is_published_once(&redis);
    let entry = redis.ask(&["XRANGE", "events", "-", "+", "COUNT", "1"]);
    let fields: Vec<_> = entry.lines().skip(1).collect();
    let id = id(0, 0);
    assert_eq!(
        fields,
        [
            "id",
            &id,
            "content-type",
            "application/json",
            "keyside-attempt",
            "1",
            "x-hub-signature-256",
            "sha256=00",
            "body",
            "{}"
        ]
    );
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_redis_that_is_killed_under_load_loses_nothing() {
    a_restart_loses_nothing(&mut durable(Engine::Redis));
}

#[test]
#[ignore = "needs Valkey: tests/run servers"]
fn a_valkey_that_is_killed_under_load_loses_nothing() {
    a_restart_loses_nothing(&mut durable(Engine::Valkey));
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_redis_that_hangs_loses_nothing() {
    a_server_that_hangs_loses_nothing(&durable(Engine::Redis));
}

#[test]
#[ignore = "needs Valkey: tests/run servers"]
fn a_valkey_that_hangs_loses_nothing() {
    a_server_that_hangs_loses_nothing(&Redis::valkey());
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_connection_to_redis_cut_half_way_loses_nothing() {
    a_connection_cut_half_way_loses_nothing(&Redis::start());
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn events_wait_for_room_in_a_full_redis() {
    events_wait_for_room(Engine::Redis);
}

#[test]
#[ignore = "needs Valkey: tests/run servers"]
fn events_wait_for_room_in_a_full_valkey() {
    events_wait_for_room(Engine::Valkey);
}

fn events_wait_for_room(engine: Engine) {
    let bound = ["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"];
    let redis = Redis::of(engine, &bound);
    let destination = Destination::of(&redis);
    let body = || Bytes::from(vec![b'x'; 200_000]);
    destination.run(async {
        let mut number = 0;
        while destination.attempt(&id(0, number), body()).await == TAKEN {
            number += 1;
        }
        let outcome = destination.attempt(&id(0, number), body()).await;
        assert_eq!(outcome, AttemptOutcome::Published(StreamAnswer::Full));
        assert_eq!(
            redis.ask(&["XTRIM", "events", "MAXLEN", "1"]),
            (number - 1).to_string()
        );
        destination.deliver(&id(0, number), body()).await;
        assert_eq!(redis.ids(), [id(0, number - 1), id(0, number)]);
    });
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn each_refusal_of_redis_has_its_meaning() {
    let redis = Redis::with(&["--proto-max-bulk-len", "1mb"]);
    let url = redis.url_through(redis.port());
    redis.ask(&["SET", "text", "x"]);
    redis.ask(&[
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">CANARYreader",
        "~*",
        "+@read",
        "+@connection",
    ]);
    let text = StreamAddress::Redis {
        key: "text".to_owned(),
    };
    assert_answer(&events(), &url, 3 << 20, StreamAnswer::TooLarge);
    assert_answer(&text, &url, 2, StreamAnswer::WrongKind);
    let reader = url.replace(&format!(":{PASSWORD}"), "reader:CANARYreader");
    assert_answer(&events(), &reader, 2, StreamAnswer::Denied);
    let stranger = url.replace(PASSWORD, "CANARYwrong");
    assert_answer(&events(), &stranger, 2, StreamAnswer::Denied);
    let nobody = url.replace(&format!(":{PASSWORD}@"), "");
    assert_answer(&events(), &nobody, 2, StreamAnswer::Denied);
    assert_answer(&events(), &format!("{nobody}/1"), 2, StreamAnswer::Denied);
    let nowhere = format!("{url}/99");
    assert_answer(&events(), &nowhere, 2, StreamAnswer::NoDatabase);
    redis.ask(&["ACL", "SETUSER", "reader", "-select"]);
    assert_answer(
        &events(),
        &format!("{reader}/1"),
        2,
        StreamAnswer::NoDatabase,
    );
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &redis.port().to_string()]);
    let url = replica.url_through(replica.port());
    assert_answer(&events(), &url, 2, StreamAnswer::Unready);
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_redis_over_tls_needs_a_certificate_that_is_trusted() {
    let redis = Redis::over_tls();
    the_certificate_of_a_server_is_checked(&events(), &redis.url());
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn events_go_to_the_redis_that_the_sentinels_name_after_a_failover() {
    events_follow_a_failover(Engine::Redis);
}

#[test]
#[ignore = "needs Valkey: tests/run servers"]
fn events_go_to_the_valkey_that_the_sentinels_name_after_a_failover() {
    events_follow_a_failover(Engine::Valkey);
}

fn events_follow_a_failover(engine: Engine) {
    let mut watched = Watched::start(engine);
    let destination = Destination::at(&events(), &watched.url());
    destination.run(async {
        destination
            .deliver(&id(0, 0), Bytes::from_static(b"{}"))
            .await;
        watched.master.kill();
        let second = id(0, 1);
        let later = destination.deliver(&second, Bytes::from_static(b"{}"));
        let bound = stretched(Duration::from_secs(15));
        tokio::time::timeout(bound, later)
            .await
            .expect("the new master has it");
    });
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_cluster_keeps_a_stream_on_one_of_its_nodes() {
    let cluster = Cluster::start();
    let destination = Destination::at(&events(), &cluster.url());
    destination
        .load(64)
        .join()
        .expect("every event is delivered");
    assert_eq!(cluster.keys(), 1);
}
