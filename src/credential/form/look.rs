//! Values with the look of foreign secrets and ids, beside the look known from the provider's preset.

use super::super::encoded::from_base64;
use super::meta::is_app_secret;
use crate::provider::{Letters, TextForm};
use crate::secret::Secret;

/// Returns a hint for a foreign provider's secret, an id, or base64 of a secret of the given look.
/// The hint contains nothing of the value.
pub(in crate::credential) fn not_of_look(look: &TextForm, secret: &Secret) -> Option<&'static str> {
    #[expect(
        clippy::disallowed_methods,
        reason = "looks at the shape of the value and says nothing of it"
    )]
    let value = secret.expose();
    if begins_with_sid(value) {
        Some(
            "it is the SID of an account or of an API key of Twilio, alone or before the secret; put the secret alone there",
        )
    } else if is_telling(value, look) {
        Some("it has the begin of another provider's secret; put this provider's own one there")
    } else if is_base64_of(value, look) {
        Some("it is base64 of a secret; put the decoded secret there")
    } else {
        None
    }
}

/// True for a SID of Twilio, or a SID before a colon and more.
fn begins_with_sid(value: &str) -> bool {
    let sid = value.split(':').next().unwrap_or_default();
    let is_of_kind = |begin| sid.strip_prefix(begin).is_some_and(is_app_secret);
    ["AC", "SK"].into_iter().any(is_of_kind)
}

/// True for a value with the begin and the length of another provider's secret.
fn is_telling(value: &str, look: &TextForm) -> bool {
    let is_of = |(begin, min): &(&str, usize)| {
        look.begins != *begin && value.starts_with(begin) && value.len() >= *min
    };
    TELLING.iter().any(is_of)
}

/// True for base64 of a value of the given look. A secret of base64 letters may encode a text by right.
fn is_base64_of(value: &str, look: &TextForm) -> bool {
    look.letters != Letters::Base64
        && from_base64(value).is_some_and(|decoded| look.fits(decoded.as_bytes()))
}

/// The telling begins of the presets' secrets in requests, with the shortest length of each. Meta's tokens have separate rules.
const TELLING: [(&str, usize); 2] = [("KEY0", 40), ("bk_", 20)];

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
        not_of_look(kind.text.as_ref().unwrap(), &value)
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
    fn the_telling_begins_are_those_of_the_presets() {
        for name in presets::names() {
            let provider = presets::provider(name).unwrap();
            for kind in provider.secrets.iter().filter(|kind| kind.required) {
                let Some(look) = kind.text.as_ref().filter(|look| !look.begins.is_empty()) else {
                    continue;
                };
                let is_known = TELLING.contains(&(&*look.begins, look.min));
                assert!(is_known || look.begins == META_TOKEN, "{name}");
            }
        }
    }
}
