# SPDX-License-Identifier: Apache-2.0
"""Read the draws: which models are likely, how many columns they have, and which to select.

A model is the set of columns whose gamma is 1. All draws gamma[s, j] weigh the same.

    P(model)         the share of draws that are this model
    P(size = k)      the share of draws with k columns. A group of columns that are in or out
                     together counts as one. A priori gamma_j ~ Bernoulli(prior_j), independent, so
                     the size is Poisson-binomial
    selection        sort the columns by P(gamma_j = 1 | y), the most likely first. Select the
                     longest list whose mean of P(gamma_j = 0 | y) is at most the requested rate

Given the data, this mean is the expected share of false discoveries in the list: the Bayesian false
discovery rate.

References: Newton, Noueiry, Sarkar and Ahlquist (Biostatistics 2004) and Muller, Parmigiani, Robert
and Rousseau (JASA 2004), for the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["ModelSize", "Subset", "model_size", "most_probable", "prior_size", "select"]


class Subset(NamedTuple):
    """One model: the columns in it, and its probability."""

    columns: np.ndarray  # i64[k], ascending
    names: tuple[str, ...]
    probability: float


class ModelSize(NamedTuple):
    """How many columns are in the model: entry k of each array is the probability of k columns.

    Attributes:
        prior: f64[sizes], before y is seen, at the inclusion rate that was learned.
        posterior: f64[sizes], after y is seen. Both end with the last size whose probability is at
            least a millionth in one of them.
    """

    prior: np.ndarray
    posterior: np.ndarray


def most_probable(included: np.ndarray, names: Sequence[str], count: int) -> tuple[Subset, ...]:
    """Return the models drawn most often, the most probable first.

    Args:
        included: bool[draws, p].
        names: the names of the p columns.
        count: the largest number of models to return.

    Returns:
        At most `count` different models.

    Example:
        >>> draws = np.array([[True, False], [True, False], [True, True], [True, False]])
        >>> [(model.names, model.probability) for model in most_probable(draws, "ab", 5)]
        [(('a',), 0.75), (('a', 'b'), 0.25)]
    """
    packed = np.packbits(included, axis=1)
    _, first, times = np.unique(packed, axis=0, return_index=True, return_counts=True)
    order = np.lexsort((first, -times))[:count]
    models = [np.flatnonzero(included[first[i]]) for i in order]
    return tuple(
        Subset(columns, tuple(names[int(j)] for j in columns), float(times[i] / len(included)))
        for i, columns in zip(order, models, strict=True)
    )


def prior_size(inclusion: np.ndarray, sizes: int) -> np.ndarray:
    """Return the probabilities that 0, 1, ... of independent columns are in, f64[sizes].

    Args:
        inclusion: f64[p], the prior probability of each column.
        sizes: the number of probabilities to return.

    Example:
        >>> prior_size(np.array([0.5, 0.5, 1.0]), 4).round(3).tolist()
        [0.0, 0.25, 0.5, 0.25]
    """
    from scipy.stats import binom

    total = np.zeros(sizes)
    total[0] = 1.0
    # The number of columns in the model among those of equal probability is binomial.
    for chance, count in zip(*np.unique(inclusion, return_counts=True), strict=True):
        alike = binom.pmf(np.arange(min(sizes, count + 1)), count, chance)
        total = np.convolve(total, alike)[:sizes]
    return total


def model_size(
    included: np.ndarray, prior_inclusion: np.ndarray, prior: np.ndarray | None = None
) -> ModelSize:
    """Return the distribution of the number of columns in the model, prior and posterior.

    Args:
        included: bool[draws, p].
        prior_inclusion: f64[p], the prior probability of each column.
        prior: f64[at most p + 1], the prior probabilities of 0, 1, ... columns, if the columns are
            not independent.

    Returns:
        Both distributions, over the same sizes.
    """
    p = included.shape[1]
    prior = prior_size(prior_inclusion, p + 1) if prior is None else prior
    prior = np.pad(prior, (0, p + 1 - len(prior)))
    posterior = np.bincount(included.sum(axis=1), minlength=p + 1) / len(included)
    last = int(np.flatnonzero((prior > 1e-6) | (posterior > 0)).max())
    return ModelSize(prior[: last + 1], posterior[: last + 1])


def select(inclusion: np.ndarray, fdr: float) -> np.ndarray:
    """Return the longest list of columns whose false discovery rate is at most `fdr`.

    Args:
        inclusion: f64[p], the posterior probability that a column is in the model.
        fdr: in (0, 1).

    Returns:
        i64[k], the most likely first.

    Example:
        >>> select(np.array([0.2, 0.99, 0.85]), fdr=0.1).tolist()
        [1, 2]
    """
    order = np.argsort(-inclusion, kind="stable")
    false = np.cumsum(1.0 - inclusion[order]) / np.arange(1, len(order) + 1)
    # The mean rises along the list, so the lists within the rate come first.
    return order[: int(np.searchsorted(false, fdr, side="right"))]
