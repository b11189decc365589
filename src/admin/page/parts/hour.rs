//! The last hour: the plots of the whole sidecar, and the numbers that a row shows.

use std::time::Duration;

use super::Scene;
use super::table::{brief, grouped};
use crate::admin::page::html::Html;
use crate::admin::page::plot::{Kind, Plot, Series, Size};
use crate::traffic::Minute;

/// Writes the plots of the whole sidecar.
pub(super) fn hour(scene: &Scene<'_>, html: &mut Html) {
    let summary = scene.summary;
    let requests = LastHour::new(&summary.requests);
    let events = LastHour::new(&summary.events);
    html.markup("<h2>The last hour</h2><div class=\"plots\">");
    figure(
        html,
        "Requests",
        &requests.requests_text("failed", "over a limit"),
        &per_minute(&summary.requests),
        |html| requests.counts(Size::Large, "Requests", html),
    );
    figure(
        html,
        "Latency",
        &requests.latency_text(),
        "median, and paler the slowest hundredth",
        |html| requests.latency(Size::Large, html),
    );
    figure(
        html,
        "Limits",
        &requests.limits_text(),
        "the most of a limit in use, in percent",
        |html| requests.limits(Size::Large, html),
    );
    figure(
        html,
        "Events",
        &events.requests_text("failed", "forged or refused"),
        &per_minute(&summary.events),
        |html| events.counts(Size::Large, "Events", html),
    );
    if summary.survey.is_some() {
        let now = summary.backlog.last().copied().unwrap_or_default();
        let most = summary.backlog.iter().max().copied().unwrap_or_default();
        let text = format!("{} waiting", grouped(now));
        let bound = format!("at most {}", grouped(most));
        figure(html, "Backlog", &text, &bound, |html| {
            backlog(Size::Large, &summary.backlog, html);
        });
    }
    html.markup("</div>");
}

fn figure(
    html: &mut Html,
    title: &'static str,
    text: &str,
    scale: &str,
    draw: impl FnOnce(&mut Html),
) {
    html.markup("<figure><figcaption><b>").markup(title);
    html.markup("</b> ").text(text).markup("</figcaption>");
    draw(html);
    html.markup("<p class=\"scale\">").text(scale);
    html.markup("</p></figure>");
}

fn per_minute(minutes: &[Minute]) -> String {
    let all = minutes.iter().map(|minute| {
        u64::from(minute.passed) + u64::from(minute.failed) + u64::from(minute.refused)
    });
    match all.max().unwrap_or_default() {
        0 => "none".to_owned(),
        most => format!("at most {} a minute", grouped(most)),
    }
}

/// Draws a backlog.
pub(super) fn backlog(size: Size, waiting: &[u64], html: &mut Html) {
    let most = waiting.iter().max().copied().unwrap_or_default();
    let label = format!("Backlog of the last hour: at most {}", grouped(most));
    let series = [Series {
        values: waiting.iter().copied().map(Some).collect(),
        kind: Kind::Refused,
    }];
    let plot = Plot {
        size,
        label: &label,
        least_top: 0,
        series: &series,
    };
    plot.draw(html);
}

/// The minutes of an hour, and their sums.
pub(super) struct LastHour<'a> {
    minutes: &'a [Minute],
    passed: u64,
    failed: u64,
    refused: u64,
}

impl<'a> LastHour<'a> {
    pub(super) fn new(minutes: &'a [Minute]) -> Self {
        let sum = |count: fn(&Minute) -> u32| minutes.iter().map(count).map(u64::from).sum();
        Self {
            minutes,
            passed: sum(|minute| minute.passed),
            failed: sum(|minute| minute.failed),
            refused: sum(|minute| minute.refused),
        }
    }

    /// Returns the sums in words, with the words for what failed and for what was refused.
    pub(super) fn requests_text(&self, failed: &str, refused: &str) -> String {
        let all = self.passed + self.failed + self.refused;
        let mut text = grouped(all);
        if self.failed > 0 {
            text += &format!(", {} {failed}", grouped(self.failed));
        }
        if self.refused > 0 {
            text += &format!(", {} {refused}", grouped(self.refused));
        }
        text
    }

    /// Draws the requests: all, then those that failed or were refused, then those that failed.
    pub(super) fn counts(&self, size: Size, noun: &str, html: &mut Html) {
        let series = |kind, count: fn(&Minute) -> u64| Series {
            values: self.minutes.iter().map(count).map(Some).collect(),
            kind,
        };
        let label = format!(
            "{noun} of the last hour: {}",
            self.requests_text("failed", "refused")
        );
        let bad = |minute: &Minute| u64::from(minute.failed);
        let plot = Plot {
            size,
            label: &label,
            least_top: 0,
            series: &[
                series(Kind::Good, |minute| {
                    u64::from(minute.passed) + u64::from(minute.failed) + u64::from(minute.refused)
                }),
                series(Kind::Refused, |minute| {
                    u64::from(minute.failed) + u64::from(minute.refused)
                }),
                series(Kind::Bad, bad),
            ],
        };
        plot.draw(html);
    }

    /// Returns the durations of the last minute with requests, in words.
    pub(super) fn latency_text(&self) -> String {
        let last = self.minutes.iter().rev().find_map(|minute| {
            let (median, slowest) = minute.median.zip(minute.slowest)?;
            Some(format!("p50 {}, p99 {}", brief(median), brief(slowest)))
        });
        last.unwrap_or_else(|| "-".to_owned())
    }

    /// Draws the durations.
    pub(super) fn latency(&self, size: Size, html: &mut Html) {
        let series = |kind, duration: fn(&Minute) -> Option<Duration>| Series {
            values: self
                .minutes
                .iter()
                .map(|minute| duration(minute).map(micros))
                .collect(),
            kind,
        };
        let label = format!("Latency of the last hour: {} now", self.latency_text());
        let plot = Plot {
            size,
            label: &label,
            least_top: 0,
            series: &[
                series(Kind::High, |minute| minute.slowest),
                series(Kind::Usual, |minute| minute.median),
            ],
        };
        plot.draw(html);
    }

    /// Returns the use of limits in words.
    pub(super) fn limits_text(&self) -> String {
        let used = self.minutes.iter().filter_map(|minute| minute.used).max();
        let wait = self.minutes.iter().filter_map(|minute| minute.wait).max();
        let Some(used) = used else {
            return "-".to_owned();
        };
        let mut text = format!("at most {used} % used");
        if let Some(wait) = wait.filter(|wait| *wait >= SHORTEST_WAIT) {
            text += &format!(", waits up to {}", brief(wait));
        }
        text
    }

    /// Draws the use of limits, on a scale from 0 to 100 %.
    pub(super) fn limits(&self, size: Size, html: &mut Html) {
        let used = |minute: &Minute| minute.used.map(u64::from);
        let label = format!("Limits in the last hour: {}", self.limits_text());
        let plot = Plot {
            size,
            label: &label,
            least_top: 100,
            series: &[Series {
                values: self.minutes.iter().map(used).collect(),
                kind: Kind::Usual,
            }],
        };
        plot.draw(html);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The wait that is worth a word: shorter waits are less than the time on the network.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
