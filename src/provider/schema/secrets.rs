//! `[secrets.NAME]` and `[parameters.NAME]`: what a credential consists of.

use crate::document::{Field, Malformed, Reader, reads_as_name};
use crate::provider::access::ACCESS_TOKEN;
use crate::provider::parameter::{Parameter, ParameterForm};
use crate::provider::secret::{Letters, SecretForm, SecretKind, SecretOrigin, TextForm};
use crate::provider::variable::is_variable;

/// Reads `[secrets.NAME]`.
pub(super) fn secrets(provider: &mut Reader<'_>) -> Vec<SecretKind> {
    let mut secrets = Vec::new();
    let table = provider
        .required(
            "secrets",
            "the secrets that a credential has, such as [secrets.token]",
        )
        .and_then(|field| field.table());
    let Some(mut table) = table else {
        return secrets;
    };
    for field in table.fields() {
        if !is_name(&field) {
            field.key_fault(
                "not a name for a secret, expected lower-case letters, digits and _, \
                 and none of the credential's other keys",
            );
            continue;
        }
        let Some(mut reader) = field.table() else {
            continue;
        };
        let required = reader.boolean("required");
        let form = reader.choice("form", &SECRET_FORMS);
        let origin = match reader.boolean("random") {
            Some(true) => SecretOrigin::Random,
            Some(false) | None => SecretOrigin::Chosen,
        };
        let text = reader.table("text").and_then(text_form);
        reader.finish();
        secrets.push(SecretKind {
            name: field.key.to_owned(),
            required: required.unwrap_or(false),
            form: form.unwrap_or(SecretForm::Text),
            origin,
            text,
        });
    }
    if secrets.is_empty() {
        table.fault("empty, expected at least one secret");
    }
    secrets
}

/// Reads `text`: the look of a secret in a text.
fn text_form(mut reader: Reader<'_>) -> Option<TextForm> {
    let begins = reader.parse("begins", begin).unwrap_or_default();
    let letters = reader
        .required(
            "letters",
            "the letters of the value, such as \"alphanumeric\"",
        )
        .and_then(|field| field.choice(&LETTERS));
    let min = reader
        .field("min")
        .and_then(|field| field.integer::<u16>())
        .map_or(MIN_LENGTH, usize::from);
    let max = reader
        .field("max")
        .and_then(|field| field.integer::<u16>())
        .map_or(MAX_LENGTH, usize::from);
    let near: Vec<String> = reader
        .array("near")
        .unwrap_or_default()
        .iter()
        .filter_map(|field| field.parse(word))
        .collect();
    reader.finish();
    if begins.is_empty() && near.is_empty() {
        reader.fault(
            "neither `begins` nor `near` tells the value from any other text, expected one of them",
        );
        return None;
    }
    if !(MIN_LENGTH..=MAX_LENGTH).contains(&min) || !(min..=MAX_LENGTH).contains(&max) {
        reader.fault(format!(
            "`min` and `max` are no lengths of a secret, expected {MIN_LENGTH} to {MAX_LENGTH}"
        ));
        return None;
    }
    Some(TextForm {
        begins,
        letters: letters?,
        min,
        max,
        near,
    })
}

/// Reads the begin of a secret.
fn begin(text: &str) -> Result<String, Malformed> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if is_plain && (MIN_BEGIN..=MAX_BEGIN).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(Malformed::new(
            "not the begin of a secret, expected 3 to 16 letters, such as \"EAA\"",
        ))
    }
}

/// Reads a name that stands before a secret.
fn word(text: &str) -> Result<String, Malformed> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain && (MIN_BEGIN..=MAX_WORD).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(Malformed::new(
            "not a name of a secret, expected 3 to 40 of a-z 0-9 _, such as \"app_secret\"",
        ))
    }
}

/// Reads `[parameters.NAME]`.
pub(super) fn parameters(provider: &mut Reader<'_>, secrets: &[SecretKind]) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for field in provider
        .table("parameters")
        .map(|mut table| table.fields())
        .unwrap_or_default()
    {
        if !is_name(&field) || secrets.iter().any(|secret| secret.name == field.key) {
            field.key_fault(
                "not a name for a parameter, expected lower-case letters, digits and _, \
                 and none of the secrets or the credential's other keys",
            );
            continue;
        }
        let Some(mut reader) = field.table() else {
            continue;
        };
        let form = reader
            .choice("form", &PARAMETER_FORMS)
            .unwrap_or(ParameterForm::Segment);
        let default = reader.parse("default", |text| form.check(text).map(|()| text.to_owned()));
        reader.finish();
        parameters.push(Parameter {
            name: field.key.to_owned(),
            default,
            form,
        });
    }
    parameters
}

fn is_name(field: &Field<'_>) -> bool {
    is_variable(field.key) && reads_as_name(field.key) && !TAKEN.contains(&field.key)
}

const SECRET_FORMS: [(&str, SecretForm); 4] = [
    ("text", SecretForm::Text),
    ("meta-token", SecretForm::MetaToken),
    ("app-secret", SecretForm::AppSecret),
    ("private-key", SecretForm::PrivateKey),
];

const LETTERS: [(&str, Letters); 6] = [
    ("hex", Letters::Hex),
    ("hex-groups", Letters::HexGroups),
    ("alphanumeric", Letters::Alphanumeric),
    ("url", Letters::Url),
    ("token", Letters::Token),
    ("base64", Letters::Base64),
];

/// The shortest begin of a secret, and the shortest name of one: fewer letters stand in every text.
const MIN_BEGIN: usize = 3;
/// The longest begin of a secret: the begins of vendors are shorter.
const MAX_BEGIN: usize = 16;
/// The longest name of a secret: longer than the names of variables in use.
const MAX_WORD: usize = 40;
/// The least length of a secret that can be told from other text: shorter runs of letters are
/// words.
const MIN_LENGTH: usize = 20;
/// The greatest length of a secret, as in `scan`, which looks at a text in pieces.
const MAX_LENGTH: usize = 4096;

const PARAMETER_FORMS: [(&str, ParameterForm); 3] = [
    ("segment", ParameterForm::Segment),
    ("label", ParameterForm::Label),
    ("host", ParameterForm::Host),
];

/// Names with another meaning: keys of `[credential.NAME]`, variables of path patterns, the access
/// token.
const TAKEN: [&str; 10] = [
    "provider",
    "max_age",
    "overlap",
    "proof",
    "check",
    "renew",
    "v",
    "id",
    "sender",
    ACCESS_TOKEN,
];
