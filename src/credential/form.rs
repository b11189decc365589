//! Values that plainly are not the secret that belongs in their place.
//!
//! A value that a provider made at random has one look: no spaces, no words, no brackets around it. A value that a person
//! chose may look like anything, so only what nobody chooses is refused there.

use super::access::signing_key;
use super::encoded::{encoded_texts, from_base64};
use crate::config::Reference;
use crate::provider::{SecretForm, SecretOrigin};
use crate::secret::Secret;

/// Returns a hint if a value plainly is not a secret of this form and origin, for example an app secret in the place of
/// a token. The hint contains nothing of the value.
pub(super) fn misplaced(
    form: SecretForm,
    origin: SecretOrigin,
    secret: &Secret,
) -> Option<&'static str> {
    #[expect(
        clippy::disallowed_methods,
        reason = "looks at the shape of the value and says nothing of it"
    )]
    let value = secret.expose();
    if form == SecretForm::PrivateKey {
        return signing_key::check_key(secret).err();
    }
    let of_origin = match (origin, form) {
        (SecretOrigin::Chosen, _) => None,
        // Sandboxes and published test vectors have words as app secrets.
        (SecretOrigin::Random, SecretForm::AppSecret) => not_whole(value),
        (SecretOrigin::Random, _) => not_whole(value).or_else(|| not_random(value)),
    };
    not_a_value(value).or(of_origin).or_else(|| match form {
        SecretForm::MetaToken => not_a_meta_token(value),
        SecretForm::AppSecret => not_an_app_secret(value),
        SecretForm::Text if origin == SecretOrigin::Random => not_of_another_provider(value),
        SecretForm::Text | SecretForm::PrivateKey => None,
    })
}

/// Returns a hint for what nobody chooses as a secret.
fn not_a_value(value: &str) -> Option<&'static str> {
    if value.contains(['\r', '\n']) {
        // Only a key in PEM may have lines: every other secret becomes part of one line of a request.
        Some("it has lines, as a key in PEM has; put a value of one line there")
    } else if value
        .parse::<Reference>()
        .is_ok_and(|found| !matches!(found, Reference::Env(_) | Reference::Systemd(_)))
    {
        // A person may choose `env:word` as a password.
        Some(LINK)
    } else if value.starts_with("-----BEGIN ") {
        Some("it is a key or a certificate in PEM; put the secret itself there")
    } else if is_enclosed(value, "${", "}") || is_enclosed(value, "{{", "}}") {
        Some("it is a placeholder that no program has filled in; put the value there")
    } else if is_object(value) {
        Some(
            "it is a JSON object; name one of its fields with #FIELD, where the source has fields (file:, vault:, aws-sm:), \
             or put the value of the field alone there",
        )
    } else {
        None
    }
}

/// Returns a hint for a value with something around it, or in the place of a value.
fn not_whole(value: &str) -> Option<&'static str> {
    if is_placeholder(value) {
        Some(PLACEHOLDER)
    } else if value.contains("://") || value.parse::<Reference>().is_ok() {
        Some(LINK)
    } else if is_assignment(value) {
        Some(
            "it is an assignment (NAME=value); put the value alone there, or name it in a file of such lines with #NAME",
        )
    } else {
        None
    }
}

/// Returns a hint for words, which no provider makes at random.
fn not_random(value: &str) -> Option<&'static str> {
    if is_stub(value) {
        Some(PLACEHOLDER)
    } else if value.contains(' ') {
        Some("it has a space inside, which no key or token has; put the key or token alone there")
    } else if value.contains(PUNCTUATION) {
        Some(
            "it has a quotation mark, a comma, a semicolon, a bracket or a backslash, which no key or token has; put the key \
             or token alone there",
        )
    } else if is_percent_encoded(value) {
        Some("it is percent-encoded; put the decoded key or token there")
    } else if is_path(value) {
        Some("it is the path of a file; put what is in the file there, or the path behind file:")
    } else {
        None
    }
}

fn not_a_meta_token(value: &str) -> Option<&'static str> {
    if is_app_secret(value) {
        Some("32 hex digits are an app secret; put the access token (EAA...) there")
    } else if from_base64(value).is_some_and(|decoded| is_meta_token(&decoded)) {
        Some("it is base64 of an access token; put the decoded token (EAA...) there")
    } else if encodes(value, is_meta_token) {
        Some(
            "it is an encoded text with an access token inside; put the token (EAA...) alone there",
        )
    } else if holds_another_text(value, is_meta_token) {
        Some("it has something around the access token; put the token (EAA...) alone there")
    } else if is_twice(value) {
        Some("it is the same text twice; put the access token (EAA...) there once")
    } else if let Some(hint) = not_of_this_kind(value) {
        Some(hint)
    } else if is_number(value) {
        Some("it is a number, as ids and phone numbers are; put the access token (EAA...) there")
    } else if value.split_once('|').is_some_and(|(app, _)| is_number(app)) {
        Some(
            "it is the access token of an app, which may not send; put a System User's token (EAA...) there",
        )
    } else if is_jwt(value) {
        Some(
            "it is a JSON Web Token, which Meta does not make; put the access token (EAA...) there",
        )
    } else {
        None
    }
}

fn not_an_app_secret(value: &str) -> Option<&'static str> {
    if value.starts_with(META_TOKEN) {
        Some("EAA... is an access token; put the app secret (32 hex digits) there")
    } else if from_base64(value).is_some_and(|decoded| is_app_secret(&decoded)) {
        Some("it is base64 of an app secret; put the decoded secret (32 hex digits) there")
    } else if encodes(value, is_app_secret) {
        Some("it is an encoded text with an app secret inside; put the 32 hex digits alone there")
    } else if holds_another_text(value, is_app_secret)
        || value.strip_prefix("0x").is_some_and(is_app_secret)
    {
        Some("it has something around the app secret; put the 32 hex digits alone there")
    } else if is_number(value) {
        Some("it is a number, as the id of an app is; put the app secret (32 hex digits) there")
    } else if is_cut_app_secret(value) {
        Some("it has hex digits as an app secret has, but not 32 of them; put all 32 there")
    } else if is_stand_in(value) {
        Some(PLACEHOLDER)
    } else if is_jwt(value) {
        Some("it is a JSON Web Token; put the app secret (32 hex digits) there")
    } else {
        not_of_this_kind(value)
    }
}

/// Returns a hint for the key of another service, by its begin.
fn not_of_this_kind(value: &str) -> Option<&'static str> {
    let is_twilio_id = |begin| value.strip_prefix(begin).is_some_and(is_app_secret);
    if FOREIGN.iter().any(|begin| value.starts_with(begin))
        || ["AC", "SK"].into_iter().any(is_twilio_id)
    {
        Some("it is a key or an id of another service; put Meta's own value there")
    } else {
        None
    }
}

/// Returns a hint for the token of Meta in the place of another provider's key. The token would be sent to that provider.
fn not_of_another_provider(value: &str) -> Option<&'static str> {
    let of_app = |(app, secret): (&str, &str)| is_number(app) && is_app_secret(secret);
    if is_meta_token(value)
        || holds_another_text(value, is_long_meta_token)
        || encodes(value, is_meta_token)
    {
        Some(
            "EAA... is an access token of Meta; put this provider's own key there, or give the secret form = \"meta-token\" \
             where the provider takes tokens of Meta",
        )
    } else if value.split_once('|').is_some_and(of_app) {
        Some("it is the id and the secret of an app of Meta; put this provider's own key there")
    } else {
        None
    }
}

/// True for the form of an access token of Meta.
fn is_meta_token(value: &str) -> bool {
    value.len() >= MIN_META_TOKEN
        && value.starts_with(META_TOKEN)
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// True for a token of Meta as long as real ones: among other characters, a short run could be chance.
fn is_long_meta_token(value: &str) -> bool {
    value.len() >= MIN_REAL_TOKEN && is_meta_token(value)
}

/// True for a value that encodes a text of a form, alone or among other characters.
fn encodes(value: &str, is_of_form: fn(&str) -> bool) -> bool {
    let texts = encoded_texts(value);
    texts
        .iter()
        .any(|text| is_of_form(text) || holds_another_text(text, is_of_form))
}

/// True for one text twice.
fn is_twice(value: &str) -> bool {
    let (first, second) = value.split_at_checked(value.len() / 2).unwrap_or_default();
    first == second && is_meta_token(first)
}

/// True for hex digits that are nearly as many as those of an app secret.
fn is_cut_app_secret(value: &str) -> bool {
    (24..=40).contains(&value.len())
        && value.len() != 32
        && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// True for a word that stands for an app secret. Sandboxes and published test vectors have other words.
fn is_stand_in(value: &str) -> bool {
    let word = value.to_ascii_lowercase().replace(['_', '-', ' '], "");
    [
        "changeme",
        "changeit",
        "fillme",
        "placeholder",
        "replaceme",
        "tbd",
        "todo",
    ]
    .contains(&word.as_str())
        || is_one_letter(&word)
}

/// True for the form of an app secret of Meta.
fn is_app_secret(value: &str) -> bool {
    value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// True for a value that has, between other characters, a run of letters and digits of a form.
fn holds_another_text(value: &str, is_of_form: fn(&str) -> bool) -> bool {
    let mut runs = value.split(|letter: char| !letter.is_ascii_alphanumeric());
    !is_of_form(value) && runs.any(is_of_form)
}

/// True for digits, with a sign in front or without.
fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix('+').unwrap_or(value);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// True for the three parts of a JSON Web Token, the first of which begins as base64 of `{"` does.
fn is_jwt(value: &str) -> bool {
    value.starts_with("eyJ") && value.split('.').count() == 3
}

/// True for a text with an encoded byte, such as `%2B`.
fn is_percent_encoded(value: &str) -> bool {
    let mut parts = value.split('%').skip(1);
    parts.any(|part| {
        let digits = part.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// True for a path from one of the usual folders. Base64 may begin with a slash as well.
fn is_path(value: &str) -> bool {
    FOLDERS.iter().any(|folder| value.starts_with(folder))
}

/// True for a text that stands for a value: in brackets, the name of a variable, or a value with a part cut off.
fn is_placeholder(value: &str) -> bool {
    let is_reference = |sign: &str| {
        let name = value.strip_prefix(sign).unwrap_or_default();
        is_name(name.strip_suffix(sign).unwrap_or(name))
    };
    is_enclosed(value, "<", ">")
        || is_enclosed(value, "[", "]")
        || is_enclosed(value, "$(", ")")
        || ["$", "%"].into_iter().any(is_reference)
        || value.contains("...")
}

/// True for a word that stands for a value, such as `changeme`.
fn is_stub(value: &str) -> bool {
    let word: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    is_one_letter(&word)
        || DIGITS.starts_with(&word)
        || is_stub_of_token(&word)
        || STUBS.contains(&word.as_str())
        || (value.contains(['_', '-', ' ']) && word.starts_with("your"))
        || (["insert", "paste", "put"]
            .iter()
            .any(|verb| word.starts_with(verb))
            && word.ends_with("here"))
}

/// True for a text of one letter, such as `xxxx-xxxx` and `****`.
fn is_one_letter(word: &str) -> bool {
    let mut letters = word.chars();
    let first = letters.next();
    letters.all(|letter| Some(letter) == first)
}

/// True for `EAA123` and `EAAxxxx`: the begin of a token of Meta, and a filling.
fn is_stub_of_token(word: &str) -> bool {
    let rest = word.strip_prefix("eaa");
    rest.is_some_and(|rest| is_one_letter(rest) || DIGITS.starts_with(rest))
}

/// True for `NAME=value`. The `=` at the end of base64 assigns nothing.
fn is_assignment(value: &str) -> bool {
    value
        .split_once('=')
        .is_some_and(|(name, value)| is_name(name) && !value.trim_matches('=').is_empty())
}

/// True for a name as environments, shells and property files have it.
fn is_name(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(is_inner)
}

/// True for a JSON object with a field.
fn is_object(value: &str) -> bool {
    let fields = value.strip_prefix('{').map(str::trim_start);
    fields.is_some_and(|fields| fields.starts_with('"')) && value.ends_with('}')
}

fn is_enclosed(value: &str, open: &str, close: &str) -> bool {
    value.len() > open.len() + close.len() && value.starts_with(open) && value.ends_with(close)
}

/// Characters around values, and between them.
const PUNCTUATION: [char; 13] = [
    '"', '\'', '`', ',', ';', '<', '>', '(', ')', '[', ']', '{', '\\',
];
/// The folders that paths of secrets begin with.
const FOLDERS: [&str; 9] = [
    "/etc/", "/home/", "/mnt/", "/opt/", "/run/", "/tmp/", "/var/", "./", "~/",
];
const LINK: &str = "it is a reference or a URL; put the value that it leads to there";
const PLACEHOLDER: &str = "it is a placeholder or a shortened value; put the whole value there";
/// The begin of every access token of Meta.
pub(super) const META_TOKEN: &str = "EAA";
/// The shortest value that passes for a token of Meta. Real tokens have more than a hundred characters.
const MIN_META_TOKEN: usize = 10;
/// The length from which a run of letters and digits is a token rather than chance, by half of a real one's.
const MIN_REAL_TOKEN: usize = 40;
/// The begins of keys and ids of other services: Vault, GitHub, AWS, Slack, Google, and ciphertexts of Vault.
const FOREIGN: [&str; 12] = [
    "hvs.",
    "hvb.",
    "s.hvs",
    "ghp_",
    "gho_",
    "github_pat_",
    "AKIA",
    "ASIA",
    "vault:v",
    "arn:",
    "xox",
    "AIza",
];
/// The digits in the order in which a person types them.
const DIGITS: &str = "1234567890";
/// The letters and digits of words that stand for a value.
const STUBS: [&str; 29] = [
    "abc",
    "abc123",
    "accesstoken",
    "apikey",
    "appsecret",
    "authtoken",
    "changeit",
    "changeme",
    "dummy",
    "example",
    "false",
    "fillme",
    "insertyourtoken",
    "mysecret",
    "mytoken",
    "nil",
    "none",
    "null",
    "password",
    "placeholder",
    "redacted",
    "replaceme",
    "secret",
    "tbd",
    "test",
    "todo",
    "token",
    "true",
    "undefined",
];

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    const TOKEN: &str = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1v";

    fn hint(form: SecretForm, origin: SecretOrigin, value: &str) -> Option<&'static str> {
        let secret = Secret::parse_text_or_pem(Zeroizing::new(value.as_bytes().to_vec()));
        misplaced(form, origin, &secret.unwrap())
    }

    #[test]
    fn what_no_provider_made_at_random_is_refused_with_a_hint() {
        let base64_of_token = "RUFBR20wUFg0WkNwc0JBS3paQmhaQVE2ZDF2";
        for (value, expected) in [
            ("TOKEN=EAAGm0PX4ZCpsBAKz", "assignment"),
            ("api-key=a1b2", "assignment"),
            ("D360.API_KEY=a1b2==", "assignment"),
            ("{\"token\":\"EAAGm0PX4\"}", "#FIELD"),
            ("{ \"token\": 1 }", "#FIELD"),
            ("${WHATSAPP_TOKEN}", "placeholder"),
            ("{{ .Values.token }}", "placeholder"),
            ("<your token>", "placeholder"),
            ("[token]", "placeholder"),
            ("$(cat token)", "placeholder"),
            ("$TOKEN", "placeholder"),
            ("%TOKEN%", "placeholder"),
            ("EAA...", "placeholder"),
            ("EAA123", "placeholder"),
            ("EAAxxxx", "placeholder"),
            ("changeme", "placeholder"),
            ("CHANGE_ME", "placeholder"),
            ("your-access-token", "placeholder"),
            ("xxxx-xxxx-xxxx", "placeholder"),
            ("********", "placeholder"),
            ("EAAGm0PX4 ZCpsBAKz", "space"),
            ("App a1b2c3", "space"),
            ("-----BEGIN PRIVATE KEY-----MIIE", "PEM"),
            (
                "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
                "PEM",
            ),
            (base64_of_token, "access token"),
        ] {
            for form in [SecretForm::MetaToken, SecretForm::Text] {
                let hint = hint(form, SecretOrigin::Random, value).unwrap_or("none");
                assert!(hint.contains(expected), "{form:?} {value}: {hint}");
                assert!(!hint.contains("Gm0PX4"), "{form:?} {value}: {hint}");
            }
        }
    }

    #[test]
    fn what_is_around_a_value_or_leads_to_one_is_refused_with_a_hint() {
        for (value, expected) in [
            ("token:EAAGm0PX4ZCpsBAKz", "around"),
            ("EAAGm0PX4ZCpsBAKz,", "comma"),
            ("EAAGm0PX4ZCpsBAKz\"", "quotation mark"),
            ("(EAAGm0PX4ZCpsBAKz)", "bracket"),
            ("EAAGm0PX4ZCpsBAKz\\n", "backslash"),
            ("{\"token\":\"EAAGm0PX4\"},", "quotation mark"),
            ("Bearer%20EAAGm0PX4ZCpsBAKz", "percent-encoded"),
            ("Authorization:EAAGm0PX4ZCpsBAKz", "around"),
            ("export TOKEN=EAAGm0PX4ZCpsBAKz", "space"),
            (
                "https://graph.facebook.com/me?access_token=EAAGm0PX4ZCps",
                "URL",
            ),
            ("file:/run/secrets/Gm0PX4/token", "reference"),
            ("vault:secret/acme#token", "reference"),
            ("op://vault/acme/token", "URL"),
            ("/run/secrets/Gm0PX4/token", "path"),
            ("./Gm0PX4.txt", "path"),
            ("ENC[AES256_GCM,data:Gm0PX4,type:str]", "comma"),
            ("106540352242922", "number"),
            ("+15550001234", "number"),
            ("634974688087057|Gm0PX4aHq1", "of an app"),
            (
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N",
                "JSON Web Token",
            ),
            ("1234567890", "placeholder"),
            ("my_token", "placeholder"),
            ("nil", "placeholder"),
        ] {
            let hint = hint(SecretForm::MetaToken, SecretOrigin::Random, value);
            let hint = hint.unwrap_or("none");
            assert!(
                hint.contains(expected) && hint.contains("put"),
                "{value}: {hint}"
            );
            assert!(!hint.contains("Gm0PX4"), "{value}: {hint}");
        }
        for value in [
            "app_secret:d41d8cd98f00b204e9800998ecf8427e",
            "export APP_SECRET=d41d8cd98f00b204e9800998ecf8427e",
            "d41d8cd98f00b204e9800998ecf8427e,",
            "634974688087057|d41d8cd98f00b204e9800998ecf8427e",
            "file:/run/secrets/app_secret",
        ] {
            let hint = hint(SecretForm::AppSecret, SecretOrigin::Random, value);
            assert!(hint.is_some(), "{value}");
        }
    }

    #[test]
    fn a_secret_of_another_kind_is_refused_with_a_hint() {
        let app_secret = "d41d8cd98f00b204e9800998ecf8427e";
        for (form, value, expected) in [
            (SecretForm::MetaToken, app_secret, "are an app secret"),
            (SecretForm::AppSecret, TOKEN, "is an access token"),
            (SecretForm::Text, TOKEN, "this provider's own key"),
            (
                SecretForm::AppSecret,
                "ZDQxZDhjZDk4ZjAwYjIwNGU5ODAwOTk4ZWNmODQyN2U=",
                "base64 of an app secret",
            ),
            (
                SecretForm::MetaToken,
                // With the line break that `echo` adds, and without padding.
                "RUFBR20wUFg0WkNwc0JBS3paQmhaQVE2ZDF2Cg",
                "base64 of an access token",
            ),
            (SecretForm::PrivateKey, "secret", "not an RSA private key"),
        ] {
            let hint = hint(form, SecretOrigin::Random, value).unwrap_or("none");
            assert!(hint.contains(expected), "{form:?} {value}: {hint}");
        }
    }

    #[test]
    fn a_secret_that_is_wrapped_cut_or_of_another_service_is_refused_with_a_hint() {
        let long = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1vEAGm0PX4ZCpsBAKzZBhZAQ6d1v";
        let twice = format!("{TOKEN}{TOKEN}");
        let tok = format!("tok:{long}");
        let json = base64(&format!("{{\"token\":\"{long}\"}}"));
        let layers = base64(&base64(long));
        let bearer = base64(&format!("Bearer {long}"));
        for (form, value, expected) in [
            (SecretForm::MetaToken, &*twice, "twice"),
            (SecretForm::MetaToken, &layers, "encoded"),
            (SecretForm::MetaToken, &bearer, "encoded"),
            (SecretForm::MetaToken, "hvs.CAESIJ1a2b3c", "another service"),
            (
                SecretForm::MetaToken,
                "AKIAIOSFODNN7EXAMPLE",
                "another service",
            ),
            (
                SecretForm::MetaToken,
                "SK0123456789abcdef0123456789abcdef",
                "another service",
            ),
            (SecretForm::MetaToken, "PASTE_HERE", "placeholder"),
            (SecretForm::MetaToken, "insert-token-here", "placeholder"),
            (SecretForm::AppSecret, "634974688087057", "id of an app"),
            (
                SecretForm::AppSecret,
                "d41d8cd98f00b204e9800998ecf8427",
                "not 32",
            ),
            (
                SecretForm::AppSecret,
                "0xd41d8cd98f00b204e9800998ecf8427e",
                "around",
            ),
            (SecretForm::AppSecret, "changeme", "placeholder"),
            (SecretForm::AppSecret, "xxxx", "placeholder"),
            (SecretForm::Text, &tok, "of Meta"),
            (SecretForm::Text, &json, "of Meta"),
            (SecretForm::Text, &layers, "of Meta"),
            (
                SecretForm::Text,
                "634974688087057|d41d8cd98f00b204e9800998ecf8427e",
                "app of Meta",
            ),
        ] {
            let hint = hint(form, SecretOrigin::Random, value).unwrap_or("none");
            assert!(hint.contains(expected), "{form:?} {value}: {hint}");
            assert!(!hint.contains("Gm0PX4"), "{form:?} {value}: {hint}");
        }
    }

    fn base64(text: &str) -> String {
        data_encoding::BASE64.encode(text.as_bytes())
    }

    #[test]
    fn genuine_keys_and_tokens_pass() {
        for value in [
            "d41d8cd98f00b204e9800998ecf8427e",
            "AC0123456789abcdef0123456789abcdef",
            "KEY0187A3E5_dX9vJpQ2",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD==",
            "qZ4/8Jt+Yw==",
            "YWJjZGVm/+=",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
            "dXNlcjpwYXNzd29yZA==",
            "f1e2d3c4-b5a6-4978-8a9b-0c1d2e3f4a5b",
            "live_1.a~b|c:d@e",
            "tokentoken",
            "your1a2b3c4d5e6f",
            "id:a=b",
        ] {
            let hint = hint(SecretForm::Text, SecretOrigin::Random, value);
            assert_eq!(hint, None, "{value}");
        }
        for value in [TOKEN, "EAATESTTOKEN"] {
            let hint = hint(SecretForm::MetaToken, SecretOrigin::Random, value);
            assert_eq!(hint, None, "{value}");
        }
        for value in [
            "d41d8cd98f00b204e9800998ecf8427e",
            "It's a Secret to Everybody",
        ] {
            let hint = hint(SecretForm::AppSecret, SecretOrigin::Random, value);
            assert_eq!(hint, None, "{value}");
        }
    }

    #[test]
    fn a_value_that_a_person_chose_may_look_like_anything_but_a_file_of_another_kind() {
        for value in [
            "my-verify-token=1",
            "correct horse battery staple",
            "changeme",
            "<x>",
            "{curly}",
            "{}",
            "$ecret",
            TOKEN,
        ] {
            let hint = hint(SecretForm::Text, SecretOrigin::Chosen, value);
            assert_eq!(hint, None, "{value}");
        }
        for value in [
            "${VERIFY_TOKEN}",
            "{{ .verify_token }}",
            "{\"verify_token\":\"a\"}",
            "-----BEGIN CERTIFICATE-----",
        ] {
            let hint = hint(SecretForm::Text, SecretOrigin::Chosen, value);
            assert!(hint.is_some(), "{value}");
        }
    }
}
