//! The lists of what is wrong, with what to do, of what is to be done in time, and of what is
//! paused.

use super::Scene;
use crate::admin::page::html::Html;
use crate::admin::problems::{Gravity, ProblemLine};
use crate::json::words::duration;

/// Writes the lists; nothing where they are empty.
pub(super) fn problems(scene: &Scene<'_>, html: &mut Html) {
    let all = &scene.summary.problems;
    let of = |gravity: Gravity| {
        all.iter()
            .filter(move |problem| problem.gravity == gravity)
            .collect::<Vec<_>>()
    };
    let wrong = of(Gravity::Wrong);
    if !wrong.is_empty() {
        html.markup("<h2>What is wrong, and what to do</h2><ol class=\"problems wrong\">");
        list(&wrong, html);
        html.markup("</ol>");
        more(wrong.len(), html);
    }
    let notices = of(Gravity::Notice);
    if !notices.is_empty() {
        html.markup("<h2>To be done in time</h2><ol class=\"problems notice\">");
        list(&notices, html);
        html.markup("</ol>");
        more(notices.len(), html);
    }
    paused(scene, html);
}

fn list(problems: &[&ProblemLine], html: &mut Html) {
    for problem in problems.iter().take(MAX_SHOWN) {
        html.markup("<li>");
        // The line begins with its subject.
        match problem.text.split_once(": ") {
            Some((subject, rest)) => html
                .markup("<b><bdi>")
                .text(subject)
                .markup("</bdi></b> ")
                .text(rest),
            None => html.text(&problem.text),
        };
        html.markup("</li>");
    }
}

fn more(count: usize, html: &mut Html) {
    let more = count.saturating_sub(MAX_SHOWN);
    if more > 0 {
        html.markup("<p class=\"more\">and ").text(more);
        html.markup(" more: <code>keyside status --problems</code> lists all of them</p>");
    }
}

fn paused(scene: &Scene<'_>, html: &mut Html) {
    let all = &scene.summary.paused;
    if all.is_empty() {
        return;
    }
    html.markup("<h2>Paused now, and goes on by itself</h2><ul class=\"problems notice\">");
    for paused in all.iter().take(MAX_PAUSED) {
        html.markup("<li><b>route <bdi>").text(&paused.route);
        html.markup("</bdi></b> ").text(&paused.subject);
        html.markup(" for ").text(duration(paused.seconds));
        html.markup(": ").text(paused.reason).markup("</li>");
    }
    html.markup("</ul>");
    let more = all.len().saturating_sub(MAX_PAUSED);
    if more > 0 {
        html.markup("<p class=\"more\">and ").text(more);
        html.markup(" more</p>");
    }
}

/// The problems of one weight that the page lists: nobody reads more at once.
const MAX_SHOWN: usize = 50;
/// The pauses that the page lists: one screen.
const MAX_PAUSED: usize = 20;
