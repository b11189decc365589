//! `aws-sm:`: a secret in AWS Secrets Manager, by AWS's own crate.

use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use tokio::sync::OnceCell;

use super::document::Document;
use super::{SourceError, causes};

/// The manager of the account and region that the environment or the machine names, as every AWS tool finds it:
/// <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>.
#[derive(Default)]
pub(super) struct Aws {
    client: OnceCell<Client>,
}

impl Aws {
    /// The current version of a secret, by its name or ARN.
    pub(super) async fn read(&self, name: &str) -> Result<Document, SourceError> {
        let client = self.client.get_or_init(connect).await;
        let answer = client.get_secret_value().secret_id(name).send().await.map_err(|error| {
            let problem = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                (None, _) => causes(&error),
            };
            SourceError::Manager(format!("AWS Secrets Manager gave no value: {problem}"))
        })?;
        let since = answer.created_date.and_then(|date| SystemTime::try_from(date).ok());
        let text = answer.secret_string.map(String::into_bytes);
        let text = text.or_else(|| answer.secret_binary.map(aws_sdk_secretsmanager::primitives::Blob::into_inner));
        let text = text.ok_or_else(|| SourceError::Manager("AWS Secrets Manager has an empty secret".to_owned()))?;
        Ok(Document { text: text.into(), since })
    }
}

async fn connect() -> Client {
    let timeouts = TimeoutConfig::builder().operation_timeout(TIME).build();
    // What fails is asked for again by the refresh, which backs off by itself.
    let retries = RetryConfig::standard().with_max_attempts(2);
    let loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).retry_config(retries);
    Client::new(&loader.load().await)
}

const TIME: Duration = Duration::from_secs(5);
