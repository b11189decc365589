//! Socket activation, sd_listen_fds(3): sockets that a service manager has bound and passes at the
//! start. A passed socket outlives the process: callers wait during a restart instead of being
//! refused.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::Socket as RawSocket;

use crate::config::ListenAddress;

/// The passed sockets that no listener has taken yet.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<PassedSocket>);

/// A passed socket.
#[derive(Debug)]
pub struct PassedSocket {
    /// `FileDescriptorName=` of the socket unit.
    name: String,
    pub(super) address: ListenAddress,
    pub(super) socket: RawSocket,
}

impl PassedSockets {
    /// Takes the sockets that the environment of this process announces: none without a service
    /// manager. Call once, before anything else opens a file: the environment only has the number
    /// of sockets, from file descriptor 3 on.
    ///
    /// # Errors
    /// If the environment is malformed, or a descriptor is not a listening stream socket.
    pub fn take() -> Result<Self, PassedError> {
        check_sockets()?;
        let announced = sd_listen_fds::get().map_err(|_| PassedError::Environment)?;
        let sockets = announced
            .into_iter()
            .enumerate()
            .map(|(number, (name, descriptor))| {
                let descriptor = descriptor.into_std();
                let is_no_socket = |reason| PassedError::Socket { number, reason };
                // Programs that `exec:` references name must not inherit the socket.
                fcntl_setfd(&descriptor, FdFlags::CLOEXEC)
                    .map_err(|errno| is_no_socket(errno.into()))?;
                let name = name.unwrap_or_default();
                PassedSocket::new(name, RawSocket::from(descriptor)).map_err(is_no_socket)
            });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// Takes the socket at `address`, if there is one.
    pub fn at(&mut self, address: &ListenAddress) -> Option<PassedSocket> {
        self.first(|socket| socket.address == *address)
    }

    /// Takes the first socket with the name of a listener's table, in the place of `address`.
    /// A socket that other machines reach never stands for an address on loopback.
    pub fn named(&mut self, table: &str, address: &ListenAddress) -> Option<PassedSocket> {
        self.first(|socket| {
            socket.name == table && (is_local(&socket.address) || !is_local(address))
        })
    }

    fn first(&mut self, fits: impl Fn(&PassedSocket) -> bool) -> Option<PassedSocket> {
        let place = self.0.iter().position(fits)?;
        Some(self.0.swap_remove(place))
    }

    /// Returns the sockets that no listener has taken.
    pub fn left(&self) -> impl Iterator<Item = &PassedSocket> {
        self.0.iter()
    }
}

impl PassedSocket {
    fn new(name: String, socket: RawSocket) -> io::Result<Self> {
        if socket.r#type()? != socket2::Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::other("it is not a listening stream socket"));
        }
        let bound = socket.local_addr()?;
        let tcp = bound.as_socket().map(ListenAddress::Tcp);
        let unix = || Some(ListenAddress::Unix(bound.as_pathname()?.to_owned()));
        let address = tcp
            .or_else(unix)
            .ok_or_else(|| io::Error::other("it has neither a TCP address nor a path"))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            name,
            address,
            socket,
        })
    }
}

/// Checks that each announced descriptor is an open socket. A descriptor used elsewhere in the
/// process would be closed with the fault, and closing an unopened number is a further fault.
fn check_sockets() -> Result<(), PassedError> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let Some(announced) = number("LISTEN_FDS") else {
        return Ok(());
    };
    let is_meant = number("LISTEN_PID") == Some(std::process::id());
    let mut descriptors = (FIRST..).take(usize::try_from(announced).unwrap_or(usize::MAX));
    let no_socket = |descriptor: &u32| {
        let open = std::fs::read_link(format!("{DESCRIPTORS}/{descriptor}"));
        !open.is_ok_and(|kind| kind.to_string_lossy().starts_with("socket:"))
    };
    // Without /proc, nobody can tell.
    if !is_meant || !Path::new(DESCRIPTORS).exists() {
        return Ok(());
    }
    match descriptors.find(no_socket) {
        Some(descriptor) => Err(PassedError::NoSocket {
            announced,
            descriptor,
        }),
        None => Ok(()),
    }
}

/// The first passed descriptor: behind the standard ones.
const FIRST: u32 = 3;
/// The open descriptors of this process.
const DESCRIPTORS: &str = "/proc/self/fd";

fn is_local(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Tcp(tcp) => tcp.ip().to_canonical().is_loopback(),
        ListenAddress::Unix(_) => true,
    }
}

impl fmt::Display for PassedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (FileDescriptorName={})", self.address, self.name)
    }
}

/// The faults of what a service manager passes.
#[derive(Debug)]
pub enum PassedError {
    /// The variables are not numbers.
    Environment,
    /// A descriptor is not open, or is no socket.
    NoSocket {
        /// The number of announced sockets.
        announced: u32,
        /// The descriptor.
        descriptor: u32,
    },
    /// A descriptor cannot be served.
    Socket {
        /// The place of the descriptor, from 0 on.
        number: usize,
        /// The reason.
        reason: io::Error,
    },
}

impl fmt::Display for PassedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str(
                "LISTEN_PID and LISTEN_FDS are not numbers; only a service manager should set them",
            ),
            Self::NoSocket {
                announced,
                descriptor,
            } => write!(
                f,
                "LISTEN_FDS announces {announced} sockets, and file descriptor {descriptor} is none; only a service manager should \
                 set LISTEN_FDS"
            ),
            Self::Socket { number, reason } => write!(
                f,
                "socket {number} from the service manager cannot be served: {reason}; \
                 the socket unit needs ListenStream= and Accept=no"
            ),
        }
    }
}

impl std::error::Error for PassedError {}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;

    fn passed(name: &str, ip: Ipv4Addr) -> PassedSocket {
        let socket = TcpListener::bind(SocketAddr::from((ip, 0))).unwrap();
        PassedSocket::new(name.to_owned(), socket.into()).unwrap()
    }

    #[test]
    fn a_socket_is_taken_by_its_address_or_by_the_name_of_the_table() {
        let loopback = ListenAddress::Tcp(([127, 0, 0, 1], 8080).into());
        let anywhere = ListenAddress::Tcp(([0, 0, 0, 0], 8081).into());
        let mut sockets = PassedSockets(vec![
            passed("keyside.socket", Ipv4Addr::LOCALHOST),
            passed("outbound", Ipv4Addr::UNSPECIFIED),
            passed("inbound", Ipv4Addr::UNSPECIFIED),
        ]);
        let first = sockets.0[0].address.clone();
        assert!(
            sockets.named("outbound", &loopback).is_none(),
            "other machines could send"
        );
        assert!(sockets.named("admin", &anywhere).is_none());
        assert!(sockets.at(&loopback).is_none());
        assert_eq!(sockets.at(&first).unwrap().address, first);
        assert!(sockets.at(&first).is_none(), "one socket, one listener");
        assert_eq!(sockets.named("inbound", &anywhere).unwrap().name, "inbound");
        assert_eq!(
            sockets.named("outbound", &anywhere).unwrap().name,
            "outbound"
        );
        assert_eq!(sockets.left().count(), 0);
    }

    #[test]
    fn a_connected_socket_is_no_listener() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(PassedSocket::new(String::new(), stream.into()).is_err());
    }
}
