//! The spellings of a text: finds texts however each letter is written.
//!
//! A letter may stand for itself, or be escaped for JSON (`\u0041`, `\/`), for a URL (`%41`) or for HTML (`&#65;`,
//! `&#x41;`, `&plus;`), or escaped twice, as in a URL inside of JSON.

/// Returns true if a text may have escapes. A text without any needs no more than a search for bytes.
pub fn has_escapes(text: &[u8]) -> bool {
    let [json, url, html] = ESCAPES;
    memchr::memchr3(json, url, html, text).is_some()
}

/// Returns start and end of the first secret in a text with escapes.
pub fn find_spelled(text: &[u8], secrets: &[&[u8]]) -> Option<(usize, usize)> {
    let mut may_begin = [false; 256];
    let firsts = secrets.iter().filter_map(|secret| secret.first());
    for byte in firsts.chain(&ESCAPES) {
        if let Some(may_begin) = may_begin.get_mut(usize::from(*byte)) {
            *may_begin = true;
        }
    }
    let mut positions = Positions::default();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let begins = |byte: &u8| may_begin.get(usize::from(*byte)) == Some(&true);
        at += rest.iter().position(begins)?;
        let rest = text.get(at..)?;
        let mut lengths = secrets
            .iter()
            .filter_map(|secret| positions.spelled(rest, secret));
        if let Some(length) = lengths.next() {
            return Some((at, at + length));
        }
        // A redaction from the second backslash of a pair on would leave the first alone, and the JSON broken.
        at += if rest.starts_with(br"\\") { 2 } else { 1 };
    }
    None
}

/// The positions up to which a text may spell a part of a secret: several where a character of the secret is itself the
/// begin of an escape. Buffers for many searches.
#[derive(Default)]
struct Positions {
    now: Vec<usize>,
    next: Vec<usize>,
}

impl Positions {
    /// Returns the length of the spelling of a secret at the beginning of a text.
    fn spelled(&mut self, text: &[u8], secret: &[u8]) -> Option<usize> {
        // A byte that begins no escape spells itself alone, which is the end of most searches.
        let is_plain = |(written, byte): &(&u8, &u8)| written == byte && !ESCAPES.contains(written);
        let plain = text.iter().zip(secret).take_while(is_plain).count();
        let rest = secret.get(plain..).unwrap_or_default();
        if !rest.is_empty() && text.get(plain).is_none_or(|byte| !ESCAPES.contains(byte)) {
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

/// Returns the characters that the beginning of a text may stand for, each with the length of its spelling: the first
/// byte itself, the character of the escape that begins there, and the character of an escape whose begin is escaped.
fn spellings(text: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    let plain = text.first().map(|byte| (*byte, 1));
    let decode = |(begin, length): &(u8, usize)| {
        let rest = text.get(*length..)?;
        let (decoded, more) = match begin {
            b'%' => (hex(rest, 2)?, 2),
            b'\\' => backslash(rest)?,
            b'&' => entity(rest)?,
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

/// The bytes with which an escape begins: for JSON, for a URL, for HTML.
const ESCAPES: [u8; 3] = *b"\\%&";
/// The number of spellings of one beginning: the byte itself, an escape, and escapes inside of escapes.
const MAX_NESTING: usize = 4;
/// The longest name of an entity with its semicolon.
const MAX_NAME: usize = 9;
/// The largest number of digits of a numeric entity: leading zeros have no end, but no library writes more.
const MAX_DIGITS: usize = 8;
/// The entities of the visible characters of ASCII: <https://html.spec.whatwg.org/multipage/named-characters.html>.
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
