//! `azure-kv:`: a secret in an Azure Key Vault, by Microsoft's own crates.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use azure_core::credentials::TokenCredential;
use azure_identity::{
    ClientSecretCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential,
};
use azure_security_keyvault_secrets::SecretClient;
use tokio::sync::Mutex;

use super::document::Document;
use super::{SourceError, causes};

/// The vaults that have been asked, by name.
#[derive(Default)]
pub(super) struct Azure {
    clients: Mutex<HashMap<String, Arc<SecretClient>>>,
}

impl Azure {
    /// The current version of a secret.
    pub(super) async fn read(&self, vault: &str, name: &str) -> Result<Document, SourceError> {
        let failed = |error: azure_core::Error| {
            SourceError::Manager(format!("Azure Key Vault gave no value: {}", causes(&error)))
        };
        let client = self.client(vault).await.map_err(failed)?;
        let secret = client.get_secret(name, None).await.and_then(|answer| answer.into_model()).map_err(failed)?;
        let since = secret.attributes.and_then(|attributes| attributes.created).map(SystemTime::from);
        let text = secret.value.map(String::into_bytes);
        let text = text.ok_or_else(|| SourceError::Manager("Azure Key Vault has an empty secret".to_owned()))?;
        Ok(Document { text: text.into(), since })
    }

    async fn client(&self, vault: &str) -> azure_core::Result<Arc<SecretClient>> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(vault) {
            return Ok(Arc::clone(client));
        }
        let endpoint =
            if vault.contains('.') { format!("https://{vault}") } else { format!("https://{vault}.vault.azure.net") };
        let client = Arc::new(SecretClient::new(&endpoint, credential()?, None)?);
        clients.insert(vault.to_owned(), Arc::clone(&client));
        Ok(client)
    }
}

/// What Azure's other crates try in turn, by the variables of the environment that each needs: a pod's workload
/// identity, a client secret, and else the identity that the platform gives the machine.
fn credential() -> azure_core::Result<Arc<dyn TokenCredential>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let client = variable("AZURE_CLIENT_ID");
    if variable("AZURE_FEDERATED_TOKEN_FILE").is_some() {
        return Ok(WorkloadIdentityCredential::new(None)?);
    }
    match (variable("AZURE_TENANT_ID"), client, variable("AZURE_CLIENT_SECRET")) {
        (Some(tenant), Some(client), Some(secret)) => {
            Ok(ClientSecretCredential::new(&tenant, client, secret.into(), None)?)
        }
        (_, client, _) => {
            let user_assigned_id = client.map(UserAssignedId::ClientId);
            let options = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
            Ok(ManagedIdentityCredential::new(Some(options))?)
        }
    }
}
