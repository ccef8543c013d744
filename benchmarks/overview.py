# SPDX-License-Identifier: Apache-2.0
"""The picture of the README and of the landing page: a panel for each kind of user.

    compress      ResNet20 on CIFAR-10 at 90 % zeros: test accuracy along the runs, control and ours
    predict       UCI regressions: test RMSE of averages over that of our last draw, split by split,
                  and the average of the paper's best arm beside them
    wide data     population MSE of `aeb.regression` and its peers, and the columns found

It is made of rows in `benchmarks/results/`; a panel without rows says so. It is drawn twice, side
by side for a page and one below the other for a telephone.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.compression import run as compression
from benchmarks.compression.arms import ArmName
from benchmarks.compression.figure import runs
from benchmarks.compression.table import POSTER
from benchmarks.harness import figures
from benchmarks.harness.markdown import NOT_RUN
from benchmarks.regression import run as regression
from benchmarks.uci import run as uci
from benchmarks.uci import table as uci_table
from benchmarks.uci.recipe import ArmName as ArmOfUci

__all__ = ["FILES", "draw", "has_rows"]

FILES = {"overview.png": (1, 3, (13.5, 4.4)), "overview_narrow.png": (3, 1, (5.2, 12.0))}
"""File to rows, columns and inches."""

FONTS = {"font.size": 13.0, "legend.fontsize": 11.5, "axes.titlesize": 14.0}

GREY, BLUE, LIGHT = "0.45", "C0", "#9ecae1"

SPARSITY = 0.9
"""Share of zeros in the first panel."""

DENSE = 94.12
"""Test accuracy in per cent of the network that the authors released; see
`tests/test_authors.py`."""

METHODS = {"oracle": "told which", "mcp": "MCP", "lasso": "lasso", "aeb": "aeb"}
"""Methods of `benchmarks.regression` to labels; the first is told which columns carry a signal."""


def has_rows(results: Path) -> bool:
    """Return whether each of its experiments has rows in a folder."""
    return all((results / f"{script}.jsonl").exists() for script in PANELS)


def draw(results: Path, folder: Path) -> list[Path]:
    """Draw both layouts from the rows in a folder."""
    for name, (down, across, size) in FILES.items():
        with figures.page(folder / name, size, down, across, fonts=FONTS) as (_, all_axes):
            for axes, (script, panel) in zip(all_axes, PANELS.items(), strict=True):
                if not panel(axes, harness.Results(results / f"{script}.jsonl")):
                    said = {"ha": "center", "va": "center", "transform": axes.transAxes}
                    axes.text(0.5, 0.5, NOT_RUN, **said)
    return [folder / name for name in FILES]


def _compress(axes: Any, results: harness.Results) -> bool:
    """Draw each run, a line through its epochs and a dot at its end; False where there is none."""
    axes.set(title="Compress: level with magnitude pruning", xlabel="epochs, to 90 % zeros")
    axes.set_ylabel("test accuracy, %")
    arms: dict[ArmName, tuple[str, str, str]] = {
        "control": ("magnitude pruning", GREY, "s"),
        "aeb": ("aeb", BLUE, "o"),
    }
    found = {
        cell: seeds
        for cell, seeds in harness.found(compression.PRESETS["full"], results).items()
        if cell.arm in arms and cell.sparsity == SPARSITY and seeds
    }
    if not found:
        return False
    axes.axhline(DENSE, color="k", linewidth=1, linestyle=":", label="dense, the authors'")
    best = POSTER["a_sghmc_sa"][SPARSITY]
    axes.axhline(best, color=GREY, linewidth=1, linestyle="--", label="paper, best of 1,000 epochs")
    for cell, seeds in found.items():
        label, colour, marker = arms[cell.arm]
        runs(axes, seeds, marker=marker, color=colour)
        axes.plot([], [], marker, linestyle="-", color=colour, label=label)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), loc="lower right")
    axes.set_ylim(68, 96)
    return True


def _predict(axes: Any, results: harness.Results) -> bool:
    """Mean and standard error over splits of a ratio taken on each."""
    axes.set(title="Predict: averages against our last draw")
    axes.set_ylabel("test RMSE / that of the last draw")
    settings = uci.PRESETS["paper"]
    found = harness.found(settings, results)
    shown = [name for name in settings.sets if found[name, "aeb"]]
    if not shown:
        return False
    chains = settings.recommended.chains
    axes.axhline(1.0, color=GREY, linewidth=1.5, label="aeb, last draw")
    series: tuple[tuple[ArmOfUci, str, str, str, str, float], ...] = (
        (uci_table.TARGET, "rmse_average", "paper's arm, average", GREY, "s", -0.22),
        ("aeb", "rmse_one_chain", "aeb, average of one chain", LIGHT, "o", 0.0),
        ("aeb", "rmse_average", f"aeb, average of {chains} chains", BLUE, "o", 0.22),
    )
    for arm, metric, label, colour, marker, shift in series:
        named: str | None = label
        for place, name in enumerate(shown):
            pairs = harness.paired(found[name, arm], found[name, "aeb"])
            scores = [(one["metrics"][metric], last["metrics"]["rmse_last"]) for one, last in pairs]
            ratios = [score / last for score, last in scores if score is not None]
            if not ratios:
                continue
            error, style = figures.spread(ratios) / len(ratios) ** 0.5, (colour, marker, 7)
            mean = np.mean(ratios)
            figures.marks(axes, place + shift, mean, error, *style, capsize=3, label=named)
            named = None
    axes.set_xticks(range(len(shown)), shown, rotation=30)
    axes.set_ylim(top=1.25)
    axes.legend(loc="upper right")
    return True


def _wide(axes: Any, results: harness.Results) -> bool:
    """Mean and standard error over data sets."""
    settings = regression.PRESETS["paper"]
    floor = settings.design.noise_variance
    axes.set(title="1,000 columns, 100 rows, 3 signals")
    axes.set_xlabel(f"population MSE (at least {floor:g})")
    bars = []
    for cell, rows in harness.found(settings, results).items():
        first = not cell.key and cell.v0 is None
        if cell.method in METHODS and cell.task == "design" and first and rows:
            bars.append((METHODS[cell.method], [row["metrics"] for row in rows]))
    if not bars:
        return False
    bars.sort(key=lambda bar: -float(np.mean([each["population_mse"] for each in bar[1]])))
    for place, (name, metrics) in enumerate(bars):
        values = [each["population_mse"] for each in metrics]
        right, wrong = (
            float(np.mean([each[kind] for each in metrics]))
            for kind in ("true_discoveries", "false_discoveries")
        )
        colour = BLUE if name == METHODS["aeb"] else LIGHT if name == METHODS["oracle"] else GREY
        axes.barh(
            place,
            np.mean(values) - floor,
            left=floor,
            height=0.6,
            color=colour,
            xerr=figures.spread(values) / len(values) ** 0.5,
            capsize=3,
        )
        said = f"{right:.1f} right, {wrong:.1f} wrong"
        axes.text(floor + 0.02, place + 0.34, said, fontsize=11.5)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.set_xlim(floor, floor + 1.0)
    axes.set_ylim(-0.6, len(bars) - 0.2)
    return True


PANELS = {compression.NAME: _compress, uci.NAME: _predict, regression.NAME: _wide}
"""Experiment to what draws a panel of its rows; False where there are none."""
