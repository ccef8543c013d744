# SPDX-License-Identifier: Apache-2.0
"""The spike-and-slab Gaussian-Laplace prior that learns itself (Deng et al., NeurIPS 2019).

For weight j of sparse leaf l, with inclusion indicator gamma:

    beta_lj | gamma = 0 ~ Laplace(scale v0 sigma)            the spike
    beta_lj | gamma = 1 ~ Normal(0, variance v1 sigma^2)     the slab
    gamma_lj | delta_l ~ Bernoulli(delta_l),  delta_l ~ Beta(a, b),  sigma^2 ~ IG(nu/2, nu lam/2)

Other leaves have the prior N(0, sigma0^2). Given the latents, the sampler sees the expected log
prior

    Q = - sum kappa0 |beta| / sigma - sum kappa1 beta^2 / (2 sigma^2)
        - sum_other beta^2 / (2 sigma0^2)

The two sums over sparse leaves are multiplied by w, the weight of their prior relative to the
likelihood. So the sampler samples

    p(D | beta) p(sparse beta | latents)^w N(sparse beta; 0, 1 / tau) p(other beta)

w = 1 is Bayes' rule and the paper. w < 1 is a power prior. If there are more weights than data, a
prior that is narrow enough to select would shrink the weights too hard. The pull of the spike on a
weight is w (1 - rho) / (v0 sigma). So w changes how hard the prior pulls, but not which weights it
assigns to the spike: rho is the inclusion probability under the prior itself, not under its power.

Weight decay is a further factor N(beta; 0, 1 / tau) on the same weights, to which w does not apply.
Without it hardly anything limits the weights in front of a BatchNorm. Their scale does not change
the outputs, so they grow at a high learning rate. A threshold that all leaves share then keeps
whole leaves that grew, and empties others.

If v0, v1 and w are not given, the prior takes them from each leaf at `init`. With s_l the size of a
weight in the leaf (`typical_size`), p the number of sparse weights and N the number of examples:

    v0 sigma = s_l / 10,   v1 sigma^2 = (3 s_l)^2,   w = min(1, N / (5 p))

So rho separates weights well below s_l from weights well above it, and all sparse weights together
count at most a fifth as much as the data. If the weights of a leaf are c times as large and compute
the same function, the gradients are 1 / c times as large. The pull of this spike, w / (v0 sigma),
and that of this slab, w beta / (v1 sigma^2), change by the same factor. So w need not depend on the
scale. The latent keeps s_l and w.

One update with gain omega moves each latent x <- (1 - omega) x + omega x~, in this order. Each
target x~ is computed from the values that have already moved (Eqs. 5-8):

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
Q written out has N + sum p_l + nu + 2.)

With `follow_ramp` and a rule that has a target, sum rho in the last line is replaced by p_l times
the share of weights that the rule keeps, and delta_l takes the new value at once.

Beware of the trap at delta = 0. With a = 1 and small weights, delta~ = sum rho / (b + p - 1)
shrinks with rho, rho shrinks with delta, and both sink to 0 and stay there. Here a and b are 2 by
default, so 1 / (p + 2) <= delta~ <= (p + 1) / (p + 2). The log odds against a weight then stay
within log(p + 1), and data that support the weight can bring it back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.precision import working_dtype
from aeb.stochastic_approximation import approximate
from aeb.tree import as_where, brief, describe, named_leaves, select
from aeb.types import ArrayTree, Prior, Where
from aeb.xla.parts import cut
from aeb.xla.sums import sums

__all__ = [
    "SpikeSlabLatent",
    "expected_penalties",
    "inclusion_probability",
    "inclusion_rate",
    "paper_spike_slab",
    "scale",
    "spike_slab",
    "typical_size",
]


SPIKE = 0.1
"""The default scale of the spike, in units of the initial size of a weight."""

SLAB = 3.0
"""The default standard deviation of the slab, in the same units."""

SHARE = 0.2
"""By default, all sparse weights together count at most as much as this share of the examples.
ResNet20 on 50,000 images needs about this much: w = 1/30 for 270,000 weights."""

PAPER = {0.3: (0.5, 1e-3), 0.5: (0.1, 5e-4), 0.7: (0.1, 5e-5), 0.9: (0.005, 1e-5)}
"""v0 and v1 of the authors' ResNet20 on CIFAR-10, by sparsity."""


class SpikeSlabLatent(NamedTuple):
    """The latents of the prior. Trees are dicts from the path of a sparse leaf to an array.

    Example:
        >>> latent = spike_slab().init({"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)})
        >>> {path: rho.shape for path, rho in latent.rho.items()}
        {'kernel': (2, 3)}
    """

    rho: dict[str, jax.Array]  # f32[leaf shape]: inclusion probability, rho
    kappa0: dict[str, jax.Array]  # f32[leaf shape]: expected spike penalty, kappa_0
    kappa1: dict[str, jax.Array]  # f32[leaf shape]: expected slab penalty, kappa_1
    delta: dict[str, jax.Array]  # f32[]: prior inclusion rate of the leaf, delta_l
    sigma: jax.Array  # f32[]: scale of the prior, and of the noise in a regression
    size: Any = ()  # f32[] by path: initial size of a weight, s_l; () if v0 and v1 are given
    weight: Any = ()  # f32[]: w, once N is known; () if it is given

    def __repr__(self) -> str:
        if not isinstance(self.delta, dict):  # a tree of axes or shardings, not of arrays
            return f"SpikeSlabLatent{tuple(self)}"
        trees = [f"{name}={describe(getattr(self, name))}" for name in ("rho", "kappa0", "kappa1")]
        rates = ", ".join(brief(rate) for rate in self.delta.values())
        return f"SpikeSlabLatent({', '.join(trees)}, delta=[{rates}], sigma={brief(self.sigma)})"


def spike_slab(
    v0: float | None = None,
    v1: float | None = None,
    *,
    weight: float | None = None,
    where: Where = None,
    a: float = 2.0,
    b: float = 2.0,
    nu: float = 1.0,
    lam: float = 1.0,
    sigma0: float = math.inf,
    precision: float = 0.0,
    rho: float = 0.5,
    kappa0: float | None = 0.0,
    kappa1: float | None = None,
    delta: float = 0.5,
    sigma: float = 1.0,
    learn_sigma: bool | None = None,
    learn_delta: bool = True,
    follow_ramp: bool = True,
) -> Prior:
    """Build a spike-and-slab prior that learns its inclusion probabilities, rates and scale.

    `spike_slab()` takes v0, v1 and the weight from the network that it is given, so start from
    trained weights. If you choose them, v0 and sqrt(v1) must be at the scale of the weights: v0
    about as large as a weight that may go, sqrt(v1) about as large as one that stays. If v1 is so
    small that the slab is narrower than the spike, rho favours small weights. For the prior with
    the paper's settings see `paper_spike_slab`.

    Args:
        v0: scale of the spike in units of sigma, > 0; None for a tenth of the typical size of the
            weights of a leaf at `init`.
        v1: variance of the slab in units of sigma^2, > 0; None for the square of three times that
            size.
        weight: w, the weight of the prior relative to the likelihood, > 0. 1 samples the posterior.
            If there are more weights than data, a smaller one keeps the spike from shrinking all
            of them. None is 1 if v0 and v1 are given, otherwise min(1, N / (5 p)).
        where: the leaves with this prior: a regular expression to search for in the path, a
            function `(path, leaf) -> bool`, or None for every leaf except those named bias or
            scale.
        a: first parameter of the Beta prior of delta, >= 1; above 1 it keeps delta away from 0.
        b: second parameter, >= 1; above 1 it keeps delta away from 1.
        nu: degrees of freedom of the prior of sigma^2, > 0.
        lam: scale of the prior of sigma^2, > 0.
        sigma0: standard deviation of the prior of all other leaves, > 0; inf is flat.
        precision: tau of a further factor N(0, 1 / tau) on each weight that has this prior, >= 0.
            To continue with the weight decay of the original training, pass N times that decay.
        rho: starting inclusion probability, in [0, 1].
        kappa0: starting spike penalty, >= 0. With 0, no weight is pulled before rho has been
            learned. None is (1 - rho) / v0, which pulls all weights alike.
        kappa1: starting slab penalty, >= 0; None for rho / v1.
        delta: starting inclusion rate, in (0, 1).
        sigma: starting scale, > 0.
        learn_sigma: whether to learn sigma. None learns it only if it is also the noise of a
            Gaussian likelihood. Otherwise pruned weights drag it down, and the spike pulls harder.
        learn_delta: whether to learn delta.
        follow_ramp: whether to set delta to the share of weights that the sparsifier leaves at the
            step, instead of learning it by Eq. 8. A prior that learns its rate may give up most
            weights long before the ramp asks for them, and then pulls them to zero. A prior that
            follows the ramp gives them up as the ramp asks for them. This has no effect without a
            rule that has a target, and with such a rule it overrides `learn_delta`.

    Returns:
        A `Prior` whose latent is a `SpikeSlabLatent`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> prior = spike_slab()
        >>> latent = prior.init({"kernel": jnp.array([0.0, 3.0])})
        >>> latent.rho, latent.size
        ({'kernel': Array([0.5, 0.5], dtype=float32)}, {'kernel': Array(3., dtype=float32)})
    """
    measured = v0 is None or v1 is None
    if weight is None and not measured:
        weight = 1.0
    positive = {"v0": v0, "v1": v1, "weight": weight, "nu": nu, "lam": lam, "sigma": sigma}
    for name, value in positive.items():
        if value is not None:
            guards.positive(name, value)
    guards.at_least("a", a, 1.0)
    guards.at_least("b", b, 1.0)
    guards.within("sigma0", sigma0, "(0, inf]")
    guards.at_least("precision", precision, 0.0)
    guards.within("rho", rho, "[0, 1]")
    guards.within("delta", delta, "(0, 1)")
    for name, value in (("kappa0", kappa0), ("kappa1", kappa1)):
        if value is not None:
            guards.at_least(name, value, 0.0)
    chosen = as_where(where)

    def widths(size: Any, path: str) -> tuple[Any, Any]:
        """Return scale of the spike and variance of the slab of a leaf, in units of sigma."""
        spike = SPIKE * size[path] / sigma if v0 is None else v0
        slab = jnp.square(SLAB * size[path] / sigma) if v1 is None else v1
        return spike, slab

    def power(latent: SpikeSlabLatent, dtype: Any) -> Any:
        """Return w, in the type of what it multiplies."""
        return latent.weight.astype(dtype) if weight is None else weight

    def init(params: ArrayTree) -> SpikeSlabLatent:
        sparse = select(params, chosen)
        size = {p: typical_size(leaf) for p, leaf in sparse.items()} if measured else ()
        width = {path: widths(size, path) for path in sparse}

        def filled(value: Any, at: Callable[[Any, Any], Any]) -> dict[str, jax.Array]:
            """Fill arrays with a value, or with what the widths of the leaf make of None."""
            return {
                path: jnp.full_like(
                    leaf, at(*width[path]) if value is None else value, dtype=working_dtype(leaf)
                )
                for path, leaf in sparse.items()
            }

        rates = {path: jnp.asarray(delta, working_dtype(x)) for path, x in sparse.items()}
        scale = jnp.asarray(sigma, working_dtype(*sparse.values()))
        unknown = jnp.ones_like(scale) if weight is None else ()
        return SpikeSlabLatent(
            rho=filled(rho, lambda spike, slab: rho),
            kappa0=filled(kappa0, lambda spike, slab: (1.0 - rho) / spike),
            kappa1=filled(kappa1, lambda spike, slab: rho / slab),
            delta=rates,
            sigma=scale,
            size=size,
            weight=unknown,
        )

    def with_num_data(latent: SpikeSlabLatent, num_data: Any) -> SpikeSlabLatent:
        if weight is not None:
            return latent
        count = sum(chance.size for chance in latent.rho.values())
        found = jnp.minimum(1.0, SHARE * num_data / count)
        return latent._replace(weight=jnp.asarray(found, latent.weight.dtype))

    def log_density(params: ArrayTree, latent: SpikeSlabLatent) -> jax.Array:
        def sparse_term(path: str, beta: jax.Array) -> jax.Array:
            scaled = beta / latent.sigma.astype(beta.dtype)
            # Its slope at 0 is 0. The slope of JAX's abs is 1, and would pull every pruned weight.
            laplace = latent.kappa0[path] * scaled * jnp.sign(scaled)
            mixture = power(latent, beta.dtype) * jnp.sum(
                laplace + 0.5 * latent.kappa1[path] * jnp.square(scaled)
            )
            if not precision:
                return mixture
            return mixture + 0.5 * precision * jnp.sum(jnp.square(beta))

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
        *,
        kept: Any = None,
    ) -> SpikeSlabLatent:
        latent = with_num_data(latent, num_data)
        leaves = named_leaves(params)
        width = {path: widths(latent.size, path) for path in latent.rho}
        magnitude = {p: jnp.abs(leaves[p]).astype(old.dtype) for p, old in latent.rho.items()}
        chances = {
            path: inclusion_probability(
                beta, latent.sigma, latent.delta[path], v0=width[path][0], v1=width[path][1]
            )
            for path, beta in magnitude.items()
        }
        rho = approximate(latent.rho, chances, omega)
        penalties = {
            path: expected_penalties(chance, v0=width[path][0], v1=width[path][1])
            for path, chance in rho.items()
        }
        kappa0 = approximate(latent.kappa0, {p: both[0] for p, both in penalties.items()}, omega)
        kappa1 = approximate(latent.kappa1, {p: both[1] for p, both in penalties.items()}, omega)
        totals = {
            path: sums(rho[path], kappa0[path] * beta, kappa1[path] * beta * beta)
            for path, beta in magnitude.items()
        }
        new_sigma, new_delta = latent.sigma, latent.delta
        if rss is not None if learn_sigma is None else learn_sigma:
            dtype = latent.sigma.dtype
            w = power(latent, dtype)
            zero = jnp.zeros((), dtype)
            linear, quadratic = (
                w * sum((each[part].astype(dtype) for each in totals.values()), zero)
                for part in (1, 2)
            )
            size = w * float(sum(chance.size for chance in rho.values()))
            target = scale(linear, quadratic, size, nu=nu, lam=lam, num_data=num_data, rss=rss)
            new_sigma = approximate(latent.sigma, target, omega)
        if follow_ramp and kept is not None:
            # The ramp sets the rate directly. It is not learned, so no gain applies.
            share = jnp.asarray(kept, latent.sigma.dtype)
            sizes = jnp.asarray([chance.size for chance in rho.values()], share.dtype)
            each = cut(inclusion_rate(share * sizes, sizes, a=a, b=b), [()] * sizes.size)
            new_delta = {
                path: rate.astype(old.dtype)
                for (path, old), rate in zip(latent.delta.items(), each, strict=True)
            }
        elif learn_delta:
            rates = {
                path: inclusion_rate(
                    power(latent, chance.dtype) * totals[path][0],
                    power(latent, chance.dtype) * chance.size,
                    a=a,
                    b=b,
                )
                for path, chance in rho.items()
            }
            new_delta = approximate(latent.delta, rates, omega)
        return latent._replace(
            rho=rho, kappa0=kappa0, kappa1=kappa1, delta=new_delta, sigma=new_sigma
        )

    return Prior(
        init,
        log_density,
        update,
        chosen,
        noise_scale=lambda latent: latent.sigma,
        inclusion=lambda latent: latent.rho,
        with_num_data=with_num_data if weight is None else None,
    )


def paper_spike_slab(
    sparsity: float = 0.9, *, num_weights: float = 267_264, where: Where = None
) -> Prior:
    """Build the spike-and-slab prior of the paper, for its ResNet20 on CIFAR-10.

    Its numbers belong to that network, to a step size of 2e-9, and to N = 50,000 over 1000 epochs.
    With them rho does not select, and the penalties act as a strong weight decay. For a network of
    your own use `spike_slab()`.

    Args:
        sparsity: in (0, 1). The paper has v0 and v1 for 0.3, 0.5, 0.7 and 0.9; the nearest is
            taken.
        num_weights: p, the number of sparse weights, > 0. a, b and nu are in proportion to it.
        where: as in `spike_slab`.

    Returns:
        A `Prior` whose latent is a `SpikeSlabLatent`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> latent = paper_spike_slab(0.5).init({"kernel": jnp.ones(1)})
        >>> round(float(latent.kappa0["kernel"][0]), 6)
        0.0005
    """
    guards.within("sparsity", sparsity, "(0, 1)")
    guards.positive("num_weights", num_weights)
    v0, v1 = PAPER[min(PAPER, key=lambda known: (abs(known - sparsity), -known))]
    share = num_weights / 267_264
    strength = max(2.7e5 * share, 1.0)
    return spike_slab(
        v0,
        v1,
        where=where,
        a=strength,
        b=strength,
        nu=1000.0 * share,
        lam=1000.0,
        kappa0=5e-4,
        kappa1=5e-4,
        learn_sigma=True,
        follow_ramp=False,
    )


def typical_size(leaf: jax.Array) -> jax.Array:
    """Compute the root mean square of the weights of a leaf that are not zero.

    So the size of a pruned leaf is that of its remaining weights. A leaf of zeros gets the size
    that an initializer would give it: one over the square root of its number of inputs.

    Args:
        leaf: f32[...], the weights.

    Returns:
        f32[], > 0.

    Example:
        >>> float(typical_size(jnp.array([3.0, 0.0, -3.0, 0.0])))
        3.0
    """
    magnitude = jnp.abs(leaf.astype(working_dtype(leaf)))
    # Relative to the largest weight, so that no square under- or overflows.
    largest = jnp.max(magnitude, initial=0.0)
    unit = jnp.where(largest > 0, largest, 1.0)
    kept = jnp.maximum(jnp.sum(magnitude > 0), 1).astype(magnitude.dtype)
    size = unit * jnp.sqrt(jnp.sum(jnp.square(magnitude / unit)) / kept)
    inputs = max(leaf.size // leaf.shape[-1], 1) if leaf.size and leaf.ndim else 1
    return jnp.where(largest > 0, size, inputs**-0.5)


def inclusion_probability(
    beta: jax.Array, sigma: jax.Array, delta: jax.Array, *, v0: float, v1: float
) -> jax.Array:
    """Compute the probability that a weight came from the slab, given its value (Eq. 5).

    Args:
        beta: f32[...], the weights.
        sigma: f32[], the scale.
        delta: f32[], the prior inclusion rate. At 0 or 1 the result is 0 or 1.
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
    # 1 / sigma is in both densities and cancels. We avoid the logarithm of delta: for a small model
    # on a CPU, this one scalar would take longer than all the weights.
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
        lam: scale of the prior of sigma^2.
        num_data: N; it is used only with `rss`.
        rss: I, the residual sum of squares over all the data, f32[]; None if the likelihood has no
            noise scale.

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


def inclusion_rate(total: jax.Array, size: float | jax.Array, *, a: float, b: float) -> jax.Array:
    """Compute the mode of the inclusion rate of a leaf (Eq. 8), or of several leaves.

    Args:
        total: sum of rho over the leaf, f32[]; of several leaves f32[leaves].
        size: the number of its weights; of several leaves f32[leaves].
        a: first parameter of the Beta prior.
        b: second parameter.

    Returns:
        delta in [0, 1], of the shape of `total`.

    Example:
        >>> float(inclusion_rate(jnp.array(2.0), 4, a=2.0, b=2.0))
        0.5
    """
    return (total + (a - 1.0)) / (a + b + size - 2.0)
