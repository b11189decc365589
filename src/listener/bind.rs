//! Binding of sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use tokio::net::{TcpListener, UnixListener};

use super::passed::PassedSocket;
use crate::config::{ListenAddress, MAX_SOCKET_PATH};

/// A bound socket that accepts connections.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The families of addresses that `[::]` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv6, and IPv4 as well.
    Both,
    /// IPv6 alone: the configuration names IPv4 addresses at the same port by themselves.
    V6,
}

impl Families {
    /// Returns the families for an address among all addresses of the configuration.
    pub fn of<'a>(
        address: &ListenAddress,
        mut all: impl Iterator<Item = &'a ListenAddress>,
    ) -> Self {
        let ListenAddress::Tcp(address) = address else {
            return Self::Both;
        };
        // With port 0, the system picks a free port for each listener.
        let is_beside = |other: &ListenAddress| matches!(other, ListenAddress::Tcp(other) if other.is_ipv4() && other.port() == address.port());
        if address.port() != 0 && all.any(is_beside) {
            Self::V6
        } else {
            Self::Both
        }
    }
}

impl Socket {
    /// Binds a socket. A Unix socket gets mode 0600, or 0666 if users are named in `allow_uids`:
    /// the listener then tells users apart by the credentials that the kernel gives.
    pub(super) fn bind(
        address: &ListenAddress,
        families: Families,
        allow_uids: &[u32],
    ) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(tcp) => bind_tcp(*tcp, families).map(Self::Tcp),
            ListenAddress::Unix(path) => bind_unix(path, allow_uids).map(Self::Unix),
        };
        bound.map_err(|source| BindError {
            address: address.clone(),
            source,
        })
    }

    /// Takes a socket that the service manager has bound.
    pub(super) fn from_service_manager(passed: PassedSocket) -> Result<Self, BindError> {
        let taken = match &passed.address {
            ListenAddress::Tcp(_) => TcpListener::from_std(passed.socket.into()).map(Self::Tcp),
            ListenAddress::Unix(_) => {
                UnixListener::from_std(StdUnixListener::from(passed.socket)).map(Self::Unix)
            }
        };
        taken.map_err(|source| BindError {
            address: passed.address,
            source,
        })
    }
}

fn bind_tcp(address: SocketAddr, families: Families) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // Said outright: the default is the machine's (net.ipv6.bindv6only).
        socket.set_only_v6(families == Families::V6)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Binds beside the path and renames, so that the socket appears with the final mode, and replaces
/// a socket that an ended process left behind.
fn bind_unix(path: &Path, allow_uids: &[u32]) -> io::Result<UnixListener> {
    check_vacant(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    if beside.len() <= MAX_SOCKET_PATH {
        return bind_beside(Path::new(&beside), path, allow_uids);
    }
    // A path of the full length leaves no room for a longer name beside: the folder is named by its
    // descriptor, which must stay open until the rename.
    let folder = rustix::fs::open(
        path.parent().unwrap_or(Path::new("/")),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let beside = format!(
        "/proc/self/fd/{}/.keyside-{}",
        folder.as_raw_fd(),
        std::process::id()
    );
    bind_beside(Path::new(&beside), path, allow_uids)
}

fn bind_beside(beside: &Path, path: &Path, allow_uids: &[u32]) -> io::Result<UnixListener> {
    // A process that was killed before the rename left this name behind. In a container the next
    // process has the same id.
    check_vacant(beside)?;
    if let Err(error) = std::fs::remove_file(beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let socket = UnixListener::bind(beside)?;
    let mode = if allow_uids.is_empty() { 0o600 } else { 0o666 };
    std::fs::set_permissions(beside, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(beside, path)?;
    Ok(socket)
}

/// Refuses a path whose file the rename must not replace. Only a socket without a listener may be
/// replaced.
fn check_vacant(path: &Path) -> io::Result<()> {
    let refuse = |kind, reason: &'static str| Err(io::Error::new(kind, reason));
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return refuse(
                io::ErrorKind::AlreadyExists,
                "there is a file at this path that is not a socket",
            );
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    // A blocking connect would wait for a listener whose backlog is full.
    socket.set_nonblocking(true)?;
    match socket.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // The file was removed after the metadata was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => refuse(
            io::ErrorKind::AddrInUse,
            "another process listens on this socket",
        ),
    }
}

/// The failure to listen at an address.
#[derive(Debug)]
pub struct BindError {
    address: ListenAddress,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)?;
        match &self.address {
            ListenAddress::Tcp(_) if self.source.kind() == io::ErrorKind::PermissionDenied => f
                .write_str(
                    " (a low port needs CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start)",
                ),
            ListenAddress::Tcp(_) if self.source.kind() == io::ErrorKind::AddrInUse => f
                .write_str("; end the program that listens there, or name another port"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

/// Connections that wait in the kernel: as many as a listener serves at a time.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_of_ipv6_takes_both_families_unless_ipv4_is_named_at_the_port() {
        for (address, others, expected) in [
            ("[::]:80", &["[::]:80"][..], Families::Both),
            ("[::]:80", &["[::]:80", "127.0.0.1:8080"], Families::Both),
            ("[::]:80", &["0.0.0.0:80", "[::]:80"], Families::V6),
            ("[::]:80", &["127.0.0.1:80"], Families::V6),
            ("[::]:0", &["127.0.0.1:0"], Families::Both),
        ] {
            let parse = |text: &str| ListenAddress::Tcp(text.parse().unwrap());
            let all: Vec<_> = others.iter().copied().map(parse).collect();
            let families = Families::of(&parse(address), all.iter());
            assert_eq!(families, expected, "{address} {others:?}");
        }
    }

    #[tokio::test]
    async fn a_name_that_a_killed_process_left_beside_the_path_is_no_hindrance() {
        let folder = std::env::temp_dir().join(format!("keyside-bind-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("s");
        let beside = folder.join(format!("s.{}", std::process::id()));
        drop(StdUnixListener::bind(&beside).unwrap());
        bind_unix(&path, &[]).unwrap();
        assert!(path.exists() && !beside.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
