//! A secret value in memory: wiped when dropped, never printed, copied only where it is used.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// One secret value: visible ASCII, at least one byte; where it is a key in PEM (RFC 7468), in lines.
///
/// There is no `Debug`, `Display`, `Clone` or `PartialEq`: what must be shown is the
/// [`Fingerprint`], what must be compared is compared by [`Secret::same_as`].
pub struct Secret {
    value: Zeroizing<String>,
    fingerprint: Fingerprint,
}

impl Secret {
    /// Takes what a source gave: white space at both ends and a byte order mark go, and what could
    /// not be a header value is refused.
    ///
    /// # Errors
    /// Says what is wrong and at which byte, never the value.
    #[expect(clippy::needless_pass_by_value, reason = "the bytes are wiped when this returns")]
    pub fn parse(raw: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        Self::take(&raw, |b| matches!(b, b' '..=b'~'))
    }

    /// The same, but that a key in PEM keeps its lines. Whoever takes one makes sure that it goes into no header.
    ///
    /// # Errors
    /// As above.
    #[expect(clippy::needless_pass_by_value, reason = "the bytes are wiped when this returns")]
    pub fn parse_text_or_key(raw: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        let is_key = raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&raw).trim_ascii_start().starts_with(PEM);
        Self::take(&raw, |b| matches!(b, b' '..=b'~') || (is_key && matches!(b, b'\r' | b'\n')))
    }

    fn take(raw: &[u8], may_have: impl Fn(u8) -> bool) -> Result<Self, SecretError> {
        let text = raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw);
        let start = raw.len() - text.len();
        let text = text.trim_ascii_start();
        let start = start + (raw.len() - start - text.len());
        let text = text.trim_ascii_end();
        if text.is_empty() {
            return Err(SecretError::Empty { length: raw.len() });
        }
        if let Some(at) = text.iter().position(|b| !may_have(*b)) {
            let what = match text.get(at) {
                Some(b'\n' | b'\r') => "a line break inside",
                Some(0) => "a NUL byte (is it UTF-16?)",
                Some(0x80..) => "a byte that is not ASCII",
                _ => "a control character",
            };
            return Err(SecretError::Byte { what, offset: start + at });
        }
        if text.starts_with(b"Bearer ") || text.starts_with(b"OAuth ") {
            return Err(SecretError::Looks("it begins with an authorization scheme; put only the token there"));
        }
        if text.starts_with(b"\"") || text.starts_with(b"'") {
            return Err(SecretError::Looks("it begins with a quotation mark; put the value there without quotes"));
        }
        let value = match std::str::from_utf8(text) {
            Ok(text) => Zeroizing::new(text.to_owned()),
            Err(_) => return Err(SecretError::Looks("it is not text")),
        };
        let fingerprint = Fingerprint::of(&value);
        Ok(Self { value, fingerprint })
    }

    /// The value itself. Each caller says in a lint expectation why it must see it.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// The only form in which a secret is ever shown.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether both are the same value, in a time that does not depend on where they differ.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.value.as_bytes().ct_eq(other.value.as_bytes()).into()
    }
}

/// Whether a secret's bytes began with a byte order mark, which [`Secret::parse`] drops.
#[must_use]
pub fn has_byte_order_mark(raw: &[u8]) -> bool {
    raw.starts_with(BYTE_ORDER_MARK)
}

/// The first 12 hex digits of SHA-256 over `keyside:` and the secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 6]);

impl Fingerprint {
    fn of(value: &str) -> Self {
        let digest = Sha256::new().chain_update(b"keyside:").chain_update(value).finalize();
        let mut first = [0; 6];
        for (to, from) in first.iter_mut().zip(digest) {
            *to = from;
        }
        Self(first)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(&self.0).fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why bytes cannot be a secret.
#[derive(Debug, PartialEq, Eq)]
pub enum SecretError {
    /// Nothing, or white space only.
    Empty {
        /// How many bytes there were.
        length: usize,
    },
    /// A byte that no secret has.
    Byte {
        /// What it is.
        what: &'static str,
        /// Where, counted from 0.
        offset: usize,
    },
    /// It plainly is the wrong thing.
    Looks(&'static str),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { length } => write!(f, "no value ({length} bytes)"),
            Self::Byte { what, offset } => write!(f, "{what} at byte {offset}"),
            Self::Looks(hint) => f.write_str(hint),
        }
    }
}

impl std::error::Error for SecretError {}

/// How every key in PEM begins.
const PEM: &[u8] = b"-----BEGIN ";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests look at the values they made")]
mod tests {
    use super::*;

    fn parse(raw: &[u8]) -> Result<Secret, SecretError> {
        Secret::parse(Zeroizing::new(raw.to_vec()))
    }

    #[test]
    fn white_space_and_a_byte_order_mark_around_the_value_go() {
        for raw in [&b"EAAx"[..], b"EAAx\n", b" \tEAAx\r\n", b"\xef\xbb\xbfEAAx\n"] {
            assert_eq!(parse(raw).unwrap().expose(), "EAAx", "{raw:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused_with_its_place() {
        let byte = |what, offset| SecretError::Byte { what, offset };
        let table = [
            (&b""[..], SecretError::Empty { length: 0 }),
            (b" \n", SecretError::Empty { length: 2 }),
            (b"\xef\xbb\xbf", SecretError::Empty { length: 3 }),
            (b" ab\ncd", byte("a line break inside", 3)),
            (b"a\0b", byte("a NUL byte (is it UTF-16?)", 1)),
            (b"\xef\xbb\xbf\xe2\x80\x8bab", byte("a byte that is not ASCII", 3)),
            (b"a\x1bb", byte("a control character", 1)),
        ];
        for (raw, expected) in table {
            assert_eq!(parse(raw).err(), Some(expected), "{raw:?}");
        }
        for raw in [&b"Bearer EAAx"[..], b"OAuth EAAx", b"\"EAAx\"", b"'EAAx'"] {
            assert!(matches!(parse(raw), Err(SecretError::Looks(_))), "{raw:?}");
        }
    }

    #[test]
    fn a_key_in_pem_keeps_its_lines_and_nothing_else_has_any() {
        let take = |raw: &[u8]| Secret::parse_text_or_key(Zeroizing::new(raw.to_vec()));
        let key = "-----BEGIN PRIVATE KEY-----\r\nMIIE\n-----END PRIVATE KEY-----";
        assert_eq!(take(format!("\u{feff}\n{key}\n").as_bytes()).unwrap().expose(), key);
        assert!(take(b"abc\n-----BEGIN PRIVATE KEY-----").is_err());
        assert!(take(b"-----BEGIN PRIVATE KEY-----\n\0").is_err());
        assert_eq!(take(b"abc\n").unwrap().expose(), "abc");
        assert!(parse(key.as_bytes()).is_err(), "where no key is expected, neither");
    }

    #[test]
    fn the_fingerprint_is_twelve_hex_digits_of_a_prefixed_hash() {
        // printf 'keyside:EAATESTTOKEN' | sha256sum
        assert_eq!(parse(b"EAATESTTOKEN").unwrap().fingerprint().to_string(), "db518ff0a98f");
    }

    #[test]
    fn equal_secrets_are_the_same_and_others_are_not() {
        let secret = parse(b"abc").unwrap();
        assert!(secret.same_as(&parse(b"abc\n").unwrap()));
        assert!(!secret.same_as(&parse(b"abd").unwrap()));
        assert!(!secret.same_as(&parse(b"abcd").unwrap()));
    }
}
