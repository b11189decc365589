//! A secret value in memory: wiped when dropped, never printed, copied where used.

use std::fmt;
use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret value: at least one byte of visible ASCII or spaces. A PEM key (RFC 7468) also has line
/// breaks.
///
/// There is no `Debug`, `Display`, `Clone` or `PartialEq`: output shows the [`Fingerprint`], and
/// comparisons use [`Secret::same_as`].
pub struct Secret {
    value: Zeroizing<String>,
    fingerprint: Fingerprint,
}

impl Secret {
    /// Parses the bytes of a source. White space at both ends and a byte order mark are dropped.
    ///
    /// # Errors
    /// Bytes unfit for a header value, or an obvious mistake such as quotation marks. The error
    /// tells the fault and its place, never the value.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the bytes are wiped when this returns"
    )]
    pub fn parse(raw: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        Self::take(&raw, |b| matches!(b, b' '..=b'~'))
    }

    /// Parses the bytes of a source like [`Secret::parse`], and keeps the line breaks of a PEM key.
    /// A PEM key must never become a header value; the caller is responsible.
    ///
    /// # Errors
    /// The errors of [`Secret::parse`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the bytes are wiped when this returns"
    )]
    pub fn parse_text_or_pem(raw: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        let is_key = raw
            .strip_prefix(BYTE_ORDER_MARK)
            .unwrap_or(&raw)
            .trim_ascii_start()
            .starts_with(PEM);
        Self::take(&raw, |b| {
            matches!(b, b' '..=b'~') || (is_key && matches!(b, b'\r' | b'\n'))
        })
    }

    fn take(raw: &[u8], is_allowed: impl Fn(u8) -> bool) -> Result<Self, SecretError> {
        let unmarked = raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw);
        let left_trimmed = unmarked.trim_ascii_start();
        let text = left_trimmed.trim_ascii_end();
        if text.is_empty() {
            return Err(SecretError::Empty { length: raw.len() });
        }
        if let Some(at) = text.iter().position(|byte| !is_allowed(*byte)) {
            let what = match text.get(at) {
                Some(b'\n' | b'\r') => {
                    return Err(SecretError::Lines {
                        offset: raw.len() - left_trimmed.len() + at,
                        hint: hint_of_lines(text),
                    });
                }
                Some(0) => "a NUL byte (is it UTF-16?)",
                Some(0x80..) => "a byte that is not ASCII",
                _ => "a control character",
            };
            return Err(SecretError::Byte {
                what,
                offset: raw.len() - left_trimmed.len() + at,
            });
        }
        if text.starts_with(b"Bearer ") || text.starts_with(b"OAuth ") {
            return Err(SecretError::Looks(
                "it begins with an authorization scheme; put only the token there",
            ));
        }
        if text.starts_with(b"\"") || text.starts_with(b"'") {
            return Err(SecretError::Looks(
                "it begins with a quotation mark; put the value there without quotes",
            ));
        }
        let value = match std::str::from_utf8(text) {
            Ok(text) => Zeroizing::new(text.to_owned()),
            Err(_) => return Err(SecretError::Looks("it is not text")),
        };
        let fingerprint = Fingerprint::of(&value);
        Ok(Self { value, fingerprint })
    }

    /// Returns the value. Each call needs a lint expectation with the reason for the call.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Returns the fingerprint, the only form of a secret in logs and output. Until the secret is
    /// known to be a random key, the keyed form is shown.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns true if both values are equal, in constant time for values of one length.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.value.as_bytes().ct_eq(other.value.as_bytes()).into()
    }
}

/// Returns what to do about a text of several lines that has the look of several values.
fn hint_of_lines(text: &[u8]) -> Option<&'static str> {
    if text.starts_with(b"{") {
        return Some("it is a JSON object; where the source allows #FIELD, name one of its fields");
    }
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_ ".contains(byte);
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let is_assignment = |line: &[u8]| match line.iter().position(|byte| *byte == b'=') {
        None | Some(0) => false,
        Some(at) => line.get(..at).is_some_and(|name| name.iter().all(is_word)),
    };
    let mut assignments = 0;
    let are_several = lines.all(|line| {
        let assigns = is_assignment(line);
        assignments += usize::from(assigns);
        assigns || line.is_empty() || line.starts_with(b"#")
    });
    (are_several && assignments > 0)
        .then_some("it has lines NAME=value; of a file, name one of them with #NAME")
}

/// Returns true if a source's bytes begin with a byte order mark, which [`Secret::parse`] drops.
#[must_use]
pub fn has_byte_order_mark(raw: &[u8]) -> bool {
    raw.starts_with(BYTE_ORDER_MARK)
}

/// The identity of a secret, and the only visible form of a secret.
///
/// Of a key that a provider made at random, the first 12 hex digits of SHA-256 over `keyside:` and
/// the secret are shown, equal in every process. A value that a person may have chosen would fall
/// to a dictionary: of such a value, a hash under a key of this process is shown, such as
/// `keyed:0123456789ab`.
#[derive(Clone, Copy)]
pub struct Fingerprint {
    plain: [u8; 6],
    keyed: [u8; 6],
    is_of_random_key: bool,
}

impl Fingerprint {
    fn of(value: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(b"keyside:")
            .chain_update(value)
            .finalize();
        // HMAC takes a key of any length: the error cannot happen.
        let keyed = Hmac::<Sha256>::new_from_slice(PROCESS_KEY.as_slice())
            .map(|mac| mac.chain_update(value).finalize().into_bytes())
            .unwrap_or_default();
        Self {
            plain: first_bytes(&digest),
            keyed: first_bytes(&keyed),
            is_of_random_key: false,
        }
    }

    /// Returns the fingerprint of a secret that its provider made at random.
    #[must_use]
    pub fn of_random_key(self) -> Self {
        Self {
            is_of_random_key: true,
            ..self
        }
    }
}

fn first_bytes(digest: &[u8]) -> [u8; 6] {
    digest.first_chunk().copied().unwrap_or_default()
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.plain == other.plain
    }
}

impl Eq for Fingerprint {}

impl std::hash::Hash for Fingerprint {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.plain.hash(state);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_of_random_key {
            HEXLOWER.encode_display(&self.plain).fmt(f)
        } else {
            write!(f, "keyed:{}", HEXLOWER.encode_display(&self.keyed))
        }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key for fingerprints of values that a person may have chosen: random, and gone with the
/// process.
static PROCESS_KEY: LazyLock<Zeroizing<[u8; 32]>> = LazyLock::new(|| {
    let mut key = Zeroizing::new([0; 32]);
    // Without random bytes from the kernel, no TLS connection and no other part of Keyside works
    // either.
    aws_lc_rs::rand::fill(&mut *key).ok();
    key
});

/// The reason for refusing the bytes of a source as a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// No bytes, or white space only.
    Empty {
        /// The number of bytes.
        length: usize,
    },
    /// A byte outside visible ASCII.
    Byte {
        /// The kind of byte.
        what: &'static str,
        /// The position, counted from 0.
        offset: usize,
    },
    /// A line break before the end.
    Lines {
        /// The position, counted from 0.
        offset: usize,
        /// The advice, if the lines have the look of several values.
        hint: Option<&'static str>,
    },
    /// An obvious mistake, with advice.
    Looks(&'static str),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { length } => write!(f, "no value ({length} bytes)"),
            Self::Byte { what, offset } => write!(f, "{what} at byte {offset}"),
            Self::Lines { offset, hint } => {
                write!(f, "a line break inside at byte {offset}")?;
                hint.map_or(Ok(()), |hint| write!(f, ": {hint}"))
            }
            Self::Looks(hint) => f.write_str(hint),
        }
    }
}

impl std::error::Error for SecretError {}

/// The first bytes of every PEM key.
const PEM: &[u8] = b"-----BEGIN ";
/// The UTF-8 byte order mark, written by some Windows editors.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "the tests look at the values they made"
)]
mod tests {
    use super::*;

    fn parse(raw: &[u8]) -> Result<Secret, SecretError> {
        Secret::parse(Zeroizing::new(raw.to_vec()))
    }

    #[test]
    fn white_space_and_a_byte_order_mark_around_the_value_are_dropped() {
        for raw in [
            &b"EAAx"[..],
            b"EAAx\n",
            b" \tEAAx\r\n",
            b"\xef\xbb\xbfEAAx\n",
        ] {
            assert_eq!(parse(raw).unwrap().expose(), "EAAx", "{raw:?}");
        }
    }

    #[test]
    fn bytes_unfit_for_a_secret_are_refused_with_their_position() {
        let byte = |what, offset| SecretError::Byte { what, offset };
        let lines = |offset, hint| SecretError::Lines { offset, hint };
        let table = [
            (&b""[..], SecretError::Empty { length: 0 }),
            (b" \n", SecretError::Empty { length: 2 }),
            (b"\xef\xbb\xbf", SecretError::Empty { length: 3 }),
            (b" ab\ncd", lines(3, None)),
            (b"ab\rcd", lines(2, None)),
            (
                b" {\n\"token\": \"EAAx\"\n}\n",
                lines(
                    2,
                    Some(
                        "it is a JSON object; where the source allows #FIELD, name one of its fields",
                    ),
                ),
            ),
            (
                b"# of acme\nexport TOKEN=EAAx\r\n\nAPP_SECRET = \"s\"\n",
                lines(
                    9,
                    Some("it has lines NAME=value; of a file, name one of them with #NAME"),
                ),
            ),
            (b"EAAx\nAPP_SECRET=s", lines(4, None)),
            (b"# a\n# b", lines(3, None)),
            (b"a\0b", byte("a NUL byte (is it UTF-16?)", 1)),
            (
                b"\xef\xbb\xbf\xe2\x80\x8bab",
                byte("a byte that is not ASCII", 3),
            ),
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
    fn only_a_pem_key_may_have_line_breaks() {
        let take = |raw: &[u8]| Secret::parse_text_or_pem(Zeroizing::new(raw.to_vec()));
        let key = "-----BEGIN PRIVATE KEY-----\r\nMIIE\n-----END PRIVATE KEY-----";
        assert_eq!(
            take(format!("\u{feff}\n{key}\n").as_bytes())
                .unwrap()
                .expose(),
            key
        );
        assert!(take(b"abc\n-----BEGIN PRIVATE KEY-----").is_err());
        assert!(take(b"-----BEGIN PRIVATE KEY-----\n\0").is_err());
        assert_eq!(take(b"abc\n").unwrap().expose(), "abc");
        assert!(
            parse(key.as_bytes()).is_err(),
            "Secret::parse must refuse a PEM key"
        );
    }

    #[test]
    fn the_fingerprint_of_a_random_key_is_twelve_hex_digits_of_a_prefixed_hash() {
        // printf 'keyside:EAATESTTOKEN' | sha256sum
        let fingerprint = parse(b"EAATESTTOKEN").unwrap().fingerprint();
        assert_eq!(fingerprint.of_random_key().to_string(), "db518ff0a98f");
    }

    #[test]
    fn the_fingerprint_of_any_other_value_is_keyed() {
        let shown = |value: &[u8]| parse(value).unwrap().fingerprint().to_string();
        let one = shown(b"EAATESTTOKEN");
        let digits = one.strip_prefix("keyed:").unwrap();
        assert!(digits.len() == 12 && digits != "db518ff0a98f", "{one}");
        assert_eq!(one, shown(b"EAATESTTOKEN"));
        assert_ne!(one, shown(b"EAATESTTOKEM"));
    }

    #[test]
    fn equal_secrets_are_the_same_and_others_are_not() {
        let secret = parse(b"abc").unwrap();
        assert!(secret.same_as(&parse(b"abc\n").unwrap()));
        assert!(!secret.same_as(&parse(b"abd").unwrap()));
        assert!(!secret.same_as(&parse(b"abcd").unwrap()));
    }
}
