//! The secrets of a credential.

/// A secret of a credential.
#[derive(Clone, Debug)]
pub struct SecretKind {
    /// The key in `[credential.NAME]`.
    pub name: String,
    /// True if a route needs the secret.
    pub required: bool,
    /// The required form of a value.
    pub form: SecretForm,
    /// The choice of the value, which decides about the fingerprint shown.
    pub origin: SecretOrigin,
    /// The look of the value in a text; `None` for a value that looks like any other text.
    pub text: Option<TextForm>,
}

impl SecretKind {
    /// True if the provider makes the value, and the preset knows the look.
    #[must_use]
    pub fn has_look(&self) -> bool {
        self.text.is_some() && self.form == SecretForm::Text && self.origin == SecretOrigin::Random
    }
}

/// The look of a secret in a text, by which `keyside scan` finds the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextForm {
    /// The begin of every value; empty for a value that is told by the words before it alone.
    pub begins: String,
    /// The letters of the value.
    pub letters: Letters,
    /// The least number of letters, with the begin: 20 to `max`.
    pub min: usize,
    /// The greatest number of letters, with the begin: 4096 at most.
    pub max: usize,
    /// The names before a value, such as `app_secret`, in small letters; of a value with a telling
    /// begin: none.
    pub near: Vec<String>,
}

impl TextForm {
    /// True for a value with the begin, the letters and the length of the form.
    #[must_use]
    pub fn fits(&self, value: &[u8]) -> bool {
        (self.min..=self.max).contains(&value.len()) && self.has_letters_of(value)
    }

    /// True for a value of foreign letters, or of a wrong length under a fixed length. The bounds
    /// of a varying length are of use for a search alone.
    #[must_use]
    pub fn is_unlike(&self, value: &[u8]) -> bool {
        let has_length = self.min != self.max || value.len() == self.min;
        !has_length || !self.has_letters_of(value)
    }

    fn has_letters_of(&self, value: &[u8]) -> bool {
        let rest = value.strip_prefix(self.begins.as_bytes());
        rest.is_some_and(|rest| rest.iter().all(|byte| self.letters.has(*byte)))
    }
}

/// The letters of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    /// `0-9a-fA-F`.
    Hex,
    /// `0-9a-fA-F` and `-`, as in a UUID.
    HexGroups,
    /// `0-9A-Za-z`.
    Alphanumeric,
    /// `0-9A-Za-z` and `-`, `_`.
    Url,
    /// `0-9A-Za-z` and `-`, `_`, `.`, as in a JWT.
    Token,
    /// `0-9A-Za-z` and `+`, `/`, `=`.
    Base64,
}

impl Letters {
    /// Returns true for a letter of this kind.
    #[must_use]
    pub fn has(self, byte: u8) -> bool {
        match self {
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::HexGroups => byte.is_ascii_hexdigit() || byte == b'-',
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Token => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
        }
    }
}

/// The choice of a secret's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretOrigin {
    /// The provider makes the value at random: no dictionary has the value.
    Random,
    /// A person may have chosen the value: a word, a name, a short password.
    Chosen,
}

/// The required form of a secret, to catch values pasted into the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretForm {
    /// Any visible text.
    Text,
    /// A Meta access token: not 32 hex digits.
    MetaToken,
    /// A Meta app secret: not a token (`EAA...`).
    AppSecret,
    /// An RSA key in PEM, which signs and is never sent.
    PrivateKey,
}
