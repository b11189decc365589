//! Which path is which: patterns against the paths of requests.

use super::{PathPattern, Segment};

/// A path that matched a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched<'p> {
    /// The sender in it, if the pattern has one.
    pub sender: Option<&'p str>,
}

impl PathPattern {
    /// Compares the segments byte for byte; the path has been checked for everything that a provider
    /// might read as another path.
    #[must_use]
    pub fn matches<'p>(&self, path: &'p str) -> Option<Matched<'p>> {
        let mut sender = None;
        self.walk(path, |segment, text| {
            if matches!(segment, Segment::Sender) {
                sender = Some(text);
            }
        })
        .then_some(Matched { sender })
    }

    /// The value that a variable of the pattern has in `path`: `v`, `id`, `sender`, or a name.
    #[must_use]
    pub fn variable<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let mut value = None;
        let found = self.walk(path, |segment, text| {
            let is_it = match segment {
                Segment::Version => name == "v",
                Segment::Id => name == "id",
                Segment::Sender => name == "sender",
                Segment::Any(own) => own == name,
                Segment::Literal(_) | Segment::Prefix(_) | Segment::Rest => false,
            };
            if is_it {
                value = Some(text);
            }
        });
        value.filter(|_| found)
    }

    /// Walks both; false where they part.
    fn walk<'p>(&self, path: &'p str, mut visit: impl FnMut(&Segment, &'p str)) -> bool {
        let mut parts = path.split('/').skip(1).peekable();
        for segment in &self.segments {
            match segment {
                Segment::Rest => return true,
                Segment::Version => {
                    if let Some(version) = parts.next_if(|part| is_version(part)) {
                        visit(segment, version);
                    }
                }
                _ => match parts.next() {
                    Some(part) if segment.fits(part) => visit(segment, part),
                    _ => return false,
                },
            }
        }
        // SDKs write `/{id}/` too, and providers take it for `/{id}`.
        parts.next_if(|part| part.is_empty());
        parts.next().is_none()
    }
}

impl Segment {
    fn fits(&self, part: &str) -> bool {
        match self {
            Self::Literal(text) => part == text,
            Self::Id => is_id(part),
            Self::Sender => is_id(part) || is_uuid(part),
            Self::Any(_) => !part.is_empty(),
            Self::Prefix(text) => part.len() > text.len() && part.starts_with(text.as_str()),
            Self::Version | Self::Rest => false,
        }
    }
}

fn is_id(part: &str) -> bool {
    (1..=MAX_ID).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
}

/// As Bird names a channel; no object of Meta's has such a name.
fn is_uuid(part: &str) -> bool {
    let is_hex = |group: &str| group.bytes().all(|b| b.is_ascii_hexdigit());
    part.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && part.split('-').all(is_hex)
}

/// The longest id; those of Meta are numbers of 64 bits, which have 20 digits at most.
const MAX_ID: usize = 32;

/// `v23.0`
fn is_version(part: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    part.strip_prefix('v')
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(major, minor)| digits(major) && digits(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(segments: impl Into<Vec<Segment>>) -> PathPattern {
        PathPattern { segments: segments.into() }
    }

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.into())
    }

    #[test]
    fn a_version_may_be_there_or_not() {
        let messages = pattern([Segment::Version, Segment::Sender, literal("messages")]);
        for path in ["/v23.0/106/messages", "/106/messages", "/v1.0/106/messages", "/v23.0/106/messages/"] {
            assert_eq!(messages.matches(path), Some(Matched { sender: Some("106") }), "{path}");
        }
        for path in [
            "/",
            "/106",
            "/v23/106/messages",
            "/v23.0/106/messages//",
            "/v23.0/106/messages/x",
            "/v23.0/106/messages/x/",
            "/v23.0//messages/",
            "/v23.0/106106106106106106106106106106106/messages",
            "/v23.0/10a/messages",
            "/v23.0//messages",
            "/v23.0/v23.0/106/messages",
        ] {
            assert_eq!(messages.matches(path), None, "{path}");
        }
    }

    #[test]
    fn a_sender_may_be_a_uuid() {
        let channel = pattern([literal("channels"), Segment::Sender, literal("messages")]);
        let id = "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f";
        assert_eq!(channel.matches(&format!("/channels/{id}/messages")), Some(Matched { sender: Some(id) }));
        for other in [&id.replace('0', ""), &id.replace('a', "g"), &id.replace('-', "0"), "0a1b2c3d"] {
            assert_eq!(channel.matches(&format!("/channels/{other}/messages")), None, "{other}");
        }
    }

    #[test]
    fn the_last_segment_may_stand_for_more() {
        let upload = pattern([Segment::Version, Segment::Prefix("upload:".into())]);
        assert!(upload.matches("/v23.0/upload:MTphdHRh==").is_some());
        assert!(upload.matches("/upload:").is_none());
        assert!(upload.matches("/upload:a/b").is_none());
        assert!(pattern([Segment::Version, Segment::Id]).matches("/").is_none());
        let attachments = pattern([literal("whatsapp_business"), literal("attachments"), Segment::Rest]);
        for path in
            ["/whatsapp_business/attachments/", "/whatsapp_business/attachments", "/whatsapp_business/attachments/a/b"]
        {
            assert!(attachments.matches(path).is_some(), "{path}");
        }
    }

    #[test]
    fn variables_have_the_values_of_the_path() {
        let named = pattern([Segment::Version, Segment::Sender, Segment::Any("what".into())]);
        assert_eq!(named.variable("/v23.0/106/x:y", "what"), Some("x:y"));
        assert_eq!(named.variable("/106/x", "v"), None);
        assert_eq!(named.variable("/v1.2/106/x", "v"), Some("v1.2"));
        assert_eq!(named.variable("/106/x/", "what"), Some("x"));
        assert_eq!(named.variable("/106/x/z", "what"), None);
    }
}
