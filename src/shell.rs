//! Words of commands that users copy into a shell.

use std::borrow::Cow;

/// Returns a word for a shell, in quotation marks where the word needs them.
#[must_use]
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/_.-:@%+=,".contains(c);
    // Within a word, the sign is no beginning of a comment.
    let is_plain_inside = |(at, c): (usize, char)| is_plain(c) || (c == '#' && at > 0);
    if !word.is_empty() && word.char_indices().all(is_plain_inside) {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_as_itself_in_a_shell() {
        for (word, expected) in [
            ("acme.app_secret", "acme.app_secret"),
            ("vault:secret/acme#token", "vault:secret/acme#token"),
            ("file:/run/my secrets/token", "'file:/run/my secrets/token'"),
            ("it's", r"'it'\''s'"),
            ("#token", "'#token'"),
            ("$(id)", "'$(id)'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), expected, "{word}");
            let said = std::process::Command::new("/bin/sh")
                .args(["-c", &format!("printf %s {}", shell_word(word))])
                .output()
                .unwrap();
            assert_eq!(said.stdout, word.as_bytes(), "{word}");
        }
    }
}
