//! The other end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The process at the other end of a connection.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A process that connected to a TCP port, known by its address.
    Tcp(SocketAddr),
    /// A process of this machine that connected to a Unix socket.
    Unix {
        /// User id of the process, as reported by the kernel.
        uid: u32,
    },
}

impl Peer {
    /// Returns the address; `None` for a Unix socket.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix { .. } => None,
        }
    }

    /// Returns the address; loopback for a Unix socket.
    #[must_use]
    pub fn ip_or_loopback(&self) -> IpAddr {
        self.ip().unwrap_or(Ipv4Addr::LOCALHOST.into())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { uid } => write!(f, "uid {uid}"),
        }
    }
}
