//! The redactor removes a live secret from an answer in every spelling, and changes no other bytes.
#![no_main]

use std::collections::HashSet;

use keyside::outbound::redact::redacted;
use keyside::secret::Secret;
use keyside_fuzz::credential;
use libfuzzer_sys::fuzz_target;

const MARK: &str = "[redacted]";

// The first line is the secret, the second line a recipe: each byte chooses the spelling of a
// letter. In the other lines, `\x01` to `\x05` stand for common spellings of the secret, and `\x06`
// for the spelling by the recipe.
fuzz_target!(|data: &str| {
    let Some((secret, rest)) = data.split_once('\n') else {
        return;
    };
    let Some((recipe, template)) = rest.split_once('\n') else {
        return;
    };
    // Brackets could make a secret of the mark and what stands beside it. A byte order mark is no
    // part of a secret.
    if secret.contains(['[', ']']) || !secret.is_ascii() || template.contains(MARK) {
        return;
    }
    let Ok(parsed) = Secret::parse(secret.as_bytes().to_vec().into()) else {
        return;
    };
    let secret = secret.trim_ascii();
    let mut text = template.to_owned();
    let mut forms = forms(secret).to_vec();
    forms.push(spelled(secret, recipe));
    for (sign, form) in ('\x01'..='\x06').zip(&forms) {
        text = text.replace(sign, form);
    }
    let credential = credential("meta", parsed);
    // A text that plainly is no secret has no place in a credential. A verify token may look like
    // anything else.
    if credential.current("verify_token").is_none() {
        return;
    }
    let clean = redacted(text.as_bytes(), &credential);
    if secret.len() < 12 {
        assert_eq!(
            *clean,
            *text.as_bytes(),
            "short secrets are words of the language"
        );
        return;
    }
    let clean = std::str::from_utf8(&clean).expect("ASCII was taken out of UTF-8");
    for form in &forms {
        assert!(
            !clean.contains(form.as_str()),
            "{form:?} stays in {clean:?}"
        );
    }
    assert!(
        is_text_without_secrets(text.as_bytes(), clean.as_bytes(), secret.as_bytes()),
        "{text:?} became {clean:?}"
    );
});

/// Common spellings: plain, percent-encoded with either case, as JSON with and without escaped
/// slashes.
fn forms(secret: &str) -> [String; 5] {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let encode = |c: char, upper: bool| match (is_plain(c), upper) {
        (true, _) => c.to_string(),
        (false, true) => format!("%{:02X}", u32::from(c)),
        (false, false) => format!("%{:02x}", u32::from(c)),
    };
    let json = serde_json::to_string(secret).unwrap();
    let json = json[1..json.len() - 1].to_owned();
    [
        secret.to_owned(),
        secret.chars().map(|c| encode(c, true)).collect(),
        secret.chars().map(|c| encode(c, false)).collect(),
        json.replace('/', r"\/"),
        json,
    ]
}

/// The secret with each letter spelled as the recipe says.
fn spelled(secret: &str, recipe: &str) -> String {
    let choices = recipe.bytes().chain(std::iter::repeat(b'0'));
    let letters = secret.chars().zip(choices);
    letters
        .map(|(c, choice)| {
            let number = u32::from(c);
            match choice {
                b'1' => format!("\\u{number:04x}"),
                b'2' => format!("\\u{number:04X}"),
                b'3' => format!("%{number:02x}"),
                b'4' => format!("%25{number:02X}"),
                b'5' => format!("&#{number};"),
                b'6' => format!("&#x{number:x};"),
                b'7' => format!("\\x{number:02x}"),
                _ => c.to_string(),
            }
        })
        .collect()
}

/// True if `clean` is `text` with spellings of the secret replaced by the mark.
fn is_text_without_secrets(text: &[u8], clean: &[u8], secret: &[u8]) -> bool {
    let Some(at) = clean
        .windows(MARK.len())
        .position(|window| window == MARK.as_bytes())
    else {
        return text == clean;
    };
    if text.get(..at) != clean.get(..at) {
        return false;
    }
    let rest = &clean[at + MARK.len()..];
    let mut ends: Vec<_> = ends(text, at, secret).into_iter().collect();
    ends.sort_unstable();
    ends.into_iter()
        .rev()
        .any(|end| is_text_without_secrets(&text[end..], rest, secret))
}

/// Every position up to which the text spells the secret from `start` on.
fn ends(text: &[u8], start: usize, secret: &[u8]) -> HashSet<usize> {
    let mut positions = HashSet::from([start]);
    for letter in secret {
        let mut next = HashSet::new();
        for at in positions {
            next.extend((at + 1..=text.len().min(at + MAX_SPELLING)).filter(|end| {
                let written = &text[at..*end];
                written == [*letter] || decodes_to(written, *letter, 3)
            }));
        }
        positions = next;
    }
    positions
}

/// True if `written` decodes to the letter in at most `depth` steps, each of which decodes the
/// first escape.
fn decodes_to(written: &[u8], letter: u8, depth: usize) -> bool {
    let text = String::from_utf8_lossy(written).into_owned();
    (1..=text.len())
        .filter_map(|length| Some((one_escape(text.get(..length)?)?, text.get(length..)?)))
        .any(|(decoded, rest)| {
            (rest.is_empty() && decoded == letter)
                || (depth > 1
                    && decodes_to(
                        &[&[decoded][..], rest.as_bytes()].concat(),
                        letter,
                        depth - 1,
                    ))
        })
}

/// The letter of a text that is one whole escape.
fn one_escape(text: &str) -> Option<u8> {
    let number = |digits: &str, radix| {
        let is_number = digits.chars().all(|digit| digit.is_digit(radix));
        is_number.then(|| u8::from_str_radix(digits, radix).ok())?
    };
    if let Some(hex) = text.strip_prefix('%').or(text.strip_prefix("\\x")) {
        return number(hex, 16).filter(|_| hex.len() == 2);
    }
    if let Some(hex) = text.strip_prefix("\\u") {
        return number(hex, 16).filter(|_| hex.len() == 4);
    }
    if let Some(numeric) = text.strip_prefix("&#") {
        let digits = numeric.strip_suffix(';').unwrap_or(numeric);
        return match digits.strip_prefix(['x', 'X']) {
            Some(hex) => number(hex, 16),
            None => number(digits, 10),
        };
    }
    let named = [
        ("\\n", b'\n'),
        ("\\r", b'\r'),
        ("\\t", b'\t'),
        ("\\/", b'/'),
        ("\\\\", b'\\'),
        ("\\\"", b'"'),
        ("\\'", b'\''),
        ("&amp;", b'&'),
        ("&AMP;", b'&'),
        ("&lt;", b'<'),
        ("&LT;", b'<'),
        ("&gt;", b'>'),
        ("&GT;", b'>'),
        ("&quot;", b'"'),
        ("&QUOT;", b'"'),
        ("&apos;", b'\''),
        ("&plus;", b'+'),
        ("&sol;", b'/'),
        ("&bsol;", b'\\'),
        ("&equals;", b'='),
        ("&period;", b'.'),
        ("&comma;", b','),
        ("&colon;", b':'),
        ("&semi;", b';'),
        ("&lowbar;", b'_'),
        ("&UnderBar;", b'_'),
        ("&percnt;", b'%'),
        ("&num;", b'#'),
        ("&excl;", b'!'),
        ("&quest;", b'?'),
        ("&dollar;", b'$'),
        ("&commat;", b'@'),
        ("&ast;", b'*'),
        ("&midast;", b'*'),
        ("&lpar;", b'('),
        ("&rpar;", b')'),
        ("&lcub;", b'{'),
        ("&lbrace;", b'{'),
        ("&rcub;", b'}'),
        ("&rbrace;", b'}'),
        ("&Hat;", b'^'),
        ("&grave;", b'`'),
        ("&verbar;", b'|'),
        ("&vert;", b'|'),
        ("&lsqb;", b'['),
        ("&lbrack;", b'['),
        ("&rsqb;", b']'),
        ("&rbrack;", b']'),
        ("&Tab;", b'\t'),
        ("&NewLine;", b'\n'),
    ];
    named
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, letter)| *letter)
}

/// The longest spelling of a letter that the model knows, in bytes.
const MAX_SPELLING: usize = 24;
