//! The forms in which an answer could show a secret.

use zeroize::Zeroizing;

use crate::query;
use crate::secret::Secret;

/// A secret as it is, percent-encoded, and escaped as in JSON, as far as these differ.
///
/// A short one is left out: a verify token may well be `whatsapp`, and an answer without that word
/// would be no answer any more.
pub(super) fn reflections(secret: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
    #[expect(clippy::disallowed_methods, reason = "what is looked for in answers must be known")]
    let value = secret.expose();
    if value.len() < SHORTEST_REFLECTION {
        return Vec::new();
    }
    let encoded = query::encode(value).collect::<String>();
    let lower = lower_escapes(&encoded);
    let escaped = value.replace('\\', r"\\").replace('"', r#"\""#);
    let slashed = escaped.replace('/', r"\/");
    let mut forms = vec![Zeroizing::new(value.as_bytes().to_vec())];
    for form in [encoded, lower, escaped, slashed].map(|form| Zeroizing::new(form.into_bytes())) {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

/// `%2F` as `%2f`: both are written.
fn lower_escapes(encoded: &str) -> String {
    let mut digits = 0;
    encoded
        .chars()
        .map(|c| {
            let is_digit = digits > 0;
            digits = if c == '%' { 2 } else { u8::saturating_sub(digits, 1) };
            if is_digit { c.to_ascii_lowercase() } else { c }
        })
        .collect()
}

const SHORTEST_REFLECTION: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_in_the_ways_in_which_it_may_be_written() {
        let secret = Secret::parse(Zeroizing::new(b"abc/def+ghi\"j%k".to_vec())).unwrap();
        let forms = reflections(&secret);
        let forms: Vec<_> = forms.iter().map(|form| std::str::from_utf8(form).unwrap()).collect();
        let expected = [
            "abc/def+ghi\"j%k",
            "abc%2Fdef%2Bghi%22j%25k",
            "abc%2fdef%2bghi%22j%25k",
            "abc/def+ghi\\\"j%k",
            "abc\\/def+ghi\\\"j%k",
        ];
        assert_eq!(forms, expected);
    }
}
