# SPDX-License-Identifier: Apache-2.0
"""Limits, enumeration, finite differences and closed forms: cases with an answer of their own."""

import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
import scipy.stats

import aeb
from aeb.priors.spike_slab import expected_penalties, inclusion_probability, inclusion_rate, scale

# The cold limit.


@pytest.mark.parametrize("momentum", [0.0, 0.9, None])
def test_cold_chain_without_prior_is_sgd(momentum, x64):
    """T = 0, kappa = 0 and gain = 0 leave optax.sgd, with or without momentum.

    optax: t' = m t + g, beta' = beta - lr t'. With g the gradient of the mean loss, r = -eps N t,
    m = 1 - alpha and lr = eps N make the two the same. None stands for SGLD, plain SGD.

    Mutations caught: alpha for 1 - alpha; a move by the old momentum; friction after the gradient;
    momentum refreshed; N lost; gradient sign.
    """
    eps, num_data = 3e-3, 50
    if momentum is None:
        dynamics = aeb.sgld(step_size=eps, temperature=0.0)
    else:
        dynamics = aeb.sghmc(step_size=eps, friction=1 - momentum, temperature=0.0)
    prior = aeb.spike_slab(v0=0.1, v1=1.0, kappa0=0.0, kappa1=0.0)
    algorithm = aeb.empirical_bayes(dynamics, prior, gain=0.0)

    def loss_fn(params, batch):
        hidden = jnp.tanh(batch @ params["kernel"] + params["bias"][None, :])
        return jnp.mean((hidden - 0.3) ** 2)

    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=(4, 3))), "bias": jnp.asarray(np.ones(3))}
    kernel = jax.jit(aeb.build_kernel(algorithm, loss_fn, num_data=num_data))
    state = algorithm.init(params)
    tx = optax.sgd(eps * num_data, momentum=momentum)
    weights, tx_state = params, tx.init(params)
    sgd_grad = jax.jit(jax.grad(loss_fn))
    for key in jax.random.split(jax.random.key(0), 40):
        batch = jnp.asarray(rng.normal(size=(10, 4)))
        state = kernel(state, batch, key)
        updates, tx_state = tx.update(sgd_grad(weights, batch), tx_state, weights)
        weights = optax.apply_updates(weights, updates)
        chex.assert_trees_all_close(state.position, weights, rtol=1e-10, atol=1e-12)
    assert np.max(np.abs(weights["kernel"] - params["kernel"])) > 0.1


# Inclusion probabilities.


def enumerate_inclusion(beta, delta, sigma, v0, v1):
    """Return P(gamma_j = 1 | beta) by summing the joint density over all 2^p patterns."""
    total, included = 0.0, np.zeros(len(beta))
    slab = scipy.stats.norm(scale=math.sqrt(v1) * sigma)
    spike = scipy.stats.laplace(scale=v0 * sigma)
    for pattern in itertools.product([0, 1], repeat=len(beta)):
        joint = 1.0
        for gamma, value in zip(pattern, beta, strict=True):
            joint *= delta * slab.pdf(value) if gamma else (1 - delta) * spike.pdf(value)
        total += joint
        included += joint * np.array(pattern)
    return included / total


@pytest.mark.parametrize("beta", [0.0, 1e-3, 1.0, 50.0, 1e4])
@pytest.mark.parametrize("scales", [(0.1, 1.0), (1e-4, 1.0), (0.005, 1e-5)])
def test_a_rate_of_0_or_1_decides_whatever_the_weight(beta, scales):
    """Fails if the ratio of the densities under- or overflows to 0 / 0 or 0 times infinity."""
    v0, v1 = scales
    for rate in (0.0, 1.0):
        found = inclusion_probability(
            jnp.array([beta, -beta]), jnp.array(1.0), jnp.array(rate), v0=v0, v1=v1
        )
        np.testing.assert_array_equal(found, [rate, rate])


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(("v0", "v1"), [(0.1, 1.0), (0.005, 1e-5), (0.3, 0.02)])
def test_rho_target_is_the_enumerated_inclusion_probability(v0, v1, sigma, x64):
    """Two leaves with a delta each; all 2^6 patterns of a leaf are summed by brute force.

    Mutations caught: v1 as a standard deviation; the 2 of the Laplace density lost; sigma left out
    of the densities; delta and 1 - delta exchanged; one delta for both leaves; omega and 1 - omega
    exchanged.
    """
    beta = np.array([0.0, 0.3, -0.7, 1.5, -3.0, 4.0]) * math.sqrt(v1) * sigma
    prior = aeb.spike_slab(v0=v0, v1=v1, sigma=sigma)
    params = {"a": jnp.asarray(beta), "b": jnp.asarray(beta[::-1].copy())}
    deltas = {"a": 0.15, "b": 0.8}
    latent = prior.init(params)
    latent = latent._replace(delta={path: jnp.asarray(deltas[path]) for path in latent.delta})
    rho = prior.update(latent, params, 1.0, 10, None).rho
    for path, values in params.items():
        want = enumerate_inclusion(np.asarray(values), deltas[path], sigma, v0, v1)
        np.testing.assert_allclose(rho[path], want, rtol=1e-10)
        assert want.max() - want.min() > 0.1


# The gradient that drives the sampler.


@pytest.mark.parametrize("sigma0", [math.inf, 0.7])
def test_gradient_of_the_log_prior(sigma0, x64):
    """Against central differences of `log_density`, and of the prior terms of Q written out.

    Mutations caught: the slab's 1/2 missing; kappa0 over sigma^2; sigma0 as a variance; the sign.
    """
    rng = np.random.default_rng(4)
    prior = aeb.spike_slab(v0=0.1, v1=2.0, where="kernel", sigma0=sigma0, sigma=1.7)
    params = {
        layer: {
            "kernel": jnp.asarray(rng.normal(size=shape)),
            "bias": jnp.asarray(rng.normal(size=2)),
        }
        for layer, shape in [("one", (3, 2)), ("two", (2,))]
    }
    latent = prior.init(params)
    uneven = {
        name: {
            path: jnp.asarray(rng.uniform(0.5, 3.0, size=leaf.shape))
            for path, leaf in getattr(latent, name).items()
        }
        for name in ("kappa0", "kappa1")
    }
    latent = latent._replace(**uneven)

    def written_out(params):
        total = 0.0
        for layer, leaves in params.items():
            beta = np.asarray(leaves["kernel"])
            kappa0, kappa1 = (uneven[name][f"{layer}/kernel"] for name in ("kappa0", "kappa1"))
            total -= np.sum(kappa0 * np.abs(beta)) / 1.7
            total -= np.sum(kappa1 * beta**2) / (2 * 1.7**2)
            total -= np.sum(np.asarray(leaves["bias"]) ** 2) / (2 * sigma0**2)
        return float(total)

    library = jax.jit(prior.log_density)
    grad = jax.grad(library)(params, latent)
    step = 1e-5
    for layer, name in itertools.product(("one", "two"), ("kernel", "bias")):
        leaf = params[layer][name]
        for index in np.ndindex(leaf.shape):

            def moved(by, layer=layer, name=name, leaf=leaf, index=index):
                return params | {layer: params[layer] | {name: leaf.at[index].add(by)}}

            for log_density in (lambda p: float(library(p, latent)), written_out):
                slope = (log_density(moved(step)) - log_density(moved(-step))) / (2 * step)
                assert abs(float(grad[layer][name][index]) - slope) < 1e-7


def test_an_exact_zero_feels_no_pull_from_the_prior():
    """The slope of |beta| at 0 is taken as 0, else every pruned weight drifts to one side.

    Mutation caught: |beta| by jnp.abs, for jax.grad(jnp.abs)(0.0) is 1.0 and not 0.
    """
    prior = aeb.spike_slab(v0=0.1, v1=2.0)
    params = {"kernel": jnp.asarray([0.0, -0.0, 1e-3, -1e-3])}
    grad = jax.grad(prior.log_density)(params, prior.init(params))["kernel"]
    np.testing.assert_array_equal(np.sign(grad), [0, 0, -1, 1])


# Closed-form roots.


def slope(function, at):
    """Return the derivative by central differences, relative to the terms that make it up."""
    step = 1e-5 * at
    return (function(at + step) - function(at - step)) / (2 * step)


def learned(prior, params, num_data=1, rss=None):
    """Return the latent at which one EM step arrives, and what Eq. 7 is made of there."""
    latent = prior.update(prior.init(params), params, 1.0, num_data, rss)
    rb = sum(float(jnp.sum(jnp.abs(latent.kappa0[p] * params[p]))) for p in params)
    j = sum(float(jnp.sum(latent.kappa1[p] * params[p] ** 2)) for p in params)
    return latent, rb, j


def two_leaves():
    rng = np.random.default_rng(5)
    return {"a": jnp.asarray(rng.normal(size=(4, 3))), "b": jnp.asarray(0.1 * rng.normal(size=5))}


def log_prior_of_variance(sigma, weights, rb, j, nu, lam):
    """The terms of Q in sigma: sigma^2 ~ IG(nu/2, nu lam/2), as a density of sigma^2."""
    weights_part = -weights * math.log(sigma) - rb / sigma - j / (2 * sigma**2)
    return weights_part - (nu + 2) * math.log(sigma) - nu * lam / (2 * sigma**2)


def test_sigma_of_the_classification_is_the_mode_of_q(x64):
    """Ca = p + nu + 2 is the exact root: Q as a density of sigma^2 is level at sigma~.

    Mutations caught: the + 2 lost; Rc without its 4; nu for nu lam; the old kappa in Rb and J.
    """
    params, nu, lam = two_leaves(), 3.0, 0.4
    prior = aeb.spike_slab(v0=0.2, v1=0.8, nu=nu, lam=lam, sigma=1.3, learn_sigma=True)
    latent, rb, j = learned(prior, params)
    sigma = float(latent.sigma)

    def q(s):
        return log_prior_of_variance(s, 17, rb, j, nu, lam)

    assert abs(slope(q, sigma)) < 1e-6
    assert q(sigma) > max(q(0.99 * sigma), q(1.01 * sigma))


def test_sigma_of_the_regression_is_the_mode_in_log_sigma(x64):
    """The paper's Ra = N + p + nu has no + 2, unlike its own classification form.

    Its root is where Q + 2 log sigma is level, the mode of the same posterior as a density of
    log sigma; the mode as a density of sigma^2, the classification's, would have N + p + nu + 2.
    The library follows the paper in both.

    Mutations caught: + 2 added; N left out of Ra; I left out of Rc.
    """
    params, nu, lam, num_data, rss = two_leaves(), 3.0, 0.4, 30, 12.5
    prior = aeb.spike_slab(v0=0.2, v1=0.8, nu=nu, lam=lam, sigma=1.3, learn_sigma=True)
    latent, rb, j = learned(prior, params, num_data, jnp.asarray(rss))
    sigma = float(latent.sigma)

    def q(s):
        likelihood = -num_data * math.log(s) - rss / (2 * s**2)
        return likelihood + log_prior_of_variance(s, 17, rb, j, nu, lam)

    assert abs(slope(lambda s: q(s) + 2 * math.log(s), sigma)) < 1e-6
    assert abs(slope(q, sigma) + 2 / sigma) < 1e-6


def test_delta_is_the_mode_of_q(x64):
    """Level, leaf by leaf, in sum rho log delta + sum (1 - rho) log(1 - delta) + Beta(a, b).

    Mutations caught: the old rho; a for a - 1; a - 1 left out; the - 2 lost.
    """
    params, a, b = two_leaves(), 1.7, 6.0
    prior = aeb.spike_slab(v0=0.2, v1=0.8, a=a, b=b)
    latent, _, _ = learned(prior, params)
    for path, leaf in params.items():
        included, size = float(jnp.sum(latent.rho[path])), leaf.size
        delta = float(latent.delta[path])

        def q(d, included=included, size=size):
            return (included + a - 1) * math.log(d) + (size - included + b - 1) * math.log1p(-d)

        assert abs(slope(q, delta)) < 1e-6
        assert q(delta) > max(q(0.99 * delta), q(1.01 * delta))


# Equations 6, 7 and 8 as functions of arrays, without a network around them.

V0, V1 = 0.3, 2.5


def expected_log_prior(beta, sigma, rho):
    """Sum the log density of the weights over all patterns of gamma, each by its probability."""
    slab = scipy.stats.norm.logpdf(beta, scale=math.sqrt(V1) * sigma)
    spike = scipy.stats.laplace.logpdf(beta, scale=V0 * sigma)
    return sum(
        np.prod(np.where(gamma, rho, 1 - rho)) * np.where(gamma, slab, spike).sum()
        for gamma in itertools.product([0, 1], repeat=len(rho))
    )


def highest(log_density, low, high):
    """Return where a function of one number is largest, by search."""
    found = scipy.optimize.minimize_scalar(
        lambda x: -log_density(x), bounds=(low, high), method="bounded", options={"xatol": 1e-10}
    )
    assert low < found.x < high
    return found.x


@pytest.mark.parametrize("size", [0.4, 3.0])
def test_the_penalties_are_the_expected_log_prior(size, x64):
    """Weight by weight, log p at 0 less log p there, averaged over gamma.

    Mutations: rho and 1 - rho changed over; v1 squared.
    """
    rho, sigma = np.array([0.2, 0.75, 0.9]), 1.4
    kappa0, kappa1 = expected_penalties(jnp.asarray(rho), v0=V0, v1=V1)
    for place, beta in enumerate(size * np.eye(3)):
        loss = expected_log_prior(0 * beta, sigma, rho) - expected_log_prior(beta, sigma, rho)
        scaled = size / sigma
        np.testing.assert_allclose(
            kappa0[place] * scaled + kappa1[place] * scaled**2 / 2, loss, rtol=1e-10
        )


@pytest.mark.parametrize("residuals", [None, np.array([0.7, -2.0, 1.1, 0.2])], ids=["no", "yes"])
def test_the_scale_is_where_q_is_highest(residuals, x64):
    """Found by search: of sigma^2; with residuals, of log sigma, as the paper has it.

    Mutations: 4 lost under the root; the other root; + 2 lost; I left out; nu for nu lam.
    """
    beta, rho, nu, lam = np.array([0.5, -1.5, 0.1]), np.array([0.2, 0.75, 0.9]), 3.0, 0.4
    prior = scipy.stats.invgamma(nu / 2, scale=nu * lam / 2)
    options = {}
    if residuals is not None:
        options = {"num_data": len(residuals), "rss": np.square(residuals).sum()}
    linear, quadratic = np.sum((1 - rho) / V0 * abs(beta)), np.sum(rho / V1 * beta**2)
    sigma = scale(jnp.asarray(linear), jnp.asarray(quadratic), 3, nu=nu, lam=lam, **options)

    def q(s):
        total = expected_log_prior(beta, s, rho) + prior.logpdf(s**2)
        if residuals is None:
            return total
        return total + scipy.stats.norm.logpdf(residuals, scale=s).sum() + 2 * math.log(s)

    np.testing.assert_allclose(sigma, highest(q, 0.1, 10.0), rtol=1e-6)


def test_the_rate_is_the_mode_of_its_beta_distribution(x64):
    """Found by search, for several leaves at once.

    Mutations: the - 2 lost; b for a in the numerator.
    """
    total, size, a, b = np.array([0.3, 4.5, 9.9]), np.array([2.0, 9.0, 10.0]), 1.7, 6.0
    rate = inclusion_rate(jnp.asarray(total), jnp.asarray(size), a=a, b=b)
    modes = [
        highest(scipy.stats.beta(a + one, b + many - one).logpdf, 1e-6, 1 - 1e-6)
        for one, many in zip(total, size, strict=True)
    ]
    np.testing.assert_allclose(rate, modes, rtol=1e-6)


# The trap at delta = 0, and extremes.


def after_updates(prior, params, count):
    def body(latent, _):
        return prior.update(latent, params, 1.0, 1, None), None

    return jax.jit(lambda latent: jax.lax.scan(body, latent, length=count)[0])(prior.init(params))


@pytest.mark.parametrize(("v0", "v1"), [(0.1, 10.0), (0.005, 1e-5)])
@pytest.mark.parametrize("size", [1, 1000])
def test_default_delta_cannot_sink_for_good(size, v0, v1):
    """All weights at 0 and EM for 10,000 updates: delta stays off 0 and a weight can return.

    Mutation caught: a default of a = 1, which sinks where the slab is wider than the spike.
    """
    params = {"kernel": jnp.zeros(size)}
    prior = aeb.spike_slab(v0=v0, v1=v1)
    latent = after_updates(prior, params, 10_000)
    delta = float(latent.delta["kernel"])
    assert 0.5 / (size + 2) < delta < 1
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(latent))
    if v1 > v0:  # a wide slab claims a weight that moves far from 0
        back = {"kernel": jnp.full(size, 30 * v0 * latent.sigma)}
        assert float(prior.update(latent, back, 1.0, 1, None).rho["kernel"].min()) > 0.99


def test_a_of_one_is_the_trap_that_the_default_avoids():
    """The mirror of the test above: without it, that one might pass for want of a trap.

    Mutation caught: delta floored in the update, which would hide the trap instead.
    """
    params = {"kernel": jnp.zeros(1000)}
    latent = after_updates(aeb.spike_slab(v0=0.1, v1=10.0, a=1.0, b=1000.0), params, 10_000)
    assert float(latent.delta["kernel"]) < 1e-30


@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_extreme_weights_in_single_precision(sigma):
    """Nothing under- or overflows at v1 = 1e-5: rho, all latents and the gradient are finite.

    Mutations caught: densities in place of their logarithms; |beta| with slope 1 at 0.
    """
    params = {"kernel": jnp.asarray([0.0, 1e-30, -1e-30, 1e-3, 1e3, -1e3], jnp.float32)}
    prior = aeb.spike_slab(v0=0.005, v1=1e-5, sigma=sigma, sigma0=1.0)
    latent = prior.init(params)
    for _ in range(3):
        latent = prior.update(latent, params, 1.0, 10, None)
        for leaf in jax.tree.leaves(latent):
            assert leaf.dtype == jnp.float32
            assert bool(jnp.all(jnp.isfinite(leaf)))
        rho = np.asarray(latent.rho["kernel"])
        assert np.all((rho >= 0) & (rho <= 1))
        grad = jax.grad(prior.log_density)(params, latent)["kernel"]
        assert bool(jnp.all(jnp.isfinite(grad)))
        assert float(grad[0]) == 0.0
    first = prior.update(prior.init(params), params, 1.0, 10, None).rho["kernel"]
    assert float(first[4]) == float(first[5]) < 1e-6
    np.testing.assert_allclose(first[0], first[1], rtol=1e-6)
