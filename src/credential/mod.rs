//! The secrets of an account at a provider: read from sources, put into slots, and handed to
//! requests.
//!
//! - [`source`] reads the references of the configuration.
//! - [`Credential::assemble`] puts the secrets found into [`Slot`]s, next to the [`Previous`]
//!   secret sets within their overlap.
//! - [`SecretSet`] is the view of a credential for one request, and the only way to a value.
//! - [`access_token`] mints a token or exchanges a secret set for a token, if the provider wants
//!   tokens.
//! - [`Acceptance`] and [`Verification`] hold the provider's opinion: from traffic, and from
//!   asking.

mod acceptance;
mod access;
mod account;
mod assemble;
mod doubt;
mod encoded;
mod fault;
mod forbidden;
mod form;
mod history;
mod hold;
mod kept_back;
mod kept_set;
pub mod metrics;
mod missing;
mod previous;
mod proof;
mod reflection;
mod renewal;
mod secret_set;
mod slot;
pub mod source;
mod unfinished;
mod verification;
mod version;

pub use acceptance::{Acceptance, FallbackReason};
pub use access::{AccessTokenError, IssuedToken, TokenIssuer, access_token};
pub use account::Credential;
pub use fault::CredentialFault;
pub use forbidden::{ForbiddenRequests, RequestSubject};
pub use hold::{Hold, ProbedSecrets, RefusedAnswer};
pub use kept_back::{KeptBack, KeptBackReason};
pub use kept_set::KeptSet;
pub use missing::MissingSecret;
pub use previous::{LastEvent, Previous};
pub use renewal::{Renewal, RenewalProblem, RenewalStep};
pub use secret_set::SecretSet;
pub use slot::{SecretRole, Slot};
pub use unfinished::{UnfinishedRotation, UnfinishedRotations};
pub use verification::{
    MESSAGING, SecretRefusal, Standing, TokenFacts, TokenNeeds, TokenUse, Verdict, Verification,
};
pub use version::{SecretVersion, SinceFrom};
