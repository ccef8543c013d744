# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` with weights, prior odds and other responses, against all models of a table.

For normal noise the evidence of each of the 2^p sets of columns is in closed form. For the others
it and the means of the coefficients are worked out by importance sampling about the mode, in numpy,
from the densities as a textbook has them: no weights that are drawn, no Polya-Gamma variables, no
flips.
"""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit, gammaln

import aeb
import aeb.linear.interpret as interpret_module
from aeb.linear.families import FAMILIES, Response, Rows, shapes
from aeb.linear.weighted import condense

N, P = 36, 6
V1, DELTA = 0.5, 0.3
SETTINGS = {"a": 3e6, "b": 7e6, "v1": V1, "v1_weight": math.inf, "thinning": 10}
"""Which hold delta and v1."""

NU, LAM = 1.0, 1e-4


def columns():
    rng = np.random.default_rng(11)
    x = rng.normal(size=(N, P))
    x[:, 1] += x[:, 0]
    return x, rng


def standard(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def reference(log_likelihood, x, variances, extra=()):
    """Evidence and means of [intercept, always, the others], of one model.

    `log_likelihood(eta, *more)` takes f64[draws, n]; `extra` are (start, log prior) of
    more parameters. A variance of None is a flat prior, of 0 leaves out.
    """
    kept = [j for j, own in enumerate(variances) if own != 0]
    design = np.c_[np.ones(len(x)), x][:, kept]
    prior = [variances[j] for j in kept]

    def log_joint(theta):
        theta = np.atleast_2d(theta)
        beta, more = theta[:, : len(kept)], theta[:, len(kept) :].T
        total = sum(own(part) for (_, own), part in zip(extra, more, strict=True))
        scale = np.exp(more[0]) if extra and extra[0][1] is log_sigma else np.ones(len(theta))
        for part, own in zip(beta.T, prior, strict=True):
            if own is not None:
                total = (
                    total
                    - 0.5 * np.log(2 * np.pi * own * scale**2)
                    - part**2 / (2 * own * scale**2)
                )
        return total + log_likelihood(beta @ design.T, *more)

    begin = np.concatenate([np.zeros(len(kept)), [start for start, _ in extra]])
    found = scipy.optimize.minimize(lambda theta: -log_joint(theta)[0], begin)
    root = np.linalg.cholesky(np.linalg.inv(-hessian(log_joint, found.x)))
    rng = np.random.default_rng(0)
    draws, freedom, d = 20_000, 5.0, len(begin)
    z = rng.normal(size=(draws, d)) / np.sqrt(rng.chisquare(freedom, size=(draws, 1)) / freedom)
    theta = found.x + 1.1 * z @ root.T
    density = gammaln((freedom + d) / 2) - gammaln(freedom / 2) - d / 2 * np.log(freedom * np.pi)
    density -= np.log(1.1 * np.diag(root)).sum()
    density = density - (freedom + d) / 2 * np.log1p(np.sum(z**2, axis=1) / freedom)
    logs = log_joint(theta) - density
    weights = np.exp(logs - logs.max())
    assert weights.sum() ** 2 / np.sum(weights**2) > 1000
    means = np.zeros(len(variances))
    means[kept] = weights @ theta[:, : len(kept)] / weights.sum()
    more = weights @ theta[:, len(kept) :] / weights.sum()
    return math.log(weights.mean()) + logs.max(), means, more


def hessian(function, at, step=1e-3):
    """Second differences."""
    d = len(at)
    moves = step * np.eye(d)
    corners = [at + s * moves[i] + t * moves[j] for i, j, s, t in places(d)]
    values = function(np.array(corners)) * [s * t for _, _, s, t in places(d)]
    return values.reshape(d, d, 4).sum(axis=2) / (4 * step**2)


def places(d):
    return list(itertools.product(range(d), range(d), (-1, 1), (-1, 1)))


def log_sigma(value):
    """Log density of log sigma where sigma^2 ~ IG(NU / 2, NU LAM / 2)."""
    return -NU * value - NU * LAM / 2 * np.exp(-2 * value)


def over_models(log_likelihood, x, base, v0, extra=(), always=0, odds=None):
    """Inclusion, and means of intercept, coefficients and extra parameters, over all models."""
    odds = np.ones(P) if odds is None else odds
    prior = DELTA * odds / (1 - DELTA + DELTA * odds)
    logs, rows = [], []
    for bits in itertools.product([False, True], repeat=P - always):
        chosen = np.array((True,) * always + bits)
        variances = [base] * (1 + always) + [V1 if own else v0 for own in bits]
        log, means, more = reference(log_likelihood, x, variances, extra)
        logs.append(log + np.sum(np.where(chosen, np.log(prior), np.log1p(-prior))[always:]))
        rows.append(np.concatenate([chosen, means, more]))
    weights = np.exp(np.array(logs) - max(logs))
    rows = weights @ np.array(rows) / weights.sum()
    return rows[:P], rows[P], rows[P + 1 : 2 * P + 1], rows[2 * P + 1 :]


def agrees(fit, x, want, *, scale=1.0, centre=0.0):
    """Within .02 in every inclusion probability and a twentieth in every standardised mean."""
    inclusion, intercept, means, _ = want
    np.testing.assert_allclose(fit.inclusion, inclusion, atol=0.02)
    assert np.ptp(np.delete(inclusion, fit.always)) > 0.2
    np.testing.assert_allclose(fit.coefficients * x.std(axis=0) / scale, means, atol=0.05)
    at_mean = fit.intercept + fit.coefficients @ x.mean(axis=0)
    assert (at_mean - centre) / scale == pytest.approx(intercept, abs=0.05)
    assert fit.largest_r_hat < 1.05
    np.testing.assert_allclose(fit.included_draws.mean(axis=(0, 1)), inclusion, atol=0.04)
    np.testing.assert_allclose(fit.draws.mean(axis=(0, 1)), fit.coefficients, atol=0.06)


def of_mean(fit, x, y, **given):
    """Predictions have the mean of y: those of the intercept's equation."""
    assert fit.predict(x, **given).mean() == pytest.approx(y.mean(), rel=0.1)


def normal_models(x, y, v1, v0, delta, degrees, rest=NU * LAM):
    """Inclusion and means of the coefficients, of centred data with normal noise."""
    p = x.shape[1]
    models = np.array(list(itertools.product([False, True], repeat=p)))
    root = np.sqrt(np.where(models, v1, v0))
    gram, score = x.T @ x, x.T @ y
    inner = np.eye(p) + root[:, :, None] * gram * root[:, None, :]
    means = root * np.linalg.solve(inner, (root * score)[..., None])[..., 0]
    misfit = y @ y - means @ score + rest
    logs = np.sum(np.where(models, np.log(delta), np.log1p(-delta)), axis=1)
    logs -= 0.5 * np.linalg.slogdet(inner)[1] + 0.5 * degrees * np.log(misfit)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    return weights @ models, weights @ means


def crime():
    """As the crimes of 47 states of the USA: 15 columns, some of them nearly the same."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(47, 15)) + 1.2 * rng.normal(size=(47, 3)) @ rng.normal(size=(3, 15))
    x[:, 4] = x[:, 3] + 0.1 * rng.normal(size=47)
    beta = np.zeros(15)
    beta[[0, 2, 3, 9, 12, 13]] = 0.5, 0.8, 0.7, -0.5, 1.0, -0.3
    return x, x @ beta + 1.5 * rng.normal(size=47)


def diabetes():
    from sklearn.datasets import load_diabetes

    return load_diabetes(return_X_y=True)


@pytest.mark.slow
@pytest.mark.parametrize("data", [crime, diabetes])
@pytest.mark.parametrize("v0", [None, 0.0, 0.01])
def test_inclusion_is_that_of_all_models(data, v0):
    """At the latents that were learned, within .01. Mutations: the clip of D at 2, v0 held."""
    x, y = data()
    fit = aeb.regression(x, y, v0=v0, num_draws=500)
    z = (y - y.mean()) / y.std()
    inclusion, means = normal_models(standard(x), z, fit.v1, fit.v0, fit.delta, len(y) - 1 + NU)
    assert np.ptp(inclusion) > 0.3
    np.testing.assert_allclose(fit.inclusion, inclusion, atol=0.01)
    np.testing.assert_allclose(fit.coefficients * x.std(axis=0) / y.std(), means, atol=0.01)


@pytest.mark.slow
def test_weights_an_offset_and_columns_always_in():
    """Mutations: the weights of x but not of y, one degree of freedom for the base, the offset
    added, the intercept of weighted data at its mean, sigma of the average weight."""
    x, rng = columns()
    weights, offset = rng.uniform(0.3, 3.0, size=N), 3 * rng.normal(size=N)
    noise = rng.normal(size=N) / np.sqrt(weights)
    y = offset + 3 + 0.5 * x[:, 0] - 0.5 * x[:, 3] + noise
    settings = SETTINGS | {"v0": 0.0, "offset": offset, "always": ["x2"], "num_draws": 500}
    fit = aeb.regression(x, y, weights=weights, **settings)
    z = y - offset
    scale, root = z.std(), np.sqrt(weights / weights.mean())[:, None]
    base, free = root * np.c_[np.ones(N), standard(x)[:, 2]], [0, 1, 3, 4, 5]
    data = root * np.c_[standard(x)[:, free], (z - z.mean()) / scale]
    rest = data - base @ np.linalg.lstsq(base, data)[0]
    degrees = N - 2 + NU
    inclusion, means = normal_models(rest[:, :-1], rest[:, -1], V1, 0.0, DELTA, degrees)
    assert np.ptp(inclusion) > 0.2
    np.testing.assert_allclose(fit.inclusion[free], inclusion, atol=0.01)
    assert fit.inclusion[2] == 1
    got = fit.coefficients * x.std(axis=0) / scale
    np.testing.assert_allclose(got[free], means, atol=0.005)
    alpha = np.linalg.lstsq(base, data[:, -1] - data[:, :-1] @ means)[0]
    assert got[2] == pytest.approx(alpha[1], abs=0.005)
    at_mean = fit.intercept + fit.coefficients @ x.mean(axis=0) - z.mean()
    assert at_mean / scale == pytest.approx(alpha[0], abs=0.005)
    # What is drawn has the uncertainty of weighted least squares with the columns that matter.
    design = np.c_[np.ones(N), x[:, [0, 3, 2]]]
    error = fit.sigma * np.linalg.inv(design.T @ (weights[:, None] * design))[3, 3] ** 0.5
    assert fit.draws[..., 2].std() == pytest.approx(error, rel=0.15)
    assert fit.draws[..., 2].mean() == pytest.approx(fit.coefficients[2], abs=0.02)
    left = np.sqrt(weights) * (z - fit.predict(x))
    assert fit.sigma == pytest.approx(left.std() * (N / (N - 4)) ** 0.5, rel=0.1)
    # The unit of the weights is that of sigma^2; a row of weight 0 is none.
    more = np.r_[7 * weights, 0.0]
    longer = settings | {"offset": np.r_[offset, 9.0]}
    other = aeb.regression(np.r_[x, [[50.0] * P]], np.r_[y, 1e3], weights=more, **longer)
    np.testing.assert_array_equal(other.inclusion, fit.inclusion)
    assert other.sigma == pytest.approx(7**0.5 * fit.sigma, rel=1e-9)


@pytest.mark.slow
# Probabilities that are all but constant have no R-hat to speak of.
@pytest.mark.filterwarnings("ignore:the 4 chains disagree", "ignore:y. it is 0 or 1")
@pytest.mark.parametrize("family", ["gaussian", "binomial"])
def test_where_y_says_nothing_the_prior_is_left(family):
    """With a slab as narrow as a point. Mutations: the odds left out of D, or out of delta's
    target; b = 2 whatever the size expected."""
    x, rng = columns()
    y = (rng.random(N) < 0.5).astype(float)
    odds = np.array([1.0, 1.0, 4.0, 4.0, 0.25, 0.25])
    settings = {"v1": 1e-9, "v1_weight": math.inf, "v0": 0.0, "family": family}
    fit = aeb.regression(x, y, expected_size=1.5, num_draws=1000, **settings)
    np.testing.assert_allclose(fit.inclusion, 1.5 / P, atol=0.02)
    fit = aeb.regression(x, y, expected_size=1.5, inclusion_odds=odds, num_draws=1000, **settings)
    delta = 1.5 / P
    np.testing.assert_allclose(fit.inclusion, delta * odds / (1 - delta + delta * odds), atol=0.03)
    assert fit.delta == pytest.approx(delta, abs=0.02)


REPEATS = {"a": 2.0, "b": 4.0, "v1": 0.5, "num_chains": 2, "warmup": 5, "thinning": 5}


def test_repeated_rows_with_normal_noise():
    """Are those rows, to rounding. Mutations: the mean of the rows for that of the repeats; degrees
    of freedom by rows; the average weight over rows; repeats that standardising does not see."""
    x, rng = columns()
    times, weights = rng.integers(0, 4, size=N), rng.uniform(0.3, 3.0, size=N)
    y = 3 + 0.5 * x[:, 0] - 0.5 * x[:, 3] + rng.normal(size=N) / np.sqrt(weights)
    settings = REPEATS | {"always": ["x2"], "num_draws": 10}
    fit = aeb.regression(x, y, weights=weights, repeats=times, **settings)
    each = [np.repeat(part, times, axis=0) for part in (x, y, weights)]
    other = aeb.regression(each[0], each[1], weights=each[2], **settings)
    for name in ("inclusion", "coefficients", "sigma", "v1", "delta", "intercept"):
        np.testing.assert_allclose(getattr(fit, name), getattr(other, name), rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["student_t", "binomial", "negative_binomial"])
def test_a_row_that_is_repeated(family):
    """Is those rows, up to Monte Carlo error. Mutations: a row of 4 as one whose noise is a quarter
    (t); repeats left out of the trials; r or f learned from rows that count once."""
    x, rng = columns()
    times = np.where(x[:, 0] * x[:, 3] > 0, 4, rng.integers(0, 3, size=N))
    eta = 0.6 * x[:, 0] - 0.4 * x[:, 3]
    y = {
        "student_t": eta + rng.standard_t(1.5, size=N),
        "binomial": (rng.random(N) < expit(2 * eta)).astype(float),
        "negative_binomial": rng.poisson(rng.gamma(1.0, np.exp(eta))).astype(float),
    }[family]
    settings = SETTINGS | {"family": family, "v0": 0.0, "num_draws": 2000}
    fit = aeb.regression(x, y, repeats=times, **settings)
    other = aeb.regression(np.repeat(x, times, axis=0), np.repeat(y, times), **settings)
    np.testing.assert_allclose(fit.inclusion, other.inclusion, atol=0.02)
    np.testing.assert_allclose(fit.coefficients, other.coefficients, atol=0.02)
    np.testing.assert_allclose(fit.draws.std(axis=(0, 1)), other.draws.std(axis=(0, 1)), atol=0.02)
    assert fit.sigma == pytest.approx(other.sigma, rel=0.03)
    for name in ("freedom_draws", "concentration_draws"):
        own, same = getattr(fit, name), getattr(other, name)
        assert own.size == same.size
        assert not own.size or np.log(own).mean() == pytest.approx(np.log(same).mean(), abs=0.1)
    once = aeb.regression(x, y, **settings)
    assert np.abs(once.inclusion - other.inclusion).max() > 0.05


@pytest.mark.parametrize("precision", [0.0, 0.2])
@pytest.mark.parametrize("wide", [False, True])
def test_condensed_rows_say_the_same(x64, precision, wide):
    """x'x, x'z and z'z under the weights that the base leaves, with a column that stands twice.
    Mutations: the squares that QR leaves out, the prior's precision for its root."""
    x, rng = columns()
    x = x[:4] if wide else np.c_[x, x[:, 0]]
    n = len(x)
    base, z = np.c_[np.ones(n), rng.normal(size=n)], rng.normal(size=n)
    weights, none = rng.uniform(0.2, 2.0, size=n), np.zeros(1)
    parts = x, base, np.full(2, precision), z, weights, np.zeros(n), none, none
    problem, _ = condense(
        Rows(*(jnp.asarray(part) for part in parts)),
        Response(jnp.asarray(weights), jnp.asarray(z), jnp.zeros(())),
        10.0,
        0.3,
        known_sigma=False,
        log_odds=None,
    )
    scaled = weights[:, None] * base
    left = np.diag(weights) - scaled @ np.linalg.solve(
        base.T @ scaled + precision * np.eye(2), scaled.T
    )
    assert problem.x.shape == ((6, 6) if wide else (7, 7))
    np.testing.assert_allclose(problem.x.T @ problem.x, x.T @ left @ x, atol=1e-10)
    np.testing.assert_allclose(problem.x.T @ problem.y, x.T @ left @ z, atol=1e-10)
    assert float(problem.y @ problem.y + problem.rest) == pytest.approx(z @ left @ z + 0.3)


X, RNG = columns()
Y = (X[:, 0] > 0).astype(float)


@pytest.mark.parametrize(
    ("y", "settings", "says"),
    [
        (Y, {"family": "poisson"}, "family: got 'poisson'"),
        (Y + 1, {"family": "binomial"}, "y: got .* in row .*, needs to be 0 or 1; for shares"),
        (Y / 2, {"family": "binomial"}, "y: got .* 0 or 1"),
        (2 * Y, {"family": "binomial", "weights": 2 + Y}, "y: got 2 in row .*a share"),
        (Y / 2, {"family": "negative_binomial"}, "y: got 0.5 in row .*, needs to be a count"),
        (-Y, {"family": "negative_binomial"}, "y: got -1 in row .* count"),
        (
            1e8 * Y,
            {"family": "negative_binomial"},
            r"y: got 1e.* at most 1e7; .*log\(y",
        ),
        (Y, {"family": "binomial", "weights": 1e8 + Y}, "weights: got 1e.* trials, at most 1e7"),
        (np.zeros(N), {"family": "binomial"}, "y: it is constant"),
        (Y, {"weights": Y - 1}, "weights: got -1 in row .*, needs to be at least 0"),
        (Y, {"weights": Y[1:]}, "weights: got 35 numbers for the 36 rows"),
        (Y, {"weights": np.arange(N) < 2}, "X: got 2 rows of positive weight, needs at least 3"),
        (Y, {"weights": np.full(N, np.nan)}, "weights: 36 of its numbers are not finite"),
        (Y, {"repeats": Y - 1}, "repeats: got -1 in row .*, needs to be at least 0"),
        (Y, {"repeats": Y / 9}, "X: got .* rows, as repeats counts, needs at least 3"),
        (Y, {"repeats": 1e6 + Y}, r"repeats: got a sum of .* needs at most 1e\+07"),
        (
            Y,
            {"family": "binomial", "weights": 1e5 + Y, "repeats": 1e4 + Y},
            "repeats: got 1.00.* at most 1e7 with the weights",
        ),
        (Y, {"offset": Y[1:]}, "offset: got 35 numbers"),
        (Y, {"always": [6]}, "always: got 6, needs names of columns, such as 'x0', or indices"),
        (Y, {"always": "age"}, "always: got 'age'"),
        (Y, {"always": [True, False]}, "always: got 2 truth values, needs one for each of the 6"),
        (Y, {"always": range(6)}, "always: got all 6 columns"),
        (Y, {"expected_size": 0}, r"expected_size: got 0, needs to be in \(0, 6\]"),
        (Y, {"expected_size": 5.5, "always": [0]}, r"expected_size: .*\(0, 5\]"),
        (Y, {"expected_size": 2, "a": 3.0}, "expected_size, a, b: got both"),
        (Y, {"inclusion_odds": [1, 2]}, "inclusion_odds: .* each of the 6 columns"),
        (Y, {"inclusion_odds": [0.0] * 6}, "inclusion_odds: .* positive"),
        (Y, {"freedom": 3.0}, "freedom: got 3.0, needs family='student_t'"),
        (Y, {"family": "student_t", "freedom": 0.0}, "freedom: got 0.0"),
        (Y, {"concentration": 3.0}, "concentration: got 3.0, needs family='negative_binomial'"),
    ],
)
def test_bad_input_is_named(y, settings, says):
    with pytest.raises(ValueError, match=says):
        aeb.regression(X, y, **settings)


def test_columns_that_are_combinations_are_named():
    x = np.c_[X, X[:, 0] - X[:, 1]]
    with pytest.raises(ValueError, match="always: these columns are linear combinations"):
        aeb.regression(x, Y + X[:, 2], always=[0, 1, 6])


@pytest.mark.parametrize("level", [3.0, 8.0, 14.0])
def test_large_counts_start_near_the_answer(level):
    """Else the chains do not come to it. Mutations: weights r + y; 1 for log y."""
    rng = np.random.default_rng(5)
    x, weights, offset = rng.normal(size=400), rng.uniform(1, 2, size=400), rng.normal(size=400)
    mean = np.exp(level + 0.5 * x + offset)
    y = rng.poisson(rng.gamma(2.0, mean / 2.0)).astype(float)
    grid, heights = shapes("negative_binomial", None, y, weights)
    rows = Rows(x[:, None], np.ones((400, 1)), np.zeros(1), y, weights, offset, grid, heights)
    start = FAMILIES["negative_binomial"].start(rows)
    design = np.c_[np.ones(400), x]
    weighted = design.T * np.asarray(start.weights)
    intercept, slope = np.linalg.solve(weighted @ design, weighted @ np.asarray(start.target))
    assert slope == pytest.approx(0.5, abs=0.15)
    assert intercept == pytest.approx(level, abs=0.5)
    # However large its count, a row says of log m what r allows.
    assert float((start.weights / weights).max()) < start.shape


@pytest.mark.slow
@pytest.mark.parametrize("v0", [0.0, 0.05])
def test_successes(v0):
    x, rng = columns()
    offset = rng.normal(size=N) / 2
    y = (rng.random(N) < expit(1.8 * x[:, 0] - 1.2 * x[:, 3] + offset + 0.3)).astype(float)
    centre = math.log(y.mean() / (1 - y.mean())) - offset.mean()

    def log_likelihood(eta):
        eta = eta + offset + centre
        return np.sum(y * eta - np.logaddexp(0, eta), axis=1)

    want = over_models(log_likelihood, standard(x), 100.0, v0)
    fit = aeb.regression(x, y, family="binomial", offset=offset, v0=v0, num_draws=2000, **SETTINGS)
    agrees(fit, x, want, centre=centre)
    of_mean(fit, x, y, offset=offset)


@pytest.mark.slow
def test_successes_of_many_trials_with_columns_always_in():
    x, rng = columns()
    trials = rng.integers(1, 9, size=N).astype(float)
    y = rng.binomial(trials.astype(int), expit(0.4 * x[:, 2] + 0.5 * x[:, 0] - 1)) / trials
    mean = trials @ y / trials.sum()
    centre = math.log(mean / (1 - mean))
    odds = np.array([1, 1, 1, 4, 0.5, 1.0])

    def log_likelihood(eta):
        eta = eta + centre
        return np.sum(trials * (y * eta - np.logaddexp(0, eta)), axis=1)

    want = over_models(log_likelihood, standard(x), 100.0, 0.0, always=2, odds=odds)
    settings = SETTINGS | {"inclusion_odds": odds, "always": [0, 1], "v0": 0.0}
    fit = aeb.regression(x, y, family="binomial", weights=trials, num_draws=2000, **settings)
    agrees(fit, x, want, centre=centre)
    assert fit.always == (0, 1)
    assert fit.inclusion[:2].tolist() == [1, 1]


@pytest.mark.slow
def test_counts():
    """With r learned."""
    x, rng = columns()
    exposure = rng.uniform(0.5, 3, size=N)
    mean = exposure * np.exp(0.8 * x[:, 0] - 0.5 * x[:, 3] + 0.7)
    y = rng.poisson(rng.gamma(1.0, mean)).astype(float)
    offset = np.log(exposure)
    centre = math.log(y.sum() / exposure.sum())

    def log_likelihood(eta, log_r):
        eta, r = eta + centre + offset, np.exp(log_r)[:, None]
        logs = gammaln(y + r) - gammaln(r) + r * np.log(r) + y * eta
        return np.sum(logs - (y + r) * np.logaddexp(np.log(r), eta), axis=1)

    def log_prior(log_r):
        return np.where((log_r > np.log(0.02)) & (log_r < np.log(500)), 0.0, -1e9)

    want = over_models(log_likelihood, standard(x), 100.0, 0.0, extra=[(0.7, log_prior)])
    fit = aeb.regression(
        x, y, family="negative_binomial", offset=offset, v0=0.0, num_draws=4000, **SETTINGS
    )
    agrees(fit, x, want, centre=centre)
    assert np.log(fit.concentration_draws).mean() == pytest.approx(want[3][0], abs=0.05)


@pytest.mark.slow
def test_heavy_tails():
    """With the degrees of freedom learned."""
    x, rng = columns()
    weights = rng.uniform(0.5, 2.0, size=N)
    y = 3 + 0.8 * x[:, 0] - 0.6 * x[:, 3] + rng.standard_t(2.5, size=N) / np.sqrt(weights)
    z, w = (y - y.mean()) / y.std(), weights / weights.mean()

    def log_likelihood(eta, log_s, log_f):
        f, s = np.exp(log_f)[:, None], np.exp(log_s)[:, None]
        logs = gammaln((f + 1) / 2) - gammaln(f / 2) - np.log(f) / 2 - log_s[:, None]
        return np.sum(logs - (f + 1) / 2 * np.log1p(w * ((z - eta) / s) ** 2 / f), axis=1)

    def log_prior(log_f):
        inside = (log_f > 0) & (log_f < np.log(100))
        return np.where(inside, 2 * log_f - np.exp(log_f) / 10, -1e9)

    extra = [(-0.5, log_sigma), (1.5, log_prior)]
    want = over_models(log_likelihood, standard(x), None, 0.0, extra=extra)
    fit = aeb.regression(
        x, y, family="student_t", weights=weights, v0=0.0, num_draws=4000, **SETTINGS
    )
    agrees(fit, x, want, scale=y.std(), centre=y.mean())
    assert np.log(fit.freedom_draws).mean() == pytest.approx(want[3][1], abs=0.1)
    sigma = np.log(fit.sigma_draws / y.std() / weights.mean() ** 0.5).mean()
    assert sigma == pytest.approx(want[3][0], abs=0.05)


@pytest.mark.parametrize("least", [0, 100])
def test_only_large_counts_are_advised_to_take_logarithms(least, monkeypatch):
    """Of 0 there is none. Mutation: the advice to all counts."""
    monkeypatch.setattr(interpret_module, "MOST_R_HAT", 0.5)
    x, rng = columns()
    y = least + rng.poisson(np.exp(x[:, 0])).astype(float)
    y[0] = least
    with pytest.warns(UserWarning, match="chains disagree on") as said:
        aeb.regression(x, y, family="negative_binomial", **REPEATS, num_draws=10)
    assert ("np.log(y)" in str(said[0].message)) == (least > 0)
