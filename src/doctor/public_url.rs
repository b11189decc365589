//! The public URL of a webhook, in its parts.

use std::net::IpAddr;

use http::Uri;
use zeroize::Zeroizing;

use crate::provider::Origin;

/// The public URL of a webhook.
pub(super) struct PublicUrl {
    /// The whole text, which providers sign.
    pub(super) whole: String,
    /// Scheme, host and port.
    pub(super) origin: Origin,
    /// Path and query.
    pub(super) target: String,
    /// User and password before the host, which the provider sends as Basic authentication.
    pub(super) user: Option<Zeroizing<String>>,
}

impl PublicUrl {
    /// Splits a URL; `None` for a text that is none, which the configuration refuses.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let user = authority
            .as_str()
            .rsplit_once('@')
            .map(|(user, _)| Zeroizing::new(user.to_owned()));
        Some(Self {
            whole: text.to_owned(),
            origin: Origin {
                tls,
                host: authority.host().to_ascii_lowercase(),
                port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            },
            target: uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
            user,
        })
    }

    /// Returns the path before the token, for a webhook with a token as the last segment.
    pub(super) fn before_token(&self) -> &str {
        let path = self.target.split('?').next().unwrap_or_default();
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        path.get(..last).unwrap_or(path)
    }

    /// True if the host is this machine, by name or address.
    pub(super) fn is_on_this_machine(&self) -> bool {
        let host = self.origin.host.trim_matches(['[', ']']);
        let address: Option<IpAddr> = host.parse().ok();
        host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }
}

/// True for an address that no provider can reach.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // 100.64.0.0/10 is shared address space (RFC 6598).
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_what_a_request_needs() {
        for (text, authority, target, user) in [
            ("https://h.test/wa", "h.test", "/wa", None),
            ("https://H.test:8443/wa?a=1", "h.test:8443", "/wa?a=1", None),
            ("https://u:p@h.test/", "h.test", "/", Some("u:p")),
            ("http://127.0.0.1:8081/wa", "127.0.0.1:8081", "/wa", None),
            ("https://h.test", "h.test", "/", None),
        ] {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!(url.origin.authority(), authority);
            assert_eq!(url.target, target);
            assert_eq!(url.user.as_deref().map(String::as_str), user);
        }
        assert!(PublicUrl::parse("ftp://h.test/").is_none());
        let url = PublicUrl::parse("https://h.test/hooks/x?a=1").unwrap();
        assert_eq!(url.before_token(), "/hooks/");
    }

    #[test]
    fn a_private_address_cannot_be_reached_by_a_provider() {
        for (address, expected) in [
            ("10.1.2.3", true),
            ("192.168.0.1", true),
            ("172.16.0.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("127.0.0.1", true),
            ("169.254.1.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::ffff:10.0.0.1", true),
            ("203.0.113.7", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
        }
    }
}
