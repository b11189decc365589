//! Providers: the facts about an API, as data.
//!
//! Three layers. No layer imports from the layer above:
//!
//! 1. The checked types: [`Provider`] and its parts, one file per noun. No value of a checked type
//!    can be invalid.
//! 2. `schema`, which reads TOML into checked types and reports every fault. One file per table of
//!    the TOML.
//! 3. [`presets`], the providers that ship with Keyside.

pub mod access;
mod channels;
mod code;
mod content_type;
mod coverage;
mod definition;
mod errors;
pub mod event_form;
mod evidence;
mod inject;
mod limits;
mod matching;
mod network;
mod operation;
mod operation_set;
mod origin;
mod outline;
mod parameter;
mod party;
mod path;
pub mod presets;
mod provider_error;
mod received;
pub(crate) mod schema;
mod secret;
mod template;
mod token_answer;
mod variable;
pub mod webhook;

pub use access::AccessToken;
pub use channels::{ChannelForm, Channels, WHATSAPP};
pub use content_type::{BodyForm, ContentType};
pub use definition::{HealthCheck, NamedAccount, NamedOrigin, Provider, RECIPIENT};
pub use errors::{CodePlace, ErrorRules, ErrorSigns, Meaning};
pub use evidence::Evidence;
pub use inject::{Inject, Strip};
pub use limits::{ProviderLimits, Rates, Scope, Throttle};
pub use matching::PathMatch;
pub use network::Network;
pub use operation::{
    METHODS, Metering, Operation, OperationKind, PathMap, QueryWords, RequestPattern,
};
pub use operation_set::{Extent, OperationSet, READING};
pub use origin::{Ca, Origin};
pub use outline::Outline;
pub use parameter::{Parameter, ParameterForm};
pub use party::party;
pub use path::{FormParty, PathPattern, Segment, SegmentForm};
pub use provider_error::ProviderError;
pub use received::{Receipt, ReceivedMedia};
pub use secret::{Letters, SecretForm, SecretKind, SecretOrigin, TextForm};
pub use template::{Template, TemplatePart};
pub use token_answer::TokenAnswer;
pub use webhook::WebhookSpec;
