//! RabbitMQ. A start takes seconds, so that few tests look at many things.

use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

use super::*;
use crate::support::rabbit::Rabbit;

impl Server for Rabbit {
    fn stream(&self) -> StreamAddress {
        to("events", "acme")
    }

    fn url_through(&self, port: u16) -> String {
        self.url_of("keyside")
            .replace(&Self::port(self).to_string(), &port.to_string())
    }

    fn port(&self) -> u16 {
        Self::port(self)
    }

    fn ids(&self) -> Vec<String> {
        let messages = runtime().block_on(async { taken(&channel(self).await, "acme").await });
        messages.into_iter().map(|message| message.id).collect()
    }

    fn restart(&mut self) {
        Self::restart(self);
    }

    fn signal(&self, signal: Signal) {
        Self::signal(self, signal);
    }
}

/// A message that was taken from a queue and given back.
struct Message {
    id: String,
    delivery_mode: Option<u8>,
    content_type: Option<String>,
    attempt: Option<String>,
    body: Vec<u8>,
}

fn to(exchange: &str, key: &str) -> StreamAddress {
    StreamAddress::Amqp {
        exchange: exchange.to_owned(),
        routing_key: key.to_owned(),
    }
}

async fn channel(rabbit: &Rabbit) -> Channel {
    let url = rabbit.url_of("keyside");
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    connection.create_channel().await.unwrap()
}

/// A server with an exchange, and a durable queue behind it.
fn with_queue() -> Rabbit {
    let rabbit = Rabbit::start();
    runtime().block_on(async {
        let channel = channel(&rabbit).await;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let none = FieldTable::default;
        channel
            .exchange_declare("events".into(), ExchangeKind::Direct, durable, none())
            .await
            .unwrap();
        declare(&channel, "acme", none()).await;
        channel
            .queue_bind(
                "acme".into(),
                "events".into(),
                "acme".into(),
                QueueBindOptions::default(),
                none(),
            )
            .await
            .unwrap();
    });
    rabbit
}

async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) {
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), durable, arguments)
        .await
        .unwrap();
}

/// The messages of a queue, the oldest first. The end of the connection gives them back.
async fn taken(channel: &Channel, queue: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(got) = channel
        .basic_get(queue.into(), BasicGetOptions::default())
        .await
        .unwrap()
    {
        let properties = &got.properties;
        let attempt = properties.headers().as_ref().and_then(|headers| {
            let attempt = headers.inner().get("keyside-attempt")?;
            attempt.as_long_string().map(ToString::to_string)
        });
        messages.push(Message {
            id: properties.message_id().as_ref().unwrap().to_string(),
            delivery_mode: *properties.delivery_mode(),
            content_type: properties.content_type().as_ref().map(ToString::to_string),
            attempt,
            body: got.data.clone(),
        });
    }
    messages
}

/// The threads of the AMQP library in this process.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin")).count()
}

#[test]
#[ignore = "needs RabbitMQ: tests/run servers"]
fn each_answer_of_rabbitmq_has_its_meaning() {
    let rabbit = with_queue();
    let url = rabbit.url_of("keyside");
    an_event_is_published_once(&rabbit);
    let first = runtime().block_on(async { taken(&channel(&rabbit).await, "acme").await });
    assert_eq!(first[0].body, b"{}");
    assert_eq!(
        first[0].delivery_mode,
        Some(2),
        "the message outlives a restart"
    );
    assert_eq!(first[0].content_type.as_deref(), Some("application/json"));
    assert_eq!(first[0].attempt.as_deref(), Some("1"));

    assert_answer(&to("events", "acme"), &url, 300_000, StreamAnswer::TooLarge);
    assert_answer(&to("nowhere", "acme"), &url, 2, StreamAnswer::Missing);
    assert_answer(&to("events", "nobody"), &url, 2, StreamAnswer::Missing);
    assert_answer(
        &to("events", "acme"),
        &rabbit.url_of("reader"),
        2,
        StreamAnswer::Denied,
    );
    let stranger = url.replace("CANARYrabbit", "CANARYwrong");
    assert_answer(&to("events", "acme"), &stranger, 2, StreamAnswer::Denied);
    assert_answer(
        &to("events", "acme"),
        &format!("{url}/nowhere"),
        2,
        StreamAnswer::Denied,
    );

    the_certificate_of_a_server_is_checked(&to("events", "acme"), &rabbit.tls_url_of("keyside"));
    events_wait_for_room_in_a_full_queue(&rabbit);
    events_wait_for_a_server_without_memory(&rabbit);
}

fn events_wait_for_room_in_a_full_queue(rabbit: &Rabbit) {
    let destination = Destination::at(&to("", "short"), &rabbit.url_of("keyside"));
    destination.run(async {
        let channel = channel(rabbit).await;
        let mut bounds = FieldTable::default();
        bounds.insert("x-max-length".into(), AMQPValue::LongInt(2));
        bounds.insert(
            "x-overflow".into(),
            AMQPValue::LongString("reject-publish".into()),
        );
        declare(&channel, "short", bounds).await;
        for number in 0..2 {
            let outcome = destination
                .attempt(&id(0, number), Bytes::from_static(b"{}"))
                .await;
            assert_eq!(outcome, TAKEN);
        }
        let outcome = destination
            .attempt(&id(0, 2), Bytes::from_static(b"{}"))
            .await;
        assert_eq!(outcome, AttemptOutcome::Published(StreamAnswer::Full));
        channel
            .queue_purge("short".into(), QueuePurgeOptions::default())
            .await
            .unwrap();
        destination
            .deliver(&id(0, 2), Bytes::from_static(b"{}"))
            .await;
    });
}

fn events_wait_for_a_server_without_memory(rabbit: &Rabbit) {
    let destination = Destination::at(&to("events", "acme"), &rabbit.url_of("keyside"));
    let count = || {
        rabbit
            .ids()
            .iter()
            .filter(|found| **found == id(1, 1))
            .count()
    };
    destination.run(destination.deliver(&id(1, 0), Bytes::from_static(b"{}")));
    rabbit.control(&["set_vm_memory_high_watermark", "absolute", "1"]);
    let blocked = || {
        let id = id(1, 1);
        let event = destination.attempt(&id, Bytes::from_static(b"{}"));
        destination.run(event) == AttemptOutcome::Published(StreamAnswer::Full)
    };
    assert!(
        eventually(Duration::from_secs(10), blocked),
        "{:?}",
        destination.publisher.problem()
    );
    rabbit.control(&["set_vm_memory_high_watermark", "0.4"]);
    destination.run(destination.deliver(&id(1, 1), Bytes::from_static(b"{}")));
    assert!(count() > 0);
}

#[test]
#[ignore = "needs RabbitMQ: tests/run servers"]
fn a_rabbitmq_that_is_cut_off_hangs_or_is_killed_loses_nothing() {
    let mut rabbit = with_queue();
    let empty = |rabbit: &Rabbit| {
        runtime().block_on(async {
            let channel = channel(rabbit).await;
            channel
                .queue_purge("acme".into(), QueuePurgeOptions::default())
                .await
                .unwrap();
        });
    };
    a_connection_cut_half_way_loses_nothing(&rabbit);
    empty(&rabbit);
    a_server_that_hangs_loses_nothing(&rabbit);
    assert!(
        eventually(Duration::from_secs(10), || threads() <= 2),
        "{} threads",
        threads()
    );
    empty(&rabbit);
    a_restart_loses_nothing(&mut rabbit);
}
