//! Doubts about secrets whose form is usual, and not promised: a warning, and no refusal.

use super::account::Credential;
use super::form::META_TOKEN;
use crate::provider::SecretForm;
use crate::secret::Secret;

impl Credential {
    /// Returns a line for each secret of an unusual form.
    pub fn doubts(&self) -> impl Iterator<Item = String> {
        let kinds = self.provider.secrets.iter();
        kinds.flat_map(move |kind| {
            let slot = self.slots().get(&kind.name);
            let versions = slot.into_iter().flat_map(|slot| slot.versions());
            versions.filter_map(move |version| {
                let doubt = doubt(kind.form, version.secret())?;
                let reference = &version.reference;
                let (credential, secret) = (&self.name, &kind.name);
                Some(format!(
                    "credential.{credential}.{secret}: `{reference}`: {doubt}"
                ))
            })
        })
    }
}

/// Returns the doubt about a value; `None` for a value of the usual form. The text contains nothing of the value.
fn doubt(form: SecretForm, secret: &Secret) -> Option<&'static str> {
    #[expect(
        clippy::disallowed_methods,
        reason = "looks at the begin of the value and says nothing of it"
    )]
    let value = secret.expose();
    match form {
        // Meta documents the begin nowhere as guaranteed, so another begin is no fault.
        SecretForm::MetaToken if !value.starts_with(META_TOKEN) => Some(UNUSUAL_TOKEN),
        SecretForm::MetaToken
        | SecretForm::AppSecret
        | SecretForm::Text
        | SecretForm::PrivateKey => None,
    }
}

const UNUSUAL_TOKEN: &str = "the token does not begin with EAA, as tokens of Meta do; look whether it is the token, and whole";

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn a_token_of_meta_with_another_begin_is_doubted_and_no_other_secret() {
        for (form, value, is_doubted) in [
            (SecretForm::MetaToken, "EAAGm0PX4ZCpsBA", false),
            (SecretForm::MetaToken, "AAGm0PX4ZCpsBA", true),
            (SecretForm::MetaToken, "eaaGm0PX4ZCpsBA", true),
            (SecretForm::Text, "AAGm0PX4ZCpsBA", false),
            (SecretForm::AppSecret, "0123456789abcdef", false),
        ] {
            let secret = Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
            assert_eq!(
                doubt(form, &secret).is_some(),
                is_doubted,
                "{form:?} {value}"
            );
        }
    }
}
