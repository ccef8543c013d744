# SPDX-License-Identifier: Apache-2.0
"""The six panels of the paper's simulation, from its rows on one data set.

Above, the posterior of each signal by arm, on axes that all arms share; below, an arm a panel, the
predictions of fresh rows against what was observed. In the authors' figure the panel of SGLD-EM
shows the rows that were fitted, and curves of SGLD are moved or divided to fit; here nothing is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import figures
from benchmarks.simulation.run import PICTURED, PRESETS, Simulation
from benchmarks.simulation.table import FIGURE, LABELS, SHOWN

SIZE = (10.0, 6.6)

BINS = 36

COLOURS = {"sa": "C0", "em": "C1", "sgld": "C2"}

SPARE = 0.06
"""Share of the range that is left free on each side."""


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    """Draw the arms there are rows for (`harness.Figure`)."""
    rows = _shown(PRESETS[preset], results)
    if not rows:
        return []
    fonts = {"font.size": 12, "axes.titlesize": 12}
    with figures.page(folder / FIGURE, SIZE, 2, 3, fonts=fonts) as (picture, panels):
        for place, axes in enumerate(panels[0]):
            _posterior(axes, rows, place)
        _predictions(panels[1], rows)
        title = rf"$v_0$ = {SHOWN[0].v0:g}, $\sigma$ started at {SHOWN[0].sigma:g}, seed {PICTURED}"
        figures.legend_above(picture, panels[0, 0], len(rows) + 1, title=title)
    return [folder / FIGURE]


def _shown(settings: Simulation, results: harness.Results) -> dict[str, harness.Row]:
    return {
        cell.arm: row
        for cell, rows in harness.found(settings, results).items()
        for row in rows
        if cell in SHOWN and row["seed"] == PICTURED
    }


def _posterior(axes: Any, rows: Mapping[str, harness.Row], place: int) -> None:
    """Draw histograms of a signal's draws, and its true value."""
    pictures = {arm: row["metrics"]["picture"] for arm, row in rows.items()}
    draws = {arm: np.array(picture["draws"][place]) for arm, picture in pictures.items()}
    true = next(iter(pictures.values()))["true"][place]
    low, high = _limits([*draws.values(), np.array([true])])
    edges = np.linspace(low, high, BINS + 1)
    for arm, values in draws.items():
        shared = {"bins": edges, "density": True, "color": COLOURS[arm]}
        axes.hist(values, histtype="stepfilled", alpha=0.25, **shared)
        axes.hist(values, histtype="step", linewidth=1.5, label=LABELS[arm], **shared)
    axes.axvline(true, color="black", linestyle="--", label="truth")
    axes.set(title=rf"$\beta_{place + 1}$", xlim=(low, high), yticks=[])
    if place == 0:
        axes.set_ylabel("posterior density")


def _predictions(panels: Any, rows: Mapping[str, harness.Row]) -> None:
    """Draw the predictions of the fresh rows, on the same axes for all arms."""
    pictures = {arm: row["metrics"]["picture"] for arm, row in rows.items()}
    limits = _limits(
        [np.array(shown["fresh_prediction"] + shown["fresh_y"]) for shown in pictures.values()]
    )
    for arm, axes in zip(LABELS, panels, strict=True):
        axes.plot(limits, limits, color="0.6", linewidth=1)
        axes.set(xlim=limits, ylim=limits, xlabel="fresh y", aspect="equal")
        if arm not in rows:
            axes.set_title(f"{LABELS[arm]}: not run")
            continue
        fresh = rows[arm]["metrics"]["fresh"]
        axes.plot(
            pictures[arm]["fresh_y"],
            pictures[arm]["fresh_prediction"],
            marker="o",
            markersize=4.5,
            linestyle="none",
            alpha=0.7,
            color=COLOURS[arm],
        )
        axes.set_title(f"{LABELS[arm]}: MAE {fresh['mae']:.2f}, MSE {fresh['mse']:.2f}")
    panels[0].set_ylabel("prediction")


def _limits(parts: list[np.ndarray]) -> tuple[float, float]:
    """Return the range of all, and some more."""
    low, high = min(part.min() for part in parts), max(part.max() for part in parts)
    spare = SPARE * (high - low)
    return float(low - spare), float(high + spare)
