//! The needles: what the automaton looks for, and what each needle may be the begin of.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::configured::ConfiguredSecret;
use super::form::KnownForm;
use super::pem::{ENCODED_BEGINS, PRIVATE_KEY};

/// The meaning of a needle. Numbers are indexes into the lists of the scanner.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// The begin of a known form.
    Begin(usize),
    /// The begin of a known form in base64.
    Base64(usize),
    /// A name before a known form.
    Name(usize),
    /// The last words of the first line of a private key in PEM.
    PrivateKey,
    /// The begin of PEM in base64, with the number of dashes before it.
    PrivateKeyBase64(usize),
    /// A part of a configured secret.
    Configured(usize),
    /// A part of a configured secret in base64, which must stand there letter by letter.
    ConfiguredBase64(usize),
    /// The begin of a configured secret with a code in the place of each letter.
    ConfiguredCodes(usize),
}

/// All needles and the automaton that finds them.
pub(super) struct Needles {
    pub(super) automaton: AhoCorasick,
    /// The bytes of each needle as they must stand in the text, and its roles.
    entries: Vec<(Zeroizing<Vec<u8>>, Vec<Role>)>,
}

impl Needles {
    /// Makes the automaton for known forms and configured secrets.
    pub(super) fn new(
        forms: &[KnownForm],
        secrets: &[ConfiguredSecret],
    ) -> Result<Self, BuildError> {
        let mut roles: BTreeMap<Vec<u8>, Vec<Role>> = BTreeMap::new();
        let mut add = |needle: &[u8], role| roles.entry(needle.to_vec()).or_default().push(role);
        for (index, known) in forms.iter().enumerate() {
            let begins = known.form.begins.as_bytes();
            if !begins.is_empty() {
                add(begins, Role::Begin(index));
                // Three bytes are four letters of base64; the rest depends on what follows.
                let whole = begins.get(..begins.len() / 3 * 3).unwrap_or_default();
                add(
                    STANDARD_NO_PAD.encode(whole).as_bytes(),
                    Role::Base64(index),
                );
            }
            for name in known.form.near.iter().flat_map(|name| variants(name)) {
                add(name.as_bytes(), Role::Name(index));
            }
        }
        add(PRIVATE_KEY, Role::PrivateKey);
        for (needle, missing) in ENCODED_BEGINS {
            add(needle, Role::PrivateKeyBase64(missing));
        }
        for (index, secret) in secrets.iter().enumerate() {
            add(secret.anchor().1, Role::Configured(index));
            for needle in secret.form_needles() {
                add(needle.as_bytes(), Role::Configured(index));
            }
            for needle in secret.base64_needles() {
                add(&needle, Role::ConfiguredBase64(index));
            }
            for needle in secret.code_needles() {
                add(&needle, Role::ConfiguredCodes(index));
            }
        }
        let entries: Vec<_> = roles
            .into_iter()
            .map(|(needle, roles)| (Zeroizing::new(needle), roles))
            .collect();
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::DFA))
            .match_kind(MatchKind::Standard)
            // Names stand in texts in capitals and small letters. Codes are hexadecimal digits of
            // either kind. All other needles are compared once more.
            .ascii_case_insensitive(true)
            .build(entries.iter().map(|(needle, _)| needle.as_slice()))?;
        Ok(Self { automaton, entries })
    }

    /// Returns the roles of a needle that was found in `text`.
    pub(super) fn roles<'n>(
        &'n self,
        index: usize,
        found: &'n [u8],
    ) -> impl Iterator<Item = Role> + 'n {
        let entry = self.entries.get(index);
        let is_exact = entry.is_some_and(|(needle, _)| needle.as_slice() == found);
        entry
            .into_iter()
            .flat_map(|(_, roles)| roles.iter().copied())
            .filter(move |role| {
                is_exact || matches!(role, Role::Name(_) | Role::ConfiguredCodes(_))
            })
    }

    /// Returns the length of the longest needle.
    pub(super) fn longest(&self) -> usize {
        let lengths = self.entries.iter().map(|(needle, _)| needle.len());
        lengths.max().unwrap_or_default()
    }
}

/// Returns the ways to write a name of several words.
fn variants(name: &str) -> Vec<String> {
    let mut variants: Vec<String> = ["_", "-", "", "."]
        .iter()
        .map(|between| name.replace('_', between))
        .collect();
    variants.sort();
    variants.dedup();
    variants
}
