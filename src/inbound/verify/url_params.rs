//! A signature over the URL and the parameters of a form.

use data_encoding::HEXLOWER;
use http::{Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::mac::{Mac, from_base64};
use super::{Key, Proof, Seen, only};
use crate::credential::Which;
use crate::inbound::body::Body;
use crate::provider::webhook::{UrlForm, UrlParams};
use crate::query;

/// A signature whose head is in order.
pub(super) struct Attempt<'v> {
    form: UrlForm,
    keys: &'v [(Which, Key)],
    signatures: Vec<Vec<u8>>,
    nonce: String,
    url: String,
    method: Method,
    is_form: bool,
}

/// Reads the headers; nothing where there is no signature of this scheme.
pub(super) fn begin<'v>(
    scheme: &UrlParams,
    keys: &'v [(Which, Key)],
    seen: &Seen<'_>,
) -> Result<Option<Attempt<'v>>, &'static str> {
    let headers = &seen.request.headers;
    let Some(value) = only(headers, &scheme.header)? else { return Ok(None) };
    let parts = match scheme.form {
        UrlForm::Twilio | UrlForm::PlivoV2 => vec![value],
        UrlForm::PlivoV3 => value.split(',').map(str::trim).take(MOST_SIGNATURES).collect(),
    };
    let signatures: Vec<_> = parts.into_iter().filter_map(from_base64).collect();
    if signatures.is_empty() {
        return Err("the signature is malformed");
    }
    let nonce = match &scheme.nonce {
        Some(name) => only(headers, name)?.ok_or("the nonce is missing")?.to_owned(),
        None => String::new(),
    };
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    Ok(Some(Attempt {
        form: scheme.form,
        keys,
        signatures,
        nonce,
        url: seen.url.clone().ok_or("the webhook has no public_url")?,
        method: seen.request.method.clone(),
        is_form: kind.starts_with(b"application/x-www-form-urlencoded"),
    }))
}

impl Attempt<'_> {
    pub(super) fn finish(self, body: &Body) -> Result<Proof, &'static str> {
        let text = body.whole();
        let params = match (self.is_form, body.is_empty()) {
            (true, _) => params(std::str::from_utf8(&text).map_err(|_| "the form is not UTF-8")?),
            (false, _) => Params::new(),
        };
        let messages = match self.form {
            UrlForm::Twilio => twilio(&self.url, params, &text, self.is_form)?,
            // What it signs says nothing of the body.
            UrlForm::PlivoV2 => vec![format!("{}{}", without_query(&self.url), self.nonce)],
            UrlForm::PlivoV3 if !self.is_form && !body.is_empty() => {
                return Err("the body is no form, and nothing else is signed");
            }
            UrlForm::PlivoV3 => vec![plivo_v3(&self.method, &self.url, params, &self.nonce)],
        };
        let mut found = None;
        for (which, key) in self.keys {
            let Key::Mac(mac) = key else { continue };
            let mut same = Choice::from(0);
            for message in &messages {
                same |= is_signed(mac.clone(), message, &self.signatures);
            }
            if bool::from(same) && found.is_none() {
                found = Some(*which);
            }
        }
        let which =
            found.ok_or("no secret makes this signature; is public_url the one that the provider was given?")?;
        Ok(Proof::of_body(which, body))
    }
}

fn is_signed(mut mac: Mac, message: &str, signatures: &[Vec<u8>]) -> Choice {
    mac.update(message.as_bytes());
    let made = mac.finish();
    signatures.iter().map(|signature| made.as_bytes().ct_eq(signature)).fold(Choice::from(0), |any, same| any | same)
}

/// Names with values, sorted by name and then by value.
type Params = Vec<(String, String)>;

fn params(text: &str) -> Params {
    let pairs = query::fields(text).map(|pair| (pair.name().into_owned(), pair.value().into_owned()));
    let mut params: Params = pairs.collect();
    params.sort();
    params
}

fn joined(params: &Params) -> String {
    params.iter().flat_map(|(name, value)| [name.as_str(), value]).collect()
}

/// What Twilio may have signed: the URL with its parameters, or for JSON the URL that has the body's
/// hash in it; each with and without the port, and with the query as it came or as Twilio wrote it
/// before (twilio-python and twilio-node try the same).
fn twilio(url: &str, mut params: Params, body: &[u8], is_form: bool) -> Result<Vec<String>, &'static str> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut hashes = query::fields(query).filter(|pair| pair.name() == "bodySHA256").map(|pair| pair.value());
    match (hashes.next(), is_form) {
        (Some(hash), false) if hashes.next().is_none() && is_hash(&hash, body) => {}
        (Some(_), false) => return Err("the body is not the one whose hash is in the URL"),
        (None, false) if !body.is_empty() => return Err("the body is no form, and its hash is not in the URL"),
        _ => {}
    }
    // twilio-python and twilio-node take each value of a name once.
    params.dedup();
    let tail = joined(&params);
    let mut messages = Vec::new();
    for url in with_and_without_port(url) {
        for url in [legacy_query(&url), url.replace('\'', "%27"), url] {
            let message = format!("{url}{tail}");
            if !messages.contains(&message) {
                messages.push(message);
            }
        }
    }
    Ok(messages)
}

fn is_hash(hash: &str, body: &[u8]) -> bool {
    let expected = HEXLOWER.encode(&Sha256::digest(body));
    hash.eq_ignore_ascii_case(&expected)
}

/// The URL as it is, without its port, and with the one that its scheme implies.
fn with_and_without_port(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (format!("{user}@"), host),
        None => (String::new(), authority),
    };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (host, None),
    };
    let standard = if scheme == "https" { "443" } else { "80" };
    let mut urls = vec![url.to_owned()];
    match port {
        Some(_) => urls.push(format!("{scheme}://{user}{host}{path}")),
        None => urls.push(format!("{scheme}://{user}{host}:{standard}{path}")),
    }
    urls
}

/// The query taken apart and put together again as Node's `querystring` does it.
fn legacy_query(url: &str) -> String {
    let Some((before, text)) = url.split_once('?') else { return url.to_owned() };
    let pairs = query::fields(text).map(|pair| {
        let (name, value) = (pair.name(), pair.value());
        format!("{}={}", utf8_percent_encode(&name, LEGACY), utf8_percent_encode(&value, LEGACY))
    });
    format!("{before}?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// What Plivo signs; plivo-python takes a value as often as it is there.
fn plivo_v3(method: &Method, url: &str, form: Params, nonce: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut in_url = params(query);
    let listed = |params: &Params| {
        let pairs = params.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("&")
    };
    let mut text = base.to_owned();
    if *method == Method::GET {
        in_url.extend(form);
        in_url.sort();
        if !in_url.is_empty() {
            text.push('?');
            text.push_str(&listed(&in_url));
        }
    } else if !in_url.is_empty() || !form.is_empty() {
        text.push('?');
        text.push_str(&listed(&in_url));
        if !in_url.is_empty() && !form.is_empty() {
            text.push('.');
        }
        text.push_str(&joined(&form));
    }
    format!("{text}.{nonce}")
}

fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// What `querystring.escape` leaves as it is, besides letters and digits.
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
const MOST_SIGNATURES: usize = 8;
