//! The words that a message may show.

/// Returns the end of an error message: the probable word, and all possible words.
///
/// For example ``did you mean `listen`? expected one of `listen`, `drain` ``.
pub fn choices<'w>(given: &str, words: impl Iterator<Item = &'w str>) -> String {
    // A word may be a name chosen by the user, and so a secret in the wrong place.
    let shown_words: Vec<&str> = words.map(shown).collect();
    let list = listed(&shown_words);
    let length = given.chars().count();
    let distance = |word: &&str| {
        let most = word.len().div_ceil(3);
        // The lengths alone rule most words out, and the distance costs their product.
        let is_near = length.abs_diff(word.len()) <= most;
        let distance = is_near.then(|| strsim::damerau_levenshtein(given, word));
        distance.filter(|distance| *distance <= most)
    };
    let near = shown_words
        .iter()
        .filter_map(|word| Some((distance(word)?, word)))
        .min();
    // `warning` is far from `warn` in letters, and near in meaning.
    let longer = shown_words
        .iter()
        .find(|word| word.len() >= MIN_STEM && given.starts_with(**word));
    match near.map(|(_, word)| word).or(longer) {
        Some(word) if shown_words.len() > 1 => format!("did you mean `{word}`? {list}"),
        _ => list,
    }
}

/// Returns the words from which to choose. Of the names of a thousand tenants the first ones are
/// enough.
pub fn listed(words: &[&str]) -> String {
    match words {
        [] => "expected nothing here".to_owned(),
        [one] => format!("expected `{one}`"),
        all if all.len() > MAX_LISTED => {
            let first = all.get(..MAX_LISTED).unwrap_or_default();
            let more = all.len() - MAX_LISTED;
            format!("expected one of `{}` or {more} more", first.join("`, `"))
        }
        all => format!("expected one of `{}`", all.join("`, `")),
    }
}

/// Returns a key or name for a message, or a stand-in if the name may be a secret in the wrong
/// place.
pub fn shown(name: &str) -> &str {
    if is_showable(name) {
        name
    } else {
        "(name not shown)"
    }
}

/// Returns an argument that should name a path or an address, or a stand-in if the argument may be
/// a secret in the wrong place.
pub fn shown_place(place: &str) -> &str {
    let are_words = place
        .split(['/', ':', '@', ' ', '~', '+', ',', '[', ']', '*'])
        .all(|word| word.is_empty() || is_showable(word));
    if are_words { place } else { "(not shown)" }
}

/// Returns true if a message may show `name`: nobody would take it for a token, key or password.
pub fn is_showable(name: &str) -> bool {
    let is_token = |part: &str| part.starts_with(META_TOKEN) && part.len() >= MIN_META_TOKEN;
    reads_as_name(name) && !name.split(['_', '.', '-']).any(is_token)
}

/// Returns true for a text that has the look of a name, and not of a token, key or password. A name
/// may begin like a token of Meta, such as `EAASTAFRICA_TOKEN`.
pub fn reads_as_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    // A word is short or has no digits. An app secret is 32 hex digits without a break.
    let word =
        |part: &str| part.len() < MIN_SECRET_LENGTH || !part.contains(|c: char| c.is_ascii_digit());
    !name.is_empty()
        && name.len() <= MAX_SHOWN_LENGTH
        && name.bytes().all(plain)
        && (name.len() < MIN_SECRET_LENGTH || name.split(['_', '.', '-']).all(word))
}

/// The largest number of words in a message: longer lists hide the word that was meant.
const MAX_LISTED: usize = 60;
/// The least length of a word that may be meant by a longer one: shorter words begin too many
/// others.
const MIN_STEM: usize = 4;
/// The length from which a word with digits may be a secret, in bytes. An app secret has 32, words
/// of names are shorter.
const MIN_SECRET_LENGTH: usize = 20;
/// The begin of every access token of Meta. A token may be short, or have no digits.
const META_TOKEN: &str = "EAA";
/// The length from which a word with this begin may be a token, in bytes: a shorter word would show
/// six letters of a token at most, of which a token has more than a hundred.
const MIN_META_TOKEN: usize = 10;
/// The longest name in a message, in bytes. A longer text is more likely a token than a name.
const MAX_SHOWN_LENGTH: usize = 40;
