# SPDX-License-Identifier: Apache-2.0
"""Credible sets keep their definition on any draws, find stand-ins, and hold what they promise.

Mutations that fail here: columns that can be spared kept; the purity looked at for the lead alone;
columns of one set free for the next; columns added by their share in the draws that lack the set,
without taking off their share in the others; the level of another set; a conditional level of all
draws, or of those with any column, or a conditional set's probability of those draws alone.
"""

import itertools

import numpy as np
import pytest

import aeb
from aeb.linear.credible_sets import Correlated, correlated, credible_sets


def found(draws, correlation, **settings):
    draws = np.asarray(draws, bool)
    p = draws.shape[1]
    among = Correlated(np.arange(p), np.asarray(correlation, np.float32))
    return credible_sets(draws, among, [f"x{j}" for j in range(p)], **settings)


@pytest.mark.parametrize("seed", range(40))
def test_every_set_keeps_the_definition(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 9))
    x = (x - x.mean(0)) / x.std(0)
    draws = rng.random((60, 9)) < rng.random(9) * rng.choice([0.3, 0.7, 1.0])
    among = correlated(x, draws)
    sets = credible_sets(draws, among, list("abcdefghi"), level=0.8, purity=0.4)
    r = np.abs(np.corrcoef(x.T))
    for own in sets:
        assert draws[:, own.columns].any(axis=1).mean() >= 0.8
        assert own.probability == draws[:, own.columns].any(axis=1).mean()
        least = min((r[j, k] for j, k in itertools.combinations(own.columns, 2)), default=1.0)
        assert own.purity == pytest.approx(least, abs=1e-6)
        assert least >= 0.4 - 1e-6
        assert own.names == tuple("abcdefghi"[j] for j in own.columns)
        for left in own.columns[: len(own.columns) if len(own.columns) > 1 else 0]:
            rest = own.columns[own.columns != left]
            assert draws[:, rest].any(axis=1).mean() < 0.8
    columns = np.concatenate([own.columns for own in sets]) if sets else []
    assert len(columns) == len(set(columns))


def test_some_of_those_draws_have_sets_of_several():
    """The test above would pass on no sets at all."""
    sizes = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(6, 9))
        x = (x - x.mean(0)) / x.std(0)
        draws = rng.random((60, 9)) < rng.random(9) * rng.choice([0.3, 0.7, 1.0])
        own = credible_sets(draws, correlated(x, draws), "abcdefghi", level=0.8, purity=0.4)
        sizes += [len(one.columns) for one in own]
    assert sizes.count(1) > 5
    assert sum(size > 1 for size in sizes) > 5


def test_columns_that_stand_for_each_other_are_one_set():
    draws = np.zeros((100, 4), bool)
    draws[:60, 0] = draws[60:, 1] = True
    draws[:5, 2] = True
    alike = np.eye(4)
    alike[0, 1] = alike[1, 0] = -0.9
    [own] = found(draws, alike)
    assert own.columns.tolist() == [0, 1]
    assert own.purity == pytest.approx(0.9)
    assert own.probability == 1.0
    assert found(draws, alike, purity=0.95) == ()
    fewer = draws & (np.arange(100) < 80)[:, None]
    assert [own.probability for own in found(fewer, alike, level=0.75)] == [0.8]
    assert found(fewer, alike, level=0.85) == ()
    # Columns that do not correlate do not stand for each other, however they take turns.
    assert found(draws, np.eye(4)) == ()
    [own] = found(draws[:, [0, 2, 3, 1]], np.ones((4, 4)), level=0.6)
    assert own.columns.tolist() == [0]


def test_a_conditional_level_counts_the_draws_with_an_effect_near():
    """Columns 0 and 1 stand for each other, and one of them is in six draws of ten: a set of both
    has probability 0.6, and column 0 alone 0.57, 95 % of it. Column 2 is in all draws."""
    draws = np.zeros((1000, 3), bool)
    draws[:570, 0] = draws[570:600, 1] = draws[:, 2] = True
    alike = np.eye(3)
    alike[0, 1] = alike[1, 0] = 0.9
    assert [own.columns.tolist() for own in found(draws, alike)] == [[2]]
    _, own = found(draws, alike, existence=0.5)
    assert (own.columns.tolist(), own.probability) == ([0], 0.57)
    _, own = found(draws, alike, level=0.96, existence=0.6)
    assert (own.columns.tolist(), own.probability) == ([0, 1], 0.6)
    assert len(found(draws, alike, existence=0.601)) == 1


def test_another_effect_is_not_taken_for_a_stand_in():
    """Column 0 is in nine draws of ten, and ten others share the tenth; column 11, correlated too,
    is in six of ten whatever the others do. It is in most of the draws that lack column 0, but its
    presence has nothing to do with that."""
    draws = np.zeros((1000, 13), bool)
    draws[:900, 0] = True
    for k in range(10):
        draws[900 + 10 * k : 910 + 10 * k, 1 + k] = True
    draws[:, 11] = np.arange(1000) % 10 < 6
    draws[:, 12] = ~draws[:, 11]
    first, second = found(draws, np.full((13, 13), 0.8))
    assert first.columns[0] == 0
    assert set(first.columns[1:]) <= set(range(1, 11))
    assert len(first.columns) == 6  # five of the ten reach 0.95
    assert second.columns.tolist() == [11, 12]


def test_only_the_columns_most_often_in_are_looked_at():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 5))
    x = (x - x.mean(0)) / x.std(0)
    draws = np.array([[1, 0, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    among = correlated(x, draws)
    assert among.columns.tolist() == [0, 2]
    np.testing.assert_allclose(among.correlation, np.corrcoef(x[:, [0, 2]].T), atol=1e-6)


@pytest.mark.slow
def test_sets_hold_a_signal_as_often_as_they_say():
    """Two effects among 60 columns in blocks of six correlated at 0.95, of a size at which the
    column is often uncertain. Of about 100 sets, 95 % and more hold an effect, to within three
    standard errors. A set of the lead alone, the mutation, would hold one in two thirds."""
    held, sizes, lead = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        block = rng.normal(size=(80, 10, 1))
        x = (np.sqrt(0.95) * block + np.sqrt(0.05) * rng.normal(size=(80, 10, 6))).reshape(80, 60)
        signals = [3, 27]
        y = x[:, signals] @ [1.0, -0.7] + rng.normal(size=80)
        fit = aeb.regression(x, y, num_draws=250, warmup=100, thinning=20)
        for own in fit.credible_sets():
            held.append(bool(set(own.columns) & set(signals)))
            lead.append(own.columns[0] in signals)
            sizes.append(len(own.columns))
    assert len(held) > 80
    assert np.mean(sizes) > 2
    assert np.mean(held) > 0.95 - 3 * (0.95 * 0.05 / len(held)) ** 0.5
    assert np.mean(lead) < 0.8
