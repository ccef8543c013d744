# SPDX-License-Identifier: Apache-2.0
"""Few shapes, so that a second table does not compile again.

A program is compiled for each shape of X, which takes seconds; a fold of a cross-validation, or a
column more, is another shape. Small problems are therefore padded to the next of few sizes, in
steps of an eighth and of no less than 16, with rows and columns that change nothing:

    columns of 0 in X            out of the model for good: their prior odds are 0
    rows of 0 in X and the       the likelihood is as before, and so are the count of rows and the
    base, whose y says nothing   sums over them, for they are counted before

Columns whose odds are 0 are not counted where delta begins and where it is learned. The answer is
the same but for the noise of Monte Carlo, since other shapes draw other numbers.
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
"""Numbers in X from which on nothing is padded: there running takes longer than compiling."""

LEAST_STEP = 16
LEAST_ROWS = 64
"""For families that redraw weights: their rows are cheap, and their programs slow to compile."""

NEUTRAL = {"student_t": 0.0, "binomial": 0.5}
"""A y that says nothing of eta at 0, in a row of weight 1. A count always says something."""


def size(count: int, least_step: int = LEAST_STEP) -> int:
    """Return the size that so many rows or columns are padded to.

    Args:
        count: at least 1.
        least_step: the size of a small count, and what a larger one goes up by at least.

    Example:
        >>> [size(count) for count in (1, 16, 17, 100, 129, 1000)]
        [16, 16, 32, 112, 144, 1024]
    """
    step = max(least_step, 2 ** ((count - 1).bit_length() - 1) // 8)
    return -(-count // step) * step


def pad(problem: Problem) -> Problem:
    """Pad a small normal problem with rows and columns that change nothing; leave a large one.

    Args:
        problem: its x is f64[m, p].

    Returns:
        A problem of x f64[m', p'], with `log_odds`.
    """
    m, p = problem.x.shape
    if m * p >= MOST:
        return problem
    return problem._replace(
        x=jnp.asarray(_more(problem.x, size(m), size(p))),
        y=jnp.asarray(_more(problem.y, size(m))),
        log_odds=jnp.asarray(_odds(problem.log_odds, p)),
        ties=pad_ties(problem.ties, size(p)),
    )


def pad_rows(
    rows: Rows, log_odds: Any, family: str, ties: Ties | None = None
) -> tuple[Rows, Any, Ties | None]:
    """Pad small data of a family that redraws weights; leave large ones.

    Args:
        rows: of f64[n, p]. Their grid and its heights stay.
        log_odds: f64[p] or None.
        family: of y; rows are not padded for one that is not in `NEUTRAL`.
        ties: of the columns.

    Returns:
        Rows of f64[n', p'], their log odds and their ties.
    """
    n, p = rows.x.shape
    if n * p >= MOST:
        return rows, log_odds, ties
    longer = size(n, LEAST_ROWS) if family in NEUTRAL else n
    padded = rows._replace(
        x=jnp.asarray(_more(rows.x, longer, size(p))),
        base=jnp.asarray(_more(rows.base, longer, rows.base.shape[1])),
        y=jnp.asarray(_more(rows.y, longer, fill=NEUTRAL.get(family, 0.0))),
        weights=jnp.asarray(_more(rows.weights, longer, fill=1.0)),
        offset=jnp.asarray(_more(rows.offset, longer)),
    )
    return padded, jnp.asarray(_odds(log_odds, p)), pad_ties(ties, size(p))


def widen(starts: np.ndarray, width: int) -> np.ndarray:
    """Pad the sets to start from, bool[chains, p], to as many columns; none of those is in."""
    return _more(starts, len(starts), width)


def trim(totals: Totals, snapshots: Snapshot, p: int) -> tuple[Totals, Snapshot]:
    """Leave out the columns that were added.

    Args:
        totals: leaves of columns are f64[..., p'].
        snapshots: likewise.
        p: columns that are the data's.
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


def _odds(log_odds: Any, p: int) -> np.ndarray:
    return _more(np.zeros(p) if log_odds is None else log_odds, size(p), fill=-np.inf)
