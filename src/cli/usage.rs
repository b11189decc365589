//! Messages about wrong usage. A stray argument may be a secret, pasted at the wrong place: no
//! message repeats one.

use clap::Error;
use clap::error::{ContextKind, ContextValue};

/// Removes everything from an error of usage that is neither an option nor a command by its form.
pub(super) fn without_stray_argument(mut error: Error) -> Error {
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidSubcommand] {
        let is_stray = matches!(
            error.get(kind),
            Some(ContextValue::String(word)) if !is_harmless(word)
        );
        if is_stray {
            error.remove(kind);
            // The advice to write `-- WORD` repeats the word.
            error.remove(ContextKind::Suggested);
        }
    }
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => !value.is_empty() && !is_harmless(value),
        _ => false,
    };
    if value {
        let stand_in = ContextValue::String("(not shown)".to_owned());
        error.insert(ContextKind::InvalidValue, stand_in);
    }
    error
}

/// True for the words of which command lines are made: short, of small letters and hyphens. Options
/// in usage notes, such as `--config <FILE>`, are harmless as well.
fn is_harmless(word: &str) -> bool {
    let name = word.split_once(" <").map_or(word, |(name, _)| name);
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    let optional = name
        .trim_end_matches('.')
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let is_upper = |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_placeholder = name.starts_with('<') && name.ends_with('>')
        || optional.is_some_and(|name| name.len() <= MAX_WORD && is_upper(name));
    is_placeholder || (name.len() <= MAX_WORD && name.bytes().all(is_plain))
}

/// The length of the longest option, with room to spare. Shorter than a secret that a provider
/// made.
const MAX_WORD: usize = 20;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn a_message_repeats_options_and_commands_and_no_other_argument() {
        let token = "EAAGm0PX4ZCpsBAKz";
        for (words, repeated) in [
            (&["keyside", "run", token][..], None),
            (&["keyside", token], None),
            (&["keyside", "check", "proxy.toml", token], None),
            (&["keyside", "reload", "--", token], None),
            (&["keyside", "run", "-EAAGm0PX4ZCpsBAKz"], None),
            (&["keyside", "run", "--EAAGm0PX4ZCpsBAKz=1"], None),
            (&["keyside", "run", "--tokne", token], Some("--tokne")),
            (&["keyside", "chekc"], Some("chekc")),
            (
                &["keyside", "scan", ".", "--format", token],
                Some("--format <FORMAT>"),
            ),
            (
                &["keyside", "sign", "--secret", "env:A", "--timestamp", token],
                Some("--timestamp"),
            ),
            (
                &["keyside", "check", "--json=EAAGm0PX4ZCpsBAKz"],
                Some("--json"),
            ),
            (
                &["keyside", "check", "--no-secrets", "--online"],
                Some("--no-secrets"),
            ),
        ] {
            let error = Arguments::try_parse_from(words).unwrap_err();
            let message = without_stray_argument(error).to_string();
            assert!(!message.contains("Gm0PX4"), "{words:?}: {message}");
            assert!(
                repeated.is_none_or(|word| message.contains(word)),
                "{words:?}: {message}"
            );
            assert!(message.starts_with("error: "), "{message}");
        }
    }
}
