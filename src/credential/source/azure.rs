//! `azure-kv:`: a secret in an Azure Key Vault, read and written with Microsoft's own crates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use azure_core::credentials::TokenCredential;
use azure_identity::{
    ClientSecretCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions,
    UserAssignedId, WorkloadIdentityCredential,
};
use azure_security_keyvault_secrets::SecretClient;
use azure_security_keyvault_secrets::models::{self, SetSecretParameters};
use tokio::sync::Mutex;

use super::asked::key_vault;
use super::document::SecretDocument;
use super::edit::{EditStep, compare};
use super::error::{SourceError, causes};
use super::place_error::{PlaceError, PlaceFault};
use crate::secret::Secret;

/// A client for each vault in use, by the name of the vault.
#[derive(Default)]
pub(super) struct Azure {
    clients: Mutex<HashMap<String, Arc<SecretClient>>>,
}

impl Azure {
    /// Reads the current version of a secret.
    pub(super) async fn read(
        &self,
        vault: &str,
        name: &str,
    ) -> Result<SecretDocument, SourceError> {
        document(self.current(vault, name).await?)
    }

    /// Sets a new value if the current version is the expected one. Content type and tags stay.
    ///
    /// Key Vault has no check-and-set. The value is compared before the write, and read back after
    /// the write: of two writers, the writer whose version is not current learns that the place was
    /// changed.
    ///
    /// # Errors
    /// If the current version differs, or Azure refuses.
    pub(super) async fn replace(
        &self,
        vault: &str,
        name: &str,
        expected: Option<&Secret>,
        new: &Secret,
    ) -> Result<(), PlaceError> {
        let mut current = self
            .current(vault, name)
            .await
            .map_err(PlaceError::unread)?;
        let content_type = current.content_type.take();
        let tags = current.tags.take();
        let present = document(current).map(|document| document.whole());
        if compare(present, expected, new)? == EditStep::Done {
            return Ok(());
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the secret goes to the place that it will be read from"
        )]
        let parameters = SetSecretParameters {
            value: Some(new.expose().to_owned()),
            content_type,
            tags,
            ..Default::default()
        };
        let client = self
            .client(vault)
            .await
            .map_err(|error| PlaceError::unread(unreadable(&error)))?;
        let body = parameters.try_into().map_err(|error: azure_core::Error| {
            PlaceError::NotWritten(PlaceFault::Manager(causes(&error)))
        })?;
        let answer = client.set_secret(name, body, None).await;
        answer.map_err(|error| refused(&error))?;
        match self.read(vault, name).await {
            Ok(current) => compare(Ok(current.whole()), Some(new), new).map(|_| ()),
            // The value was written: Azure has said so.
            Err(_) => Ok(()),
        }
    }

    /// Checks that a secret can be read. Key Vault answers no question for the right to write.
    pub(super) async fn can_write(&self, vault: &str, name: &str) -> Result<(), PlaceError> {
        self.read(vault, name).await.map_err(PlaceError::unread)?;
        Err(PlaceError::Unknown(PlaceFault::Unchecked(
            "Key Vault answers no question for it; the identity needs the role `Key Vault Secrets Officer` on this secret",
        )))
    }

    async fn current(&self, vault: &str, name: &str) -> Result<models::Secret, SourceError> {
        let client = self
            .client(vault)
            .await
            .map_err(|error| unreadable(&error))?;
        let answer = client.get_secret(name, None).await;
        answer
            .and_then(|answer| answer.into_model())
            .map_err(|error| unreadable(&error))
    }

    async fn client(&self, vault: &str) -> azure_core::Result<Arc<SecretClient>> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(vault) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(SecretClient::new(&key_vault(vault), credential()?, None)?);
        clients.insert(vault.to_owned(), Arc::clone(&client));
        Ok(client)
    }
}

fn document(secret: models::Secret) -> Result<SecretDocument, SourceError> {
    let since = secret
        .attributes
        .and_then(|attributes| attributes.created)
        .map(SystemTime::from);
    let text = secret
        .value
        .map(String::into_bytes)
        .ok_or_else(|| SourceError::Manager("Azure Key Vault has an empty secret".to_owned()))?;
    Ok(SecretDocument::new(text.into(), since))
}

fn unreadable(error: &azure_core::Error) -> SourceError {
    SourceError::Manager(format!("Azure Key Vault gave no value: {}", causes(error)))
}

/// Returns the error of a write. Only an answer that blames the request proves the place unchanged.
fn refused(error: &azure_core::Error) -> PlaceError {
    let fault = PlaceFault::Manager(format!(
        "Azure Key Vault did not take the value: {}",
        causes(error)
    ));
    let is_proof = error
        .http_status()
        .is_some_and(|status| (400..500).contains(&u16::from(status)));
    if is_proof {
        PlaceError::NotWritten(fault)
    } else {
        PlaceError::Unknown(fault)
    }
}

/// Returns the credential that the environment has the variables for: a pod's workload identity, a
/// client secret, or else the identity that the platform gives the machine. Azure's other crates
/// try the three in this order.
fn credential() -> azure_core::Result<Arc<dyn TokenCredential>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let client = variable("AZURE_CLIENT_ID");
    if variable("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        return Ok(WorkloadIdentityCredential::new(None)?);
    }
    match (
        variable("AZURE_TENANT_ID"),
        client,
        variable("AZURE_CLIENT_SECRET"),
    ) {
        (Some(tenant), Some(client), Some(secret)) => Ok(ClientSecretCredential::new(
            &tenant,
            client,
            secret.into(),
            None,
        )?),
        (_, client, _) => {
            let user_assigned_id = client.map(UserAssignedId::ClientId);
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id,
                ..Default::default()
            };
            Ok(ManagedIdentityCredential::new(Some(options))?)
        }
    }
}
