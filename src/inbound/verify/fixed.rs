//! No signature, but something that only the provider was told.

use subtle::{Choice, ConstantTimeEq};

use super::mac::from_base64;
use super::{Key, Proof, Seen, only};
use crate::credential::Which;
use crate::inbound::body::Body;
use crate::provider::webhook::{Place, Static};
use crate::query;

/// A token that was right. There is nothing of the body in it.
pub(super) struct Attempt {
    which: Which,
}

/// Compares the token; nothing where there is none.
pub(super) fn begin(scheme: &Static, keys: &[(Which, Key)], seen: &Seen<'_>) -> Result<Option<Attempt>, &'static str> {
    let headers = &seen.request.headers;
    let token = match &scheme.place {
        Place::Header(name) => only(headers, name)?.map(|value| value.as_bytes().to_vec()),
        Place::Basic => match only(headers, &http::header::AUTHORIZATION)? {
            Some(value) => Some(basic(value).ok_or("the Authorization is not Basic")?),
            None => None,
        },
        Place::Query(name) => only_parameter(seen.request.uri.query().unwrap_or_default(), name)?,
        Place::Path => seen.token.map(|token| token.as_bytes().to_vec()),
    };
    let Some(token) = token else { return Ok(None) };
    let mut found = None;
    for (which, key) in keys {
        let same = match key {
            Key::Text(expected) => expected.ct_eq(&token),
            Key::Mac(_) | Key::Macs(_) | Key::Ed25519(_) => Choice::from(0),
        };
        if bool::from(same) && found.is_none() {
            found = Some(*which);
        }
    }
    let which = found.ok_or("the token is not one that the provider was told")?;
    let from = |network: &crate::provider::webhook::Network| seen.peer.is_some_and(|peer| network.contains(peer));
    if !scheme.addresses.is_empty() && !scheme.addresses.iter().any(from) {
        return Err("it comes from an address that is not the provider's");
    }
    Ok(Some(Attempt { which }))
}

impl Attempt {
    pub(super) fn finish(self, body: &Body) -> Proof {
        Proof::of_body(self.which, body)
    }
}

fn basic(value: &str) -> Option<Vec<u8>> {
    let (scheme, login) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("basic") { from_base64(login.trim_start()) } else { None }
}

fn only_parameter(text: &str, name: &str) -> Result<Option<Vec<u8>>, &'static str> {
    let mut values = query::fields(text).filter(|pair| pair.name() == name);
    let first = values.next().map(|pair| pair.value().as_bytes().to_vec());
    if values.next().is_some() { Err("the token is there twice") } else { Ok(first) }
}
