# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the paper's curves beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.images.adversarial.run import LEVELS, NAME, PRESETS, Adversarial
from benchmarks.images.classification.table import column
from benchmarks.images.recipe import ARMS, Cell

__all__ = ["FIGURES", "PAPER", "Found", "found", "percent", "report", "verdict"]

Found = dict[Cell, list[harness.Row]]
"""Cell to the rows there are, one a seed."""

FIGURES = ("adversarial.png",)

PAPER: dict[str, dict[str, tuple[float, ...]]] = {
    "mnist": {
        "vanilla": (97.2, 92.7, 82.1, 64.5, 43.8, 28.1, 19.1, 14.2, 11.6, 10.3),
        "dropout": (97.9, 94.3, 86.8, 74.3, 58.0, 43.0, 30.3, 21.0, 15.5, 12.6),
        "sghmc": (99.0, 97.3, 92.9, 84.7, 70.6, 55.2, 42.2, 31.9, 24.5, 20.1),
        "sghmc_sa": (99.0, 98.0, 94.0, 86.3, 73.8, 58.2, 44.9, 34.5, 27.0, 22.8),
    },
    "fashion_mnist": {
        "vanilla": (60.4, 40.1, 29.8, 22.3, 17.2, 14.1, 12.2, 10.7, 9.7, 9.0),
        "dropout": (63.3, 42.5, 32.5, 24.6, 19.0, 15.9, 13.9, 12.2, 11.3, 10.6),
        "sghmc": (77.0, 57.8, 44.6, 36.3, 28.9, 23.1, 19.2, 16.0, 14.5, 13.5),
        "sghmc_sa": (78.1, 56.9, 46.0, 37.9, 30.5, 24.9, 20.8, 17.9, 16.3, 15.1),
    },
}
"""Accuracy in % under FGSM at `LEVELS`, from the bitmap on the poster, to about 1 point."""

WAYS = {
    "authors": "FGSM, as the authors",
    "favoured": "FGSM, the same favour to all",
    "fair": "FGSM, fair",
    "pgd": "PGD, fair",
}

METHOD = """\
Accuracy in % on the first {images:,} test images, mean over {seeds} seeds, at perturbations of raw
pixels in [0, 1]. *As the authors*: one step against a single network, away from its own prediction;
Vanilla and Dropout are scored by that network, SGHMC and SGHMC-SA by the average over later draws,
which the attack was not made against. That flatters them. *The same favour to all* scores Vanilla
and Dropout so too: attacked at one step of their run, scored by the average over later ones.
*Fair*: against what the arm predicts by, gradient through the average, away from the true class.
*PGD*: the same in ten steps. In brackets the poster's curve, digitised, of the full size."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    """Make the section of the report (`harness.Section`)."""
    parts = ["## Under attack"]
    used: list[harness.Row] = []
    for one in harness.reduced_too(preset):
        settings = PRESETS[one]
        rows = found(settings, results)
        used += [row for own in rows.values() for row in own]
        command = f"`python -m benchmarks.images.{NAME} --preset {one}`"
        if not any(rows.values()):
            parts.append(f"{command}: {markdown.NOT_RUN}.")
            continue
        parts += [f"{command}:", METHOD.format(images=settings.num_scored, seeds=settings.seeds)]
        parts += [
            f"![Accuracy against perturbation](figures/{FIGURES[0]})",
            *(_table(settings, rows, name) for name in dict.fromkeys(c.set for c in rows)),
            verdict(settings, rows),
        ]
    return markdown.join([*parts, markdown.made(used)])


def found(settings: Adversarial, results: harness.Results) -> Found:
    """Look up the rows of each cell."""
    seeds = settings.all_seeds()
    return results.look_up((cell, settings.config(cell), seeds) for cell in settings.cells())


def percent(rows: Sequence[harness.Row], way: str, place: int | None = None) -> list[float]:
    """Accuracy in % of each row; at a level by its place, or of clean images."""
    values = [row["metrics"][way] for row in rows]
    return [100 * (value if place is None else value[place]) for value in values]


def verdict(settings: Adversarial, rows: Found) -> str:
    """Say in a sentence a set what the rows show of robustness.

    How much of the lead of SGHMC-SA over Vanilla as the authors measure it is left where the attack
    is fair, at the level of PGD where that lead is largest, and what ten steps leave of any arm
    there and at the largest level.
    """
    said = []
    for name in dict.fromkeys(cell.set for cell in rows):
        own = {cell.arm: rows[cell] for cell in rows if cell.set == name and not cell.augment}
        if not (own.get("vanilla") and own.get("sghmc_sa")):
            continue

        def at(arm: str, way: str, zeta: float, own: Any = own) -> float:
            levels = settings.pgd_levels if way == "pgd" else settings.levels
            return statistics.fmean(percent(own[arm], way, levels.index(zeta)))

        def lead(way: str, zeta: float, at: Any = at) -> float:
            return float(at("sghmc_sa", way, zeta) - at("vanilla", way, zeta))

        def best(zeta: float, at: Any = at, own: Any = own) -> float:
            return max(at(arm, "pgd", zeta) for arm, found in own.items() if found)

        shared = [level for level in settings.pgd_levels if level in settings.levels]
        zeta = shared[int(np.argmax([lead("authors", level) for level in shared]))]
        favour = at("vanilla", "favoured", zeta) - at("vanilla", "authors", zeta)
        said.append(
            f"{column(Cell(name, False, 'vanilla'))} at {zeta:g}: SGHMC-SA leads Vanilla by "
            f"{lead('authors', zeta):.1f} points of FGSM as the authors measure, by "
            f"{lead('fair', zeta):.1f} where the attack is fair, and by {lead('pgd', zeta):.1f} "
            f"under PGD; the authors' favour alone gives Vanilla {favour:.1f}. PGD leaves the best "
            f"arm {best(zeta):.1f} % there and {best(max(shared)):.1f} % at {max(shared):g}."
        )
    return "\n".join(f"- {line}" for line in said)


def _table(settings: Adversarial, rows: Found, name: str) -> str:
    """A way and an arm a line, a level a column."""
    levels = settings.levels
    lines = []
    for way, label in WAYS.items():
        for cell, own in rows.items():
            if cell.set != name or (way == "favoured" and ARMS[cell.arm].samples):
                continue
            at = settings.pgd_levels if way == "pgd" else levels
            line = [label, f"{'DA-' if cell.augment else ''}{ARMS[cell.arm].label}"]
            line.append(_mean(percent(own, "clean")) if own else markdown.NOT_RUN)
            for level in levels:
                if not own:
                    line.append(markdown.NOT_RUN)
                    continue
                text = _mean(percent(own, way, at.index(level))) if level in at else "-"
                theirs = _poster(cell, level) if way == "authors" else None
                line.append(text if theirs is None else f"{text} ({theirs:.0f})")
            lines.append(line)
    # A name out of a table is any text to mypy.
    title = column(Cell(name, False, "vanilla"))  # type: ignore[arg-type]
    return markdown.table([title, "arm", "clean", *(f"{level:g}" for level in levels)], lines)


def _poster(cell: Cell, level: float) -> float | None:
    if cell.augment or level not in LEVELS:
        return None
    curve = PAPER.get(cell.set, {}).get(cell.arm)
    return None if curve is None else curve[LEVELS.index(level)]


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f}"
