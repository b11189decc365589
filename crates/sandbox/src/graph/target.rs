//! The target of a call: the version of the API, and the path below it.

/// A version and a path.
#[derive(Debug)]
pub(crate) struct Target {
    /// The version that answers, such as `v21.0`.
    pub(crate) version: String,
    /// The requested version, if it is no longer served.
    pub(crate) upgraded_from: Option<String>,
    /// The path below the version, with the leading slash.
    pub(crate) path: String,
}

impl Target {
    /// Splits a path into version and rest. A version newer than Graph's stays in the path, which
    /// is then unknown.
    pub(crate) fn new(path: &str) -> Self {
        let after = path.trim_start_matches('/');
        let (first, rest) = after.split_once('/').unwrap_or((after, ""));
        match major_version(first) {
            Some(major) if major <= NEWEST_VERSION => {
                let is_served = major >= OLDEST_VERSION;
                Self {
                    version: if is_served {
                        first.to_owned()
                    } else {
                        oldest_version()
                    },
                    upgraded_from: (!is_served).then(|| first.to_owned()),
                    path: format!("/{rest}"),
                }
            }
            _ => Self {
                version: oldest_version(),
                upgraded_from: None,
                path: path.to_owned(),
            },
        }
    }

    /// Returns the segments of the path.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect()
    }
}

fn major_version(segment: &str) -> Option<u32> {
    segment.strip_prefix('v')?.strip_suffix(".0")?.parse().ok()
}

fn oldest_version() -> String {
    format!("v{OLDEST_VERSION}.0")
}

/// The oldest served version. Older versions, and paths without a version, are upgraded to the
/// oldest.
const OLDEST_VERSION: u32 = 21;

/// The newest version that Meta had in November 2026.
const NEWEST_VERSION: u32 = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_echoed_or_upgraded() {
        for (path, version, upgraded_from, rest) in [
            ("/v23.0/1/messages", "v23.0", None, "/1/messages"),
            ("/v19.0/1", "v21.0", Some("v19.0"), "/1"),
            ("/1/messages", "v21.0", None, "/1/messages"),
            ("/v99.0/1", "v21.0", None, "/v99.0/1"),
        ] {
            let target = Target::new(path);
            assert_eq!(target.version, version, "{path}");
            assert_eq!(target.upgraded_from.as_deref(), upgraded_from, "{path}");
            assert_eq!(target.path, rest, "{path}");
        }
    }
}
