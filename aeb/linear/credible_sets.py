# SPDX-License-Identifier: Apache-2.0
"""Credible sets: columns that can replace each other, found from the draws of the model.

If two columns are nearly the same, the data cannot say which of them matters, and each gets half
the probability. It may still be certain that one of them does. Let gamma[s, j] be the draws of the
model, r the correlations of the columns, and P the share of draws. A credible set C has

    P(some gamma_j = 1, j in C)          at least `level`
    |r_jk| for all j, k in C             at least `purity`
    P(some gamma_j = 1, j in C less k)   below `level`, for each k in C

The sets are disjoint, and are found one by one.

1. A set begins with the column that is most often in the model, among those that are in no set yet
   and have not failed to start one.
2. Among the columns whose correlations allow it, the set adds the one with the largest difference

       P(gamma_j = 1 | none of C is in) - P(gamma_j = 1 | some of C is in),

   and repeats this until it reaches the level. If no difference is above 0 before that, the set is
   dropped.
3. A set that reaches the level drops the columns that it does not need, the least likely first.

As in SuSiE, the level refers to *one* effect: the probability that the set contains a column whose
coefficient is not 0. SuSiE needs the number of effects. Here whole models are counted, so no such
number is needed, and the probability of a set averages over the other columns being in or out. It
is a Monte Carlo estimate: 1,000 independent draws give .95 to within .007.

SuSiE's level is conditional: the set contains an effect with that probability *if there is one*
among the columns near its first, those that `purity` allows beside it. The level above also counts
the doubt whether there is one. With `existence` it is conditional here, too. A set then begins
where P(some gamma_j = 1, j near the first) is at least `existence`, and P in the definition counts
only the draws with a column near the first in the model.

References: Wang, Sarkar, Carbonetto and Stephens (JRSSB 2020), for credible sets, their level and
their purity; Spector and Janson (2022, arXiv:2203.17208), for disjoint sets from draws of any
Bayesian model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Correlated", "CredibleSet", "correlated", "credible_sets"]

MOST = 1000
"""The number of columns whose correlations are kept: those most often in the model."""


class CredibleSet(NamedTuple):
    """Columns of which at least one is in the model, with the stated probability.

    Attributes:
        columns: i64[k], the most likely first. A group is contained as a whole.
        names: the names of these columns.
        probability: the probability that at least one of them is in the model. It is below the
            level where the level is conditional.
        purity: the least absolute correlation between two of them; 1 for a single column.
    """

    columns: np.ndarray
    names: tuple[str, ...]
    probability: float
    purity: float


class Correlated(NamedTuple):
    """Columns that were in the model in some draw, and their correlations."""

    columns: np.ndarray  # i64[k]
    correlation: np.ndarray  # f32[k, k]


def correlated(x: np.ndarray, included: np.ndarray, group: np.ndarray | None = None) -> Correlated:
    """Compute the correlations of the columns most often in the model.

    Args:
        x: f64[n, p], of mean 0 and mean square 1.
        included: bool[draws, p].
        group: i64[p], for each column the first column of its group, if there are groups. This
            column represents the group. The correlation of two groups is the largest absolute
            correlation between a column of one and a column of the other.

    Returns:
        At most `MOST` columns, the one most often in the model first, and their correlations.
    """
    share = included.mean(axis=0)
    if group is not None:
        share = np.where(group == np.arange(len(group)), share, 0.0)
    columns = np.argsort(-share, kind="stable")[:MOST]
    columns = columns[share[columns] > 0]
    if group is not None and len(np.unique(group)) < len(group):
        members = [np.flatnonzero(group == j) for j in columns]
        starts = np.cumsum([0, *(len(own) for own in members)])[:-1]
        chosen = x[:, np.concatenate([np.zeros(0, np.int64), *members])]
        each = np.abs(chosen.T @ chosen / len(x))
        if len(columns):
            each = np.maximum.reduceat(np.maximum.reduceat(each, starts, axis=0), starts, axis=1)
        return Correlated(columns, each.astype(np.float32))
    chosen = x[:, columns]
    return Correlated(columns, (chosen.T @ chosen / len(x)).astype(np.float32))


def credible_sets(
    included: np.ndarray,
    among: Correlated,
    names: Sequence[str],
    *,
    level: float = 0.95,
    purity: float = 0.5,
    existence: float | None = None,
) -> tuple[CredibleSet, ...]:
    """Return the credible sets of draws of the model, as defined above.

    Args:
        included: bool[draws, p].
        among: the columns to consider, and their correlations.
        names: the names of the p columns.
        level: the least probability of a set, in (0, 1).
        purity: the least absolute correlation within a set, in [0, 1].
        existence: the least probability that there is an effect where a set begins, in (0, 1], on
            which the level is then conditional; None if it is not.

    Returns:
        The sets, in the order in which they were found.

    Example:
        Two columns are the same, and each draw has one of them:

        >>> draws = np.array([[True, False, False], [False, True, False]] * 50)
        >>> x = np.array([[1.0, 1.0, -1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]])
        >>> [found] = credible_sets(draws, correlated(x, draws), ["a", "b", "c"])
        >>> found.names, found.probability, found.purity
        (('a', 'b'), 1.0, 1.0)
    """
    drawn = included[:, among.columns]
    share = drawn.mean(axis=0)
    alike = np.abs(among.correlation) >= purity
    np.fill_diagonal(alike, True)
    free = np.ones(len(share), bool)
    sets = []
    for lead in np.argsort(-share, kind="stable"):
        near = free & alike[lead]
        exists = drawn[:, near].any(axis=1)
        if not free[lead] or exists.mean() < (level if existence is None else existence):
            continue
        counted = drawn if existence is None else drawn[exists]
        found = _grow(counted, alike, near, int(lead), level)
        if found is None:
            continue
        free[found] = False
        found = found[np.argsort(-share[found], kind="stable")]
        least = np.abs(among.correlation[np.ix_(found, found)]).min() if len(found) > 1 else 1.0
        columns = among.columns[found]
        sets.append(
            CredibleSet(
                columns=columns,
                names=tuple(names[j] for j in columns),
                probability=float(np.mean(drawn[:, found].any(axis=1))),
                purity=min(float(least), 1.0),
            )
        )
    return tuple(sets)


def _grow(
    drawn: np.ndarray, alike: np.ndarray, near: np.ndarray, lead: int, level: float
) -> np.ndarray | None:
    """Add columns to the lead until the set reaches the level, then drop those it can spare."""
    near = near.copy()
    near[lead] = False
    found, held = [lead], drawn[:, lead]
    while held.mean() < level:
        if not near.any():
            return None
        gain = drawn[~held].mean(axis=0) - drawn[held].mean(axis=0)
        best = int(np.argmax(np.where(near, gain, -np.inf)))
        if gain[best] <= 0:
            return None
        found.append(best)
        held = held | drawn[:, best]
        near &= alike[best]
        near[best] = False
    share = drawn.mean(axis=0)
    for spare in sorted(found, key=lambda j: share[j]):
        fewer = [j for j in found if j != spare]
        if fewer and drawn[:, fewer].any(axis=1).mean() >= level:
            found = fewer
    return np.array(found)
