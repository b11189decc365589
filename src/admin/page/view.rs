//! The part of the tenants that a viewer wants to see, from the query of the page.

use crate::query;

/// The view: `?find=TEXT` keeps the tenants with the text in a name, `?only=problems` those with a
/// problem, `?page=N` is the N-th part of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// The text in lower case; empty for all tenants.
    pub(super) find: String,
    pub(super) only: Only,
    /// The part, from 0.
    pub(super) page: usize,
}

/// The tenants that are shown at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Only {
    /// Every tenant.
    #[default]
    All,
    /// Tenants with a problem.
    Problems,
}

impl View {
    /// Reads the query. What is not understood is left out.
    pub(super) fn parse(text: &str) -> Self {
        let value = |name| {
            query::pairs(text)
                .find(|pair| pair.is_named(&[name]))
                .map(|pair| pair.value().into_owned())
        };
        let find: String = value("find").unwrap_or_default();
        let page = value("page").and_then(|page| page.parse::<usize>().ok());
        Self {
            find: find
                .trim()
                .chars()
                .take(MAX_FIND)
                .collect::<String>()
                .to_lowercase(),
            only: match value("only").as_deref() {
                Some("problems") => Only::Problems,
                _ => Only::All,
            },
            page: page.unwrap_or(1).saturating_sub(1),
        }
    }

    /// True for a name with the wanted text.
    pub(super) fn finds(&self, name: &str) -> bool {
        self.find.is_empty() || name.to_lowercase().contains(&self.find)
    }

    /// Returns the query of another part of the same view.
    pub(super) fn query(&self, page: usize) -> String {
        let mut text = format!("?page={}", page + 1);
        if self.only == Only::Problems {
            text += "&only=problems";
        }
        if !self.find.is_empty() {
            let find = percent_encoding::utf8_percent_encode(
                &self.find,
                percent_encoding::NON_ALPHANUMERIC,
            );
            text += &format!("&find={find}");
        }
        text
    }
}

/// The longest text to look for, in characters: a bound on what a viewer makes the page keep.
const MAX_FIND: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_a_part_of_the_tenants() {
        let view = |find: &str, only, page| View {
            find: find.to_owned(),
            only,
            page,
        };
        for (query, expected) in [
            ("", view("", Only::All, 0)),
            ("page=3", view("", Only::All, 2)),
            ("page=0", view("", Only::All, 0)),
            ("page=-1&only=x", view("", Only::All, 0)),
            (
                "find=+ACME%26+&only=problems",
                view("acme&", Only::Problems, 0),
            ),
        ] {
            assert_eq!(View::parse(query), expected, "{query}");
        }
    }

    #[test]
    fn the_query_of_another_part_is_read_as_written() {
        for find in ["", "a b&c=d", "\u{e9}\"<"] {
            for only in [Only::All, Only::Problems] {
                let view = View {
                    find: find.to_owned(),
                    only,
                    page: 0,
                };
                let next = View {
                    page: 7,
                    ..view.clone()
                };
                let query = view.query(7);
                assert_eq!(View::parse(query.trim_start_matches('?')), next, "{query}");
            }
        }
    }

    #[test]
    fn names_are_found_whatever_their_case() {
        let view = View::parse("find=AcM");
        assert!(view.finds("xAcme") && view.finds("ACME") && !view.finds("ac me"));
        assert!(View::default().finds(""));
    }
}
