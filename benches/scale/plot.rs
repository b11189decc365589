//! Plots over the number of sidecars as SVG, readable on a light and on a dark page.

use std::fmt::Write as _;

/// A plot with a logarithmic axis of sidecars.
pub struct Plot<'a> {
    /// Title, with the unit.
    pub title: &'a str,
    /// Numbers of sidecars.
    pub sidecars: &'a [usize],
    /// Lowest and highest value.
    pub range: (f64, f64),
    /// A line to reach or to keep below, if any.
    pub goal: Option<f64>,
    /// Lines by name.
    pub lines: Vec<(&'a str, Vec<f64>)>,
}

impl Plot<'_> {
    /// The text of the file.
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n<style>{STYLE}</style>\n<text class=\"title\" x=\"{LEFT}\" y=\"18\">{title}</text>\n",
            title = self.title
        );
        for step in 0..=4 {
            let value = self.range.0 + (self.range.1 - self.range.0) * f64::from(step) / 4.0;
            let y = self.y(value);
            let label = Self::label(value);
            writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/><text class=\"end\" x=\"{}\" y=\"{:.1}\">{label}</text>",
                LEFT - 6.0,
                y + 4.0
            )
            .ok();
        }
        for sidecars in [1, 10, 100, 1000, 2000] {
            let x = self.x(sidecars);
            writeln!(
                svg,
                "<text class=\"middle\" x=\"{x:.1}\" y=\"{}\">{sidecars}</text>",
                BOTTOM + 16.0
            )
            .ok();
        }
        if let Some(goal) = self.goal {
            let y = self.y(goal);
            writeln!(svg, "<path class=\"goal\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>").ok();
        }
        for (place, (name, values)) in self.lines.iter().enumerate() {
            let points: Vec<_> = self
                .sidecars
                .iter()
                .zip(values)
                .map(|(sidecars, value)| format!("{:.1},{:.1}", self.x(*sidecars), self.y(*value)))
                .collect();
            let (x, y) = (LEFT + 118.0 * place as f64, HEIGHT - 8.0);
            let points = points.join(" ");
            writeln!(
                svg,
                "<polyline class=\"line c{place}\" points=\"{points}\"/><path class=\"line c{place}\" d=\"M{x} {}h14\"/>\
                 <text x=\"{}\" y=\"{y}\">{name}</text>",
                y - 4.0,
                x + 18.0
            )
            .ok();
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn label(value: f64) -> String {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    fn x(&self, sidecars: usize) -> f64 {
        LEFT + (RIGHT - LEFT) * (sidecars as f64).ln() / MOST_SIDECARS.ln()
    }

    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        BOTTOM - (BOTTOM - TOP) * (value.clamp(low, high) - low) / (high - low)
    }
}

const WIDTH: f64 = 660.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 246.0;
const MOST_SIDECARS: f64 = 2000.0;
/// Colours with enough contrast on white and on black.
const STYLE: &str = "text{font:12px sans-serif;fill:#555}.title{font-weight:bold}.end{text-anchor:end}.middle{text-anchor:middle}\
.grid{stroke:#8884;fill:none}.goal{stroke:#888;stroke-dasharray:5 4;fill:none}.line{fill:none;stroke-width:2}\
.c0{stroke:#2a7de1}.c1{stroke:#e07b00}.c2{stroke:#2f9e44}.c3{stroke:#d6336c}.c4{stroke:#8f5bd6}\
@media(prefers-color-scheme:dark){text{fill:#bbb}}";
