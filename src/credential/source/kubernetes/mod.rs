//! `k8s:`: a key of a Secret of the cluster that this pod runs in, by the cluster's API.
//!
//! The address of the cluster and the service account come from Kubernetes, as for each pod. Three
//! requests are needed, all on a single Secret by name: `get`, `patch`, and the question if `patch`
//! is allowed.

use http::{Method, StatusCode};
use serde::Deserialize;
use zeroize::Zeroizing;

mod client;
mod error;
mod object;

use client::{ClusterClient, ClusterRequest, message, own_namespace};
use error::{ClusterError, Rule, SecretName};
pub(super) use object::KubernetesSecret;
use object::patch;

use super::document::wipe;
use super::edit::{EditStep, compare};
use super::error::SourceError;
use super::place_error::{PlaceError, PlaceFault};
use crate::secret::Secret;

/// The cluster of this pod.
#[derive(Default)]
pub(super) struct Kubernetes {
    client: ClusterClient,
}

impl Kubernetes {
    /// Reads a Secret; without a namespace, a Secret of the pod's own namespace.
    pub(super) async fn read(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<KubernetesSecret, SourceError> {
        Ok(self.get(&secret_name(namespace, name).await?).await?)
    }

    /// Puts a new value in the place of the expected one, in one key of a Secret.
    ///
    /// A change of a different key meanwhile is no obstacle: the Secret is read and compared again.
    ///
    /// # Errors
    /// If the key holds another value, or the cluster refuses.
    pub(super) async fn replace(
        &self,
        namespace: Option<&str>,
        name: &str,
        key: &str,
        expected: Option<&Secret>,
        new: &Secret,
    ) -> Result<(), PlaceError> {
        let secret = secret_name(namespace, name)
            .await
            .map_err(ClusterError::of_write)?;
        for _ in 0..MAX_ATTEMPTS {
            let present = self
                .get(&secret)
                .await
                .map_err(|error| PlaceError::unread(error.into()))?;
            if compare(present.value(key), expected, new)? == EditStep::Done {
                return Ok(());
            }
            let change = patch(&present.version, key, new);
            match self.patch(&secret, change).await {
                Err(ClusterError::Conflict) => {}
                result => return result.map_err(ClusterError::of_write),
            }
        }
        Err(PlaceError::Changed)
    }

    /// Asks the cluster if the service account may change a Secret.
    ///
    /// # Errors
    /// If the right is missing, or the cluster gives no answer.
    pub(super) async fn can_write(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), PlaceError> {
        let secret = secret_name(namespace, name)
            .await
            .map_err(ClusterError::of_write)?;
        let present = self.get(&secret).await;
        present.map_err(|error| PlaceError::unread(error.into()))?;
        match self.is_allowed(PATCH, &secret).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let denied = ClusterError::Denied(Rule {
                    verb: PATCH,
                    secret,
                });
                Err(denied.of_write())
            }
            Err(ClusterError::Denied(_)) => Err(PlaceError::Unknown(PlaceFault::Unchecked(
                "the service account may not ask for its rights (SelfSubjectAccessReview)",
            ))),
            Err(error) => Err(error.of_write()),
        }
    }

    async fn get(&self, secret: &SecretName) -> Result<KubernetesSecret, ClusterError> {
        let request = ClusterRequest {
            method: Method::GET,
            path: path(secret),
            body: None,
        };
        let (status, body) = self.client.ask(request).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, body, GET, secret));
        }
        let found = KubernetesSecret::parse(&body);
        wipe(body);
        found.ok_or(ClusterError::Malformed("Secret"))
    }

    async fn patch(
        &self,
        secret: &SecretName,
        change: Zeroizing<String>,
    ) -> Result<(), ClusterError> {
        let request = ClusterRequest {
            method: Method::PATCH,
            path: format!("{}?fieldManager=keyside", path(secret)),
            body: Some(("application/merge-patch+json", change)),
        };
        let (status, body) = self.client.ask(request).await?;
        if status != StatusCode::OK {
            return Err(refusal(status, body, PATCH, secret));
        }
        wipe(body);
        Ok(())
    }

    /// Asks if the service account may do this with a Secret. Every service account may ask, by the
    /// role `system:basic-user`.
    async fn is_allowed(
        &self,
        verb: &'static str,
        secret: &SecretName,
    ) -> Result<bool, ClusterError> {
        #[derive(Deserialize)]
        struct Review {
            status: ReviewStatus,
        }
        #[derive(Deserialize)]
        struct ReviewStatus {
            allowed: bool,
        }
        let question = serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": secret.namespace, "verb": verb, "resource": "secrets", "name": secret.name
            } },
        });
        let request = ClusterRequest {
            method: Method::POST,
            path: REVIEWS.to_owned(),
            body: Some(("application/json", Zeroizing::new(question.to_string()))),
        };
        let (status, body) = self.client.ask(request).await?;
        if status != StatusCode::CREATED && status != StatusCode::OK {
            return Err(refusal(status, body, verb, secret));
        }
        let review: Review =
            serde_json::from_slice(&body).map_err(|_| ClusterError::Malformed("review"))?;
        Ok(review.status.allowed)
    }
}

async fn secret_name(namespace: Option<&str>, name: &str) -> Result<SecretName, ClusterError> {
    let namespace = match namespace {
        Some(named) => named.to_owned(),
        None => own_namespace().await?,
    };
    Ok(SecretName {
        namespace,
        name: name.to_owned(),
    })
}

fn path(secret: &SecretName) -> String {
    let SecretName { namespace, name } = secret;
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

/// Returns the error of an answer without success.
fn refusal(
    status: StatusCode,
    body: bytes::Bytes,
    verb: &'static str,
    secret: &SecretName,
) -> ClusterError {
    let message = message(body);
    match status {
        StatusCode::FORBIDDEN => ClusterError::Denied(Rule {
            verb,
            secret: secret.clone(),
        }),
        StatusCode::NOT_FOUND => ClusterError::NotFound(secret.clone()),
        StatusCode::CONFLICT => ClusterError::Conflict,
        status => ClusterError::Answered(status, message),
    }
}

const GET: &str = "get";
const PATCH: &str = "patch";
/// The path of the question if the account may do a thing.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
/// The number of times that a Secret is compared and written: each time it was changed in between.
const MAX_ATTEMPTS: usize = 5;
