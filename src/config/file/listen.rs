//! Where to listen, and the hosts that are answered for.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::ListenAddress;
use crate::document::{Field, Reader};

/// The listeners of all sections: no two may have one address.
#[derive(Default)]
pub(super) struct Addresses {
    taken: Vec<(ListenAddress, String)>,
}

/// From where a listener may be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// From this machine alone.
    Loopback,
    /// From wherever the network lets in.
    Anywhere,
}

impl Addresses {
    pub(super) fn listen(
        &mut self,
        reader: &mut Reader<'_>,
        default: ListenAddress,
        reach: Reach,
    ) -> Vec<ListenAddress> {
        let Some(field) = reader.field("listen") else {
            let key = format!("{}.listen", reader.path());
            if let Some((_, place)) = self.taken.iter().find(|(taken, _)| *taken == default) {
                let message = format!("its default is taken at {place}, expected another address");
                reader.report().fault(reader.at(), &key, message);
            }
            let place = format!("the default of {key}");
            self.taken.push((default.clone(), place));
            return vec![default];
        };
        let Some(fields) = field.array() else {
            return Vec::new();
        };
        if fields.is_empty() {
            field.fault("empty, expected at least one address");
        }
        let addresses = fields.iter().filter_map(|field| self.address(field, reach));
        addresses.collect()
    }

    fn address(&mut self, field: &Field<'_>, reach: Reach) -> Option<ListenAddress> {
        let address = field.parse(listen_address)?;
        if let ListenAddress::Tcp(tcp) = address
            && !tcp.ip().to_canonical().is_loopback()
            && reach == Reach::Loopback
        {
            field.fault(
                "not on loopback, so other machines could use the credential: \
                 expected 127.0.0.1, [::1] or unix:, or allow_remote = true in [outbound]",
            );
        }
        // Port 0 is a new port each time.
        let is_any = matches!(address, ListenAddress::Tcp(tcp) if tcp.port() == 0);
        let earlier = self.taken.iter().find(|(taken, _)| *taken == address);
        if let Some((_, place)) = earlier.filter(|_| !is_any) {
            field.fault(format!("the same address as at {place}, expected another"));
        }
        self.taken.push((address.clone(), field.at().to_string()));
        Some(address)
    }
}

pub(super) fn loopback(port: u16) -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn listen_address(text: &str) -> Result<ListenAddress, &'static str> {
    let Some(path) = text.strip_prefix("unix:") else {
        let address: Result<SocketAddr, _> = text.parse();
        return address.map(ListenAddress::Tcp).map_err(
            |_| "not an address, expected IP:PORT such as \"127.0.0.1:8080\" or \"unix:/run/keyside/send.sock\"",
        );
    };
    // The kernel has 108 bytes for the path and the NUL after it.
    if !path.starts_with('/') || path.ends_with('/') || path.len() > 107 || path.contains('\0') {
        return Err("not a socket, expected unix: and an absolute path of at most 107 bytes");
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

/// The host of a `Host` header, as it will be compared.
pub(super) fn host(text: &str) -> Result<String, &'static str> {
    let address = text.trim_matches(['[', ']']);
    if let Ok(address) = address.parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || text.len() > 253 || !text.chars().all(plain) {
        return Err("not a host name, expected one without scheme, port and path");
    }
    Ok(text.to_ascii_lowercase())
}
