//! `KubernetesSecretApi`: an emulation of the part of the Kubernetes API that is about one Secret,
//! as documented at
//! <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/>.
//! No real cluster.
//!
//! The server speaks HTTPS and answers `get`, `patch` (a merge patch, refused with 409 after a
//! change since the `resourceVersion` in the patch), and `SelfSubjectAccessReview`; with 401, 403
//! and 404 in the cluster's own words.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::authority::Authority;
use super::base64;
use super::keyside::Directory;
use super::upstream::{Request, Upstream, answer};

/// The API server with one Secret, `acme` in the namespace `shop`.
pub struct KubernetesSecretApi {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
    folder: Directory,
}

struct State {
    version: u64,
    /// Each key with the value in base64.
    data: BTreeMap<String, String>,
    /// The time of the last write of each writer, with the keys that the writer owns.
    managed: Vec<(String, String, Vec<String>)>,
    token: String,
    verbs: Vec<&'static str>,
    is_immutable: bool,
    conflicts_to_come: usize,
    failures_to_come: usize,
}

/// The token of the service account, which is a secret too.
pub const ACCOUNT: &str = "CANARYaccount";

impl KubernetesSecretApi {
    /// With these values, a service account that may `get` and `patch`, and a writer with the time
    /// `1970-01-01T00:01:40Z`.
    pub fn start(values: &[(&str, &str)]) -> Self {
        let data: BTreeMap<_, _> = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), base64(value.as_bytes())))
            .collect();
        let owner = (
            "kubectl-create".to_owned(),
            "1970-01-01T00:01:40Z".to_owned(),
            data.keys().cloned().collect(),
        );
        let state = Arc::new(Mutex::new(State {
            version: 100,
            data,
            managed: vec![owner],
            token: ACCOUNT.to_owned(),
            verbs: vec!["get", "patch"],
            is_immutable: false,
            conflicts_to_come: 0,
            failures_to_come: 0,
        }));
        let folder = Directory::new();
        folder.write("token", format!("{ACCOUNT}\n"));
        folder.write("namespace", "shop");
        folder.write("ca.crt", Authority::trusted().pem());
        let shared = Arc::clone(&state);
        let upstream = Upstream::answering(move |request| respond(&mut lock(&shared), request));
        Self {
            upstream,
            state,
            folder,
        }
    }

    /// Returns the variables of a pod, and the folder of the service account's files.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT", self.upstream.port().to_string()),
            (
                "KEYSIDE_SERVICE_ACCOUNT",
                self.folder.path().display().to_string(),
            ),
        ]
    }

    /// Writes a value as another writer does.
    pub fn put(&self, key: &str, value: &str) {
        let mut state = self.lock();
        state.data.insert(key.to_owned(), base64(value.as_bytes()));
        state.version += 1;
    }

    /// Returns the value of a key in base64, as stored.
    pub fn stored(&self, key: &str) -> String {
        self.lock().data.get(key).cloned().unwrap_or_default()
    }

    /// Sets what the service account may do.
    pub fn allow(&self, verbs: &[&'static str]) {
        self.lock().verbs = verbs.to_vec();
    }

    /// Makes the cluster accept a different token of the service account, and writes the token as
    /// the kubelet does.
    pub fn renew_account(&self, token: &str, written: &str) {
        self.lock().token = token.to_owned();
        self.folder.write("token", written);
    }

    /// Marks the Secret as immutable.
    pub fn make_immutable(&self) {
        self.lock().is_immutable = true;
    }

    /// Lets another writer change a different key just before each of the next patches.
    pub fn conflict(&self, times: usize) {
        self.lock().conflicts_to_come = times;
    }

    /// Makes the next patches take effect, and answers 500.
    pub fn fail_after_writes(&self, times: usize) {
        self.lock().failures_to_come = times;
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.upstream.requests()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn respond(state: &mut State, request: &Request) -> Vec<u8> {
    let expected = format!("Bearer {}", state.token);
    if request.header("authorization").as_deref() != Some(expected.as_str()) {
        return status(401, "Unauthorized", "Unauthorized");
    }
    let target = request.target();
    let path = target.split('?').next().unwrap_or_default();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match (request.method().as_str(), path) {
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => review(state, body),
        ("GET" | "PATCH", path) if !path.starts_with(SECRETS) => forbidden("get"),
        ("GET", _) if !state.verbs.contains(&"get") => forbidden("get"),
        ("PATCH", _) if !state.verbs.contains(&"patch") => forbidden("patch"),
        ("GET" | "PATCH", path) if path != format!("{SECRETS}acme") => {
            status(404, "NotFound", "secrets \"other\" not found")
        }
        ("GET", _) => object(state),
        ("PATCH", _) => patch(state, request, &body),
        _ => status(
            405,
            "MethodNotAllowed",
            "the server does not allow this method",
        ),
    }
}

fn review(state: &State, mut body: Value) -> Vec<u8> {
    let attributes = &body["spec"]["resourceAttributes"];
    let is_allowed = attributes["namespace"] == "shop"
        && attributes["resource"] == "secrets"
        && attributes["name"] == "acme"
        && state.verbs.iter().any(|verb| attributes["verb"] == **verb);
    body["status"] = json!({ "allowed": is_allowed });
    answer(
        "201 Created",
        &[("Content-Type", "application/json")],
        body.to_string().as_bytes(),
    )
}

fn patch(state: &mut State, request: &Request, body: &Value) -> Vec<u8> {
    if request.header("content-type").as_deref() != Some("application/merge-patch+json") {
        return status(415, "UnsupportedMediaType", "the media type is unsupported");
    }
    if state.conflicts_to_come > 0 {
        state.conflicts_to_come -= 1;
        state.version += 1;
        state.data.insert("other".to_owned(), base64(b"EAAOTHER"));
    }
    let version = body["metadata"]["resourceVersion"].as_str();
    if version.is_some_and(|version| version != state.version.to_string()) {
        return status(
            409,
            "Conflict",
            "Operation cannot be fulfilled on secrets \"acme\": the object has been modified",
        );
    }
    if state.is_immutable {
        return status(
            422,
            "Invalid",
            "Secret \"acme\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
        );
    }
    let changes = body["data"].as_object().cloned().unwrap_or_default();
    let keys: Vec<_> = changes.keys().cloned().collect();
    for (_, _, owned) in &mut state.managed {
        owned.retain(|key| !keys.contains(key));
    }
    let query = request.target();
    let manager = query.split("fieldManager=").nth(1).unwrap_or("unknown");
    let time = "1970-01-01T00:03:20Z".to_owned();
    state.managed.push((manager.to_owned(), time, keys));
    for (key, value) in changes {
        state
            .data
            .insert(key, value.as_str().unwrap_or_default().to_owned());
    }
    state.version += 1;
    if state.failures_to_come > 0 {
        state.failures_to_come -= 1;
        return status(500, "InternalError", "etcdserver: request timed out");
    }
    object(state)
}

fn object(state: &State) -> Vec<u8> {
    let managed = state.managed.iter().map(|(manager, time, keys)| {
        let mut data = json!({ ".": {} });
        for key in keys {
            data[format!("f:{key}")] = json!({});
        }
        json!({ "manager": manager, "operation": "Update", "apiVersion": "v1", "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": { "f:data": data, "f:type": {} } })
    });
    let managed: Vec<_> = managed.collect();
    let object = json!({
        "kind": "Secret", "apiVersion": "v1", "type": "Opaque", "data": state.data,
        "metadata": { "name": "acme", "namespace": "shop", "uid": "6f3a", "creationTimestamp": "1970-01-01T00:01:40Z",
            "resourceVersion": state.version.to_string(), "managedFields": managed }
    });
    answer(
        "200 OK",
        &[("Content-Type", "application/json")],
        object.to_string().as_bytes(),
    )
}

fn forbidden(verb: &str) -> Vec<u8> {
    let message = format!(
        "secrets \"acme\" is forbidden: User \"system:serviceaccount:shop:keyside\" cannot {verb} resource \"secrets\" in API \
         group \"\" in the namespace \"shop\""
    );
    status(403, "Forbidden", &message)
}

fn status(code: u16, reason: &str, message: &str) -> Vec<u8> {
    let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code });
    answer(
        &format!("{code} {reason}"),
        &[("Content-Type", "application/json")],
        body.to_string().as_bytes(),
    )
}

const SECRETS: &str = "/api/v1/namespaces/shop/secrets/";
