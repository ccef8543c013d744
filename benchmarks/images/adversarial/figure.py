# SPDX-License-Identifier: Apache-2.0
"""The rows as one figure: accuracy against perturbation, a panel a set."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.harness import figures
from benchmarks.images.adversarial.run import LEVELS, PRESETS, Adversarial
from benchmarks.images.adversarial.table import FIGURES, PAPER, Found, found, percent
from benchmarks.images.classification.table import TITLES
from benchmarks.images.recipe import ARMS

__all__ = ["figure"]

SIZE = (11.0, 6.2)

DPI = 130

WAYS = {
    "authors": ("o", "FGSM as the authors"),
    "fair": ("s", "FGSM fair"),
    "pgd": ("v", "PGD fair"),
}


def figure(preset: harness.Preset, results: harness.Results, folder: Path) -> list[Path]:
    """Draw what there are rows for; of paper without rows, cpu is drawn (`harness.Figure`)."""
    for one in harness.reduced_too(preset):
        rows = {c: own for c, own in found(PRESETS[one], results).items() if own and not c.augment}
        if rows:
            return [_draw(PRESETS[one], rows, folder)]
    return []


def _draw(settings: Adversarial, rows: Found, folder: Path) -> Path:
    sets = list(dict.fromkeys(cell.set for cell in rows))
    fonts = {"font.size": 14, "legend.fontsize": 12}
    options = {"dpi": DPI, "sharey": True, "squeeze": False}
    with figures.page(folder / FIGURES[0], SIZE, 1, len(sets), fonts=fonts, **options) as page:
        picture, panels = page
        for axes, name in zip(panels[0], sets, strict=True):
            for number, arm in enumerate(ARMS):
                curve = PAPER.get(name, {}).get(arm)
                if curve is not None:
                    axes.plot(LEVELS, curve, "--", color=f"C{number}", linewidth=1.2, alpha=0.7)
            for cell, own in rows.items():
                if cell.set != name:
                    continue
                color = f"C{list(ARMS).index(cell.arm)}"
                for way, (marker, _) in WAYS.items():
                    levels = settings.pgd_levels if way == "pgd" else settings.levels
                    means = [statistics.fmean(percent(own, "clean"))]
                    means += [statistics.fmean(percent(own, way, at)) for at in range(len(levels))]
                    filled = color if way == "authors" else "white"
                    style: dict[str, Any] = {"color": color, "markerfacecolor": filled}
                    line = "-" if way == "authors" else ":" if way == "pgd" else "-."
                    axes.plot((0, *levels), means, line, marker=marker, markersize=6, **style)
            axes.set_title(TITLES[name])
            axes.set_xlabel("perturbation of a pixel in [0, 1]")
            axes.set_xlim(-0.01, 0.51)
            axes.set_ylim(0, 100)
            axes.grid(alpha=0.3)
        panels[0][0].set_ylabel("test accuracy, %")
        for number, arm in enumerate(ARMS):
            panels[0][0].plot([], [], color=f"C{number}", linewidth=4, label=ARMS[arm].label)
        for way, (marker, label) in WAYS.items():
            line = "-" if way == "authors" else ":" if way == "pgd" else "-."
            filled = "k" if way == "authors" else "white"
            panels[0][0].plot(
                [], [], f"k{line}", marker=marker, markerfacecolor=filled, label=label
            )
        panels[0][0].plot([], [], "k--", linewidth=1.2, label="poster, digitised (full size)")
        picture.legend(loc="outside upper center", ncols=4)
    return folder / FIGURES[0]
