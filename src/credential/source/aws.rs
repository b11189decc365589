//! `aws-sm:`: a secret in AWS Secrets Manager, read and written with AWS's own crate.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::SharedHttpClient;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::primitives::Blob;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector, tls};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::document::SecretDocument;
use super::edit::{EditStep, compare, content, value};
use super::error::{SourceError, causes};
use super::place_error::{PlaceError, PlaceFault};
use crate::egress::{Egress, Proxy};
use crate::secret::Secret;

/// A client for the account and region that the environment or the machine names, found as by every
/// AWS tool: <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>.
#[derive(Default)]
pub(super) struct Aws {
    /// The client, with the way out that it takes. A tokio mutex, because connecting awaits.
    client: Mutex<Option<(Arc<Egress>, Client)>>,
    /// The way out for the next question.
    egress: ArcSwap<Egress>,
}

/// The current version of a secret.
struct CurrentVersion {
    document: SecretDocument,
    id: String,
    form: ValueForm,
}

/// The form in which a version has its value.
#[derive(Clone, Copy)]
enum ValueForm {
    Text,
    Binary,
}

impl Aws {
    /// Takes a way out for all further questions.
    pub(super) fn take_way_out(&self, egress: &Egress) {
        self.egress.store(Arc::new(egress.clone()));
    }

    /// Reads the current version of a secret, by its name or ARN.
    pub(super) async fn read(&self, name: &str) -> Result<SecretDocument, SourceError> {
        Ok(self.current(name).await?.document)
    }

    /// Puts a new value in the place of the expected one, in one field or the whole of a secret.
    ///
    /// A new version becomes current only if the version that was compared still is: AWS moves the
    /// label `AWSCURRENT` away from no other version.
    ///
    /// # Errors
    /// If the secret holds another value, or AWS refuses.
    pub(super) async fn replace(
        &self,
        name: &str,
        field: Option<&str>,
        expected: Option<&Secret>,
        new: &Secret,
    ) -> Result<(), PlaceError> {
        for _ in 0..MAX_ATTEMPTS {
            let current = self.current(name).await.map_err(PlaceError::unread)?;
            let present = value(&current.document, field);
            if compare(present, expected, new)? == EditStep::Done {
                return Ok(());
            }
            let text = content(&current.document, field, new)?;
            let added = self.add(name, &text, current.form).await?;
            let result = self.promote(name, &added, &current.id).await;
            self.remove_label(name, &added).await;
            match result {
                // A version with a different field, or the answer to a first attempt was lost: the
                // comparison decides.
                Err(PlaceError::Changed) => {}
                result => return result,
            }
        }
        Err(PlaceError::Changed)
    }

    /// Checks that a secret can be read. AWS has no question for the right to write.
    pub(super) async fn can_write(&self, name: &str) -> Result<(), PlaceError> {
        self.current(name).await.map_err(PlaceError::unread)?;
        Err(PlaceError::Unknown(PlaceFault::Unchecked(
            "AWS has no question for it; the role needs secretsmanager:PutSecretValue and \
             secretsmanager:UpdateSecretVersionStage",
        )))
    }

    /// Adds a version that is not current. Returns the id of the version.
    async fn add(
        &self,
        name: &str,
        text: &Zeroizing<String>,
        form: ValueForm,
    ) -> Result<String, PlaceError> {
        let client = self.client().await.map_err(PlaceError::unread)?;
        let request = client
            .put_secret_value()
            .secret_id(name)
            .version_stages(PENDING);
        let filled = match form {
            ValueForm::Binary => request.secret_binary(Blob::new(text.as_bytes().to_vec())),
            ValueForm::Text => request.secret_string(text.as_str()),
        };
        let answer = filled.send().await.map_err(|error| refused(&error))?;
        answer.version_id.ok_or_else(|| {
            PlaceError::NotWritten(PlaceFault::Manager(
                "AWS Secrets Manager gave the new version no id".to_owned(),
            ))
        })
    }

    /// Makes a version current in the place of the version that was compared.
    async fn promote(&self, name: &str, added: &str, compared: &str) -> Result<(), PlaceError> {
        let client = self.client().await.map_err(PlaceError::unread)?;
        let request = client
            .update_secret_version_stage()
            .secret_id(name)
            .version_stage(CURRENT)
            .move_to_version_id(added)
            .remove_from_version_id(compared);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("InvalidParameterException") => {
                Err(PlaceError::Changed)
            }
            Err(error) => Err(refused(&error)),
        }
    }

    /// Takes the label of the write off. A version without labels is removed by AWS in time.
    async fn remove_label(&self, name: &str, added: &str) {
        let Ok(client) = self.client().await else {
            return;
        };
        let request = client
            .update_secret_version_stage()
            .secret_id(name)
            .version_stage(PENDING)
            .remove_from_version_id(added);
        if let Err(error) = request.send().await {
            let problem = problem(&error);
            tracing::warn!(
                problem,
                label = PENDING,
                "a version of a secret in AWS Secrets Manager keeps a label of Keyside"
            );
        }
    }

    /// Returns a client on the present way out.
    async fn client(&self) -> Result<Client, SourceError> {
        let egress = self.egress.load_full();
        let mut known = self.client.lock().await;
        if let Some((way, client)) = known.as_ref()
            && way.leads_as(&egress)
        {
            return Ok(client.clone());
        }
        let client = connect(&egress).await?;
        *known = Some((egress, client.clone()));
        Ok(client)
    }

    async fn current(&self, name: &str) -> Result<CurrentVersion, SourceError> {
        let client = self.client().await?;
        let answer = client
            .get_secret_value()
            .secret_id(name)
            .version_stage(CURRENT)
            .send()
            .await
            .map_err(|error| {
                let problem = problem(&error);
                SourceError::Manager(format!("AWS Secrets Manager gave no value: {problem}"))
            })?;
        let form = match &answer.secret_binary {
            Some(_) => ValueForm::Binary,
            None => ValueForm::Text,
        };
        let id = answer.version_id.unwrap_or_default();
        let since = answer
            .created_date
            .and_then(|date| SystemTime::try_from(date).ok());
        let binary = answer.secret_binary.map(Blob::into_inner);
        let text = answer
            .secret_string
            .map(String::into_bytes)
            .or(binary)
            .ok_or_else(|| {
                SourceError::Manager("AWS Secrets Manager has an empty secret".to_owned())
            })?;
        let document = SecretDocument::new(text.into(), since);
        Ok(CurrentVersion { document, id, form })
    }
}

/// Returns the error of a write. Only an answer of AWS proves that nothing was written.
fn refused<E: ProvideErrorMetadata + std::error::Error + 'static>(
    error: &SdkError<E>,
) -> PlaceError {
    let fault = PlaceFault::Manager(format!(
        "AWS Secrets Manager did not take the value: {}",
        problem(error)
    ));
    let is_proof = match error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::ServiceError(answer) => answer.raw().status().is_client_error(),
        _ => false,
    };
    if is_proof {
        PlaceError::NotWritten(fault)
    } else {
        PlaceError::Unknown(fault)
    }
}

fn problem<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => causes(error),
    }
}

/// Makes a client. Connections to the machine itself, such as for the role of an instance, use
/// plain HTTP and go straight.
///
/// # Errors
/// If the way out is closed.
async fn connect(egress: &Egress) -> Result<Client, SourceError> {
    let timeouts = TimeoutConfig::builder()
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    // Two attempts are enough: the refresh reads a failed secret again, with a growing interval.
    let retries = RetryConfig::standard().with_max_attempts(2);
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(retries);
    let config = match (egress.proxy(), egress.problem()) {
        (None, Some(problem)) => {
            return Err(SourceError::Manager(format!(
                "AWS Secrets Manager cannot be reached: there is no way out: {problem}"
            )));
        }
        (None, None) => loader,
        (Some(proxy), _) => loader.http_client(client_through(proxy, egress)?),
    };
    Ok(Client::new(&config.load().await))
}

/// Makes the HTTP client of the SDK for a proxy.
fn client_through(proxy: &Proxy, egress: &Egress) -> Result<SharedHttpClient, SourceError> {
    let rules: Vec<_> = egress
        .bypass()
        .iter()
        .filter_map(|rule| rule.without_port(HTTPS_PORT))
        .chain(LOOPBACK.map(str::to_owned))
        .collect();
    let config = ProxyConfig::https(proxy.secret_url().as_str())
        .map_err(|_| {
            SourceError::Manager(format!(
                "AWS Secrets Manager cannot be reached: its SDK does not take the proxy {proxy}"
            ))
        })?
        .no_proxy(rules.join(","));
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder().proxy_config(config.clone());
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .build()
    });
    Ok(client)
}

/// The hosts of this machine, which the SDK would ask through the proxy otherwise.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.0/8", "::1"];
/// The port of AWS's own endpoints.
const HTTPS_PORT: u16 = 443;
/// The time for a single read: half of the time for a document, with the other half for a second
/// attempt.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// The label of the version in use.
const CURRENT: &str = "AWSCURRENT";
/// The label of a version that is being written.
const PENDING: &str = "KEYSIDEPENDING";
/// The number of times that a secret is compared and written: each time a new version became
/// current in between.
const MAX_ATTEMPTS: usize = 5;
