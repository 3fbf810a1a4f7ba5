"""Line charts as SVG text: axes, lines, a legend; readable on light and on dark. Knows numbers and words, no runs.

Written by hand because a report must be made on any computer: Plotly's own pictures need a browser, Matplotlib 70 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from tunesmith.data.readers.archives import printable
from tunesmith.store.series import Floats, thin

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 40, 44
POINTS = 400
LEGEND_ROW, LEGEND_GAP, LONGEST_LEGEND = 20, 26, 60
PALETTE = ("#3556c9", "#d9772b", "#2a9d74", "#b5468b", "#7a6bd6", "#c2433f", "#3f97b8", "#8a7a2e", "#5f6b85", "#9a5b3c")
_FONT = "font-family=\"system-ui, -apple-system, 'Hiragino Sans', 'Noto Sans CJK JP', sans-serif\""
_STYLE = (
    ".chart-ground{fill:#fff}.chart-ink{fill:#1c2333}.chart-dim{fill:#5f6b85}.chart-grid{stroke:#e3e7f0}.chart-axis{stroke:#8a93a8}"
    "@media (prefers-color-scheme: dark){.chart-ground{fill:#12151d}.chart-ink{fill:#e6e9f2}.chart-dim{fill:#a3aec6}"
    ".chart-grid{stroke:#2a3142}.chart-axis{stroke:#5f6b85}}"
)


@dataclass(frozen=True)
class ChartLine:
    """A line: its name in the legend, places and values both [points], its colour; held-out measures are drawn with their points."""

    name: str
    x: Floats
    y: Floats
    colour: str
    dotted: bool = False


def line_chart(title: str, x_label: str, lines: Sequence[ChartLine]) -> str:
    """Return a chart of lines as an SVG document; values that are no numbers leave a gap."""
    drawn = [line for line in lines if np.isfinite(line.y).any()]
    x, y = _axis([line.x for line in drawn], tight=True), _axis([line.y for line in drawn])
    named = drawn if [line.name for line in drawn] != [title] else []
    places, legend_height = _legend_places(named)
    height = HEIGHT + legend_height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" {_FONT}>',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="chart-ground" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<text class="chart-ink" x="{LEFT}" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
        *_axes(x, y, x_label),
        *(part for line in drawn for part in _draw(line, x, y)),
        *(part for line, place in zip(named, places, strict=True) for part in _legend(line, place)),
        "</svg>",
    ]
    return "\n".join(parts)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers, ascending and evenly apart, of which the first is at most `low` and the last at least `high`."""
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 12 - math.floor(math.log10(step))) for number in range(first, last + 1)]


@dataclass(frozen=True)
class _Axis:
    """From which value to which an axis goes, and its ticks."""

    low: float
    high: float
    ticks: list[float]

    def place(self, values: Floats, begin: float, end: float) -> Floats:
        """Return where values [points] stand between two ends of the picture."""
        return begin + (values - self.low) / (self.high - self.low) * (end - begin)


def _axis(columns: Sequence[Floats], tight: bool = False) -> _Axis:
    """Return the axis of all columns; a tight one ends where they do, the others at ticks."""
    finite = np.concatenate([column[np.isfinite(column)] for column in columns]) if columns else np.zeros(0)
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    ticks = nice_ticks(low, high)
    if not tight or not high > low:
        return _Axis(ticks[0], ticks[-1], ticks)
    return _Axis(low, high, [tick for tick in ticks if low <= tick <= high])


def show_tick(value: float) -> str:
    """Return a tick's number: plain where that is short, else with an exponent."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:,.6g}"


def _axes(x_axis: _Axis, y_axis: _Axis, x_label: str) -> list[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick, y in zip(y_axis.ticks, y_axis.place(np.array(y_axis.ticks), bottom, TOP), strict=True):
        parts.append(f'<line class="chart-grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="chart-dim" x="{LEFT - 8}" y="{y + 4:.1f}" font-size="12" text-anchor="end">{show_tick(tick)}</text>')
    for tick, x in zip(x_axis.ticks, x_axis.place(np.array(x_axis.ticks), LEFT, right), strict=True):
        parts.append(f'<text class="chart-dim" x="{x:.1f}" y="{bottom + 17}" font-size="12" text-anchor="middle">{show_tick(tick)}</text>')
    parts.append(f'<line class="chart-axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (LEFT + right) / 2
    label = f'<text class="chart-dim" x="{middle}" y="{bottom + 35}" font-size="12" text-anchor="middle">{escape(x_label)}</text>'
    return [*parts, label]


def _draw(line: ChartLine, x_axis: _Axis, y_axis: _Axis) -> list[str]:
    """Return the pieces of a line between values that are no numbers."""
    finite = np.isfinite(line.y) & np.isfinite(line.x)
    pieces = np.split(np.arange(len(line.y)), np.flatnonzero(np.diff(finite.astype(int))) + 1)
    parts = []
    for piece in pieces:
        if not len(piece) or not finite[piece[0]]:
            continue
        x, y = thin(line.x[piece], line.y[piece], POINTS)
        places = list(zip(x_axis.place(x, LEFT, WIDTH - RIGHT), y_axis.place(y, HEIGHT - BOTTOM, TOP), strict=True))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        dash = ' stroke-dasharray="5 4"' if line.dotted else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2" stroke-linejoin="round"{dash}/>')
        if line.dotted or len(places) == 1:
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{line.colour}"/>' for a, b in places]
    return parts


def _legend_places(lines: Sequence[ChartLine]) -> tuple[list[tuple[float, float]], int]:
    """Return where each name stands, wrapped, and the height that they take."""
    places: list[tuple[float, float]] = []
    x, row = float(LEFT), 0
    for line in lines:
        width = LEGEND_GAP + 16 + _text_width(_short(line.name))
        if x > LEFT and x + width > WIDTH - RIGHT:
            x, row = float(LEFT), row + 1
        places.append((x, HEIGHT + row * LEGEND_ROW + 8))
        x += width
    return places, (row + 1) * LEGEND_ROW + 10 if lines else 0


def _text_width(words: str) -> float:
    return sum(12.5 if ord(letter) > 0x2E7F else 7.0 for letter in words)


def _short(name: str) -> str:
    return printable(name if len(name) <= LONGEST_LEGEND else f"{name[: LONGEST_LEGEND - 1]}…")


def _legend(line: ChartLine, place: tuple[float, float]) -> list[str]:
    x, y = place
    dash = ' stroke-dasharray="5 4"' if line.dotted else ""
    return [
        f'<line x1="{x:.0f}" x2="{x + 18:.0f}" y1="{y:.0f}" y2="{y:.0f}" stroke="{line.colour}" stroke-width="3"{dash}/>',
        f'<text class="chart-ink" x="{x + 24:.0f}" y="{y + 4:.0f}" font-size="12.5">{escape(_short(line.name))}</text>',
    ]
