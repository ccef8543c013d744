# SPDX-License-Identifier: Apache-2.0
"""Sparse regression with its uncertainty: `aeb.regression(X, y)`.

The columns and y are standardised. Several chains then run, each from a different set of columns.
Their results are converted back into the units of the data.

    support.py    the model, and the sampler for normal noise
    members.py    the same sampler, faster where rows are many and few columns are in the model
    wide.py       the sampler for normal noise and very many columns
    weighted.py   the sampler for other responses

Everything is computed in float64, whatever JAX is set to, except what `wide.py` holds in float32.
Memory is linear in the number of columns from `wide.LEAST` columns on.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb import guards
from aeb.evaluation.mixing import potential_scale_reduction
from aeb.guards import some
from aeb.linear import members, padding, wide
from aeb.linear.design import read_design, tie_columns
from aeb.linear.families import Rows, shapes
from aeb.linear.interpret import interpret
from aeb.linear.members import Base
from aeb.linear.result import Regression
from aeb.linear.support import (
    WIDEST,
    Chain,
    Hyper,
    Problem,
    Snapshot,
    Totals,
    ask,
    block,
    gains,
    information,
    learn,
    num_columns,
    refresh,
    unset,
)
from aeb.linear.table import (
    Standardised,
    as_table,
    as_target,
    mean_of_rows,
    standardise,
)
from aeb.linear.ties import Ties, close
from aeb.linear.weighted import program
from aeb.types import PRNGKey

__all__ = ["regression"]

BLOCK = 5
"""Draws between two moves of the latents."""

EXPECTED_SIZE = 2.0
"""Expected number of columns in the model before y is seen, unless the caller sets another.

The learned delta is (a - 1 + k) / (a + b - 2 + p) for k columns in the model. With a = b = 2 it is
above k / p, which lets in more columns and raises delta further. The models were then half as
large again as the truth (docs/lab-notes.md).
"""

AT_ONCE = 8192
"""Number of columns whose draws are summarised in one call."""

ROUNDED = 1e7
"""A v1 of the user's times N may be up to this, where a flip has a relative error of 1 %. A v1 of 1
is always taken."""

MOST_COUNTED = 1e7
"""The largest count, or number of trials, of a row, and sum of `repeats`. Rounding made the answer
nan from 1e8 on, and from a sum of 6e7."""

LARGE_COUNT = 100
"""Where no count is below this, its logarithm has nearly normal noise."""

LEAST_NOISE = 1e-6
"""The share of the variance of y below which a column that leaves no more may be y itself."""

LEAST_SPREAD = 1e-3
"""Inclusion probabilities that stay within this over all draws of all chains agree. Where a column
does not depend on the others, they differ by rounding, of which R-hat would be meaningless."""

WIDE = 10.0
"""Prior standard deviation of the coefficients that are always in, where the prior is not flat."""

NORMAL = ("gaussian", "student_t")
COUNTS = ("binomial", "negative_binomial")


def regression(
    X: Any,
    y: Any,
    *,
    family: str = "gaussian",
    names: Sequence[str] | None = None,
    weights: Any = None,
    repeats: Any = None,
    offset: Any = None,
    always: Any = None,
    groups: Any = None,
    requires: Any = None,
    heredity: str = "strong",
    expected_size: float | None = None,
    inclusion_odds: Any = None,
    level: float = 0.9,
    num_chains: int = 4,
    num_draws: int = 250,
    warmup: int = 125,
    thinning: int | None = None,
    a: float = 2.0,
    b: float | None = None,
    v1: float = 0.3,
    v1_weight: float = 10.0,
    v0: float | None = None,
    nu: float = 1.0,
    lam: float = 1e-4,
    freedom: float | None = None,
    concentration: float | None = None,
    key: PRNGKey | None = None,
) -> Regression:
    """Fit a sparse regression. There may be more columns than rows.

    Each column is in the model with probability delta. The coefficient of a standardised column has
    the prior N(0, v1 sigma^2) if the column is in the model, and N(0, v0 sigma^2) if it is not.
    Stochastic approximation learns delta, v1 and v0. If few columns matter, the learned v0 is 0 or
    close to it, and a column outside the model has coefficient 0. If every column matters a little,
    v0 takes over, and the fit is a ridge regression with a learned penalty.

    With v0 > 0, a column is "in the model" when its coefficient comes from the wide normal. A
    column outside the model then still has a small coefficient. It counts in `coefficients`,
    `draws` and `interval_averaged`, but not in the results "if included".

    Args:
        X: [n, p], an array or a data frame. Its values are real and finite, and no column is
            constant.
        y: [n], real and finite.
        family: the distribution of y given eta = offset + intercept + X beta. "gaussian" has normal
            noise. "student_t" has heavy-tailed noise of scale sigma. "binomial" has the success
            probability 1 / (1 + exp(-eta)); y is 0 or 1, or a share of successes if `weights` are
            given. "negative_binomial" has counts of mean exp(eta). The last two have sigma = 1.
        names: the names of the columns. By default those of the data frame, or x0, x1, ...
        weights: [n], at least 0. Rows of weight 0 are dropped. The noise of a row has variance
            sigma^2 / weight. For "binomial" the weights are the numbers of trials. For
            "negative_binomial" they are powers of the likelihood: a row of weight 2 counts as two
            rows.
        repeats: [n], at least 0, how often each row counts. A row of 2 counts as two such rows, and
            a row of 0 is dropped. They need not be whole: the likelihood of a row is raised to this
            power. Their sum stands for the number of rows, and may be up to 1e7. None means 1 each.
        offset: [n], the known part of eta. For counts it is the logarithm of the exposure.
        always: columns that are always in the model: names, indices or bool[p]. If one column of a
            group is listed, the whole group is always in. These columns have a flat prior, as the
            intercept has. For "binomial" and "negative_binomial" the prior is normal instead, with
            standard deviation 10 for a standardised column.
        groups: [p], a label for each column: an integer or a name, or None for a column on its own.
            Or a mapping such as `{"pathway": ["g20", "g21"]}`, from labels to names or indices.
            Columns with the same label are in the model or out of it together, and count as one
            wherever columns are counted. Each coefficient has its own slab. The columns that a
            category of a data frame becomes are a group automatically.
        requires: a mapping from columns to the columns that they require. With
            `{"a:b": ["a", "b"]}`, the product can be in the model only if both factors are.
        heredity: "strong" if a column requires all columns listed for it, "weak" if one is enough.
        expected_size: the expected number of columns in the model before y is seen, above 0. It
            does not count columns that are always in, and is lower if some columns require others.
            It sets a = 2 and b = p / expected_size. By default it is 2, but never more than half of
            the columns. The rate is learned, so many more columns can be found.
        inclusion_odds: [p], positive. The prior odds of each column are multiplied by its entry.
            All columns of a group need the same entry. Or a mapping such as `{"age": 10.0}`; an
            entry of one column is that of its group, and the columns that it does not name have 1.
        level: the level of the intervals, in (0, 1).
        num_chains: the number of chains. Each has a different start.
        num_draws: the number of draws to keep from each chain, a multiple of 5 and at least 10.
        warmup: the number of draws to discard before them, a multiple of 5. delta, v1 and v0 are
            learned during the warm-up, v0 only from its second fifth on.
        thinning: the number of changes of the model per draw. By default it is 20, or 100 where
            changes are cheap: with normal noise, and either fewer than 100,000 numbers in X, or
            fewer than 100 rows and at least 4,000 columns.
        a: the first parameter of the Beta prior of delta, at least 1. It acts like a - 1 more
            columns in the model. With a = 1, delta can sink to 0 and stay there.
        b: the second parameter, at least 1. With b = 1, delta can rise to 1 and stay there. None
            means p / expected_size.
        v1: a guess of the slab's variance, in units of sigma^2, for standardised columns. With
            normal noise and N rows it may be up to 1e7 / N, and is learned up to 1e6 / N.
        v1_weight: the number of columns that this guess counts as, > 0. `math.inf` fixes v1 at the
            guess.
        v0: the variance of a coefficient outside the model, in the same units, at least 0 and below
            v1. None learns it. With v0 = 0, columns outside the model have no effect.
        nu: the number of observations that the prior of sigma^2 counts as, > 0.
        lam: a guess of sigma^2 divided by the variance of y, > 0. If the noise is a thousandth of y
            or less (R^2 above .999999), lower `lam` and lengthen the warm-up. Otherwise sigma comes
            out too large.
        freedom: the degrees of freedom of "student_t", > 0. None learns them, between 1 and 100.
        concentration: r of "negative_binomial", > 0; the variance is mean + mean^2 / r. None learns
            it, between 0.02 and 500.
        key: a typed key. By default `jax.random.key(0)`, so the same call gives the same answer.

    Returns:
        A `Regression` with coefficients, intervals, inclusion probabilities, R-hat, `predict` and
        `summary`.

    Warns:
        UserWarning: the chains disagree; a column is y itself, or nearly; or y has only two
            values and the family is "gaussian".

    Raises:
        ValueError: the data have too few rows, a constant column, a number that is not finite or
            shapes that do not match; a pandas y has the labels of X in another order; y does not
            suit the family; or an argument is out of range.
        TypeError: the data are not real numbers.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 200))
        >>> y = 3 * X[:, 4] - 2 * X[:, 7] + rng.normal(size=60)
        >>> fit = regression(X, y)
        >>> fit.selected.tolist()
        [4, 7]
        >>> bool(abs(fit.coefficients[4] - 3) < 0.5)
        True
    """
    guards.one_of("family", family, NORMAL + COUNTS)
    for name, values in (
        ("y", y),
        ("weights", weights),
        ("repeats", repeats),
        ("offset", offset),
    ):
        guards.check_order(X, name, values)
    chosen = names
    matrix, names, encoding = as_table("X", X, chosen)
    named = chosen is not None or hasattr(X, "columns")
    design = read_design(
        names,
        encoding,
        always=always,
        groups=groups,
        requires=requires,
        heredity=heredity,
        inclusion_odds=inclusion_odds,
    )
    log_odds = design.log_odds
    table = _read(family, matrix, y, weights, repeats, offset, design.always)
    rows = len(matrix) if repeats is None else round(table.size)
    ties = tie_columns(design, table.free)
    # A group counts as one column.
    p = len(np.unique(design.group[table.free]))
    if expected_size is not None:
        guards.within("expected_size", expected_size, f"(0, {p}]")
        if a != 2.0 or b is not None:
            raise ValueError("expected_size, a, b: got both, needs expected_size or a and b")
        b = p / expected_size
    b = max(2.0, p / EXPECTED_SIZE) if b is None else b
    guards.within("level", level, "(0, 1)")
    guards.whole("num_chains", num_chains, 1)
    for name, value, low in (
        ("num_draws", num_draws, 2 * BLOCK),
        ("warmup", warmup, 0),
    ):
        guards.whole(name, value, low)
        if value % BLOCK:
            raise ValueError(f"{name}: got {value}, needs to be a multiple of {BLOCK}")
    thinning = _default_thinning(family, rows, matrix.shape[1]) if thinning is None else thinning
    guards.whole("thinning", thinning, 1)
    guards.at_least("a", a, 1.0)
    guards.at_least("b", b, 1.0)
    for name, scale in (("v1", v1), ("nu", nu), ("lam", lam)):
        guards.positive(name, scale)
    if family in NORMAL and v1 > max(1.0, ROUNDED / rows):
        raise ValueError(
            f"v1: got {v1:g}; with {rows} rows and normal noise it has to be at most "
            f"{ROUNDED / rows:.4g}, for beyond that rounding decides"
        )
    if v0 is not None:
        guards.within("v0", v0, f"[0, {v1!r})")
    if v1_weight != math.inf:
        guards.positive("v1_weight", v1_weight)
    _check_given("freedom", freedom, family, "student_t")
    _check_given("concentration", concentration, family, "negative_binomial")
    key = jax.random.key(0) if key is None else key
    guards.check_key("key", key)
    data = _standardised(table, names, family)
    if family in NORMAL:
        _warn_of_copies(data, table.repeats, names)
    if family == "gaussian":
        _warn_of_two_values(table.y)
    with jax.enable_x64(True):
        most = max(WIDEST / table.size, v1) if family in NORMAL else math.inf
        hyper = Hyper(*(jnp.asarray(value, float) for value in (a, b, v1, v1_weight, most)))
        host_key, run_key = jax.random.split(key)
        # Some draws would take XLA seconds to compile, so NumPy makes them.
        rng = np.random.default_rng(np.asarray(jax.random.bits(host_key, (4,), jnp.uint32)))
        blocks = warmup // BLOCK
        # In the first fifth only the slab learns. Otherwise the spike would absorb large effects.
        spike = (0.0, blocks // 5) if v0 is None else (float(v0), blocks)
        plan = _Plan(
            hyper,
            None if log_odds is None else jnp.asarray(log_odds[table.free]),
            None if ties is None else jax.tree.map(jnp.asarray, ties),
            close(_starts(rng, num_chains, round(table.size), len(table.free)), ties),
            tuple(jnp.asarray(value) for value in spike),
            blocks,
            thinning,
            (blocks + num_draws // BLOCK, num_chains, BLOCK),
        )
        if family == "gaussian":
            sample = _normal(table, data, plan, nu, lam, rng, run_key)
        else:
            given = freedom if family == "student_t" else concentration
            sample = _weighted(family, table, data, plan, nu, lam, given, rng, run_key)
    fit = _collect(table, data, names, level, family, sample)._replace(named=named)
    odds = np.ones(len(names)) if log_odds is None else np.exp(log_odds)
    large = family == "negative_binomial" and bool(table.y.min() >= LARGE_COUNT)
    x = _rooted(table.repeats, data.x)
    return interpret(fit, x, odds, encoding, design, large_counts=large)


def _default_thinning(family: str, num_rows: int, num_columns: int) -> int:
    """Return the number of flips per draw: more where flips are cheap.

    Tables with few rows and many columns need more flips, because many of their columns can
    replace each other. On riboflavin (71 x 4,088) R-hat is up to 1.014 with 100, and up to 1.03
    with 20 of them.
    """
    small = num_rows * num_columns < 100_000
    few_rows = num_rows < 100 and num_columns >= wide.LEAST
    return 100 if family == "gaussian" and (small or few_rows) else 20


class _Table(NamedTuple):
    """The data, and which columns may be left out."""

    matrix: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    weights: np.ndarray | None  # f64[n], positive
    repeats: np.ndarray | None  # f64[n], positive
    offset: np.ndarray  # f64[n]
    free: np.ndarray  # i64[]: columns to choose from
    always: np.ndarray  # i64[]: columns always in

    @property
    def size(self) -> float:
        """The number of rows, counted as often as they are repeated."""
        return len(self.y) if self.repeats is None else float(self.repeats.sum())

    @property
    def trials(self) -> np.ndarray | None:
        """The weights times the repeats: powers of the likelihood, where weights are too."""
        if self.weights is None or self.repeats is None:
            return self.repeats if self.weights is None else self.weights
        return self.weights * self.repeats


class _Plan(NamedTuple):
    """How to sample."""

    hyper: Hyper
    log_odds: jax.Array | None  # f64[free]
    ties: Ties | None  # of the free columns
    starts: np.ndarray  # bool[chains, free]
    spike: tuple[jax.Array, ...]  # v0 to begin with, and the first block in which it is learned
    warmup: int  # blocks
    thinning: int
    shape: tuple[int, int, int]  # blocks, chains, draws of a block


class _Sample(NamedTuple):
    """What the chains found. alpha: coefficients of the intercept and of what is always in."""

    chain: Chain
    totals: Totals
    snapshots: Snapshot
    alpha: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    shape: np.ndarray | None = None  # f64[chains, draws]: of the family's own parameter


def _read(
    family: str,
    matrix: np.ndarray,
    y: Any,
    weights: Any,
    repeats: Any,
    offset: Any,
    always: np.ndarray,
) -> _Table:
    """Check y, the weights, the repeats and the offset, and drop the rows of weight 0."""
    n = len(matrix)
    y = as_target("y", y, n)
    offset = np.zeros(n) if offset is None else as_target("offset", offset, n)
    if weights is not None:
        weights = as_target("weights", weights, n)
        _check_rows("weights", weights, weights < 0, "at least 0")
        kept = weights > 0
        matrix, y, offset, weights = matrix[kept], y[kept], offset[kept], weights[kept]
    if repeats is not None:
        repeats = as_target("repeats", repeats, n)
        _check_rows("repeats", repeats, repeats < 0, "at least 0")
        repeats = repeats if weights is None else repeats[kept]
        kept = repeats > 0
        matrix, y, offset, repeats = matrix[kept], y[kept], offset[kept], repeats[kept]
        weights = weights if weights is None else weights[kept]
        if repeats.sum() > MOST_COUNTED:
            raise ValueError(
                f"repeats: got a sum of {repeats.sum():.3g}, which stands for the number of rows, "
                f"needs at most {MOST_COUNTED:.3g}; if they say how much a row weighs and not how "
                "often it was seen, divide them by their mean"
            )
    if family == "binomial" and weights is None:
        needs = "0 or 1; for shares of successes pass weights=, the numbers of trials"
        _check_rows("y", y, (y != 0) & (y != 1), needs)
    elif family == "binomial":
        _check_rows("y", y, (y < 0) | (y > 1), "a share of successes, in [0, 1]")
        _check_rows("weights", weights, weights > MOST_COUNTED, "a number of trials, at most 1e7")
    elif family == "negative_binomial":
        _check_rows("y", y, (y < 0) | (y != np.floor(y)), "a count, a whole number from 0 on")
        logs = "at most 1e7; for larger counts aeb.regression(X, np.log(y)) asks much the same"
        _check_rows("y", y, y > MOST_COUNTED, logs)
    if repeats is not None and family == "binomial":
        trials = repeats if weights is None else weights * repeats
        needs = "a number of trials, at most 1e7 with the weights"
        _check_rows("repeats", trials, trials > MOST_COUNTED, needs)
    free = np.delete(np.arange(matrix.shape[1]), always)
    if not len(free):
        raise ValueError(
            f"always: got all {len(always)} columns, needs to leave some to choose from"
        )
    table = _Table(matrix, y, weights, repeats, offset, free, always)
    if table.size < len(always) + 3:
        positive = " of positive weight" * (weights is not None)
        raise ValueError(
            f"X: got {table.size:g} rows{positive}{', as repeats counts' * (repeats is not None)}, "
            f"needs at least {len(always) + 3}"
            + f" with {len(always)} columns always in"
            * bool(len(always))
        )
    return table


def _check_rows(name: str, values: np.ndarray, wrong: np.ndarray, needs: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name}: got {values[row]:g} in row {row}, needs to be {needs}")


def _check_given(name: str, value: float | None, family: str, of: str) -> None:
    if value is None:
        return
    if family != of:
        raise ValueError(f"{name}: got {value!r}, needs family={of!r}, which has one; drop it")
    guards.positive(name, value)


def _standardised(table: _Table, names: tuple[str, ...], family: str) -> Standardised:
    """Standardise the columns, and also y unless it is 0/1, a share or a count."""
    if family in NORMAL:
        return standardise(table.matrix, table.y - table.offset, names, table.repeats)
    data = standardise(table.matrix, table.y, names, table.repeats)
    weights = np.ones(len(table.y)) if table.trials is None else table.trials
    # The prior of the intercept is centred at the intercept that the mean of y implies.
    if family == "binomial":
        mean = weights @ table.y / weights.sum()
        centre = math.log(mean / (1.0 - mean)) - weights @ table.offset / weights.sum()
    else:
        most = table.offset.max()
        centre = math.log(weights @ table.y / (weights @ np.exp(table.offset - most))) - most
    return data._replace(y=table.y, y_mean=float(centre), y_scale=1.0)


def _rooted(repeats: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """Multiply rows by the root of how often they count, with a mean square of 1 as before."""
    if repeats is None:
        return values
    root = np.sqrt(repeats / repeats.mean())
    return root.reshape(-1, *(1,) * (values.ndim - 1)) * values


def _warn_of_copies(data: Standardised, repeats: np.ndarray | None, names: tuple[str, ...]) -> None:
    """Warn of a column that is y itself, or y in other units."""
    x, y = _rooted(repeats, data.x), _rooted(repeats, data.y)
    share = np.square(x.T @ y / len(y))
    copies = np.flatnonzero(share > 1.0 - LEAST_NOISE)
    if len(copies):
        warnings.warn(
            f"y: {some([names[j] for j in copies])} alone explains all of it but less than a "
            "millionth of its variance; if it is y, or was computed from y, leave it out of X",
            stacklevel=guards.stacklevel(),
        )


def _warn_of_two_values(y: np.ndarray) -> None:
    """Warn of a y that has only two values, as yes and no do."""
    low, high = y.min(), y.max()
    if np.isin(y, (low, high)).all():
        code = "y" if (low, high) == (0, 1) else f"y == {high:g}"
        warnings.warn(
            f"y: it is {low:g} or {high:g} in each row, and the noise is taken to be normal; for "
            f'probabilities pass {code} and family="binomial"',
            stacklevel=guards.stacklevel(),
        )


def _normal(
    table: _Table,
    data: Standardised,
    plan: _Plan,
    nu: float,
    lam: float,
    rng: np.random.Generator,
    key: PRNGKey,
) -> _Sample:
    """Sample with normal noise. Its weights are fixed, so all is prepared before the run."""
    x, y, n = data.x[:, table.free], data.y, table.size
    base = np.c_[np.ones(len(y)), data.x[:, table.always]]
    plain = table.weights is None and table.repeats is None and not len(table.always)
    root = np.ones(len(y)) if table.weights is None else np.sqrt(_relative(table))
    root = root if table.repeats is None else root * np.sqrt(table.repeats)
    q, r = np.linalg.qr(root[:, None] * base)
    if np.abs(np.diag(r)).min() < 1e-8 * n**0.5:
        raise ValueError("always: these columns are linear combinations of one another; drop some")
    if not plain:
        # Plain data need neither step: they are centred, so the intercept explains nothing.
        x, y = root[:, None] * x, root * y
    of_x, of_y = q.T @ x, q.T @ y
    if not plain:
        x, y = x - q @ of_x, y - q @ of_y
    problem = _compress(x, y, nu * lam, n - base.shape[1] + nu, plan.log_odds)
    chi = rng.gamma(0.5 * float(problem.degrees), size=plan.shape)
    m, p = problem.x.shape
    many = p >= wide.LEAST and m < p and plan.ties is None
    if many:
        del x
        problem = problem._replace(x=jnp.asarray(np.asarray(problem.x, np.float32)))
    problem = padding.pad(problem._replace(ties=plan.ties))
    starts = padding.widen(plan.starts, problem.x.shape[1])
    given = problem, plan.hyper, starts, plan.spike, chi, key
    if many:
        sample = wide.run(*given, warmup=plan.warmup, thinning=plan.thinning)
    else:
        by_members = plan.ties is None and problem.x.shape[0] >= members.LEAST
        sample = _run(given, plan, by_members=by_members)
    chain, totals, snapshots = sample
    totals, snapshots = padding.trim(totals, snapshots, p)

    def alpha(mean: np.ndarray, beta: np.ndarray, sigma: np.ndarray) -> Any:
        noise = rng.normal(size=(*sigma.shape, base.shape[1])) * sigma[..., None]
        if plain:
            return np.zeros(1), noise / n**0.5
        left = of_y - np.matmul(beta, of_x.T.astype(np.float32)) + noise
        return np.linalg.solve(r, of_y - of_x @ mean), np.matmul(left, np.linalg.inv(r).T)

    return _Sample(chain, totals, snapshots, alpha)


def _run(
    given: tuple[Any, ...], plan: _Plan, *, by_members: bool
) -> tuple[Chain, Totals, Snapshot]:
    """Sample by flips among all columns: as in `members.py` if asked, and if its places suffice."""
    shape = plan.shape[1], plan.warmup, plan.thinning
    *data, key = given
    if by_members:
        sample = jax.device_get(_program(*shape, True)(*data, jax.random.clone(key)))
        if not sample[0].inverse.over.any():
            return sample
    return jax.device_get(_program(*shape, False)(*data, key))


def _weighted(
    family: str,
    table: _Table,
    data: Standardised,
    plan: _Plan,
    nu: float,
    lam: float,
    given: float | None,
    rng: np.random.Generator,
    key: PRNGKey,
) -> _Sample:
    """Sample a family whose weights are redrawn during the run."""
    n, k = len(table.y), 1 + len(table.always)
    weights, repeats = np.ones(n) if table.trials is None else table.trials, None
    if family == "student_t":
        weights = np.ones(n) if table.weights is None else _relative(table)
        repeats, offset, precision = table.repeats, np.zeros(n), 0.0
        degrees, rest = table.size - k + nu, nu * lam
        chi = rng.gamma(0.5 * degrees, size=plan.shape)
    else:
        offset, precision = table.offset + data.y_mean, WIDE**-2
        degrees, rest, chi = float(table.size), 0.0, np.ones(plan.shape)
    grid, heights = shapes(family, given, data.y, weights, repeats)
    rows = Rows(
        *(
            jnp.asarray(part)
            for part in (
                data.x[:, table.free],
                np.c_[np.ones(n), data.x[:, table.always]],
                np.full(k, precision),
                data.y,
                weights,
                offset,
                grid,
                heights,
            )
        )
    )._replace(repeats=None if repeats is None else jnp.asarray(repeats))
    single = family == "binomial" and bool(np.all(weights == 1.0))
    run = program("bernoulli" if single else family, plan.shape[1], plan.warmup, plan.thinning)
    rows, log_odds, ties = padding.pad_rows(rows, plan.log_odds, family, plan.ties)
    starts = padding.widen(plan.starts, rows.x.shape[1])
    more = degrees, rest, log_odds, ties, starts, plan.spike, chi, key
    chain, totals, draws = jax.device_get(run(rows, plan.hyper, *more))
    totals, model = padding.trim(totals, draws.model, len(table.free))
    drawn = _by_chain(draws.alpha)

    def alpha(mean: np.ndarray, beta: np.ndarray, sigma: np.ndarray) -> Any:
        del mean, beta, sigma
        return drawn.mean(axis=(0, 1)), drawn

    shape = _by_chain(draws.shape) if len(grid) > 1 or given is not None else None
    return _Sample(chain, totals, model, alpha, shape)


def _relative(table: _Table) -> np.ndarray:
    """Return the weights divided by their mean over all rows, f64[n]."""
    assert table.weights is not None
    return table.weights / mean_of_rows(table.weights, table.repeats)


def _compress(
    x: np.ndarray, y: np.ndarray, rest: float, degrees: float, log_odds: Any = None
) -> Problem:
    """Reduce the data to at most p rows with the same likelihood of the coefficients."""
    if x.shape[0] > x.shape[1]:
        rotation, shorter = np.linalg.qr(x)
        along = rotation.T @ y
        rest += max(float(y @ y - along @ along), 0.0)
        x, y = shorter, along
    return Problem(
        jnp.asarray(x, float),
        jnp.asarray(y, float),
        jnp.asarray(rest, float),
        jnp.asarray(degrees, float),
        log_odds=log_odds,
    )


def _starts(rng: np.random.Generator, chains: int, n: int, p: int) -> np.ndarray:
    """Return the starting sets, bool[chains, p]: in turn the empty set and a few random columns."""
    starts = np.zeros((chains, p), bool)
    for included in starts[1::2]:
        included[rng.choice(p, size=min(10, p, max(1, n // 4)), replace=False)] = True
    return starts


@functools.lru_cache(maxsize=8)
def _program(chains: int, warmup: int, thinning: int, by_members: bool) -> Callable[..., Any]:
    """Compile the run: `(problem, hyper, starts, spike, chi, key) -> (chain, totals, snapshots)`.

    `by_members` has flips as in `members.py`.
    `spike` is the initial v0, and the first block in which v0 is learned. `chi` is
    f64[blocks, chains, draws in a block]. The totals are over the blocks after the warm-up, and
    their first axis is chains. The snapshots lead with the axes of `chi`.
    """

    @jax.jit
    def run(
        problem: Problem,
        hyper: Hyper,
        starts: jax.Array,
        spike: tuple[Any, Any],
        chi: jax.Array,
        key: PRNGKey,
    ) -> tuple[Chain, Totals, Snapshot]:
        def step(carry: tuple[Base | None, Chain], own: Any) -> Any:
            base, chain = carry
            number, chi = own
            if base is not None:
                # v0 moved at the end of the last block, if it is being learned.
                moved = (number == 0) | ((number > spike[1]) & (number <= warmup))
                told = problem.x, problem.y, chain.v0[0]
                base = jax.lax.cond(moved, members.prepare, lambda *_: base, *told)
            here = problem._replace(base=base)
            keys = jax.random.split(jax.random.fold_in(key, number), chains)
            chain = jax.vmap(lambda chain: refresh(here, chain))(chain)
            chain, totals, snapshots = jax.vmap(
                lambda chain, key, chi: block(here, chain, key, chi, flips=thinning)
            )(chain, keys, chi)
            omega, omega_v0 = gains(number, warmup, spike[1])
            facts = ask(lambda chain: information(here, chain), chain, omega_v0)
            more = problem.log_odds, problem.ties
            chain = learn(hyper, chain, totals, facts, omega, omega_v0, *more)
            return (base, chain), (totals, snapshots)

        if by_members:
            problem = problem._replace(base=members.unset(problem.x))
        p = num_columns(problem.x.shape[1], problem.log_odds, problem.ties)
        delta = hyper.a / (hyper.a + hyper.b + p)
        chain = jax.vmap(lambda included: unset(problem, included, delta, hyper.v1, spike[0]))(
            starts
        )
        begun = problem.base, chain
        (_, chain), (totals, snapshots) = jax.lax.scan(step, begun, (jnp.arange(len(chi)), chi))
        totals, snapshots = jax.tree.map(lambda leaf: leaf[warmup:], (totals, snapshots))
        return (
            chain,
            jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), totals),
            snapshots,
        )

    return run


def _collect(
    table: _Table,
    data: Standardised,
    names: tuple[str, ...],
    level: float,
    family: str,
    sample: _Sample,
) -> Regression:
    """Average the draws, and convert them back into the units of the data."""
    totals = sample.totals
    time, rho, included, beta, beta_if_included, sigmas = map(_by_chain, sample.snapshots)
    tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    # All chains weigh the same, however long their states stayed.
    share = totals.time[:, None]
    inclusion = np.mean(totals.rho / share, axis=0)
    slab = np.mean(totals.beta / share, axis=0)
    mean = slab + np.mean(totals.small / share, axis=0)
    picks = np.stack([_resample(own) for own in time])
    drawn = _picked(beta, picks)
    sigma = _picked(sigmas, picks)
    alpha, alpha_draws = sample.alpha(mean, drawn, sigma)
    weights = time / time.sum(axis=1, keepdims=True)
    given = _by_columns(
        lambda values, rho: _weighted_quantile(
            _flat(values), _flat(weights[..., None] * rho), tails
        ),
        *(beta_if_included, rho),
    )
    probable = functools.partial(_r_hat, least=LEAST_SPREAD)
    r_hat = _by_columns(probable, _picked(rho, picks))
    models = _picked(included, picks)
    if len(table.always):
        own = alpha_draws[..., 1:].astype(np.float32)
        sure = np.quantile(own.reshape(-1, own.shape[-1]), tails, axis=0)
        ones = np.ones(own.shape[-1])
        order = np.argsort(np.concatenate([table.free, table.always]))
        inclusion = np.concatenate([inclusion, ones])[order]
        slab = np.concatenate([slab, alpha[1:]])[order]
        mean = np.concatenate([mean, alpha[1:]])[order]
        drawn = np.concatenate([drawn, own], axis=2)[..., order]
        given = np.concatenate([given, sure], axis=1)[:, order]
        # The inclusion of a column that is always in cannot vary. Check its coefficient instead.
        r_hat = np.concatenate([r_hat, _by_columns(_r_hat, own)])[order]
        models = np.concatenate([models, np.ones(own.shape, bool)], axis=2)[..., order]
    unit = data.y_scale / data.x_scale
    # In place where we own the array: it may be the largest array of all.
    place = drawn if drawn.flags.writeable else None
    draws = np.multiply(drawn, unit.astype(np.float32), out=place)
    intercepts = data.y_mean - np.matmul(draws, data.x_mean) + data.y_scale * alpha_draws[..., 0]
    averaged = _by_columns(lambda values: np.quantile(_flat(values), tails, axis=0), draws)
    noise_scale = data.y_scale
    if table.weights is not None and family in NORMAL:
        # So far sigma was that of a row of average weight.
        noise_scale *= float(mean_of_rows(table.weights, table.repeats)) ** 0.5
    return Regression(
        names=names,
        intercept=float(data.y_mean + data.y_scale * alpha[0] - (mean * unit) @ data.x_mean),
        coefficients=mean * unit,
        inclusion=inclusion,
        coefficients_if_included=slab / inclusion * unit,
        interval_if_included=given.T * unit[:, None],
        interval_averaged=averaged.T.astype(np.float64),
        level=level,
        sigma=float(sigma.mean()) * noise_scale,
        r_hat=r_hat,
        r_hat_sigma=float(_r_hat(sigma if family in NORMAL else alpha_draws[..., 0])),
        draws=draws,
        intercept_draws=intercepts,
        sigma_draws=sigma * noise_scale,
        delta=float(sample.chain.delta[0]),
        v1=float(sample.chain.v1[0]),
        family=family,
        v0=float(sample.chain.v0[0]),
        included_draws=models,
        freedom_draws=_of(sample, family == "student_t"),
        concentration_draws=_of(sample, family == "negative_binomial"),
        always=tuple(int(j) for j in table.always),
    )


def _of(sample: _Sample, has_one: bool) -> np.ndarray:
    return sample.shape if has_one and sample.shape is not None else np.zeros((0, 0))


def _picked(draws: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Take draws of each chain. If all are taken, return the array itself: a copy may be large."""
    if np.all(picks == np.arange(draws.shape[1])):
        return draws
    return np.take_along_axis(draws, picks.reshape(picks.shape + (1,) * (draws.ndim - 2)), axis=1)


def _flat(draws: np.ndarray) -> np.ndarray:
    return draws.reshape(-1, draws.shape[-1])


def _by_columns(call: Callable[..., np.ndarray], *draws: np.ndarray) -> np.ndarray:
    """Call a function on some columns at a time: its memory is a multiple of the draws."""
    p = draws[0].shape[-1]
    return np.concatenate(
        [
            call(*(part[..., first : first + AT_ONCE] for part in draws))
            for first in range(0, p, AT_ONCE)
        ],
        axis=-1,
    )


def _r_hat(draws: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Return split R-hat: inf if each chain is stuck at its own value, 1 if all draws are equal.

    Draws that differ by no more than `least` are equal.
    """
    # Padded, because it is compiled for each shape.
    more = [(0, padding.size(count) - count) for count in draws.shape[2:]]
    padded = np.pad(draws, [(0, 0), (0, 0), *more])
    r_hat = np.asarray(potential_scale_reduction(padded), np.float64)
    r_hat = r_hat[tuple(slice(count) for count in draws.shape[2:])]
    same = np.ptp(draws, axis=(0, 1)) <= least
    return np.where(same, 1.0, np.where(np.isnan(r_hat), np.inf, r_hat))


def _by_chain(leaf: Any) -> np.ndarray:
    """Reshape [blocks, chains, draws in a block, ...] to [chains, draws, ...]."""
    array = np.moveaxis(np.asarray(leaf), 1, 0)
    return array.reshape(len(array), -1, *array.shape[3:])


def _resample(weights: np.ndarray) -> np.ndarray:
    """Return indices of equally weighted draws, i64[draws], evenly spaced over the weights."""
    heights = np.cumsum(weights / weights.sum())
    places = (np.arange(len(weights)) + 0.5) / len(weights)
    return np.minimum(np.searchsorted(heights, places), len(weights) - 1)


def _weighted_quantile(values: np.ndarray, weights: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Return quantiles, f64[tails, p]: the least value that reaches each share of the weight."""
    order = np.argsort(values, axis=0)
    heights = np.cumsum(np.take_along_axis(weights, order, axis=0), axis=0, dtype=np.float64)
    heights /= heights[-1]
    rows = np.stack([np.sum(heights < tail, axis=0) for tail in tails])
    rows = np.minimum(rows, len(values) - 1)
    return np.take_along_axis(np.take_along_axis(values, order, axis=0), rows, axis=0).astype(
        np.float64
    )
