//! Values with the look of foreign secrets and ids, beside the look known from the provider's
//! preset.

use super::super::encoded::from_base64;
use super::meta::is_app_secret;
use crate::provider::{Letters, SecretKind, TextForm};
use crate::secret::Secret;

/// Returns a hint for a value that a provider made at random as another kind of secret: a foreign
/// provider's key, the key of webhooks, an id, or base64 of the right one. The hint contains
/// nothing of the value.
pub(in crate::credential) fn not_of_kind(
    kind: &SecretKind,
    secret: &Secret,
) -> Option<&'static str> {
    #[expect(
        clippy::disallowed_methods,
        reason = "looks at the shape of the value and says nothing of it"
    )]
    let value = secret.expose();
    let look = kind.text.as_ref();
    if has_begin(value, look, &API_KEYS) {
        Some("it has the begin of another provider's key; put this provider's own one there")
    } else if (kind.required || look.is_some()) && has_begin(value, look, &WEBHOOK_KEYS) {
        Some(
            "it is a key of webhooks (whsec_...), which sends nothing; put the key for requests there",
        )
    } else {
        not_of_look(look?, value)
    }
}

/// Returns a hint for a value that does not have the given look, if the value tells what it is.
fn not_of_look(look: &TextForm, value: &str) -> Option<&'static str> {
    if begins_with_sid(value) {
        Some(
            "it is the SID of an account or of an API key of Twilio, alone or before the secret; put the secret alone there",
        )
    } else if is_base64_of(value, look) {
        Some("it is base64 of a secret; put the decoded secret there")
    } else {
        // A provider may make keys of another look some day, so the look alone refuses nothing.
        None
    }
}

/// True for a SID of Twilio, or a SID before a colon and more.
fn begins_with_sid(value: &str) -> bool {
    let sid = value.split(':').next().unwrap_or_default();
    let is_of_kind = |begin| sid.strip_prefix(begin).is_some_and(is_app_secret);
    ["AC", "SK"].into_iter().any(is_of_kind)
}

/// True for a value with a telling begin, which the look does not have, and with the length.
fn has_begin(value: &str, look: Option<&TextForm>, begins: &[(&str, usize)]) -> bool {
    let is_of = |(begin, min): &(&str, usize)| {
        let is_own = look.is_some_and(|look| look.begins == *begin);
        !is_own && value.starts_with(begin) && value.len() >= *min
    };
    begins.iter().any(is_of)
}

/// True for base64 of a value of the given look. A secret of base64 letters may encode a text by
/// right.
fn is_base64_of(value: &str, look: &TextForm) -> bool {
    look.letters != Letters::Base64
        && from_base64(value).is_some_and(|decoded| look.fits(decoded.as_bytes()))
}

/// The telling begins of the presets' secrets in requests, with the shortest length of each. Meta's
/// tokens have separate rules.
const API_KEYS: [(&str, usize); 2] = [("KEY0", 40), ("bk_", 20)];
/// The begins of Standard Webhooks for secret and public keys, with the shortest length of each.
const WEBHOOK_KEYS: [(&str, usize); 2] = [("whsec_", 20), ("whpk_", 20)];

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::meta::META_TOKEN;
    use super::*;
    use crate::provider::presets;

    fn hint(preset: &str, secret: &str, value: &str) -> Option<&'static str> {
        let provider = presets::provider(preset).unwrap();
        let kind = provider.secret(secret).unwrap();
        let value = Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
        not_of_kind(kind, &value)
    }

    #[test]
    fn a_secret_of_another_provider_an_id_and_base64_are_refused_with_a_hint() {
        let hex = "d41d8cd98f00b204e9800998ecf8427e";
        let sid = format!("AC{hex}");
        let pair = format!("{sid}:{hex}");
        let key = format!("SK{hex}");
        let telnyx = "KEY0187A3E5C6B4D2F1_dX9vJpQ2aLm8rTz5WkYb3N";
        let dialog = "d0ZkTQr5Zc1PVd2hT8mQw7Xk_AK";
        let base64 = |value: &str| data_encoding::BASE64.encode(value.as_bytes());
        for (preset, secret, value, expected) in [
            ("twilio", "auth_token", hex, ""),
            ("twilio", "auth_token", &*sid, "SID"),
            ("twilio", "auth_token", &pair, "SID"),
            ("twilio", "auth_token", &key, "SID"),
            ("twilio", "auth_token", &base64(hex), "base64"),
            ("360dialog", "api_key", dialog, ""),
            ("360dialog", "api_key", telnyx, "another provider"),
            ("360dialog", "api_key", &base64(dialog), "base64"),
            ("telnyx", "api_key", telnyx, ""),
            (
                "gupshup",
                "api_key",
                "bk_eu1_d0ZkTQr5Zc1PVd2hT8mQw7",
                "another provider",
            ),
            ("interakt", "api_key", &base64("a1b2c3d4e5f6a7b8"), ""),
        ] {
            let hint = hint(preset, secret, value).unwrap_or_default();
            let is_right = hint.contains(expected) && hint.is_empty() == expected.is_empty();
            assert!(is_right, "{preset} {value}: {hint}");
        }
    }

    #[test]
    fn a_key_of_webhooks_is_no_key_of_requests_of_any_preset() {
        let keys = [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ];
        for name in presets::names() {
            let provider = presets::provider(name).unwrap();
            let of_requests = |kind: &&SecretKind| kind.required && kind.has_look();
            for kind in provider.secrets.iter().filter(of_requests) {
                for key in keys {
                    let found = hint(name, &kind.name, key).unwrap_or_default();
                    assert!(found.contains("key of webhooks"), "{name}: {found}");
                }
            }
        }
    }

    /// A form alone refuses no key: a provider may make keys of another look some day, and a test
    /// any text.
    #[test]
    fn the_begin_alone_tells_the_kind_of_a_key() {
        let forms = [
            "d41d8cd98f00b204e9800998ecf8427e",
            "f1e2d3c4-b5a6-4978-8a9b-0c1d2e3f4a5b",
            "C2FVsBQIhrscChlQIMV+b5sSYspob7oDmJ0Rr3hXvKc=",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N",
        ];
        for value in forms {
            for (preset, secret) in [("infobip", "api_key"), ("plivo", "auth_token")] {
                assert_eq!(hint(preset, secret, value), None, "{preset}");
            }
        }
        let of_webhooks = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (preset, secret, value, expected) in [
            ("standard-webhooks", "secret", of_webhooks, ""),
            ("bird-platform", "webhook_secret", of_webhooks, ""),
            ("ycloud", "webhook_secret", of_webhooks, ""),
            (
                "telnyx",
                "public_key",
                "KEY0187A3E5C6B4D2F1_dX9vJpQ2aLm8rTz5WkYb3N",
                "another provider",
            ),
        ] {
            let found = hint(preset, secret, value).unwrap_or_default();
            let is_right = found.contains(expected) && found.is_empty() == expected.is_empty();
            assert!(is_right, "{preset} {secret} {value}: {found}");
        }
    }

    #[test]
    fn the_telling_begins_are_those_of_the_presets() {
        for name in presets::names() {
            let provider = presets::provider(name).unwrap();
            for kind in provider.secrets.iter().filter(|kind| kind.required) {
                let Some(look) = kind.text.as_ref().filter(|look| !look.begins.is_empty()) else {
                    continue;
                };
                let is_known = API_KEYS.contains(&(&*look.begins, look.min));
                assert!(is_known || look.begins == META_TOKEN, "{name}");
            }
        }
    }
}
