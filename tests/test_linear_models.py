# SPDX-License-Identifier: Apache-2.0
"""Models, sizes and selection from draws, against their definitions written out.

Mutations that fail here: models counted by their columns' hash of eight columns alone; ties not by
the first drawn; the rate of the last column of a list and not the mean over it; the prior of the
size as if all columns had the mean probability.
"""

import itertools
from collections import Counter

import numpy as np
import pytest

from aeb.linear.models import model_size, most_probable, prior_size, select


def test_models_are_counted():
    rng = np.random.default_rng(0)
    draws = rng.random((500, 11)) < np.r_[0.5, np.full(7, 0.02), 0.4, 0.01, 0.2]
    names = [f"c{j}" for j in range(11)]
    want = Counter(tuple(np.flatnonzero(row)) for row in draws)
    models = most_probable(draws, names, 1000)
    assert len(models) == len(want)
    for own in models:
        assert own.probability == want[tuple(own.columns)] / 500
        assert own.names == tuple(names[j] for j in own.columns)
    assert sum(own.probability for own in models) == pytest.approx(1.0)
    chances = [own.probability for own in models]
    assert chances == sorted(chances, reverse=True)
    short = most_probable(draws, names, 3)
    assert [own.names for own in short] == [own.names for own in models[:3]]


def test_the_prior_of_the_size_is_that_of_independent_columns():
    chances = np.array([0.1, 0.1, 0.4, 1.0, 0.0, 0.4])
    want = np.zeros(7)
    for model in itertools.product([0, 1], repeat=6):
        want[sum(model)] += np.prod(np.where(model, chances, 1 - chances))
    np.testing.assert_allclose(prior_size(chances, 7), want, atol=1e-12)
    np.testing.assert_allclose(prior_size(chances, 3), want[:3], atol=1e-12)


def test_the_size_is_that_of_the_draws():
    draws = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], bool)
    size = model_size(draws, np.full(4, 1e-3))
    np.testing.assert_allclose(size.posterior, [0, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(size.prior, prior_size(np.full(4, 1e-3), 4))


@pytest.mark.parametrize("fdr", [0.01, 0.1, 0.3, 0.9])
def test_selection_is_the_longest_list_within_the_rate(fdr):
    inclusion = np.random.default_rng(1).beta(0.4, 0.6, size=30)
    order = np.argsort(-inclusion)
    lists = [order[:k] for k in range(31)]
    within = [own for own in lists if not len(own) or np.mean(1 - inclusion[own]) <= fdr]
    assert 0 < len(within[-1]) < 30 or fdr == 0.9
    np.testing.assert_array_equal(select(inclusion, fdr), within[-1])
