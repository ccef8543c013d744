# SPDX-License-Identifier: Apache-2.0
"""The error of each method on each design, over that of the method that is best there.

Errors are means over the data sets that a method and the best one both have. The best is the one
of least mean error among those with the most data sets; it sits at 1. Bars are the standard error
of the difference from the best, data set by data set. In brackets, how many data sets ours has.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import figures
from benchmarks.harness.standings import Rows, tables
from benchmarks.selection.run import PRESETS
from benchmarks.selection.table import FIGURE

SIZE = (9.0, 6.4)

MARKS = {
    "ridge": ("C7", "v"),
    "lasso": ("C1", "s"),
    "elastic net": ("C8", "D"),
    "mcp": ("C2", "^"),
    "abess": ("C4", "P"),
    "susie": ("C3", "X"),
    "millipede": ("C5", "*"),
    "aeb": ("C0", "o"),
}
"""Colour and shape of each method that is shown; ours last, on top."""


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    """Draw the designs there are rows for (`harness.Figure`)."""
    settings = PRESETS[preset]
    rows = {at: there for at, there in tables(settings, results).rows.items() if there}
    shown = {name: relative(rows, name) for name in settings.designs}
    shown = {name: each for name, each in shown.items() if "aeb" in each}
    if not shown:
        return []
    fonts = {"font.size": 12}
    with figures.page(folder / FIGURE, SIZE, fonts=fonts) as (picture, axes):
        for place in range(0, len(shown), 2):
            axes.axhspan(place - 0.5, place + 0.5, color="0.95", zorder=0)
        axes.axvline(1.0, color="0.6", linewidth=1)
        for number, (method, (colour, mark)) in enumerate(MARKS.items()):
            points = [
                (each[method][0], place, each[method][1])
                for place, each in enumerate(shown.values())
                if method in each
            ]
            if points:
                ratios, places, errors = zip(*points, strict=True)
                shift = 0.7 * (number / (len(MARKS) - 1) - 0.5)
                ours, heights = method == "aeb", [place + shift for place in places]
                style = {"linewidth": 1.2, "label": "aeb.regression" if ours else method}
                size = 9 if ours else 7
                figures.marks(axes, ratios, heights, None, colour, mark, size, xerr=errors, **style)
        label = "squared error on a new row, noise included / that of the best method there"
        axes.set(xscale="log", xlabel=label)
        sets = [f"{name} ({len(rows[name, 'aeb'])})" for name in shown]
        axes.set_yticks(range(len(shown)), sets)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        ticks = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        figures.legend_above(picture, axes, 4, frameon=False)
    return [folder / FIGURE]


def relative(rows: Rows, task: str) -> Mapping[str, tuple[float, float]]:
    """Return by method the error over the best one, and the standard error of the gap over that."""
    errors = {
        method: {row["seed"]: row["metrics"]["error"] for row in rows[task, method]}
        for method in MARKS
        if (task, method) in rows
    }
    if not errors:
        return {}
    most = max(map(len, errors.values()))
    full = {
        method: statistics.fmean(of.values()) for method, of in errors.items() if len(of) == most
    }
    best = errors[min(full, key=full.__getitem__)]
    ratios = {}
    for method, of in errors.items():
        shared = [(of[seed], best[seed]) for seed in of if seed in best]
        base = statistics.fmean(theirs for _, theirs in shared)
        gaps = [mine - theirs for mine, theirs in shared]
        spread = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0
        ratios[method] = (1.0 + statistics.fmean(gaps) / base, spread / base)
    return ratios
