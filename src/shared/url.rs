//! The URL of the shared server, taken apart.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;

/// The parts of a shared server's URL.
pub(super) struct ServerUrl {
    pub(super) kind: ServerKind,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) sentinel_password: Option<String>,
    pub(super) hosts: Vec<(String, u16)>,
    /// The name under which Sentinels know the master; empty for the other kinds.
    pub(super) service: String,
    pub(super) database: i64,
}

/// The topology named by a URL's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerKind {
    Single,
    Sentinel,
    Cluster,
}

impl ServerUrl {
    pub(super) fn parse(url: &str) -> Result<Self, ServerUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(ServerUrlError::Form)?;
        let (kind, tls) = kind_and_tls(scheme)?;
        // The redis crate would take `#insecure` as an order not to check certificates.
        if rest.contains('#') {
            return Err(ServerUrlError::Fragment);
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let sentinel_password = match query {
            None => None,
            Some(query) => Some(sentinel_password(query, kind)?),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = login.map_or(Ok((None, None)), user_and_password)?;
        let hosts = hosts_of(hosts, kind)?;
        let (service, database) = service_and_database(path, kind)?;
        Ok(Self {
            kind,
            tls,
            user,
            password,
            sentinel_password,
            hosts,
            service,
            database,
        })
    }
}

impl ServerUrl {
    /// True if a password would cross a network without TLS.
    pub(super) fn exposes_password(&self) -> bool {
        let has_password = self.password.is_some() || self.sentinel_password.is_some();
        has_password && !self.tls && !self.hosts.iter().all(|(host, _)| is_loopback(host))
    }
}

fn is_loopback(host: &str) -> bool {
    let is_address = host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    is_address || host.eq_ignore_ascii_case("localhost")
}

fn kind_and_tls(scheme: &str) -> Result<(ServerKind, bool), ServerUrlError> {
    let (protocol, kind) = match scheme.split_once('+') {
        None => (scheme, ServerKind::Single),
        Some((protocol, "sentinel")) => (protocol, ServerKind::Sentinel),
        Some((protocol, "cluster")) => (protocol, ServerKind::Cluster),
        Some(_) => return Err(ServerUrlError::Form),
    };
    match protocol {
        "redis" | "valkey" => Ok((kind, false)),
        "rediss" | "valkeys" => Ok((kind, true)),
        _ => Err(ServerUrlError::Form),
    }
}

fn sentinel_password(query: &str, kind: ServerKind) -> Result<String, ServerUrlError> {
    match query.strip_prefix("sentinel_password=") {
        Some(password) if kind == ServerKind::Sentinel => decoded(password),
        _ => Err(ServerUrlError::Parameter),
    }
}

type Login = (Option<String>, Option<String>);

fn user_and_password(login: &str) -> Result<Login, ServerUrlError> {
    let (user, password) = login.split_once(':').ok_or(ServerUrlError::Login)?;
    let user = Some(decoded(user)?).filter(|user| !user.is_empty());
    Ok((user, Some(decoded(password)?)))
}

fn hosts_of(list: &str, kind: ServerKind) -> Result<Vec<(String, u16)>, ServerUrlError> {
    let default_port = match kind {
        ServerKind::Sentinel => 26379,
        ServerKind::Single | ServerKind::Cluster => 6379,
    };
    let hosts = list
        .split(',')
        .map(|host| host_and_port(host, default_port))
        .collect::<Result<Vec<_>, _>>()?;
    if kind == ServerKind::Single && hosts.len() > 1 {
        return Err(ServerUrlError::SeveralHosts);
    }
    Ok(hosts)
}

/// Reads `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), ServerUrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(ServerUrlError::Host)?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| ServerUrlError::Host)?,
        None if port.is_empty() => default_port,
        None => return Err(ServerUrlError::Host),
    };
    let is_plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    if host.is_empty() || !is_plain {
        return Err(ServerUrlError::Host);
    }
    Ok((host.to_owned(), port))
}

fn service_and_database(path: &str, kind: ServerKind) -> Result<(String, i64), ServerUrlError> {
    let (service, database) = match kind {
        ServerKind::Sentinel => path.split_once('/').unwrap_or((path, "")),
        ServerKind::Single | ServerKind::Cluster => ("", path),
    };
    if kind == ServerKind::Sentinel && service.is_empty() {
        return Err(ServerUrlError::Service);
    }
    let database = match database {
        "" => 0,
        number => number.parse().map_err(|_| ServerUrlError::Database)?,
    };
    Ok((service.to_owned(), database))
}

fn decoded(text: &str) -> Result<String, ServerUrlError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| ServerUrlError::LoginEncoding)
}

/// The fault of a shared server's URL. No message shows a part of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerUrlError {
    /// The scheme is unknown.
    Form,
    /// The URL has a `#`.
    Fragment,
    /// The query has something besides `sentinel_password` of Sentinels.
    Parameter,
    /// The login has no colon.
    Login,
    /// User or password is not UTF-8 after percent-decoding.
    LoginEncoding,
    /// A host or port is malformed.
    Host,
    /// A URL of a single server has several hosts.
    SeveralHosts,
    /// A URL of Sentinels names no service.
    Service,
    /// The database is not a number.
    Database,
    /// The redis crate refuses the URL or the certificates.
    Unusable,
}

impl fmt::Display for ServerUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => {
                "not the URL of a server, expected redis://, rediss:// for TLS, redis+cluster:// or redis+sentinel://"
            }
            Self::Fragment => "a # in the URL, expected %23 where a password has a #",
            Self::Parameter => {
                "an unknown parameter, expected none but sentinel_password of Sentinels"
            }
            Self::Login => "a login without a colon, expected USER:PASSWORD@ or :PASSWORD@",
            Self::LoginEncoding => "a user or password that is not UTF-8 after percent-decoding",
            Self::Host => "no host, expected HOST, HOST:PORT or [IPV6]:PORT",
            Self::SeveralHosts => {
                "several hosts, expected redis+cluster:// or redis+sentinel:// for them"
            }
            Self::Service => {
                "no service, expected the name under which the Sentinels know it: .../mymaster"
            }
            Self::Database => "no number of a database, expected a number such as /0",
            Self::Unusable => {
                "not usable, expected a URL of one server, a cluster or Sentinels, and PEM certificates in `ca`"
            }
        })
    }
}

impl std::error::Error for ServerUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Vec<(String, u16)> {
        ServerUrl::parse(url).unwrap().hosts
    }

    #[test]
    fn a_url_is_taken_apart_into_kind_hosts_and_login() {
        let host = |name: &str, port| (name.to_owned(), port);
        assert_eq!(hosts("redis://limits"), [host("limits", 6379)]);
        assert_eq!(
            hosts("rediss://user:p%40ss@[::1]:7000/3"),
            [host("::1", 7000)]
        );
        assert_eq!(
            hosts("redis+cluster://a:1,b"),
            [host("a", 1), host("b", 6379)]
        );
        assert_eq!(
            hosts("valkeys+sentinel://:p@s1,s2:5/main"),
            [host("s1", 26379), host("s2", 5)]
        );
        let parts =
            ServerUrl::parse("rediss+sentinel://user:p%40ss@s/main/3?sentinel_password=x%3D")
                .unwrap();
        assert_eq!(
            (parts.kind, parts.tls, parts.database, &*parts.service),
            (ServerKind::Sentinel, true, 3, "main")
        );
        assert_eq!(
            (parts.user.as_deref(), parts.password.as_deref()),
            (Some("user"), Some("p@ss"))
        );
        assert_eq!(parts.sentinel_password.as_deref(), Some("x="));
    }

    #[test]
    fn a_password_is_exposed_without_tls_to_another_machine() {
        for (url, expected) in [
            ("redis://:p@limits", true),
            ("valkey://user:p@10.0.0.1:7000/3", true),
            ("redis+cluster://:p@localhost,limits", true),
            ("redis+sentinel://s1/main?sentinel_password=x", true),
            ("rediss://:p@limits", false),
            ("redis://limits", false),
            ("redis://:p@localhost", false),
            ("redis://:p@127.0.0.1:6379", false),
            ("redis://:p@[::1]", false),
        ] {
            let exposes = ServerUrl::parse(url).unwrap().exposes_password();
            assert_eq!(exposes, expected, "{url}");
        }
    }

    #[test]
    fn a_malformed_url_is_refused_without_showing_its_secrets() {
        for url in [
            "limits:6379",
            "http://limits",
            "redis+ring://limits",
            "redis://",
            "redis://CANARY@limits",
            "redis://a,b",
            "redis://limits:port",
            "redis://limits:70000",
            "redis://[::1",
            "redis://limits/db",
            "redis://limits?CANARY=1",
            "redis://:CANARY#insecure@limits",
            "rediss://limits/#insecure",
            "redis+sentinel://limits",
            "redis://li mits",
        ] {
            let error = ServerUrl::parse(url)
                .err()
                .unwrap_or_else(|| panic!("{url}"));
            assert!(!error.to_string().contains("CANARY"), "{url}");
        }
    }
}
