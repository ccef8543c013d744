# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the paper's figures and our targets beside them."""

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks import harness
from benchmarks.compression.arms import ARMS, ArmName
from benchmarks.compression.released import DEPARTURES
from benchmarks.compression.run import PRESETS, Cell, Compression
from benchmarks.harness import markdown
from benchmarks.harness.markdown import by_cell, column, metric

Found = harness.Found[Cell]

over = functools.partial(markdown.over, deviation=True, count=True)
"""Write a mean over seeds, their deviation and their number."""


FIGURES = {"paper": "compression.png", "cpu": "compression_reduced.png", "smoke": "compression.png"}
"""Preset to file."""

EPOCHS = "compression_epochs.png"
"""File of the accuracy after each epoch at full size."""

PICTURE = """\
Test accuracy at the last epoch against the share of zeros, with standard errors over seeds. The
axis is logarithmic in the share of weights that are kept, and arms of the same sparsity are drawn
side by side. The grey line is the dense network."""

EPOCHS_IN_WORDS = """\
Each line is the mean over the seeds of an arm of the preset `full`, with its test accuracy after
each epoch. The dots are the ends of the single runs, which the table has; nothing was chosen by the
other points. All runs fall far at first, because the learning rate is rewound and the ramp prunes
in the first 40 % of a run. They recover as the rate falls to 0. The grey line is what the paper
reports at that sparsity for A-SGHMC-SA, after 1,000 epochs and at the best of them by test
accuracy."""

POSTER: dict[str, dict[float, float]] = {
    "a_sghmc": {0.3: 94.07, 0.5: 94.16, 0.7: 93.16, 0.9: 90.59},
    "a_sghmc_em": {0.3: 94.18, 0.5: 94.19, 0.7: 93.41, 0.9: 91.12},
    "sghmc_sa": {0.3: 94.13, 0.5: 94.11, 0.7: 93.52, 0.9: 91.45},
    "a_sghmc_sa": {0.3: 94.23, 0.5: 94.27, 0.7: 93.74, 0.9: 91.68},
}
"""Test accuracy in per cent by arm and sparsity: the best epoch by test accuracy, one seed."""

LOGS: dict[str, dict[float, tuple[float, ...]]] = {
    "a_sghmc": {0.3: (94.23,), 0.5: (93.95,), 0.7: (93.03,), 0.9: (89.10, 88.84)},
    "a_sghmc_em": {0.3: (94.12,), 0.5: (93.89,), 0.7: (93.15,), 0.9: (90.08, 89.69)},
    "sghmc_sa": {0.3: (94.21,), 0.5: (93.96,), 0.7: (93.38,), 0.9: (91.10, 90.80)},
    "a_sghmc_sa": {0.3: (94.11,), 0.5: (93.87,), 0.7: (93.45,), 0.9: (91.43, 91.14)},
}
"""The last epoch in the logs of the authors' own runs, same seed; two where two runs survive."""

TARGETS: tuple[tuple[str, float | None, bool, float], ...] = (
    ("dense", None, False, 94.0),
    ("90 %, one network", 0.9, False, 92.0),
    ("90 %, averaged", 0.9, True, 92.4),
    ("95 %, one network", 0.95, False, 90.0),
    ("98 %, one network", 0.98, False, 85.5),
)
"""What to reach, its sparsity, whether averaged, test accuracy in per cent."""

SHORT_TARGETS: tuple[tuple[float, int, float], ...] = (
    (0.9, 15, 90.8),
    (0.95, 15, 88.5),
    (0.98, 15, 83.5),
    (0.9, 60, 91.7),
)
"""Sparsity, epochs, and test accuracy in per cent to reach in so many, by one network."""

SHORT = """\
Test accuracy in per cent; NLL in nats; scaled NLL with each half of the test images at the
temperature fitted on the other half. All are taken at the last epoch, mean ± standard deviation
over seeds (their number in brackets). "Less the control" is in points of accuracy, with the same
start, epochs and minibatches, mean ± standard error. "Relative" arms rank each weight by its share
of the norm of its leaf. In "frozen" arms a pruned weight never returns. "By Fisher" ranks each
weight by its worth to the loss (`aeb.fisher`) and not by its size. "Taught" arms also learn the
dense network's probabilities. Ours is compared with the control that is frozen, relative or taught
as it is, and that ranks by size. "Aeb" has v0 = .01, v1 = .1 and a weight of .03, chosen by hand,
and no weight decay; "scaled" has what `aeb.spike_slab()` takes from the leaves and from the numbers
of weights and images, and the weight decay of the control, 5e-4. All runs start from the network
that the authors released. It has 94.12 %, is the best of 65 by test accuracy, and has seen all
training images."""

FINAL = """\
Test accuracy in per cent at the last epoch, mean ± standard deviation over seeds (their number in
brackets), by the sparsity over all parameters."""

PAPER = """\
The authors' own figures, from their dense network: on the poster, which is the best of all test
evaluations of a run, and in brackets at the last epoch of the runs whose logs they keep. All are of
one seed, the best of 65 by the test accuracy of the dense network."""

REACHED = """\
Targets at the full size, and whichever of our arms and the controls comes nearest. Choosing the
nearest of several by test accuracy flatters a little."""

AGAINST = """\
Each arm minus the control at the same sparsity, from the same start and with the same minibatches,
in points of test accuracy at the last epoch: mean ± standard error over seeds (their number in
brackets). These seeds cannot show a difference of less than two standard errors."""

AVERAGED = """\
The last network alone, beside the average over the predictions of the last network of each cycle.
BatchNorm statistics were refreshed for each network. NLL in nats, ECE in per cent."""

PRIOR = """\
What the prior has learned at the end of a run, as means over seeds.

- *rho > 0.5*: the share of weights that the prior takes for slab.
- *undecided*: the share of weights with rho between 0.1 and 0.9.
- *delta*: from the smallest to the largest of the layers.
- *noise / step* and *noise / weight*: the standard deviation of the noise injected in a step,
  divided by the root mean square of the gradient's part of the step and by the median magnitude of
  the weights. Medians over seeds, at the look with the largest noise. With cycles the looks are at
  their ends, where the gradient's part is next to nothing.
- *best test epoch*: the best accuracy of any epoch, which chooses by the test set.
- *zeros*: their number over all parameters."""

CUT = """\
Without a target the prior has half of the epochs to form rho. From then on, weights with rho below
0.5 are cut, and return where rho rises. The middle columns show one network cut in two ways to the
same number of zeros, without training in between. The last columns show the last epoch."""

DEPARTED = "The authors' code, and what is done here in its place:"


# ---- what is read off the rows -------------------------------------------------------------------


def percent(metrics: Any) -> float:
    """Read the accuracy of the last epoch in per cent."""
    return 100 * float(metrics["accuracy"])


def dense_accuracies(rows: Found) -> list[float]:
    return [percent(row["metrics"]) for row in rows.get(Cell("dense", None, "own"), ())]


def per_cent(share: float) -> str:
    return f"{100 * share:g} %"


def label(arm: ArmName, start: str) -> str:
    return ARMS[arm].label + (", from the authors' dense" if start == "authors" else "")


ARM = ("arm", lambda cell: label(cell.arm, cell.start))
"""The first column of the tables of a cell a line."""


def gains(rows: Found, cell: Cell) -> str:
    """Write the mean gain of a cell over the control, seed by seed."""
    matched = cell._replace(arm=control_of(cell.arm))
    pairs = harness.paired(rows[cell], rows.get(matched, ()))
    values = [percent(one["metrics"]) - percent(other["metrics"]) for one, other in pairs]
    return f"{markdown.mean(values)} ({len(values)})" if values else markdown.NOT_RUN


def control_of(arm: ArmName) -> ArmName:
    """Return the control that prunes as an arm of ours does; a control's is the plain one."""
    how = ARMS[arm]
    if how.kind != "aeb" or how.cycles:
        return "control"
    if how.scope == "relative":
        return "control_relative"
    if how.regrow:
        return "control"
    return "control_frozen_taught" if how.taught else "control_frozen"


def felt(rows: Iterable[harness.Row], beside: str) -> float:
    """Compute the injected noise over the `step` or the `weight`, at the look where it is largest.

    The median over seeds; infinite where the gradient's part is lost in the noise.
    """
    histories: list[Sequence[Any]] = [row["metrics"]["history"] for row in rows]
    looks = [max(history, key=lambda look: look["noise"]) for history in histories]
    return statistics.median(
        look["noise"] / look[beside] if look[beside] else math.inf for look in looks
    )


# ---- the sections -------------------------------------------------------------------------------


def report(preset: harness.Preset, results: harness.Results) -> str:
    full = preset == "paper"
    rows = harness.found(PRESETS[preset], results)
    parts = [
        "## Compression of ResNet20",
        command(preset),
        final(rows),
        FINAL,
        *_details(preset, rows),
        _papers(),
        PAPER,
        *([_targets(rows), REACHED] if full else []),
        DEPARTED,
        markdown.table(["there", "here"], DEPARTURES),
    ]
    if full:
        parts += [
            "### All of the data, few epochs",
            command("full"),
            *short(PRESETS["full"], harness.found(PRESETS["full"], results)),
        ]
    reduced = harness.found(PRESETS["cpu"], results) if full else {}
    if any(reduced.values()):
        parts += [
            "### At a reduced size",
            f"{command('cpu')} The targets are not for this size; the order of the arms is.",
            final(reduced),
            *_details("cpu", reduced),
        ]
    return markdown.join(parts)


def blocks(results: harness.Results) -> dict[str, str]:
    """Make the tables of docs/what-it-does.md by the names of their marks, of the reduced size."""
    rows = harness.found(PRESETS["cpu"], results)
    dense = dense_accuracies(rows)
    text = f"{markdown.mean(dense, deviation=True)} %" if dense else markdown.NOT_RUN
    made = markdown.made(harness.every_row(rows))
    return {
        "size": f"{command('cpu')} The dense networks have {text}.\n\n{made}".strip(),
        "accuracy": final(rows),
        "control": _against(rows),
        "prior": _prior(rows),
        "average": _averaged(rows),
        "cut": _cut(rows),
    }


def command(preset: harness.Preset) -> str:
    return f"`python -m benchmarks.compression --preset {preset}`: {size_of(PRESETS[preset])}."


def size_of(settings: Compression) -> str:
    size = settings.size
    pooled = f", pooled to {32 // size.pool}x{32 // size.pool}" if size.pool > 1 else ""
    if size.data != "cifar10":
        pooled = f" of {size.data}"
    return (
        f"ResNet{size.depth} of widths {', '.join(map(str, size.widths))}, {size.num_images:,} "
        f"training images{pooled}, batch {size.batch_size:,}, {size.dense_epochs:,} dense and "
        f"{size.epochs:,} sparse epochs, {size.compute}"
    )


def _details(preset: harness.Preset, rows: Found) -> list[str]:
    if not any(rows.values()):
        return []
    return [
        markdown.picture("Test accuracy against sparsity", FIGURES[preset], PICTURE),
        _against(rows),
        _averaged(rows),
        _prior(rows),
        _cut(rows),
        markdown.made(harness.every_row(rows)),
    ]


# ---- accuracy -----------------------------------------------------------------------------------


def final(rows: Found) -> str:
    """Write the accuracy, an arm a line and a sparsity a column."""
    sparsities = sorted({cell.sparsity for cell in rows if cell.sparsity is not None})
    lines = []
    for arm, start in dict.fromkeys((cell.arm, cell.start) for cell in rows):
        untargeted = rows.get(Cell(arm, None, start))
        if untargeted is not None:
            zeros = [100 * row["metrics"]["sparsity"] for row in untargeted]
            at = f" at {markdown.mean(zeros, 1)} % zeros" if zeros and arm != "dense" else ""
            texts = [over(untargeted, percent) + at, *["-"] * len(sparsities)]
        else:
            cells = [Cell(arm, sparsity, start) for sparsity in sparsities]
            texts = ["-", *(over(rows[cell], percent) if cell in rows else "-" for cell in cells)]
        lines.append([label(arm, start), *texts])
    return markdown.table(["arm", "no target", *map(per_cent, sparsities)], lines)


def short(settings: Compression, rows: Found) -> list[str]:
    """Make the tables of the preset `full`: each cell in a line, then the targets."""

    def zeros(cell: Cell) -> str:
        if cell.sparsity is not None:
            return per_cent(cell.sparsity)
        shares = [100 * row["metrics"]["sparsity"] for row in rows[cell]]
        return "found by itself" + (f": {markdown.mean(shares, 1)} %" if shares else "")

    def epochs(cell: Cell) -> int:
        return cell.epochs or settings.size.epochs

    def less_the_control(cell: Cell) -> str:
        alone = ARMS[cell.arm].kind == "control" or cell.sparsity is None
        return "-" if alone else gains(rows, cell)

    names = [
        ARM,
        ("zeros", zeros),
        ("epochs", lambda cell: str(epochs(cell))),
        ("accuracy", lambda cell: over(rows[cell], percent)),
        ("NLL", lambda cell: over(rows[cell], metric("nll"), 3)),
        ("scaled NLL", lambda cell: over(rows[cell], metric("scaled_nll"), 3)),
        ("less the control", less_the_control),
    ]
    reached = []
    for sparsity, length, target in SHORT_TARGETS:
        line = [f"{per_cent(sparsity)}, {length} epochs", f"{target:.1f}"]
        for arm in ("control", "aeb"):
            wanted = (arm, sparsity, "authors", length)
            (cell,) = (c for c in rows if (*c[:3], epochs(c)) == wanted)
            line.append(over(rows[cell], percent))
        reached.append(line)
    drawn = any(seeds for cell, seeds in rows.items() if cell.sparsity is not None)
    picture = markdown.picture("Test accuracy after each epoch", EPOCHS, EPOCHS_IN_WORDS)
    return [
        by_cell(rows, names, []),
        SHORT,
        markdown.table(["", "target", "control", "aeb"], reached),
        *([picture] if drawn else []),
        markdown.made(harness.every_row(rows)),
    ]


def _papers() -> str:
    sparsities = list(next(iter(POSTER.values())))
    lines = []
    for arm, figures in POSTER.items():
        texts = [
            f"{figure:.2f} ({', '.join(f'{log:.2f}' for log in LOGS[arm][sparsity])})"
            for sparsity, figure in figures.items()
        ]
        lines.append([ARMS[arm].label, *texts])
    return markdown.table(["arm", *map(per_cent, sparsities)], lines)


def _targets(rows: Found) -> str:
    """Set the nearest arm of ours or of the controls beside each target."""
    own = {cell: seeds for cell, seeds in rows.items() if seeds and cell.start == "own"}
    lines = []
    for what, sparsity, average, target in TARGETS:
        read = (lambda metrics: percent(metrics["average"])) if average else percent
        kinds = ("dense",) if sparsity is None else ("control", "aeb")
        means = {
            cell: statistics.fmean(read(row["metrics"]) for row in seeds)
            for cell, seeds in own.items()
            if cell.sparsity == sparsity and ARMS[cell.arm].kind in kinds
            if ARMS[cell.arm].cycles or not average
        }
        best = max(means, key=means.__getitem__, default=None)
        told = [markdown.NOT_RUN] * 3
        if best is not None:
            reached = "yes" if means[best] >= target else "no"
            told = [ARMS[best.arm].label, over(own[best], read), reached]
        lines.append([what, f"{target:.1f}", *told])
    return markdown.table(["", "target", "arm", "measured", "reached"], lines)


# ---- what stands behind it ----------------------------------------------------------------------


def _against(rows: Found) -> str:
    """Set each arm against the control, seed by seed."""
    cells = {
        cell: seeds
        for cell, seeds in rows.items()
        if cell.arm != "control" and cell.sparsity is not None
    }
    names = [
        ARM,
        ("zeros", lambda cell: per_cent(cell.sparsity)),
        ("less the control", lambda cell: gains(rows, cell)),
    ]
    return _noted(by_cell(cells, names, []), AGAINST)


def _averaged(rows: Found) -> str:
    """Set the last network beside the average over the samples."""
    columns = [
        (head, column(*of, name, times=times, digits=digits, deviation=True))
        for title, name, times, digits in (
            ("accuracy", "accuracy", 100, 2),
            ("NLL", "nll", 1, 3),
            ("ECE", "ece", 100, 2),
        )
        for head, of in ((title, ()), ("averaged", ("average",)))
    ]
    cells = {cell: seeds for cell, seeds in rows.items() if ARMS[cell.arm].cycles}
    names = [ARM, ("zeros", lambda cell: per_cent(cell.sparsity or 0))]
    return _noted(by_cell(cells, names, columns), AVERAGED)


def _prior(rows: Found) -> str:
    """Return what the prior has learned, and how large the noise is."""

    def latent(say: Callable[[Sequence[Any]], str]) -> markdown.Column:
        def text(seeds: Sequence[harness.Row]) -> str:
            latents = [row["metrics"]["latent"] for row in seeds]
            known = [each for each in latents if each is not None]
            return say(known) if known else "-"

        return text

    def share(name: str) -> markdown.Column:
        return latent(lambda latents: f"{statistics.fmean(each[name] for each in latents):.1%}")

    def deltas(latents: Sequence[Any]) -> str:
        rates = [list(each["delta"].values()) for each in latents]
        low, high = (statistics.fmean(map(end, rates)) for end in (min, max))
        return f"{low:.2f} to {high:.2f}"

    def noise(beside: str) -> markdown.Column:
        def text(seeds: Sequence[harness.Row]) -> str:
            ratio = felt(seeds, beside)
            return "0" if ratio == 0 else "over 10" if ratio > 10 else f"{ratio:.2g}"

        return text

    def zeros(seeds: Sequence[harness.Row]) -> str:
        return f"{statistics.fmean(row['metrics']['zeros'] for row in seeds):,.0f}"

    target = ("target", lambda cell: "-" if cell.sparsity is None else per_cent(cell.sparsity))
    columns = [
        ("rho > 0.5", share("rho_share")),
        ("undecided", share("rho_undecided")),
        ("delta", latent(deltas)),
        ("noise / step", noise("step")),
        ("noise / weight", noise("weight")),
        ("best test epoch", column("best_test_epoch", "accuracy", times=100, deviation=True)),
        ("zeros", zeros),
    ]
    return _noted(by_cell(rows, [ARM, target], columns), PRIOR)


def _cut(rows: Found) -> str:
    """Set a cut by rho beside one by magnitude, where there is no target."""
    columns = [
        (head, column("cut", name, times=100, deviation=True))
        for head, name in (
            ("zeros %", "sparsity"),
            ("before", "before"),
            ("cut by rho", "by_rho"),
            ("cut by magnitude", "by_magnitude"),
        )
    ]
    columns += [
        ("zeros % at the end", lambda seeds: over(seeds, metric("sparsity", times=100))),
        ("accuracy at the end", lambda seeds: over(seeds, percent)),
    ]
    cells = {cell: seeds for cell, seeds in rows.items() if ARMS[cell.arm].score == "learned"}
    return _noted(by_cell(cells, [ARM], columns), CUT)


def _noted(table: str, note: str) -> str:
    """Put a note below a table; "" where there is none."""
    return f"{table}\n\n{note}" if table else ""
