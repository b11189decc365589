//! How the events of a provider prove that they are genuine: `[webhook]` in TOML, and its checked form.
//!
//! A scheme is data: the verifier and the signer read the same definition and share nothing else.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::SecretKind;
use super::schema::{header_name, is_header_text_str, parameter, secret_name};
use crate::document::{Field, Reader};
use crate::units;

/// What a provider's webhooks are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The secret that the handshake must name (Meta's `hub.verify_token`), where there is a handshake.
    pub challenge: Option<String>,
    /// What a request without any signature is answered with. 401, but where the provider itself may
    /// send unsigned events by mistake and sends them again after a 5xx (Vonage).
    pub unsigned: StatusCode,
    /// How an event may be signed. Those schemes count whose secret a credential has; an event is
    /// genuine if one of them says so.
    pub schemes: Vec<Scheme>,
}

/// One way in which an event is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// The secret, or the public key, that it is checked with.
    pub secret: String,
    /// The mechanism.
    pub kind: SchemeKind,
}

/// The mechanisms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemeKind {
    /// A signature over a message that has the body in it: `kind = "hmac"` and `kind = "ed25519"`.
    Signature(Signature),
    /// A signature over the URL and the parameters of a form: `kind = "url-params"`.
    UrlParams(UrlParams),
    /// A token that is signed, and that has hashes in it: `kind = "jwt"`.
    Jwt(Jwt),
    /// No signature, but something that only the provider was told: `kind = "static"`.
    Static(Static),
}

/// A signature over a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The algorithm; never taken from the request.
    pub algorithm: Algorithm,
    /// The header with the signature.
    pub header: HeaderName,
    /// How its bytes are written.
    pub encoding: Encoding,
    /// How the header's value is divided.
    pub list: List,
    /// What stands before the signature in the value, or in its part of the list.
    pub prefix: String,
    /// What is signed.
    pub message: Vec<MessagePart>,
    /// Where the time stands.
    pub timestamp: Option<Timestamp>,
    /// The header with the nonce.
    pub nonce: Option<HeaderName>,
    /// The header with the event's id.
    pub id: Option<HeaderName>,
    /// How far the time may be off; unbounded where the provider documents no bound.
    pub tolerance: Option<Duration>,
    /// Whether a nonce, or without one an id, counts only once within the tolerance.
    pub replay: bool,
    /// How the secret becomes the key.
    pub key: KeyForm,
    /// What is taken off the secret first, as `whsec_`.
    pub key_prefix: String,
}

/// What a signature is computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-1, which as an HMAC still holds.
    Sha1,
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-384.
    Sha384,
    /// HMAC with SHA-512.
    Sha512,
    /// Ed25519, whose key is public.
    Ed25519,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// How the value of a signature header is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// It is one signature.
    Whole,
    /// Parts with commas between them, as `t=1,s=ab`; one or more of them are signatures.
    Commas,
    /// Parts with spaces between them, as `v1,ab v1,cd`; one or more of them are signatures.
    Spaces,
}

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessagePart {
    /// Text that stands for itself.
    Text(String),
    /// `{body}`: the bytes as they came.
    Body,
    /// `{sha256:body}`: the 32 bytes of its hash.
    BodyHash,
    /// `{timestamp}`: as it was written.
    Timestamp,
    /// `{nonce}`.
    Nonce,
    /// `{id}`.
    Id,
    /// `{url}`: the `public_url` of the webhook, with the query of the request.
    Url,
}

/// Where the time of a signature stands, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// In a header.
    Header(HeaderName),
    /// In the part of the list that begins with this, as `t=`.
    Part(String),
}

/// How a secret becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Its characters are the key.
    Text,
    /// It is base64.
    Base64,
}

/// A signature over a URL and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlParams {
    /// Whose form it is.
    pub form: UrlForm,
    /// The header with the signature.
    pub header: HeaderName,
    /// The header with the nonce.
    pub nonce: Option<HeaderName>,
}

/// The forms of [`UrlParams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlForm {
    /// HMAC-SHA1, base64, over the URL and the sorted parameters; JSON by `bodySHA256` in the URL.
    Twilio,
    /// HMAC-SHA256, base64, over scheme, host and path, and the nonce. It does not cover the body.
    PlivoV2,
    /// HMAC-SHA256, base64, over URL, sorted parameters and nonce; several with commas between them.
    PlivoV3,
}

/// A signed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// The header with the token; `Bearer` before it is taken off.
    pub header: HeaderName,
    /// Which of HS256, HS384 and HS512 it may name.
    pub algorithms: Vec<Algorithm>,
    /// What its `iss` must be.
    pub issuer: Option<String>,
    /// Whether its `payload_hash` must be there exactly when there is a body. Otherwise it may be
    /// missing, and counts where it is there.
    pub payload_hash_required: bool,
    /// Whether its `url_hash` must be that of the URL.
    pub url_hash: bool,
    /// How old its `iat` may be; also required where this is set.
    pub max_age: Option<Duration>,
    /// How far clocks may be apart.
    pub skew: Duration,
}

/// Something that only the provider was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Static {
    /// Where it stands.
    pub place: Place,
    /// From where it may come; from anywhere where this is empty.
    pub addresses: Vec<Network>,
}

/// Where a static token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a header, as its whole value.
    Header(HeaderName),
    /// In `Authorization: Basic`; the secret is `user:password`.
    Basic,
    /// In a query parameter.
    Query(String),
    /// In the last segment of the path, which the webhook writes as `{token}`.
    Path,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(of), IpAddr::V4(it)) => {
                shifted(of.to_bits().into(), 32, self.bits) == shifted(it.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(of), IpAddr::V6(it)) => {
                shifted(of.to_bits(), 128, self.bits) == shifted(it.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "not an address, expected one such as \"192.0.2.1\" or a network such as \"192.0.2.0/24\"";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| EXPECTED)?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| EXPECTED)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(EXPECTED) } else { Ok(Self { address, bits }) }
    }
}

fn shifted(bits: u128, width: u8, keep: u8) -> u128 {
    bits.checked_shr(u32::from(width - keep)).unwrap_or(0)
}

impl Webhook {
    /// Whether a webhook needs the URL that the provider was given.
    #[must_use]
    pub fn needs_url(&self) -> bool {
        self.schemes.iter().any(|scheme| match &scheme.kind {
            SchemeKind::Signature(signature) => signature.message.contains(&MessagePart::Url),
            SchemeKind::UrlParams(_) => true,
            SchemeKind::Jwt(jwt) => jwt.url_hash,
            SchemeKind::Static(_) => false,
        })
    }

    /// Whether a webhook's path ends in a token.
    #[must_use]
    pub fn has_path_token(&self) -> bool {
        self.schemes.iter().any(|scheme| matches!(&scheme.kind, SchemeKind::Static(it) if it.place == Place::Path))
    }

    /// The headers with which an application can check an event again. A header that is itself a secret
    /// is none of them.
    #[must_use]
    pub fn signature_headers(&self) -> Vec<HeaderName> {
        let mut headers = Vec::new();
        for scheme in &self.schemes {
            match &scheme.kind {
                SchemeKind::Signature(signature) => {
                    headers.push(signature.header.clone());
                    headers.extend(signature.nonce.clone());
                    headers.extend(signature.id.clone());
                    if let Some(Timestamp::Header(name)) = &signature.timestamp {
                        headers.push(name.clone());
                    }
                }
                SchemeKind::UrlParams(params) => {
                    headers.push(params.header.clone());
                    headers.extend(params.nonce.clone());
                }
                SchemeKind::Jwt(jwt) => headers.push(jwt.header.clone()),
                SchemeKind::Static(_) => {}
            }
        }
        headers.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        headers.dedup();
        headers
    }
}

/// Reads `[webhook]`.
pub(super) fn read(mut reader: Reader<'_>, secrets: &[SecretKind]) -> Webhook {
    let challenge = reader.field("challenge").and_then(|field| secret_name(&field, secrets));
    let unsigned = reader.field("unsigned_status").and_then(|field| {
        let number = field.integer::<u16>()?;
        let status = StatusCode::from_u16(number).ok().filter(|status| matches!(status.as_u16(), 400..=599));
        if status.is_none() {
            field.fault("not the status of a refusal, expected one from 400 to 599");
        }
        status
    });
    let schemes = reader.required("verify", "how events are signed, as [[webhook.verify]]");
    let tables = schemes.map(|field| field.tables()).unwrap_or_default();
    let schemes = tables.into_iter().filter_map(|table| scheme(table, secrets)).collect();
    reader.finish();
    Webhook { challenge, unsigned: unsigned.unwrap_or(StatusCode::UNAUTHORIZED), schemes }
}

fn scheme(mut reader: Reader<'_>, secrets: &[SecretKind]) -> Option<Scheme> {
    type Read = fn(&mut Reader<'_>) -> Option<SchemeKind>;
    let kinds: [(&str, Read); 5] = [
        ("hmac", hmac),
        ("ed25519", |reader| signature(reader, Algorithm::Ed25519)),
        ("url-params", url_params),
        ("jwt", jwt),
        ("static", fixed),
    ];
    let kind = reader.required("kind", "\"hmac\", \"ed25519\", \"url-params\", \"jwt\" or \"static\"");
    let kind = kind.and_then(|field| field.choice(&kinds));
    let secret = reader.required("secret", "the name of the secret that it is checked with");
    let secret = secret.and_then(|field| secret_name(&field, secrets));
    let kind = kind.and_then(|read| read(&mut reader));
    reader.finish();
    Some(Scheme { secret: secret?, kind: kind? })
}

fn hmac(reader: &mut Reader<'_>) -> Option<SchemeKind> {
    let algorithm = reader.required("algorithm", "\"sha256\", \"sha384\", \"sha512\" or \"sha1\"")?;
    let algorithm = algorithm.choice(&[
        ("sha256", Algorithm::Sha256),
        ("sha384", Algorithm::Sha384),
        ("sha512", Algorithm::Sha512),
        ("sha1", Algorithm::Sha1),
    ])?;
    signature(reader, algorithm)
}

fn signature(reader: &mut Reader<'_>, algorithm: Algorithm) -> Option<SchemeKind> {
    let header = header(reader, "header");
    let encoding = reader.field("encoding");
    let encoding = encoding.and_then(|f| f.choice(&[("hex", Encoding::Hex), ("base64", Encoding::Base64)]));
    let list = reader.field("list");
    let list = list.and_then(|f| f.choice(&[("commas", List::Commas), ("spaces", List::Spaces)]));
    let list = list.unwrap_or(List::Whole);
    let prefix = text(reader, "prefix");
    let message = reader.field("message").map(|field| (field.parse(message), field));
    let (message, message_field) = message.map_or((None, None), |(message, field)| (message, Some(field)));
    let timestamp = optional_header(reader, "timestamp").map(Timestamp::Header);
    let part = reader.field("timestamp_part");
    let part_text = part.as_ref().and_then(|field| field.parse(plain)).map(Timestamp::Part);
    if let Some(field) = part.filter(|_| list != List::Commas || timestamp.is_some()) {
        field.fault("no part of the value, expected `list = \"commas\"` beside it and no `timestamp`");
    }
    let nonce = optional_header(reader, "nonce");
    let id = optional_header(reader, "id");
    let tolerance = reader.field("tolerance");
    let tolerance_time = tolerance.as_ref().and_then(|field| field.parse(units::duration));
    let replay = reader.field("replay");
    let is_replay = replay.as_ref().and_then(Field::boolean).unwrap_or(false);
    let key = reader.field("key");
    let key = key.and_then(|f| f.choice(&[("text", KeyForm::Text), ("base64", KeyForm::Base64)]));
    let key_prefix = text(reader, "key_prefix");
    let signature = Signature {
        algorithm,
        header: header?,
        encoding: encoding.unwrap_or(if algorithm == Algorithm::Ed25519 { Encoding::Base64 } else { Encoding::Hex }),
        list,
        prefix,
        message: message.unwrap_or_else(|| vec![MessagePart::Body]),
        timestamp: timestamp.or(part_text),
        nonce,
        id,
        tolerance: tolerance_time,
        replay: is_replay,
        key: key.unwrap_or(if algorithm == Algorithm::Ed25519 { KeyForm::Base64 } else { KeyForm::Text }),
        key_prefix,
    };
    check_message(&signature, message_field.as_ref(), tolerance.as_ref(), replay.as_ref());
    Some(SchemeKind::Signature(signature))
}

/// What stands in the message must be in the request, and what is compared must be signed: anybody could
/// change it otherwise.
fn check_message(
    scheme: &Signature,
    message: Option<&Field<'_>>,
    tolerance: Option<&Field<'_>>,
    replay: Option<&Field<'_>>,
) {
    let signs = |part| scheme.message.contains(&part);
    let once = if scheme.nonce.is_some() { MessagePart::Nonce } else { MessagePart::Id };
    if let Some(field) = tolerance {
        if scheme.timestamp.is_none() {
            field.fault("there is no time to compare, expected `timestamp` or `timestamp_part` beside it");
        } else if !signs(MessagePart::Timestamp) {
            field.fault("the time is not signed, expected {timestamp} in `message`");
        }
    }
    if let Some(field) = replay.filter(|_| scheme.replay) {
        if scheme.tolerance.is_none() || (scheme.nonce.is_none() && scheme.id.is_none()) {
            field.fault("nothing says what is new, expected `tolerance` and `nonce` or `id` beside it");
        } else if !signs(once) {
            field.fault("what says that it is new is not signed, expected {nonce} or {id} in `message`");
        }
    }
    if let Some(field) = message {
        let missing = |part, there: bool| signs(part) && !there;
        if missing(MessagePart::Timestamp, scheme.timestamp.is_some())
            || missing(MessagePart::Nonce, scheme.nonce.is_some())
            || missing(MessagePart::Id, scheme.id.is_some())
        {
            field.fault("it has something in braces that is nowhere in the request, expected `timestamp`, `nonce`, `id` to say where");
        }
    }
}

fn url_params(reader: &mut Reader<'_>) -> Option<SchemeKind> {
    let form = reader.required("form", "\"twilio\", \"plivo-v2\" or \"plivo-v3\"");
    let form = form.and_then(|field| {
        field.choice(&[("twilio", UrlForm::Twilio), ("plivo-v2", UrlForm::PlivoV2), ("plivo-v3", UrlForm::PlivoV3)])
    });
    let header = header(reader, "header");
    let nonce = optional_header(reader, "nonce");
    if form.is_some_and(|form| form != UrlForm::Twilio) && nonce.is_none() {
        reader.fault("this form has a nonce, expected `nonce` with the name of its header");
    }
    Some(SchemeKind::UrlParams(UrlParams { form: form?, header: header?, nonce }))
}

fn jwt(reader: &mut Reader<'_>) -> Option<SchemeKind> {
    let header = header(reader, "header");
    let algorithms = reader.required("algorithms", "some of \"HS256\", \"HS384\", \"HS512\"");
    let algorithms: Vec<_> = algorithms
        .and_then(|field| field.array())
        .unwrap_or_default()
        .iter()
        .filter_map(|field| {
            field.choice(&[("HS256", Algorithm::Sha256), ("HS384", Algorithm::Sha384), ("HS512", Algorithm::Sha512)])
        })
        .collect();
    if algorithms.is_empty() {
        reader.fault("no algorithm, expected at least one in `algorithms`");
    }
    let issuer = reader.field("issuer").and_then(|field| field.string()).map(str::to_owned);
    let payload_hash = reader.field("payload_hash");
    let payload_hash_required = payload_hash.and_then(|f| f.choice(&[("required", true), ("optional", false)]));
    let url_hash = reader.field("url_hash").and_then(|field| field.boolean());
    let max_age = reader.field("max_age").and_then(|field| field.parse(units::duration));
    let skew = reader.field("skew").and_then(|field| field.parse(units::duration));
    Some(SchemeKind::Jwt(Jwt {
        header: header?,
        algorithms,
        issuer,
        payload_hash_required: payload_hash_required.unwrap_or(true),
        url_hash: url_hash.unwrap_or(false),
        max_age,
        skew: skew.unwrap_or(Duration::from_secs(5)),
    }))
}

fn fixed(reader: &mut Reader<'_>) -> Option<SchemeKind> {
    let place = reader.required("in", "\"header\", \"basic\", \"query\" or \"path\"")?;
    #[derive(Clone, Copy)]
    enum In {
        Header,
        Basic,
        Query,
        Path,
    }
    let place = place.choice(&[("header", In::Header), ("basic", In::Basic), ("query", In::Query), ("path", In::Path)]);
    let place = match place? {
        In::Header => header(reader, "header").map(Place::Header),
        In::Basic => Some(Place::Basic),
        In::Query => reader.required("query", "the name of the parameter")?.parse(parameter).map(Place::Query),
        In::Path => Some(Place::Path),
    };
    let addresses = reader.field("addresses").and_then(|field| field.array()).unwrap_or_default();
    let addresses = addresses.iter().filter_map(|field| field.parse(Network::parse)).collect();
    Some(SchemeKind::Static(Static { place: place?, addresses }))
}

fn header(reader: &mut Reader<'_>, key: &str) -> Option<HeaderName> {
    reader.required(key, "the name of a header")?.parse(header_name)
}

fn optional_header(reader: &mut Reader<'_>, key: &str) -> Option<HeaderName> {
    reader.field(key).and_then(|field| field.parse(header_name))
}

fn text(reader: &mut Reader<'_>, key: &str) -> String {
    reader.field(key).and_then(|field| field.parse(plain)).unwrap_or_default()
}

fn plain(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || !is_header_text_str(text) {
        return Err("not text for a header, expected visible ASCII");
    }
    Ok(text.to_owned())
}

fn message(text: &str) -> Result<Vec<MessagePart>, &'static str> {
    const EXPECTED: &str =
        "an unknown name in braces, expected {body}, {sha256:body}, {timestamp}, {nonce}, {id} or {url}";
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(MessagePart::Text(before.to_owned()));
        }
        let (name, after) = after.split_once('}').ok_or(EXPECTED)?;
        parts.push(match name {
            "body" => MessagePart::Body,
            "sha256:body" => MessagePart::BodyHash,
            "timestamp" => MessagePart::Timestamp,
            "nonce" => MessagePart::Nonce,
            "id" => MessagePart::Id,
            "url" => MessagePart::Url,
            _ => return Err(EXPECTED),
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(MessagePart::Text(rest.to_owned()));
    }
    let bodies = parts.iter().filter(|part| matches!(part, MessagePart::Body | MessagePart::BodyHash)).count();
    if bodies == 1 { Ok(parts) } else { Err("it does not have the body in it once, expected {body} or {sha256:body}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Report};
    use crate::provider::SecretForm;

    #[test]
    fn a_message_is_taken_apart_and_has_the_body_once() {
        let text = |text: &str| MessagePart::Text(text.to_owned());
        assert_eq!(message("{body}"), Ok(vec![MessagePart::Body]));
        let bird = vec![MessagePart::Timestamp, text("\n"), MessagePart::Url, text("\n"), MessagePart::BodyHash];
        assert_eq!(message("{timestamp}\n{url}\n{sha256:body}"), Ok(bird));
        for wrong in ["", "x", "{timestamp}", "{body}{body}", "{body", "{Body}", "{body}{}", "{body}{sha256:body}"] {
            assert!(message(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_compared_must_be_there_and_signed() {
        for (scheme, expected) in [
            ("", None),
            ("tolerance = '5m'", Some("tolerance: there is no time to compare")),
            ("timestamp = 'X-Time'\ntolerance = '5m'", Some("tolerance: the time is not signed")),
            ("timestamp = 'X-Time'\ntolerance = '5m'\nmessage = '{timestamp}.{body}'", None),
            ("message = '{timestamp}.{body}'", Some("message: it has something in braces that is nowhere")),
            ("nonce = 'X-Nonce'\nreplay = true", Some("replay: nothing says what is new")),
            (
                "timestamp = 'X-Time'\ntolerance = '5m'\nnonce = 'X-Nonce'\nreplay = true\nmessage = '{timestamp}.{body}'",
                Some("replay: what says that it is new is not signed"),
            ),
            (
                "timestamp = 'X-Time'\ntolerance = '5m'\nid = 'X-Id'\nreplay = true\nmessage = '{id}.{timestamp}.{body}'",
                None,
            ),
        ] {
            let text =
                format!("[[verify]]\nkind = 'hmac'\nsecret = 'key'\nheader = 'X-S'\nalgorithm = 'sha256'\n{scheme}");
            let report = Report::default();
            let document = Document::parse(&text, "f", &report).unwrap();
            let key = SecretKind { name: "key".to_owned(), required: false, form: SecretForm::Text };
            read(Reader::new(&document, &report), &[key]);
            let (faults, _) = report.into_parts();
            let faults: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect();
            assert_eq!(faults.len(), usize::from(expected.is_some()), "{scheme}: {faults:?}");
            let begin = expected.map(|expected| format!("verify.{expected}")).unwrap_or_default();
            assert!(faults.iter().all(|fault| fault.starts_with(&begin)), "{scheme}: {faults:?}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses() {
        let table = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("::/0", "2001:db8::1", true),
        ];
        for (network, address, expected) in table {
            let network = Network::parse(network).unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network:?} {address}");
        }
        for wrong in ["", "192.0.2.0/33", "192.0.2.0/", "192.0.2", "x/8", "::/129"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
