//! The tenants of a view: those with problems first, then by name, a part at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Scene;
use crate::admin::page::html::Html;
use crate::admin::page::summary::Summary;
use crate::admin::page::view::{Only, View};
use crate::admin::problems::Gravity;
use crate::config::WebhookConfig;
use crate::credential::Credential;
use crate::outbound::policy::Route;

/// The tenants to show: some credentials with their routes and webhooks.
pub(super) struct ShownTenants<'a> {
    pub(super) credentials: Vec<&'a Credential>,
    pub(super) routes: ShownRows<&'a Route>,
    pub(super) webhooks: ShownRows<&'a WebhookConfig>,
    /// The credentials of all parts of the view.
    found: usize,
    /// The part that is shown, from 0.
    page: usize,
}

/// The rows of a table.
pub(super) struct ShownRows<T> {
    pub(super) shown: Vec<T>,
    /// The number of rows that are left out.
    pub(super) more: usize,
}

impl<T> ShownRows<T> {
    /// Takes the rows that have a place, by their places.
    fn new(all: impl Iterator<Item = T>, place: impl Fn(&T) -> Option<usize>) -> Self {
        let mut sorted: Vec<_> = all.filter_map(|row| Some((place(&row)?, row))).collect();
        sorted.sort_by_key(|(place, _)| *place);
        let mut shown: Vec<_> = sorted.into_iter().map(|(_, row)| row).collect();
        let more = shown.len().saturating_sub(MAX_ROWS);
        shown.truncate(MAX_ROWS);
        Self { shown, more }
    }
}

impl<'a> ShownTenants<'a> {
    /// Chooses the tenants of a view. A part behind the last is the last.
    pub(super) fn new(summary: &'a Summary, view: &View) -> Self {
        let live = &summary.live;
        let routes = live.generation.policy.routes();
        let webhooks = &live.config.webhooks;
        let by_others: BTreeSet<&str> = if view.find.is_empty() {
            BTreeSet::new()
        } else {
            let routes = routes.iter().filter(|route| view.finds(&route.name));
            let webhooks = webhooks.iter().filter(|webhook| view.finds(&webhook.name));
            let of_routes = routes.map(|route| route.credential.name.as_str());
            of_routes
                .chain(webhooks.map(|webhook| webhook.credential.as_str()))
                .collect()
        };
        let gravity = |name: &str| summary.troubled.get(name);
        let mut found: Vec<&Credential> = live
            .credentials
            .values()
            .map(|credential| &**credential)
            .filter(|credential| {
                let name = credential.name.as_str();
                let is_found = view.finds(name) || by_others.contains(name);
                is_found && (view.only == Only::All || gravity(name).is_some())
            })
            .collect();
        // The sort keeps the order of names.
        found.sort_by_key(|credential| match gravity(&credential.name) {
            Some(Gravity::Wrong) => 0,
            Some(Gravity::Notice) => 1,
            None => 2,
        });
        let page = view.page.min(pages(found.len()) - 1);
        let credentials: Vec<_> = found.iter().skip(page * PAGE).take(PAGE).copied().collect();
        let names = credentials.iter().map(|credential| &*credential.name);
        let places: HashMap<&str, usize> = names.enumerate().map(|(n, name)| (name, n)).collect();
        let place = |name: &str| places.get(name).copied();
        Self {
            routes: ShownRows::new(routes.iter().map(Arc::as_ref), |route| {
                place(&route.credential.name)
            }),
            webhooks: ShownRows::new(webhooks.iter(), |webhook| place(&webhook.credential)),
            credentials,
            found: found.len(),
            page,
        }
    }
}

/// Writes which tenants are shown, with links to the others.
pub(super) fn tenants(scene: &Scene<'_>, html: &mut Html) {
    let ShownTenants { found, page, .. } = scene.selection;
    let all = scene.summary.live.credentials.len();
    if found == 0 {
        html.markup("<p class=\"pages\">");
        html.markup(match all {
            0 => "The configuration has no credential.",
            _ => "No credential, route or webhook is like that. <a href=\"/\">Show all</a>",
        });
        html.markup("</p>");
        return;
    }
    let first = page * PAGE + 1;
    let last = (page * PAGE + PAGE).min(found);
    html.markup("<nav class=\"pages\" aria-label=\"Tenants\"><span>Tenants ");
    html.text(format_args!("{first}\u{2013}{last} of {found}"));
    if found < all {
        html.text(format_args!(" found among {all}"));
    }
    html.markup(", those with problems first</span>");
    if page > 0 {
        link(
            html,
            &scene.view.query(page - 1),
            "rel=\"prev\"",
            "\u{2190} previous",
        );
    }
    if page + 1 < pages(found) {
        link(
            html,
            &scene.view.query(page + 1),
            "rel=\"next\"",
            "next \u{2192}",
        );
    }
    html.markup("</nav>");
}

fn link(html: &mut Html, query: &str, rel: &'static str, words: &'static str) {
    html.markup("<a ").markup(rel).markup(" href=\"");
    html.text(query).markup("\">").markup(words).markup("</a>");
}

/// Writes how many rows are left out of a table.
pub(super) fn left_out(more: usize, html: &mut Html) {
    if more > 0 {
        html.markup("<p class=\"more\">and ").text(more);
        html.markup(" more: look for a name to see them</p>");
    }
}

fn pages(found: usize) -> usize {
    found.div_ceil(PAGE).max(1)
}

/// The credentials of one part: one screen.
const PAGE: usize = 25;
/// The rows of one table: a credential may have hundreds of routes.
const MAX_ROWS: usize = 60;
