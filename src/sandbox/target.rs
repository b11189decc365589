//! What a request is aimed at: the API's version, the path below it, the query.

use percent_encoding::percent_decode_str;

/// The oldest version that is served; older ones are upgraded to it, and so is a path without one.
const OLDEST: u32 = 21;
/// The newest version that there is.
const NEWEST: u32 = 26;

/// The version and the path.
#[derive(Debug)]
pub(super) struct Target {
    /// The version that answers, `v21.0`.
    pub(super) version: String,
    /// The version that was asked for, when it is no longer served.
    pub(super) upgraded_from: Option<String>,
    /// The path below the version, with its slash.
    pub(super) path: String,
}

impl Target {
    /// Takes the version off a path. A version that does not exist yet stays: it is an unknown path.
    pub(super) fn new(path: &str) -> Target {
        let after = path.trim_start_matches('/');
        let (first, rest) = after.split_once('/').unwrap_or((after, ""));
        let oldest = format!("v{OLDEST}.0");
        match major(first) {
            Some(major) if major <= NEWEST => Target {
                version: if major < OLDEST { oldest } else { first.to_owned() },
                upgraded_from: (major < OLDEST).then(|| first.to_owned()),
                path: format!("/{rest}"),
            },
            _ => Target { version: oldest, upgraded_from: None, path: path.to_owned() },
        }
    }

    /// The parts of the path.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|segment| !segment.is_empty()).collect()
    }
}

fn major(segment: &str) -> Option<u32> {
    segment.strip_prefix('v')?.strip_suffix(".0")?.parse().ok()
}

/// The parameters of a query, decoded, in order.
#[derive(Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`.
    pub(super) fn new(query: &str) -> Query {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Query(pairs.collect())
    }

    /// The first value of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All parameters but those.
    pub(super) fn without(&self, names: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        let kept = self.0.iter().filter(move |(name, _)| !names.contains(&name.as_str()));
        kept.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The list in `fields`, without what is in braces.
    pub(super) fn fields(&self) -> Option<Vec<&str>> {
        let fields = self.get("fields")?;
        let names = fields.split(',').map(|field| field.split(['{', '.', '}']).next().unwrap_or(field).trim());
        Some(names.filter(|name| !name.is_empty()).collect())
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The parameters whose values never appear in a record.
const SECRET: [&str; 9] = [
    "access_token",
    "appsecret_proof",
    "input_token",
    "fb_exchange_token",
    "client_secret",
    "revoke_token",
    "verify_token",
    "token",
    "password",
];

/// A path and query with its secrets taken out.
pub(super) fn redact(path_and_query: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let pairs: Vec<String> = query.split('&').map(redact_pair).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn redact_pair(pair: &str) -> String {
    match pair.split_once('=') {
        // The name may be written with escapes: what counts is what it is read as.
        Some((name, _)) if SECRET.contains(&decode(name).as_str()) => format!("{name}=[redacted]"),
        _ => pair.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_echoed_or_upgraded() {
        let seen = |path| {
            let target = Target::new(path);
            (target.version, target.upgraded_from, target.path)
        };
        assert_eq!(seen("/v23.0/1/messages"), ("v23.0".into(), None, "/1/messages".into()));
        assert_eq!(seen("/v19.0/1"), ("v21.0".into(), Some("v19.0".into()), "/1".into()));
        assert_eq!(seen("/1/messages"), ("v21.0".into(), None, "/1/messages".into()));
        assert_eq!(seen("/v99.0/1"), ("v21.0".into(), None, "/v99.0/1".into()));
    }

    #[test]
    fn secrets_are_not_kept_in_a_path() {
        let seen = "/debug_token?input_token=EAA1&a=b&access%5Ftoken=EAA2&appsecret_proof=3";
        let kept = "/debug_token?input_token=[redacted]&a=b&access%5Ftoken=[redacted]&appsecret_proof=[redacted]";
        assert_eq!(redact(seen), kept);
    }

    #[test]
    fn a_query_is_decoded() {
        let query = Query::new("fields=id,throughput{level}&q=a%20b+c&empty");
        assert_eq!(query.fields(), Some(vec!["id", "throughput"]));
        assert_eq!((query.get("q"), query.get("empty"), query.get("none")), (Some("a b c"), Some(""), None));
    }
}
