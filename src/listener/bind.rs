//! Binding of sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};

use super::passed::PassedSocket;
use crate::config::ListenAddress;

/// A bound socket that accepts connections.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// Binds a socket. A Unix socket gets mode 0600, or 0666 if users are named in `allow_uids`:
    /// the listener then tells users apart by the credentials that the kernel gives.
    pub(super) fn bind(address: &ListenAddress, allow_uids: &[u32]) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(tcp) => bind_tcp(*tcp).map(Self::Tcp),
            ListenAddress::Unix(path) => bind_unix(path, allow_uids).map(Self::Unix),
        };
        bound.map_err(|source| BindError {
            address: address.clone(),
            source,
        })
    }

    /// Takes a socket that the service manager has bound.
    pub(super) fn take(passed: PassedSocket) -> Result<Self, BindError> {
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

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // `[::]` must not take IPv4 connections that the configuration does not name.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Binds beside the path and renames, so that the socket appears with the final mode, and replaces a
/// socket that an ended process left behind.
fn bind_unix(path: &Path, allow_uids: &[u32]) -> io::Result<UnixListener> {
    check_vacant(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let socket = UnixListener::bind(&beside)?;
    let mode = if allow_uids.is_empty() { 0o600 } else { 0o666 };
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&beside, path)?;
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
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

/// Connections that wait in the kernel: as many as a listener serves at a time.
const BACKLOG: i32 = 1024;
