# SPDX-License-Identifier: Apache-2.0
"""Few shapes, so that a second table does not compile again.

A program is compiled for each shape of X, which takes seconds. A fold of a cross-validation is
another shape, and so is a table with a column more. Tables are therefore padded to the next of few
sizes, with rows and columns that change nothing:

    columns of 0 in X            out of the model for good: their prior odds are 0
    rows of 0 in X and the       the likelihood is as before; the rows were counted, and sums over
    base, whose y says nothing   them were taken, before the padding

Sizes go up in steps of an eighth of a power of 2, or of a thirty-second in large tables, and of 16
at least. Columns whose odds are 0 do not count where delta begins, nor where it is learned. The
answer is the same up to the noise of Monte Carlo, since another shape draws other numbers.
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
"""Numbers in X from which on the steps are finer, for there running takes longer than compiling."""

SMALL, LARGE = 8, 32
"""Steps between a power of 2 and the next, below `MOST` and from there on."""

LEAST_STEP = 16
LEAST_ROWS = 64
"""For families that redraw weights: their rows are cheap, and their programs slow to compile."""

NEUTRAL = {"student_t": 0.0, "binomial": 0.5}
"""A y that says nothing of eta at 0, in a row of weight 1. A count always says something."""


def size(count: int, least_step: int = LEAST_STEP, steps: int = SMALL) -> int:
    """Return the size that so many rows or columns are padded to.

    Args:
        count: at least 1.
        least_step: the size of a small count, and what a larger one goes up by at least.
        steps: how many there are between a power of 2 and the next.

    Example:
        >>> [size(count) for count in (1, 16, 17, 100, 129, 1000)]
        [16, 16, 32, 112, 144, 1024]
    """
    step = max(least_step, 2 ** ((count - 1).bit_length() - 1) // steps)
    return -(-count // step) * step


def pad(problem: Problem) -> Problem:
    """Pad a normal problem with rows and columns that change nothing.

    Args:
        problem: its x is f[m, p].

    Returns:
        A problem of x f[m', p'], with `log_odds`.
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
        rows: of f64[n, p]. Their grid and its heights stay.
        log_odds: f64[p] or None.
        family: of y; rows are not padded for one that is not in `NEUTRAL`.
        ties: of the columns.

    Returns:
        Rows of f64[n', p'], their log odds and their ties.
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
    )
    return padded, jnp.asarray(_odds(log_odds, p, wide)), pad_ties(ties, wide)


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


def _odds(log_odds: Any, p: int, wide: int) -> np.ndarray:
    return _more(np.zeros(p) if log_odds is None else log_odds, wide, fill=-np.inf)


def _steps(numbers: int) -> int:
    return SMALL if numbers < MOST else LARGE
