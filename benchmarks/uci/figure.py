# SPDX-License-Identifier: Apache-2.0
"""The rows as one figure: each arm's test RMSE over that of the poster's best arm."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import figures
from benchmarks.uci.run import PRESETS
from benchmarks.uci.table import FIGURES, LABELS, POSTER, TARGET, Found

SIZE = (8.4, 5.6)

MARKERS = "osD^vP*"

LONGEST = 1.55
"""Ratio at which the axis ends at most."""


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    """Draw what there are rows for; a set that the poster lacks is left out (`harness.Figure`)."""
    rows = {
        cell: there
        for cell, there in harness.found(PRESETS[preset], results).items()
        if there and cell[0] in POSTER[TARGET]
    }
    if not rows:
        return []
    sets = list(dict.fromkeys(name for name, _ in rows))
    arms = list(dict.fromkeys(arm for _, arm in rows))
    fonts = {"font.size": 13, "legend.fontsize": 11}
    with figures.page(folder / FIGURES[0], SIZE, fonts=fonts) as (picture, axes):
        for number, arm in enumerate(arms):
            shift = (number - (len(arms) - 1) / 2) * 0.8 / len(arms)
            for at, name in enumerate(sets):
                target = POSTER[TARGET][name][0]
                metrics = [row["metrics"] for row in rows.get((name, arm), [])]
                for read, filled in (("rmse_last", False), ("rmse_average", True)):
                    values = np.array([m[read] for m in metrics if m[read] is not None]) / target
                    if not len(values):
                        continue
                    error = figures.spread(values) / len(values) ** 0.5
                    style: dict[str, Any] = {
                        "markerfacecolor": f"C{number}" if filled else "white",
                        "label": LABELS[arm] if filled and at == 0 else None,
                    }
                    drawn = (f"C{number}", MARKERS[number], 8)
                    figures.marks(axes, at + shift, values.mean(), error, *drawn, **style)
                theirs = POSTER.get(arm, {}).get(name)
                if theirs is not None:
                    style = {"color": f"C{number}", "markersize": 8, "markeredgewidth": 2.5}
                    axes.plot(at + shift, theirs[0] / target, "_", **style)
        figures.level(axes, 1.0)
        axes.set_xticks(range(len(sets)), [_named(name, rows) for name in sets])
        axes.set_ylabel(f"test RMSE / poster's {LABELS[TARGET]}")
        axes.set_ylim(top=min(LONGEST, axes.get_ylim()[1]))
        for shown, what in (("w", "last draw"), ("k", "average"), ("", "poster")):
            axes.plot(
                *([], []),
                color="k",
                marker="o" if shown else "_",
                markersize=8,
                markeredgewidth=1.0 if shown else 2.5,
                markerfacecolor=shown or "k",
                linestyle="none",
                label=what,
            )
        figures.legend_above(picture, axes, 4)
    return [folder / FIGURES[0]]


def _named(name: str, rows: Found) -> str:
    """Name a set, and say below how many splits an arm is without at most."""
    lost = max(
        sum(row["metrics"]["rmse_average"] is None for row in there)
        for (at, _), there in rows.items()
        if at == name
    )
    return f"{name}\n(up to {lost} diverged)" if lost else name
