# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the paper's figures beside ours."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.harness.markdown import metric
from benchmarks.images.classification.run import NAME, PRESETS, Classification
from benchmarks.images.recipe import ARMS, ArmName, Cell, Recipe

Found = harness.Found[Cell]

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

SHORT_TARGETS = {("mnist", False): 99.4, ("fashion_mnist", False): 92.5}
"""The same for the preset full, mean of its seeds."""

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

SHORT = """\
All {train:,} training images, the networks of the paper, {epochs} epochs of batches of {batch} in
{dtype} on a CPU; {scored:,} test images, mean ± standard error, in brackets the number of networks.
Last beside last and average beside average: the average is over {kept} draws of the second half of
the run for every arm, weighted alike. Every arm sees the same minibatches from the same start, and
its step size falls as k^-1/5. The poster's figures, in the table above, are of runs many times as
long; those of its arms by Adam are of last networks, those of the others of averages."""

SCALED = """\
Scaled NLL: each half of the test images at the temperature that suits the other half."""

TRIED = """\
Step sizes that were tried, for this table alone: {scored:,} training images held out, networks
trained on {train:,} others for {epochs} epochs, one network each, the average over {kept} draws.
No test image was looked at. What has the least NLL is taken by both samplers, and by both arms by
Adam; where that was not tried on a set, what was found on the other stands. "taken" marks what the
runs above have. A step size that suits so short a trial may be too large for a run."""

SMALL = """\
The sizes are reduced: {train:,} training images, networks of {channels} channels, {steps:,} steps.
So the accuracies are not to be set against the poster's; they can tell how far the arms differ."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    parts, used = ["## MNIST and Fashion-MNIST"], []
    for name in shown(preset):
        settings = PRESETS[name]
        rows = harness.found(settings, results)
        used += harness.every_row(rows)
        if name != "full":
            parts += _preset(name, settings, rows)
            continue
        tried = results.look_up(
            ((trial.recipe, cell), trial.config(cell), trial.seeds_of(cell))
            for trial, cell in settings.trials()
        )
        used += harness.every_row(tried)
        parts += [*_short(settings, rows), *_tried(settings, tried)]
    return markdown.join([*parts, markdown.made(used)])


def shown(preset: harness.Preset) -> tuple[harness.Preset, ...]:
    """List the presets to show: beside the paper's the short schedule and the reduced one."""
    return ("paper", "full", "cpu") if preset == "paper" else (preset,)


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
        said += [_reached(rows, TARGETS, "accuracy % at full size")]
    else:
        steps = recipe.steps(next(iter(rows)))
        channels = " and ".join(map(str, recipe.channels))
        said += [SMALL.format(train=recipe.num_train, channels=channels, steps=steps)]
    return [*said, _both(rows, SCORES), BOTH, _sparse(rows), SPARSE] if any(rows.values()) else said


def _short(settings: Classification, rows: Found) -> list[str]:
    """Show the full size at a short schedule: accuracy by both ways, the targets, all scores."""
    command = f"`python -m benchmarks.images.{NAME} --preset {settings.preset}`"
    if not any(rows.values()):
        return [f"{command}: {markdown.NOT_RUN}."]
    recipe = settings.recipe
    taken, burn_in = recipe.draws(next(iter(rows)))
    said = SHORT.format(
        train=recipe.num_train,
        epochs=recipe.epochs,
        batch=recipe.batch_size,
        dtype=recipe.dtype,
        scored=settings.num_scored,
        kept=taken - burn_in,
    )
    there = {cell: seeds for cell, seeds in rows.items() if seeds}
    return [
        f"{command}:",
        by_both_ways(rows, counted),
        said,
        _reached(rows, SHORT_TARGETS, "accuracy %, average"),
        _both(there, SHORT_SCORES),
        SCALED,
        *([_sparse(there), SPARSE] if any(ARMS[cell.arm].learns for cell in there) else []),
    ]


def by_both_ways(
    rows: Found, write: Callable[[str, Sequence[harness.Row]], str], *, by_arm: bool = False
) -> str:
    """Write a table of an arm and a way to predict a line, a set a column.

    Args:
        rows: of each cell.
        write: what stands there, by the way and the rows of a cell, which may be none.
        by_arm: put both ways of an arm one below the other; else all arms of a way.
    """
    heads = list(dict.fromkeys(map(column, rows)))
    arms = list(dict.fromkeys(cell.arm for cell in rows))
    cells = {(column(cell), cell.arm): seeds for cell, seeds in rows.items()}
    order = [(arm, way) for way in ("average", "last") for arm in arms]
    if by_arm:
        order = [(arm, way) for arm in arms for way in ("last", "average")]
    lines = [
        [f"{ARMS[arm].label}, {way}", *(write(way, cells.get((head, arm), ())) for head in heads)]
        for arm, way in order
    ]
    return markdown.table(["arm", *heads], lines)


def counted(way: str, rows: Sequence[harness.Row]) -> str:
    """Write the accuracy by a way to predict, and in brackets how many networks it is of."""
    return markdown.over(rows, metric(way, "accuracy", times=100), count=True)


Tried = dict[tuple[Recipe, Cell], list[harness.Row]]
"""Recipe and cell of a trial to its row, if there is one."""


def _tried(settings: Classification, tried: Tried) -> list[str]:
    """Show the step sizes that were tried on images held out."""
    rows = {trial: seeds for trial, seeds in tried.items() if seeds}
    if not rows:
        return []
    taken = settings.recipe

    def step(trial: tuple[Recipe, Cell]) -> str:
        recipe, cell = trial
        samples = ARMS[cell.arm].samples
        tried_of, taken_of = (
            each.step_size if samples else each.adam_step for each in (recipe, taken)
        )
        return f"{tried_of:g}" + (", taken" if tried_of == taken_of else "")

    recipe, cell = next(iter(rows))
    draws, burn_in = recipe.draws(cell)
    names = [
        ("set", lambda trial: column(trial[1])),
        ("arm", lambda trial: ARMS[trial[1].arm].label),
        ("step size", step),
    ]
    columns = [
        ("accuracy %, average", markdown.column("average", "accuracy", times=100)),
        ("NLL, average", markdown.column("average", "nll", digits=3)),
        ("accuracy %, last", markdown.column("last", "accuracy", times=100)),
        ("NLL, last", markdown.column("last", "nll", digits=3)),
    ]
    first = next(iter(rows.values()))[0]
    said = TRIED.format(
        scored=first["config"]["num_scored"],
        train=recipe.num_train,
        epochs=recipe.epochs,
        kept=draws - burn_in,
    )
    return [markdown.by_cell(rows, names, columns), said]


def accuracies(rows: Found) -> str:
    """Write the accuracy, an arm a line and a set a column, the poster's in brackets."""
    heads = list(dict.fromkeys(column(cell) for cell in rows))
    lines = {arm: [ARMS[arm].label] for arm in dict.fromkeys(cell.arm for cell in rows)}
    for cell, seeds in rows.items():
        text = markdown.over(seeds, metric(way(cell.arm), "accuracy", times=100))
        place = (cell.set, cell.augment)
        if place in COLUMNS:
            text += f" ({PAPER[cell.arm][COLUMNS.index(place)]:.2f})"
        lines[cell.arm].append(text)
    return markdown.table(["arm", *heads], list(lines.values()))


def _reached(rows: Found, targets: Mapping[tuple[str, bool], float], head: str) -> str:
    """Set the average of SGHMC-SA against its targets."""

    def ours(seeds: Sequence[harness.Row]) -> float:
        return statistics.fmean(100 * row["metrics"]["average"]["accuracy"] for row in seeds)

    lines = []
    for cell, seeds in rows.items():
        target = targets.get((cell.set, cell.augment))
        if cell.arm != "sghmc_sa" or target is None:
            continue
        reached = [markdown.NOT_RUN] * 2
        if seeds:
            reached = [f"{ours(seeds):.2f}", "yes" if ours(seeds) >= target else "no"]
        lines.append([column(cell), f"{target:.2f}", *reached])
    return markdown.table([head, "target", "SGHMC-SA", "reached"], lines)


SCORES = [
    ("accuracy %", markdown.column("accuracy", times=100)),
    ("NLL", markdown.column("nll", digits=3)),
    ("ECE %", markdown.column("ece", times=100)),
    ("entropy", markdown.column("entropy", digits=3)),
    ("other set", markdown.column("entropy_other", digits=3)),
    ("AUROC", markdown.column("auroc", digits=3)),
]

SHORT_SCORES = [
    ("networks", lambda rows: str(len(rows))),
    *SCORES[:2],
    ("scaled NLL", markdown.column("scaled_nll", digits=3)),
    *SCORES[2:],
]


def _both(rows: Found, scores: Sequence[tuple[str, markdown.Column]]) -> str:
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
    return markdown.by_cell(parts, names, scores)


FC1 = [
    (
        "rho <= 0.5",
        lambda rows: markdown.over(rows, metric("sparse", "share_out", times=100), 1) + " %",
    ),
    ("accuracy %", markdown.column("last", "accuracy", times=100)),
    ("after the cut", markdown.column("sparse", "accuracy_after_cut", times=100)),
    ("sigma", markdown.column("sparse", "sigma")),
    ("delta", markdown.column("sparse", "delta", digits=3)),
    ("median size", markdown.column("sparse", "magnitudes", 1, digits=4)),
]


def _sparse(rows: Found) -> str:
    learned = {cell: seeds for cell, seeds in rows.items() if ARMS[cell.arm].learns}
    return markdown.by_cell(learned, [("set", column)], FC1)
