//! The JSON form of a Secret:
//! <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/>.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::super::error::SourceError;
use super::super::found::RawSecret;
use crate::secret::Secret;

/// A Secret of the cluster.
pub(in crate::credential::source) struct KubernetesSecret {
    /// The version by which the cluster detects a change.
    pub(super) version: String,
    values: BTreeMap<String, KeyValue>,
}

/// The value of one key.
struct KeyValue {
    /// `None` if the value is not in base64.
    bytes: Option<Zeroizing<Vec<u8>>>,
    /// The time after which no field manager has written the key, if the cluster gives the time.
    since: Option<SystemTime>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    data: Option<HashMap<Cow<'a, str>, &'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    resource_version: String,
    #[serde(borrow, default)]
    managed_fields: Vec<ManagedFields<'a>>,
}

/// The fields that one writer set last:
/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedFields<'a> {
    time: Option<Cow<'a, str>>,
    fields_v1: Option<FieldsV1>,
}

#[derive(Deserialize)]
struct FieldsV1 {
    /// The keys of `data`, each with `f:` before the name.
    #[serde(rename = "f:data", default)]
    data: HashMap<String, serde::de::IgnoredAny>,
}

impl KubernetesSecret {
    /// Reads an answer of the cluster.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let object: Object<'_> = serde_json::from_slice(body).ok()?;
        let managed = &object.metadata.managed_fields;
        let values = object
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| {
                let value = KeyValue {
                    bytes: decoded(value),
                    since: since(managed, &key),
                };
                (key.into_owned(), value)
            });
        Some(Self {
            version: object.metadata.resource_version,
            values: values.collect(),
        })
    }

    /// Returns the value of a key as the secret.
    pub(in crate::credential::source) fn value(&self, key: &str) -> Result<RawSecret, SourceError> {
        let value = self
            .values
            .get(key)
            .ok_or_else(|| SourceError::NoValue(format!("the Secret has no key `{key}`")))?;
        let bytes = value.bytes.clone().ok_or_else(|| {
            SourceError::NoValue(format!("the value of key `{key}` is not in base64"))
        })?;
        Ok(RawSecret {
            bytes,
            since: value.since,
            warnings: Vec::new(),
        })
    }
}

fn decoded(value: &RawValue) -> Option<Zeroizing<Vec<u8>>> {
    let text: Zeroizing<String> = serde_json::from_str(value.get()).map(Zeroizing::new).ok()?;
    BASE64.decode(text.as_bytes()).map(Zeroizing::new).ok()
}

/// Returns the time since which a key has its value.
///
/// Each writer that owns the key wrote the present value, and later times of a writer may be about
/// other fields. So the earliest time is the closest.
fn since(managed: &[ManagedFields<'_>], key: &str) -> Option<SystemTime> {
    let field = format!("f:{key}");
    let owners = managed.iter().filter(|writer| {
        let fields = writer.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.data.contains_key(&field))
    });
    owners
        .filter_map(|writer| OffsetDateTime::parse(writer.time.as_deref()?, &Rfc3339).ok())
        .min()
        .map(SystemTime::from)
}

/// Composes a merge patch (RFC 7396) that changes one key, and that the cluster refuses after any
/// change since `version`.
pub(super) fn patch(version: &str, key: &str, value: &Secret) -> Zeroizing<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the secret goes to the place that it will be read from"
    )]
    let value = value.expose();
    let version = serde_json::Value::from(version).to_string();
    let key = serde_json::Value::from(key).to_string();
    let encoded = Zeroizing::new(BASE64.encode(value.as_bytes()));
    // Sized once: a growing buffer leaves copies of secrets behind.
    let size = version.len() + key.len() + encoded.len() + 64;
    let mut text = Zeroizing::new(String::with_capacity(size));
    for part in [
        "{\"metadata\":{\"resourceVersion\":",
        &version,
        "},\"data\":{",
        &key,
        ":\"",
        &encoded,
        "\"}}",
    ] {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OBJECT: &str = r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"acme","namespace":"shop","uid":"1",
        "resourceVersion":"107","creationTimestamp":"2026-01-01T00:00:00Z","managedFields":[
        {"manager":"kubectl-create","operation":"Update","apiVersion":"v1","time":"1970-01-01T00:01:40Z","fieldsType":"FieldsV1",
         "fieldsV1":{"f:data":{".":{},"f:app_secret":{},"f:token":{}},"f:type":{}}},
        {"manager":"keyside","operation":"Update","apiVersion":"v1","time":"1970-01-01T00:03:20Z","fieldsType":"FieldsV1",
         "fieldsV1":{"f:data":{"f:token":{},"f:other":{}}}}]},
        "data":{"token":"RUFBT0xE","app_secret":"YWJj","other":"RUFB","unowned":"RUFB","broken":"%"},"type":"Opaque"}"#;

    #[test]
    fn a_key_has_its_value_and_the_time_that_the_cluster_tells() {
        let secret = KubernetesSecret::parse(OBJECT.as_bytes()).unwrap();
        assert_eq!(secret.version, "107");
        for (key, expected) in [
            ("token", Ok(("EAAOLD", Some(100)))),
            ("app_secret", Ok(("abc", Some(100)))),
            ("other", Ok(("EAA", Some(200)))),
            ("unowned", Ok(("EAA", None))),
            ("broken", Err("the value of key `broken` is not in base64")),
            ("absent", Err("the Secret has no key `absent`")),
        ] {
            match (secret.value(key), expected) {
                (Ok(raw), Ok((text, seconds))) => {
                    assert_eq!(&raw.bytes[..], text.as_bytes(), "{key}");
                    let time = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
                    assert_eq!(raw.since, seconds.map(time), "{key}");
                }
                (Err(error), Err(text)) => assert_eq!(error.to_string(), text),
                (found, _) => panic!("{key}: {}", found.is_ok()),
            }
        }
    }

    #[test]
    fn a_secret_without_data_has_no_keys_and_an_answer_without_version_is_refused() {
        for (body, is_secret) in [
            (r#"{"metadata":{"resourceVersion":"1"}}"#, true),
            (r#"{"metadata":{"resourceVersion":"1"},"data":null}"#, true),
            (r#"{"metadata":{},"data":{}}"#, false),
            ("{}", false),
            ("", false),
        ] {
            let secret = KubernetesSecret::parse(body.as_bytes());
            assert_eq!(secret.is_some(), is_secret, "{body}");
            assert!(secret.is_none_or(|secret| secret.value("token").is_err()));
        }
    }

    #[test]
    fn a_patch_changes_one_key_of_one_version() {
        let secret = Secret::parse(Zeroizing::new(b"EAANEW".to_vec())).unwrap();
        assert_eq!(
            patch("107", "token", &secret).as_str(),
            r#"{"metadata":{"resourceVersion":"107"},"data":{"token":"RUFBTkVX"}}"#
        );
    }
}
