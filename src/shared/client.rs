//! The clients and connections of the shared server.

use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, Script, ScriptInvocation, TlsCertificates, TlsMode,
};
use tokio::time::timeout;

use super::names::KeyNames;
use super::url::{ServerKind, ServerUrl, ServerUrlError};
use crate::secret::{Fingerprint, Secret};

/// The checked address of a shared server.
///
/// The redis crate keeps the password in strings of its own, which are not wiped when they are
/// dropped.
pub struct ServerAddress {
    pub(super) client: ServerClient,
    pub(super) names: KeyNames,
    pub(super) fingerprint: Fingerprint,
}

/// A maker of connections to one server, to the master that Sentinels name, or to a cluster.
pub struct ServerClient {
    topology: Topology,
    timeouts: ServerTimeouts,
}

/// The bounds of time for a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerTimeouts {
    /// The time for name, TCP, TLS and password of a host.
    pub host: Duration,
    /// The time for the answer to a command.
    pub answer: Duration,
}

enum Topology {
    Single(Box<Client>),
    Sentinel(Box<SentinelClient>),
    Cluster(Box<ClusterClient>),
}

/// A connection. Clones use the connection at the same time.
#[derive(Clone)]
pub struct ServerConnection(ServerLink);

/// The reason why there is no connection that decisions can be made through.
pub(super) enum ConnectError {
    /// The server does not answer, or refuses the login or a command.
    Refused(RedisError),
    /// The server takes longer than this to run a script.
    Slow(Duration),
}

#[derive(Clone)]
enum ServerLink {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ServerAddress {
    /// Reads a URL: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`, with `rediss` for TLS;
    /// `redis+cluster://...@HOST:PORT,HOST:PORT`; or
    /// `redis+sentinel://...@HOST:PORT,HOST:PORT/SERVICE[/DB]`, with `?sentinel_password=` where
    /// the Sentinels have a password. `valkey` and `valkeys` mean `redis` and `rediss`. All
    /// characters but ASCII letters and digits are percent-encoded in user and password.
    ///
    /// `authorities` are PEM certificates that vouch for a TLS server in place of the system's.
    ///
    /// # Errors
    /// Says what is wrong with the URL, and shows no part of it.
    pub fn parse(url: &Secret, authorities: Option<&[u8]>) -> Result<Self, ServerUrlError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where the URL becomes a connection"
        )]
        let parts = ServerUrl::parse(url.expose())?;
        let names = KeyNames::new(parts.password.as_deref().unwrap_or_default().as_bytes());
        let timeouts = ServerTimeouts {
            host: HOST_TIMEOUT,
            answer: HOST_TIMEOUT,
        };
        let client = ServerClient::to(&parts, authorities, timeouts)?;
        Ok(Self {
            client,
            names,
            fingerprint: url.fingerprint(),
        })
    }
}

/// True if a password in the URL of a server would cross a network without TLS.
#[must_use]
pub fn exposes_password(url: &Secret) -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "looks at the scheme and the hosts, and says nothing of the rest"
    )]
    let parts = ServerUrl::parse(url.expose());
    parts.is_ok_and(|parts| parts.exposes_password())
}

impl ServerClient {
    /// Reads a URL like [`ServerAddress::parse`], for commands beside the shared limits.
    ///
    /// # Errors
    /// Says what is wrong with the URL, and shows no part of it.
    pub fn parse(
        url: &Secret,
        authorities: Option<&[u8]>,
        timeouts: ServerTimeouts,
    ) -> Result<Self, ServerUrlError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the place where the URL of a stream's server becomes a connection"
        )]
        let parts = ServerUrl::parse(url.expose())?;
        Self::to(&parts, authorities, timeouts)
    }

    fn to(
        parts: &ServerUrl,
        authorities: Option<&[u8]>,
        timeouts: ServerTimeouts,
    ) -> Result<Self, ServerUrlError> {
        let authorities = authorities.filter(|_| parts.tls).map(<[u8]>::to_vec);
        let certificates = authorities.map(|pem| TlsCertificates {
            client_tls: None,
            root_cert: Some(pem),
        });
        let topology = match parts.kind {
            ServerKind::Single => parts.single_client(certificates),
            ServerKind::Sentinel => parts.sentinel_client(certificates),
            ServerKind::Cluster => parts.cluster_client(certificates, timeouts),
        };
        Ok(Self {
            topology: topology.map_err(|_| ServerUrlError::Unusable)?,
            timeouts,
        })
    }

    /// Returns the time limit of an attempt to connect. The Sentinels are asked one
    /// after another, and each may be silent for a second, for which the library has no setting.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        match self.topology {
            Topology::Single(_) | Topology::Cluster(_) => 2 * self.timeouts.host,
            Topology::Sentinel(_) => SENTINEL_TIMEOUT.max(2 * self.timeouts.host),
        }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// If no server answers, or the server refuses the login.
    pub async fn open(&mut self) -> Result<ServerConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.host))
            .set_response_timeout(Some(self.timeouts.answer));
        let link = match &mut self.topology {
            Topology::Single(client) => ServerLink::Single(
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?,
            ),
            Topology::Sentinel(client) => {
                ServerLink::Single(client.get_async_connection_with_config(&config).await?)
            }
            Topology::Cluster(client) => ServerLink::Cluster(client.get_async_connection().await?),
        };
        Ok(ServerConnection(link))
    }

    /// Makes a connection, and runs a script through it as a decision does: with the commands of
    /// the scripts, and once within `decision`. Without the probe, a connection to a replica, to a
    /// full or slow server, or under a user who may not write or run scripts would count as good,
    /// and would be lost again with the first request.
    pub(super) async fn connect(
        &mut self,
        decision: Duration,
    ) -> Result<ServerConnection, ConnectError> {
        let connection = self.open().await.map_err(ConnectError::Refused)?;
        let mut probe = PROBE.key("keyside:probe");
        probe.arg(PROBE_LIFETIME_MS);
        // The first run may have to load the script, which a decision seldom has to.
        for patience in [self.timeouts.answer, decision] {
            timeout(patience, connection.clone().run::<()>(&probe))
                .await
                .map_err(|_| ConnectError::Slow(patience))?
                .map_err(ConnectError::Refused)?;
        }
        Ok(connection)
    }
}

impl ServerConnection {
    pub(super) async fn run<T: FromRedisValue>(
        self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        match self.0 {
            ServerLink::Single(mut connection) => script.invoke_async(&mut connection).await,
            ServerLink::Cluster(mut connection) => script.invoke_async(&mut connection).await,
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// If the server refuses the command, or the connection ends before the answer.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        match self.0.clone() {
            ServerLink::Single(mut connection) => command.query_async(&mut connection).await,
            ServerLink::Cluster(mut connection) => command.query_async(&mut connection).await,
        }
    }
}

impl ServerUrl {
    fn addresses(&self) -> impl Iterator<Item = ConnectionAddr> {
        self.hosts.iter().cloned().map(|(host, port)| {
            if self.tls {
                ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: false,
                    tls_params: None,
                }
            } else {
                ConnectionAddr::Tcp(host, port)
            }
        })
    }

    fn single_client(&self, certificates: Option<TlsCertificates>) -> Result<Topology, RedisError> {
        let address = self
            .addresses()
            .next()
            .ok_or((redis::ErrorKind::InvalidClientConfig, "no host"))?;
        let mut settings = RedisConnectionInfo::default().set_db(self.database);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = address.into_connection_info()?.set_redis_settings(settings);
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        Ok(Topology::Single(Box::new(client)))
    }

    fn sentinel_client(
        &self,
        certificates: Option<TlsCertificates>,
    ) -> Result<Topology, RedisError> {
        let mut builder = SentinelClientBuilder::new(
            self.addresses(),
            &self.service,
            SentinelServerType::Master,
        )?
        .set_client_to_redis_db(self.database);
        if self.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
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
        Ok(Topology::Sentinel(Box::new(builder.build()?)))
    }

    fn cluster_client(
        &self,
        certificates: Option<TlsCertificates>,
        timeouts: ServerTimeouts,
    ) -> Result<Topology, RedisError> {
        let mut builder = ClusterClientBuilder::new(self.addresses())
            .connection_timeout(timeouts.host)
            .response_timeout(timeouts.answer)
            .retries(MAX_REDIRECTS)
            .min_retry_wait(MIN_RETRY_WAIT_MS)
            .max_retry_wait(MAX_RETRY_WAIT_MS);
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
        Ok(Topology::Cluster(Box::new(builder.build()?)))
    }
}

/// The time for name, TCP, TLS and password of one host of the shared limits. A decision waits much
/// less; a longer time would let one silent host of several delay the others, and limits could not
/// be shared again within a second of the server's return.
const HOST_TIMEOUT: Duration = Duration::from_millis(300);
/// The time for the Sentinels and the master together: three Sentinels of which two are silent.
const SENTINEL_TIMEOUT: Duration = Duration::from_secs(4);
/// The commands that the scripts of limits run.
static PROBE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('TIME') redis.call('GET', KEYS[1]) redis.call('PTTL', KEYS[1]) \
         redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])",
    )
});
/// The lifetime of the probe's key, in milliseconds: nothing of a probe is left behind.
const PROBE_LIFETIME_MS: u32 = 1000;
/// The number of redirects followed to a cluster's moved slot. Nothing else is repeated: a late
/// command is lost, and the sidecar decides by itself.
const MAX_REDIRECTS: u32 = 2;
/// The shortest wait before a repetition, in milliseconds: a redirected command goes to another
/// server, which need not be spared.
const MIN_RETRY_WAIT_MS: u64 = 1;
/// The longest wait before a repetition, in milliseconds: with [`MAX_REDIRECTS`], two waits and
/// three answers fit into `DECISION_TIMEOUT`.
const MAX_RETRY_WAIT_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_client_is_made_for_each_kind_of_server() {
        for url in [
            "redis://u:p@a/1",
            "rediss://a",
            "redis+cluster://:p@a,b",
            "rediss+sentinel://:p@a,b/main",
        ] {
            let secret = Secret::parse(Zeroizing::new(url.as_bytes().to_vec())).unwrap();
            assert!(ServerAddress::parse(&secret, None).is_ok(), "{url}");
            let not_pem = b"-----BEGIN CERTIFICATE-----\nx";
            let has_tls = url.starts_with("rediss");
            assert_eq!(
                ServerAddress::parse(&secret, Some(not_pem)).is_err(),
                has_tls,
                "{url}"
            );
        }
    }
}
