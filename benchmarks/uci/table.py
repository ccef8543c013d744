# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown, the poster's figures beside ours."""

import functools
import statistics
from collections.abc import Callable, Sequence

from benchmarks import harness
from benchmarks.harness import markdown
from benchmarks.uci.recipe import ARMS, ArmName
from benchmarks.uci.run import PRESETS, Uci
from benchmarks.uci.splits import Set

Found = harness.Found[tuple[Set, ArmName]]

FIGURES = ("uci.png",)

over = functools.partial(markdown.over, digits=3, lost="diverged")
"""Write a mean over splits, some of whose chains may have left the finite numbers."""

column = functools.partial(markdown.column, digits=3, lost="diverged")
"""Make a column of such means."""

LAYERS = ("fc1/kernel", "head/kernel")

LABELS: dict[str, str] = {**{name: arm.label for name, arm in ARMS.items()}, "aeb": "aeb"}

TARGET: ArmName = "a_sghmc_sa"
"""The arm of the poster to beat."""

POSTER: dict[str, dict[str, tuple[float, float]]] = {
    arm: dict(zip(("boston", "yacht", "energy", "wine", "concrete"), figures, strict=True))
    for arm, figures in {
        "sghmc": [(2.783, 0.109), (0.886, 0.046), (1.983, 0.092), (0.731, 0.015), (6.319, 0.179)],
        "a_sghmc": [(2.848, 0.126), (0.808, 0.048), (1.419, 0.067), (0.671, 0.019), (5.978, 0.166)],
        "sghmc_em": [(2.813, 0.14), (0.823, 0.053), (2.077, 0.108), (0.729, 0.018), (6.275, 0.169)],
        "a_sghmc_em": [
            *((2.767, 0.154), (0.815, 0.052), (1.435, 0.069), (0.627, 0.008), (5.762, 0.156)),
        ],
        "sghmc_sa": [(2.779, 0.133), (0.789, 0.05), (1.948, 0.081), (0.654, 0.01), (6.029, 0.131)],
        "a_sghmc_sa": [
            *((2.692, 0.12), (0.782, 0.052), (1.388, 0.052), (0.620, 0.008), (5.687, 0.142)),
        ],
    }.items()
}
"""Test RMSE of the last draw by arm and set, and what stands behind the ± there."""

PICTURE = """\
Each mark is the test RMSE of an arm on a data set, over what the poster has for A-SGHMC-SA there; a
lower mark is better. Open marks are last draws, filled ones averages over one chain, dashes the
poster's figure for the arm. Bars are standard errors over splits. What lies above the axis is in
the tables only, and so is an arm all of whose splits diverged."""

LAST = """\
Test RMSE of the last draw, mean ± standard error over {splits} splits. In brackets is the
poster's figure, which does not say whether its ± is a standard error or a deviation. "Diverged"
counts splits whose chain left the finite numbers. The mean is over the other splits, so it is
not over the same splits as that of an arm that lost none."""

AGAINST = """\
The recommended setting, one for all sets, against the poster's best arm: the RMSE of the average
over all chains, that of the average over one chain, and whether the first is at most the
poster's. The setting was chosen by validation inside the training rows of other splits ([lab
notes](lab-notes.md)). As all splits overlap, some rows that it was chosen by are test rows here.
By its log-likelihood, below, it is not the best arm on every set: on yacht and energy its
intervals are too wide."""

AVERAGE = """\
Test RMSE of the average over the draws after the burn-in. In brackets is again the poster's figure,
which is of the last draw."""

DENSITY = """\
Test log-likelihood of the predictive mixture, in nats per row, for the target in its own unit. In
brackets is the share of test rows inside the central 90 % interval. The likelihood of the authors'
arms fixes the variance of the noise at 1/2. So their noise is set to the level at which training
rows that were left out of a second run are likeliest."""

DETAILS = """\
"Noise" is that level, and for aeb the mean of the learned sigma, in the unit of the target.
Sigma (for aeb in a unit that brings the target to a deviation of 10), delta of both layers and
the share of weights with rho < 0.5 are those of the last draw. Seconds are of sampling all
splits together, without compiling; for the authors' arms they cover both runs."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    settings = PRESETS[preset]
    rows = harness.found(settings, results)
    used = harness.every_row(rows)
    recipe = settings.poster
    parts = [
        "## UCI regressions",
        f"`python -m benchmarks.uci --preset {preset}`: network d-{recipe.hidden}-1, "
        f"{settings.splits} splits of 90/10 by the authors' seeds, {recipe.epochs} epochs of "
        f"minibatches of {recipe.batch_size}.",
        _matrix(settings, rows, functools.partial(_with_poster, "rmse_last")),
        LAST.format(splits=settings.splits),
        _matrix(settings, rows, functools.partial(_with_poster, "rmse_average")),
        AVERAGE,
        _against(rows),
        AGAINST if any(arm == "aeb" for _, arm in rows) else "",
        markdown.picture("Test RMSE of the arms against the poster", FIGURES[0], PICTURE)
        if used
        else "",
        _matrix(settings, rows, density),
        DENSITY,
        _details(settings, rows),
        DETAILS,
        markdown.made(used),
    ]
    return markdown.join(parts)


def _with_poster(name_of: str, rows: Sequence[harness.Row], arm: str, name: str) -> str:
    """Write a mean, and in brackets what the poster has."""
    text = over(rows, markdown.metric(name_of))
    return f"{text} ({_poster(name, arm)})" if name in POSTER.get(arm, {}) else text


def _poster(name: str, arm: str = TARGET) -> str:
    mean, spread = POSTER[arm][name]
    return f"{mean:.3f} ± {spread:.3f}"


def density(rows: Sequence[harness.Row], arm: str, name: str) -> str:
    """Write the log-likelihood, and in brackets the share inside the 90 % interval."""
    del arm, name
    text = over(rows, markdown.metric("log_likelihood"))
    inside = _known(rows, "coverage")
    return f"{text} ({statistics.fmean(inside):.0%})" if inside else text


def _known(rows: Sequence[harness.Row], name_of: str) -> list[float]:
    """Gather a metric of the rows whose chains stayed finite."""
    values = (row["metrics"][name_of] for row in rows)
    return [value for value in values if value is not None]


def _matrix(
    settings: Uci, rows: Found, write: Callable[[Sequence[harness.Row], str, str], str]
) -> str:
    """Make a table of an arm a line and a set a column."""
    sets = list(dict.fromkeys(name for name, _ in settings.cells()))
    arms = list(dict.fromkeys(arm for _, arm in settings.cells()))
    lines = [[LABELS[arm], *(write(rows[name, arm], arm, name) for name in sets)] for arm in arms]
    return markdown.table(["arm", *sets], lines)


def _against(rows: Found) -> str:
    """Set the recommended arm against the poster's best, where there are rows."""

    def reached(there: Sequence[harness.Row]) -> str:
        errors = _known(there, "rmse_average")
        best, _ = POSTER[TARGET][there[0]["config"]["set"]]
        return "yes" if len(errors) == len(there) and statistics.fmean(errors) <= best else "no"

    return markdown.by_cell(
        {
            name: there
            for (name, arm), there in rows.items()
            if arm == "aeb" and name in POSTER[TARGET]
        },
        [("set", str), (f"poster's {LABELS[TARGET]}", _poster)],
        [
            ("aeb", column("rmse_average")),
            ("one chain", column("rmse_one_chain")),
            ("reached", reached),
        ],
    )


def _details(settings: Uci, rows: Found) -> str:
    """Say what the arms learned; those without a learned prior have nothing to say."""

    def learned(write: markdown.Column) -> markdown.Column:
        return lambda there: write(there) if "sigma" in there[0]["metrics"] else "-"

    def deltas(there: Sequence[harness.Row]) -> str:
        means = (over(there, markdown.metric("delta", path), digits=2) for path in LAYERS)
        return ", ".join(mean.partition(" ")[0] for mean in means)

    def left_out(there: Sequence[harness.Row]) -> str:
        finite = [row for row in there if row["metrics"]["sigma"] is not None]
        shares = _known(finite, "share_out")
        return f"{statistics.fmean(shares):.0%}" if shares else "diverged"

    return markdown.by_cell(
        rows,
        [("set", lambda cell: cell[0]), ("arm", lambda cell: LABELS[cell[1]])],
        [
            ("splits", lambda there: f"{len(there)} of {settings.splits}"),
            ("noise", column("noise")),
            ("sigma", learned(column("sigma"))),
            ("delta", learned(deltas)),
            ("rho < 0.5", learned(left_out)),
            ("seconds", lambda there: f"{sum(row['seconds'] for row in there):.0f}"),
        ],
    )
