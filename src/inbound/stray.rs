//! The path of a request without a webhook, or of a foreign webhook, as it may be shown.

use crate::log::without_numbers;

/// Returns a path for people: enough to see a misspelled callback URL, and no secret of a URL.
/// Numbers and random-looking segments are masked, and the length is bounded. `known` are the
/// segments of configured paths.
#[must_use]
pub fn shown_path(path: &str, known: &[&str]) -> String {
    masked(path, known, looks_random)
}

/// Returns a path as [`shown_path`] does, where a path may hold a token, which may be a word: every
/// segment that is not `known` is masked.
pub(super) fn shown_path_with_token(path: &str, known: &[&str]) -> String {
    masked(path, known, |segment| !segment.is_empty())
}

fn masked(path: &str, known: &[&str], is_secret: impl Fn(&str) -> bool) -> String {
    let mut shown = String::new();
    for segment in path.split('/').skip(1) {
        shown.push('/');
        if known.contains(&segment) {
            shown.push_str(segment);
        } else if is_secret(segment) {
            shown.push_str(MASKED);
        } else {
            shown.push_str(&without_numbers(segment));
        }
        if shown.len() > MAX_SHOWN {
            shown.push_str("/...");
            break;
        }
    }
    shown
}

/// Returns true for a segment that could be a secret: a long segment, digits in several places, or
/// bytes foreign to plain paths.
fn looks_random(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let runs = segment
        .as_bytes()
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .filter(|run| run.first().is_some_and(u8::is_ascii_digit))
        .count();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+%".contains(&byte);
    let is_number = digits == segment.len();
    segment.len() > MAX_SEGMENT
        || !segment.bytes().all(is_plain)
        || runs > MAX_RUNS
        || (digits > MAX_DIGITS && !is_number)
}

/// The sign in the place of a masked segment.
const MASKED: &str = "***";
/// The bound on a shown path, in bytes, apart from its last segment: four segments of the longest
/// kind, and one line of a log.
const MAX_SHOWN: usize = 100;
/// The length of the longest segment that is shown: "whatsapp-notifications" has 22.
const MAX_SEGMENT: usize = 24;
/// The most digits of a shown segment that is no number, as in "v23.0" and "hook-2025".
const MAX_DIGITS: usize = 4;

/// The most places of a shown segment with digits, as in "v23.0".
const MAX_RUNS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_without_what_could_be_secret() {
        let long = format!("/{}", "abc/".repeat(100));
        let table = [
            ("/", "/"),
            ("/webhook/whatsapp", "/webhook/whatsapp"),
            ("/hooks/a+b%20c", "/hooks/a+b%20c"),
            ("/v23.0/1065403522429220/x", "/v23.0/...9220/x"),
            ("/hook/k3J9x0Pq7", "/hook/***"),
            ("/hook/aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "/hook/***"),
            ("/x;y=1/<script>", "/***/***"),
            (
                "/known-1234567890abcdefghijklmnop/a",
                "/known-1234567890abcdefghijklmnop/a",
            ),
        ];
        for (path, expected) in table {
            let known = ["known-1234567890abcdefghijklmnop"];
            assert_eq!(shown_path(path, &known), expected, "{path}");
        }
        assert!(shown_path(&long, &[]).len() < 150);
        let shown = shown_path_with_token("/hook/word/hooks", &["hooks"]);
        assert_eq!(shown, "/***/***/hooks", "a word may be a token");
    }
}
