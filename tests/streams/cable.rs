//! A cable between a publisher and its server, which can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

/// A port in front of a second port.
pub struct Cable {
    port: u16,
    /// The bytes that still pass towards the server before the cut; negative for no cut.
    left: Arc<AtomicI64>,
}

impl Cable {
    /// A cable to a port of this machine.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let cable = Self {
            port: listener.local_addr().unwrap().port(),
            left: Arc::new(AtomicI64::new(WHOLE)),
        };
        let left = Arc::clone(&cable.left);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let (from, to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || pass(from, to, &AtomicI64::new(WHOLE)));
                let left = Arc::clone(&left);
                thread::spawn(move || pass(client, server, &left));
            }
        });
        cable
    }

    /// The port of the cable.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts the connection after so many more bytes towards the server. The next connection is
    /// whole.
    pub fn cut_after(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, left: &AtomicI64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let before = left.load(Ordering::SeqCst);
        if before != WHOLE && left.fetch_sub(length as i64, Ordering::SeqCst) <= length as i64 {
            left.store(WHOLE, Ordering::SeqCst);
            break;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

const WHOLE: i64 = -1;
