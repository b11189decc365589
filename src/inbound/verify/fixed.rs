//! Static tokens: secrets known to the provider only, sent in place of a signature.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::head::{SignedHead, only_header};
use super::key::VerifyKey;
use super::mac::from_base64;
use super::proof::{BodyHash, Proof};
use crate::credential::SecretRole;
use crate::inbound::forgery::Forgery;
use crate::provider::webhook::{StaticToken, TokenPlace};
use crate::query;

/// A check whose token was right. The token says nothing about the body.
pub(super) struct StaticCheck {
    which: SecretRole,
}

/// Compares the token; returns `None` if the request has no token.
pub(super) fn begin(
    scheme: &StaticToken,
    keys: &[(SecretRole, VerifyKey)],
    head: &SignedHead<'_>,
) -> Result<Option<StaticCheck>, Forgery> {
    let Some(token) = token_of(&scheme.place, head)? else {
        return Ok(None);
    };
    let mut found = None;
    for (role, key) in keys {
        let VerifyKey::Text(expected) = key else {
            continue;
        };
        if bool::from(expected.ct_eq(&token)) && found.is_none() {
            found = Some(*role);
        }
    }
    let which = found.ok_or(Forgery::StaticTokenWrong)?;
    if !is_address_allowed(scheme, head.peer) {
        return Err(Forgery::AddressNotAllowed);
    }
    Ok(Some(StaticCheck { which }))
}

impl StaticCheck {
    pub(super) fn finish(self, hash: &BodyHash) -> Proof {
        Proof::of_body(self.which, hash)
    }
}

fn token_of(place: &TokenPlace, head: &SignedHead<'_>) -> Result<Option<Vec<u8>>, Forgery> {
    let headers = &head.request.headers;
    match place {
        TokenPlace::Header(name) => {
            let value = only_header(headers, name)?;
            Ok(value.map(|value| value.as_bytes().to_vec()))
        }
        TokenPlace::Basic => match only_header(headers, &http::header::AUTHORIZATION)? {
            Some(value) => basic(value).map(Some).ok_or(Forgery::NotBasic),
            None => Ok(None),
        },
        TokenPlace::Query(name) => {
            only_parameter(head.request.uri.query().unwrap_or_default(), name)
        }
        TokenPlace::Path => Ok(head.token.map(|token| token.as_bytes().to_vec())),
    }
}

/// Returns true for an address of the provider's, and for any address if the scheme lists none.
fn is_address_allowed(scheme: &StaticToken, peer: Option<IpAddr>) -> bool {
    let is_listed = |peer| {
        scheme
            .addresses
            .iter()
            .any(|network| network.contains(peer))
    };
    scheme.addresses.is_empty() || peer.is_some_and(is_listed)
}

fn basic(value: &str) -> Option<Vec<u8>> {
    let (scheme, login) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("basic") {
        from_base64(login.trim_start())
    } else {
        None
    }
}

fn only_parameter(query: &str, name: &str) -> Result<Option<Vec<u8>>, Forgery> {
    let mut values = query::fields(query).filter(|pair| pair.name() == name);
    let first = values.next().map(|pair| pair.value().as_bytes().to_vec());
    if values.next().is_some() {
        return Err(Forgery::StaticTokenRepeated);
    }
    Ok(first)
}
