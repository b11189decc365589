//! An access token, which is made of a credential's secrets and sent in their place: `[access_token]` in TOML, and its
//! checked form.
//!
//! It is used as `{access_token}` wherever a secret could be, and it is as secret as what it was made of.

use std::time::Duration;

use super::parse::{pointer, request};
use super::schema::{Names, exchanged, secret_name};
use super::{Inject, Malformed, Origin, PathPattern, SecretForm, Template};
use crate::document::{Field, Reader};
use crate::units;

/// What it is called in templates.
pub const ACCESS_TOKEN: &str = "access_token";

/// How an access token comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessToken {
    /// Keyside signs it.
    Minted(Minted),
    /// The provider gives it for the secrets.
    Exchanged(Exchange),
}

/// A JWT (RFC 7519) that is signed with RS256. It has `iat`, `exp` and a new `jti` beside its own claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// The secret with the key that signs.
    pub key: String,
    /// Its own claims.
    pub claims: Vec<(String, Template)>,
    /// How long one is good.
    pub lifetime: Duration,
}

/// A POST that carries the secrets, and is answered with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Where it goes; to the provider's own upstream where it is missing.
    pub upstream: Option<Origin>,
    /// The path that is asked for.
    pub path: String,
    /// What it carries, where.
    pub inject: Vec<Inject>,
    /// Where the answer has the token.
    pub token: Vec<String>,
    /// Where it has the number of seconds that the token is good for.
    pub expires_in: Option<Vec<String>>,
    /// How long a token is good where the answer does not say.
    pub lifetime: Duration,
}

/// Reads it. Where it goes is a template still, which comes beside it.
pub(super) fn read(mut reader: Reader<'_>, names: &Names<'_>) -> Option<(AccessToken, Option<Template>)> {
    let kind =
        reader.required("kind", "\"jwt\" for one that Keyside signs, \"exchange\" for one that the provider gives");
    let kind = kind.and_then(|field| field.choice(&[("jwt", true), ("exchange", false)]));
    let lifetime = reader.field("lifetime");
    let given = lifetime.as_ref().and_then(|field| field.parse(units::duration));
    let read = match kind {
        Some(true) => minted(&mut reader, names, given).map(|minted| (AccessToken::Minted(minted), None)),
        Some(false) => exchange(&mut reader, names, given).map(|(it, to)| (AccessToken::Exchanged(it), to)),
        None => None,
    };
    if let Some(field) = lifetime.filter(|_| given.is_some_and(|time| time > LONGEST || time < SHORTEST)) {
        field.fault("out of range, expected a time between \"10s\" and \"1d\"");
    }
    reader.finish();
    read
}

fn minted(reader: &mut Reader<'_>, names: &Names<'_>, lifetime: Option<Duration>) -> Option<Minted> {
    let key = reader.required("key", "the secret with the private key");
    let key = key.and_then(|field| signing_key(&field, names));
    let mut claims = Vec::new();
    for field in reader.table("claims").map(|mut table| table.fields()).unwrap_or_default() {
        let value = field.parse(Template::parse).inspect(|value| names.check_parameters(&field, value));
        claims.extend(value.map(|value| (field.key.to_owned(), value)));
        if RESERVED.contains(&field.key) {
            field.key_fault("a claim that every token has, expected another");
        }
    }
    Some(Minted { key: key?, claims, lifetime: lifetime.unwrap_or(MINTED_LIFETIME) })
}

fn signing_key(field: &Field<'_>, names: &Names<'_>) -> Option<String> {
    let name = secret_name(field, names.secrets)?;
    let kind = names.secrets.iter().find(|secret| secret.name == name);
    if kind.is_some_and(|kind| kind.form != SecretForm::PrivateKey || !kind.required) {
        field.fault("not a key, expected a secret with form = \"private-key\" and required = true");
    }
    Some(name)
}

fn exchange(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    lifetime: Option<Duration>,
) -> Option<(Exchange, Option<Template>)> {
    let upstream = reader.field("upstream").and_then(|field| names.origin(&field));
    let line = reader.required("request", "a POST, such as \"POST /oauth2/token\"");
    let path = line.and_then(|field| field.parse(posted));
    let inject =
        reader.required("inject", "what it carries, such as { form = \"client_secret\", value = \"{secret}\" }");
    let inject = inject.map(|field| {
        let inject = exchanged(&field, names);
        if inject.iter().any(uses_access_token) {
            field.fault("`{access_token}` is what comes of it, expected secrets and parameters");
        }
        inject
    });
    let place = |field: Field<'_>| field.parse(pointer);
    let token = reader.field("token").map_or_else(|| Some(vec![ACCESS_TOKEN.to_owned()]), place);
    let expires_in = reader.field("expires_in").and_then(place);
    let exchange = Exchange {
        upstream: None,
        path: path?,
        inject: inject?,
        token: token?,
        expires_in,
        lifetime: lifetime.unwrap_or(EXCHANGED_LIFETIME),
    };
    Some((exchange, upstream))
}

/// The path of a POST, with a slash at its end where one is written.
fn posted(text: &str) -> Result<String, Malformed> {
    let (methods, path) = request(text.strip_suffix('/').unwrap_or(text))?;
    let is_fixed =
        |path: &PathPattern| path.segments.iter().all(|segment| matches!(segment, super::Segment::Literal(_)));
    if methods != [http::Method::POST] || !is_fixed(&path) {
        return Err(Malformed::new("not a POST of one path, expected such as \"POST /oauth2/token\""));
    }
    Ok(if text.ends_with('/') { format!("{path}/") } else { path.to_string() })
}

fn uses_access_token(inject: &Inject) -> bool {
    inject.template().is_some_and(|value| value.names().any(|name| name == ACCESS_TOKEN))
}

const RESERVED: [&str; 3] = ["iat", "exp", "jti"];
/// As Vonage's SDKs have it.
const MINTED_LIFETIME: Duration = Duration::from_secs(900);
/// What nearly all of them have.
const EXCHANGED_LIFETIME: Duration = Duration::from_secs(3600);
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(86_400);
