# SPDX-License-Identifier: Apache-2.0
"""Pad tables to a few shapes, so that a second table need not compile again.

A program is compiled for each shape of X, which takes seconds. Each fold of a cross-validation may
have another shape, and so does a table with one more column. So tables are padded to the next of a
few sizes, with rows and columns that change nothing:

    columns of 0 in X            never in the model: their prior odds are 0
    rows of 0 in X and the       the likelihood does not change; rows are counted, and sums over
    base, whose y says nothing   them are taken, before the padding

Sizes increase in steps of an eighth of a power of 2, or of a thirty-second in large tables, and at
least in steps of 16. Columns with odds 0 count neither in the initial delta nor in its learning.
The result is the same up to Monte Carlo noise, because another shape draws other random numbers.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from aeb.linear.families import Rows
from aeb.linear.support import Problem, Snapshot, Totals
from aeb.linear.ties import Ties, pad_ties

__all__ = ["MOST", "pad", "pad_rows", "size", "trim", "widen"]

MOST = 100_000
"""The size of X from which steps are finer, because running then takes longer than compiling."""

SMALL, LARGE = 8, 32
"""The number of steps between two powers of 2: below `MOST`, and from there on."""

LEAST_STEP = 16
LEAST_ROWS = 64
"""The least size for rows whose weights are redrawn: cheap to run, but slow to compile."""

NEUTRAL = {"student_t": 0.0, "binomial": 0.5}
"""A y that carries no information at eta = 0, in a row of weight 1. A count always carries some."""


def size(count: int, least_step: int = LEAST_STEP, steps: int = SMALL) -> int:
    """Return the size to which a number of rows or columns is padded.

    Args:
        count: the number, at least 1.
        least_step: the least size, and the least step between sizes.
        steps: the number of sizes between two powers of 2.

    Example:
        >>> [size(count) for count in (1, 16, 17, 100, 129, 1000)]
        [16, 16, 32, 112, 144, 1024]
    """
    step = max(least_step, 2 ** ((count - 1).bit_length() - 1) // steps)
    return -(-count // step) * step


def pad(problem: Problem) -> Problem:
    """Pad a normal problem with rows and columns that change nothing.

    Args:
        problem: a problem whose x is f[m, p].

    Returns:
        A problem whose x is f[m', p'], with `log_odds`.
    """
    m, p = problem.x.shape
    steps = _steps(m * p)
    wide = size(p, steps=steps)
    return problem._replace(
        x=jnp.asarray(_more(problem.x, size(m, steps=steps), wide)),
        y=jnp.asarray(_more(problem.y, size(m, steps=steps))),
        log_odds=jnp.asarray(_odds(problem.log_odds, p, wide)),
        ties=pad_ties(problem.ties, wide),
    )


def pad_rows(
    rows: Rows, log_odds: Any, family: str, ties: Ties | None = None
) -> tuple[Rows, Any, Ties | None]:
    """Pad the data of a family that redraws weights.

    Args:
        rows: the data, whose x is f64[n, p]. The grid and its heights do not change.
        log_odds: f64[p] or None.
        family: the family of y. If it is not in `NEUTRAL`, only columns are padded.
        ties: the ties between the columns.

    Returns:
        Data whose x is f64[n', p'], the log odds and the ties.
    """
    n, p = rows.x.shape
    steps = _steps(n * p)
    wide = size(p, steps=steps)
    longer = size(n, LEAST_ROWS, steps) if family in NEUTRAL else n
    padded = rows._replace(
        x=jnp.asarray(_more(rows.x, longer, wide)),
        base=jnp.asarray(_more(rows.base, longer, rows.base.shape[1])),
        y=jnp.asarray(_more(rows.y, longer, fill=NEUTRAL.get(family, 0.0))),
        weights=jnp.asarray(_more(rows.weights, longer, fill=1.0)),
        offset=jnp.asarray(_more(rows.offset, longer)),
        repeats=(
            None if rows.repeats is None else jnp.asarray(_more(rows.repeats, longer, fill=1.0))
        ),
    )
    return padded, jnp.asarray(_odds(log_odds, p, wide)), pad_ties(ties, wide)


def widen(starts: np.ndarray, width: int) -> np.ndarray:
    """Pad the starting sets, bool[chains, p], to `width` columns. The new columns are out."""
    return _more(starts, len(starts), width)


def trim(totals: Totals, snapshots: Snapshot, p: int) -> tuple[Totals, Snapshot]:
    """Remove the columns that padding added.

    Args:
        totals: totals over p' columns.
        snapshots: draws over p' columns.
        p: the number of columns of the data.
    """

    def cut(tree: Any, names: tuple[str, ...]) -> Any:
        return tree._replace(**{name: getattr(tree, name)[..., :p] for name in names})

    totals = totals._replace(open=tuple(own[..., :p] for own in totals.open))
    return (
        cut(totals, ("rho", "beta", "small")),
        cut(snapshots, ("rho", "included", "beta", "beta_if_included")),
    )


def _more(array: Any, *shape: int, fill: float = 0.0) -> np.ndarray:
    array = np.asarray(array)
    edges = [(0, wanted - had) for wanted, had in zip(shape, array.shape, strict=True)]
    return np.pad(array, edges, constant_values=fill)


def _odds(log_odds: Any, p: int, wide: int) -> np.ndarray:
    return _more(np.zeros(p) if log_odds is None else log_odds, wide, fill=-np.inf)


def _steps(numbers: int) -> int:
    return SMALL if numbers < MOST else LARGE
