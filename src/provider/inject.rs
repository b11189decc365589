//! The places for secrets in a request, and the parts removed from the application's request.

use http::HeaderName;

use super::template::Template;

/// A place for a secret in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inject {
    /// A header.
    Header {
        /// The name of the header.
        name: HeaderName,
        /// The value.
        value: Template,
    },
    /// A query parameter.
    Query {
        /// The name of the parameter.
        name: String,
        /// The value, which is percent-encoded on the way out.
        value: Template,
    },
    /// A field of a JSON body.
    JsonField {
        /// The keys that lead to the field, from a JSON pointer.
        pointer: Vec<String>,
        /// The value.
        value: Template,
    },
    /// A field of a form-encoded body.
    FormField {
        /// The name of the field.
        name: String,
        /// The value.
        value: Template,
    },
    /// Meta's `appsecret_proof` and `appsecret_time`, in the query.
    AppSecretProof {
        /// The name of the signed secret.
        token: String,
        /// The name of the signing secret.
        key: String,
    },
}

impl Inject {
    /// Returns the keys that lead to the field of a JSON body; `None` for another place.
    #[must_use]
    pub fn json_pointer(&self) -> Option<&Vec<String>> {
        match self {
            Self::JsonField { pointer, .. } => Some(pointer),
            _ => None,
        }
    }

    /// Returns the template of the value; `None` for an `appsecret_proof`, which is computed.
    #[must_use]
    pub fn template(&self) -> Option<&Template> {
        match self {
            Self::Header { value, .. }
            | Self::Query { value, .. }
            | Self::JsonField { value, .. }
            | Self::FormField { value, .. } => Some(value),
            Self::AppSecretProof { .. } => None,
        }
    }

    pub(super) fn template_mut(&mut self) -> Option<&mut Template> {
        match self {
            Self::Header { value, .. }
            | Self::Query { value, .. }
            | Self::JsonField { value, .. }
            | Self::FormField { value, .. } => Some(value),
            Self::AppSecretProof { .. } => None,
        }
    }
}

/// The parts of an application's request to remove before injection.
#[derive(Clone, Debug, Default)]
pub struct Strip {
    /// Names of headers.
    pub headers: Vec<HeaderName>,
    /// Names of query parameters.
    pub query: Vec<String>,
    /// Names of fields of a form-encoded body.
    pub form: Vec<String>,
}

impl Strip {
    /// Adds the parameters of Meta's credentials, sent by SDKs of the Cloud API to any provider.
    pub(super) fn add_common(&mut self) {
        for name in COMMON {
            add(&mut self.query, &name.to_owned());
            add(&mut self.form, &name.to_owned());
        }
    }

    /// Adds the places that `injects` write to.
    ///
    /// An application's own value beside the injected one would let the provider choose between the
    /// two.
    pub(super) fn add_injected(&mut self, injects: &[Inject]) {
        for inject in injects {
            match inject {
                Inject::Header { name, .. } => add(&mut self.headers, name),
                Inject::Query { name, .. } => add(&mut self.query, name),
                Inject::FormField { name, .. } => add(&mut self.form, name),
                // Injection overwrites a field in place, and a proof is taken out of every request.
                Inject::JsonField { .. } | Inject::AppSecretProof { .. } => {}
            }
        }
    }
}

/// The parameters of Meta's credentials:
/// <https://developers.facebook.com/docs/graph-api/guides/secure-requests>.
const COMMON: [&str; 3] = ["access_token", "appsecret_proof", "appsecret_time"];

fn add<T: PartialEq + Clone>(list: &mut Vec<T>, item: &T) {
    if !list.contains(item) {
        list.push(item.clone());
    }
}
