//! Addresses to listen at, and the hosts that the outbound listener answers for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::{ApplicationAddress, ListenAddress, MAX_SOCKET_PATH};
use crate::document::{Field, Malformed, Reader};

/// The addresses of all listeners. No two listeners may have the same address.
#[derive(Default)]
pub(super) struct Addresses {
    /// Each address with a description of its place in the file.
    taken: Vec<(ListenAddress, String)>,
}

/// The machines from which a listener may be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Only this machine: other machines could use the credential.
    Loopback,
    /// Only this machine: other machines could read the status and reload.
    LoopbackOfOperators,
    /// Any machine that the network lets through.
    Anywhere,
}

impl Reach {
    /// Returns the fault of an address within reach of other machines.
    fn danger(self) -> Option<&'static str> {
        match self {
            Self::Anywhere => None,
            Self::Loopback => Some(
                "not on loopback, so other machines could use the credential: \
                 expected 127.0.0.1, [::1] or unix:, or allow_remote = true in [outbound]",
            ),
            Self::LoopbackOfOperators => Some(
                "not on loopback, so other machines could read the status and reload: expected 127.0.0.1, [::1] or unix:; \
                 for probes and metrics of other machines use `listen` in [metrics]",
            ),
        }
    }
}

impl Addresses {
    /// Reads the key `listen` of a table.
    pub(super) fn listen(
        &mut self,
        reader: &mut Reader<'_>,
        default: ListenAddress,
        reach: Reach,
    ) -> Vec<ListenAddress> {
        let Some(field) = reader.field("listen") else {
            let key = format!("{}.listen", reader.path());
            if let Some((_, place)) = self.taken.iter().find(|(taken, _)| clash(taken, &default)) {
                let message = format!("its default is taken at {place}, expected another address");
                reader.report().fault(reader.at(), &key, message);
            }
            let place = format!("the default of {key}");
            self.taken.push((default.clone(), place));
            return vec![default];
        };
        self.written(&field, reach)
    }

    /// Reads the value of a key `listen`.
    pub(super) fn written(&mut self, field: &Field<'_>, reach: Reach) -> Vec<ListenAddress> {
        let Some(fields) = field.array() else {
            return Vec::new();
        };
        if fields.is_empty() {
            field.fault("empty, expected at least one address");
        }
        let addresses = fields.iter().filter_map(|field| self.address(field, reach));
        addresses.collect()
    }

    /// Returns the place of the listener that is at the address of an application: its events would
    /// come back.
    pub(super) fn place_at(&self, application: &ApplicationAddress) -> Option<&str> {
        let taken = self.taken.iter();
        let mut found = taken.filter(|(listen, _)| leads_to(application, listen));
        found.next().map(|(_, place)| place.as_str())
    }

    fn address(&mut self, field: &Field<'_>, reach: Reach) -> Option<ListenAddress> {
        let address = field.parse(listen_address)?;
        if let ListenAddress::Tcp(tcp) = address
            && !tcp.ip().to_canonical().is_loopback()
            && let Some(danger) = reach.danger()
        {
            field.fault(danger);
        }
        // With port 0, the system picks a free port for each listener.
        let is_any = matches!(address, ListenAddress::Tcp(tcp) if tcp.port() == 0);
        let earlier = self.taken.iter().find(|(taken, _)| clash(taken, &address));
        if let Some((taken, place)) = earlier.filter(|_| !is_any) {
            let problem = if *taken == address {
                format!("the same address as at {place}, expected another")
            } else {
                format!(
                    "the same port as at {place}, and one of both takes every address of the machine: expected another port"
                )
            };
            field.fault(problem);
        }
        self.taken.push((address.clone(), field.at().to_string()));
        Some(address)
    }
}

/// True if the address of an application is that of a listener. A name other than that of loopback
/// is not looked up.
fn leads_to(application: &ApplicationAddress, listen: &ListenAddress) -> bool {
    let (origin, listen) = match (application, listen) {
        (ApplicationAddress::Unix(socket), ListenAddress::Unix(path)) => return socket == path,
        (ApplicationAddress::Origin(origin), ListenAddress::Tcp(listen)) => (origin, listen),
        (ApplicationAddress::Unix(_), ListenAddress::Tcp(_))
        | (ApplicationAddress::Origin(_), ListenAddress::Unix(_)) => return false,
    };
    if origin.port != listen.port() {
        return false;
    }
    let own = listen.ip().to_canonical();
    let loopback = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let host = origin.host.trim_matches(['[', ']']).trim_end_matches('.');
    match host.parse::<IpAddr>().map(|host| host.to_canonical()) {
        // A connection to the wildcard address goes to loopback.
        Ok(host) if host.is_unspecified() => own.is_unspecified() || loopback.contains(&own),
        Ok(host) => host == own || (own.is_unspecified() && host.is_loopback()),
        Err(_) => {
            let is_local = host == "localhost" || host.ends_with(".localhost");
            is_local && (own.is_unspecified() || loopback.contains(&own))
        }
    }
}

/// True for addresses that exclude each other on two sockets: equal addresses, and a single address
/// beside all of its family.
fn clash(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            let takes_all = one.ip().is_unspecified() || other.ip().is_unspecified();
            let is_of_family = one.is_ipv4() == other.is_ipv4();
            one == other || (one.port() == other.port() && takes_all && is_of_family)
        }
        _ => one == other,
    }
}

/// Returns the loopback address with a port.
pub(super) fn loopback(port: u16) -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn listen_address(text: &str) -> Result<ListenAddress, Malformed> {
    let Some(path) = text.strip_prefix("unix:") else {
        return text.parse().map(ListenAddress::Tcp).map_err(|_| {
            Malformed::new(
                "not an address, expected IP:PORT such as \"127.0.0.1:8080\" or \"unix:/run/keyside/send.sock\"",
            )
        });
    };
    let is_path = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
    if !is_path || path.len() > MAX_SOCKET_PATH {
        return Err(Malformed::new(
            "not a socket, expected unix: and an absolute path of at most 107 bytes",
        ));
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

/// Reads a host name in the form in which `Host` headers are compared.
pub(super) fn host(text: &str) -> Result<String, Malformed> {
    let address = text.trim_matches(['[', ']']);
    if let Ok(address) = address.parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || text.len() > MAX_HOST_LENGTH || !text.chars().all(plain) {
        return Err(Malformed::new(
            "not a host name, expected one without scheme, port and path",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// The longest host name in text form, in bytes: RFC 1035, section 2.3.4, less the length bytes of
/// the wire form.
pub(super) const MAX_HOST_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Origin;

    #[test]
    fn an_application_at_the_address_of_a_listener_is_noticed() {
        for (host, listen, expected) in [
            ("127.0.0.1", "127.0.0.1:80", true),
            ("localhost", "127.0.0.1:80", true),
            ("localhost.", "[::1]:80", true),
            ("app.localhost", "0.0.0.0:80", true),
            ("127.0.0.1", "0.0.0.0:80", true),
            ("[::1]", "[::]:80", true),
            ("0.0.0.0", "127.0.0.1:80", true),
            ("[::ffff:127.0.0.1]", "127.0.0.1:80", true),
            ("10.0.0.7", "10.0.0.7:80", true),
            ("127.0.0.1", "127.0.0.1:81", false),
            ("127.0.0.2", "127.0.0.1:80", false),
            ("localhost", "127.0.0.2:80", false),
            ("10.0.0.7", "0.0.0.0:80", false),
            ("app", "0.0.0.0:80", false),
        ] {
            let application = ApplicationAddress::Origin(Origin {
                tls: false,
                host: host.to_owned(),
                port: 80,
            });
            let found = leads_to(&application, &ListenAddress::Tcp(listen.parse().unwrap()));
            assert_eq!(found, expected, "{host} {listen}");
        }
        let socket = |path: &str| ApplicationAddress::Unix(path.into());
        let own = ListenAddress::Unix("/run/a.sock".into());
        assert!(leads_to(&socket("/run/a.sock"), &own));
        assert!(!leads_to(&socket("/run/b.sock"), &own));
    }
}
