# SPDX-License-Identifier: Apache-2.0
"""The rows as figures: test accuracy against sparsity, and at full size against epochs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from benchmarks import harness
from benchmarks.compression.arms import ARMS
from benchmarks.compression.run import PRESETS, Cell
from benchmarks.compression.table import (
    EPOCHS,
    FIGURES,
    POSTER,
    dense_accuracies,
    per_cent,
    percent,
)
from benchmarks.harness import figures

SIZE = (8.4, 6.4)

FONTS = {"font.size": 13, "legend.fontsize": 10.5}

MARKERS = "osD^v<>P*Xphd8H"

SPREAD = 0.18
"""Width over which arms at one sparsity are set apart, as a share of the distance of two ticks."""


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    """Draw what there are rows for; of paper the other sizes too (`harness.Figure`)."""
    files = [_draw(name, results, folder) for name in harness.reduced_too(preset)]
    if preset == "paper":
        files.append(_epochs(results, folder))
    return [file for file in files if file is not None]


def _draw(preset: harness.Preset, results: harness.Results, folder: Path) -> Path | None:
    rows = {cell: seeds for cell, seeds in harness.found(PRESETS[preset], results).items() if seeds}
    if not rows:
        return None
    file = folder / FIGURES[preset]
    series = [pair for pair in dict.fromkeys((c.arm, c.start) for c in rows) if pair[0] != "dense"]
    sparsities = sorted({cell.sparsity for cell in rows if cell.sparsity is not None})
    with figures.page(file, SIZE, fonts=FONTS) as (picture, axes):
        for number, (arm, start) in enumerate(series):
            points = []
            for cell, seeds in rows.items():
                if (cell.arm, cell.start) != (arm, start):
                    continue
                values = [percent(row["metrics"]) for row in seeds]
                zeros = float(np.mean([row["metrics"]["sparsity"] for row in seeds]))
                x = _place(zeros if cell.sparsity is None else cell.sparsity)
                points.append((x, np.mean(values), figures.spread(values)))
            x, mean, spread = np.array(sorted(points)).T
            has_target = Cell(arm, None, start) not in rows
            shift = ((number + 0.5) / len(series) - 0.5) * SPREAD if has_target else 0.0
            axes.errorbar(
                x + shift,
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
        dense = dense_accuracies(rows)
        if dense:
            figures.level(axes, float(np.mean(dense)), "dense", colour="0.6")
        if preset == "paper":
            shown = POSTER["a_sghmc_sa"]
            style = {"markersize": 14, "markeredgewidth": 2}
            legend = "poster's A-SGHMC-SA, best epoch"
            axes.plot(list(map(_place, shown)), list(shown.values()), "k_", label=legend, **style)
        ticks = sparsities or [0.9]
        axes.set_xticks(list(map(_place, ticks)), [f"{100 * s:g}" for s in ticks])
        axes.set_xlabel("zeros over all parameters, % (log scale of what is kept)")
        axes.set_ylabel("test accuracy at the last epoch, %")
        figures.legend_above(picture, axes, 3)
    return file


def _epochs(results: harness.Results, folder: Path) -> Path | None:
    """Draw the accuracy after each epoch of the preset `full`, a panel for each sparsity."""
    rows = {
        cell: seeds
        for cell, seeds in harness.found(PRESETS["full"], results).items()
        if seeds and cell.sparsity is not None and ARMS[cell.arm].kind in ("control", "aeb")
    }
    if not rows:
        return None
    sparsities = sorted({cell.sparsity for cell in rows if cell.sparsity is not None})
    arms = list(dict.fromkeys(cell.arm for cell in rows))
    file = folder / EPOCHS
    size = (SIZE[0], 1.0 + 0.15 * len(arms) + 4.4 * len(sparsities))
    with figures.page(file, size, len(sparsities), fonts=FONTS, squeeze=False) as (picture, panels):
        for sparsity, axes in zip(sparsities, panels[:, 0], strict=True):
            for cell, seeds in rows.items():
                if cell.sparsity != sparsity:
                    continue
                style = {
                    "color": plt.get_cmap("Paired")(arms.index(cell.arm)),
                    "linestyle": "--" if ARMS[cell.arm].kind == "control" else "-",
                }
                _mean_run(axes, seeds, label=ARMS[cell.arm].label, **style)
            best = POSTER["a_sghmc_sa"].get(sparsity)
            if best is not None:
                text = "the paper's A-SGHMC-SA: best of 1,000 epochs by test accuracy"
                figures.level(axes, best, text, fontsize=10.5)
            axes.margins(y=0.08)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_title(f"{per_cent(sparsity)} zeros", fontsize=13)
            axes.set_ylabel("test accuracy, %")
        panels[-1, 0].set_xlabel("sparse epochs")
        figures.legend_above(picture, panels, 2)
    return file


def runs(axes: Any, rows: Iterable[harness.Row], *, marker: str = "o", **style: Any) -> None:
    """Draw each run, a line through its epochs and a dot at its end."""
    for row in rows:
        history = row["metrics"]["history"]
        epochs = [look["epoch"] for look in history]
        axes.plot(epochs, [percent(look) for look in history], **style)
        axes.plot(epochs[-1], percent(row["metrics"]), marker, color=style["color"])


def _mean_run(axes: Any, rows: Sequence[harness.Row], **style: Any) -> None:
    """Draw the mean of the runs of an arm, and a dot at the end of each run."""
    histories = [row["metrics"]["history"] for row in rows]
    epochs = [look["epoch"] for look in histories[0]]
    mean = np.mean([[percent(look) for look in history] for history in histories], axis=0)
    axes.plot(epochs, mean, linewidth=1.8, **style)
    ends = [percent(row["metrics"]) for row in rows]
    axes.plot([epochs[-1]] * len(ends), ends, "o", markersize=4, color=style["color"])


def _place(sparsity: float) -> float:
    """Where a sparsity stands: each halving of what is kept is one step to the right."""
    return float(-np.log2(max(1.0 - sparsity, 1e-6)))
