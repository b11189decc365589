"""Line plots as SVG, for light and dark pages. Standard library only."""

import html
import math

WIDTH, HEIGHT = 780, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 220, 44, 52
COLOURS = ["#0b6e4f", "#c2410c", "#1d4ed8", "#a21caf", "#a16207", "#64748b", "#be123c", "#0e7490"]
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2937 }
.title { font-size: 14px; font-weight: 600 }
.grid { stroke: #d1d5db; stroke-width: 1 }
@media (prefers-color-scheme: dark) { text { fill: #e5e7eb } .grid { stroke: #374151 } .page { fill: #111827 } }
"""


def lines(path, title, x_label, y_label, series, log_x=False, log_y=False):
    """Writes a plot of `series`, a mapping of names to lists of (x, y)."""
    points = [point for values in series.values() for point in values]
    x_axis = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT, log_x)
    y_axis = Axis([y for _, y in points] + ([] if log_y else [0]), HEIGHT - BOTTOM, TOP, log_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text class="title" x="{LEFT}" y="22">{html.escape(title)}</text>',
    ]
    for tick in y_axis.ticks():
        at = y_axis.place(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in x_axis.ticks():
        at = x_axis.place(tick)
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{number(tick)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{html.escape(x_label)}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 8}" text-anchor="start">{html.escape(y_label)}</text>')
    for index, (name, values) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        places = [(x_axis.place(x), y_axis.place(y)) for x, y in values]
        path_data = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path_data}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(places) <= 20:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        at = TOP + 14 + 20 * index
        parts.append(f'<rect x="{WIDTH - RIGHT + 14}" y="{at - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 30}" y="{at}">{html.escape(name)}</text>')
    parts.append("</svg>\n")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(parts))


class Axis:
    """Maps the values of one axis to places on the page."""

    def __init__(self, values, first, last, is_log):
        self.first, self.last, self.is_log = first, last, is_log
        low, high = min(values), max(values)
        if is_log:
            self.low, self.high = low, max(high, low * 1.01)
        else:
            step = nice_step((high - low) / 5 or 1)
            self.step = step
            self.low, self.high = math.floor(low / step) * step, math.ceil(high / step) * step
            if self.low == self.high:
                self.high += step

    def place(self, value):
        scale = math.log if self.is_log else float
        part = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.first + part * (self.last - self.first)

    def ticks(self):
        if not self.is_log:
            count = round((self.high - self.low) / self.step)
            return [self.low + self.step * index for index in range(count + 1)]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        marks = [factor * 10**decade for decade in decades for factor in (1, 2, 5)]
        marks = [mark for mark in marks if self.low <= mark <= self.high]
        return marks if len(marks) <= 8 else [mark for mark in marks if math.log10(mark) % 1 < 1e-9]


def nice_step(rough):
    """The step of 1, 2 or 5 times a power of ten that is at least `rough`."""
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def number(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"
