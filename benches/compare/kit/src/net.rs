//! A tiny edge-triggered epoll wrapper and a connection that may or may not be TLS.

use rustls::{ConnectionCommon, SideData};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

pub struct Epoll {
    fd: RawFd,
    evs: Vec<libc::epoll_event>,
}

pub const IN: u32 = libc::EPOLLIN as u32;
pub const OUT: u32 = libc::EPOLLOUT as u32;
pub const GONE: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
/// Edge-triggered, both ways, and the peer's half-close.
pub const BOTH: u32 = IN | OUT | libc::EPOLLET as u32 | libc::EPOLLRDHUP as u32;

impl Epoll {
    pub fn new() -> Epoll {
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "epoll_create1");
        Epoll { fd, evs: vec![unsafe { std::mem::zeroed() }; 512] }
    }
    pub fn add(&self, fd: RawFd, token: u64, events: u32) {
        let mut ev = libc::epoll_event { events, u64: token };
        let r = unsafe { libc::epoll_ctl(self.fd, libc::EPOLL_CTL_ADD, fd, &mut ev) };
        assert!(r == 0, "epoll_ctl: {}", io::Error::last_os_error());
    }
    /// Waits with nanosecond resolution; None waits for ever.
    pub fn wait(&mut self, timeout: Option<Duration>) -> usize {
        let ts;
        let p = match timeout {
            None => std::ptr::null(),
            Some(d) => {
                ts = libc::timespec { tv_sec: d.as_secs() as _, tv_nsec: d.subsec_nanos() as _ };
                &ts as *const libc::timespec
            }
        };
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd,
                self.evs.as_mut_ptr(),
                self.evs.len() as libc::c_int,
                p,
                std::ptr::null::<libc::sigset_t>(),
                8usize,
            )
        };
        usize::try_from(n).unwrap_or(0)
    }

    /// The token and the kinds of an event of the last `wait`.
    pub fn event(&self, i: usize) -> (u64, u32) {
        let event = self.evs[i];
        (event.u64, event.events)
    }
}

pub enum Tls {
    None,
    Client(Box<rustls::ClientConnection>),
    Server(Box<rustls::ServerConnection>),
}

impl Tls {
    pub fn server(config: &Arc<rustls::ServerConfig>) -> Tls {
        let mut connection = rustls::ServerConnection::new(Arc::clone(config)).expect("server connection");
        connection.set_buffer_limit(None);
        Tls::Server(Box::new(connection))
    }
}

pub struct Conn {
    pub sock: TcpStream,
    tls: Tls,
    pub inbuf: Vec<u8>,
    out: Vec<u8>,
}

#[derive(PartialEq)]
pub enum Fill {
    Open,
    Eof,
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0u8; 256 * 1024]);
}

impl Conn {
    pub fn new(sock: TcpStream, tls: Tls) -> Conn {
        let _ = sock.set_nodelay(true);
        sock.set_nonblocking(true).unwrap();
        Conn { sock, tls, inbuf: Vec::with_capacity(4096), out: Vec::new() }
    }
    pub fn connect(addr: SocketAddr, tls: Option<&(Arc<rustls::ClientConfig>, String)>) -> io::Result<Conn> {
        let s = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        let t = match tls {
            None => Tls::None,
            Some((cfg, name)) => {
                let n = rustls_pki_types::ServerName::try_from(name.clone()).expect("server name");
                let mut c = rustls::ClientConnection::new(cfg.clone(), n).map_err(io::Error::other)?;
                c.set_buffer_limit(None);
                s.set_nodelay(true)?;
                let mut ss = &s;
                while c.is_handshaking() {
                    c.complete_io(&mut ss)?;
                }
                Tls::Client(Box::new(c))
            }
        };
        Ok(Conn::new(s, t))
    }
    pub fn fd(&self) -> RawFd {
        self.sock.as_raw_fd()
    }

    /// Reads all available bytes and appends plaintext to `inbuf`.
    pub fn fill(&mut self, drain_to_eof: bool) -> io::Result<Fill> {
        match &mut self.tls {
            Tls::None => SCRATCH.with(|b| {
                let mut b = b.borrow_mut();
                loop {
                    match (&self.sock).read(&mut b[..]) {
                        Ok(0) => return Ok(Fill::Eof),
                        Ok(n) => {
                            self.inbuf.extend_from_slice(&b[..n]);
                            if n < b.len() && !drain_to_eof {
                                return Ok(Fill::Open);
                            }
                        }
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Fill::Open),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(e),
                    }
                }
            }),
            Tls::Client(c) => tls_fill(c, &self.sock, &mut self.inbuf),
            Tls::Server(c) => tls_fill(c, &self.sock, &mut self.inbuf),
        }
    }

    /// Writes as much as the kernel takes, and keeps the rest for `flush`.
    pub fn send(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Tls::None => {
                let written = if self.out.is_empty() { write_some(&self.sock, data)? } else { 0 };
                self.out.extend_from_slice(&data[written..]);
                Ok(())
            }
            Tls::Client(c) => {
                c.writer().write_all(data)?;
                tls_flush(c, &self.sock)
            }
            Tls::Server(c) => {
                c.writer().write_all(data)?;
                tls_flush(c, &self.sock)
            }
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Tls::None => {
                let written = write_some(&self.sock, &self.out)?;
                self.out.drain(..written);
                Ok(())
            }
            Tls::Client(c) => tls_flush(c, &self.sock),
            Tls::Server(c) => tls_flush(c, &self.sock),
        }
    }
}

/// Writes until the kernel takes no more; returns the number of bytes taken.
fn write_some(mut sock: &TcpStream, data: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < data.len() {
        match sock.write(&data[written..]) {
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(written)
}

fn tls_fill<S: SideData>(c: &mut ConnectionCommon<S>, sock: &TcpStream, inbuf: &mut Vec<u8>) -> io::Result<Fill> {
    let mut s = sock;
    let mut eof = false;
    loop {
        match c.read_tls(&mut s) {
            Ok(0) => {
                eof = true;
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        let st = c.process_new_packets().map_err(io::Error::other)?;
        let n = st.plaintext_bytes_to_read();
        if n > 0 {
            let o = inbuf.len();
            inbuf.resize(o + n, 0);
            c.reader().read_exact(&mut inbuf[o..])?;
        }
        if st.peer_has_closed() || eof {
            return Ok(Fill::Eof);
        }
    }
    if c.wants_write() {
        tls_flush(c, sock)?;
    }
    Ok(Fill::Open)
}

fn tls_flush<S: SideData>(c: &mut ConnectionCommon<S>, sock: &TcpStream) -> io::Result<()> {
    let mut s = sock;
    while c.wants_write() {
        match c.write_tls(&mut s) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Trusts the CA in this file and nothing else; HTTP/1.1 only.
pub fn client_config(ca: &str) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("CA file") {
        roots.add(certificate.expect("CA certificate")).expect("CA certificate");
    }
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A listener that does not block and has room for every connection of a benchmark to wait.
pub fn listen(port: u16) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("bind");
    unsafe { libc::listen(listener.as_raw_fd(), 4096) };
    listener.set_nonblocking(true).expect("non-blocking");
    listener
}

pub fn server_config(cert: &str, key: &str) -> Arc<rustls::ServerConfig> {
    let certs: Vec<_> = CertificateDer::pem_file_iter(cert).expect("cert").map(|c| c.expect("cert")).collect();
    let key = PrivateKeyDer::from_pem_file(key).expect("key");
    let mut c =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certs, key).expect("server config");
    c.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(c)
}
