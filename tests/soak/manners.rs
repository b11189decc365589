//! Callers with bad manners, on every kind of listener.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::support::MESSAGES;
use crate::support::client::Client;

/// A listener, with a short request, and a request whose answer takes a while or is large.
pub(super) struct Door {
    pub(super) place: Place,
    pub(super) short: Vec<u8>,
    pub(super) long: Vec<u8>,
    /// More connections than the listener has places.
    pub(super) crowd: usize,
    /// The callers of each manner at a time.
    pub(super) callers: usize,
}

/// The place of a listener.
#[derive(Clone)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Tls(SocketAddr, Arc<ClientConfig>),
}

/// A connection of a caller with bad manners.
pub(super) trait Line: Read + Write {
    /// Ends this side of the connection; with TLS without a word, as a program that is killed does.
    fn end(&mut self);
}

impl Line for TcpStream {
    fn end(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Line for UnixStream {
    fn end(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Line for StreamOwned<ClientConnection, TcpStream> {
    fn end(&mut self) {
        let _ = self.sock.shutdown(Shutdown::Write);
    }
}

impl Place {
    /// Connects, without patience for a listener that does nothing.
    pub(super) fn call(&self) -> io::Result<Box<dyn Line>> {
        let tcp = |address: &SocketAddr| {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok::<_, io::Error>(stream)
        };
        match self {
            Self::Tcp(address) => Ok(Box::new(tcp(address)?)),
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Box::new(stream))
            }
            Self::Tls(address, config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let tls = ClientConnection::new(Arc::clone(config), name);
                let tls = tls.map_err(io::Error::other)?;
                Ok(Box::new(StreamOwned::new(tls, tcp(address)?)))
            }
        }
    }

    /// A patient client.
    pub(super) fn client(&self) -> io::Result<Client> {
        match self {
            Self::Tcp(address) => Client::connect(*address),
            Self::Unix(path) => Client::connect_unix(path),
            Self::Tls(address, config) => Client::connect_tls(*address, Arc::clone(config)),
        }
    }
}

/// The wait of a caller with bad manners for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The behaviour of a caller on a connection.
pub(super) type Manner = fn(&Door, &mut dyn Line);

/// The manners of the callers, each with its own loop on each listener.
pub(super) const MANNERS: [Manner; 7] = [
    impatient,
    half_closing,
    pipelining,
    slow_head,
    slow_body,
    slow_reader,
    dead,
];

fn impatient(door: &Door, stream: &mut dyn Line) {
    let _ = stream.write_all(&door.long);
    pause(10);
}

fn half_closing(door: &Door, stream: &mut dyn Line) {
    let _ = stream.write_all(&door.long);
    pause(10);
    stream.end();
    let _ = stream.read_to_end(&mut Vec::new());
}

fn pipelining(door: &Door, stream: &mut dyn Line) {
    let _ = stream.write_all(&door.long.repeat(4));
    pause(30);
}

fn slow_head(door: &Door, stream: &mut dyn Line) {
    for byte in door.short.iter().take(20) {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        pause(20);
    }
}

fn slow_body(door: &Door, stream: &mut dyn Line) {
    let head = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes());
    for byte in door.short.iter().take(20) {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        pause(20);
    }
}

fn slow_reader(door: &Door, stream: &mut dyn Line) {
    let _ = stream.write_all(&door.long);
    let mut buffer = [0; 2000];
    for _ in 0..20 {
        if stream.read(&mut buffer).is_err() {
            return;
        }
        pause(20);
    }
}

fn dead(_: &Door, _: &mut dyn Line) {
    pause(500);
}

pub(super) fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
