# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` from the outside: what it finds, its intervals, its units, its complaints.

Mutations that fail here: an interval of another level, the scale of y or of a column forgotten, the
intercept left at 0, rows dropped in compressing a tall table, draws not weighed, a column's name
misplaced, precision switched for the caller too, half of the columns expected whatever their
number.
"""

import functools
import importlib
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import aeb
from aeb.linear.support import Problem, flip, start
from aeb.linear.table import as_matrix, standardise

# By their paths, for the functions have the same names in the package.
regression_module = importlib.import_module("aeb.linear.regression")
interpret_module = importlib.import_module("aeb.linear.interpret")

QUICK = {"num_draws": 100, "warmup": 50, "thinning": 20}

# Operation by operation they would compile for longer than they run.
begin, one_flip = jax.jit(start), jax.jit(flip)


def draw(seed, n=60, p=12, noise=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    beta = np.zeros(p)
    beta[:3] = 1.5, -1.0, 0.7
    return x, 2.0 + x @ beta + noise * rng.normal(size=n), beta


@functools.cache
def fitted():
    x, y, _ = draw(0)
    return aeb.regression(x, y, **QUICK)


class Frame:
    """What we need of a data frame."""

    def __init__(self, values, columns):
        self.values, self.columns = values, columns

    def __array__(self, dtype=None, copy=None):
        return self.values


@pytest.mark.parametrize(
    ("family", "shape", "thinning"),
    [
        ("gaussian", (100, 999), 100),
        ("gaussian", (100, 1000), 20),
        ("gaussian", (71, 4088), 100),
        ("gaussian", (100, 4088), 20),
        ("gaussian", (99, 3999), 20),
        ("binomial", (71, 4088), 20),
    ],
)
def test_more_flips_where_they_cost_little(family, shape, thinning):
    assert regression_module._default_thinning(family, *shape) == thinning


@pytest.mark.parametrize(
    ("p", "told"),
    [
        pytest.param(12, {"expected_size": 2.0}, marks=pytest.mark.slow),
        pytest.param(3, {"a": 2.0, "b": 2.0}, marks=pytest.mark.slow),
    ],
)
def test_two_columns_are_expected_and_never_more_than_half(p, told):
    x, y, _ = draw(0, p=p)
    fit, same = aeb.regression(x, y, **QUICK), aeb.regression(x, y, **QUICK, **told)
    assert np.array_equal(fit.draws, same.draws)
    assert fit.delta == same.delta


def test_chains_that_agree_but_for_rounding_agree():
    """One column is in doubt, and its odds hang on no other: all draws of them are the same.

    Mutations: `LEAST_SPREAD` 0, which warns with an R-hat of 1.5; 1, which hides the chains below.
    """
    x = np.random.default_rng(3).normal(size=(200, 3))
    y = x @ [3.0, -3.0, 0.12] + np.random.default_rng(4).normal(size=200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = aeb.regression(x, y, **QUICK)
    assert 0.1 < fit.inclusion[2] < 0.9
    assert fit.r_hat.tolist() == [1.0, 1.0, 1.0]
    stuck = np.repeat([[[0.1]], [[0.2]]], 50, axis=1)
    assert regression_module._r_hat(stuck, least=regression_module.LEAST_SPREAD).min() > 100


@pytest.mark.slow
@pytest.mark.parametrize(("n", "p", "noise"), [(120, 6, 0.003), (120, 6, 0.0), (60, 300, 0.003)])
def test_columns_that_explain_all_of_y(n, p, noise):
    """Mutation: v1 without a limit, which gives nan."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p))
    y = 2 * x[:, 0] + 3 * x[:, 1] + noise * rng.normal(size=n)
    fit = aeb.regression(x, y)
    assert sorted(fit.selected) == [0, 1]
    np.testing.assert_allclose(fit.coefficients, np.r_[2, 3, np.zeros(p - 2)], atol=2e-3)
    assert 0 < fit.sigma < 0.01


@pytest.mark.slow
def test_a_column_that_is_y_is_told():
    """Mutation: the call left out. The line that is named is the caller's, not the library's."""
    x, y, _ = draw(0)
    names = ("age", "copy")
    with pytest.warns(UserWarning, match=r"^y: 'copy' alone explains all of it but less") as said:
        aeb.regression(np.c_[x[:, 0], 3 - 2 * y], y, names=names, **QUICK)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aeb.regression(x[:, :2], y, names=names, **QUICK)


def test_a_slab_so_wide_that_rounding_would_decide_is_refused():
    x, y, _ = draw(0)
    most = regression_module.ROUNDED / len(y)
    with pytest.raises(ValueError, match=rf"^v1: got .* at most {re.escape(f'{most:.4g}')}, for"):
        aeb.regression(x, y, v1=2 * most, v1_weight=np.inf, **QUICK)


@pytest.mark.slow
def test_chains_that_disagree_are_told_at_the_callers_line(monkeypatch):
    x, y, _ = draw(0)
    monkeypatch.setattr(interpret_module, "MOST_R_HAT", 0.5)
    with pytest.warns(UserWarning, match=r"chains disagree") as said:
        aeb.regression(x, y, **QUICK)
    assert said[0].filename == __file__


def test_it_finds_the_signals():
    fit, (_, _, beta) = fitted(), draw(0)
    assert sorted(fit.selected.tolist()) == [0, 1, 2]
    assert fit.selected[0] == np.argmax(fit.inclusion)
    assert np.all(np.abs(fit.coefficients - beta) < 0.5)
    assert fit.intercept == pytest.approx(2.0, abs=0.5)
    assert fit.sigma == pytest.approx(1.0, abs=0.3)
    assert fit.largest_r_hat < 1.1
    assert fit.draws.shape == (4, 100, 12)
    np.testing.assert_allclose(fit.draws.mean(axis=(0, 1)), fit.coefficients, atol=0.05)
    np.testing.assert_allclose(fit.included_draws.mean(axis=(0, 1)), fit.inclusion, atol=0.05)
    tails = np.quantile(fit.draws.reshape(-1, 12), [0.05, 0.95], axis=0).T
    np.testing.assert_allclose(fit.interval_averaged, tails, rtol=1e-6)
    # A column that is always in has one interval, but for the noise of 400 draws.
    assert fit.inclusion[0] > 0.999
    np.testing.assert_allclose(fit.interval_if_included[0], tails[0], atol=0.1)
    assert fit.intercept_draws.mean() == pytest.approx(fit.intercept, abs=0.1)


@pytest.mark.slow
def test_draws_have_equal_weight():
    """With a draw for each flip, a model that is left at once has as many draws as one that stays:
    the null column would be in half of them."""
    x, y, _ = draw(0, p=4)
    fit = aeb.regression(x, y, b=100.0, num_draws=1000, warmup=100, thinning=1)
    share = np.mean(fit.included_draws, axis=(0, 1))
    assert fit.inclusion[3] < 0.1
    np.testing.assert_allclose(share, fit.inclusion, atol=0.03)


@pytest.mark.slow
# So few draws are told of now and then.
@pytest.mark.filterwarnings("ignore:the 4 chains disagree")
def test_intervals_cover_on_an_easy_design():
    """Of 240 intervals for signals and 720 for nulls, at 80 %: within five standard errors, were
    they independent. At level 0.9 the nulls fail."""
    covered = []
    for seed in range(80):
        x, y, beta = draw(100 + seed)
        fit = aeb.regression(x, y, level=0.8, **QUICK)
        low, high = fit.interval_if_included.T
        covered.append((low <= beta) & (beta <= high))
    signals, nulls = np.mean(np.array(covered)[:, :3]), np.mean(np.array(covered)[:, 3:])
    assert abs(signals - 0.8) < 5 * (0.16 / 240) ** 0.5
    assert abs(nulls - 0.8) < 5 * (0.16 / 720) ** 0.5


def test_a_wider_level_is_a_wider_interval():
    x, y, _ = draw(0)
    wide = aeb.regression(x, y, level=0.99, **QUICK)
    for name in ("interval_if_included", "interval_averaged"):
        narrow_low, narrow_high = getattr(fitted(), name).T
        low, high = getattr(wide, name).T
        assert np.all(low <= narrow_low)
        assert np.all(high >= narrow_high)
        assert np.all(high[:3] - low[:3] > 1.2 * (narrow_high - narrow_low)[:3])
    np.testing.assert_array_equal(wide.inclusion, fitted().inclusion)


def test_units_carry_over():
    x, y, _ = draw(0)
    scale = np.geomspace(1e-3, 1e3, x.shape[1])
    moved = aeb.regression(scale * x + 7 * scale, 100.0 * y - 50.0, **QUICK)
    fit = fitted()
    np.testing.assert_allclose(moved.inclusion, fit.inclusion, rtol=1e-6, atol=1e-9)
    for name in ("coefficients", "coefficients_if_included"):
        want = getattr(fit, name) * 100 / scale
        np.testing.assert_allclose(getattr(moved, name), want, rtol=1e-6)
    for name in ("interval_if_included", "interval_averaged"):
        want = getattr(fit, name) * 100 / scale[:, None]
        np.testing.assert_allclose(getattr(moved, name), want, rtol=1e-4, atol=1e-7)
    assert moved.sigma == pytest.approx(100 * fit.sigma, rel=1e-6)
    np.testing.assert_allclose(
        moved.predict(scale * x + 7 * scale), 100 * fit.predict(x) - 50, rtol=1e-6
    )
    np.testing.assert_allclose(
        moved.intercept_draws + 7 * moved.draws @ scale, 100 * fit.intercept_draws - 50, rtol=1e-3
    )


@pytest.mark.parametrize(("x_unit", "y_unit"), [(1e200, 1e200), (1e-25, 1.0), (1.0, 1e-25)])
def test_units_far_from_one(x_unit, y_unit):
    x, y, _ = draw(0)
    fit, want = aeb.regression(x_unit * x, y_unit * y, **QUICK), fitted()
    np.testing.assert_allclose(fit.inclusion, want.inclusion, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fit.coefficients, want.coefficients * (y_unit / x_unit), rtol=1e-6)
    assert fit.largest_r_hat == pytest.approx(want.largest_r_hat, rel=1e-4)


@pytest.mark.slow
def test_the_answer_does_not_hang_on_the_start(monkeypatch):
    """Chains that start at as many wrong columns as there may be, against those that start at none:
    the latents learned, and what is found, are the same. Mutation: no warm-up."""
    x, y, beta = draw(2, n=60, p=120)
    wrong = np.flatnonzero(beta == 0)[:15]

    def fit(included):
        def starts(rng, chains, n, p):
            return np.tile(np.isin(np.arange(p), included), (chains, 1))

        monkeypatch.setattr(regression_module, "_starts", starts)
        return aeb.regression(x, y)

    near, far = fit([]), fit(wrong)
    np.testing.assert_allclose(far.inclusion, near.inclusion, atol=0.05)
    np.testing.assert_allclose(far.coefficients, near.coefficients, atol=0.05)
    assert far.delta == pytest.approx(near.delta, rel=0.2)
    assert far.v1 == pytest.approx(near.v1, rel=0.2)
    assert near.inclusion[:2].min() > 0.9


def test_predictions_are_of_the_mean():
    fit, (x, y, _) = fitted(), draw(0)
    np.testing.assert_allclose(fit.predict(x), fit.intercept + x @ fit.coefficients, rtol=1e-12)
    assert np.mean((fit.predict(x) - y) ** 2) < 1.3
    with pytest.raises(ValueError, match="11 columns, but 12"):
        fit.predict(x[:, 1:])
    with pytest.raises(ValueError, match="finite"):
        fit.predict(np.full((1, 12), np.nan))
    # No names were given at the fit, so those of a frame say nothing.
    np.testing.assert_array_equal(fit.predict(Frame(x, list("abcdefghijkl"))), fit.predict(x))


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_frame_of_other_columns_is_refused(by_hand):
    """Mutation: names looked at only where some are those fitted. Renamed and reordered columns
    would be read by position."""
    x, y, _ = draw(0, p=3)
    names = ["x0", "age", "height"]
    given = {"names": names} if by_hand else {}
    fit = aeb.regression(x if by_hand else Frame(x, names), y, **given, **QUICK)
    np.testing.assert_array_equal(fit.predict(Frame(x, names)), fit.predict(x))
    for columns, says in (
        (["age", "x0", "height"], r"another order .* column 0 is 'age' and was 'x0'; .*fit.names"),
        (["height_cm", "years", "x"], r"lacks 'x0', 'age', 'height' and has 'height_cm', .*rename"),
        (["x0", "age", "size"], r"lacks 'height' and has 'size'; .*x.to_numpy\(\)"),
        (["x0", "age", "age"], "lacks 'height'; rename"),
        (["x0", "age", "height", "age"], r"it has 'age' more often than was fitted"),
        (["x0", "age", "height", "more"], r"it has 'more'; pass x\[list\(fit.names\)\]"),
    ):
        values = np.c_[x, x[:, :1]][:, : len(columns)]
        with pytest.raises(ValueError, match=f"^x: .*{says}"):
            fit.predict(Frame(values, columns))


def test_columns_are_named_where_they_have_names():
    """Mutation: the position alone."""
    holes = Frame(HOLES, ["a", "b", "c"])
    text = Frame(np.array([[1.0, "red"]] * 8, object), ["size", "colour"])
    with pytest.raises(ValueError, match=r"^X: 3 of .* the first in row 0, column 0 \('a'\)"):
        aeb.regression(holes, Y)
    with pytest.raises(ValueError, match=r"column 0 \('u'\)"):
        aeb.regression(HOLES, Y, names=["u", "v", "w"])
    counts = r"column 0; missing by column: column 0 \(1\), .*drop the 3 of 8 rows that have some"
    with pytest.raises(ValueError, match=counts):
        aeb.regression(HOLES, Y)
    with pytest.raises(TypeError, match=r"^X: .*not numbers, the first in column 1 \('colour'\)"):
        aeb.regression(text, Y)


def test_a_fit_is_short_in_a_session():
    """Mutation: the repr of a NamedTuple, with every draw in it."""
    text = repr(fitted())
    assert text.startswith(
        "Regression(12 columns, 3 of them likely in the model: x0, x1, x2; sigma"
    )
    assert len(text) < 150


def test_a_tall_table_is_compressed_without_loss(x64):
    x, y, _ = draw(3, n=40, p=6)
    data = standardise(as_matrix("X", x), y, "abcdef")
    short = regression_module._compress(data.x, data.y, 1e-4, 40.0)
    assert short.x.shape == (6, 6)
    full = Problem(jnp.asarray(data.x), jnp.asarray(data.y), jnp.asarray(1e-4), jnp.asarray(40.0))
    included = jnp.asarray([True, False, True, False, False, False])
    for k in range(3):
        moved = [
            one_flip(own, begin(own, included, 0.1, jnp.asarray(0.3)), jax.random.key(k))
            for own in (short, full)
        ]
        for got, want in zip(moved[0][1], moved[1][1], strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5)
        for name in ("included", "leverage", "score", "misfit"):
            got, want = (getattr(chain, name) for chain, _ in moved)
            np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.slow
def test_more_columns_than_rows_and_the_same_answer_from_every_start():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(50, 300))
    y = 2 * x[:, 10] - 1.5 * x[:, 200] + rng.normal(size=50)
    fits = [aeb.regression(x, y, key=jax.random.key(k), **QUICK) for k in (0, 1)]
    assert all(sorted(fit.selected.tolist()) == [10, 200] for fit in fits)
    assert np.abs(fits[0].inclusion - fits[1].inclusion).max() < 0.1
    assert not np.array_equal(fits[0].draws, fits[1].draws)
    np.testing.assert_allclose(fits[0].coefficients, fits[1].coefficients, atol=0.1)
    again = aeb.regression(x, y, key=jax.random.key(1), **QUICK)
    np.testing.assert_array_equal(again.draws, fits[1].draws)


@pytest.mark.slow
def test_many_small_coefficients_are_a_ridge_regression():
    """The error beside ridge regression with its penalty chosen by cross-validation, and beside a
    spike that is a point. On sparse data the two spikes agree. Mutations: v0 never
    learned, the small parts left out of the coefficients, out of the draws, taken for included."""
    from sklearn.linear_model import RidgeCV

    rng = np.random.default_rng(3)
    n, p = 120, 150
    x = rng.normal(size=(n, p))
    beta = rng.normal(size=p) * (2 / p) ** 0.5
    y = x @ beta + rng.normal(size=n)
    dense = aeb.regression(x, y, **QUICK)
    point = aeb.regression(x, y, v0=0.0, **QUICK)
    ridge = RidgeCV(np.geomspace(1, 1e4, 40)).fit(x, y).coef_
    errors = [np.sum((own - beta) ** 2) for own in (dense.coefficients, point.coefficients, ridge)]
    assert errors[0] < 0.8 * errors[1]
    assert errors[0] < 1.1 * errors[2]
    assert dense.v0 > 0.2 * 2 / p
    assert point.v0 == 0 == np.abs(point.draws[~point.included_draws]).max()
    np.testing.assert_allclose(dense.draws.mean(axis=(0, 1)), dense.coefficients, atol=0.05)
    assert np.mean(dense.included_draws) < 0.3 < 1 == np.mean(dense.draws != 0)
    assert np.all(dense.inclusion < 1)
    sparse = x @ np.r_[1.5, -1.0, 0.7, np.zeros(p - 3)] + y - x @ beta
    fits = [aeb.regression(x, sparse, v0=v0, **QUICK) for v0 in (None, 0.0)]
    np.testing.assert_allclose(fits[0].inclusion, fits[1].inclusion, atol=0.1)
    np.testing.assert_allclose(fits[0].coefficients, fits[1].coefficients, atol=0.05)


@pytest.mark.slow
def test_memory_is_linear_in_columns():
    def bytes_of(p):
        with jax.enable_x64(True):
            x = np.zeros((20, p))
            data = standardise(x + np.arange(20)[:, None], np.arange(20.0), [""] * p)
            problem = regression_module._compress(data.x, data.y, 1e-4, 20.0)
            hyper = regression_module.Hyper(*(jnp.asarray(v) for v in (2.0, 2.0, 0.3, 10.0)))
            run = regression_module._program(2, 1, 3, False)
            spike = jnp.asarray(0.0), jnp.asarray(0)
            starts, chi = np.zeros((2, p), bool), np.ones((2, 2, 5))
            given = (problem, hyper, starts, spike, chi, jax.random.key(0))
            sizes = run.lower(*given).compile().memory_analysis()
        return sizes.temp_size_in_bytes + sizes.output_size_in_bytes

    small, large = bytes_of(1000), bytes_of(4000)
    assert 2 < large / small < 4.4


@pytest.mark.slow
def test_odd_tables():
    x, y, _ = draw(5, n=30, p=4)
    # Without noise: what is left is the prior's, v1 having grown for as long as the warm-up lasts.
    exact = aeb.regression(x, x @ np.array([2.0, 0, 0, -1]))
    np.testing.assert_allclose(exact.coefficients, [2, 0, 0, -1], atol=1e-2)
    assert exact.sigma < 0.05
    one = aeb.regression(x[:, :1], 3 * x[:, 0] + 0.1 * y, **QUICK)
    assert one.inclusion[0] > 0.99
    assert one.summary().count("\n") == 3  # its heads, its column, two lines on the fit
    twice = aeb.regression(np.c_[x, x[:, 0]], 3 * x[:, 0] + y, **QUICK)
    assert twice.coefficients[0] + twice.coefficients[4] == pytest.approx(4.5, abs=1.0)
    three = aeb.regression(x[:3], [1.0, 2.0, 4.0], **QUICK)
    assert np.all(np.isfinite(three.coefficients))
    whole = aeb.regression((10 * x).astype(int), y.astype(np.float32)[:, None], **QUICK)
    assert whole.coefficients.dtype == np.float64


def test_a_name_stands_for_one_column():
    x, y, _ = draw(0, p=3)
    with pytest.raises(ValueError, match=r"^names: more than one column is called 'a'; rename"):
        aeb.regression(x, y, names=["a", "b", "a"])


def test_a_yes_or_no_is_told_apart_from_a_number():
    """Mutations: no warning; a warning for each y of whole numbers."""
    x, y, _ = draw(0)
    says = r'^y: it is 0 or 1 .* pass y and family="binomial"$'
    with pytest.warns(UserWarning, match=says) as said:
        aeb.regression(x, y > 0, **QUICK)
    assert said[0].filename == __file__
    with pytest.warns(UserWarning, match=r'^y: it is 1 or 2 .* pass y == 2 and family="binomial"$'):
        aeb.regression(x, 1 + (y > 0), **QUICK)
    aeb.regression(x, np.round(y), **QUICK)


def test_names_and_summary():
    x, y, _ = draw(0)
    names = [f"gene {j}" for j in range(12)]
    fit = aeb.regression(x, y, names=names, **QUICK)
    assert fit.names == tuple(names)
    lines = fit.summary(4).splitlines()
    assert len(lines) == 7
    first = int(fit.selected[0])
    assert lines[1].startswith(f"gene {first} ")
    assert f"{fit.coefficients[first]:.4g}" in lines[1]
    assert "90% interval" in lines[0]
    assert "97.5% interval" in fit._replace(level=0.975).summary()
    assert "1 more column," in fit.summary(11)
    with pytest.raises(ValueError, match="rows"):
        fit.summary(0)
    assert lines[-2].startswith("3 of 12 columns with inclusion above 0.5")
    assert "8 more columns" in lines[-2]
    assert "not shown" not in lines[-2]
    assert "above 0.5, 2 of them not shown: raise rows" in fit.summary(1).splitlines()[-2]

    assert aeb.regression(Frame(x, names), y, **QUICK).names == tuple(names)


def test_precision_is_the_callers_own():
    assert not jax.config.jax_enable_x64
    fitted()
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == jnp.float32


X, Y, _ = draw(1, n=8, p=3)
HOLES = np.where(np.eye(8, 3, dtype=bool), np.nan, X)
FLAT = np.c_[X, np.full(8, 0.1)]
LONG = np.c_[np.arange(20_000.0) % 7, np.full(20_000, 0.1), np.full(20_000, 1e6 + 0.1)]


@pytest.mark.parametrize(
    ("x", "y", "settings", "error", "says"),
    [
        (HOLES, Y, {}, ValueError, "X: 3 of its numbers are not finite, the first in row 0"),
        (X, np.where(Y.mean() < Y, np.inf, Y), {}, ValueError, "y: .* not finite"),
        (FLAT, Y, {}, ValueError, r"X: 1 column is constant \(x3\)"),
        (LONG, LONG[:, 0], {}, ValueError, r"X: 2 columns are constant \(x1, x2\)"),
        (LONG[:, :1], LONG[:, 2], {}, ValueError, "y: it is constant"),
        (1e-40 * X, Y, {}, ValueError, "X: y is up to .* and x0 up to .*; measure them"),
        (X, 1e40 * Y, {}, ValueError, "X: y is up to"),
        (X.astype(str).astype(object), Y, {}, TypeError, "X: got entries that are not numbers"),
        (
            X,
            Y.astype(str).astype(object),
            {},
            TypeError,
            "as numbers, two classes by y == the name",
        ),
        (np.ma.masked_less(X, 0), Y, {}, ValueError, "X: some of its entries are masked"),
        (X, Y.astype("timedelta64[s]"), {}, TypeError, "y: expected real numbers"),
        (scipy.sparse.csr_array(HOLES), Y, {}, ValueError, "X: 3 of its numbers are not finite"),
        (X, np.ones(8), {}, ValueError, "y: it is constant"),
        (X[:1], Y[:1], {}, ValueError, "X: got 1 rows, needs at least 3"),
        (X[:0], Y[:0], {}, ValueError, "X: got 0 rows"),
        (X, Y[:-1], {}, ValueError, "y: got 7 numbers for the 8 rows of X"),
        (X, np.c_[Y, Y], {}, ValueError, r"y: got shape \(8, 2\)"),
        (X[0], Y, {}, ValueError, r"X: got shape \(3,\)"),
        (X[:, :0], Y, {}, ValueError, r"X: got shape \(8, 0\)"),
        (X + 1j, Y, {}, TypeError, "X: expected real numbers, got complex128"),
        (X, Y + 0j, {}, TypeError, "y: expected real numbers, got complex128"),
        (X.astype(str), Y, {}, TypeError, r"X: expected real numbers, got <U\d+; encode text and"),
        (X.astype(object) + 0, [*Y[:-1], "red"], {}, TypeError, "y: expected real numbers"),
        ([[1.0, "a"]] * 8, Y, {}, TypeError, "X: expected real numbers"),
        ([[1.0], [1.0, 2.0]], Y, {}, ValueError, "X: its rows differ in length"),
        (np.array([[None]] * 8), Y, {}, (TypeError, ValueError), "X: "),
        (X, Y, {"names": ["a"]}, ValueError, "names: .* each of the 3 columns"),
        (X, Y, {"names": "abc"}, ValueError, "names"),
        (X, Y, {"level": 1.0}, ValueError, "level"),
        (X, Y, {"num_chains": 0}, ValueError, "num_chains"),
        (X, Y, {"num_draws": 5}, ValueError, "num_draws"),
        (X, Y, {"num_draws": 12}, ValueError, "num_draws: got 12, needs to be a multiple of 5"),
        (X, Y, {"warmup": 3}, ValueError, "warmup"),
        (X, Y, {"thinning": 0}, ValueError, "thinning"),
        (X, Y, {"a": 0.5}, ValueError, "a:"),
        (X, Y, {"b": float("nan")}, ValueError, "b:"),
        (X, Y, {"v1": 0.0}, ValueError, "v1"),
        (X, Y, {"v1_weight": -1.0}, ValueError, "v1_weight"),
        (X, Y, {"v0": -0.1}, ValueError, "v0: got -0.1"),
        (X, Y, {"v0": 0.3}, ValueError, r"v0: got 0.3, needs to be in \[0, 0.3\)"),
        (X, Y, {"nu": 0.0}, ValueError, "nu"),
        (X, Y, {"lam": float("inf")}, ValueError, "lam"),
        (X, Y, {"key": 3}, TypeError, "key"),
    ],
)
def test_bad_input_is_named(x, y, settings, error, says):
    with pytest.raises(error, match=says):
        aeb.regression(x, y, **settings)


# The spike's width is learned slowly, and the data say little of it: see "A spike that widens
# slowly" in the lab notes. To be mended in the model; `v0=0`, below, is not concerned.
@pytest.mark.slow
@pytest.mark.xfail(reason="v0 has not arrived after the default warm-up", strict=True)
def test_a_longer_warmup_does_not_change_what_is_found():
    assert _gap_after_a_longer_warmup() < 0.1


@pytest.mark.slow
def test_a_longer_warmup_does_not_change_what_is_found_with_a_point_mass():
    assert _gap_after_a_longer_warmup(v0=0.0) < 0.1


def _gap_after_a_longer_warmup(**settings):
    """Return the largest change of an inclusion probability of diabetes, ten columns."""
    x, y = pytest.importorskip("sklearn.datasets").load_diabetes(return_X_y=True)
    fits = [aeb.regression(x, y, warmup=warmup, **settings) for warmup in (125, 1000)]
    return np.abs(fits[0].inclusion - fits[1].inclusion).max()
