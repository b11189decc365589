//! The spellings of a text: finds texts however each letter is written.
//!
//! A letter may stand for itself, or be escaped for JSON (`\u0041`, `\/`), for a URL (`%41`) or for
//! HTML (`&#65;`, `&#x41;`, `&plus;`), or escaped twice, as in a URL inside of JSON. In a form a
//! space is `+`. Base64 has no letter of the text left, and is looked for as texts of its own.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Returns true if a text may have escapes. A text without any needs no more than a search for
/// bytes.
pub fn has_escapes(text: &[u8]) -> bool {
    let [json, url, html] = ESCAPES;
    memchr::memchr3(json, url, html, text).is_some()
}

/// Returns true if a text may spell one of these secrets otherwise than byte by byte.
pub fn may_spell<'s>(text: &[u8], secrets: impl IntoIterator<Item = &'s [u8]>) -> bool {
    let has_space = |secret: &[u8]| secret.contains(&b' ');
    has_escapes(text)
        || (memchr::memchr(SPACE_IN_FORM, text).is_some() && secrets.into_iter().any(has_space))
}

/// Returns start and end of the first secret in a text with escapes. A secret has at least two
/// bytes.
pub fn find_spelled(text: &[u8], secrets: &[&[u8]]) -> Option<(usize, usize)> {
    let beginnings = Beginnings::of(secrets);
    let mut positions = Positions::default();
    let mut at = 0;
    loop {
        at += beginnings.position(text.get(at..)?)?;
        let rest = text.get(at..)?;
        if beginnings.is_spelled_at(rest) {
            let mut lengths = secrets
                .iter()
                .filter_map(|secret| positions.spelled(rest, secret));
            if let Some(length) = lengths.next() {
                return Some((at, at + length));
            }
        }
        // A redaction from the second backslash of a pair on would leave the first alone, and the
        // JSON broken.
        at += if rest.starts_with(br"\\") { 2 } else { 1 };
    }
}

/// The first two bytes of the secrets. A look at two bytes passes over most of a text, however many
/// secrets there are.
struct Beginnings {
    firsts: ByteSet,
    seconds: ByteSet,
}

impl Beginnings {
    fn of(secrets: &[&[u8]]) -> Self {
        let at =
            |index: usize| ByteSet::of(secrets.iter().filter_map(move |secret| secret.get(index)));
        Self {
            firsts: at(0),
            seconds: at(1),
        }
    }

    /// Returns the first position at which a secret could begin: with its own bytes, or with an
    /// escape.
    fn position(&self, text: &[u8]) -> Option<usize> {
        text.windows(2).position(|pair| match pair {
            [first, second] => {
                let is_next = || self.seconds.has(*second) || is_sign(*second);
                ESCAPES.contains(first) || (self.firsts.has(*first) && is_next())
            }
            _ => false,
        })
    }

    /// True if the beginning of a text spells the first byte of a secret.
    fn is_spelled_at(&self, text: &[u8]) -> bool {
        spellings(text).any(|(byte, _)| self.firsts.has(byte))
    }
}

/// A set of bytes.
struct ByteSet([bool; 256]);

impl ByteSet {
    fn of<'b>(bytes: impl Iterator<Item = &'b u8>) -> Self {
        let mut set = [false; 256];
        for byte in bytes {
            if let Some(has) = set.get_mut(usize::from(*byte)) {
                *has = true;
            }
        }
        Self(set)
    }

    fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte)) == Some(&true)
    }
}

/// Returns the parts of base64 texts that a value alone decides, one for each of the three places
/// that a byte can have in a group, in both alphabets. What stands around the value decides the
/// letters at both ends, which are left out.
pub fn base64_needles(value: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let mut needles: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    for (before, undecided) in [(0, 0), (1, 2), (2, 3)] {
        let mut padded = Zeroizing::new(vec![0; before]);
        padded.extend_from_slice(value);
        let decided = padded.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = Zeroizing::new(engine.encode(&*padded));
            let needle = text.as_bytes().get(undecided..decided).unwrap_or_default();
            if !needles.iter().any(|known| known.as_slice() == needle) {
                needles.push(Zeroizing::new(needle.to_vec()));
            }
        }
    }
    needles
}

/// The positions up to which a text may spell a part of a secret: several where a character of the
/// secret is itself the begin of an escape. Buffers for many searches.
#[derive(Default)]
struct Positions {
    now: Vec<usize>,
    next: Vec<usize>,
}

impl Positions {
    /// Returns the length of the spelling of a secret at the beginning of a text.
    fn spelled(&mut self, text: &[u8], secret: &[u8]) -> Option<usize> {
        // A byte that begins no escape has a single spelling: the end of most searches.
        let is_plain = |(written, byte): &(&u8, &u8)| written == byte && !is_sign(**written);
        let plain = text.iter().zip(secret).take_while(is_plain).count();
        let rest = secret.get(plain..).unwrap_or_default();
        if !rest.is_empty() && text.get(plain).is_none_or(|byte| !is_sign(*byte)) {
            return None;
        }
        self.now.clear();
        self.now.push(plain);
        for byte in rest {
            self.next.clear();
            for at in &self.now {
                let rest = text.get(*at..).unwrap_or_default();
                let spelled = spellings(rest).filter(|(decoded, _)| decoded == byte);
                self.next.extend(spelled.map(|(_, length)| at + length));
            }
            if self.next.len() > 1 {
                self.next.sort_unstable();
                self.next.dedup();
            }
            std::mem::swap(&mut self.now, &mut self.next);
            if self.now.is_empty() {
                return None;
            }
        }
        self.now.last().copied()
    }
}

/// Returns the characters that the beginning of a text may stand for, each with the length of the
/// spelling: the first byte, the character of an escape at the beginning, and the character of an
/// escape with an escaped begin.
fn spellings(text: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let plain = text.first().map(|byte| (*byte, 1));
    let decode = |(begin, length): &(u8, usize)| {
        let rest = text.get(*length..)?;
        let (decoded, more) = match begin {
            b'%' => (hex(rest, 2)?, 2),
            b'\\' => backslash(rest)?,
            b'&' => entity(rest)?,
            b'+' => (b' ', 0),
            _ => return None,
        };
        Some((decoded, length + more))
    };
    std::iter::successors(plain, decode).take(MAX_NESTING)
}

/// Reads an escape of JSON or JavaScript behind the backslash: the character, and the length.
fn backslash(text: &[u8]) -> Option<(u8, usize)> {
    let rest = text.get(1..)?;
    Some(match text.first()? {
        b'u' => (hex(rest, 4)?, 5),
        b'x' => (hex(rest, 2)?, 3),
        b'n' => (b'\n', 1),
        b'r' => (b'\r', 1),
        b't' => (b'\t', 1),
        other @ (b'/' | b'\\' | b'"' | b'\'') => (*other, 1),
        _ => return None,
    })
}

/// Reads an entity of HTML behind the ampersand: the character, and the length.
fn entity(text: &[u8]) -> Option<(u8, usize)> {
    let Some(number) = text.strip_prefix(b"#") else {
        let end = text.iter().take(MAX_NAME).position(|byte| *byte == b';')?;
        let name = text.get(..end)?;
        let (_, byte) = ENTITIES.iter().find(|(known, _)| *known == name)?;
        return Some((*byte, end + 1));
    };
    let hex = number.strip_prefix(b"x").or(number.strip_prefix(b"X"));
    let (digits, radix) = hex.map_or((number, 10), |hex| (hex, 16));
    let is_digit = |byte: &u8| char::from(*byte).is_digit(radix);
    let count = digits
        .iter()
        .take(MAX_DIGITS)
        .take_while(|byte| is_digit(byte))
        .count();
    let byte = number_of(digits.get(..count)?, radix)?;
    // Browsers read a number without the semicolon as well.
    let semicolon = usize::from(digits.get(count) == Some(&b';'));
    let begin = text.len() - digits.len();
    Some((byte, begin + count + semicolon))
}

/// Reads exactly `count` hex digits at the beginning of a text.
fn hex(text: &[u8], count: usize) -> Option<u8> {
    let digits = text.get(..count)?;
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    is_hex.then(|| number_of(digits, 16))?
}

fn number_of(digits: &[u8], radix: u32) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(digits, radix).ok()
}

/// True for a byte that may stand for another: the begin of an escape, or the space of a form.
fn is_sign(byte: u8) -> bool {
    ESCAPES.contains(&byte) || byte == SPACE_IN_FORM
}

/// The space in `application/x-www-form-urlencoded`.
const SPACE_IN_FORM: u8 = b'+';
/// The bytes with which an escape begins: for JSON, for a URL, for HTML.
const ESCAPES: [u8; 3] = *b"\\%&";
/// The number of spellings of one beginning: the byte itself, an escape, and escapes inside of
/// escapes.
const MAX_NESTING: usize = 4;
/// The longest name of an entity in [`ENTITIES`], with its semicolon, in bytes.
const MAX_NAME: usize = 9;
/// The largest number of digits of a numeric entity: leading zeros have no end, but no library
/// writes more.
const MAX_DIGITS: usize = 8;
/// The entities of the visible characters of ASCII:
/// <https://html.spec.whatwg.org/multipage/named-characters.html>.
const ENTITIES: [(&[u8], u8); 43] = [
    (b"amp", b'&'),
    (b"AMP", b'&'),
    (b"lt", b'<'),
    (b"LT", b'<'),
    (b"gt", b'>'),
    (b"GT", b'>'),
    (b"quot", b'"'),
    (b"QUOT", b'"'),
    (b"apos", b'\''),
    (b"plus", b'+'),
    (b"sol", b'/'),
    (b"bsol", b'\\'),
    (b"equals", b'='),
    (b"period", b'.'),
    (b"comma", b','),
    (b"colon", b':'),
    (b"semi", b';'),
    (b"lowbar", b'_'),
    (b"UnderBar", b'_'),
    (b"percnt", b'%'),
    (b"num", b'#'),
    (b"excl", b'!'),
    (b"quest", b'?'),
    (b"dollar", b'$'),
    (b"commat", b'@'),
    (b"ast", b'*'),
    (b"midast", b'*'),
    (b"lpar", b'('),
    (b"rpar", b')'),
    (b"lsqb", b'['),
    (b"lbrack", b'['),
    (b"rsqb", b']'),
    (b"rbrack", b']'),
    (b"lcub", b'{'),
    (b"lbrace", b'{'),
    (b"rcub", b'}'),
    (b"rbrace", b'}'),
    (b"Hat", b'^'),
    (b"grave", b'`'),
    (b"verbar", b'|'),
    (b"vert", b'|'),
    (b"Tab", b'\t'),
    (b"NewLine", b'\n'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_holds_one_of_the_needles_at_every_place() {
        for value in ["EAAG/m0+PX4_ZCpsBA==", "~?>~?>~?>~?>"] {
            let needles = base64_needles(value.as_bytes());
            for before in 0..7 {
                for after in 0..4 {
                    let text = format!("{}{value}{}", "x".repeat(before), "y".repeat(after));
                    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                        let encoded = engine.encode(&text);
                        let is_in = |needle: &Zeroizing<Vec<u8>>| {
                            memchr::memmem::find(encoded.as_bytes(), needle).is_some()
                        };
                        assert!(needles.iter().any(is_in), "{text}");
                    }
                }
            }
        }
    }
}
