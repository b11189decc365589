//! The forms of Meta's access tokens and app secrets.

/// True for the form of an access token of Meta.
pub(super) fn is_meta_token(value: &str) -> bool {
    value.len() >= MIN_META_TOKEN
        && value.starts_with(META_TOKEN)
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// True for a token of Meta as long as real ones: among other characters, a short run could be
/// chance.
pub(super) fn is_long_meta_token(value: &str) -> bool {
    value.len() >= MIN_REAL_TOKEN && is_meta_token(value)
}

/// True for a text that stands there twice in a row.
pub(super) fn is_twice(value: &str) -> bool {
    let (first, second) = value.split_at_checked(value.len() / 2).unwrap_or_default();
    first == second && is_meta_token(first)
}

/// True for the form of an app secret of Meta.
pub(in crate::credential) fn is_app_secret(value: &str) -> bool {
    value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// True for hex digits that are nearly as many as those of an app secret.
pub(super) fn is_cut_app_secret(value: &str) -> bool {
    (24..=40).contains(&value.len())
        && value.len() != 32
        && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The begin of every access token of Meta.
pub(in crate::credential) const META_TOKEN: &str = "EAA";
/// The shortest value that passes for a token of Meta. Real tokens have more than a hundred
/// characters.
const MIN_META_TOKEN: usize = 10;
/// The length from which a run of letters and digits is a token rather than chance: less than half
/// of the length of a real token.
const MIN_REAL_TOKEN: usize = 40;
