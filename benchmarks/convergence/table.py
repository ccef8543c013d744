# SPDX-License-Identifier: Apache-2.0
"""The rows as Markdown."""

from collections.abc import Sequence

import numpy as np

from benchmarks import harness
from benchmarks.convergence.recipe import FUNCTIONS, Gain
from benchmarks.convergence.run import PRESETS, Convergence
from benchmarks.convergence.scores import Slope, bias_slope
from benchmarks.harness import markdown

Found = list[tuple[Gain, float, harness.Row | None]]
"""Cells, and the row of each where there is one."""

FIGURES = ("convergence_latents.png", "convergence_coefficients.png")

COEFFICIENTS = ("signal", "null")

LATENTS_PICTURE = """\
*Left*: the squared distance of the latents from theta\\*, against the gain, which falls to the
right as a chain goes on; both axes are logarithmic. Marks are means over chains, lines are linear
theory, and the dotted line is proportional to the gain. *Right*: the same distance over the gain.
By the theorem it tends to a constant, and for C = 1, which is outside it, it leaves the picture."""

BIASES_PICTURE = """\
How far the mean of four functions of a coefficient is from its value under the posterior, against
the step size, for the coefficient that is a signal (*left*) and the one that is not (*right*).
Marks are chains, lines are quadrature; the dotted line is of order one."""

LATENTS = """\
`E |theta_k - theta*|²` over {chains:,} chains against the gain omega_k; theta is all eight latents,
`theta*` their fixed point at this step size by quadrature. Slope: of log error on log omega_k from
step {first:,} to {last:,}, with a 95 % bootstrap interval over chains; the theorem bounds the error
by lambda omega_k, a slope of 1. Linear theory: the slope over the same steps, and the limit lambda
of error / omega_k, from the Jacobian of the mean field and the noise summed over all lags, both by
quadrature; it leaves out what is of second order in omega_k, so that the slope measured is above
its own while the gain is large. With alpha = 1 the theorem needs C times the stability of the mean
field above 1/2. C = 1 is below it: no lambda, and a slope that tends, slowly, to twice that
product. In the figures bars are two standard errors."""

COEFFICIENTS_NOTE = """\
Bias of the mean of a test function, in thousandths: that of {chains:,} chains over the second half
of their steps, with the latents learned at alpha = 1, less the expectation under the posterior at
the fixed point of the diffusion. ± is one standard error over chains; in brackets the same bias by
quadrature, that of Euler's chain at the fixed point of Euler's chain. c = {threshold:g}."""

ORDER = """\
Order of that bias in eps: weighted least squares through log |bias| over all step sizes, where the
largest weigh most, and over the smaller half of them. In square brackets a 95 % interval, which
takes the errors for small beside the biases; in round ones the same fit through the biases by
quadrature. Order one is what Euler's scheme has for smooth drifts; the drift here jumps at 0. Over
all {count} biases the largest distance from quadrature is {worst:.1f} standard errors, the root
mean square {typical:.2f}."""


def report(preset: harness.Preset, results: harness.Results) -> str:
    settings = PRESETS[preset]
    rates, weak = found(settings, results)
    used = {id(row): row for _, _, row in rates + weak if row is not None}
    first = round(settings.tail * settings.num_steps)
    problem = settings.problem
    parts = [
        "## Convergence of the latents and of the coefficients",
        f"`python -m benchmarks.convergence --preset {preset}`: two normal means, "
        f"{problem.num_rows} rows each, one leaf; full batch, {settings.num_steps:,} steps, gain "
        f"C ({settings.offset:g} + k)^-alpha, step size {settings.step_size:g} for the latents.",
        _rates(rates),
        LATENTS.format(chains=settings.chains, first=first, last=settings.num_steps),
        markdown.picture("Error of the latents against the gain", FIGURES[0], LATENTS_PICTURE)
        if used
        else "",
        _biases(weak),
        COEFFICIENTS_NOTE.format(chains=settings.chains, threshold=problem.threshold),
        _orders(weak),
        markdown.picture("Bias of the means against the step size", FIGURES[1], BIASES_PICTURE)
        if used
        else "",
        markdown.made(list(used.values())),
    ]
    return markdown.join(parts)


def found(settings: Convergence, results: harness.Results) -> tuple[Found, Found]:
    """Look up the rows of the gains, and those of the step sizes."""
    rows = harness.found(settings, results)
    rates, weak = (
        [(*cell, next(iter(rows[cell]), None)) for cell in cells]
        for cells in (settings.rate_cells(), settings.weak_cells())
    )
    return rates, weak


def ladder(weak: Found) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Gather the biases of the step sizes that have a row: f64[K], and f64[K, 2, 4] by name."""
    there = [(step_size, row["metrics"]["weak"]) for _, step_size, row in weak if row is not None]
    names = ("bias", "bias_se", "bias_by_quadrature")
    gathered = {name: np.array([metrics[name] for _, metrics in there]) for name in names}
    return np.array([step_size for step_size, _ in there]), gathered


def _rates(rates: Found) -> str:
    heads = [
        *("alpha", "C", "C times stability", "slope", "slope of linear theory"),
        *("mean error / omega_k", "largest", "lambda of linear theory", "seconds"),
    ]
    lines = []
    for gain, _, row in rates:
        line = [f"{gain.exponent:g}", f"{gain.coefficient:g}"]
        if row is None:
            line += [markdown.NOT_RUN] * 7
        else:
            rate = row["metrics"]["rate"]
            limit = rate["factor_in_the_limit"]  # null where it is infinite
            line += [
                f"{gain.coefficient * rate['stability']:.2f}",
                _interval(Slope(**rate["slope"]), 3),
                f"{rate['slope_of_linear_theory']:.3f}",
                f"{rate['factor']:.3f}",
                f"{rate['largest_late_factor']:.3f}",
                "none" if limit is None else f"{limit:.3f}",
                f"{row['seconds']:.0f}",
            ]
        lines.append(line)
    return markdown.table(heads, lines)


def _biases(weak: Found) -> str:
    lines = []
    for which, name in enumerate(COEFFICIENTS):
        for _, step_size, row in weak:
            line = [name, f"{step_size:g}"]
            if row is None:
                line += [markdown.NOT_RUN] * len(FUNCTIONS)
            else:
                read = [
                    np.array(row["metrics"]["weak"][each][which]) * 1e3
                    for each in ("bias", "bias_se", "bias_by_quadrature")
                ]
                line += [f"{b:.2f} ± {se:.2f} ({q:.2f})" for b, se, q in zip(*read, strict=True)]
            lines.append(line)
    return markdown.table(["coefficient", "eps", *_escaped(FUNCTIONS)], lines)


def _orders(weak: Found) -> str:
    """The slopes of the biases, where there are at least two step sizes."""
    step_sizes, read = ladder(weak)
    if len(step_sizes) < 2:
        return ""
    bias, error, exact = read["bias"], read["bias_se"], read["bias_by_quadrature"]
    order = np.argsort(step_sizes)
    small = order[: max(2, len(order) // 2)]
    lines = []
    for which, name in enumerate(COEFFICIENTS):
        for over, rows in (("all", order), ("smaller half", small)):
            line = [name, over]
            for place in range(len(FUNCTIONS)):
                at = (rows, which, place)
                slope = bias_slope(bias[at], error[at], step_sizes[rows])
                by_quadrature = bias_slope(exact[at], error[at], step_sizes[rows]).estimate
                line.append(f"{_interval(slope, 2)} ({by_quadrature:.2f})")
            lines.append(line)
    distance = (bias - exact) / error
    note = ORDER.format(
        count=distance.size,
        worst=np.abs(distance).max(),
        typical=np.sqrt(np.mean(np.square(distance))),
    )
    return markdown.table(["coefficient", "eps over", *_escaped(FUNCTIONS)], lines) + "\n\n" + note


def _escaped(names: Sequence[str]) -> list[str]:
    """Names for the head of a table, whose columns are parted by bars."""
    return [name.replace("|", "\\|") for name in names]


def _interval(slope: Slope, digits: int) -> str:
    return f"{slope.estimate:.{digits}f} [{slope.low:.{digits}f}, {slope.high:.{digits}f}]"
