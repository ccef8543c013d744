# SPDX-License-Identifier: Apache-2.0
"""The samplers against the exact law of the discretised chain.

On a Gaussian target of precision P every step is linear in the state z plus Gaussian noise,
z' = A z + c + e with e ~ N(0, Q), so that the stationary law is known at every step size: its
covariance solves the discrete Lyapunov equation S = A S A^T + Q. For SGLD at a scalar precision
p this is T / (p (1 - eps p / 2)).

100,000 independent chains start far from the law, and run until the start is forgotten to less
than a tenth of a standard error (asserted from the spectral radius of A). Means and covariances
must then lie within five standard errors,
sqrt(S_ii / n) and sqrt((S_ii S_jj + S_ij^2) / n); for a variance this is sqrt(2 / n) S_ii, or
0.45 %, so that an error of 2.3 % is seen.
Among the 200 numbers compared here the chance of one false alarm is 1e-4; the seeds are fixed.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from aeb.schedules import as_schedule

pytestmark = pytest.mark.optimised

CHAINS = 100_000
PRECISION = np.array([0.5, 1.0, 4.0])
EPS, FRICTION = 0.2, 0.3


def stationary_law(a, q, c):
    """Solve S = A S A^T + Q and m = A m + c by linear algebra in float64."""
    size = len(a)
    covariance = np.linalg.solve(np.eye(size**2) - np.kron(a, a), q.ravel()).reshape(size, size)
    return np.linalg.solve(np.eye(size) - a, c), covariance


def sgld_system(precision, centre, eps, temperature):
    """Return (A, Q, c) of beta' = beta - eps P (beta - centre) + sqrt(2 eps T) xi."""
    size = len(precision)
    drift = eps * precision
    return np.eye(size) - drift, 2 * eps * temperature * np.eye(size), drift @ centre


def sghmc_system(precision, centre, eps, friction, noise, temperature):
    """Return (A, Q, c) for z = (beta, r); both halves take the same drift and noise.

    r' = (1 - alpha) r - eps P (beta - centre) + sqrt(2 eps (alpha - B) T) xi; beta' = beta + r'.
    """
    size = len(precision)
    one = np.eye(size)
    drift = eps * precision
    kept = (1 - friction) * one
    a = np.block([[one - drift, kept], [-drift, kept]])
    q = 2 * eps * (friction - noise) * temperature * np.block([[one, one], [one, one]])
    return a, q, np.concatenate([drift @ centre, drift @ centre])


def assert_law(samples, a, q, c, start, steps):
    """Compare the mean and the covariance of the rows of `samples` with the exact law."""
    mean, covariance = stationary_law(a, q, c)
    variance = np.diag(covariance)
    memory = np.linalg.matrix_power(a, steps)
    n = len(samples)
    mean_error = np.sqrt(variance / n)
    covariance_error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    # What is left of the start: memory (start - mean) in the mean, memory S memory^T in S.
    assert np.all(np.abs(memory @ (start - mean)) < 0.1 * mean_error)
    assert np.all(np.abs(memory @ covariance @ memory.T) < 0.1 * covariance_error)

    samples = np.asarray(samples, np.float64)
    mean_score = (samples.mean(axis=0) - mean) / mean_error
    centred = samples - mean
    covariance_score = (centred.T @ centred / n - covariance) / covariance_error
    assert np.max(np.abs(mean_score)) < 5, mean_score
    assert np.max(np.abs(covariance_score)) < 5, covariance_score


@partial(jax.jit, static_argnums=(0, 1))
def run_chains(chain_step, steps, start, key):
    """Run CHAINS chains from `start`, independent keys for each; return their last states.

    The vmap is inside the scan: the other way round, jax's key checker cries wolf.
    """
    chains = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (CHAINS, *jnp.shape(leaf))), start)

    def body(chains, key):
        return jax.vmap(chain_step)(chains, jax.random.split(key, CHAINS)), None

    return jax.lax.scan(body, chains, jax.random.split(key, steps))[0]


def gaussian_step(dynamics):
    """One step of a bare dynamics on N(0, diag(1 / PRECISION))."""

    def chain_step(carry, key):
        position, momentum, count = carry
        grad = jax.tree.map(lambda leaf, p: -p * leaf, position, SPLIT_PRECISION)
        position, momentum = dynamics.update(
            position,
            momentum,
            grad,
            count,
            key,
            step_size=as_schedule(dynamics.step_size)(count),
            temperature=as_schedule(dynamics.temperature)(count),
        )
        return position, momentum, count + 1

    return chain_step


# Two leaves, so that a key used for both would be seen as a covariance between them.
SPLIT_PRECISION = {
    "one": jnp.asarray(PRECISION[:1], jnp.float32),
    "two": jnp.asarray(PRECISION[1:], jnp.float32),
}
START = {"one": jnp.full(1, 2.0), "two": jnp.full(2, 2.0)}


def stacked(tree):
    return np.concatenate([np.asarray(tree["one"]), np.asarray(tree["two"])], axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_sgld_has_the_covariance_of_the_discrete_chain(temperature):
    """Checked against the closed form as well.

    Mutations caught: noise variance 3 % low, halved, without T, with T^2; gradient 5 % low; one
    key for both leaves.
    """
    dynamics = aeb.sgld(step_size=EPS, temperature=temperature)
    steps = 90
    carry = (START, dynamics.init(START), jnp.zeros((), jnp.int32))
    key = jax.random.key(11)
    position, _, count = run_chains(gaussian_step(dynamics), steps, carry, key)
    assert np.all(np.asarray(count) == steps)
    system = sgld_system(np.diag(PRECISION), np.zeros(3), EPS, temperature)
    # The closed form, so that the solver is checked too.
    np.testing.assert_allclose(
        stationary_law(*system[:2], system[2])[1],
        np.diag(temperature / (PRECISION * (1 - EPS * PRECISION / 2))),
        rtol=1e-12,
        atol=1e-12,
    )
    assert_law(stacked(position), *system, np.full(3, 2.0), steps)


@pytest.mark.parametrize(
    ("temperature", "noise"), [(0.5, 0.0), (1.0, 0.0), (1.0, 0.1)], ids=["cool", "unit", "B-hat"]
)
def test_sghmc_has_the_joint_law_of_the_discrete_chain(temperature, noise):
    """Position, momentum, and their covariance, from the discrete Lyapunov equation.

    Mutations caught: alpha for alpha - B; noise variance 3 % low, halved, without T; alpha for
    1 - alpha; a move by the old momentum; friction applied after the gradient; momentum refreshed
    at each step; one key for both leaves.
    """
    extra = {"noise_estimate": noise} if noise else {}
    dynamics = aeb.sghmc(step_size=EPS, friction=FRICTION, temperature=temperature, **extra)
    steps = 60
    carry = (START, dynamics.init(START), jnp.zeros((), jnp.int32))
    key = jax.random.key(12)
    position, momentum, _ = run_chains(gaussian_step(dynamics), steps, carry, key)
    system = sghmc_system(np.diag(PRECISION), np.zeros(3), EPS, FRICTION, noise, temperature)
    samples = np.concatenate([stacked(position), stacked(momentum)], axis=1)
    start = np.concatenate([np.full(3, 2.0), np.zeros(3)])
    assert_law(samples, *system, start, steps)


# The whole kernel on a linear regression with a slab alone: a Gaussian posterior.

ROWS, NUM_DATA, SIGMA, SIGMA0, KAPPA1 = 8, 40, 1.5, 0.8, 7.0


def regression_data():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, 3))
    return x, x @ np.array([1.0, -0.5, 0.3]) + 0.2 * rng.normal(size=ROWS)


def regression_posterior(likelihood):
    """Return precision and mean; the last coordinate is outside `where`."""
    x, y = regression_data()
    variance = SIGMA**2 if likelihood == "gaussian" else 1.0
    scale = NUM_DATA / (ROWS * variance)
    prior = np.diag([KAPPA1 / SIGMA**2, KAPPA1 / SIGMA**2, 1 / SIGMA0**2])
    precision = scale * x.T @ x + prior
    return precision, np.linalg.solve(precision, scale * x.T @ y)


def half_mean_squared_error(params, batch):
    x, y = batch
    weights = jnp.concatenate([params["kernel"], params["bias"]])
    return jnp.mean((y - x @ weights) ** 2) / 2


@pytest.mark.parametrize(
    ("name", "likelihood", "temperature"),
    [
        ("sgld", "categorical", 1.0),
        ("sgld", "gaussian", 0.5),
        ("sghmc", "categorical", 0.5),
        ("sghmc", "gaussian", 1.0),
    ],
)
def test_the_whole_kernel_samples_a_gaussian_posterior(name, likelihood, temperature):
    """Likelihood, slab, and the prior outside `where` make one precision matrix and one mean.

    Mutations caught: N lost; gradient sign; 1 / sigma^2 missing in the likelihood; the slab's 1/2
    lost or its 1 / sigma^2 turned into 1 / sigma; sigma0 as a variance; noise variance halved,
    without T, with T^2.
    """
    x, y = regression_data()
    batch = (jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    eps, friction = 0.015, 0.3
    if name == "sgld":
        steps = 90
        dynamics = aeb.sgld(step_size=eps, temperature=temperature)
    else:
        steps = 60
        dynamics = aeb.sghmc(step_size=eps, friction=friction, temperature=temperature)
    prior = aeb.spike_slab(
        v0=0.1, v1=1.0, where="kernel", sigma0=SIGMA0, sigma=SIGMA, kappa0=0.0, kappa1=KAPPA1
    )
    algorithm = aeb.empirical_bayes(dynamics, prior, gain=0.0, likelihood=likelihood)
    kernel = aeb.build_kernel(algorithm, half_mean_squared_error, num_data=NUM_DATA)
    state = algorithm.init({"kernel": jnp.full(2, 1.0), "bias": jnp.full(1, 1.0)})
    key = jax.random.key(13)
    last = run_chains(lambda state, key: kernel(state, batch, key), steps, state, key)

    def columns(tree):
        return np.concatenate([np.asarray(tree["kernel"]), np.asarray(tree["bias"])], axis=1)

    precision, mean = regression_posterior(likelihood)
    if name == "sgld":
        system = sgld_system(precision, mean, eps, temperature)
        assert_law(columns(last.position), *system, np.ones(3), steps)
    else:
        system = sghmc_system(precision, mean, eps, friction, 0.0, temperature)
        samples = np.concatenate([columns(last.position), columns(last.momentum)], axis=1)
        assert_law(samples, *system, np.concatenate([np.ones(3), np.zeros(3)]), steps)
