//! `gcp-sm:`: a secret in Google Cloud's Secret Manager, by Google's own crate.

use google_cloud_secretmanager_v1::client::SecretManagerService;
use tokio::sync::OnceCell;

use super::document::Document;
use super::{SourceError, causes};

/// The manager, with the application default credentials of the environment or the machine:
/// <https://cloud.google.com/docs/authentication/application-default-credentials>.
#[derive(Default)]
pub(super) struct Gcp {
    client: OnceCell<SecretManagerService>,
}

impl Gcp {
    /// The latest version of a secret, or the one that is named.
    ///
    /// When it was written is not said: that is another question, which a reader of secrets
    /// (`roles/secretmanager.secretAccessor`) may not ask.
    pub(super) async fn read(&self, secret: &str) -> Result<Document, SourceError> {
        let failed = |problem: String| SourceError::Manager(format!("Google Secret Manager gave no value: {problem}"));
        let client = self.client.get_or_try_init(connect).await.map_err(failed)?;
        let name = if secret.contains("/versions/") { secret.to_owned() } else { format!("{secret}/versions/latest") };
        let answer = client.access_secret_version().set_name(name).send().await;
        let answer = answer.map_err(|error| {
            failed(match error.status() {
                Some(status) => format!("{}: {}", status.code.name(), status.message),
                None => causes(&error),
            })
        })?;
        let payload = answer.payload.ok_or_else(|| failed("the version is empty".to_owned()))?;
        Ok(Document { text: payload.data.to_vec().into(), since: None })
    }
}

async fn connect() -> Result<SecretManagerService, String> {
    let builder = SecretManagerService::builder();
    let builder = match std::env::var(ENDPOINT) {
        Ok(endpoint) if !endpoint.is_empty() => builder.with_endpoint(endpoint),
        _ => builder,
    };
    builder.build().await.map_err(|error| causes(&error))
}

/// As Google's own tools name another endpoint, such as that of a region or a private one.
const ENDPOINT: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER";
