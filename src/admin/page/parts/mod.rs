//! The parts of the page. A part that changes is sent anew as a whole.

use tokio::time::Instant;

use super::html::Html;
use super::summary::Summary;
use super::view::View;
use crate::admin::backlog::Backlogs;

mod credentials;
mod hour;
mod problems;
mod routes;
mod selection;
mod sidecar;
mod table;
mod verdict;
mod webhooks;

use selection::ShownTenants;

/// A part of the page, with the id of its element.
pub(super) struct Part {
    pub(super) id: &'static str,
    pub(super) html: Html,
}

/// The material of the parts.
struct Scene<'a> {
    summary: &'a Summary,
    backlogs: &'a Backlogs,
    selection: ShownTenants<'a>,
    view: &'a View,
    now: Instant,
}

/// The maker of a part.
type Maker = fn(&Scene<'_>, &mut Html);

/// Returns the parts of the page in a view, in order.
pub(super) fn parts(summary: &Summary, backlogs: &Backlogs, view: &View) -> Vec<Part> {
    let scene = Scene {
        summary,
        backlogs,
        selection: ShownTenants::new(summary, view),
        view,
        now: Instant::now(),
    };
    let makers: [(&'static str, Maker); 9] = [
        (VERDICT, verdict::verdict),
        ("facts", verdict::facts),
        ("problems", problems::problems),
        ("hour", hour::hour),
        (TENANTS, selection::tenants),
        ("credentials", credentials::credentials),
        ("routes", routes::routes),
        ("webhooks", webhooks::webhooks),
        ("sidecar", sidecar::sidecar),
    ];
    let part = |(id, make): (&'static str, Maker)| {
        let mut html = Html::default();
        make(&scene, &mut html);
        Part { id, html }
    };
    makers.into_iter().map(part).collect()
}

/// The part with the verdict, which a screen reader tells when it changes.
pub(super) const VERDICT: &str = "verdict";
/// The part before which the page asks for a text to look for.
pub(super) const TENANTS: &str = "tenants";
