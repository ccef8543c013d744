# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the paper's curves beside ours."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.images.adversarial.run import LEVELS, NAME, PRESETS, Adversarial
from benchmarks.images.classification.table import TITLES, shown
from benchmarks.images.recipe import ARMS, ArmName, Cell

__all__ = ["FIGURES", "PAPER", "Found", "percent", "report", "verdict"]

Found = harness.Found[Cell]

FIGURES = ("adversarial.png",)

PAPER: dict[str, dict[ArmName, tuple[float, ...]]] = {
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

PICTURE = """\
Test accuracy against the size of the perturbation: a row for each attack, a column for each data
set, a colour for each arm. The thin dashed lines in the top row are the poster's, of networks of
full size."""

METHOD = """\
Accuracy in % on the first {images:,} test images, mean over {seeds}, by the size of the
perturbation of raw pixels in [0, 1].

- *As the authors*: one step against a single network, away from its own prediction. Vanilla and
  Dropout are scored by that network. SGHMC and SGHMC-SA are scored by the average over later draws,
  which were not attacked. That flatters them.
- *The same favour to all*: Vanilla and Dropout are scored in this way too. The attack is on one
  step of their run, and the score is that of the average over later steps.
- *Fair*: against the prediction of the arm, with the gradient through its average, away from the
  true class.
- *PGD*: the same in ten steps.

The numbers in brackets are from the poster's curve, digitised. It is of the full size."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    there = {name: harness.found(PRESETS[name], results) for name in shown(preset)}
    parts = [part for name, rows in there.items() for part in _preset(name, rows)]
    used = [row for rows in there.values() for row in harness.every_row(rows)]
    return markdown.join(["## Under attack", *parts, markdown.made(used)])


def _preset(name: str, rows: Found) -> list[str]:
    settings = PRESETS[name]
    command = f"`python -m benchmarks.images.{NAME} --preset {name}`"
    if not any(rows.values()):
        return [f"{command}: {markdown.NOT_RUN}."]
    return [
        f"{command}:",
        METHOD.format(images=settings.num_scored, seeds=_networks(rows)),
        ""
        if name == "full"
        else markdown.picture("Accuracy against perturbation", FIGURES[0], PICTURE),
        *(_table(settings, rows, of) for of in dict.fromkeys(cell.set for cell in rows)),
        verdict(settings, rows),
    ]


def _networks(rows: Found) -> str:
    """Say how many networks a cell has, as "3 seeds" or "1 to 3 seeds"."""
    counts = [len(seeds) for seeds in rows.values() if seeds]
    least, most = min(counts), max(counts)
    count = f"{most}" if least == most else f"{least} to {most}"
    return f"{count} seed" if most == 1 else f"{count} seeds"


def percent(rows: Sequence[harness.Row], way: str, place: int | None = None) -> list[float]:
    """Accuracy in % of each row; at a level by its place, or of clean images."""
    values = [row["metrics"][way] for row in rows]
    return [100 * (value if place is None else value[place]) for value in values]


def verdict(settings: Adversarial, rows: Found) -> str:
    """Say for each data set what the rows show about robustness.

    How far is SGHMC-SA ahead of Vanilla as the authors measure, how far if the attack is fair, and
    how accurate is the best arm after ten steps? Of the levels of PGD, it is asked at the one where
    the authors' lead is largest; the last question is also asked at the largest level.
    """
    said = []
    for name in dict.fromkeys(cell.set for cell in rows):
        arms = {cell.arm: rows[cell] for cell in rows if cell.set == name and not cell.augment}
        if arms.get("vanilla") and arms.get("sghmc_sa"):
            said.append(f"- {TITLES[name]} at {_verdict(settings, arms)}")
    return "\n".join(said)


def _verdict(settings: Adversarial, arms: Mapping[ArmName, Sequence[harness.Row]]) -> str:
    def at(arm: ArmName, way: str, zeta: float) -> float:
        levels = settings.pgd_levels if way == "pgd" else settings.levels
        return statistics.fmean(percent(arms[arm], way, levels.index(zeta)))

    def lead(way: str, zeta: float) -> float:
        return at("sghmc_sa", way, zeta) - at("vanilla", way, zeta)

    def best(zeta: float) -> float:
        return max(at(arm, "pgd", zeta) for arm, seeds in arms.items() if seeds)

    shared = [level for level in settings.pgd_levels if level in settings.levels]
    zeta = shared[int(np.argmax([lead("authors", level) for level in shared]))]
    favour = at("vanilla", "favoured", zeta) - at("vanilla", "authors", zeta)
    return (
        f"{zeta:g}: compared with Vanilla, SGHMC-SA is {ahead_or_behind(lead('authors', zeta))} "
        f"under FGSM as the authors measure, {ahead_or_behind(lead('fair', zeta))} if FGSM is "
        f"fair, and {ahead_or_behind(lead('pgd', zeta))} under PGD. Attacked as the "
        f"authors attack their own arm, Vanilla gains {favour:.1f} points. Under PGD the best arm "
        f"has {best(zeta):.1f} % there and {best(max(shared)):.1f} % at {max(shared):g}."
    )


def ahead_or_behind(points: float) -> str:
    """Say how far ahead or behind an arm is, by its lead in points.

    Example:
        >>> ahead_or_behind(8.31), ahead_or_behind(-0.4), ahead_or_behind(-0.04)
        ('8.3 points ahead', '0.4 points behind', 'level')
    """
    size = f"{abs(points):.1f}"
    if size == "0.0":
        return "level"
    return f"{size} points {'ahead' if points > 0 else 'behind'}"


def _table(settings: Adversarial, rows: Found, name: str) -> str:
    """Write a table with a line per attack and arm, and a column per level."""

    def accuracy(way: str, cell: Cell, level: float) -> str:
        at = settings.pgd_levels if way == "pgd" else settings.levels
        seeds = rows[cell]
        if not seeds or level not in at:
            return "-" if seeds else markdown.NOT_RUN
        text = _mean(percent(seeds, way, at.index(level)))
        theirs = _poster(cell, level) if way == "authors" else None
        return text if theirs is None else f"{text} ({theirs:.0f})"

    lines = []
    for way, label in WAYS.items():
        for cell, seeds in rows.items():
            if cell.set != name or (way == "favoured" and ARMS[cell.arm].samples):
                continue
            arm = f"{'DA-' if cell.augment else ''}{ARMS[cell.arm].label}"
            clean = _mean(percent(seeds, "clean")) if seeds else markdown.NOT_RUN
            texts = (accuracy(way, cell, level) for level in settings.levels)
            lines.append([label, arm, clean, *texts])
    heads = ["attack", "arm", "clean", *(f"{level:g}" for level in settings.levels)]
    return f"{TITLES[name]}:\n\n{markdown.table(heads, lines)}"


def _poster(cell: Cell, level: float) -> float | None:
    if cell.augment or level not in LEVELS:
        return None
    curve = PAPER.get(cell.set, {}).get(cell.arm)
    return None if curve is None else curve[LEVELS.index(level)]


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.1f}"
