//! Secrets in a KV engine, version 1 or 2.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::super::document::{SecretDocument, wipe};
use super::super::edit::{EditStep, compare, content};
use super::super::place_error::{PlaceError, PlaceFault};
use super::client::VaultRequest;
use super::error::VaultError;
use super::session::Session;
use crate::secret::{Fingerprint, Secret};

/// Reads the secret at a path: the mount, then the path below the mount. For each field of `fields`
/// the document has the time of the last change of the field's value, as far as `ages` or the
/// versions of the engine give the time.
pub(super) async fn read(
    session: &Session,
    path: &str,
    fields: &[&str],
    ages: &FieldAges,
) -> Result<SecretDocument, VaultError> {
    let at = locate(session, path).await?;
    let mut secret = read_at(session, &at, None).await?;
    if let (Some(version), Some(since)) = (secret.version, secret.document.since) {
        let unknown: Vec<_> = fields
            .iter()
            .filter(|field| !ages.knows(path, field, &secret.document))
            .copied()
            .collect();
        let walk = changes(
            session,
            &at,
            &secret.document,
            version,
            since,
            unknown.clone(),
        );
        let changes = timeout(WALK_TIMEOUT, walk).await.unwrap_or_default();
        for field in unknown {
            let found = changes.iter().find(|(changed, _)| *changed == field);
            let since = found.map_or(since, |(_, since)| *since);
            ages.keep(path, field, &secret.document, since);
        }
        secret.document.fields_since = ages.of(path, fields);
    }
    Ok(secret.document)
}

/// Walks the versions of a secret back from `version`, which is of `since`, and returns the time of
/// the oldest version in a row with the value of each field that `newest` has.
///
/// A fault ends the walk, and so does the bound [`MAX_VERSIONS_BACK`]: the value is at least as old
/// as the last version that was read.
async fn changes<'f>(
    session: &Session,
    path: &KvPath,
    newest: &SecretDocument,
    version: u64,
    since: SystemTime,
    fields: Vec<&'f str>,
) -> Vec<(&'f str, SystemTime)> {
    let mut walks: Vec<_> = fields.into_iter().map(|field| (field, since)).collect();
    let mut going: Vec<usize> = (0..walks.len()).collect();
    for older in (1..version).rev().take(MAX_VERSIONS_BACK) {
        if going.is_empty() {
            break;
        }
        let Ok(secret) = read_at(session, path, Some(older)).await else {
            break;
        };
        let Some(written) = secret.document.since else {
            break;
        };
        going.retain(|place| {
            let Some((field, since)) = walks.get_mut(*place) else {
                return false;
            };
            let is_equal = newest.has_same(&secret.document, field);
            if is_equal {
                *since = written;
            }
            is_equal
        });
    }
    walks
}

/// The time at which the value of each field was last changed, for the values last read: a refresh
/// asks for no old version again.
#[derive(Default)]
pub(super) struct FieldAges(Mutex<BTreeMap<(String, String), FieldAge>>);

struct FieldAge {
    fingerprint: Fingerprint,
    since: SystemTime,
}

impl FieldAges {
    /// True if the value of a field is the one whose time is known.
    fn knows(&self, path: &str, field: &str, document: &SecretDocument) -> bool {
        let key = (path.to_owned(), field.to_owned());
        let known = self.0.lock().get(&key).map(|age| age.fingerprint);
        known.is_some() && known == document.fingerprint_of(field)
    }

    fn keep(&self, path: &str, field: &str, document: &SecretDocument, since: SystemTime) {
        if let Some(fingerprint) = document.fingerprint_of(field) {
            let key = (path.to_owned(), field.to_owned());
            self.0.lock().insert(key, FieldAge { fingerprint, since });
        }
    }

    /// Returns the times of these fields.
    fn of(&self, path: &str, fields: &[&str]) -> BTreeMap<String, SystemTime> {
        let ages = self.0.lock();
        let of_one = |field: &&str| {
            let key = (path.to_owned(), (*field).to_owned());
            ages.get(&key).map(|age| (key.1, age.since))
        };
        fields.iter().filter_map(of_one).collect()
    }
}

/// Puts a new value in the place of the expected one in one field, and leaves the other fields as
/// they are.
///
/// A write of a different field meanwhile is no obstacle: the secret is read and compared again.
pub(super) async fn replace(
    session: &Session,
    path: &str,
    field: &str,
    expected: Option<&Secret>,
    new: &Secret,
) -> Result<(), PlaceError> {
    let path = locate(session, path).await.map_err(VaultError::of_write)?;
    for _ in 0..MAX_ATTEMPTS {
        let present = read_at(session, &path, None)
            .await
            .map_err(|error| PlaceError::unread(error.into()))?;
        let value = present.document.field(field);
        if compare(value, expected, new)? == EditStep::Done {
            return Ok(());
        }
        let data = content(&present.document, Some(field), new)?;
        match write_at(session, &path, data, present.version).await {
            Err(PlaceError::Changed) => {}
            result => return result,
        }
    }
    Err(PlaceError::Changed)
}

/// Writes the whole data of a secret. With check-and-set, Vault refuses the write if `version` is
/// not the newest.
async fn write_at(
    session: &Session,
    path: &KvPath,
    data: Zeroizing<String>,
    version: Option<u64>,
) -> Result<(), PlaceError> {
    let body = match version {
        Some(version) => {
            let mut body = Zeroizing::new(String::with_capacity(data.len() + 64));
            body.push_str(&format!("{{\"options\":{{\"cas\":{version}}},\"data\":"));
            body.push_str(&data);
            body.push('}');
            body
        }
        None => data,
    };
    let request = VaultRequest::post(&path.path, session.token(), body);
    let answer = session.client.ask(request).await;
    answer.map(wipe).map_err(VaultError::of_write)
}

/// Asks Vault for the capabilities of the token at a path.
pub(super) async fn can_write(session: &Session, path: &str) -> Result<(), PlaceError> {
    #[derive(Deserialize)]
    struct Capabilities {
        capabilities: Vec<String>,
    }
    let path = locate(session, path).await.map_err(VaultError::of_write)?;
    let paths = serde_json::json!({ "paths": [path.path] }).to_string();
    let question = VaultRequest::post(CAPABILITIES, session.token(), Zeroizing::new(paths));
    let answer = match session.client.ask(question).await {
        Ok(answer) => answer,
        // The policy of the token does not include the default policy, which allows the question.
        Err(VaultError::Denied(..)) => return Err(PlaceError::Unknown(UNCHECKED)),
        Err(error) => return Err(error.of_write()),
    };
    let found: Capabilities =
        serde_json::from_slice(&answer).map_err(|_| PlaceError::Unknown(UNCHECKED))?;
    if found
        .capabilities
        .iter()
        .any(|word| word == "update" || word == "root")
    {
        return Ok(());
    }
    Err(PlaceError::NotWritten(PlaceFault::Manager(format!(
        "Vault's token may not write `{0}`: its policy needs path \"{0}\" {{ capabilities = [\"read\", \"update\"] }}",
        path.path
    ))))
}

/// The path of a secret in the API of its engine.
struct KvPath {
    /// The path below `/v1/`.
    path: String,
    /// True for version 2 of the engine, which keeps versions of a secret.
    is_versioned: bool,
}

/// A secret as the engine holds it.
struct KvSecret {
    document: SecretDocument,
    /// The number of the version, if the engine keeps versions.
    version: Option<u64>,
}

#[derive(Deserialize)]
struct KvAnswer<T> {
    data: Option<T>,
}

/// The mount above a path. Vault gives the mount's kind to every token that may use any path below.
#[derive(Deserialize)]
struct Mount {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    options: Option<MountOptions>,
}

#[derive(Deserialize)]
struct MountOptions {
    version: Option<String>,
}

/// The data of version 2: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>.
#[derive(Deserialize)]
struct VersionedData<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    created_time: String,
}

/// Asks Vault for the mount above a path, which decides the path in the API.
async fn locate(session: &Session, path: &str) -> Result<KvPath, VaultError> {
    let mounts = format!("sys/internal/ui/mounts/{path}");
    let body = session
        .client
        .ask(VaultRequest::get(&mounts, session.token()))
        .await
        .map_err(|error| match error {
            // The error names the path of the reference, not the path of this request.
            VaultError::Denied(_, errors) => VaultError::Denied(path.to_owned(), errors),
            error => error,
        })?;
    let mount = serde_json::from_slice(&body)
        .ok()
        .and_then(|answer: KvAnswer<Mount>| answer.data)
        .ok_or(VaultError::Malformed("mount"))?;
    if mount.kind != "kv" && mount.kind != "generic" {
        return Err(VaultError::Engine(mount.kind));
    }
    let is_versioned = mount.options.and_then(|options| options.version).as_deref() == Some("2");
    let below = path
        .strip_prefix(&mount.path)
        .ok_or(VaultError::Malformed("mount of this path"))?;
    let data = if is_versioned { "data/" } else { "" };
    Ok(KvPath {
        path: format!("{}{data}{below}", mount.path),
        is_versioned,
    })
}

/// Reads a secret, or an older version of it.
async fn read_at(
    session: &Session,
    path: &KvPath,
    version: Option<u64>,
) -> Result<KvSecret, VaultError> {
    let versioned = match version {
        Some(version) => format!("{}?version={version}", path.path),
        None => path.path.clone(),
    };
    let body = session
        .client
        .ask_for_secret(VaultRequest::get(&versioned, session.token()))
        .await?;
    let secret = if path.is_versioned {
        parse_version_2(&body)
    } else {
        parse_version_1(&body)
    };
    wipe(body);
    secret.ok_or(VaultError::Malformed("data"))
}

fn parse_version_2(body: &[u8]) -> Option<KvSecret> {
    let answer: KvAnswer<VersionedData<'_>> = serde_json::from_slice(body).ok()?;
    let VersionedData { data, metadata } = answer.data?;
    let since = OffsetDateTime::parse(&metadata.created_time, &Rfc3339)
        .ok()
        .map(SystemTime::from);
    Some(KvSecret {
        document: SecretDocument::new(text(data?), since),
        version: Some(metadata.version),
    })
}

fn parse_version_1(body: &[u8]) -> Option<KvSecret> {
    let answer: KvAnswer<&RawValue> = serde_json::from_slice(body).ok()?;
    Some(KvSecret {
        document: SecretDocument::new(text(answer.data?), None),
        version: None,
    })
}

fn text(value: &RawValue) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(value.get().as_bytes().to_vec())
}

/// The path of the question what the token may do:
/// <https://openbao.org/api-docs/system/capabilities-self/>.
const CAPABILITIES: &str = "sys/capabilities-self";
/// The answer about a token that may not ask.
const UNCHECKED: PlaceFault = PlaceFault::Unchecked(
    "Vault's token may not ask `sys/capabilities-self` what its policy allows",
);
/// The number of times that a secret is compared and written: each time a different field was
/// written meanwhile.
const MAX_ATTEMPTS: usize = 5;
/// The time for reading older versions, within the 10 s for a document. Without them the secret
/// counts as changed with the newest version.
const WALK_TIMEOUT: Duration = Duration::from_secs(3);
/// The number of versions that are read to find the last change of a field. An engine keeps 10 by
/// default.
const MAX_VERSIONS_BACK: usize = 20;
