//! `[webhook]`: the handshake and the signatures of events.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::event_form::event_form;
use super::names::secret_name;
use super::signature::signature;
use super::text::{header_name, header_text, list, parameter_name, required_header};
use crate::document::{Field, Reader};
use crate::provider::secret::SecretKind;
use crate::provider::webhook::{
    Algorithm, Jwt, Scheme, SchemeKind, StaticToken, TokenPlace, UrlForm, UrlParams, WebhookSpec,
};
use crate::units;

/// Reads `[webhook]`.
pub(super) fn webhook(mut reader: Reader<'_>, secrets: &[SecretKind]) -> WebhookSpec {
    let challenge = reader
        .field("challenge")
        .and_then(|field| secret_name(&field, secrets));
    let unsigned = reader
        .field("unsigned_status")
        .and_then(|field| refusal_status(&field));
    let get = reader.boolean("get").unwrap_or(false);
    let forward = list(&mut reader, "forward", header_name);
    let tables = reader
        .required("verify", "how events are signed, as [[webhook.verify]]")
        .map(|field| field.tables());
    let schemes = tables
        .unwrap_or_default()
        .into_iter()
        .filter_map(|table| scheme(table, secrets))
        .collect();
    let forms = reader
        .field("event")
        .map(|field| field.tables())
        .unwrap_or_default()
        .into_iter()
        .filter_map(event_form)
        .collect();
    reader.finish();
    WebhookSpec {
        challenge,
        unsigned: unsigned.unwrap_or(StatusCode::UNAUTHORIZED),
        get,
        forward,
        schemes,
        forms,
    }
}

fn refusal_status(field: &Field<'_>) -> Option<StatusCode> {
    let number = field.integer::<u16>()?;
    let status = StatusCode::from_u16(number)
        .ok()
        .filter(|status| matches!(status.as_u16(), 400..=599));
    if status.is_none() {
        field.fault("not the status of a refusal, expected one from 400 to 599");
    }
    status
}

fn scheme(mut reader: Reader<'_>, secrets: &[SecretKind]) -> Option<Scheme> {
    type ReadKind = fn(&mut Reader<'_>) -> Option<SchemeKind>;
    let kinds: [(&str, ReadKind); 5] = [
        ("hmac", hmac),
        ("ed25519", |reader| signature(reader, Algorithm::Ed25519)),
        ("url-params", url_params),
        ("jwt", jwt),
        ("static", static_token),
    ];
    let read_kind = reader
        .required(
            "kind",
            "\"hmac\", \"ed25519\", \"url-params\", \"jwt\" or \"static\"",
        )
        .and_then(|field| field.choice(&kinds));
    let secret = reader
        .required("secret", "the name of the secret that checks the signature")
        .and_then(|field| secret_name(&field, secrets));
    let kind = read_kind.and_then(|read_kind| read_kind(&mut reader));
    let with = reader.table("with").map(headers).unwrap_or_default();
    reader.finish();
    Some(Scheme {
        secret: secret?,
        kind: kind?,
        with,
    })
}

/// Reads headers by name, each with a value.
fn headers(mut reader: Reader<'_>) -> Vec<(HeaderName, String)> {
    let header = |field: &Field<'_>| {
        let value = field.parse(header_text)?;
        match header_name(field.key) {
            Ok(name) => Some((name, value)),
            Err(error) => {
                field.key_fault(error.to_string());
                None
            }
        }
    };
    reader.fields().iter().filter_map(header).collect()
}

fn hmac(reader: &mut Reader<'_>) -> Option<SchemeKind> {
    let algorithm = reader
        .required(
            "algorithm",
            "\"sha256\", \"sha384\", \"sha512\" or \"sha1\"",
        )?
        .choice(&HMAC_ALGORITHMS)?;
    signature(reader, algorithm)
}

fn url_params(reader: &mut Reader<'_>) -> Option<SchemeKind> {
    let form = reader
        .required("form", "\"twilio\", \"plivo-v2\" or \"plivo-v3\"")
        .and_then(|field| field.choice(&URL_FORMS));
    let algorithm = reader.field("algorithm");
    let header = required_header(reader);
    let nonce = reader.parse("nonce", header_name);
    let usual = match form {
        Some(UrlForm::Twilio) | None => Algorithm::Sha1,
        Some(UrlForm::PlivoV2 | UrlForm::PlivoV3) => Algorithm::Sha256,
    };
    let chosen = algorithm
        .as_ref()
        .and_then(|field| field.choice(&HMAC_ALGORITHMS));
    if let Some(field) = algorithm.filter(|_| form.is_some_and(|form| form != UrlForm::Twilio)) {
        field.key_fault("this form has one algorithm, expected no `algorithm`");
    }
    if form.is_some_and(|form| form != UrlForm::Twilio) && nonce.is_none() {
        reader.fault("this form signs a nonce, expected `nonce` with the name of its header");
    }
    Some(SchemeKind::UrlParams(UrlParams {
        form: form?,
        algorithm: chosen.unwrap_or(usual),
        header: header?,
        nonce,
    }))
}

fn jwt(reader: &mut Reader<'_>) -> Option<SchemeKind> {
    let header = required_header(reader);
    let names = reader
        .required("algorithms", "some of \"HS256\", \"HS384\", \"HS512\"")
        .and_then(|field| field.array());
    let algorithms: Vec<_> = names
        .iter()
        .flatten()
        .filter_map(|field| field.choice(&JWT_ALGORITHMS))
        .collect();
    if algorithms.is_empty() {
        reader.fault("no algorithm, expected at least one in `algorithms`");
    }
    let issuer = reader
        .field("issuer")
        .and_then(|field| field.string())
        .map(str::to_owned);
    let payload_hash_required =
        reader.choice("payload_hash", &[("required", true), ("optional", false)]);
    let url_hash = reader.boolean("url_hash");
    let max_age = reader.parse("max_age", units::duration);
    let skew = reader.parse("skew", units::duration);
    Some(SchemeKind::Jwt(Jwt {
        header: header?,
        algorithms,
        issuer,
        payload_hash_required: payload_hash_required.unwrap_or(true),
        url_hash: url_hash.unwrap_or(false),
        max_age,
        skew: skew.unwrap_or(DEFAULT_SKEW),
    }))
}

fn static_token(reader: &mut Reader<'_>) -> Option<SchemeKind> {
    let kind = reader
        .required("in", "\"header\", \"basic\", \"query\" or \"path\"")?
        .choice(&PLACES)?;
    let place = match kind {
        PlaceKind::Header => required_header(reader).map(TokenPlace::Header),
        PlaceKind::Basic => Some(TokenPlace::Basic),
        PlaceKind::Query => reader
            .required("query", "the name of the parameter")
            .and_then(|field| field.parse(parameter_name))
            .map(TokenPlace::Query),
        PlaceKind::Path => Some(TokenPlace::Path),
    };
    let addresses = list(reader, "addresses", str::parse);
    Some(SchemeKind::Static(StaticToken {
        place: place?,
        addresses,
    }))
}

/// The written words of `in`.
#[derive(Clone, Copy)]
enum PlaceKind {
    Header,
    Basic,
    Query,
    Path,
}

const PLACES: [(&str, PlaceKind); 4] = [
    ("header", PlaceKind::Header),
    ("basic", PlaceKind::Basic),
    ("query", PlaceKind::Query),
    ("path", PlaceKind::Path),
];

const HMAC_ALGORITHMS: [(&str, Algorithm); 4] = [
    ("sha256", Algorithm::Sha256),
    ("sha384", Algorithm::Sha384),
    ("sha512", Algorithm::Sha512),
    ("sha1", Algorithm::Sha1),
];

const JWT_ALGORITHMS: [(&str, Algorithm); 3] = [
    ("HS256", Algorithm::Sha256),
    ("HS384", Algorithm::Sha384),
    ("HS512", Algorithm::Sha512),
];

const URL_FORMS: [(&str, UrlForm); 3] = [
    ("twilio", UrlForm::Twilio),
    ("plivo-v2", UrlForm::PlivoV2),
    ("plivo-v3", UrlForm::PlivoV3),
];

/// The default skew: clocks kept by NTP are far closer.
const DEFAULT_SKEW: Duration = Duration::from_secs(5);
