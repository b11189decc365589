//! The comparison of path patterns with the paths of requests.

use super::path::{PathPattern, Segment, SegmentForm};

/// A path that matched a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMatch<'p> {
    /// The sender in the path, if the pattern has a segment for the sender; a number without the
    /// plus sign.
    pub sender: Option<&'p str>,
}

impl PathPattern {
    /// Returns the match of a path, or `None` if the path does not fit.
    ///
    /// Segments are compared byte for byte. The guard of requests has already refused every path
    /// that a provider could read as another path, such as one with `..` or `%2f`.
    #[must_use]
    pub fn matches<'p>(&self, path: &'p str) -> Option<PathMatch<'p>> {
        let mut sender = None;
        self.walk(path, |segment, text| {
            if segment.is_sender() {
                sender = Some(without_plus(text));
            }
        })
        .then_some(PathMatch { sender })
    }

    /// Returns the value of a variable in `path`: of `v`, `id`, `sender`, or a name.
    #[must_use]
    pub fn variable<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let mut value = None;
        let found = self.walk(path, |segment, text| {
            let is_named = match segment {
                Segment::Version => name == "v",
                Segment::Id => name == "id",
                Segment::Sender => name == "sender",
                Segment::Formed(SegmentForm { name: own, .. }) | Segment::Any(own) => own == name,
                Segment::Literal(_) | Segment::Prefix(_) | Segment::Rest => false,
            };
            if is_named {
                value = Some(text);
            }
        });
        value.filter(|_| found)
    }

    /// The object that a request is about: the first id, sender or named part in its path.
    #[must_use]
    pub fn object<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut object = None;
        let found = self.walk(path, |segment, text| {
            if matches!(
                segment,
                Segment::Id | Segment::Sender | Segment::Formed(_) | Segment::Any(_)
            ) {
                object.get_or_insert(text);
            }
        });
        object.filter(|_| found)
    }

    /// Visits each segment with its text. Returns false if the path does not fit, perhaps after
    /// some visits.
    fn walk<'p>(&self, path: &'p str, mut visit: impl FnMut(&Segment, &'p str)) -> bool {
        if !self.may_end(path) {
            return false;
        }
        let mut parts = segments(path).skip(1).peekable();
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
        // SDKs write `/{id}/` as well, and providers read that as `/{id}`.
        parts.next_if(|part| part.is_empty());
        parts.next().is_none()
    }
}

impl PathPattern {
    /// Returns false for a path that ends in another text than the pattern: of a hundred patterns,
    /// the last segment tells most from a path without a walk.
    fn may_end(&self, path: &str) -> bool {
        let Some(Segment::Literal(last)) = self.segments.last() else {
            return true;
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        path.ends_with(last.as_str())
    }
}

/// Returns the texts between the slashes of a path. A path is short: looking at one byte after the
/// other is cheaper than `str::split`, which searches for a character anew behind each slash.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    std::iter::from_fn(move || {
        let whole = rest?;
        let Some(at) = whole.bytes().position(|byte| byte == b'/') else {
            rest = None;
            return Some(whole);
        };
        rest = whole.get(at + 1..);
        whole.get(..at)
    })
}

impl Segment {
    fn fits(&self, part: &str) -> bool {
        match self {
            Self::Literal(text) => part == text,
            Self::Id => is_id(part),
            Self::Sender => is_id(without_plus(part)) || is_uuid(part),
            Self::Formed(form) => form.fits(part),
            // `.json` is no name but the form of the answer: without a name, the path is that of
            // the whole collection.
            Self::Any(_) => !part.is_empty() && !part.starts_with('.'),
            Self::Prefix(text) => part.len() > text.len() && part.starts_with(text.as_str()),
            Self::Version | Self::Rest => false,
        }
    }
}

fn is_id(part: &str) -> bool {
    (1..=MAX_ID).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
}

/// Returns a phone number without the plus sign in front, plain or encoded.
fn without_plus(part: &str) -> &str {
    let mut signs = ["+", "%2B", "%2b"].iter();
    signs
        .find_map(|sign| part.strip_prefix(sign))
        .unwrap_or(part)
}

/// Returns true for a UUID, the name of a channel at Bird. No object of Meta's has a UUID as its
/// name.
fn is_uuid(part: &str) -> bool {
    let is_hex = |group: &str| group.bytes().all(|b| b.is_ascii_hexdigit());
    part.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && part.split('-').all(is_hex)
}

/// The longest id, in digits. Meta's ids are numbers of 64 bits, with 20 digits at most; the rest
/// is reserve.
const MAX_ID: usize = 32;

/// Returns true for a version such as `v23.0`.
fn is_version(part: &str) -> bool {
    let digits = |text: &str| {
        !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit())
    };
    part.strip_prefix('v')
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(major, minor)| digits(major) && digits(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(segments: impl Into<Vec<Segment>>) -> PathPattern {
        PathPattern {
            segments: segments.into(),
        }
    }

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.into())
    }

    #[test]
    fn a_version_may_be_there_or_not() {
        let messages = pattern([Segment::Version, Segment::Sender, literal("messages")]);
        for path in [
            "/v23.0/106/messages",
            "/106/messages",
            "/v1.0/106/messages",
            "/v23.0/106/messages/",
        ] {
            assert_eq!(
                messages.matches(path),
                Some(PathMatch {
                    sender: Some("106")
                }),
                "{path}"
            );
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
        assert_eq!(
            channel.matches(&format!("/channels/{id}/messages")),
            Some(PathMatch { sender: Some(id) })
        );
        for other in [
            &id.replace('0', ""),
            &id.replace('a', "g"),
            &id.replace('-', "0"),
            "0a1b2c3d",
        ] {
            assert_eq!(
                channel.matches(&format!("/channels/{other}/messages")),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn the_last_segment_may_stand_for_more() {
        let upload = pattern([Segment::Version, Segment::Prefix("upload:".into())]);
        assert!(upload.matches("/v23.0/upload:MTphdHRh==").is_some());
        assert!(upload.matches("/upload:").is_none());
        assert!(upload.matches("/upload:a/b").is_none());
        assert!(
            pattern([Segment::Version, Segment::Id])
                .matches("/")
                .is_none()
        );
        let attachments = pattern([
            literal("whatsapp_business"),
            literal("attachments"),
            Segment::Rest,
        ]);
        for path in [
            "/whatsapp_business/attachments/",
            "/whatsapp_business/attachments",
            "/whatsapp_business/attachments/a/b",
        ] {
            assert!(attachments.matches(path).is_some(), "{path}");
        }
    }

    #[test]
    fn an_object_may_have_a_form_of_its_own() {
        let form = SegmentForm::parse("group", "Y2FwaV9{...}").unwrap();
        let link = pattern([
            Segment::Version,
            Segment::Formed(form),
            literal("invite_link"),
        ]);
        let path = "/v23.0/Y2FwaV9ncm91cDox/invite_link";
        assert_eq!(link.object(path), Some("Y2FwaV9ncm91cDox"));
        assert_eq!(link.variable(path, "group"), Some("Y2FwaV9ncm91cDox"));
        for other in ["/v23.0/1/invite_link", "/v23.0/me/invite_link"] {
            assert_eq!(link.matches(other), None, "{other}");
        }
    }

    #[test]
    fn variables_have_the_values_of_the_path() {
        let named = pattern([
            Segment::Version,
            Segment::Sender,
            Segment::Any("what".into()),
        ]);
        assert_eq!(named.variable("/v23.0/106/x:y", "what"), Some("x:y"));
        assert_eq!(named.variable("/106/x", "v"), None);
        assert_eq!(named.variable("/v1.2/106/x", "v"), Some("v1.2"));
        assert_eq!(named.variable("/106/x/", "what"), Some("x"));
        assert_eq!(named.variable("/106/x/z", "what"), None);
    }
}
