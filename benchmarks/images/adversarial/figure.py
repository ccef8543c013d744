# SPDX-License-Identifier: Apache-2.0
"""The rows as one figure: accuracy against perturbation, a row an attack and a column a set."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import figures
from benchmarks.images.adversarial.run import LEVELS, PRESETS, Adversarial
from benchmarks.images.adversarial.table import FIGURES, PAPER, Found, percent
from benchmarks.images.classification.table import TITLES
from benchmarks.images.recipe import ARMS, ArmName

SIZE = (10.0, 11.0)

DPI = 130


WAYS = {"authors": "FGSM as the authors", "fair": "FGSM fair", "pgd": "PGD fair"}
"""What a way of attacking is called, from the top row to the bottom."""


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    """Draw what there are rows for; of paper without rows, cpu is drawn (`harness.Figure`)."""
    for name in harness.reduced_too(preset):
        there = harness.found(PRESETS[name], results).items()
        rows = {cell: seeds for cell, seeds in there if seeds and not cell.augment}
        if rows:
            return [_draw(PRESETS[name], rows, folder)]
    return []


def _draw(settings: Adversarial, rows: Found, folder: Path) -> Path:
    sets = list(dict.fromkeys(cell.set for cell in rows))
    fonts = {"font.size": 14, "legend.fontsize": 12}
    options = {"dpi": DPI, "sharey": True, "squeeze": False}
    size = len(WAYS), len(sets)
    with figures.page(folder / FIGURES[0], SIZE, *size, fonts=fonts, **options) as page:
        picture, panels = page
        for row, (way, words) in zip(panels, WAYS.items(), strict=True):
            for axes, name in zip(row, sets, strict=True):
                axes.set(title=f"{TITLES[name]}, {words}", xlim=(-0.01, 0.51), ylim=(0, 100))
                axes.grid(alpha=0.3)
                if way == "authors":
                    _draw_poster(axes, name)
            row[0].set_ylabel("test accuracy, %")
        for axes in panels[-1]:
            axes.set_xlabel("perturbation of a pixel in [0, 1]")
        for cell, seeds in rows.items():
            for row, way in zip(panels, WAYS, strict=True):
                levels = settings.pgd_levels if way == "pgd" else settings.levels
                means = [statistics.fmean(percent(seeds, "clean"))]
                means += [statistics.fmean(percent(seeds, way, k)) for k in range(len(levels))]
                style = {"color": colour(cell.arm), "label": ARMS[cell.arm].label, "linewidth": 2}
                row[sets.index(cell.set)].plot((0, *levels), means, "o-", markersize=5, **style)
        panels[0][0].plot([], [], "k--", linewidth=1.2, label="poster, digitised (full size)")
        figures.legend_above(picture, panels, 5)
    return folder / FIGURES[0]


def _draw_poster(axes: Any, name: str) -> None:
    for arm, curve in PAPER.get(name, {}).items():
        axes.plot(LEVELS, curve, "--", color=colour(arm), linewidth=1.2, alpha=0.7)


def colour(arm: ArmName) -> str:
    """Return the colour of an arm, the same in each panel."""
    return f"C{list(ARMS).index(arm)}"
