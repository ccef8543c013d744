# SPDX-License-Identifier: Apache-2.0
"""The whole algorithm in float64 numpy, written from the equations and from nothing else.

No jax, no import from `aeb`: a slip in the library would have to be made twice to go unseen.
Weights are dicts from path to array, the latents likewise. One call of `step` is, in this order,

    g        = grad log p(D | beta) + grad log p(beta | latents held before the step)
    SGLD       beta <- beta + eps g
    SGHMC      r <- (1 - alpha) r + eps g;  beta <- beta + r              (both at T = 0)
    rho      ~ P(gamma = 1 | beta): Normal(0, v1 s^2) delta against Laplace(0, v0 s) (1 - delta)
    kappa0   ~ (1 - rho) / v0
    kappa1   ~ rho / v1
    sigma    ~ (Rb + sqrt(Rb^2 + 4 Ra Rc)) / (2 Ra)
    delta_l  ~ (sum rho_l + a - 1) / (a + b + p_l - 2)
    prune      the round(s * size) smallest |beta|, the earlier index first among equals

where each latent moves by x <- (1 - omega) x + omega x~ and the next one sees the new value. With a
weight other than 1 the prior of the sparse leaves counts that many times: in g, and in each sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Tree = dict[str, np.ndarray]


class Spec(NamedTuple):
    """All that fixes a chain: the sampler, the prior and its learning, pruning, the likelihood."""

    likelihood: str = "categorical"  # or "gaussian"
    dynamics: str = "sghmc"  # or "sgld"
    num_data: int = 1
    step_size: Callable[[int], float] = lambda k: 1e-3
    friction: float = 0.1
    selected: tuple[str, ...] = ()
    v0: float = 0.1
    v1: float = 1.0
    weight: float = 1.0
    a: float = 2.0
    b: float = 2.0
    nu: float = 1.0
    lam: float = 1.0
    sigma0: float = math.inf
    precision: float = 0.0
    learn_sigma: bool = True
    learn_delta: bool = True
    follow_ramp: bool = False
    gain: Callable[[int], float] = lambda k: 0.1
    scope: str | None = None  # None, "leaf" or "global"
    of: str = "selected"  # or "all"
    target: float = 0.9
    decay: float = 0.99
    every: int = 50


class Chain(NamedTuple):
    """What the chain carries; every array is float64."""

    step: int
    position: Tree
    momentum: Tree
    rho: Tree
    kappa0: Tree
    kappa1: Tree
    delta: dict[str, float]
    sigma: float
    loss: float  # of the minibatch, at the position before the step


def robbins_monro(c: float, a: float, alpha: float) -> Callable[[int], float]:
    """Gain omega_k = C (A + k)^-alpha."""
    return lambda k: c * (a + k) ** -alpha


def start(
    spec: Spec,
    position: Tree,
    *,
    rho: float,
    kappa0: float,
    kappa1: float,
    delta: float,
    sigma: float,
) -> Chain:
    """Begin a chain at rest, each latent at the same value in every place."""
    position = {path: np.asarray(leaf, np.float64) for path, leaf in position.items()}

    def filled(value: float) -> Tree:
        return {path: np.full(position[path].shape, value) for path in spec.selected}

    return Chain(
        step=0,
        position=position,
        momentum={path: np.zeros_like(leaf) for path, leaf in position.items()},
        rho=filled(rho),
        kappa0=filled(kappa0),
        kappa1=filled(kappa1),
        delta=dict.fromkeys(spec.selected, delta),
        sigma=sigma,
        loss=math.inf,
    )


# The model: a two-layer tanh network, its loss, and its gradients by hand.


def forward(position: Tree, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the hidden activations and the outputs."""
    hidden = np.tanh(x @ position["hidden/kernel"] + position["hidden/bias"])
    return hidden, hidden @ position["output/kernel"] + position["output/bias"]


def mean_loss(likelihood: str, position: Tree, x: np.ndarray, y: np.ndarray) -> float:
    """Return half the mean squared error (one output), or the mean cross-entropy."""
    _, out = forward(position, x)
    if likelihood == "gaussian":
        return float(np.sum((y - out[:, 0]) ** 2) / (2 * len(y)))
    top = out.max(axis=1)
    log_normaliser = top + np.log(np.sum(np.exp(out - top[:, None]), axis=1))
    return float(np.mean(log_normaliser - out[np.arange(len(y)), y]))


def mean_loss_grad(likelihood: str, position: Tree, x: np.ndarray, y: np.ndarray) -> Tree:
    """Return the gradient of `mean_loss`, by the chain rule written out."""
    hidden, out = forward(position, x)
    if likelihood == "gaussian":
        d_out = (out - y[:, None]) / len(y)
    else:
        weights = np.exp(out - out.max(axis=1, keepdims=True))
        d_out = weights / weights.sum(axis=1, keepdims=True)
        d_out[np.arange(len(y)), y] -= 1
        d_out /= len(y)
    d_hidden = (d_out @ position["output/kernel"].T) * (1 - hidden**2)
    return {
        "hidden/kernel": x.T @ d_hidden,
        "hidden/bias": d_hidden.sum(axis=0),
        "output/kernel": hidden.T @ d_out,
        "output/bias": d_out.sum(axis=0),
    }


# The posterior, the latents, the zeros.


def log_likelihood_grad(spec: Spec, chain: Chain, x: np.ndarray, y: np.ndarray) -> Tree:
    """Return the gradient of log p(D | beta) in nats over all the data."""
    per_nat = spec.num_data / (chain.sigma**2 if spec.likelihood == "gaussian" else 1.0)
    grad = mean_loss_grad(spec.likelihood, chain.position, x, y)
    return {path: -per_nat * leaf for path, leaf in grad.items()}


def log_prior_grad(spec: Spec, chain: Chain) -> Tree:
    """Return the gradient of the prior part of Q, with decay, and of N(0, sigma0^2) elsewhere."""
    grad = {}
    for path, beta in chain.position.items():
        if path in spec.selected:
            laplace = -chain.kappa0[path] * np.sign(beta) / chain.sigma
            normal = -chain.kappa1[path] * beta / chain.sigma**2
            grad[path] = spec.weight * (laplace + normal) - spec.precision * beta
        else:
            grad[path] = -beta / spec.sigma0**2  # zero where sigma0 is infinite
    return grad


def inclusion_probability(beta, delta: float, sigma: float, v0: float, v1: float):
    """Return P(gamma = 1 | beta), through the log of the odds so that nothing underflows."""
    variance, scale = v1 * sigma**2, v0 * sigma
    log_normal = -(beta**2) / (2 * variance) - math.log(2 * math.pi * variance) / 2
    log_laplace = -np.abs(beta) / scale - math.log(2 * scale)
    with np.errstate(divide="ignore"):
        log_odds = log_normal + np.log(delta) - log_laplace - np.log1p(-delta)
    # 1 / (1 + exp(-x)) without overflow for either sign of x.
    small = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, small) / (1 + small)


def sigma_target(spec: Spec, position: Tree, kappa0: Tree, kappa1: Tree, rss: float) -> float:
    """Return the positive root of Ra s^2 - Rb s - Rc = 0 (Eq. 7)."""
    w = spec.weight
    weights = w * sum(position[path].size for path in spec.selected)
    rb = w * sum(float(np.sum(np.abs(kappa0[path] * position[path]))) for path in spec.selected)
    j = w * sum(float(np.sum(kappa1[path] * position[path] ** 2)) for path in spec.selected)
    if spec.likelihood == "gaussian":
        ra = spec.num_data + weights + spec.nu
        rc = rss + j + spec.nu * spec.lam
    else:
        ra = weights + spec.nu + 2
        rc = j + spec.nu * spec.lam
    return (rb + math.sqrt(rb**2 + 4 * ra * rc)) / (2 * ra)


def delta_target(spec: Spec, rho: np.ndarray) -> float:
    """Return the mode of delta given the inclusion probabilities of one leaf (Eq. 8)."""
    w = spec.weight
    return (w * float(rho.sum()) + spec.a - 1) / (spec.a + spec.b + w * rho.size - 2)


def sweep(spec: Spec, chain: Chain, rss: float) -> Chain:
    """Move every latent once, each from the values that this sweep has already made."""
    omega = spec.gain(chain.step)

    def moved(old, target):
        return (1 - omega) * old + omega * target

    paths = spec.selected
    beta = chain.position
    rho = {
        path: moved(
            chain.rho[path],
            inclusion_probability(beta[path], chain.delta[path], chain.sigma, spec.v0, spec.v1),
        )
        for path in paths
    }
    kappa0 = {path: moved(chain.kappa0[path], (1 - rho[path]) / spec.v0) for path in paths}
    kappa1 = {path: moved(chain.kappa1[path], rho[path] / spec.v1) for path in paths}
    sigma = chain.sigma
    if spec.learn_sigma:
        sigma = moved(sigma, sigma_target(spec, beta, kappa0, kappa1, rss))
    delta = dict(chain.delta)
    if spec.follow_ramp:
        kept = 1 - zero_share(spec, beta, chain.step)
        sizes = {path: rho[path].size for path in paths}
        delta = {
            path: (kept * p + spec.a - 1) / (spec.a + spec.b + p - 2) for path, p in sizes.items()
        }
    elif spec.learn_delta:
        delta = {path: moved(delta[path], delta_target(spec, rho[path])) for path in paths}
    return chain._replace(rho=rho, kappa0=kappa0, kappa1=kappa1, sigma=sigma, delta=delta)


def zero_share(spec: Spec, position: Tree, k: int) -> float:
    """Return the share of the selected weights to zero, `k` steps having been taken."""
    share = spec.target * (1 - spec.decay ** (k / spec.every))
    if spec.of == "all":
        selected = sum(position[path].size for path in spec.selected)
        share *= sum(leaf.size for leaf in position.values()) / selected
    return share


def zero_counts(spec: Spec, position: Tree, k: int) -> dict[str, int] | int | None:
    """Return how many weights to zero, per leaf or in all, `k` steps having been taken."""
    if spec.scope is None:
        return None
    share = zero_share(spec, position, k)
    sizes = {path: position[path].size for path in spec.selected}
    if spec.scope == "global":
        return round(share * sum(sizes.values()))
    return {path: round(share * size) for path, size in sizes.items()}


def prune(spec: Spec, position: Tree, k: int) -> Tree:
    """Zero the smallest magnitudes, in each leaf or over all the selected leaves."""
    counts = zero_counts(spec, position, k)
    if counts is None:
        return position
    pruned = dict(position)
    if isinstance(counts, dict):
        for path, count in counts.items():
            flat = position[path].ravel().copy()
            flat[np.argsort(np.abs(flat), kind="stable")[:count]] = 0
            pruned[path] = flat.reshape(position[path].shape)
        return pruned
    flat = np.concatenate([position[path].ravel() for path in spec.selected])
    flat[np.argsort(np.abs(flat), kind="stable")[:counts]] = 0
    ends = np.cumsum([position[path].size for path in spec.selected])
    for path, piece in zip(spec.selected, np.split(flat, ends[:-1]), strict=True):
        pruned[path] = piece.reshape(position[path].shape)
    return pruned


def step(spec: Spec, chain: Chain, x: np.ndarray, y: np.ndarray) -> Chain:
    """Take one whole step on the minibatch (x, y)."""
    k = chain.step
    eps = spec.step_size(k)
    loss = mean_loss(spec.likelihood, chain.position, x, y)
    likelihood_grad = log_likelihood_grad(spec, chain, x, y)
    prior_grad = log_prior_grad(spec, chain)
    grad = {path: likelihood_grad[path] + prior_grad[path] for path in chain.position}
    if spec.dynamics == "sghmc":
        momentum = {
            path: (1 - spec.friction) * chain.momentum[path] + eps * grad[path] for path in grad
        }
        position = {path: chain.position[path] + momentum[path] for path in grad}
    else:
        momentum = chain.momentum
        position = {path: chain.position[path] + eps * grad[path] for path in grad}
    chain = chain._replace(position=position, momentum=momentum)
    rss = 2 * spec.num_data * mean_loss(spec.likelihood, position, x, y)
    chain = sweep(spec, chain, rss)
    return chain._replace(step=k + 1, position=prune(spec, position, k), loss=loss)


def run(spec: Spec, chain: Chain, batches: list[tuple[np.ndarray, np.ndarray]]) -> list[Chain]:
    """Take a step on each minibatch in turn and keep every state."""
    states = []
    for x, y in batches:
        chain = step(spec, chain, x, y)
        states.append(chain)
    return states
