# SPDX-License-Identifier: Apache-2.0
"""The figures that matter most, on one page, from the rows of the paper presets.

Each stands beside its other half: averages beside last draws, the prior beside a control without
one, a target beside what was reached.
"""

import operator
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.compression import run as compression
from benchmarks.compression import table as compression_table
from benchmarks.compression.arms import ARMS
from benchmarks.compression.arms import ArmName as CompressionArm
from benchmarks.compression.table import SHORT_TARGETS, gains, over, per_cent, percent
from benchmarks.convergence import run as convergence
from benchmarks.convergence.recipe import Gain
from benchmarks.convergence.scores import Slope
from benchmarks.convergence.table import found as slopes_found
from benchmarks.harness import markdown
from benchmarks.harness.markdown import NOT_RUN, column, table
from benchmarks.images.adversarial import run as adversarial
from benchmarks.images.adversarial import table as adversarial_table
from benchmarks.images.classification import run as classification
from benchmarks.images.classification import table as classification_table
from benchmarks.regression import run as regression
from benchmarks.simulation import run as simulation
from benchmarks.simulation.recipe import Cell
from benchmarks.simulation.table import covered
from benchmarks.uci import run as uci
from benchmarks.uci import table as uci_table
from benchmarks.uci.recipe import ArmName

__all__ = ["BEGIN", "END", "put_into", "summary"]

BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->\n"
"""The lines of the page between which the summary goes."""

REGRESSION = """\
## More columns than rows

{sets} simulated data sets of n = {n} rows and p = {p:,} columns. Three columns carry a signal,
and the noise has variance {floor:g}, so no method can have a population MSE below {floor:g}.
"Least squares" is told which columns carry the signal; nobody else is. SGLD-SA and SGLD-EM are
the paper's samplers at its own settings, with stochastic approximation and with EM. Means ±
standard errors:"""

REGRESSION_NOTE = """\
"Covered" is how often a 90 % interval has the true coefficient of a signal in it. The first
number is of intervals averaged over models, the one in brackets of intervals given that the
column is in the model. All of them fall short of 90 %. By default `aeb.regression` learns the
width of its spike; with `v0=0` the spike is a point. Seconds are of one core, without compiling,
and of two machines; those of the samplers are a tenth of ten chains that run together."""

CONVERGENCE = """\
## The theorem

The paper bounds the squared error of the learned latents by a multiple of the gain: a slope of 1
on logarithmic scales. At alpha = 1 the bound needs a coefficient C that is large enough. Measured
slopes, with 95 % intervals:

{slopes}"""

UCI = """\
## Small regressions: averages and last draws

UCI data sets, a network of one hidden layer of {hidden} units, test RMSE: mean over {splits}
splits (90 % to train, 10 % to test) ± standard error. A-SGHMC-SA is the paper's best arm: SGHMC
with annealed temperature and stochastic approximation, {epochs} epochs, one chain, tuned by its
authors for each set. `aeb` is one setting of ours for all sets, which samples at temperature 1:
{chains} chains, each of {draws} draws some {thinning} steps apart, of which the first half is
left out."""

UCI_NOTE = """\
In both arms the average beats the last draw. A last draw of `aeb` is worse than one of the
paper's arm on four sets: it carries all of the sampler's noise, which averaging removes. Eight
chains cost eight times as much as one. The setting was chosen by validation on other splits,
whose rows overlap with these. The poster does not say whether its ± is a standard error. Where
chains diverged, the mean is over the other splits."""

DENSITY = """\
How good is the whole predictive distribution, and not just its mean? Log-likelihood in nats a
test row, and in brackets the share of test rows inside the central 90 % interval, both of the
averages:"""

PICTURES = """\
## Images: averages and last draws

MNIST and Fashion-MNIST {size}, {scored:,} test images, with (DA) and without augmentation: test
accuracy in % and, in brackets, the expected calibration error in %, means over {seeds} seeds.
Vanilla and Dropout are trained by Adam, SGHMC samples under a normal prior, SGHMC-SA under the
spike-and-slab prior. Every arm predicts once by its last network and once by the average over the
second half of its run:"""

PICTURES_NOTE = """\
Without augmentation averaging helps both samplers a little. With augmentation it raises the
accuracy and spoils the calibration: the averages are not sure enough. Spreads, likelihoods and
entropies are in [all results](results.md#mnist-and-fashion-mnist). The poster's 99.3 to 99.6 %
are of all images and of a schedule that has not been run here."""

PICTURES_SHORT = """\
All {train:,} training images and the paper's networks, {epochs} epochs in place of its hundreds:
test accuracy in % on {scored:,} test images, ± standard error, in brackets the number of networks;
"-" was not run:"""

FULL = """\
## ResNet20, full size, few epochs

All of CIFAR-10 ({size}), from the network that the authors released. That network has 94.12 % and
is the best of 65 by test accuracy. Test accuracy in % on {scored:,} test images at the last
epoch, mean ± standard deviation over seeds (their number in brackets). The control is plain
magnitude pruning with the same schedule and no prior. "Less the control" is taken seed by seed:"""

FULL_NOTE = """\
The paper's best at 90 % is 91.68, after 1,000 epochs and by the best epoch on the test set. What
has not been run is listed in [all results](results.md#all-of-the-data-few-epochs)."""

COMPRESSION = """\
## A small ResNet, every arm

{size}. {zeros:g} % zeros, {scored:,} test images. Test accuracy in % at the last epoch, mean ±
standard deviation over seeds (their number in brackets); "less the control" is taken seed by
seed, ± standard error.

- *control*: magnitude pruning, learning rate rewound, momentum SGD with weight decay; no Bayes.
- *A-SGHMC, A-SGHMC-EM, SGHMC-SA, A-SGHMC-SA*: the paper's arms, whose recipe is made for 1,000
  epochs and not for the few here. "A" anneals the temperature. The latents stay where they are,
  move by EM, or move by stochastic approximation.
- *aeb*: the control's schedule under the spike-and-slab prior at the scale of the weights;
  *noise* adds the sampler's noise, *by rho* prunes by inclusion probability in place of
  magnitude."""

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
    """Make the block from the rows in a folder, "not run" where some are missing."""
    design = simulation.PRESETS["paper"].design
    recommended = uci.PRESETS["paper"].recommended
    slopes, _ = slopes_found(convergence.PRESETS["paper"], _rows(results, convergence.NAME))
    said = [_slope(gain, row) for gain, _, row in slopes if row is not None]
    parts = [
        REGRESSION.format(
            n=design.num_rows,
            p=design.num_columns,
            floor=design.noise_variance,
            sets=simulation.PRESETS["paper"].data_sets,
        ),
        _regression(results),
        REGRESSION_NOTE,
        CONVERGENCE.format(slopes="\n".join(f"- {line}" for line in said) or NOT_RUN),
        UCI.format(
            splits=uci.PRESETS["paper"].splits,
            epochs=uci.PRESETS["paper"].poster.epochs,
            hidden=recommended.hidden,
            chains=recommended.chains,
            draws=recommended.draws,
            thinning=recommended.thinning,
        ),
        _uci(results),
        UCI_NOTE,
        DENSITY,
        _densities(results),
        *_pictures(results),
        *_full(results),
        COMPRESSION.format(
            size=compression_table.size_of(compression.PRESETS["cpu"]),
            scored=compression.PRESETS["cpu"].size.num_test,
            zeros=100 * REDUCED,
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


def _found(results: Path, run: Any, preset: harness.Preset = "paper") -> Any:
    return harness.found(run.PRESETS[preset], _rows(results, run.NAME))


def _regression(results: Path) -> str:
    """The paper's samplers at the setting of the authors' document, cross-validated penalties, and
    `aeb.regression` with its default key."""
    samplers = _found(results, simulation)
    lines = {
        "SGLD-SA, as the authors ran it": samplers[Cell("sa", 0.1, 1.0)],
        "SGLD-EM": samplers[Cell("em", 0.1, 1.0)],
    }
    labels = {
        "oracle": "least squares",
        "lasso": "lasso, 10-fold CV",
        "mcp": "MCP, 10-fold CV",
        "aeb": "`aeb.regression`",
    }
    for cell, rows in _found(results, regression).items():
        if cell.method in labels and cell.task == "design" and not cell.key:
            lines[labels[cell.method] if cell.v0 is None else "the same, v0 = 0"] = rows
    columns = [
        ("population MSE", column("population_mse")),
        ("signals found", column("true_discoveries")),
        ("false finds", column("false_discoveries")),
        ("covered", _covered),
        ("seconds", _seconds),
    ]
    return markdown.by_cell(lines, [("", str)], columns)


def _covered(rows: Sequence[harness.Row]) -> str:
    """Write how often intervals hold a signal, those of the second kind in brackets."""
    kinds = rows[0]["metrics"]["intervals"]
    paths = [("signals",)] if "signals" in kinds else [(kind, "signals") for kind in kinds]
    shares = [covered("intervals", *path, digits=1)(rows) for path in paths]
    first, *rest = shares or ["-"]
    return first + "".join(f" ({share})" for share in rest)


def _seconds(rows: Sequence[harness.Row]) -> str:
    """Write the seconds of one core where they were taken, else those of the row."""
    seconds = (row["metrics"].get("cpu_seconds", row["seconds"]) for row in rows)
    return f"{statistics.fmean(seconds):.1f}"


def _uci(results: Path) -> str:
    """Test RMSE: last draws beside last draws, averages beside averages."""
    settings = uci.PRESETS["paper"]
    found = _found(results, uci)
    wanted: tuple[tuple[str, ArmName, str], ...] = (
        ("A-SGHMC-SA, last draw", uci_table.TARGET, "rmse_last"),
        ("aeb, last draw", "aeb", "rmse_last"),
        ("A-SGHMC-SA, average", uci_table.TARGET, "rmse_average"),
        ("aeb, average of one chain", "aeb", "rmse_one_chain"),
        ("aeb, average of all", "aeb", "rmse_average"),
    )
    lines = []
    for name in settings.sets:
        theirs = uci_table.POSTER[uci_table.TARGET].get(name)
        line = [name, "-" if theirs is None else f"{theirs[0]:.3f} ± {theirs[1]:.3f}"]
        for _, arm, metric in wanted:
            line.append(uci_table.over(found[name, arm], operator.itemgetter(metric)))
        lines.append(line)
    heads = ["", "poster, last draw", *(head for head, _, _ in wanted)]
    return table(heads, lines)


def _densities(results: Path) -> str:
    """Log-likelihood and coverage of the averages."""
    settings = uci.PRESETS["paper"]
    found = _found(results, uci)
    arms: tuple[ArmName, ...] = (uci_table.TARGET, "aeb")
    lines = [
        [name, *(uci_table.density(found[name, arm], arm, name) for arm in arms)]
        for name in settings.sets
    ]
    return table(["", *(uci_table.LABELS[arm] for arm in arms)], lines)


def _full(results: Path) -> list[str]:
    """The full size at few epochs, where both arms were run; nothing where none was."""
    settings = compression.PRESETS["full"]
    rows = _found(results, compression, "full")
    lines = []
    for cell, seeds in rows.items():
        control = rows.get(cell._replace(arm="control"), [])
        if cell.arm == "aeb" and seeds and control:
            epochs = cell.epochs or settings.size.epochs
            aims = [aim for *of, aim in SHORT_TARGETS if of == [cell.sparsity, epochs]]
            line = [per_cent(cell.sparsity or 0), str(epochs), *(f"{aim:g}" for aim in aims)]
            line += [] if aims else ["-"]
            lines.append([*line, over(control, percent), over(seeds, percent), gains(rows, cell)])
    if not lines:
        return []
    size = settings.size
    said = f"{size.num_images:,} images, batch {size.batch_size}, {size.compute}"
    heads = ["zeros", "epochs", "target", "control", "aeb", "less the control"]
    return [FULL.format(size=said, scored=size.num_test), table(heads, lines), FULL_NOTE]


def _compression(results: Path) -> str:
    rows = _found(results, compression, "cpu")
    lines = [["dense", over(rows[compression.Cell("dense", None, "own")], percent), "-"]]
    for arm in COMPRESSED:
        cell = compression.Cell(arm, REDUCED, "own")
        gain = "-" if arm == "control" else gains(rows, cell)
        lines.append([ARMS[arm].label, over(rows[cell], percent), gain])
    return table(["", "accuracy", "less the control"], lines)


def _pictures(results: Path) -> list[str]:
    """The full size where there is a row of it, else the reduced one."""
    preset: harness.Preset = "paper"
    found = _found(results, classification)
    if not any(found.values()):
        preset = "cpu"
        found = _found(results, classification, preset)
    settings, attacked = classification.PRESETS[preset], adversarial.PRESETS[preset]
    size = f"at a reduced size ({settings.recipe.num_train:,} training images, narrow networks)"
    size = "at the paper's size" if preset == "paper" else size
    verdict = adversarial_table.verdict(attacked, _found(results, adversarial, preset))
    scored = {row["config"]["num_scored"] for row in harness.every_row(found)}
    return [
        PICTURES.format(
            size=size,
            seeds=settings.seeds,
            scored=max(scored, default=settings.config(next(iter(found)))["num_scored"]),
        ),
        classification_table.by_both_ways(found, _scores, by_arm=True),
        PICTURES_NOTE,
        *_short_pictures(results),
        f"The same networks under attack, accuracy on {attacked.num_scored:,} test images:",
        verdict or NOT_RUN,
    ]


def _short_pictures(results: Path) -> list[str]:
    """All images at few epochs, as far as that was run; nothing where it was not."""
    settings = classification.PRESETS["full"]
    found = {cell: rows for cell, rows in _found(results, classification, "full").items() if rows}
    if not found:
        return []
    said = PICTURES_SHORT.format(
        train=settings.recipe.num_train, epochs=settings.recipe.epochs, scored=settings.num_scored
    )
    table = classification_table.by_both_ways(
        found, lambda way, rows: classification_table.counted(way, rows) if rows else "-"
    )
    return [said, table]


def _scores(way: str, rows: Sequence[harness.Row]) -> str:
    """Write the accuracy by a way to predict, and in brackets the calibration error."""
    if not rows:
        return NOT_RUN
    accuracy, ece = (
        markdown.over(rows, markdown.metric(way, name, times=100)) for name in ("accuracy", "ece")
    )
    return f"{accuracy} ({ece.partition(' ')[0]})"
