//! A relay that holds all bytes up, as a long way does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A port in front of a second port, with a delay.
pub struct Relay {
    port: u16,
}

impl Relay {
    /// A relay to a port of this machine that holds bytes up for `one_way` in each direction.
    pub fn to(port: u16, one_way: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the relay");
        let relay = Self {
            port: listener.local_addr().expect("it is bound").port(),
        };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                for end in [&client, &server] {
                    let _ = end.set_nodelay(true);
                }
                let (from, to) = (server.try_clone(), client.try_clone());
                pass(client, server, one_way);
                pass(from.expect("a copy"), to.expect("a copy"), one_way);
            }
        });
        relay
    }

    /// The port of the relay.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, one_way: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length) = from.read(&mut buffer) {
            let bytes = buffer[..length].to_vec();
            if sender.send((Instant::now() + one_way, bytes)).is_err() || length == 0 {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
