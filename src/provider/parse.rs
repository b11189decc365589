//! The small languages of a preset: upstreams, path patterns, templates and requests.
//!
//! An error never holds the text: a literal secret may stand where a template should.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Method;
use http::uri::{Scheme, Uri};

use super::{Origin, Part, PathPattern, Segment, Template};

/// Why a text of a preset cannot be read: what is wrong and what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl Malformed {
    pub(super) fn new(expected: &'static str) -> Self {
        Self(expected)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

impl FromStr for Origin {
    type Err = Malformed;

    /// Reads `https://host` or `https://host:port`; `http://` only on loopback.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let form = Malformed("not an upstream, expected https://HOST or https://HOST:PORT");
        let uri: Uri = text.parse().map_err(|_| form)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(form);
        };
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") {
            return Err(form);
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(form);
        }
        let tls = match scheme {
            s if *s == Scheme::HTTPS => true,
            s if *s == Scheme::HTTP => false,
            _ => return Err(form),
        };
        let host = authority.host().to_ascii_lowercase();
        // `host:` and `host:99999` have an authority and no port number.
        let port = authority.port_u16();
        let is_whole = port.is_some() || host.len() == authority.as_str().len();
        if host.is_empty() || port == Some(0) || !is_whole {
            return Err(form);
        }
        if !tls && !is_loopback(&host) {
            return Err(Malformed("without TLS, expected https:// (http:// only for an upstream on loopback)"));
        }
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, standard) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == standard {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl PathPattern {
    /// Reads a pattern such as `/{v}/{sender}/messages`.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let path = text.strip_prefix('/').ok_or(Malformed("not a path, expected it to begin with a slash"))?;
        let last = path.split('/').count() - 1;
        let mut segments = Vec::new();
        for (index, part) in path.split('/').enumerate() {
            let segment = Segment::parse(part)?;
            if matches!(segment, Segment::Rest | Segment::Prefix(_)) && index != last {
                return Err(Malformed("`{...}` is not at the end, expected it there"));
            }
            if segment == Segment::Version && index != 0 {
                return Err(Malformed("`{v}` is not at the beginning, expected it there"));
            }
            segments.push(segment);
        }
        let pattern = Self { segments };
        let mut names: Vec<&str> = pattern.variables().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Malformed("the same variable twice, expected different names"));
        }
        Ok(pattern)
    }

    /// The names of the variables, but for those at the end that stand for whatever follows.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Version => Some("v"),
            Segment::Id => Some("id"),
            Segment::Sender => Some("sender"),
            Segment::Any(name) => Some(name),
            Segment::Literal(_) | Segment::Prefix(_) | Segment::Rest => None,
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Version => f.write_str("/{v}")?,
                Segment::Id => f.write_str("/{id}")?,
                Segment::Sender => f.write_str("/{sender}")?,
                Segment::Any(name) => write!(f, "/{{{name}}}")?,
                Segment::Prefix(text) => write!(f, "/{text}{{...}}")?,
                Segment::Rest => f.write_str("/{...}")?,
            }
        }
        Ok(())
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, Malformed> {
        if let Some(before) = text.strip_suffix("{...}") {
            return match before {
                "" => Ok(Self::Rest),
                before => literal(before).map(Self::Prefix),
            };
        }
        let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
            return literal(text).map(Self::Literal);
        };
        match name {
            "v" => Ok(Self::Version),
            "id" => Ok(Self::Id),
            "sender" => Ok(Self::Sender),
            name if is_variable(name) => Ok(Self::Any(name.to_owned())),
            _ => Err(VARIABLE),
        }
    }
}

/// A segment that requests can have: what the guard refuses in a path would never match.
fn literal(text: &str) -> Result<String, Malformed> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"{}%?#\\\"<>".contains(c);
    if text.is_empty() || text == "." || text == ".." {
        return Err(Malformed("an empty or dotted segment, expected text between the slashes"));
    }
    if !text.chars().all(is_plain) {
        return Err(Malformed("not a path, expected visible ASCII without percent, query or braces inside a segment"));
    }
    Ok(text.to_owned())
}

/// A name that may stand in braces.
pub(super) fn is_variable(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

const VARIABLE: Malformed = Malformed("not a variable, expected lower-case letters, digits and _ between the braces");

impl Template {
    /// Reads text with names in braces, such as `Bearer {token}`; `{{` and `}}` stand for a brace. Two names with a colon
    /// between them stand for what HTTP Basic makes of both: `Basic {account:token}`.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '{' if rest.as_str().starts_with('{') => {
                    rest.next();
                    plain.push('{');
                }
                '}' if rest.as_str().starts_with('}') => {
                    rest.next();
                    plain.push('}');
                }
                '{' => {
                    let (names, after) = rest.as_str().split_once('}').ok_or(VARIABLE)?;
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(named(names)?);
                    rest = after.chars();
                }
                '}' => return Err(VARIABLE),
                c if c.is_control() => {
                    return Err(Malformed("a control character, expected visible text"));
                }
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let inner = self.parts.iter().flat_map(|part| match part {
            Part::Basic(parts) => parts.as_slice(),
            part => std::slice::from_ref(part),
        });
        inner.filter_map(|part| if let Part::Name(name) = part { Some(name.as_str()) } else { None })
    }

    /// Puts text in the place of the names for which there is a value.
    pub fn fill(&mut self, values: &BTreeMap<String, String>) {
        self.parts.iter_mut().for_each(|part| part.fill(values));
    }

    /// The text of it, where it has no names any more.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let texts = self.parts.iter().map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None });
        texts.collect()
    }
}

impl Part {
    fn fill(&mut self, values: &BTreeMap<String, String>) {
        match self {
            Self::Text(_) => {}
            Self::Name(name) => {
                if let Some(value) = values.get(name) {
                    *self = Self::Text(value.clone());
                }
            }
            Self::Basic(parts) => parts.iter_mut().for_each(|part| part.fill(values)),
        }
    }
}

/// What stands in braces: a name, or two of HTTP Basic.
fn named(names: &str) -> Result<Part, Malformed> {
    let name = |name: &str| if is_variable(name) { Ok(Part::Name(name.to_owned())) } else { Err(VARIABLE) };
    match names.split_once(':') {
        None => name(names),
        Some((user, password)) => Ok(Part::Basic(vec![name(user)?, Part::Text(":".to_owned()), name(password)?])),
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Name(name) => write!(f, "{{{name}}}")?,
                Part::Basic(parts) => {
                    f.write_str("{")?;
                    for part in parts {
                        match part {
                            Part::Text(text) | Part::Name(text) => f.write_str(text)?,
                            Part::Basic(_) => {}
                        }
                    }
                    f.write_str("}")?;
                }
            }
        }
        Ok(())
    }
}

/// Reads `GET POST /path`: methods and a path pattern.
pub(super) fn request(text: &str) -> Result<(Vec<Method>, PathPattern), Malformed> {
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let path = PathPattern::parse(words.pop().unwrap_or_default())?;
    let methods: Option<Vec<Method>> = words
        .iter()
        .map(|word| METHODS.iter().find(|method| method.as_str() == *word))
        .map(Option::<&Method>::cloned)
        .collect();
    match methods {
        Some(methods) if !methods.is_empty() => Ok((methods, path)),
        _ => Err(Malformed("no method, expected GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS before the path")),
    }
}

const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];

/// Reads a JSON pointer (RFC 6901) that leads to a field; where it has `*`, to one of each element of an array.
pub(super) fn pointer(text: &str) -> Result<Vec<String>, Malformed> {
    let keys = text.strip_prefix('/').filter(|keys| !keys.is_empty());
    let keys = keys.ok_or(Malformed("not a JSON pointer, expected one such as \"/apiKey\""))?;
    let unescape = |key: &str| key.replace("~1", "/").replace("~0", "~");
    Ok(keys.split('/').map(unescape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_https_and_ends_after_the_port() {
        for (text, expected) in [
            ("https://graph.facebook.com", Some((true, "graph.facebook.com", 443))),
            ("https://Graph.Facebook.com/", Some((true, "graph.facebook.com", 443))),
            ("https://example.com:8443", Some((true, "example.com", 8443))),
            ("https://[2001:db8::1]:8443", Some((true, "[2001:db8::1]", 8443))),
            ("http://127.0.0.1:9000", Some((false, "127.0.0.1", 9000))),
            ("http://127.1.2.3", Some((false, "127.1.2.3", 80))),
            ("http://localhost:1", Some((false, "localhost", 1))),
            ("http://[::1]:9000", Some((false, "[::1]", 9000))),
            ("http://graph.facebook.com", None),
            ("http://localhost.example.com", None),
            ("http://127.0.0.1.example.com", None),
            ("https://example.com/v23.0", None),
            ("https://example.com?a=b", None),
            ("https://example.com#a", None),
            ("https://user:password@example.com", None),
            ("https://example.com:", None),
            ("https://example.com:0", None),
            ("https://example.com:99999", None),
            ("ftp://example.com", None),
            ("example.com", None),
            ("https://", None),
            ("", None),
        ] {
            let origin = text.parse::<Origin>().ok();
            let origin = origin.as_ref().map(|o| (o.tls, o.host.as_str(), o.port));
            assert_eq!(origin, expected, "{text}");
        }
    }

    #[test]
    fn an_upstream_is_shown_as_it_would_be_written() {
        for text in
            ["https://graph.facebook.com", "https://example.com:8443", "http://127.0.0.1:9000", "http://[::1]:9000"]
        {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_pattern_has_places_for_what_varies() {
        let pattern = PathPattern::parse("/{v}/{sender}/message_qrdls/{code}").unwrap();
        assert_eq!(
            pattern.segments,
            [Segment::Version, Segment::Sender, Segment::Literal("message_qrdls".into()), Segment::Any("code".into()),]
        );
        for text in [
            "/{v}/{id}",
            "/whatsapp_business/attachments/{...}",
            "/{v}/upload:{...}",
            "/messages",
            "/{v}/{sender}/message_qrdls/{code}",
        ] {
            assert_eq!(PathPattern::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_pattern_that_no_request_could_match_is_refused() {
        for text in [
            "",
            "/",
            "messages",
            "/a/",
            "//a",
            "/a//b",
            "/./a",
            "/../a",
            "/a?b",
            "/a#b",
            "/a%2fb",
            "/a\\b",
            "/ä",
            "/a b",
            "/{v",
            "/v}",
            "/{}",
            "/{Name}",
            "/a{name}",
            "/{...}/a",
            "/up:{...}/a",
            "/a/{v}",
            "/{id}/{id}",
            "/{a}/{a}",
            "/{sender}/x/{sender}",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_template_is_text_and_names() {
        let text = |text: &str| Part::Text(text.to_owned());
        let name = |name: &str| Part::Name(name.to_owned());
        for (given, parts) in [
            ("Bearer {token}", vec![text("Bearer "), name("token")]),
            ("{api_key}", vec![name("api_key")]),
            ("/i{a}/{b}", vec![text("/i"), name("a"), text("/"), name("b")]),
            ("{{{a}}}", vec![text("{"), name("a"), text("}")]),
            ("Basic {a:b}", vec![text("Basic "), Part::Basic(vec![name("a"), text(":"), name("b")])]),
            ("", vec![]),
        ] {
            let template = Template::parse(given).unwrap();
            assert_eq!(template.parts, parts, "{given}");
            assert_eq!(template.to_string(), given);
        }
        for given in ["{", "}", "{}", "{Token}", "{a", "a}", "{a b}", "a\nb", "{{a}", "{a:}", "{:b}", "{a:b:c}"] {
            assert!(Template::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn a_value_takes_the_place_of_its_name() {
        let values = BTreeMap::from([("a".to_owned(), "x".to_owned()), ("b".to_owned(), "y".to_owned())]);
        for (given, filled, text) in
            [("/i{a}/{b}", "/ix/y", Some("/ix/y")), ("{a}{c}", "x{c}", None), ("Basic {a:c}", "Basic {x:c}", None)]
        {
            let mut template = Template::parse(given).unwrap();
            template.fill(&values);
            assert_eq!((template.to_string().as_str(), template.text().as_deref()), (filled, text));
        }
    }

    #[test]
    fn a_request_is_methods_and_a_path() {
        let (methods, path) = request("GET POST /{v}/{id}").unwrap();
        assert_eq!(methods, [Method::GET, Method::POST]);
        assert_eq!(path.to_string(), "/{v}/{id}");
        for text in ["", "/a", "get /a", "CONNECT /a", "GET", "GET a", "/a GET"] {
            assert!(request(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}|[{}/.v:a\\[\\]@#?-]{0,30}") {
            let _origin = text.parse::<Origin>();
            let _request = request(&text);
            if let Ok(template) = Template::parse(&text) {
                assert_eq!(Template::parse(&template.to_string()), Ok(template));
            }
            if let Ok(pattern) = PathPattern::parse(&text) {
                assert_eq!(PathPattern::parse(&pattern.to_string()), Ok(pattern));
            }
        }
    }
}
