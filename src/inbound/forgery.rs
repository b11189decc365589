//! The reasons for refusing an event as forged.

use std::fmt;

/// The reason for refusing a request as an event. Only the log shows the reason: the sender
/// of a forgery learns nothing from the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// A header of the signature is there more than once.
    HeaderRepeated,
    /// A header of the signature has a byte that is not ASCII.
    HeaderNotAscii,
    /// No part of the header has the form of a signature.
    SignatureMalformed,
    /// No accepted secret makes the signature.
    SignatureWrong,
    /// An accepted secret makes the signature of the event in a different encoding.
    Reencoded,
    /// No accepted secret makes the signature, which covers the URL.
    UrlSignatureWrong,
    /// The signature covers a timestamp that is not there.
    TimestampMissing,
    /// The timestamp is there more than once.
    TimestampRepeated,
    /// The timestamp is not a number of seconds.
    TimestampMalformed,
    /// The timestamp is further from now than the scheme tolerates.
    TimestampTooFar,
    /// The signature covers a nonce that is not there.
    NonceMissing,
    /// The nonce or the id has the text that separates the parts of the signed message.
    SeparatorInValue,
    /// A different event with the nonce was accepted before.
    NonceReused,
    /// The signature covers an id that is not there.
    IdMissing,
    /// The signature covers the URL, and the webhook's configuration does not say the URL.
    NoPublicUrl,
    /// The form is not UTF-8.
    FormNotUtf8,
    /// The form or the query has more fields than are looked through.
    TooManyFields,
    /// The signature covers parameters of forms only, and the body is not a form.
    BodyNotCovered,
    /// The body is not a form, and the URL does not have its hash.
    BodyHashMissing,
    /// The hash in the URL is not the body's.
    BodyHashWrong,
    /// The token is longer than any provider's.
    TokenTooLong,
    /// The token is not a JWT.
    TokenMalformed,
    /// The scheme does not allow the token's algorithm.
    TokenAlgorithm,
    /// The token has a critical header, none of which Keyside understands.
    TokenCritical,
    /// The token's issuer is not the scheme's.
    TokenIssuer,
    /// The token must have a hash of the URL, and has none.
    TokenUrlHashMissing,
    /// The token's hash of the URL is not the webhook's.
    TokenUrl,
    /// The token's hash of the body is not the body's.
    TokenBody,
    /// The token has a hash of a body, and the body is empty.
    TokenBodyMissing,
    /// The token has no hash of a body, and there is a body.
    TokenBodyNotCovered,
    /// The token must have the time of its making, and has none.
    TokenUndated,
    /// The token was made too long ago.
    TokenTooOld,
    /// The token was made in the future.
    TokenFromFuture,
    /// The token has expired.
    TokenExpired,
    /// The token never expires.
    TokenWithoutEnd,
    /// The token is not valid yet.
    TokenNotYetValid,
    /// The `Authorization` header does not have the form of Basic authentication.
    NotBasic,
    /// The static token is there more than once.
    StaticTokenRepeated,
    /// The static token is none of the accepted secrets.
    StaticTokenWrong,
    /// The request comes from an address that is not the provider's.
    AddressNotAllowed,
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeaderRepeated => "a header of the signature is there more than once",
            Self::HeaderNotAscii => "a header of the signature is not ASCII",
            Self::SignatureMalformed => "the signature is malformed",
            Self::SignatureWrong => "no accepted secret makes this signature",
            Self::Reencoded => {
                "the signature is right for another encoding of this JSON: something before this listener reads the event and \
                 writes it anew; let it pass the bytes of the body as they come"
            }
            Self::UrlSignatureWrong => {
                "no accepted secret makes this signature; is public_url the URL that the provider was given?"
            }
            Self::TimestampMissing => "the timestamp is missing",
            Self::TimestampRepeated => "the timestamp is there more than once",
            Self::TimestampMalformed => "the timestamp is malformed",
            Self::TimestampTooFar => "the timestamp is too far from now",
            Self::NonceMissing => "the nonce is missing",
            Self::SeparatorInValue => {
                "the nonce or the id has the character that ends it in the signed message"
            }
            Self::NonceReused => "the nonce, or the signature of a form, was used for another event",
            Self::IdMissing => "the id is missing",
            Self::NoPublicUrl => "the signature covers the URL, and the webhook has no public_url",
            Self::FormNotUtf8 => "the form is not UTF-8",
            Self::TooManyFields => "the form or the query has more than 1000 fields",
            Self::BodyNotCovered => {
                "the body is not a form, and the provider signs no other bodies"
            }
            Self::BodyHashMissing => "the body is not a form, and its hash is not in the URL",
            Self::BodyHashWrong => "the hash in the URL is not that of the body",
            Self::TokenTooLong => "the token is too long",
            Self::TokenAlgorithm => "the token names an algorithm that is not allowed",
            Self::TokenCritical => "the token has a critical header, which Keyside does not know",
            Self::TokenIssuer => "the token has a wrong issuer",
            Self::TokenUrlHashMissing => "the token has no url_hash",
            Self::TokenUrl => {
                "the token is for another URL; is public_url the URL that the provider was given?"
            }
            Self::TokenBody => "the token is for another body",
            Self::TokenBodyMissing => "the token is for a body, and the body is empty",
            Self::TokenBodyNotCovered => "the token is for an empty body, and there is a body",
            Self::TokenUndated => "the token does not say when it was made",
            Self::TokenTooOld => "the token is too old",
            Self::TokenFromFuture => "the token was made in the future",
            Self::TokenExpired => "the token has expired",
            Self::TokenWithoutEnd => "the token does not say when it expires",
            Self::TokenNotYetValid => "the token is not valid yet",
            Self::NotBasic => "the Authorization header is not Basic authentication",
            Self::StaticTokenRepeated => "the token is there more than once",
            Self::StaticTokenWrong => "the token is none of the accepted secrets",
            Self::AddressNotAllowed => "the address is not one of the provider's",
            Self::TokenMalformed => "the token is malformed",
        })
    }
}

impl std::error::Error for Forgery {}
