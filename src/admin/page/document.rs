//! The document around the parts.

use super::html::Html;
use super::parts::{Part, TENANTS, VERDICT};
use super::view::{Only, View};

/// Returns the whole document. The document shows everything without the script as well.
pub(super) fn whole(view: &View, parts: &[Part]) -> Html {
    let mut html = Html::default();
    html.markup(HEAD).markup("<style>").markup(STYLE);
    html.markup("</style></head><body>").markup(TOP);
    for part in parts {
        match part.id {
            VERDICT => html.markup("<div role=\"status\" id=\"part-"),
            TENANTS => {
                form(view, &mut html);
                html.markup("<div id=\"part-")
            }
            _ => html.markup("<div id=\"part-"),
        };
        html.markup(part.id).markup("\">");
        html.add(&part.html).markup("</div>");
    }
    html.markup("</main>").markup(BOTTOM);
    html.markup("<script>").markup(SCRIPT);
    html.markup("</script></body></html>\n");
    html
}

/// Writes the form that looks for tenants. The form works without the script, by loading the page
/// again.
fn form(view: &View, html: &mut Html) {
    html.markup(
        "<h2 id=\"tenants\">Tenants</h2><form class=\"find\" role=\"search\" action=\"/\" method=\"get\">\
         <label>Name <input type=\"search\" name=\"find\" maxlength=\"64\" autocomplete=\"off\" value=\"",
    );
    html.text(&view.find);
    html.markup("\"></label><label><input type=\"checkbox\" name=\"only\" value=\"problems\"");
    html.markup(match view.only {
        Only::Problems => " checked",
        Only::All => "",
    });
    html.markup("> only with problems</label><button>Show</button></form>");
}

/// The style, whose hash the policy names.
pub(super) const STYLE: &str = include_str!("page.css");
/// The script, whose hash the policy names.
pub(super) const SCRIPT: &str = include_str!("page.js");

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
    <meta name=\"color-scheme\" content=\"light dark\"><title>Keyside</title>\
    <link rel=\"icon\" href=\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E\
    %3Ccircle cx='5.5' cy='8' r='3.5' fill='none' stroke='%232f7d6b' stroke-width='2'/%3E\
    %3Cpath d='M9 8h6M13 8v3' stroke='%232f7d6b' stroke-width='2'/%3E%3C/svg%3E\">\
    <noscript><meta http-equiv=\"refresh\" content=\"30\"></noscript>";

const TOP: &str = "<a class=\"skip\" href=\"#main\">Skip to what is wrong</a><header><h1>Keyside</h1>\
    <noscript><p class=\"live\">This page loads itself again every 30 s. <a href=\"\">Load it now</a></p></noscript>\
    <p class=\"live\" id=\"live\" hidden><span id=\"state\">connecting</span> \
    <button type=\"button\" id=\"pause\" aria-pressed=\"false\">Pause</button></p></header>\
    <main id=\"main\" tabindex=\"-1\">";

const BOTTOM: &str = "<footer><p>The same in a terminal: <code>keyside status</code>. For programs: \
    <code>GET /status</code> and <code>GET /metrics</code>.</p></footer>";
