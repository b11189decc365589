//! A request to the cluster's API and the answer:
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/>.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::super::document::wipe;
use super::super::error::reason;
use super::super::file::read_regular;
use super::error::ClusterError;
use crate::provider::{Ca, Origin};
use crate::secret::Secret;
use crate::tls;
use crate::upstream::{
    Outgoing, OutgoingBody, Reply, RequestLine, USER_AGENT, Upstream, UpstreamKind,
};

/// A client for the cluster of this pod, with the pod's service account.
#[derive(Default)]
pub(super) struct ClusterClient {
    connected: Mutex<Option<Connected>>,
}

/// The cluster as the files of the service account describe it.
struct Connected {
    authority: Vec<u8>,
    host: String,
    upstream: Arc<Upstream>,
}

/// A request to the cluster.
pub(super) struct ClusterRequest {
    pub(super) method: Method,
    pub(super) path: String,
    /// The media type and the JSON text of the body.
    pub(super) body: Option<(&'static str, Zeroizing<String>)>,
}

impl ClusterClient {
    /// Sends a request and returns the status and the body, which the reader of a Secret has to
    /// wipe.
    pub(super) async fn ask(
        &self,
        request: ClusterRequest,
    ) -> Result<(StatusCode, Bytes), ClusterError> {
        // The kubelet writes a new token well before the old one ends, so each request reads the
        // file.
        let account = aside(|| Ok((read_token()?, read("ca.crt")?))).await;
        let (token, authority) = account?;
        let (upstream, host) = self.connect(authority)?;
        let outgoing = compose(request, &host, &token);
        let answer = upstream.ask_for_secret(outgoing, REQUEST_TIMEOUT).await;
        let Reply { status, body, .. } = answer.map_err(|error| {
            let reason = error.of(&format!("the server at {host}"));
            if error.is_before_request() {
                ClusterError::Unreachable(reason)
            } else {
                ClusterError::Lost(reason)
            }
        })?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClusterError::Unauthorized);
        }
        Ok((status, body))
    }

    /// Returns the upstream for the present authority file.
    fn connect(&self, authority: Vec<u8>) -> Result<(Arc<Upstream>, String), ClusterError> {
        let mut connected = self.connected.lock();
        if let Some(connected) = connected.as_ref().filter(|now| now.authority == authority) {
            return Ok((Arc::clone(&connected.upstream), connected.host.clone()));
        }
        let origin = origin()?;
        let unreachable = |problem: String| ClusterError::Unreachable(problem);
        let ca = Ca::File(folder().join("ca.crt"));
        let tls = tls::client_config(&ca, Some(&authority))
            .map_err(|error| unreachable(error.to_string()))?;
        let host = origin.authority();
        let upstream = Upstream::new(UpstreamKind::SecretManager, origin, tls)
            .map(Arc::new)
            .map_err(|error| unreachable(error.to_string()))?;
        *connected = Some(Connected {
            authority,
            host: host.clone(),
            upstream: Arc::clone(&upstream),
        });
        Ok((upstream, host))
    }
}

/// Returns the address of the cluster's API, which Kubernetes gives to each container.
fn origin() -> Result<Origin, ClusterError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let host = variable("KUBERNETES_SERVICE_HOST").ok_or(ClusterError::NoCluster)?;
    let port = variable("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
    let origin = if host.contains(':') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    };
    origin.parse().map_err(|_| ClusterError::Address)
}

/// Returns the namespace of this pod.
pub(super) async fn own_namespace() -> Result<String, ClusterError> {
    let bytes = aside(|| read("namespace")).await?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn read_token() -> Result<Secret, ClusterError> {
    let bytes = Zeroizing::new(read("token")?);
    Secret::parse(bytes)
        .map_err(|error| ClusterError::Account(folder().join("token"), error.to_string()))
}

/// Reads files of the service account on a thread that serves no requests.
async fn aside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, ClusterError> {
    let ending = |_| {
        Err(ClusterError::Unreachable(
            "the process is ending".to_owned(),
        ))
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(ending)
}

fn read(name: &str) -> Result<Vec<u8>, ClusterError> {
    let path = folder().join(name);
    read_regular(&path).map_err(|error| ClusterError::Account(path, error.to_string()))
}

/// Returns the folder of the service account's files.
fn folder() -> PathBuf {
    let other = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty());
    other.map_or_else(|| Path::new(SERVICE_ACCOUNT).to_owned(), PathBuf::from)
}

fn compose(request: ClusterRequest, host: &str, token: &Secret) -> Outgoing {
    let (kind, body) = match request.body {
        Some((kind, body)) => (Some(kind), OutgoingBody::Secret(body)),
        None => (None, OutgoingBody::empty()),
    };
    let mut line = RequestLine::new(request.method, body);
    line.target(&request.path);
    let mut head = line.headers(host);
    head.header(&header::USER_AGENT, USER_AGENT);
    head.header(&header::ACCEPT, "application/json");
    if let Some(kind) = kind {
        head.header(&header::CONTENT_TYPE, kind);
    }
    let write = |value: &mut crate::upstream::SecretValue<'_>| {
        value.push("Bearer ");
        #[expect(
            clippy::disallowed_methods,
            reason = "the token of the service account goes to its cluster"
        )]
        value.push(token.expose());
        Ok::<_, std::convert::Infallible>(())
    };
    match head.secret_header_with(&header::AUTHORIZATION, write) {
        Ok(()) => {}
        Err(never) => match never {},
    }
    head.finish()
}

/// Returns the message in an answer of the cluster, without control characters and bounded; and
/// wipes the answer.
pub(super) fn message(body: Bytes) -> String {
    #[derive(serde::Deserialize)]
    struct Status {
        message: String,
    }
    let status: Option<Status> = serde_json::from_slice(&body).ok();
    wipe(body);
    reason(&status.map(|status| status.message).unwrap_or_default())
}

/// The folder at which Kubernetes mounts the files of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The variable that names the folder where a pod mounts the files elsewhere.
const FOLDER: &str = "KEYSIDE_SERVICE_ACCOUNT";
/// The time for one request: a server of the cluster answers within milliseconds, or after a change
/// of its leader within seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
