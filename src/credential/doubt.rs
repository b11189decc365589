//! Doubts about secrets whose form is usual, and not promised: a warning, and no refusal.

use super::account::Credential;
use super::form::{META_TOKEN, is_app_secret};
use crate::provider::{SecretForm, SecretKind};
use crate::secret::Secret;

impl Credential {
    /// Returns a line for each secret of an unusual form.
    pub fn doubts(&self) -> impl Iterator<Item = String> {
        let kinds = self.provider.secrets.iter();
        kinds.flat_map(move |kind| {
            let slot = self.slots().get(&kind.name);
            let versions = slot.into_iter().flat_map(|slot| slot.versions());
            versions.filter_map(move |version| {
                let doubt = doubt(kind, version.secret())?;
                let reference = &version.reference;
                Some(format!(
                    "credential.{}.{}: `{reference}`: {doubt}",
                    self.name, kind.name
                ))
            })
        })
    }
}

/// Returns the doubt about a value; `None` for a value of the usual form. The text contains nothing
/// of the value.
fn doubt(kind: &SecretKind, secret: &Secret) -> Option<&'static str> {
    #[expect(
        clippy::disallowed_methods,
        reason = "looks at the begin of the value and says nothing of it"
    )]
    let value = secret.expose();
    match kind.form {
        // Meta documents the begin nowhere as guaranteed, so another begin is no fault.
        SecretForm::MetaToken if !value.starts_with(META_TOKEN) => Some(UNUSUAL_TOKEN),
        // A provider may make longer keys some day, or keys of other letters.
        SecretForm::Text if kind.has_look() => {
            let look = kind.text.as_ref()?;
            look.is_unlike(value.as_bytes()).then_some(UNUSUAL_LOOK)
        }
        // Sandboxes and published test vectors have words as app secrets.
        SecretForm::AppSecret if !is_app_secret(value) => Some(UNUSUAL_APP_SECRET),
        SecretForm::MetaToken
        | SecretForm::AppSecret
        | SecretForm::Text
        | SecretForm::PrivateKey => None,
    }
}

const UNUSUAL_LOOK: &str = "it has other letters, another begin or another length than such secrets of the provider have; look whether it is the right one, \
     and whole";
const UNUSUAL_APP_SECRET: &str = "it is not 32 hex digits, as app secrets of Meta are, and whoever guesses it can forge events; look whether it is \
     the app secret, and whole";
const UNUSUAL_TOKEN: &str = "the token does not begin with EAA, as tokens of Meta do; look whether it is the token, and whole";

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::provider::presets;

    fn is_doubted(preset: &str, secret: &str, value: &str) -> bool {
        let provider = presets::provider(preset).unwrap();
        let value = Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
        doubt(provider.secret(secret).unwrap(), &value).is_some()
    }

    #[test]
    fn a_value_of_another_look_than_the_provider_gives_is_doubted() {
        let hex = "d41d8cd98f00b204e9800998ecf8427e";
        for (preset, secret, value, expected) in [
            ("meta", "token", "EAAGm0PX4ZCpsBA", false),
            ("meta", "token", "AAGm0PX4ZCpsBA", true),
            ("meta", "token", "eaaGm0PX4ZCpsBA", true),
            ("meta", "app_secret", hex, false),
            ("meta", "app_secret", "0123456789abcdef", true),
            ("twilio", "auth_token", hex, false),
            ("twilio", "auth_token", "d41d8cd98f00b204", true),
            ("telnyx", "api_key", "AAGm0PX4ZCpsBA", true),
            ("360dialog", "api_key", "AAGm0PX4ZCpsBA_x", false),
            ("infobip", "callback_login", "me:word", false),
        ] {
            assert_eq!(
                is_doubted(preset, secret, value),
                expected,
                "{preset} {secret} {value}"
            );
        }
    }
}
