//! The first line that a failed program wrote to standard error, without what could be a secret.

/// Returns the first line with text: without control characters, of bounded length, and masked
/// where the line has words that look like keys or tokens, or that are words of the secrets that
/// the program has printed or was given.
pub(super) fn first_line(stderr: &[u8], secrets: [&[u8]; 2]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let mut line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())?
        .to_owned();
    for secret in secrets.map(String::from_utf8_lossy) {
        let words = secret.split_whitespace();
        for word in words.filter(|word| word.len() >= MIN_PRINTED) {
            line = line.replace(word, MASK);
        }
    }
    let plain: String = line.chars().filter(|c| !c.is_control()).collect();
    let masked = mask_keys(&plain);
    let shown: String = masked.chars().take(MAX_SHOWN).collect();
    Some(if shown.len() < masked.len() {
        shown + "..."
    } else {
        shown
    })
}

/// Replaces the words that look like keys or tokens.
fn mask_keys(line: &str) -> String {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '=');
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_inner(c) != is_inner(first));
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        masked += if looks_secret(word) { MASK } else { word };
        rest = after;
    }
    masked
}

/// True for a token of Meta, and for a long word of letters and digits. No word of a language looks
/// so.
fn looks_secret(word: &str) -> bool {
    let has = |is_kind: fn(&u8) -> bool| word.bytes().any(|byte| is_kind(&byte));
    word.starts_with("EAA")
        || word.contains("=EAA")
        || (word.len() >= MIN_KEY && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic))
}

/// The text in the place of a masked word.
const MASK: &str = "[redacted]";
/// The shortest word of the output that is masked: shorter ones are in many messages by chance.
const MIN_PRINTED: usize = 6;
/// The shortest word that may be a key. Names of hosts and files have dots and slashes between
/// shorter words.
const MIN_KEY: usize = 16;
/// The characters of the line that are shown: two lines of a terminal.
const MAX_SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_bounded_and_has_no_secret_and_no_control_character() {
        for (stderr, stdout, expected) in [
            (&b""[..], &b""[..], None),
            (b" \n\n", b"", None),
            (
                b"\nno login: run `aws sso login`\nmore",
                b"",
                Some("no login: run `aws sso login`"),
            ),
            (b"\x1b[31mred\x07\x1b[0m", b"", Some("[31mred[0m")),
            (
                b"bad token EAAGm0PX4 for app",
                b"",
                Some("bad token [redacted] for app"),
            ),
            (b"TOKEN=EAAGm0PX4", b"", Some("[redacted]")),
            (
                b"key d41d8cd98f00b204e9800998ecf8427e!",
                b"",
                Some("key [redacted]!"),
            ),
            (
                b"cannot use hunter2 twice",
                b"hunter2\n",
                Some("cannot use [redacted] twice"),
            ),
            (
                b"vault.example.com: /run/secrets/acme/token: permission denied",
                b"",
                Some("vault.example.com: /run/secrets/acme/token: permission denied"),
            ),
            (b"\xff\xfe", b"", Some("\u{fffd}\u{fffd}")),
        ] {
            for secrets in [[stdout, b""], [b"", stdout]] {
                let line = first_line(stderr, secrets);
                assert_eq!(line.as_deref(), expected, "{stderr:?}");
            }
        }
        let long = first_line("ab ".repeat(400).as_bytes(), [b"", b""]).unwrap();
        assert_eq!(long.len(), MAX_SHOWN + 3);
    }
}
