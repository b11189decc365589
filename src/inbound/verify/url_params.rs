//! Signatures over the URL and the parameters of a form: Twilio and Plivo.

use std::borrow::Cow;
use std::time::Duration;

use data_encoding::HEXLOWER;
use http::{HeaderMap, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::head::{SignedHead, only_header};
use super::key::VerifyKey;
use super::mac::{Mac, from_base64};
use super::nonces::NonceUse;
use super::proof::{BodyHash, Proof};
use crate::credential::SecretRole;
use crate::inbound::body::Body;
use crate::inbound::forgery::Forgery;
use crate::provider::webhook::{UrlForm, UrlParams};
use crate::query;

/// A check that waits for the whole body: the parameters are sorted before the signing.
pub(super) struct UrlParamsCheck {
    form: UrlForm,
    keys: Vec<(SecretRole, Mac)>,
    signatures: Vec<Vec<u8>>,
    nonce: String,
    nonce_use: Option<NonceUse>,
    url: String,
    method: Method,
    is_form: bool,
}

/// Begins a check from the headers; returns `None` if the request has no signature of this
/// scheme.
pub(super) fn begin(
    scheme: &UrlParams,
    keys: &[(SecretRole, VerifyKey)],
    head: &SignedHead<'_>,
) -> Result<Option<UrlParamsCheck>, Forgery> {
    let headers = &head.request.headers;
    let Some(value) = only_header(headers, &scheme.header)? else {
        return Ok(None);
    };
    let signatures = signatures(scheme.form, value);
    if signatures.is_empty() {
        return Err(Forgery::SignatureMalformed);
    }
    let nonce = match &scheme.nonce {
        Some(name) => only_header(headers, name)?.ok_or(Forgery::NonceMissing)?,
        None => "",
    };
    let url = head.url()?;
    if query::fields(query_of(url)).nth(MAX_FIELDS).is_some() {
        return Err(Forgery::TooManyFields);
    }
    let keys = keys.iter().filter_map(|(role, key)| match key {
        VerifyKey::Mac(mac) => Some((*role, mac.clone())),
        VerifyKey::Macs(_) | VerifyKey::Ed25519(_) | VerifyKey::Text(_) => None,
    });
    let is_form = is_form(headers);
    let header = scheme.header.as_str();
    let nonce_use = match (&scheme.nonce, scheme.form) {
        (Some(_), _) => Some(NonceUse::new(head.webhook, header, nonce, NONCE_MEMORY)),
        // `a=bc` and `ab=c` are signed alike: the first accepted form is the one that the provider
        // has sent. The signature counts as bytes, since Base64 has several spellings.
        (None, UrlForm::Twilio) if is_form => signatures.first().map(|signature| {
            let spelled = HEXLOWER.encode(signature);
            NonceUse::of_signature(head.webhook, header, &spelled, NONCE_MEMORY)
        }),
        (None, _) => None,
    };
    Ok(Some(UrlParamsCheck {
        form: scheme.form,
        keys: keys.collect(),
        signatures,
        nonce: nonce.to_owned(),
        nonce_use,
        url: url.to_owned(),
        method: head.request.method.clone(),
        is_form,
    }))
}

impl UrlParamsCheck {
    /// Returns the bound on the body, in bytes.
    pub(super) fn max_body(&self) -> u64 {
        if self.is_form { MAX_FORM } else { u64::MAX }
    }

    /// Returns true if the end of the check goes through the whole body.
    pub(super) fn reads_body(&self) -> bool {
        self.is_form
    }

    pub(super) fn finish(self, body: &Body, hash: &BodyHash) -> Result<Proof, Forgery> {
        let whole = if self.is_form {
            body.whole()
        } else {
            Cow::Borrowed(&b""[..])
        };
        let text = std::str::from_utf8(&whole).map_err(|_| Forgery::FormNotUtf8)?;
        let messages = self.messages(params(text)?, body, hash)?;
        let mut signer = None;
        for (role, mac) in &self.keys {
            let mut is_signed = Choice::from(0);
            for start in &messages.starts {
                is_signed |= messages.is_signed(mac.clone(), start, &self.signatures);
            }
            if bool::from(is_signed) && signer.is_none() {
                signer = Some(*role);
            }
        }
        let signer = signer.ok_or(Forgery::UrlSignatureWrong)?;
        // Two events without a body differ in the URL alone.
        let mut proof = if body.is_empty() {
            Proof::of_body(signer, &Sha256::digest(&self.url).into())
        } else {
            Proof::of_body(signer, hash)
        };
        proof.nonce = self.nonce_use;
        Ok(proof)
    }

    /// Returns all messages accepted as the signed message.
    fn messages<'b>(
        &self,
        params: Params<'b>,
        body: &Body,
        hash: &BodyHash,
    ) -> Result<Messages<'b>, Forgery> {
        match self.form {
            UrlForm::Twilio => {
                let is_covered = body.is_empty() || self.is_form;
                match check_body_hash(&self.url, hash) {
                    Err(Forgery::BodyHashMissing) if is_covered => {}
                    checked => checked?,
                }
                Ok(twilio(&self.url, params))
            }
            // Plivo's second version does not sign the body at all.
            UrlForm::PlivoV2 => Ok(Messages {
                starts: vec![format!("{}{}", without_query(&self.url), self.nonce)],
                ..Messages::default()
            }),
            UrlForm::PlivoV3 if !self.is_form && !body.is_empty() => Err(Forgery::BodyNotCovered),
            UrlForm::PlivoV3 => plivo_v3(&self.method, &self.url, params, &self.nonce),
        }
    }
}

/// Messages with different beginnings: a start, the parameters without separators, the end. The
/// parts are hashed in place, because each copy of a form would cost the form's length.
#[derive(Default)]
struct Messages<'b> {
    starts: Vec<String>,
    params: Params<'b>,
    end: String,
}

impl Messages<'_> {
    fn is_signed(&self, mut mac: Mac, start: &str, signatures: &[Vec<u8>]) -> Choice {
        mac.update(start.as_bytes());
        for (name, value) in &self.params {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
        mac.update(self.end.as_bytes());
        let made = mac.finish();
        signatures
            .iter()
            .map(|signature| made.as_bytes().ct_eq(signature))
            .fold(Choice::from(0), |any, equal| any | equal)
    }
}

fn signatures(form: UrlForm, value: &str) -> Vec<Vec<u8>> {
    match form {
        UrlForm::Twilio | UrlForm::PlivoV2 => from_base64(value).into_iter().collect(),
        UrlForm::PlivoV3 => value
            .split(',')
            .map(str::trim)
            .take(MAX_SIGNATURES)
            .filter_map(from_base64)
            .collect(),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..FORM.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(FORM))
}

/// Names with values, sorted by name and then by value.
type Params<'b> = Vec<(Cow<'b, str>, Cow<'b, str>)>;

fn params(text: &str) -> Result<Params<'_>, Forgery> {
    let mut fields = query::fields(text);
    let mut params: Params<'_> = fields
        .by_ref()
        .take(MAX_FIELDS)
        .map(|pair| (pair.name(), pair.value()))
        .collect();
    if fields.next().is_some() {
        return Err(Forgery::TooManyFields);
    }
    params.sort();
    Ok(params)
}

/// Returns all names and values as a query string, without encoding.
fn as_query(params: &Params<'_>) -> String {
    let pairs: Vec<String> = params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// Returns the messages possibly signed by Twilio: the URL followed by the form's parameters, or,
/// for a JSON body, the URL alone, which must then contain the body's hash. Each message comes with
/// and without the port, and with the query as it arrived and as Twilio's older versions wrote it;
/// twilio-python and twilio-node try the same variants.
fn twilio<'b>(url: &str, mut params: Params<'b>) -> Messages<'b> {
    // twilio-python and twilio-node use each value of a name once.
    params.dedup();
    let mut starts = Vec::new();
    for url in with_and_without_port(url) {
        for url in [legacy_query(&url), url.replace('\'', "%27"), url] {
            if !starts.contains(&url) {
                starts.push(url);
            }
        }
    }
    Messages {
        starts,
        params,
        end: String::new(),
    }
}

/// Checks the hash of the body that Twilio puts into the URL, for a body other than a form.
fn check_body_hash(url: &str, body: &BodyHash) -> Result<(), Forgery> {
    let mut hashes = query::fields(query_of(url))
        .filter(|pair| pair.name() == "bodySHA256")
        .map(|pair| pair.value());
    match (hashes.next(), hashes.next()) {
        (None, _) => Err(Forgery::BodyHashMissing),
        (Some(hash), None) if is_hash(&hash, body) => Ok(()),
        (Some(_), _) => Err(Forgery::BodyHashWrong),
    }
}

fn is_hash(hash: &str, body: &BodyHash) -> bool {
    hash.eq_ignore_ascii_case(&HEXLOWER.encode(body))
}

/// Returns two URLs: the given URL, and the URL without the port, or with the port implied by the
/// scheme.
fn with_and_without_port(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return vec![url.to_owned()];
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), authority),
    };
    // The last colon of an IPv6 address stands inside brackets, and begins no port.
    let (host, has_port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, true),
        _ => (host, false),
    };
    let other = if has_port {
        format!("{scheme}://{user}{host}{path}")
    } else {
        let default_port = if scheme == "https" { "443" } else { "80" };
        format!("{scheme}://{user}{host}:{default_port}{path}")
    };
    vec![url.to_owned(), other]
}

/// Returns the URL with its query parsed and written again, as Node's `querystring` does it.
fn legacy_query(url: &str) -> String {
    let Some((before, text)) = url.split_once('?') else {
        return url.to_owned();
    };
    let pairs: Vec<String> = query::fields(text)
        .map(|pair| {
            format!(
                "{}={}",
                utf8_percent_encode(&pair.name(), LEGACY),
                utf8_percent_encode(&pair.value(), LEGACY)
            )
        })
        .collect();
    format!("{before}?{}", pairs.join("&"))
}

/// Returns the message signed by Plivo's third version. plivo-python uses a value as often as it
/// is there.
fn plivo_v3<'b>(
    method: &Method,
    url: &str,
    form: Params<'b>,
    nonce: &str,
) -> Result<Messages<'b>, Forgery> {
    let mut in_url = params(query_of(url))?;
    let mut start = without_query(url).to_owned();
    let mut signed = Params::new();
    if *method == Method::GET {
        in_url.extend(form);
        in_url.sort();
        if !in_url.is_empty() {
            start.push('?');
            start.push_str(&as_query(&in_url));
        }
    } else if !in_url.is_empty() || !form.is_empty() {
        start.push('?');
        start.push_str(&as_query(&in_url));
        if !in_url.is_empty() && !form.is_empty() {
            start.push('.');
        }
        signed = form;
    }
    Ok(Messages {
        starts: vec![start],
        params: signed,
        end: format!(".{nonce}"),
    })
}

fn query_of(url: &str) -> &str {
    url.split_once('?').map_or("", |(_, query)| query)
}

fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// The characters left unchanged by Node's `querystring.escape`, besides letters and digits.
const LEGACY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
/// The bound on a signed form, in bytes, above the 100 kB that Node's body-parser reads by default.
/// The longest text of WhatsApp (4,096 characters) has 48 KiB as a form.
const MAX_FORM: u64 = 128 * 1024;
/// The number of fields of a form or a query: the default of PHP (`max_input_vars`) and of Node's
/// `querystring` (`maxKeys`).
const MAX_FIELDS: usize = 1000;
/// The time for which the nonce of an accepted event is remembered, in a scheme that signs no time.
/// Plivo sends an event again for 7 minutes
/// (<https://support.plivo.com/hc/en-us/articles/360041344652>); a longer memory stops later
/// replays.
const NONCE_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);
/// The number of signatures tried per header; Plivo sends two while it replaces a key.
const MAX_SIGNATURES: usize = 8;
