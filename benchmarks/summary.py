# SPDX-License-Identifier: Apache-2.0
"""The few figures that the README shows, from the rows of the paper presets."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks import harness
from benchmarks.compression import readings
from benchmarks.compression import run as compression
from benchmarks.compression import table as compression_table
from benchmarks.compression.arms import ARMS
from benchmarks.compression.arms import ArmName as CompressionArm
from benchmarks.compression.readings import gains, over, per_cent, percent
from benchmarks.convergence import run as convergence
from benchmarks.convergence.recipe import Gain
from benchmarks.convergence.scores import Slope
from benchmarks.convergence.table import found as slopes_found
from benchmarks.harness.markdown import NOT_RUN, mean, table
from benchmarks.images.adversarial import run as adversarial
from benchmarks.images.adversarial import table as adversarial_table
from benchmarks.images.classification import run as classification
from benchmarks.images.classification import table as classification_table
from benchmarks.regression import run as regression
from benchmarks.regression import table as regression_table
from benchmarks.simulation import run as simulation
from benchmarks.simulation import table as simulation_table
from benchmarks.simulation.recipe import Cell
from benchmarks.uci import run as uci
from benchmarks.uci import table as uci_table
from benchmarks.uci.recipe import ArmName

__all__ = ["BEGIN", "END", "put_into", "summary"]

BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
"""The lines of the README between which the summary goes."""

REGRESSION = """\
Large p, small n (n = {n}, p = {p:,}, three signals, noise of variance {floor:g}), means over
{sets} data sets ± standard errors. The population MSE has its floor at {floor:g}. Intervals are at
90 %; those of `aeb.regression` are of a coefficient given that its column is in the model, and in
brackets averaged over models. Seconds are of one core, compiled before; those of SGLD are a tenth
of ten chains that run together:"""

CONVERGENCE = """\
The theorem bounds the error of the learned latents by a multiple of the gain, a slope of 1 on log
scales, if at alpha = 1 the coefficient C of the gain is large enough. Measured, with 95 %
intervals:

{slopes}"""

UCI = """\
UCI regressions, network d-50-1, mean test RMSE over 20 splits ± standard error: the paper's poster,
our run of its arm (last draw, as there), and one setting for all sets, averaged over the draws of
one of its {chains} chains and of all:"""

PICTURES = """\
MNIST and Fashion-MNIST
{size}:
test accuracy in %, mean over {seeds} seeds ± standard error, in brackets the poster's at its size.
The arms by Adam predict by their last network, the others by the average over their draws:"""


FULL = """\
ResNet20 on all of CIFAR-10, made sparse in few epochs on a CPU ({size}), from the
network that the authors released (94.12 %; it is the best of 65 by test accuracy): test accuracy in
per cent at the last epoch, mean ± standard deviation over seeds (their number in brackets). The
control is plain magnitude pruning with the same schedule; less the control, seed by seed, ±
standard error. The paper's best at 90 % is 91.68, after 1,000 epochs and by the best epoch on the
test set:"""

COMPRESSION = """\
Compression at a reduced size, {zeros:g} % zeros: test accuracy in per cent at the last epoch, mean
± standard deviation over seeds (their number in brackets), and how much that is above plain
magnitude pruning with the learning rate rewound, seed by seed, ± standard error. The paper's
1,000 epochs at the full size need a GPU and have no rows yet. This size:
{size}."""

REDUCED = 0.9
"""The sparsity that is shown."""

COMPRESSED: tuple[CompressionArm, ...] = (
    "a_sghmc",
    "a_sghmc_em",
    "sghmc_sa",
    "a_sghmc_sa",
    "control",
    "aeb",
    "aeb_noise",
    "aeb_rho",
)


def put_into(text: str, block: str, name: str = "measured") -> str:
    """Put a block between the two marks of a text that have its name.

    Raises:
        ValueError: the marks are not there, once each and in order.
    """
    begin, end = (mark.replace("measured", name) for mark in (BEGIN, END))
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed) or end in before + after or begin in after:
        raise ValueError(f"marks: the text needs the lines {begin.strip()} and {end.strip()}, once")
    return f"{before}{begin}\n{block}\n{end}{after}"


def summary(results: Path) -> str:
    """Make the block.

    Args:
        results: folder of the rows.

    Returns:
        Markdown, "not run" where rows are missing.

    Raises:
        UsageError: the rows are damaged.
    """
    design = simulation.PRESETS["paper"].design
    heads = ["", "population MSE", "signals found", "false finds", "signals covered", "seconds"]
    slopes, _ = slopes_found(convergence.PRESETS["paper"], _rows(results, convergence.NAME))
    said = [_slope(gain, row) for gain, _, row in slopes if row is not None]
    parts = [
        REGRESSION.format(
            n=design.num_rows,
            p=design.num_columns,
            floor=design.noise_variance,
            sets=simulation.PRESETS["paper"].data_sets,
        ),
        table(heads, [*_samplers(results), *_peers(results)]),
        CONVERGENCE.format(slopes="\n".join(f"- {line}" for line in said) or NOT_RUN),
        UCI.format(chains=uci.PRESETS["paper"].recommended.chains),
        _uci(results),
        *_pictures(results),
        *_full(results),
        COMPRESSION.format(
            size=compression_table.size_of(compression.PRESETS["cpu"]), zeros=100 * REDUCED
        ),
        _compression(results),
    ]
    return "\n\n".join(parts) + "\n"


def _slope(gain: Gain, row: harness.Row) -> str:
    rate = row["metrics"]["rate"]
    slope = Slope(**rate["slope"])
    text = f"{slope.estimate:.3f} [{slope.low:.3f}, {slope.high:.3f}] at alpha = {gain.exponent:g}"
    if gain.exponent < 1:
        return text
    enough = "too small" if rate["factor_in_the_limit"] is None else "large enough"
    return f"{text} and C = {gain.coefficient:g}, {enough}"


def _rows(results: Path, script: str) -> harness.Results:
    return harness.Results(results / f"{script}.jsonl")


def _samplers(results: Path) -> list[list[str]]:
    """The paper's samplers at the setting of the authors' document."""
    rows = simulation_table.found(simulation.PRESETS["paper"], _rows(results, simulation.NAME))
    lines = []
    for label, cell in (
        ("SGLD-SA, as the authors ran it", Cell("sa", 0.1, 1.0)),
        ("SGLD-EM", Cell("em", 0.1, 1.0)),
    ):
        covered = [row["metrics"]["intervals"]["signals"]["coverage"] for row in rows[cell]]
        seconds = [row["seconds"] for row in rows[cell]]
        lines.append(_line(label, rows[cell], [covered], seconds))
    return lines


def _peers(results: Path) -> list[list[str]]:
    """Cross-validated penalties, and `aeb.regression` with its default key."""
    settings = regression.PRESETS["paper"]
    rows = regression_table.found(settings, _rows(results, regression.NAME))
    labels = {"lasso": "lasso, 10-fold CV", "mcp": "MCP, 10-fold CV", "aeb": "`aeb.regression`"}
    lines = []
    for cell, seeds in rows.items():
        if cell.method not in labels or cell.design != settings.design or cell.key:
            continue
        covered = [
            [row["metrics"]["intervals"][kind]["signals"]["coverage"] for row in seeds]
            for kind in (("if included", "averaged") if cell.method == "aeb" else ())
        ]
        seconds = [row["metrics"]["cpu_seconds"] for row in seeds]
        lines.append(_line(labels[cell.method], seeds, covered, seconds))
    return lines


def _line(
    label: str,
    rows: Sequence[harness.Row],
    covered: Sequence[Sequence[float]],
    seconds: Sequence[float],
) -> list[str]:
    if not rows:
        return [label, *[NOT_RUN] * 5]
    metrics = [row["metrics"] for row in rows]
    return [
        label,
        *(
            mean([each[name] for each in metrics])
            for name in ("population_mse", "true_discoveries", "false_discoveries")
        ),
        _shares(covered),
        f"{statistics.fmean(seconds):.1f}",
    ]


def _shares(covered: Sequence[Sequence[float]]) -> str:
    """Write the mean of the first, and of the others in brackets."""
    if not covered:
        return "-"
    first, *rest = (f"{statistics.fmean(shares):.1%}" for shares in covered)
    return first + "".join(f" ({share})" for share in rest)


def _uci(results: Path) -> str:
    settings = uci.PRESETS["paper"]
    found = uci_table.found(settings, _rows(results, uci.NAME))
    heads = [
        "",
        "poster's A-SGHMC-SA",
        "the same, ours",
        "one chain",
        "all chains",
        "log-likelihood",
    ]
    lines = []
    for name in settings.sets:
        theirs = uci_table.POSTER[uci_table.TARGET].get(name)
        line = [name, "-" if theirs is None else f"{theirs[0]:.3f} ± {theirs[1]:.3f}"]
        wanted: tuple[tuple[ArmName, str], ...] = (
            (uci_table.TARGET, "rmse_last"),
            ("aeb", "rmse_one_chain"),
            ("aeb", "rmse_average"),
            ("aeb", "log_likelihood"),
        )
        for arm, metric in wanted:
            line.append(uci_table.over(found[name, arm], operator.itemgetter(metric)))
        lines.append(line)
    return table(heads, lines)


def _full(results: Path) -> list[str]:
    """The full size at few epochs, as far as it was run; nothing where it was not."""
    settings = compression.PRESETS["full"]
    rows = readings.found(settings, _rows(results, compression.NAME))
    lines = []
    for cell, seeds in rows.items():
        control = rows.get(cell._replace(arm="control"), [])
        if cell.arm == "aeb" and (seeds or control):
            epochs = cell.epochs or settings.size.epochs
            line = [per_cent(cell.sparsity or 0), str(epochs), over(control, percent)]
            lines.append([*line, over(seeds, percent), gains(rows, cell)])
    if not lines:
        return []
    size = settings.size
    said = f"{size.num_images:,} images, batch {size.batch_size}, {size.compute}"
    heads = ["zeros", "epochs", "control", "aeb", "less the control"]
    return [FULL.format(size=said), table(heads, lines)]


def _compression(results: Path) -> str:
    rows = readings.found(compression.PRESETS["cpu"], _rows(results, compression.NAME))
    lines = [["dense", over(rows[compression.Cell("dense", None, "own")], percent), "-"]]
    for arm in COMPRESSED:
        cell = compression.Cell(arm, REDUCED, "own")
        gain = "-" if arm == "control" else gains(rows, cell)
        lines.append([ARMS[arm].label, over(rows[cell], percent), gain])
    return table(["", "accuracy", "less the control"], lines)


def _pictures(results: Path) -> list[str]:
    """The full size where there is a row of it, else the reduced one."""
    rows, attacks = (_rows(results, run.NAME) for run in (classification, adversarial))
    preset: harness.Preset = "paper"
    if not any(classification_table.found(classification.PRESETS[preset], rows).values()):
        preset = "cpu"
    settings = classification.PRESETS[preset]
    size = f"at a reduced size ({settings.recipe.num_train:,} training images, narrow networks)"
    size = "at the paper's size" if preset == "paper" else size
    attacked = adversarial.PRESETS[preset]
    verdict = adversarial_table.verdict(attacked, adversarial_table.found(attacked, attacks))
    return [
        PICTURES.format(size=size, seeds=settings.seeds),
        classification_table.accuracies(classification_table.found(settings, rows)),
        f"The same networks under attack, accuracy on {attacked.num_scored:,} test images:",
        verdict or NOT_RUN,
    ]
