//! The kind of content of an answer, by its `Content-Type`.

use http::{HeaderMap, header};

/// The kind of content of an answer, in order of caution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Content {
    /// Text, which may repeat a secret.
    Text,
    /// Content that may be text under an odd name.
    Unknown,
    /// A picture, a recording or a document: bytes that pass unchanged.
    Media,
}

/// Returns the kind of content. An answer without a type may be text, and an answer with several
/// types is text if any of the types is.
pub(super) fn content(headers: &HeaderMap) -> Content {
    let types = headers.get_all(header::CONTENT_TYPE).iter();
    let kinds = types
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(kind_of);
    kinds.min().unwrap_or(Content::Text)
}

fn kind_of(written: &[u8]) -> Content {
    let essence = written.split(|byte| *byte == b';').next();
    let name = essence.unwrap_or_default().trim_ascii();
    let is = |other: &&[u8]| name.eq_ignore_ascii_case(other);
    let begins_with = |start: &[u8]| {
        name.get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    let ends_with = |end: &&[u8]| {
        let at = name.len().checked_sub(end.len());
        at.and_then(|at| name.get(at..))
            .is_some_and(|own| own.eq_ignore_ascii_case(end))
    };
    let is_text = name.is_empty()
        || TEXT.iter().any(is)
        || begins_with(b"text/")
        || TEXT_SUFFIXES.iter().any(ends_with);
    let is_media =
        || MEDIA_FAMILIES.iter().any(|family| begins_with(family)) || MEDIA.iter().any(is);
    if is_text {
        Content::Text
    } else if is_media() {
        Content::Media
    } else {
        Content::Unknown
    }
}

/// Types that are text besides `text/*`.
const TEXT: [&[u8]; 11] = [
    b"application/json",
    b"application/jsonp",
    b"application/x-json",
    b"application/x-ndjson",
    b"application/json-seq",
    b"application/javascript",
    b"application/x-javascript",
    b"application/ecmascript",
    b"application/xml",
    b"application/yaml",
    b"application/x-www-form-urlencoded",
];
/// The ends of names of text (RFC 6839).
const TEXT_SUFFIXES: [&[u8]; 3] = [b"+json", b"+xml", b"+yaml"];
/// The beginnings of names of media.
const MEDIA_FAMILIES: [&[u8]; 7] = [
    b"image/",
    b"audio/",
    b"video/",
    b"font/",
    b"application/vnd.ms-",
    b"application/vnd.openxmlformats-",
    b"application/vnd.oasis.opendocument.",
];
/// Documents that Meta takes as media:
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media>; and archives.
const MEDIA: [&[u8]; 5] = [
    b"application/pdf",
    b"application/msword",
    b"application/zip",
    b"application/gzip",
    b"application/ogg",
];

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn every_type_is_text_media_or_unknown() {
        for (types, expected) in [
            (&[][..], Content::Text),
            (&[""], Content::Text),
            (&["application/json"], Content::Text),
            (&["Application/JSON; charset=utf-8"], Content::Text),
            (&["text/anything"], Content::Text),
            (&["application/problem+json"], Content::Text),
            (&["application/soap+xml ; a=b"], Content::Text),
            (&["image/svg+xml"], Content::Text),
            (&["application/x-www-form-urlencoded"], Content::Text),
            (&["text/javascript"], Content::Text),
            (&["image/png"], Content::Media),
            (&["VIDEO/mp4; codecs=a"], Content::Media),
            (&["application/pdf"], Content::Media),
            (&["application/octet-stream"], Content::Unknown),
            (&["application/vnd.api"], Content::Unknown),
            (&["multipart/mixed; boundary=x"], Content::Unknown),
            (&["nonsense"], Content::Unknown),
            // Several types: a client may read the first or the last, so the most cautious kind
            // counts.
            (&["image/png", "application/json"], Content::Text),
            (&["application/json", "image/png"], Content::Text),
            (&["image/png, text/html"], Content::Text),
            (&["image/png", "application/octet-stream"], Content::Unknown),
        ] {
            let mut headers = HeaderMap::new();
            for value in types {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(value));
            }
            assert_eq!(content(&headers), expected, "{types:?}");
        }
    }
}
