//! `[access_token]`: the token made from the secrets and sent instead of the secrets.

use std::time::Duration;

use http::Method;

use super::inject::exchange_injects;
use super::names::{TemplateNames, secret_name};
use super::request::request_line;
use super::text::pointer;
use crate::document::{Field, Malformed, Reader};
use crate::provider::access::{ACCESS_TOKEN, AccessToken, MintedToken, TokenExchange};
use crate::provider::inject::Inject;
use crate::provider::path::Segment;
use crate::provider::secret::SecretForm;
use crate::provider::template::Template;
use crate::units;

/// Reads `[access_token]`, and the origin of the exchange, which may still have parameters.
pub(super) fn access_token(
    mut reader: Reader<'_>,
    names: &TemplateNames<'_>,
) -> Option<(AccessToken, Option<Template>)> {
    let kind = reader
        .required(
            "kind",
            "\"jwt\" for a token that Keyside signs, \"exchange\" for a token that the provider issues",
        )
        .and_then(|field| field.choice(&[("jwt", AccessKind::Jwt), ("exchange", AccessKind::Exchange)]));
    let lifetime = lifetime(&mut reader);
    let read = match kind {
        Some(AccessKind::Jwt) => {
            minted(&mut reader, names, lifetime).map(|minted| (AccessToken::Minted(minted), None))
        }
        Some(AccessKind::Exchange) => exchange(&mut reader, names, lifetime)
            .map(|(exchange, origin)| (AccessToken::Exchanged(exchange), origin)),
        None => None,
    };
    reader.finish();
    read
}

/// The written words of `kind`.
#[derive(Clone, Copy)]
enum AccessKind {
    Jwt,
    Exchange,
}

fn lifetime(reader: &mut Reader<'_>) -> Option<Duration> {
    let field = reader.field("lifetime")?;
    let lifetime = field.parse(units::duration)?;
    if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&lifetime) {
        field.fault("out of range, expected a time between \"10s\" and \"1d\"");
    }
    Some(lifetime)
}

fn minted(
    reader: &mut Reader<'_>,
    names: &TemplateNames<'_>,
    lifetime: Option<Duration>,
) -> Option<MintedToken> {
    let key = reader
        .required("key", "the secret with the private key")
        .and_then(|field| signing_key(&field, names));
    let mut claims = Vec::new();
    for field in reader
        .table("claims")
        .map(|mut table| table.fields())
        .unwrap_or_default()
    {
        if RESERVED_CLAIMS.contains(&field.key) {
            field.key_fault("a claim that Keyside sets itself, expected another");
        }
        if let Some(value) = field.parse(Template::parse) {
            names.check_parameters(&field, &value);
            claims.push((field.key.to_owned(), value));
        }
    }
    Some(MintedToken {
        key: key?,
        claims,
        lifetime: lifetime.unwrap_or(MINTED_LIFETIME),
    })
}

fn signing_key(field: &Field<'_>, names: &TemplateNames<'_>) -> Option<String> {
    let name = secret_name(field, names.secrets)?;
    let kind = names.secrets.iter().find(|secret| secret.name == name);
    if kind.is_some_and(|kind| kind.form != SecretForm::PrivateKey || !kind.required) {
        field.fault(
            "not a private key, expected a secret with form = \"private-key\" and required = true",
        );
    }
    Some(name)
}

fn exchange(
    reader: &mut Reader<'_>,
    names: &TemplateNames<'_>,
    lifetime: Option<Duration>,
) -> Option<(TokenExchange, Option<Template>)> {
    let upstream = reader
        .field("upstream")
        .and_then(|field| names.origin(&field));
    let path = reader
        .required("request", "a POST, such as \"POST /oauth2/token\"")
        .and_then(|field| field.parse(post_path));
    let inject = reader
        .required(
            "inject",
            "what the POST carries, such as { form = \"client_secret\", value = \"{secret}\" }",
        )
        .map(|field| {
            let inject = exchange_injects(&field, names);
            if inject.iter().any(uses_access_token) {
                field.fault("`{access_token}` is the result of this exchange, expected secrets and parameters");
            }
            inject
        });
    let token = match reader.field("token") {
        Some(field) => field.parse(pointer),
        None => Some(vec![ACCESS_TOKEN.to_owned()]),
    };
    let expires_in = reader.parse("expires_in", pointer);
    let exchange = TokenExchange {
        upstream: None,
        path: path?,
        inject: inject?,
        token: token?,
        expires_in,
        lifetime: lifetime.unwrap_or(EXCHANGED_LIFETIME),
    };
    Some((exchange, upstream))
}

/// Reads the path of a POST. Unlike other patterns, the path may end in a slash, which is kept.
fn post_path(text: &str) -> Result<String, Malformed> {
    let (methods, path) = request_line(text.strip_suffix('/').unwrap_or(text))?;
    let is_fixed = path
        .segments
        .iter()
        .all(|segment| matches!(segment, Segment::Literal(_)));
    if methods != [Method::POST] || !is_fixed {
        return Err(Malformed::new(
            "not a POST of one path, expected such as \"POST /oauth2/token\"",
        ));
    }
    let slash = if text.ends_with('/') { "/" } else { "" };
    Ok(format!("{path}{slash}"))
}

fn uses_access_token(inject: &Inject) -> bool {
    inject
        .template()
        .is_some_and(|value| value.names().any(|name| name == ACCESS_TOKEN))
}

/// The claims of every minted token: RFC 7519, section 4.1.
const RESERVED_CLAIMS: [&str; 3] = ["iat", "exp", "jti"];
/// The default lifetime of a minted token, as in Vonage's SDKs.
const MINTED_LIFETIME: Duration = Duration::from_secs(900);
/// The default lifetime of an exchanged token. One hour, as in the examples of RFC 6749, section
/// 5.1.
const EXCHANGED_LIFETIME: Duration = Duration::from_secs(3600);
/// The shortest lifetime. A shorter lifetime would end while requests wait in a queue.
const MIN_LIFETIME: Duration = Duration::from_secs(10);
/// The longest lifetime, so that a leaked token is useless after a day.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400);
