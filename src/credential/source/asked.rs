//! The program or the server that a reference is read from, for messages: a secret that cannot be
//! read is mended there.

use super::error::SourceError;
use super::vault::environment::shown_address;
use crate::config::Reference;
use crate::provider::Origin;

/// The program or server that is asked for a document, as people know it. `variable` looks up the
/// environment.
pub(super) fn asked(
    document: &Reference,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let server = match document {
        Reference::Exec { program, .. } => return Some(program.display().to_string()),
        Reference::Vault { .. } => shown_address(),
        Reference::Aws { .. } => aws(set),
        Reference::Azure { vault, .. } => key_vault(vault),
        Reference::Gcp { .. } => set(GCP_ENDPOINT).map_or(GCP.to_owned(), |it| shown(&it)),
        Reference::Kubernetes { .. } => cluster(set),
        _ => return None,
    };
    Some(server)
}

/// The error of a document with the program or server that was asked, unless the error has the name
/// already.
pub(super) fn named(error: SourceError, asked: Option<&str>) -> SourceError {
    let text = error.to_string();
    match (asked, &error) {
        (Some(asked), _) if text.contains(asked) => error,
        // The place has answered, and its answer lacks the value.
        (None, _) | (_, SourceError::NoField(_) | SourceError::NoValue(_)) => error,
        (Some(asked), SourceError::Manager(_)) => {
            SourceError::Manager(format!("{text} (asked: {asked})"))
        }
        (Some(asked), _) => SourceError::Manager(format!("{asked} {text}")),
    }
}

/// The base URL of a Key Vault: a name of Azure's own, or the name of a host.
pub(super) fn key_vault(vault: &str) -> String {
    if vault.contains('.') {
        format!("https://{vault}")
    } else {
        format!("https://{vault}.vault.azure.net")
    }
}

/// The endpoint that AWS's crate takes: of the environment, or that of the region.
fn aws(set: impl Fn(&str) -> Option<String>) -> String {
    if let Some(endpoint) = AWS_ENDPOINTS.into_iter().find_map(&set) {
        return shown(&endpoint);
    }
    match AWS_REGIONS.into_iter().find_map(&set) {
        Some(region) => format!("https://secretsmanager.{region}.amazonaws.com"),
        None => "AWS Secrets Manager in the region of the profile or the machine, since AWS_REGION is not set".to_owned(),
    }
}

/// The API of the cluster, as the kubelet names it to each pod.
fn cluster(set: impl Fn(&str) -> Option<String>) -> String {
    let host = set("KUBERNETES_SERVICE_HOST");
    let port = set("KUBERNETES_SERVICE_PORT");
    match (host, port) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        _ => {
            "the API of the cluster, which KUBERNETES_SERVICE_HOST and _PORT do not name".to_owned()
        }
    }
}

/// An address of the environment for people: scheme, host and port alone.
fn shown(address: &str) -> String {
    let origin: Result<Origin, _> = address.trim_end_matches('/').parse();
    origin.map_or_else(
        |_| "the endpoint that the environment names, which is no URL".to_owned(),
        |origin| origin.to_string(),
    )
}

/// The variables for another endpoint, the closest first:
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>.
const AWS_ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"];
const AWS_REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
const GCP: &str = "https://secretmanager.googleapis.com";
/// The variable by which Google's own tools take a different endpoint, for example a regional or a
/// private one.
pub(super) const GCP_ENDPOINT: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A reference that a build without the crate of AWS refuses to parse.
    fn aws(field: Option<&str>) -> Reference {
        let name = "acme".to_owned();
        let field = field.map(str::to_owned);
        Reference::Aws { name, field }
    }

    fn azure(vault: &str) -> Reference {
        let (vault, name) = (vault.to_owned(), "token".to_owned());
        Reference::Azure { vault, name }
    }

    fn gcp() -> Reference {
        let secret = "projects/p/secrets/s".to_owned();
        Reference::Gcp { secret }
    }

    fn written(reference: &str) -> Reference {
        reference.parse().unwrap()
    }

    fn asked_for(reference: &Reference, variables: &[(&str, &str)]) -> Option<String> {
        asked(reference, |name| {
            let found = variables.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn every_program_and_manager_has_a_name_for_people() {
        const REGION: (&str, &str) = ("AWS_REGION", "eu-west-1");
        for (reference, variables, expected) in [
            (written("exec:/usr/bin/pass acme"), &[][..], "/usr/bin/pass"),
            (
                aws(None),
                &[REGION],
                "https://secretsmanager.eu-west-1.amazonaws.com",
            ),
            (
                aws(Some("token")),
                &[REGION, ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566/")],
                "http://127.0.0.1:4566",
            ),
            (
                aws(None),
                &[("AWS_ENDPOINT_URL", "https://user:secret@aws.test")],
                "the endpoint that the environment names, which is no URL",
            ),
            (gcp(), &[], GCP),
            (
                gcp(),
                &[(GCP_ENDPOINT, "https://gcp.test")],
                "https://gcp.test",
            ),
            (azure("acme"), &[], "https://acme.vault.azure.net"),
            (azure("kv.example.com"), &[], "https://kv.example.com"),
            (
                written("k8s:acme#token"),
                &[
                    ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
                    ("KUBERNETES_SERVICE_PORT", "443"),
                ],
                "10.0.0.1:443",
            ),
        ] {
            let asked = asked_for(&reference, variables);
            assert_eq!(asked.as_deref(), Some(expected), "{reference}");
        }
        assert_eq!(asked_for(&written("file:/run/token"), &[]), None);
        let unknown = asked_for(&aws(None), &[]).unwrap();
        assert!(unknown.ends_with("AWS_REGION is not set"), "{unknown}");
    }

    #[test]
    fn an_error_names_what_was_asked_once() {
        let late = SourceError::TimedOut(Duration::from_secs(10));
        let manager = |text: &str| SourceError::Manager(text.to_owned());
        for (error, expected) in [
            (late, "https://a.test gave no answer within 10 s"),
            (
                manager("AWS gave no value: x"),
                "AWS gave no value: x (asked: https://a.test)",
            ),
            (
                manager("no answer at https://a.test: x"),
                "no answer at https://a.test: x",
            ),
            (SourceError::NoValue("no key".to_owned()), "no key"),
            (
                SourceError::TooLarge,
                "https://a.test is larger than a secret can be (64 KiB)",
            ),
        ] {
            assert_eq!(named(error, Some("https://a.test")).to_string(), expected);
        }
    }
}
