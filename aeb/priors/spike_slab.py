# SPDX-License-Identifier: Apache-2.0
"""The spike-and-slab Gaussian-Laplace prior that learns itself (Deng et al., NeurIPS 2019).

For weight j of sparse leaf l, with inclusion indicator gamma:

    beta_lj | gamma = 0 ~ Laplace(scale v0 sigma)            the spike
    beta_lj | gamma = 1 ~ Normal(0, variance v1 sigma^2)     the slab
    gamma_lj | delta_l ~ Bernoulli(delta_l),  delta_l ~ Beta(a, b),  sigma^2 ~ IG(nu/2, nu lam/2)

Other leaves carry N(0, sigma0^2). Given the latents, the sampler sees the expected log prior

    Q = - sum kappa0 |beta| / sigma - sum kappa1 beta^2 / (2 sigma^2)
        - sum_other beta^2 / (2 sigma0^2)

with the two sums of the sparse leaves times w, the weight of their prior beside the likelihood, so
that what is sampled is

    p(D | beta) p(sparse beta | latents)^w p(other beta)

w = 1 is Bayes' rule and the paper. Below 1 it is a power prior: where weights outnumber the data, a
prior that is narrow enough to select is too heavy to shrink by. The pull of the spike on a weight
is w (1 - rho) / (v0 sigma), so w scales how hard the prior pulls and leaves alone which weights it
takes for spike: rho is the inclusion probability under the prior itself, not under its power.

One sweep of gain omega moves each latent x <- (1 - omega) x + omega x~, in this order, each target
from the values already moved (Eqs. 5-8):

    rho~    = A / (A + B),   A = N(beta; 0, v1 sigma^2) delta,
                             B = Laplace(beta; v0 sigma) (1 - delta)
    kappa0~ = (1 - rho) / v0,   kappa1~ = rho / v1
    sigma~  = (Rb + sqrt(Rb^2 + 4 Ra Rc)) / (2 Ra),
              Rb = w sum kappa0 |beta|,   J = w sum kappa1 beta^2,
              Gaussian likelihood:  Ra = N + w sum_l p_l + nu,   Rc = I + J + nu lam
              otherwise:            Ra = w sum_l p_l + nu + 2,   Rc = J + nu lam
    delta~_l = (w sum_j rho_lj + a - 1) / (a + b + w p_l - 2)

I is the residual sum of squares over the data. rho is computed from the difference of the two log
densities, so nothing under- or overflows. (The Gaussian Ra follows the paper; the exact root of
the written-out Q has N + sum p_l + nu + 2.)

With `follow_ramp` and a rule that has a target, sum rho in the last line is the share of weights
that the rule leaves, times p_l, and delta_l takes the value at once.

The trap at delta = 0. With a = 1 and small weights, delta~ = sum rho / (b + p - 1) shrinks with
rho, rho shrinks with delta, and the two sink to 0 for good. Here a and b default to 2, so that
1 / (p + 2) <= delta~ <= (p + 1) / (p + 2): the log odds against a weight stay within log(p + 1),
and data that speak for it can bring it back.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.precision import working_dtype
from aeb.stochastic_approximation import approximate
from aeb.tree import as_where, named_leaves, select
from aeb.types import ArrayTree, Prior, Where
from aeb.xla.sums import sums

__all__ = [
    "SpikeSlabLatent",
    "expected_penalties",
    "inclusion_probability",
    "inclusion_rate",
    "scale",
    "spike_slab",
]


class SpikeSlabLatent(NamedTuple):
    """The latents; trees are dicts from the path of a sparse leaf to an array."""

    rho: dict[str, jax.Array]  # f32[leaf shape]: inclusion probability, rho
    kappa0: dict[str, jax.Array]  # f32[leaf shape]: expected spike penalty, kappa_0
    kappa1: dict[str, jax.Array]  # f32[leaf shape]: expected slab penalty, kappa_1
    delta: dict[str, jax.Array]  # f32[]: prior inclusion rate of the leaf, delta_l
    sigma: jax.Array  # f32[]: scale of the prior, and of the noise in a regression


def spike_slab(
    v0: float,
    v1: float,
    *,
    weight: float = 1.0,
    where: Where = None,
    a: float = 2.0,
    b: float = 2.0,
    nu: float = 1.0,
    lam: float = 1.0,
    sigma0: float = math.inf,
    rho: float = 0.5,
    kappa0: float | None = None,
    kappa1: float | None = None,
    delta: float = 0.5,
    sigma: float = 1.0,
    learn_sigma: bool = True,
    learn_delta: bool = True,
    follow_ramp: bool = False,
) -> Prior:
    """Spike-and-slab prior with learned inclusion probabilities, penalties, rates and scale.

    To select, v0 and sqrt(v1) have to be at the scale of the weights: v0 about as large as a
    weight that may go, sqrt(v1) as one that stays. With v1 so small that the slab is narrower than
    the spike, rho favours small weights.

    Args:
        v0: scale of the spike in units of sigma, > 0.
        v1: variance of the slab in units of sigma^2, > 0.
        weight: w, the power of the prior beside the likelihood, > 0. 1 samples the posterior;
            where weights outnumber the data, less keeps the spike from shrinking them all.
        where: the leaves that carry it: a regular expression searched in the path, a function
            `(path, leaf) -> bool`, or None for every leaf but those named bias or scale.
        a: first parameter of the Beta prior of delta, >= 1; above 1 keeps delta off 0.
        b: second parameter, >= 1; above 1 keeps delta off 1.
        nu: degrees of freedom of the prior of sigma^2, > 0.
        lam: its scale, > 0.
        sigma0: standard deviation of the other leaves, > 0; inf is flat.
        rho: starting inclusion probability, in [0, 1].
        kappa0: starting spike penalty, >= 0; None for (1 - rho) / v0.
        kappa1: starting slab penalty, >= 0; None for rho / v1.
        delta: starting inclusion rate, in (0, 1).
        sigma: starting scale, > 0.
        learn_sigma: whether sigma is updated.
        learn_delta: whether delta is updated.
        follow_ramp: whether delta is the share of weights that the sparsifier leaves at the step,
            in place of what Eq. 8 finds. A prior that learns its rate may give up most weights
            long before a ramp asks for them, and a weight given up is pulled to zero; one that
            follows the ramp takes them as they are asked for. It does nothing without a rule that
            has a target, and with one it goes before `learn_delta`.

    Returns:
        A `Prior` whose latent is a `SpikeSlabLatent`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> prior = spike_slab(v0=0.1, v1=1.0)
        >>> latent = prior.init({"kernel": jnp.array([0.0, 3.0])})
        >>> latent.rho
        {'kernel': Array([0.5, 0.5], dtype=float32)}
    """
    positive = {"v0": v0, "v1": v1, "weight": weight, "nu": nu, "lam": lam, "sigma": sigma}
    for name, value in positive.items():
        guards.positive(name, value)
    guards.at_least("a", a, 1.0)
    guards.at_least("b", b, 1.0)
    guards.within("sigma0", sigma0, "(0, inf]")
    guards.within("rho", rho, "[0, 1]")
    guards.within("delta", delta, "(0, 1)")
    kappa0 = (1.0 - rho) / v0 if kappa0 is None else kappa0
    kappa1 = rho / v1 if kappa1 is None else kappa1
    guards.at_least("kappa0", kappa0, 0.0)
    guards.at_least("kappa1", kappa1, 0.0)
    chosen = as_where(where)

    def init(params: ArrayTree) -> SpikeSlabLatent:
        sparse = select(params, chosen)

        def filled(value: Any) -> dict[str, jax.Array]:
            return {
                path: jnp.full_like(leaf, value, dtype=working_dtype(leaf))
                for path, leaf in sparse.items()
            }

        rates = {path: jnp.asarray(delta, working_dtype(x)) for path, x in sparse.items()}
        scale = jnp.asarray(sigma, working_dtype(*sparse.values()))
        return SpikeSlabLatent(filled(rho), filled(kappa0), filled(kappa1), rates, scale)

    def log_density(params: ArrayTree, latent: SpikeSlabLatent) -> jax.Array:
        def sparse_term(path: str, beta: jax.Array) -> jax.Array:
            scaled = beta / latent.sigma.astype(beta.dtype)
            # Its slope at 0 is 0. That of JAX's abs is 1, which would pull on every pruned weight.
            laplace = latent.kappa0[path] * scaled * jnp.sign(scaled)
            return weight * jnp.sum(laplace + 0.5 * latent.kappa1[path] * jnp.square(scaled))

        energy = jnp.zeros_like(latent.sigma)
        for path, leaf in named_leaves(params).items():
            beta = leaf.astype(working_dtype(leaf))
            sparse = path in latent.rho
            term = sparse_term(path, beta) if sparse else 0.5 * jnp.sum(jnp.square(beta / sigma0))
            energy = energy + term.astype(energy.dtype)
        return -energy

    def update(
        latent: SpikeSlabLatent,
        params: ArrayTree,
        omega: Any,
        num_data: Any,
        rss: Any = None,
        kept: Any = None,
    ) -> SpikeSlabLatent:
        leaves = named_leaves(params)
        magnitude = {p: jnp.abs(leaves[p]).astype(old.dtype) for p, old in latent.rho.items()}
        chances = {
            path: inclusion_probability(beta, latent.sigma, latent.delta[path], v0=v0, v1=v1)
            for path, beta in magnitude.items()
        }
        rho = approximate(latent.rho, chances, omega)
        penalties = {path: expected_penalties(chance, v0=v0, v1=v1) for path, chance in rho.items()}
        kappa0 = approximate(latent.kappa0, {p: both[0] for p, both in penalties.items()}, omega)
        kappa1 = approximate(latent.kappa1, {p: both[1] for p, both in penalties.items()}, omega)
        totals = {
            path: sums(rho[path], kappa0[path] * beta, kappa1[path] * beta * beta)
            for path, beta in magnitude.items()
        }
        new_sigma, new_delta = latent.sigma, latent.delta
        if learn_sigma:
            dtype = latent.sigma.dtype
            zero = jnp.zeros((), dtype)
            linear, quadratic = (
                weight * sum((each[part].astype(dtype) for each in totals.values()), zero)
                for part in (1, 2)
            )
            size = weight * float(sum(chance.size for chance in rho.values()))
            target = scale(linear, quadratic, size, nu=nu, lam=lam, num_data=num_data, rss=rss)
            new_sigma = approximate(latent.sigma, target, omega)
        if follow_ramp and kept is not None:
            # Given, not learned: no gain stands between the ramp and the rate.
            share = jnp.asarray(kept, latent.sigma.dtype)
            new_delta = {
                path: inclusion_rate(
                    share.astype(old.dtype) * rho[path].size, rho[path].size, a=a, b=b
                )
                for path, old in latent.delta.items()
            }
        elif learn_delta:
            rates = {
                path: inclusion_rate(weight * totals[path][0], weight * chance.size, a=a, b=b)
                for path, chance in rho.items()
            }
            new_delta = approximate(latent.delta, rates, omega)
        return SpikeSlabLatent(rho, kappa0, kappa1, new_delta, new_sigma)

    return Prior(
        init,
        log_density,
        update,
        chosen,
        noise_scale=lambda latent: latent.sigma,
        inclusion=lambda latent: latent.rho,
    )


def inclusion_probability(
    beta: jax.Array, sigma: jax.Array, delta: jax.Array, *, v0: float, v1: float
) -> jax.Array:
    """Probability that a weight came from the slab, given its value (Eq. 5).

    Args:
        beta: f32[...], the weights.
        sigma: f32[], the scale.
        delta: f32[], the prior inclusion rate; at 0 or 1 the answer is 0 or 1.
        v0: scale of the spike in units of sigma.
        v1: variance of the slab in units of sigma^2.

    Returns:
        f32[...] in [0, 1].

    Example:
        >>> beta, sigma, delta = jnp.array([0.0, 1.0]), jnp.array(1.0), jnp.array(0.5)
        >>> rho = inclusion_probability(beta, sigma, delta, v0=0.1, v1=1.0)
        >>> [f"{value:.3f}" for value in rho.tolist()]
        ['0.074', '0.999']
    """
    scaled = jnp.abs(beta) / sigma.astype(beta.dtype)
    rate = delta.astype(beta.dtype)
    # Both densities carry 1 / sigma, which cancels. No logarithm of delta: on a CPU a scalar of its
    # own takes a small model longer than all of its weights do.
    spike = -scaled / v0 - jnp.log(2.0 * v0)
    slab = -0.5 * jnp.square(scaled) / v1 - 0.5 * jnp.log(2.0 * jnp.pi * v1)
    largest = 0.9 * math.log(jnp.finfo(beta.dtype).max)
    ratio = jnp.exp(jnp.clip(spike - slab, -largest, largest))
    return rate / (rate + (1 - rate) * ratio)


def expected_penalties(rho: jax.Array, *, v0: float, v1: float) -> tuple[jax.Array, jax.Array]:
    """Compute the expected penalties of spike and slab (Eq. 6).

    Args:
        rho: f32[...], inclusion probabilities.
        v0: scale of the spike in units of sigma.
        v1: variance of the slab in units of sigma^2.

    Returns:
        kappa0, in 1 / sigma, and kappa1, in 1 / sigma^2, both f32[...].

    Example:
        >>> expected_penalties(jnp.array([0.75]), v0=0.5, v1=3.0)
        (Array([0.5], dtype=float32), Array([0.25], dtype=float32))
    """
    return (1.0 - rho) / v0, rho / v1


def scale(
    linear: jax.Array,
    quadratic: jax.Array,
    size: float,
    *,
    nu: float,
    lam: float,
    num_data: Any = None,
    rss: Any = None,
) -> jax.Array:
    """Compute the scale that maximises the expected log posterior (Eq. 7).

    Args:
        linear: Rb = sum kappa0 |beta|, f32[], in units of sigma.
        quadratic: J = sum kappa1 beta^2, f32[], in units of sigma^2.
        size: the number of weights in these sums.
        nu: degrees of freedom of the prior of sigma^2.
        lam: its scale.
        num_data: N, read with `rss` alone.
        rss: I, the residual sum of squares over all the data, f32[]; None where the likelihood has
            no noise scale.

    Returns:
        sigma > 0, f32[], the positive root of Ra s^2 - Rb s - Rc.

    Example:
        >>> float(scale(jnp.array(2.0), jnp.array(3.0), 1.0, nu=1.0, lam=1.0))
        1.2807763814926147
    """
    constant = quadratic + nu * lam
    if rss is None:
        leading = jnp.asarray(size + nu + 2.0, linear.dtype)
    else:
        leading = jnp.asarray(num_data + size + nu, linear.dtype)
        constant = constant + jnp.asarray(rss, linear.dtype)
    # The root of Rb^2 + 4 Ra Rc by hypot: Rb^2 alone overflows float32 for a wide network.
    root = jnp.hypot(linear, 2.0 * jnp.sqrt(leading) * jnp.sqrt(constant))
    return (linear + root) / (2.0 * leading)


def inclusion_rate(total: jax.Array, size: float, *, a: float, b: float) -> jax.Array:
    """Compute the mode of the inclusion rate of a leaf (Eq. 8).

    Args:
        total: sum of rho over the leaf, f32[].
        size: the number of its weights.
        a: first parameter of the Beta prior.
        b: second parameter.

    Returns:
        delta in [0, 1], f32[].

    Example:
        >>> float(inclusion_rate(jnp.array(2.0), 4, a=2.0, b=2.0))
        0.5
    """
    return (total + (a - 1.0)) / (a + b + size - 2.0)
