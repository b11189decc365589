//! Where the shared server is, as its URL says, and a connection to it.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, ScriptInvocation, TlsCertificates, TlsMode,
};

use super::Names;
use crate::secret::{Fingerprint, Secret};

/// A server, a cluster, or a master that Sentinels know. The redis crate keeps the password in strings of its own, which
/// are not wiped when they are dropped.
pub struct Server {
    pub(super) place: Place,
    pub(super) names: Names,
    pub(super) fingerprint: Fingerprint,
}

/// Where connections lead to.
pub(super) enum Place {
    One(Box<Client>),
    Sentinel(Box<SentinelClient>),
    Cluster(Box<ClusterClient>),
}

/// A connection, which many use at a time.
#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Server {
    /// Reads a URL: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, with `rediss` for TLS;
    /// `redis+cluster://...@HOST:PORT,HOST:PORT`; `redis+sentinel://...@HOST:PORT,HOST:PORT/SERVICE[/DB]`, perhaps with
    /// `?sentinel_password=` for the Sentinels themselves. `valkey` and `valkeys` mean the same. What is not ASCII
    /// letters and digits in user and password is percent-encoded. `authorities` are those that vouch for a TLS server in
    /// the place of the system's.
    ///
    /// # Errors
    /// Says what is wrong, and nothing of what is right.
    pub fn parse(url: &Secret, authorities: Option<&[u8]>) -> Result<Self, ServerError> {
        #[expect(clippy::disallowed_methods, reason = "the one place where the URL becomes a connection")]
        let parts = Parts::parse(url.expose())?;
        let names = Names::new(parts.password.as_deref().unwrap_or_default().as_bytes());
        let authorities = authorities.filter(|_| parts.tls).map(<[u8]>::to_vec);
        let certificates = authorities.map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem) });
        let place = match parts.kind {
            Kind::One => parts.one(certificates),
            Kind::Sentinel => parts.sentinel(certificates),
            Kind::Cluster => parts.cluster(certificates),
        };
        let unusable = |_| {
            ServerError(
                "not usable, expected a URL of one server, a cluster or Sentinels, and PEM certificates in `ca`",
            )
        };
        Ok(Self { place: place.map_err(unusable)?, names, fingerprint: url.fingerprint() })
    }
}

impl Place {
    /// How long it may take to connect. Sentinels are asked one after another, and each may be silent for a second, which
    /// the library has no setting for.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::One(_) | Self::Cluster(_) => 2 * super::CONNECT,
            Self::Sentinel(_) => Duration::from_secs(4),
        }
    }

    /// A new connection. That it can be written to is tried out: a replica, a full server and one that forbids it would
    /// otherwise be lost again with the first request.
    pub(super) async fn connect(&mut self) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(super::CONNECT))
            .set_response_timeout(Some(super::CONNECT));
        let link = match self {
            Self::One(client) => Link::One(client.get_multiplexed_async_connection_with_config(&config).await?),
            Self::Sentinel(client) => Link::One(client.get_async_connection_with_config(&config).await?),
            Self::Cluster(client) => Link::Cluster(client.get_async_connection().await?),
        };
        let mut probe = redis::cmd("SET");
        probe.arg("keyside:probe").arg(1).arg("PX").arg(1000);
        link.query::<()>(&probe).await?;
        Ok(link)
    }
}

impl Link {
    pub(super) async fn run<T: FromRedisValue>(self, script: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        match self {
            Self::One(mut link) => script.invoke_async(&mut link).await,
            Self::Cluster(mut link) => script.invoke_async(&mut link).await,
        }
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match self.clone() {
            Self::One(mut link) => command.query_async(&mut link).await,
            Self::Cluster(mut link) => command.query_async(&mut link).await,
        }
    }
}

/// A URL in its parts.
struct Parts {
    kind: Kind,
    tls: bool,
    user: Option<String>,
    password: Option<String>,
    sentinel_password: Option<String>,
    hosts: Vec<(String, u16)>,
    service: String,
    database: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    One,
    Sentinel,
    Cluster,
}

impl Parts {
    fn parse(url: &str) -> Result<Self, ServerError> {
        let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
        let (scheme, kind) = match scheme.split_once('+') {
            None => (scheme, Kind::One),
            Some((scheme, "sentinel")) => (scheme, Kind::Sentinel),
            Some((scheme, "cluster")) => (scheme, Kind::Cluster),
            Some(_) => return Err(FORM),
        };
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(FORM),
        };
        if rest.contains('#') {
            // The redis crate would take #insecure for leave not to look at certificates.
            return Err(ServerError("a # in it, expected %23 where a password has one"));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let sentinel_password = match query.map(|query| query.strip_prefix("sentinel_password=")) {
            None => None,
            Some(Some(password)) if kind == Kind::Sentinel => Some(decoded(password)?),
            Some(_) => {
                return Err(ServerError("an unknown parameter, expected none but sentinel_password of Sentinels"));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':')) {
            None => (None, None),
            Some(Some((user, password))) => {
                (Some(decoded(user)?).filter(|user| !user.is_empty()), Some(decoded(password)?))
            }
            Some(None) => return Err(ServerError("a login without a colon, expected USER:PASSWORD@ or :PASSWORD@")),
        };
        let standard = if kind == Kind::Sentinel { 26379 } else { 6379 };
        let hosts = hosts.split(',').map(|host| place(host, standard)).collect::<Result<Vec<_>, _>>()?;
        if kind == Kind::One && hosts.len() > 1 {
            return Err(ServerError("several hosts, expected redis+cluster:// or redis+sentinel:// for them"));
        }
        let (service, database) = match kind {
            Kind::Sentinel => path.split_once('/').unwrap_or((path, "")),
            Kind::One | Kind::Cluster => ("", path),
        };
        if kind == Kind::Sentinel && service.is_empty() {
            return Err(ServerError("no service, expected the name under which the Sentinels know it: .../mymaster"));
        }
        let database = if database.is_empty() { Ok(0) } else { database.parse() };
        let database = database.map_err(|_| ServerError("no number of a database, expected one such as /0"))?;
        Ok(Self { kind, tls, user, password, sentinel_password, hosts, service: service.to_owned(), database })
    }

    fn addresses(&self) -> impl Iterator<Item = ConnectionAddr> {
        self.hosts.iter().cloned().map(|(host, port)| match self.tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        })
    }

    fn settings(&self) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default().set_db(self.database);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        settings
    }

    fn one(&self, certificates: Option<TlsCertificates>) -> Result<Place, RedisError> {
        let address = self.addresses().next().ok_or((redis::ErrorKind::InvalidClientConfig, "no host"))?;
        let info = address.into_connection_info()?.set_redis_settings(self.settings());
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        Ok(Place::One(Box::new(client)))
    }

    fn sentinel(&self, certificates: Option<TlsCertificates>) -> Result<Place, RedisError> {
        let mut builder = SentinelClientBuilder::new(self.addresses(), &self.service, SentinelServerType::Master)?
            .set_client_to_redis_db(self.database);
        if self.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            builder = builder.set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder.set_client_to_redis_certificates(certificates.clone());
            builder = builder.set_client_to_sentinel_certificates(certificates);
        }
        if let Some(user) = &self.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(password) = &self.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        Ok(Place::Sentinel(Box::new(builder.build()?)))
    }

    fn cluster(&self, certificates: Option<TlsCertificates>) -> Result<Place, RedisError> {
        // What is late is lost: the next decision is made by the sidecar itself, so nothing is tried twice.
        let mut builder =
            ClusterClientBuilder::new(self.addresses()).retries(RETRIES).connection_timeout(super::CONNECT);
        builder = builder.response_timeout(super::CONNECT).max_retry_wait(MOST_BETWEEN).min_retry_wait(1);
        if self.tls {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        if let Some(user) = &self.user {
            builder = builder.username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.password(password);
        }
        Ok(Place::Cluster(Box::new(builder.build()?)))
    }
}

/// `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
fn place(text: &str, standard: u16) -> Result<(String, u16), ServerError> {
    const HOST: ServerError = ServerError("no host, expected HOST, HOST:PORT or [IPV6]:PORT");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(HOST)?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| HOST)?,
        None if port.is_empty() => standard,
        None => return Err(HOST),
    };
    let is_plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    if host.is_empty() || !is_plain { Err(HOST) } else { Ok((host.to_owned(), port)) }
}

fn decoded(text: &str) -> Result<String, ServerError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| ServerError("a login that is not text when it is decoded"))
}

/// Why a URL is none of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerError(&'static str);

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ServerError {}

const FORM: ServerError =
    ServerError("not the URL of a server, expected redis://, rediss:// for TLS, redis+cluster:// or redis+sentinel://");
/// A cluster says with an error where a slot is now; that is followed within the time of the decision.
const RETRIES: u32 = 2;
/// In milliseconds.
const MOST_BETWEEN: u64 = 10;

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn hosts(url: &str) -> Vec<(String, u16)> {
        Parts::parse(url).unwrap().hosts
    }

    #[test]
    fn a_url_says_where_the_server_is_and_how_it_is_reached() {
        let host = |name: &str, port| (name.to_owned(), port);
        assert_eq!(hosts("redis://limits"), [host("limits", 6379)]);
        assert_eq!(hosts("rediss://user:p%40ss@[::1]:7000/3"), [host("::1", 7000)]);
        assert_eq!(hosts("redis+cluster://a:1,b"), [host("a", 1), host("b", 6379)]);
        assert_eq!(hosts("valkeys+sentinel://:p@s1,s2:5/main"), [host("s1", 26379), host("s2", 5)]);
        let parts = Parts::parse("rediss+sentinel://user:p%40ss@s/main/3?sentinel_password=x%3D").unwrap();
        assert_eq!((parts.kind, parts.tls, parts.database, &*parts.service), (Kind::Sentinel, true, 3, "main"));
        assert_eq!((parts.user.as_deref(), parts.password.as_deref()), (Some("user"), Some("p@ss")));
        assert_eq!(parts.sentinel_password.as_deref(), Some("x="));
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused_without_showing_it() {
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
            let error = Parts::parse(url).err().unwrap_or_else(|| panic!("{url}"));
            assert!(!error.to_string().contains("CANARY"), "{url}");
        }
    }

    #[test]
    fn each_kind_of_server_can_be_made() {
        for url in ["redis://u:p@a/1", "rediss://a", "redis+cluster://:p@a,b", "rediss+sentinel://:p@a,b/main"] {
            let secret = Secret::parse(Zeroizing::new(url.as_bytes().to_vec())).unwrap();
            assert!(Server::parse(&secret, None).is_ok(), "{url}");
            let tls = url.starts_with("rediss");
            assert_eq!(Server::parse(&secret, Some(b"-----BEGIN CERTIFICATE-----\nx")).is_err(), tls, "{url}");
        }
    }
}
