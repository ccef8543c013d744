# SPDX-License-Identifier: Apache-2.0
"""The fixed point by quadrature, against identities, Monte Carlo and the chains themselves.

Mutations that fail here, each tried. Quadrature: a transition density of half the variance, the
sign or the sigma of the Laplace pull, its slope at 0, m left out of a slope, v1 squared, a factor
in the root of sigma~, one more in delta~, lag 0 counted twice, the shift of alpha = 1 doubled.
Library: noise, kappa1~, sigma~ (`MUTANTS`).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special

import aeb
from benchmarks.convergence.law import functions, mean_of_functions, score, stationary_law
from benchmarks.convergence.mean_field import MeanField, Prediction, limit_factor, predict, targets
from benchmarks.convergence.recipe import Gain, Theta, TwoMeans, from_vector, to_vector
from benchmarks.convergence.sampler import build, theta_of
from benchmarks.convergence.scores import bias_slope, error_slope

PROBLEM = TwoMeans()
THETA = Theta(np.array([0.9, 0.3]), np.array([0.2, 2.4]), np.array([0.24, 0.07]), 0.55, 0.65)
STEP = 0.02


def log_density(beta, which, theta=THETA, problem=PROBLEM):
    """Log pi written out from the rows, up to a constant."""
    square = np.sum(np.square(problem.rows()[:, which] - beta)) + theta.kappa1[which] * beta**2
    return -square / (2 * theta.sigma**2) - theta.kappa0[which] * abs(beta) / theta.sigma


@pytest.mark.parametrize("which", [0, 1])
def test_the_law_of_the_diffusion_by_adaptive_quadrature(which):
    law = stationary_law(PROBLEM, THETA, which, 0.0)
    c = PROBLEM.threshold
    top = max(log_density(b, which) for b in np.linspace(-2, 3, 501))

    def integral(f):
        return sum(
            scipy.integrate.quad(
                lambda b: f(b) * np.exp(log_density(b, which) - top), *ends, epsabs=1e-13
            )[0]
            for ends in ((-6.0, -c), (-c, 0.0), (0.0, c), (c, 6.0))
        )

    mass = integral(lambda b: 1.0)
    expected = [integral(lambda b, i=i: functions(PROBLEM, b)[i]) / mass for i in range(4)]
    np.testing.assert_allclose(law.mass @ functions(PROBLEM, law.nodes), expected, rtol=1e-9)
    finer = stationary_law(PROBLEM, THETA, which, 0.0, finer=3)
    np.testing.assert_allclose(finer.mass @ functions(PROBLEM, finer.nodes), expected, rtol=1e-9)


@pytest.mark.parametrize("which", [0, 1])
def test_the_slope_is_that_of_the_log_density(which):
    for beta in (-0.7, -0.1, 0.2, 1.3):
        slope = (log_density(beta + 1e-5, which) - log_density(beta - 1e-5, which)) / 2e-5
        assert score(PROBLEM, THETA, which, np.array(beta)) == pytest.approx(slope, rel=1e-7)
    at_zero = THETA._replace(kappa0=np.zeros(2))
    zero = np.array(0.0)
    assert score(PROBLEM, THETA, which, zero) == score(PROBLEM, at_zero, which, zero)


@pytest.mark.parametrize("step_size", [0.1, STEP, 0.002])
@pytest.mark.parametrize("which", [0, 1])
def test_eulers_law_keeps_its_moments(which, step_size):
    """E b' = E b and E b'^2 = E b^2: E g = 0 and E (2 b g + eps g^2) = -2, exactly."""
    law = stationary_law(PROBLEM, THETA, which, step_size)
    g = score(PROBLEM, THETA, which, law.nodes)
    assert law.mass.sum() == pytest.approx(1.0, abs=1e-12)
    assert law.mass @ g == pytest.approx(0.0, abs=1e-8)
    assert law.mass @ (2 * law.nodes * g + step_size * g * g) == pytest.approx(-2.0, abs=1e-8)
    finer = stationary_law(PROBLEM, THETA, which, step_size, finer=2)
    tested = law.mass @ functions(PROBLEM, law.nodes)
    np.testing.assert_allclose(
        finer.mass @ functions(PROBLEM, finer.nodes), tested, rtol=0, atol=1e-8
    )


def test_eulers_law_on_a_gaussian_is_known():
    theta = THETA._replace(kappa0=np.zeros(2))
    law = stationary_law(PROBLEM, theta, 0, 0.1)
    precision = (4 + theta.kappa1[0]) / theta.sigma**2
    mean = law.mass @ law.nodes
    assert mean == pytest.approx(4 * 1.2 / (4 + theta.kappa1[0]), rel=1e-9)
    variance = law.mass @ np.square(law.nodes - mean)
    assert variance == pytest.approx(1 / (precision * (1 - 0.1 * precision / 2)), rel=1e-9)
    with pytest.raises(ValueError, match="step_size"):
        stationary_law(PROBLEM, theta, 0, 2.01 / precision)


def test_eulers_law_tends_to_the_diffusions_at_first_order():
    truth = mean_of_functions(PROBLEM, THETA, 0.0)
    wide, narrow = (mean_of_functions(PROBLEM, THETA, eps) - truth for eps in (4e-3, 2e-3))
    assert np.abs(narrow).max() > 1e-4
    np.testing.assert_allclose(wide, 2 * narrow, rtol=0.15)


def test_the_targets_are_those_of_the_library(x64):
    """One sweep of gain 1 from the latents held: each target, at one pair of coefficients."""
    beta = np.array([0.9, -0.15])
    prior = aeb.spike_slab(PROBLEM.v0, PROBLEM.v1)
    latent = prior.init(jnp.asarray(beta))
    latent = latent._replace(
        **{name: {"": jnp.asarray(getattr(THETA, name))} for name in ("rho", "kappa0", "kappa1")},
        delta={"": jnp.asarray(THETA.delta)},
        sigma=jnp.asarray(THETA.sigma),
    )
    rho, sigma = targets(PROBLEM, THETA, (beta[:1], beta[1:]))
    rss = jnp.asarray(np.sum(np.square(PROBLEM.rows() - beta)))
    num_data = PROBLEM.num_data
    # A gain this small: the latents already moved are those held, and the change is the target's.
    omega = 1e-7
    new = prior.update(latent, jnp.asarray(beta), omega, num_data, rss)

    def target(moved, held):
        return (np.asarray(moved) - np.asarray(held)) / omega + np.asarray(held)

    np.testing.assert_allclose(target(new.rho[""], THETA.rho), [rho[0][0], rho[1][0]], rtol=1e-5)
    np.testing.assert_allclose(target(new.sigma, THETA.sigma), sigma[0, 0], rtol=1e-5)
    field = MeanField(PROBLEM, 0.0)
    expected = from_vector(field(to_vector(THETA)) + to_vector(THETA))
    for name in ("kappa0", "kappa1", "delta"):
        moved = getattr(new, name)[""]
        np.testing.assert_allclose(
            target(moved, getattr(THETA, name)), getattr(expected, name), rtol=1e-5
        )


def test_the_mean_field_by_monte_carlo():
    """Euler's chain in numpy, 20,000 of them, after 400 steps: five standard errors."""
    rng = np.random.default_rng(0)
    beta = np.zeros((2, 20_000))
    for _ in range(400):
        g = np.stack([score(PROBLEM, THETA, j, beta[j]) for j in range(2)])
        beta += STEP * g + np.sqrt(2 * STEP) * rng.standard_normal(beta.shape)
    held = to_vector(THETA)
    mean = MeanField(PROBLEM, STEP)(held) + held
    rss = np.sum(np.square(PROBLEM.rows()[:, :, None] - beta), axis=(0, 1))
    linear = THETA.kappa0 @ np.abs(beta)
    constant = rss + THETA.kappa1 @ np.square(beta) + 1.0
    leading = 8 + 2 + 1
    sigma = (linear + np.sqrt(linear**2 + 4 * leading * constant)) / (2 * leading)
    slab = THETA.delta * np.exp(-0.5 * (beta / THETA.sigma) ** 2 / 4) / np.sqrt(2 * np.pi * 4)
    spike = (1 - THETA.delta) * np.exp(-np.abs(beta) / THETA.sigma / 0.3) / 0.6
    for seen, place in (
        (sigma, 7),
        (slab[0] / (slab + spike)[0], 0),
        (slab[1] / (slab + spike)[1], 1),
    ):
        assert abs(seen.mean() - mean[place]) < 5 * seen.std() / len(seen) ** 0.5
        assert seen.std() > 0.01


def test_the_fixed_point_is_one_and_stable():
    field = MeanField(PROBLEM, STEP)
    theta = field.fixed_point()
    assert np.abs(field(theta)).max() < 1e-11
    low = to_vector(Theta(np.full(2, 0.05), np.full(2, 5.0), np.zeros(2), 0.05, 2.0))
    high = to_vector(Theta(np.full(2, 0.95), np.zeros(2), np.ones(2), 0.95, 0.3))
    for start in (low, high):
        np.testing.assert_allclose(field.fixed_point(start), theta, rtol=1e-9)
    jacobian = field.jacobian(theta)
    assert np.linalg.eigvals(jacobian).real.max() < -0.3
    # What follows from the latents alone can be written down: kappa0~, kappa1~, delta~.
    np.testing.assert_allclose(jacobian[2, :2], [-1 / 0.3, 0.0], atol=1e-8)
    np.testing.assert_allclose(jacobian[4, :2], [1 / 4.0, 0.0], atol=1e-8)
    np.testing.assert_allclose(jacobian[6, :2], [0.25, 0.25], atol=1e-8)


def test_the_long_run_covariance_by_batches_of_a_chain():
    """The variance of a mean over many steps, times their number, is S."""
    field = MeanField(PROBLEM, STEP)
    noise = field.noise(to_vector(THETA))
    rng = np.random.default_rng(1)
    chains, steps = 4000, 600
    beta, sums = np.zeros((2, chains)), np.zeros((3, chains))
    for step in range(100 + steps):
        g = np.stack([score(PROBLEM, THETA, j, beta[j]) for j in range(2)])
        beta += STEP * g + np.sqrt(2 * STEP) * rng.standard_normal(beta.shape)
        if step >= 100:
            z = np.abs(beta) / THETA.sigma
            odds = np.log(0.55 / 0.45) - z * z / 8 - 0.5 * np.log(8 * np.pi) + z / 0.3 + np.log(0.6)
            square = np.sum(4 * (np.array([[1.2], [0.2]]) - beta) ** 2, axis=0) + 2.0
            constant = square + THETA.kappa1 @ beta**2 + 1.0
            linear = THETA.kappa0 @ np.abs(beta)
            sums[:2] += scipy.special.expit(odds)
            sums[2] += (linear + np.sqrt(linear**2 + 44 * constant)) / 22
    places = [0, 1, 7]
    expected = noise[np.ix_(places, places)]
    scatter = np.cov(sums) / steps
    error = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / chains)
    # The edges of the window cost about the correlation time in 600 steps, 1 %.
    assert np.all(np.abs(scatter - expected) < 5 * error + 0.01 * np.abs(expected))
    assert np.all(noise[2:7] == 0)
    with pytest.raises(ValueError, match="step_size"):
        MeanField(PROBLEM, 0.0).noise(to_vector(THETA))


def test_linear_theory_in_one_dimension():
    """dx = -s x omega + noise: lambda = S / (2 s) below alpha = 1, C S / (2 C s - 1) at it."""
    one = Prediction(np.zeros(1), np.array([[-0.4]]), np.array([[0.3]]))
    assert one.stability == pytest.approx(0.4)
    assert limit_factor(one, Gain(3.0, 10.0, 0.7)) == pytest.approx(0.3 / 0.8)
    at_one = Gain(3.0, 10.0, 1.0)
    assert limit_factor(one, at_one) == pytest.approx(3 * 0.3 / (2 * 3 * 0.4 - 1))
    assert limit_factor(one, Gain(1.25, 10.0, 1.0)) == float("inf")
    steps = np.array([1, 2, 100_000])
    moments = predict(one, at_one, np.array([2.0]), steps)
    first = (1 - 0.4 * 0.3) ** 2 * 4 + 0.09 * 0.3
    second = (1 - 0.4 * 3 / 11) ** 2 * first + (3 / 11) ** 2 * 0.3
    np.testing.assert_allclose(moments[:2], [first, second])
    assert moments[2] / at_one.at(99_999) == pytest.approx(limit_factor(one, at_one), rel=1e-3)


def test_the_gain_is_that_of_the_library():
    gain = Gain(4.0, 100.0, 0.75)
    for count in (0, 17, 5000):
        assert gain.at(count) == pytest.approx(float(gain.schedule(count)), rel=1e-5)
    assert Gain(4.0, 1.0, 1.0).at(0) == 1.0


def test_slopes_of_exact_lines():
    """Powers with noise of a known size: the estimate is near and the interval as wide as it."""
    rng = np.random.default_rng(3)
    gains = np.geomspace(0.1, 1e-3, 20)
    errors = gains**1.25 * rng.exponential(size=(4000, 20))
    slope = error_slope(errors, gains, rng)
    spread = np.sum(np.square(np.log(gains) - np.log(gains).mean()))
    half = 1.96 * (1 / 4000 / spread) ** 0.5
    assert slope.estimate == pytest.approx(1.25, abs=2 * half)
    assert (slope.high - slope.low) / 2 == pytest.approx(half, rel=0.15)
    exact = error_slope(np.tile(gains**0.5, (3, 1)), gains, rng)
    np.testing.assert_allclose(exact, 0.5)
    steps = np.array([0.08, 0.04, 0.01])
    weak = bias_slope(-3 * steps**1.5, np.array([1e-3, 1e-5, 1e-4]), steps)
    assert weak.estimate == pytest.approx(1.5)
    # Two points of equal weight w: the variance of the slope is 2 / (w d^2), d apart.
    two = bias_slope(np.array([2.0, 1.0]), np.array([0.2, 0.1]), np.array([2.0, 1.0]))
    assert two.high - two.estimate == pytest.approx(1.959964 * (2 / 100) ** 0.5 / np.log(2))


MUTANTS = {
    None: (1.0, 1.0, 0.0),
    "noise": (1.2, 1.0, 0.0),
    "kappa1": (1.0, 0.5, 0.0),
    "sigma": (1.0, 1.0, 1.0),
}
"""The temperature, a factor of kappa1~, and rows too many in sigma~."""

CHAINS = 300


@functools.cache
def chains_end():
    """Compile 2,000 steps of the script's own program, with the mutations as inputs."""
    sgld, spike_slab = aeb.sgld, aeb.spike_slab

    def end(temperature, factor, rows):
        def mutated(*args, **kwargs):
            prior = spike_slab(*args, **kwargs)

            def update(latent, params, omega, num_data, rss=None, kept=None):
                new = prior.update(latent, params, omega, num_data + rows, rss, kept=kept)
                moved = new.kappa1[""] - (1 - omega) * latent.kappa1[""]
                return new._replace(kappa1={"": (1 - omega) * latent.kappa1[""] + factor * moved})

            return prior._replace(update=update)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aeb, "sgld", functools.partial(sgld, temperature=temperature))
            patch.setattr(aeb, "spike_slab", mutated)
            start, advance = build.__wrapped__(PROBLEM, Gain(10.0, 100.0, 1.0))
            keys = jax.random.split(jax.random.key(5), CHAINS)
            return advance(start(CHAINS), keys, STEP, 2000)[0]

    return jax.jit(end)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_chains_reach_the_fixed_point_and_mutants_do_not(mutant):
    """Mean of theta over 300 chains after 2,000 steps, where the gain is 0.005."""
    states = chains_end()(*(jnp.asarray(value) for value in MUTANTS[mutant]))
    gaps = theta_of(states) - MeanField(PROBLEM, STEP).fixed_point()
    far = np.abs(gaps.mean(axis=0)) / (gaps.std(axis=0) / CHAINS**0.5)
    assert (far.max() < 5) == (mutant is None)
