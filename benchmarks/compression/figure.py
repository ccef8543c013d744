# SPDX-License-Identifier: Apache-2.0
"""The rows as one figure: test accuracy against sparsity."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import harness
from benchmarks.compression import ARMS
from benchmarks.compression.parts import percent
from benchmarks.compression.run import PRESETS, Cell
from benchmarks.compression.table import FIGURES, POSTER, found

__all__ = ["figure"]

SIZE = (8.4, 6.4)
"""Inches: letters stay readable at half the width of a page."""

DPI = 150

MARKERS = "osD^v<>P*Xphd8H"

SPREAD = 0.18
"""Width over which arms at one sparsity are set apart, as a share of the distance of two ticks."""


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    """Draw what there are rows for; for the paper preset those of the reduced size too.

    Args:
        preset: which configurations to look for.
        results: the rows of the script.
        folder: where to; made if need be.

    Returns:
        The files written; none where there is no row.

    Raises:
        UsageError: the rows are damaged.
    """
    presets: tuple[harness.Preset, ...] = ("paper", "cpu") if preset == "paper" else (preset,)
    files = [_draw(name, results, folder) for name in presets]
    return [file for file in files if file is not None]


def _draw(preset: harness.Preset, results: harness.Results, folder: Path) -> Path | None:
    """Draw the rows of one preset."""
    rows = {cell: own for cell, own in found(PRESETS[preset], results).items() if own}
    if not rows:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FIGURES[preset]
    series = [pair for pair in dict.fromkeys((c.arm, c.start) for c in rows) if pair[0] != "dense"]
    sparsities = sorted({cell.sparsity for cell in rows if cell.sparsity is not None})
    with plt.rc_context({"font.size": 13, "legend.fontsize": 10.5}):
        picture, axes = plt.subplots(figsize=SIZE, layout="constrained")
        for number, (arm, start) in enumerate(series):
            points = []
            for cell, own in rows.items():
                if (cell.arm, cell.start) != (arm, start):
                    continue
                values = [percent(row["metrics"]) for row in own]
                zeros = np.mean([row["metrics"]["sparsity"] for row in own])
                x = _place(float(zeros)) if cell.sparsity is None else _place(cell.sparsity)
                points.append((x, np.mean(values), np.std(values, ddof=1) if values[1:] else 0.0))
            x, mean, spread = np.array(sorted(points)).T
            shift = ((number + 0.5) / len(series) - 0.5) * SPREAD
            own_target = Cell(arm, None, start) not in rows
            axes.errorbar(
                x + (shift if own_target else 0.0),
                mean,
                spread,
                color=plt.get_cmap("tab20")(number % 20),
                marker=MARKERS[number % len(MARKERS)],
                markersize=8,
                linewidth=1.2,
                linestyle="--" if ARMS[arm].kind == "control" else "-",
                capsize=2,
                label=ARMS[arm].label + (" (authors' dense)" if start == "authors" else ""),
            )
        dense = [
            percent(row["metrics"])
            for cell, own in rows.items()
            for row in own
            if cell.arm == "dense"
        ]
        if dense:
            axes.axhline(np.mean(dense), color="0.6", linewidth=1, zorder=0)
            axes.annotate(
                "dense",
                (1.0, np.mean(dense)),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color="0.4",
            )
        if preset == "paper":
            shown = POSTER["a_sghmc_sa"]
            axes.plot(
                [_place(s) for s in shown],
                list(shown.values()),
                "k_",
                markersize=14,
                markeredgewidth=2,
                label="poster's A-SGHMC-SA, best epoch",
            )
        ticks = sparsities or [0.9]
        axes.set_xticks([_place(s) for s in ticks], [f"{100 * s:g}" for s in ticks])
        axes.set_xlabel("zeros over all parameters, % (log scale of what is kept)")
        axes.set_ylabel("test accuracy at the last epoch, %")
        picture.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
        picture.savefig(file, dpi=DPI, metadata={"Software": None})
        plt.close(picture)
    return file


def _place(sparsity: float) -> float:
    """Where a sparsity stands: each halving of what is kept is one step to the right."""
    return float(-np.log2(max(1.0 - sparsity, 1e-6)))
