# SPDX-License-Identifier: Apache-2.0
"""The rows as one figure: accuracy against perturbation, a panel a set."""

import statistics
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import figures
from benchmarks.images.adversarial.run import LEVELS, PRESETS, Adversarial
from benchmarks.images.adversarial.table import FIGURES, PAPER, Found, percent
from benchmarks.images.classification.table import TITLES
from benchmarks.images.recipe import ARMS

SIZE = (11.0, 6.2)

DPI = 130


WAYS = {
    "authors": ("FGSM as the authors", {"marker": "o", "linestyle": "-"}),
    "fair": ("FGSM fair", {"marker": "s", "linestyle": "-.", "markerfacecolor": "white"}),
    "pgd": ("PGD fair", {"marker": "v", "linestyle": ":", "markerfacecolor": "white"}),
}
"""How a way of attacking is called and drawn."""


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
    with figures.page(folder / FIGURES[0], SIZE, 1, len(sets), fonts=fonts, **options) as page:
        picture, panels = page
        for axes, name in zip(panels[0], sets, strict=True):
            for number, arm in enumerate(ARMS):
                curve = PAPER.get(name, {}).get(arm)
                if curve is not None:
                    axes.plot(LEVELS, curve, "--", color=f"C{number}", linewidth=1.2, alpha=0.7)
            for cell, seeds in rows.items():
                if cell.set != name:
                    continue
                color = f"C{list(ARMS).index(cell.arm)}"
                for way, (_, style) in WAYS.items():
                    levels = settings.pgd_levels if way == "pgd" else settings.levels
                    means = [statistics.fmean(percent(seeds, "clean"))]
                    means += [statistics.fmean(percent(seeds, way, k)) for k in range(len(levels))]
                    axes.plot((0, *levels), means, color=color, markersize=6, **style)
            axes.set(title=TITLES[name], xlabel="perturbation of a pixel in [0, 1]")
            axes.set(xlim=(-0.01, 0.51), ylim=(0, 100))
            axes.grid(alpha=0.3)
        first = panels[0][0]
        first.set_ylabel("test accuracy, %")
        for number, arm in enumerate(ARMS):
            first.plot([], [], color=f"C{number}", linewidth=4, label=ARMS[arm].label)
        for label, style in WAYS.values():
            first.plot([], [], color="k", label=label, **style)
        first.plot([], [], "k--", linewidth=1.2, label="poster, digitised (full size)")
        figures.legend_above(picture, first, 4)
    return folder / FIGURES[0]
