//! `[outbound]` and `[outbound.tls]`.

use std::time::Duration;

use http::Uri;

use super::listen::{Addresses, Reach, host, loopback};
use super::{
    DEFAULT_DRAIN, certificate, duration, duration_or_zero, items, max_connections, size, user,
};
use crate::config::{ListenAddress, OutboundConfig, OutboundTls};
use crate::document::{Field, Malformed, Reader};

/// Reads `[outbound]`.
pub(super) fn outbound(
    mut reader: Reader<'_>,
    addresses: &mut Addresses,
) -> (OutboundConfig, Reach) {
    let reach = match reader.boolean("allow_remote") {
        Some(true) => Reach::Anywhere,
        Some(false) | None => Reach::Loopback,
    };
    let listen = addresses.listen(&mut reader, loopback(8080), reach);
    let allowed_hosts = items(&mut reader, "allowed_hosts", |field| field.parse(host));
    let public_origin = reader.parse("public_origin", public_origin).flatten();
    let trusted_proxies = items(&mut reader, "trusted_proxies", |field| {
        field.parse(str::parse)
    });
    let users = reader.field("allow_uids");
    let named_users = users.as_ref().and_then(Field::array).unwrap_or_default();
    let mut outbound = OutboundConfig {
        listen,
        allowed_hosts,
        public_origin,
        trusted_proxies,
        tls: None,
        allow_uids: named_users.iter().filter_map(user).collect(),
        drain: duration(&mut reader, "drain", DEFAULT_DRAIN),
        linger: reader.parse("linger", duration_or_zero).unwrap_or_default(),
        max_connections: max_connections(&mut reader),
        max_media: size(&mut reader, "max_media", DEFAULT_MAX_MEDIA),
        media_timeout: duration(&mut reader, "media_timeout", DEFAULT_MEDIA_TIMEOUT),
    };
    if let Some(table) = reader.table("tls") {
        outbound.tls = tls(table, addresses, reach, &mut outbound.listen);
    }
    if let Some(field) = users.filter(|_| !named_users.is_empty())
        && outbound.tcp_addresses().next().is_some()
    {
        field.warn("any user can send over TCP, where users cannot be told apart: give [outbound] Unix sockets alone");
    }
    reader.finish();
    (outbound, reach)
}

/// Reads `[outbound.tls]`. Without addresses of its own the table applies to the TCP addresses in
/// `plain`, as `[inbound.tls]` applies to those of `[inbound]`.
fn tls(
    mut reader: Reader<'_>,
    addresses: &mut Addresses,
    reach: Reach,
    plain: &mut Vec<ListenAddress>,
) -> Option<OutboundTls> {
    let listen = if let Some(field) = reader.field("listen") {
        addresses.written(&field, reach)
    } else {
        let is_tcp = |address: &mut ListenAddress| matches!(address, ListenAddress::Tcp(_));
        plain.extract_if(.., is_tcp).collect()
    };
    let certificate = certificate(
        &mut reader,
        "the file with the certificate for the providers' hosts, in PEM (`keyside ca` makes one)",
    );
    let unix = |address: &ListenAddress| matches!(address, ListenAddress::Unix(_));
    if listen.is_empty() || listen.iter().any(unix) {
        reader.fault(
            "no TCP address for TLS, expected `listen` here with IP:PORT such as \"127.0.0.1:443\"",
        );
    }
    reader.finish();
    let (cert, key) = certificate?;
    Some(OutboundTls { listen, cert, key })
}

/// Reads `https://HOST` or `http://HOST`, perhaps with a port; empty for none.
fn public_origin(text: &str) -> Result<Option<String>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    let uri: Uri = text.parse().map_err(|_| NOT_AN_ORIGIN)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(NOT_AN_ORIGIN);
    };
    let is_whole = authority.port_u16().is_some() || authority.host() == authority.as_str();
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains('#');
    if !matches!(scheme, "http" | "https") || !is_whole || !is_bare {
        return Err(NOT_AN_ORIGIN);
    }
    Ok(Some(format!("{scheme}://{authority}")))
}

/// The default of `max_media`, in bytes: WhatsApp takes documents of 100 MB, and multipart adds a
/// little.
const DEFAULT_MAX_MEDIA: u64 = 110 * 1024 * 1024;
/// The default of `media_timeout`: 100 MB at 3 Mbit/s.
const DEFAULT_MEDIA_TIMEOUT: Duration = Duration::from_secs(300);
const NOT_AN_ORIGIN: Malformed = Malformed::new(
    "not an origin, expected scheme and host alone, such as \"https://whatsapp.example.com\"",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_origin_is_a_scheme_and_a_host() {
        for (text, expected) in [
            ("", Some(None)),
            (
                "https://wa.example.com",
                Some(Some("https://wa.example.com")),
            ),
            (
                "https://wa.example.com/",
                Some(Some("https://wa.example.com")),
            ),
            ("http://keyside:8080", Some(Some("http://keyside:8080"))),
            ("https://[::1]:8443", Some(Some("https://[::1]:8443"))),
            ("wa.example.com", None),
            ("ftp://wa.example.com", None),
            ("https://wa.example.com/v23.0", None),
            ("https://wa.example.com?a", None),
            ("https://user@wa.example.com", None),
            ("https://wa.example.com:", None),
        ] {
            let read = public_origin(text).ok();
            assert_eq!(read.as_ref().map(Option::as_deref), expected, "{text}");
        }
    }
}
