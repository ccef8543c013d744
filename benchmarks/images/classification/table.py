# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the paper's figures beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.harness.markdown import metric
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
    parts, used = ["## MNIST and Fashion-MNIST"], []
    for name in harness.reduced_too(preset):
        rows = found(PRESETS[name], results)
        used += [row for seeds in rows.values() for row in seeds]
        parts += _preset(name, PRESETS[name], rows)
    return markdown.join([*parts, markdown.made(used)])


def found(settings: Classification, results: harness.Results) -> Found:
    """Look up the rows of each cell."""
    return results.look_up(
        (cell, settings.config(cell), settings.all_seeds(cell)) for cell in settings.cells()
    )


def way(arm: ArmName) -> str:
    """Return what an arm predicts by: its last draw or the average."""
    return "average" if ARMS[arm].samples else "last"


def column(cell: Cell) -> str:
    """Name a set and whether it is augmented, as the poster does."""
    return f"{'DA-' if cell.augment else ''}{TITLES[cell.set]}"


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
    lines = {arm: [ARMS[arm].label] for arm in dict.fromkeys(cell.arm for cell in rows)}
    for cell, seeds in rows.items():
        text = markdown.over(seeds, metric(way(cell.arm), "accuracy", times=100))
        place = (cell.set, cell.augment)
        if place in COLUMNS:
            text += f" ({PAPER[cell.arm][COLUMNS.index(place)]:.2f})"
        lines[cell.arm].append(text)
    return markdown.table(["arm", *heads], list(lines.values()))


def _targets(rows: Found) -> str:
    """Set SGHMC-SA at full size against its targets."""

    def ours(seeds: Sequence[harness.Row]) -> float:
        return statistics.fmean(100 * row["metrics"]["average"]["accuracy"] for row in seeds)

    lines = []
    for cell, seeds in rows.items():
        target = TARGETS.get((cell.set, cell.augment))
        if cell.arm != "sghmc_sa" or target is None:
            continue
        reached = [markdown.NOT_RUN] * 2
        if seeds:
            reached = [f"{ours(seeds):.2f}", "yes" if ours(seeds) >= target else "no"]
        lines.append([column(cell), f"{target:.2f}", *reached])
    return markdown.table(["accuracy % at full size", "target", "SGHMC-SA", "reached"], lines)


SCORES = [
    ("accuracy %", markdown.column(metric("accuracy", times=100))),
    ("NLL", markdown.column(metric("nll"), 3)),
    ("ECE %", markdown.column(metric("ece", times=100))),
    ("entropy", markdown.column(metric("entropy"), 3)),
    ("other set", markdown.column(metric("entropy_other"), 3)),
    ("AUROC", markdown.column(metric("auroc"), 3)),
]


def _both(rows: Found) -> str:
    """The last draw and the average of each cell, a line each."""
    parts = {
        (cell, part): [{**row, "metrics": row["metrics"][part]} for row in seeds]
        for cell, seeds in rows.items()
        for part in ("last", "average")
    }
    names = [
        ("set", lambda pair: column(pair[0])),
        ("arm", lambda pair: ARMS[pair[0].arm].label),
        ("by", lambda pair: pair[1]),
    ]
    return markdown.by_cell(parts, names, SCORES)


FC1 = [
    (
        "rho <= 0.5",
        lambda rows: markdown.over(rows, metric("sparse", "share_out", times=100), 1) + " %",
    ),
    ("accuracy %", markdown.column(metric("last", "accuracy", times=100))),
    ("after the cut", markdown.column(metric("sparse", "accuracy_after_cut", times=100))),
    ("sigma", markdown.column(metric("sparse", "sigma"))),
    ("delta", markdown.column(metric("sparse", "delta"), 3)),
    ("median size", markdown.column(metric("sparse", "magnitudes", 1), 4)),
]


def _sparse(rows: Found) -> str:
    learned = {cell: seeds for cell, seeds in rows.items() if ARMS[cell.arm].learns}
    return markdown.by_cell(learned, [("set", column)], FC1)
