//! The query of `/status`.

use crate::query;

/// The query of `/status`: `?route=R` asks for one route with its credential and webhooks,
/// `?sender=S&recipient=T` for the limits of these parties as well, and `?object=O` for those of an
/// account, a template or a number.
#[derive(Default)]
pub(super) struct StatusQuery {
    pub(super) route: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) recipient: Option<String>,
    pub(super) object: Option<String>,
}

impl StatusQuery {
    /// Reads the query.
    pub(super) fn parse(query: &str) -> Self {
        let value = |name| {
            query::pairs(query)
                .find(|pair| pair.is_named(&[name]))
                .map(|pair| pair.value().into_owned())
        };
        Self {
            route: value("route"),
            sender: value("sender"),
            recipient: value("recipient"),
            object: value("object"),
        }
    }
}
