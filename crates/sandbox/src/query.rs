//! Query strings and forms: parameters by name, and a copy without secrets for records.

use percent_encoding::percent_decode_str;

/// Decoded parameters, in the order of the text.
#[derive(Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`, with `+` as a space.
    pub(crate) fn new(query: &str) -> Self {
        let decoded = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name), decode(value))
            });
        Self(decoded.collect())
    }

    /// Returns the first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns all pairs of name and value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the names in the parameter `fields`, without the parts in braces.
    pub(crate) fn fields(&self) -> Option<Vec<&str>> {
        Some(
            self.get("fields")?
                .split(',')
                .map(|field| field.split(['{', '.', '}']).next().unwrap_or(field).trim())
                .filter(|name| !name.is_empty())
                .collect(),
        )
    }
}

/// Returns a path and query with `[redacted]` in the place of every secret value.
pub(crate) fn redact(path_and_query: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let pairs: Vec<String> = query.split('&').map(redact_pair).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn redact_pair(pair: &str) -> String {
    match pair.split_once('=') {
        // The name may be written with escapes, and the decoded name counts.
        Some((name, _)) if SECRET_PARAMETERS.contains(&decode(name).as_str()) => {
            format!("{name}=[redacted]")
        }
        _ => pair.to_owned(),
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

/// The parameters with secret values, of Graph and of all other providers.
const SECRET_PARAMETERS: [&str; 9] = [
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            (query.get("q"), query.get("empty"), query.get("none")),
            (Some("a b c"), Some(""), None)
        );
    }
}
