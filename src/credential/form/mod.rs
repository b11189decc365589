//! Values that plainly are not the secret that belongs in their place.
//!
//! A value that a provider made at random has one look: no spaces, no words, no brackets around it.
//! A value that a person chose may look like anything, so only what nobody chooses is refused
//! there.

mod look;
mod meta;
mod shape;
mod stand_in;
#[cfg(test)]
mod tests;

pub(super) use look::not_of_kind;
pub(super) use meta::{META_TOKEN, is_app_secret};

use meta::{is_cut_app_secret, is_long_meta_token, is_meta_token, is_twice};
use shape::{
    PUNCTUATION, encodes, has_scheme, holds_another_text, is_assignment, is_enclosed, is_header,
    is_jwt, is_number, is_object, is_path, is_percent_encoded, is_repeated,
};
use stand_in::{is_placeholder, is_stub, is_stub_of_app_secret};

use super::access::signing_key;
use super::encoded::{encoded_texts, from_base64};
use crate::config::Reference;
use crate::provider::{SecretForm, SecretOrigin};
use crate::secret::Secret;

/// Returns a hint if a value plainly is not a secret of this form and origin, for example an app
/// secret in the place of a token. The hint contains nothing of the value.
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
        return (!signing_key::is_usable(secret)).then_some(PRIVATE_KEY);
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
        // Only a key in PEM may have lines: every other secret becomes part of one line of a
        // request.
        Some("it has lines, as a key in PEM has; put a value of one line there")
    } else if value
        .parse::<Reference>()
        .is_ok_and(|found| !matches!(found, Reference::Env(_) | Reference::Systemd(_)))
    {
        // A person may choose `env:word` as a password.
        Some(LINK)
    } else if value.starts_with("-----BEGIN ") {
        Some("it is a key or a certificate in PEM; put the secret itself there")
    } else if encoded_texts(value)
        .iter()
        .any(|text| text.starts_with("-----BEGIN "))
    {
        Some("it is base64 of a key or a certificate in PEM; put the secret itself there")
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
    } else if encodes(value, is_meta_token) {
        Some(
            "it is an encoded text with an access token inside; put the app secret (32 hex digits) there",
        )
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
    } else if is_stub_of_app_secret(value) {
        Some(PLACEHOLDER)
    } else if has_scheme(value) {
        Some("it is a header of a request; put the app secret (32 hex digits) alone there")
    } else if value.ends_with(':') {
        Some("it is a name; put the app secret (32 hex digits) behind it alone there")
    } else if is_jwt(value) {
        Some("it is a JSON Web Token; put the app secret (32 hex digits) there")
    } else {
        not_of_this_kind(value)
    }
}

/// Returns a hint for the key of another service, by its begin.
fn not_of_this_kind(value: &str) -> Option<&'static str> {
    let is_twilio_id = |begin| value.strip_prefix(begin).is_some_and(is_app_secret);
    let mut foreign = FOREIGN.iter().chain(&FOREIGN_TO_META);
    if foreign.any(|begin| value.starts_with(begin)) || ["AC", "SK"].into_iter().any(is_twilio_id) {
        Some("it is a key or an id of another service; put Meta's own value there")
    } else {
        None
    }
}

/// Returns a hint for the token of Meta in the place of another provider's key. The token would be
/// sent to that provider.
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
        not_a_bare_key(value)
    }
}

/// Returns a hint for a key behind a name, encoded with a name, or twice, and for the key of a
/// foreign service.
fn not_a_bare_key(value: &str) -> Option<&'static str> {
    // The head of a JWT is an encoded object, and a provider's key may be such a text.
    let is_wrapped = |text: &str| {
        let is_object = is_object(text) && !text.contains("\"alg\"");
        is_object || is_assignment(text) || is_header(text) || has_scheme(text)
    };
    if is_header(value) {
        Some("it is a name with the key behind it (NAME: value); put the key alone there")
    } else if encoded_texts(value).iter().any(|text| is_wrapped(text)) {
        Some("it is an encoded text with the key inside; put the key alone there")
    } else if is_repeated(value) {
        Some("it is the same text twice; put the key there once")
    } else if FOREIGN.iter().any(|begin| value.starts_with(begin)) {
        Some("it is a key or a text of another service; put this provider's own key there")
    } else {
        None
    }
}

const LINK: &str = "it is a reference or a URL; put the value that it leads to there";
const PLACEHOLDER: &str = "it is a placeholder or a shortened value; put the whole value there";
const PRIVATE_KEY: &str =
    "not an RSA private key of 2048 bits or more in PEM (PKCS#8 or PKCS#1, without a passphrase)";
/// The begins of keys and ids of other services: Vault, GitHub, AWS, Slack, Google, age, and
/// ciphertexts of Vault. No random key has such a begin.
const FOREIGN: [&str; 14] = [
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
    "xoxb-",
    "xoxp-",
    "AIza",
    "age1",
];
/// The begins of secrets of other providers of this program, and of ciphertexts of sops.
const FOREIGN_TO_META: [&str; 4] = ["whsec_", "KEY0", "bk_", "ENC["];
