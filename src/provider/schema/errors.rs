//! `[errors]`: the rules for the meaning of a provider's errors.

use std::collections::BTreeMap;

use http::HeaderName;

use super::text::{list, pointer};
use crate::document::{Field, Malformed, Reader};
use crate::provider::code::CodePattern;
use crate::provider::errors::{CodePlace, ErrorRules, ErrorSigns, ForbiddenSigns};
use crate::provider::limits::{Scope, Throttle};
use crate::units;

/// Reads `[errors]`.
pub(super) fn errors(mut reader: Reader<'_>) -> ErrorRules {
    let default = ErrorRules::default();
    let code = reader.field("code");
    let rules = ErrorRules {
        code: code.as_ref().map(code_places).unwrap_or_default(),
        subcode: reader.parse("subcode", pointer_text),
        message: messages(&mut reader),
        trace: reader.parse("trace", pointer_text),
        advice: advice(&mut reader),
        refused: signs(&mut reader, "refused", "refused_status", default.refused),
        refused_words: words(&mut reader, "refused_words"),
        forbidden: ForbiddenSigns {
            codes: patterns(&mut reader, "forbidden").unwrap_or(default.forbidden.codes),
            statuses: statuses(&mut reader, "forbidden_status")
                .unwrap_or(default.forbidden.statuses),
        },
        throttled: throttles(&mut reader),
        temporary: signs(
            &mut reader,
            "temporary",
            "temporary_status",
            default.temporary,
        ),
        policy: signs(&mut reader, "policy", "policy_status", default.policy),
        policy_words: words(&mut reader, "policy_words"),
    };
    if let Some(field) = code.filter(|_| rules.refused.codes.is_empty()) {
        field.key_fault("without `refused`, expected the codes that mean a refused credential");
    }
    let mut words = rules.throttled.iter().map(|throttle| &throttle.words);
    let has_words = words.any(|words| !words.is_empty())
        || !rules.refused_words.is_empty()
        || !rules.policy_words.is_empty();
    if rules.message.is_empty() && has_words {
        reader
            .fault("words without `message`, expected a JSON pointer to the text with these words");
    }
    reader.finish();
    rules
}

fn signs(
    reader: &mut Reader<'_>,
    codes_key: &str,
    statuses_key: &str,
    default: ErrorSigns,
) -> ErrorSigns {
    ErrorSigns {
        codes: codes(reader, codes_key).unwrap_or(default.codes),
        statuses: statuses(reader, statuses_key).unwrap_or(default.statuses),
    }
}

/// Reads the remedies: a text for each code.
fn advice(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Some(mut table) = reader.table("advice") else {
        return BTreeMap::new();
    };
    let advised = |field: &Field<'_>| Some((field.key.to_owned(), field.string()?.to_owned()));
    table.fields().iter().filter_map(advised).collect()
}

fn throttles(reader: &mut Reader<'_>) -> Vec<Throttle> {
    let tables = reader.field("throttled").map(|field| field.tables());
    tables
        .unwrap_or_default()
        .into_iter()
        .filter_map(throttle)
        .collect()
}

fn throttle(mut reader: Reader<'_>) -> Option<Throttle> {
    let codes = patterns(&mut reader, "codes").unwrap_or_default();
    let statuses = statuses(&mut reader, "status").unwrap_or_default();
    let words = words(&mut reader, "words");
    if codes.is_empty() && statuses.is_empty() && words.is_empty() {
        reader.fault(
            "neither `codes` nor `status` nor `words`, expected at least one, such as codes = [130429]",
        );
    }
    let scope = reader
        .required(
            "limit",
            "the limit that was exceeded: \"sender\", \"recipient\", \"account\" or \"operation\"",
        )
        .and_then(|field| field.choice(&SCOPES));
    let pause = reader
        .required("pause", "how long to send nothing, such as \"1s\"")
        .and_then(|field| field.parse(units::duration));
    reader.finish();
    Some(Throttle {
        codes,
        statuses,
        words,
        scope: scope?,
        pause: pause?,
    })
}

/// Reads codes, each a number or a string.
fn codes(reader: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
    let code = |field: &Field<'_>| {
        if field.is_text() {
            field.string().map(str::to_owned)
        } else {
            field.integer::<i64>().map(|code| code.to_string())
        }
    };
    Some(reader.array(key)?.iter().filter_map(code).collect())
}

/// Reads patterns of codes: a number, a text, a range `"200-299"`, or a code with a subcode
/// `"100/33"`.
fn patterns(reader: &mut Reader<'_>, key: &str) -> Option<Vec<CodePattern>> {
    let numbers = |text: &str| {
        let (first, last) = text.split_once('-')?;
        Some(CodePattern::Range(first.parse().ok()?, last.parse().ok()?))
    };
    let with_subcode = |text: &str| {
        let (code, subcode) = text.split_once('/')?;
        Some(CodePattern::WithSubcode(
            code.to_owned(),
            subcode.to_owned(),
        ))
    };
    let pattern = |text: String| {
        numbers(&text)
            .or_else(|| with_subcode(&text))
            .unwrap_or(CodePattern::Code(text))
    };
    Some(codes(reader, key)?.into_iter().map(pattern).collect())
}

fn statuses(reader: &mut Reader<'_>, key: &str) -> Option<Vec<u16>> {
    Some(
        reader
            .array(key)?
            .iter()
            .filter_map(Field::integer)
            .collect(),
    )
}

/// Reads words of a message.
fn words(reader: &mut Reader<'_>, key: &str) -> Vec<String> {
    list(reader, key, |words| Ok::<_, Malformed>(words.to_owned()))
}

/// Reads the place of a code, or a list of places.
fn code_places(field: &Field<'_>) -> Vec<CodePlace> {
    one_or_more(field, code_place)
}

/// Reads `message`: the place of the message, or a list of places. The empty pointer is an answer
/// without JSON as a whole.
fn messages(reader: &mut Reader<'_>) -> Vec<String> {
    let field = reader.field("message");
    field
        .map(|field| one_or_more(&field, message_place))
        .unwrap_or_default()
}

fn message_place(text: &str) -> Result<String, Malformed> {
    match text {
        "" => Ok(String::new()),
        pointer => pointer_text(pointer),
    }
}

/// Reads a text, or a list of texts.
fn one_or_more<T>(field: &Field<'_>, parse: fn(&str) -> Result<T, Malformed>) -> Vec<T> {
    let fields = field.one_or_more().unwrap_or_default();
    fields
        .iter()
        .filter_map(|field| field.parse(parse))
        .collect()
}

/// Checks a JSON pointer, and keeps its text for `serde_json`.
fn pointer_text(text: &str) -> Result<String, Malformed> {
    pointer(text).map(|_| text.to_owned())
}

/// Reads a JSON pointer, or the name of a header.
fn code_place(text: &str) -> Result<CodePlace, Malformed> {
    if text.starts_with('/') {
        return pointer_text(text).map(CodePlace::Body);
    }
    HeaderName::try_from(text)
        .map(CodePlace::Header)
        .map_err(|_| {
            Malformed::new(
                "neither a JSON pointer such as \"/error/code\" nor the name of a header",
            )
        })
}

const SCOPES: [(&str, Scope); 4] = [
    ("sender", Scope::Sender),
    ("recipient", Scope::Recipient),
    ("account", Scope::Account),
    ("operation", Scope::Operation),
];
