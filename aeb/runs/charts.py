# SPDX-License-Identifier: Apache-2.0
"""Draw charts as inline SVG, without a library or a network.

Each function returns a `<svg>` of the same width. Lines, bars and text take their colours from CSS
classes of the page (`s0`, `s1`, ... for series; `axis`, `grid`, `label`), so the charts follow its
light or dark theme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

__all__ = ["Series", "bars", "columns", "lines"]

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 10, 36
SERIES = 6
"""The number of colours in the style sheet."""


class Series(NamedTuple):
    """Points joined by a line."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int
    is_backdrop: bool = False  # wide and pale, behind the others
    dots: bool = False


class _Scale(NamedTuple):
    """Maps numbers to places on an axis."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)


def lines(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    log: bool = False,
    diagonal: bool = False,
) -> str:
    """Draw lines over a common axis.

    Args:
        series: each with its points, in order.
        x_label: the label below the axis.
        y_label: the label above the axis.
        y_range: the ends of the y axis; None for those of the points.
        x_range: the ends of the x axis; None for those of the points.
        log: whether the y axis is logarithmic. Points at 0 or below are omitted.
        diagonal: whether to draw the line y = x behind them.

    Returns:
        A `<svg>`.

    Example:
        >>> lines([Series("a", [(0, 1), (1, 2)], 0)], x_label="step", y_label="loss")[:4]
        '<svg'
    """
    if log:
        series = [
            one._replace(points=[(px, math.log10(py)) for px, py in one.points if py > 0])
            for one in series
        ]
    points = [point for one in series for point in one.points]
    x = _Scale(*(x_range or _ends([p[0] for p in points])), LEFT, WIDTH - RIGHT)
    y = _Scale(*(y_range or _ends([p[1] for p in points])), HEIGHT - BOTTOM, TOP + 12)
    ticks = _decades(y.low, y.high) if log else None
    parts = [_axes(x, y, x_label, y_label, y_ticks=ticks, powers=log)]
    if diagonal:
        parts.append(_path([(x(0.0), y(0.0)), (x(1.0), y(1.0))], "diagonal"))
    for one in sorted(series, key=lambda one: not one.is_backdrop):
        style = f"{'backdrop' if one.is_backdrop else 'line'} s{one.colour % SERIES}"
        places = [(x(px), y(py)) for px, py in one.points]
        parts.append(_path(places, style))
        if one.dots or len(places) == 1:
            parts += [
                f'<circle class="dot s{one.colour % SERIES}" cx="{px:.1f}" cy="{py:.1f}" r="2.6"/>'
                for px, py in places
            ]
    return _svg(parts, HEIGHT)


def columns(
    values: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    log: bool = False,
    numbers: bool = False,
    height: int = HEIGHT,
) -> str:
    """Draw a histogram over equal bins from 0 to 1.

    Args:
        values: one value per bin, >= 0.
        x_label: the label below the axis.
        y_label: the label above the axis.
        log: whether the y axis is logarithmic. It begins at a fifth of the least positive value.
        numbers: whether to write each value above its column.
        height: the height of the chart.

    Returns:
        A `<svg>`.

    Example:
        >>> columns([1, 2], x_label="rho", y_label="weights").count("<rect")
        2
    """
    top = max([*values, 1e-9])
    low = min([value for value in values if value > 0], default=top) / 5.0
    seen: Callable[[float], float] = (lambda v: math.log10(max(v, low))) if log else (lambda v: v)
    base, high = (math.log10(low), math.log10(top) + 0.05) if log else (0.0, 1.1 * top)
    x = _Scale(0.0, 1.0, LEFT, WIDTH - RIGHT)
    y = _Scale(base, max(high, base + 1e-9), height - BOTTOM, TOP + 12)
    ticks = _decades(base, high) if log else None
    parts = [_axes(x, y, x_label, y_label, height=height, y_ticks=ticks, powers=log)]
    wide = (WIDTH - RIGHT - LEFT) / len(values)
    for place, value in enumerate(values):
        up = y(seen(value)) if value > 0 else y(base)
        left = LEFT + place * wide
        parts.append(
            f'<rect class="bar s0" x="{left + 0.7:.1f}" y="{up:.1f}" width="{wide - 1.4:.1f}" '
            f'height="{max(y(base) - up, 0.0):.1f}"/>'
        )
        if numbers and value > 0:
            parts.append(_text(left + wide / 2, up - 3, _short(value), "label tiny", "middle"))
    return _svg(parts, height)


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Draw a bar from 0 to 1 for each row, with its name above and its text on the right.

    Args:
        rows: for each row its name, share in [0, 1], and text.

    Returns:
        A `<svg>`, as high as the rows need.

    Example:
        >>> bars([("fc1/kernel", 0.9, "90.0 %")]).count("<rect")
        2
    """
    parts, high = [], 30
    for place, (name, share, text) in enumerate(rows):
        top = place * high + 4
        parts.append(_text(2, top + 10, _clipped(name), "label", "start"))
        parts.append(_text(WIDTH - 2, top + 10, text, "label", "end"))
        parts.append(f'<rect class="track" x="2" y="{top + 14}" width="{WIDTH - 4}" height="8"/>')
        width = min(max(share, 0.0), 1.0) * (WIDTH - 4)
        parts.append(f'<rect class="bar s0" x="2" y="{top + 14}" width="{width:.1f}" height="8"/>')
    return _svg(parts, len(rows) * high + 6)


def _axes(
    x: _Scale,
    y: _Scale,
    x_label: str,
    y_label: str,
    *,
    height: int = HEIGHT,
    y_ticks: Sequence[float] | None = None,
    powers: bool = False,
) -> str:
    """Draw both axes with grid, ticks and labels."""
    parts = []
    for tick in _ticks(y.low, y.high) if y_ticks is None else y_ticks:
        at = y(tick)
        parts.append(_path([(LEFT, at), (WIDTH - RIGHT, at)], "grid"))
        name = _short(10.0**tick) if powers else _short(tick)
        parts.append(_text(LEFT - 5, at + 3.5, name, "label", "end"))
    for tick in _ticks(x.low, x.high):
        at = x(tick)
        parts.append(_path([(at, height - BOTTOM), (at, height - BOTTOM + 4)], "axis"))
        parts.append(_text(at, height - BOTTOM + 15, _short(tick), "label", "middle"))
    parts.append(
        _path([(LEFT, TOP + 12), (LEFT, height - BOTTOM), (WIDTH - RIGHT, height - BOTTOM)], "axis")
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, height - 5, x_label, "label", "middle"))
    parts.append(_text(2, TOP + 2, y_label, "label", "start"))
    return "".join(parts)


def _svg(parts: Sequence[str], height: int) -> str:
    # Hidden from screen readers, because the caption describes the figure in words.
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" aria-hidden="true" focusable="false">'
        f"{''.join(parts)}</svg>"
    )


def _path(points: Sequence[tuple[float, float]], style: str) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{style}" points="{places}"/>'


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis for some values. The ends always differ."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high > low:
        return low, high
    return low - 0.5, high + 0.5


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two ends, about five of them."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [step * number for number in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Return the logs of round numbers: powers of ten, and also 2 and 5 if these are few."""
    times = (1, 2, 5) if high - low < 2.5 else (1,)
    logs = [
        power + math.log10(factor)
        for power in range(math.floor(low), math.ceil(high) + 1)
        for factor in times
    ]
    return [one for one in logs if low - 1e-9 <= one <= high + 1e-9]


def _short(value: float) -> str:
    """Write a number in few characters."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}" if abs(value) > 1e-12 else "0"


def _clipped(name: str, most: int = 42) -> str:
    """Cut a long path at its front, because its end says more."""
    return name if len(name) <= most else f"...{name[3 - most :]}"
