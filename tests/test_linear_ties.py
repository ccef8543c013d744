# SPDX-License-Identifier: Apache-2.0
"""Groups that are in or out together, and columns that wait for others, against all models.

Mutations that fail here: the determinant of a group's diagonal alone; the score of one column for
those of its group; Q of the groups left as it was after a flip; a group flipped as often as it has
columns; all columns counted where delta is learned; the factor of a child's being out forgotten; a
parent that goes while its child is in; "weak" taken for "strong"; groups cut in `select` and in
credible sets.
"""

import importlib
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

import aeb
from aeb.linear import padding
from aeb.linear.design import read_design, restrict, tie_columns
from aeb.linear.interpret import interpret
from aeb.linear.result import Regression
from aeb.linear.support import Hyper, Information, Problem, flip, learn, refresh, start
from aeb.linear.table import as_matrix
from aeb.linear.ties import close, prior_draws, sweep, tie

regression_module = importlib.import_module("aeb.linear.regression")

LABELS = np.array([0, 1, 1, 3, 3, 3, 6, 7, 7])
G = {group: np.flatnonzero(group == LABELS) for group in np.unique(LABELS)}
PARENTS = {6: (0, 1), 7: (6, 3)}
"""By first columns: 6 waits for 0 and the group of 1, and the group of 7 for 6 and that of 3."""

N, P, V1, DELTA, REST = 40, len(LABELS), 0.4, 0.3, 0.5


def numbers():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(N, P)) + 0.5 * rng.normal(size=(N, 1))
    y = x @ [0.3, 0.35, 0, -0.3, 0, 0.3, 0.3, 0, 0.2] + rng.normal(size=N)
    return (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()


def models():
    """All sets of whole groups, bool[models, p]."""
    bits = itertools.product([False, True], repeat=len(G))
    return np.array([np.repeat(own, [len(g) for g in G.values()]) for own in bits])


def log_prior(chosen, delta, parents=(), strong=True):
    total = 0.0
    for group in G:
        may = True
        if group in parents:
            may = (all if strong else any)(chosen[own] for own in parents[group])
        if may:
            total += math.log(delta if chosen[group] else 1 - delta)
        elif chosen[group]:
            return -math.inf
    return total


def log_evidence(chosen, v0, v1=V1, degrees=N, rest=REST, sigma=None):
    x, y = numbers()
    gram = np.eye(N) + (x * np.where(chosen, v1, v0)) @ x.T
    misfit = y @ np.linalg.solve(gram, y)
    likely = -misfit / 2 / sigma**2 if sigma else -degrees / 2 * np.log(misfit + rest)
    return likely - np.linalg.slogdet(gram)[1] / 2


def mean_of(chosen, v0, v1=V1):
    x, y = numbers()
    variance = np.where(chosen, v1, v0)
    return variance * (x.T @ np.linalg.solve(np.eye(N) + (x * variance) @ x.T, y))


def problem(ties, sigma=None):
    x, y = numbers()
    known = None if sigma is None else jnp.asarray(sigma)
    made = Problem(jnp.asarray(x), jnp.asarray(y), jnp.asarray(REST), jnp.asarray(float(N)), known)
    return padding.pad(made._replace(ties=jax.tree.map(jnp.asarray, ties)))


step = jax.jit(flip)


@pytest.mark.parametrize(
    ("parents", "strong", "v0", "sigma"),
    [({}, True, 0.1, None), (PARENTS, True, 0.0, 0.7), (PARENTS, False, 0.0, None)],
)
def test_rates_are_those_of_the_full_conditionals(x64, parents, strong, v0, sigma):
    data = problem(tie(LABELS, parents, strong=strong), sigma)
    rng = np.random.default_rng(1)
    seen = 0
    for chosen in models()[rng.permutation(2 ** len(G))]:
        own = log_prior(chosen, DELTA, parents, strong)
        if own == -math.inf or seen == 8:
            continue
        seen += 1
        chain = start(data, jnp.asarray(np.pad(chosen, (0, 16 - P))), DELTA, jnp.asarray(V1), v0)
        moved, stayed = step(data, chain, jax.random.key(seen))
        rates = []
        for group, columns in G.items():
            other = chosen ^ np.isin(np.arange(P), columns)
            there = log_prior(other, DELTA, parents, strong)
            odds = log_evidence(other, v0, sigma=sigma) - log_evidence(chosen, v0, sigma=sigma)
            rate = 1 / (1 + np.exp(own - there - odds))
            rho = 1 - rate if chosen[group] else rate
            rates.append(rate)
            np.testing.assert_allclose(stayed.rho[columns] / stayed.time, rho, rtol=1e-4)
            for sums, share, state in (
                (stayed.beta, rho, chosen | np.isin(np.arange(P), columns)),
                (stayed.small, 1 - rho, chosen & ~np.isin(np.arange(P), columns)),
            ):
                want = share * mean_of(state, v0)[columns]
                np.testing.assert_allclose(sums[columns] / stayed.time, want, rtol=1e-4, atol=1e-7)
        assert float(stayed.time) == pytest.approx(1 / sum(rates), rel=1e-4)
        assert float(stayed.size / stayed.time) == pytest.approx(chosen.sum())
        np.testing.assert_array_equal(moved.included, moved.included[data.ties.lead])
        chex.assert_trees_all_close(moved, refresh(data, moved), rtol=1e-9, atol=1e-12)
    assert seen == 8


def test_many_flips_end_where_a_refresh_does(x64):
    """Mutation: C as rounding leaves it, not made symmetric; then the error grows by the flip."""
    data = problem(tie(LABELS, {}))
    chain = start(data, jnp.zeros(16, bool), DELTA, jnp.asarray(V1), 0.1)
    seen = set()
    for k in range(200):
        chain, _ = step(data, chain, jax.random.fold_in(jax.random.key(0), k))
        seen.add(bytes(np.asarray(chain.included)))
    assert len(seen) > 10
    fresh = jax.tree.leaves(refresh(data, chain))
    for got, want in zip(jax.tree.leaves(chain), fresh, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)


def test_columns_on_their_own_have_no_ties():
    assert tie(np.arange(4), {}) is None
    assert read_design(list("abc"), None, groups=["u", 7, None]).group.tolist() == [0, 1, 2]


def test_sweeping_solves(x64):
    rng = np.random.default_rng(0)
    root, right = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 4, 2))
    matrix = np.eye(4) + root @ np.swapaxes(root, 1, 2)
    got, log_det = sweep(jnp.asarray(matrix), jnp.asarray(right))
    np.testing.assert_allclose(got, np.linalg.solve(matrix, right), rtol=1e-9)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], rtol=1e-9)


@pytest.mark.parametrize("strong", [True, False])
def test_the_prior_is_that_of_all_models(strong):
    """To five standard errors of 10,000 draws."""
    ties = tie(LABELS, PARENTS, strong=strong)
    want = np.zeros(P)
    for chosen in models():
        want += np.exp(log_prior(chosen, DELTA, PARENTS, strong)) * chosen
    assert want[7] < want[6] < want[0] == pytest.approx(DELTA)
    np.testing.assert_allclose(prior_draws(ties, np.full(P, DELTA)).mean(axis=0), want, atol=0.025)


def test_delta_settles_where_groups_and_open_columns_say(x64):
    """(sum rho + a - 1) / (a + b + groups that may be in - 2). Mutation: columns counted, those
    too that may not be in."""
    data = problem(tie(LABELS, PARENTS))
    chain = start(data, jnp.zeros(16, bool), DELTA, jnp.asarray(V1))
    _, stayed = step(data, chain, jax.random.key(0))
    lead = [0, 1, 3]
    rho = np.asarray(stayed.rho / stayed.time)
    assert rho[6:].sum() < 1e-20
    chains, totals = (jax.tree.map(lambda leaf: leaf[None], tree) for tree in (chain, stayed))
    told = Information(jnp.ones(1), jnp.ones(1))
    hyper = Hyper(2.0, 3.0, 0.3, 10.0)
    moved = learn(hyper, chains, totals, told, 1.0, 0.0, data.log_odds, data.ties)
    assert float(moved.delta[0]) == pytest.approx((rho[lead].sum() + 1) / (5 + 3 - 2), rel=1e-6)


def test_starts_are_models():
    ties = tie(LABELS, PARENTS)
    starts = close(np.ones((2, P), bool), ties)
    assert starts.tolist() == [[True] * 6 + [False] * 3] * 2
    some = np.arange(P) == 2
    assert not close(some, ties).any()


SETTINGS = {"a": 3e6, "b": 7e6, "v1": V1, "v1_weight": math.inf, "v0": 0.0, "thinning": 20}
"""Which hold delta and v1."""


def agrees(fit, parents=(), strong=True, atol=0.01):
    """With all models, whose evidence is in closed form."""
    logs = np.array(
        [
            log_evidence(own, 0.0, rest=1e-4) + log_prior(own, DELTA, parents, strong)
            for own in models()
        ]
    )
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    inclusion = weights @ models()
    assert np.ptp(inclusion) > 0.3
    np.testing.assert_allclose(fit.inclusion, inclusion, atol=atol)
    means = weights @ np.array([mean_of(own, 0.0) for own in models()])
    np.testing.assert_allclose(fit.coefficients, means, atol=atol)
    np.testing.assert_allclose(fit.included_draws.mean(axis=(0, 1)), inclusion, atol=4 * atol)
    np.testing.assert_array_equal(fit.included_draws, fit.included_draws[..., LABELS])
    assert fit.largest_r_hat < 1.05


@pytest.mark.slow
def test_groups_are_those_of_all_models():
    x, y = numbers()
    fit = aeb.regression(x, y, groups=LABELS, num_draws=1000, **SETTINGS)
    agrees(fit)
    np.testing.assert_array_equal(fit.group, LABELS)
    assert fit.model_size.prior.sum() == pytest.approx(1, abs=1e-5)
    assert len(fit.model_size.posterior) <= len(G) + 1
    chosen = fit.select(0.3)
    assert set(LABELS[chosen]) == {g for g in G if set(G[g]) & set(chosen)}
    for own in fit.credible_sets(0.5, purity=0.0):
        assert sorted(own.columns) == sorted(np.flatnonzero(np.isin(LABELS, LABELS[own.columns])))
    # Draws of beta have the means of the coefficients, and given a group those of a model with it.
    np.testing.assert_allclose(fit.draws.mean(axis=(0, 1)), fit.coefficients, atol=0.03)
    middle = fit.interval_if_included.mean(axis=1)
    np.testing.assert_allclose(middle, fit.coefficients_if_included, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("strong", [True, False])
def test_heredity_is_that_of_all_models(strong):
    x, y = numbers()
    waits = {"x6": ["x0", "x2"], 8: [6, 4]}
    heredity = "strong" if strong else "weak"
    fit = aeb.regression(
        x, y, groups=LABELS, requires=waits, heredity=heredity, num_draws=1000, **SETTINGS
    )
    agrees(fit, PARENTS, strong)
    inside, need = fit.included_draws, all if strong else any
    for child, parents in PARENTS.items():
        for own in inside[inside[..., child]]:
            assert need(own[parent] for parent in parents)
    assert fit.prior_inclusion[0] == pytest.approx(DELTA, abs=1e-6)
    assert fit.prior_size.sum() == pytest.approx(1)


# With such a slab the chance of a group hardly varies: its R-hat is of rounding.
@pytest.mark.filterwarnings("ignore:the 4 chains disagree")
@pytest.mark.slow
@pytest.mark.parametrize("family", ["student_t", "binomial", "negative_binomial"])
def test_other_families_take_groups_whole(family):
    """Where the slab is as narrow as a point the prior is left; its columns go together."""
    x, y = numbers()
    target = {"student_t": y, "binomial": y > 0, "negative_binomial": np.floor(np.exp(y))}[family]
    settings = SETTINGS | {"v1": 1e-9, "thinning": 10}
    odds = np.where(LABELS == 3, 3.0, 1.0)
    fit = aeb.regression(
        *(x, target.astype(float)),
        family=family,
        groups=LABELS,
        requires={6: 0},
        inclusion_odds=odds,
        num_draws=500,
        **settings,
    )
    want = np.where(LABELS == 3, 3 * DELTA / (1 - DELTA + 3 * DELTA), DELTA)
    want[6] = DELTA**2
    np.testing.assert_allclose(fit.inclusion, want, atol=0.03)
    np.testing.assert_allclose(fit.prior_inclusion, want, atol=0.01)
    np.testing.assert_array_equal(fit.included_draws, fit.included_draws[..., LABELS])


def test_a_design_is_read():
    names = ["a", "b", "c", "a:b"]
    design = read_design(
        names, None, always=["b"], groups=[None, "g", "g", None], requires={"a:b": ["a", 2]}
    )
    assert design.always.tolist() == [1, 2]
    assert design.parents == {3: (0, 1)}
    # A parent that is always in holds nobody back: strong heredity waits for the others.
    free = np.array([0, 3])
    assert restrict(design, free)["requires"] == {1: (0,)}
    assert tie_columns(design, free).waits.need.tolist() == [1]
    weak = design._replace(strong=False)
    assert restrict(weak, free)["requires"] is None
    assert tie_columns(weak, free) is None
    chain = read_design(names, None, requires={"c": "b", "b": ("a",)})
    assert list(chain.parents) == [1, 2]


def test_groups_are_told_as_a_whole():
    """In lists, in credible sets and in the size of the model."""
    drawn = np.zeros((1, 4, P), bool)
    drawn[..., [1, 2]] = True
    drawn[:, :3, 6] = True
    drawn[:, 3:, 7:] = True
    inclusion = drawn.mean(axis=(0, 1))
    each, none = np.zeros(P), np.zeros((1, 4))
    x, _ = numbers()
    fit = Regression(
        *(tuple(f"x{j}" for j in range(P)), 0.0, each, inclusion, each, each, each, 0.9, 1.0),
        *(each, 1.0, drawn.astype(np.float32), none, none, DELTA, V1),
        included_draws=drawn,
        prior_inclusion=np.full(P, DELTA),
    )
    fit = interpret(fit, x, np.ones(P), None, read_design(fit.names, None, groups=LABELS))
    assert fit.select(0.1).tolist() == [1, 2]
    # Of the groups of 1, 6 and 7 a mean of (0 + .25 + .75) / 3 is wrong; by columns .35.
    assert fit.select(0.34).tolist() == [1, 2, 6, 7, 8]
    sets = fit.credible_sets(0.9, purity=0.0)
    assert [own.columns.tolist() for own in sets] == [[1, 2], [6, 7, 8]]
    assert sets[1].names == ("x6", "x7", "x8")
    correlation = np.abs(np.corrcoef(x.T))[6, 7:].max()
    assert sets[1].purity == pytest.approx(correlation, rel=1e-5)
    assert fit.model_size.posterior[2] == 1.0
    prior = fit.model_size.prior
    np.testing.assert_allclose(prior, binom.pmf(np.arange(len(prior)), 5, DELTA))


def test_the_size_expected_counts_groups(monkeypatch):
    """Mutation: p over it, where p counts columns; and those always in."""
    seen = []

    def program(chains, warmup, thinning, by_members):
        def run(problem, hyper, starts, *rest):
            seen.append((hyper, starts))
            raise InterruptedError

        return run

    monkeypatch.setattr(regression_module, "_program", program)
    x, y = numbers()
    with pytest.raises(InterruptedError):
        aeb.regression(x, y, groups=LABELS, always=["x4"], expected_size=2)
    [(hyper, starts)] = seen
    assert float(hyper.b) == 4 / 2
    # Without the group that is always in, and whole.
    np.testing.assert_array_equal(starts[:, 1], starts[:, 2])
    np.testing.assert_array_equal(starts[:, 4], starts[:, 5])
    assert starts[:, :6].any()
    assert not starts[:, 6:].any()


def test_integers_and_truth_values_are_numbers():
    columns = np.array([[0, 1, 1], [3, -1, 2]])
    for kind in (np.int8, np.uint16, np.int64, bool):
        matrix = as_matrix("X", columns.astype(kind))
        assert matrix.dtype == np.float64
        np.testing.assert_array_equal(matrix, columns.astype(kind).astype(float))


X, Y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"groups": [1, 2]}, r"groups: got \[1, 2\], needs a label for each of the 3 columns of X"),
        ({"groups": "abc"}, "groups: got 'abc'"),
        ({"groups": [0.5, 1, 1]}, "groups: got 0.5 for column 0, needs an integer or a name"),
        ({"groups": [0, 0, 1], "inclusion_odds": [1, 2, 3]}, "got 2 for 'x1' and 1 for 'x0' of"),
        ({"groups": [0, 0, 1], "expected_size": 2.5}, r"expected_size: got 2.5, .*\(0, 2\]"),
        ({"groups": [0, 0, 0], "always": [1]}, "always: got all 3 columns"),
        ({"requires": ["x0"]}, r"requires: got \['x0'\], needs a mapping"),
        ({"requires": {"x7": ["x0"]}}, "requires: got 'x7', needs names of columns"),
        ({"requires": {"x1": []}}, "requires: got no column that 'x1' waits for"),
        ({"requires": {0: 1, 1: 2, 2: 0}}, "requires: got columns that wait for one another"),
        ({"requires": {0: 0}}, "requires: got columns that wait for one another"),
        ({"requires": {0: 1}, "heredity": "some"}, "heredity: got 'some'"),
    ],
)
def test_bad_designs_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        aeb.regression(X, Y, **settings)
