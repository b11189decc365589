//! `gcp-sm:`: a secret in Google Cloud's Secret Manager, read and written with Google's own crate.

use google_cloud_secretmanager_v1::Error;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use google_cloud_secretmanager_v1::model::SecretPayload;
use tokio::sync::OnceCell;

use super::asked::GCP_ENDPOINT;
use super::document::SecretDocument;
use super::edit::{EditStep, compare};
use super::error::{SourceError, causes};
use super::place_error::{PlaceError, PlaceFault};
use crate::secret::Secret;

/// A client with the application default credentials of the environment or the machine:
/// <https://cloud.google.com/docs/authentication/application-default-credentials>.
#[derive(Default)]
pub(super) struct Gcp {
    client: OnceCell<SecretManagerService>,
}

impl Gcp {
    /// Reads the version that the reference names, else the latest.
    ///
    /// The document has no time of writing: a reader of secrets
    /// (`roles/secretmanager.secretAccessor`) is not allowed to ask for the metadata of a version.
    pub(super) async fn read(&self, secret: &str) -> Result<SecretDocument, SourceError> {
        let client = self.client.get_or_try_init(connect).await?;
        let name = if secret.contains("/versions/") {
            secret.to_owned()
        } else {
            format!("{secret}/versions/latest")
        };
        let answer = client
            .access_secret_version()
            .set_name(name)
            .send()
            .await
            .map_err(|error| no_value(&problem(&error)))?;
        let payload = answer
            .payload
            .ok_or_else(|| no_value("the version is empty"))?;
        Ok(SecretDocument::new(payload.data.to_vec().into(), None))
    }

    /// Adds a new value as the latest version if the latest version is the expected one.
    ///
    /// Google has no check-and-set for versions. The value is compared before the write, and read
    /// back after the write: of two writers, the one whose version is not the latest learns that
    /// the place was changed.
    ///
    /// # Errors
    /// If the latest version is another one, or Google refuses.
    pub(super) async fn replace(
        &self,
        secret: &str,
        expected: Option<&Secret>,
        new: &Secret,
    ) -> Result<(), PlaceError> {
        let present = self.read(secret).await.map(|document| document.whole());
        if compare(present, expected, new)? == EditStep::Done {
            return Ok(());
        }
        let client = self
            .client
            .get_or_try_init(connect)
            .await
            .map_err(PlaceError::unread)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the secret goes to the place that it will be read from"
        )]
        let data = bytes::Bytes::copy_from_slice(new.expose().as_bytes());
        let request = client
            .add_secret_version()
            .set_parent(parent(secret))
            .set_payload(SecretPayload::new().set_data(data));
        request.send().await.map_err(|error| refused(&error))?;
        match self.read(secret).await {
            Ok(latest) => compare(Ok(latest.whole()), Some(new), new).map(|_| ()),
            // The value was written: Google has said so.
            Err(_) => Ok(()),
        }
    }

    /// Asks Google if a version may be added.
    ///
    /// # Errors
    /// If the right is missing, or Google gives no answer.
    pub(super) async fn can_write(&self, secret: &str) -> Result<(), PlaceError> {
        self.read(secret).await.map_err(PlaceError::unread)?;
        let client = self
            .client
            .get_or_try_init(connect)
            .await
            .map_err(PlaceError::unread)?;
        let question = client
            .test_iam_permissions()
            .set_resource(parent(secret))
            .set_permissions([ADD]);
        match question.send().await {
            Ok(answer) if answer.permissions.iter().any(|granted| granted == ADD) => Ok(()),
            Ok(_) => Err(PlaceError::NotWritten(PlaceFault::Manager(format!(
                "Google does not allow `{ADD}` for {secret}: grant roles/secretmanager.secretVersionAdder on this secret"
            )))),
            Err(_) => Err(PlaceError::Unknown(PlaceFault::Unchecked(
                "Google did not answer the question for the right to add a version",
            ))),
        }
    }
}

/// Returns the secret of a version.
fn parent(secret: &str) -> &str {
    secret.split("/versions/").next().unwrap_or(secret)
}

/// Returns the error of a write. Only a status about the request proves the place unchanged.
fn refused(error: &Error) -> PlaceError {
    let fault = PlaceFault::Manager(format!(
        "Google Secret Manager did not take the value: {}",
        problem(error)
    ));
    let status = error.status().map(|status| status.code.name());
    match status {
        None | Some("UNKNOWN" | "INTERNAL" | "UNAVAILABLE" | "DEADLINE_EXCEEDED" | "CANCELLED") => {
            PlaceError::Unknown(fault)
        }
        Some(_) => PlaceError::NotWritten(fault),
    }
}

fn problem(error: &Error) -> String {
    match error.status() {
        Some(status) => format!("{}: {}", status.code.name(), status.message),
        None => causes(error),
    }
}

async fn connect() -> Result<SecretManagerService, SourceError> {
    let default = SecretManagerService::builder();
    let builder = match std::env::var(GCP_ENDPOINT) {
        Ok(endpoint) if !endpoint.is_empty() => default.with_endpoint(endpoint),
        _ => default,
    };
    builder
        .build()
        .await
        .map_err(|error| no_value(&causes(&error)))
}

fn no_value(problem: &str) -> SourceError {
    SourceError::Manager(format!("Google Secret Manager gave no value: {problem}"))
}

/// The right that a write needs.
const ADD: &str = "secretmanager.versions.add";
