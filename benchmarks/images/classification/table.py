# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the paper's figures beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.images.classification.run import NAME, PRESETS, Classification
from benchmarks.images.recipe import ARMS, ArmName, Cell

__all__ = ["PAPER", "TARGETS", "TITLES", "accuracies", "column", "found", "report"]

Found = dict[Cell, list[harness.Row]]
"""Cell to the rows there are, one a seed."""

PAPER = {
    "vanilla": (99.31, 99.54, 92.73, 93.14),
    "dropout": (99.38, 99.56, 92.81, 93.35),
    "sghmc": (99.47, 99.63, 92.88, 94.29),
    "sghmc_sa": (99.59, 99.75, 93.01, 94.38),
}
"""Test accuracy in % on the paper's poster by arm, in the order of `COLUMNS`."""

COLUMNS = (
    ("mnist", False),
    ("mnist", True),
    ("fashion_mnist", False),
    ("fashion_mnist", True),
)

TARGETS = dict(zip(COLUMNS, (99.60, 99.77, 93.2, 94.5), strict=True))
"""Test accuracy in % to reach at full size, mean over 5 seeds, by SGHMC-SA."""

TITLES = {"mnist": "MNIST", "fashion_mnist": "FMNIST", "digits": "digits"}

ACCURACY = """\
Test accuracy in %, mean ± standard error over {seeds} seeds; in brackets the poster's, of the full
size. The arms by Adam predict by their last network, the others by the average over their
draws."""

BOTH = """\
Last and average: one network, and the average over the draws of the second half of the run, for
every arm. What averaging gives to the arms by Adam is not the prior's doing. NLL in nats; ECE over
15 bins; entropy in nats, on the own test images and on those of the other set (MNIST and
Fashion-MNIST stand for each other); AUROC is the chance that an image of the other set has the
larger entropy."""

SPARSE = """\
FC1 of SGHMC-SA at the last step: the share of its weights with rho <= 0.5, the accuracy of the last
network before and after these weights are cut, sigma, delta, and the median size of a weight."""

SMALL = """\
The sizes are reduced: {train:,} training images, networks of {channels} channels, {steps:,} steps.
So the accuracies are not to be set against the poster's; they can tell how far the arms differ."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    """Make the section of the report (`harness.Section`)."""
    parts = ["## MNIST and Fashion-MNIST"]
    used: list[harness.Row] = []
    for one in harness.reduced_too(preset):
        settings = PRESETS[one]
        rows = found(settings, results)
        used += [row for own in rows.values() for row in own]
        parts += _preset(one, settings, rows)
    return markdown.join([*parts, markdown.made(used)])


def found(settings: Classification, results: harness.Results) -> Found:
    """Look up the rows of each cell."""
    seeds = settings.all_seeds()
    return results.look_up((cell, settings.config(cell), seeds) for cell in settings.cells())


def way(arm: ArmName) -> str:
    """Tell what an arm predicts by: its last draw or the average."""
    return "average" if ARMS[arm].samples else "last"


def column(cell: Cell) -> str:
    """Name a set and whether it is augmented, as the poster does."""
    return f"{'DA-' if cell.augment else ''}{TITLES[cell.set]}"


def _mean_accuracy(rows: Sequence[harness.Row], of: str) -> float | None:
    """Mean accuracy in %, None where there is no row."""
    return statistics.fmean(100 * row["metrics"][of]["accuracy"] for row in rows) if rows else None


def _preset(preset: str, settings: Classification, rows: Found) -> list[str]:
    recipe = settings.recipe
    command = f"`python -m benchmarks.images.{NAME} --preset {preset}`"
    said = [f"{command}:", accuracies(rows), ACCURACY.format(seeds=settings.seeds)]
    if preset == "paper":
        said += [_targets(rows)]
    else:
        steps = recipe.steps(next(iter(rows)))
        channels = " and ".join(map(str, recipe.channels))
        said += [SMALL.format(train=recipe.num_train, channels=channels, steps=steps)]
    return [*said, _both(rows), BOTH, _sparse(rows), SPARSE] if any(rows.values()) else said


def accuracies(rows: Found) -> str:
    """An arm a line, a set a column, the poster's in brackets."""
    heads = list(dict.fromkeys(column(cell) for cell in rows))
    lines = []
    for arm in dict.fromkeys(cell.arm for cell in rows):
        line = [ARMS[arm].label]
        for cell, own in rows.items():
            if cell.arm != arm:
                continue
            text = markdown.over(own, _reader(way(arm), "accuracy", 100))
            theirs = _poster(cell)
            line.append(text if theirs is None else f"{text} ({theirs:.2f})")
        lines.append(line)
    return markdown.table(["arm", *heads], lines)


def _poster(cell: Cell) -> float | None:
    place = (cell.set, cell.augment)
    return PAPER[cell.arm][COLUMNS.index(place)] if place in COLUMNS else None


def _targets(rows: Found) -> str:
    """Set SGHMC-SA at full size against its targets."""
    lines = []
    for cell, own in rows.items():
        target = TARGETS.get((cell.set, cell.augment))
        if cell.arm != "sghmc_sa" or target is None:
            continue
        ours = _mean_accuracy(own, "average")
        verdict = markdown.NOT_RUN if ours is None else "yes" if ours >= target else "no"
        found = markdown.NOT_RUN if ours is None else f"{ours:.2f}"
        lines.append([column(cell), f"{target:.2f}", found, verdict])
    return markdown.table(["accuracy % at full size", "target", "SGHMC-SA", "reached"], lines)


def _both(rows: Found) -> str:
    heads = ["set", "arm", "by", "accuracy %", "NLL", "ECE %", "entropy", "other set", "AUROC"]
    lines = []
    for cell, own in rows.items():
        for of in ("last", "average"):
            line = [column(cell), ARMS[cell.arm].label, of]
            for name, scale, digits in (
                ("accuracy", 100, 2),
                ("nll", 1, 3),
                ("ece", 100, 2),
                ("entropy", 1, 3),
                ("entropy_other", 1, 3),
                ("auroc", 1, 3),
            ):
                line.append(markdown.over(own, _reader(of, name, scale), digits))
            lines.append(line)
    return markdown.table(heads, lines)


def _sparse(rows: Found) -> str:
    heads = ["set", "rho <= 0.5", "accuracy %", "after the cut", "sigma", "delta", "median size"]
    lines = []
    for cell, own in rows.items():
        if not ARMS[cell.arm].learns:
            continue
        reads: tuple[tuple[Callable[[Any], float], int], ...] = (
            (lambda metrics: 100 * metrics["last"]["accuracy"], 2),
            (lambda metrics: 100 * metrics["sparse"]["accuracy_after_cut"], 2),
            (lambda metrics: metrics["sparse"]["sigma"], 2),
            (lambda metrics: metrics["sparse"]["delta"], 3),
            (lambda metrics: metrics["sparse"]["magnitudes"][1], 4),
        )
        share = markdown.over(own, lambda metrics: 100 * metrics["sparse"]["share_out"], 1)
        share = share if share == markdown.NOT_RUN else f"{share} %"
        lines.append(
            [column(cell), share, *(markdown.over(own, read, digits) for read, digits in reads)]
        )
    return markdown.table(heads, lines)


def _reader(of: str, name: str, scale: float) -> Callable[[Any], float]:
    return lambda metrics: scale * metrics[of][name]
