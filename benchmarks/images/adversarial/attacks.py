# SPDX-License-Identifier: Apache-2.0
"""Attacks within a box: the fast gradient sign method (FGSM) and projected gradient descent (PGD).

An image x in [0, 1] is moved by at most zeta a pixel, and clipped to [0, 1], so that the log
probability of a class y falls:

    FGSM    x' = clip(x + zeta sign(g(x)))
    PGD     z <- clip(z + a zeta sign(g(z))) within zeta of x, several times, from x;  x' = z

    g(x) = -grad_x log p(y | x),    p(y | x) = sum_s w_s p_s(y | x)

over the draws s of the network attacked, one draw or many. The gradient of the mixture is that of
its members weighted by w_s p_s(y | x). A member's is of log(1 + sum_c exp(f_c - f_y)), c other than
y, so that a network which is sure of itself still tells its direction: in float32 the gradient of
its softmax loses it from a margin of 17 nats on, and that would pass for robustness.

References: Goodfellow, Shlens and Szegedy (ICLR 2015); Madry et al. (ICLR 2018).
"""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from benchmarks.images.networks import logits_of
from benchmarks.images.scores import Draws, mixture

STEPS = 10
"""Steps of PGD."""

RELATIVE_STEP = 0.25
"""a, so that ten steps go 2.5 times as far as they may."""


def negative_log_prob(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Compute -log softmax(logits)_label, f32[B], with a gradient that does not vanish early."""
    chosen = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
    wanted = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1, keepdims=True)
    gaps = jnp.where(chosen, -jnp.inf, logits - wanted)
    return jnp.logaddexp(0.0, logsumexp(gaps, axis=-1))


@functools.lru_cache(maxsize=16)
def _member(net: nn.Module) -> Any:
    """Make `(draw, x, label) -> (f32[B], f32[B, ...])`: -log p and its gradient in x."""
    logits = logits_of(net)

    @jax.jit
    def member(draw: Any, pixels: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
        def total(pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
            each = negative_log_prob(logits(draw, pixels), label)
            return jnp.sum(each), each

        grad, each = jax.grad(total, has_aux=True)(pixels)
        return each, grad

    return member


def ascent(net: nn.Module, draws: Draws, pixels: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Find g: the gradient of -log p(label) of the average over the draws.

    Args:
        net: the network, in float32.
        draws: weight and draw of each member.
        pixels: f32[B, 28, 28, 1] in [0, 1].
        label: i32[B], the class to be made unlikely.

    Returns:
        f32[B, 28, 28, 1].
    """
    found = [_member(net)(draw, pixels, label) for _, draw in draws]
    log_weights = np.log([[weight] for weight, _ in draws])
    logs = log_weights - np.stack([np.asarray(each, float) for each, _ in found])
    shares = np.exp(logs - logs.max(axis=0))
    shares /= shares.sum(axis=0)
    grads = np.stack([np.asarray(grad, float) for _, grad in found])
    return np.einsum("sb,sb...->b...", shares, grads)


def fgsm(pixels: np.ndarray, direction: np.ndarray, zeta: float) -> np.ndarray:
    """Take the one step; `direction` is g at the pixels."""
    return np.clip(pixels + np.float32(zeta) * np.sign(direction).astype(np.float32), 0, 1)


def pgd(
    net: nn.Module, draws: Draws, pixels: np.ndarray, label: np.ndarray, zeta: float
) -> np.ndarray:
    """Take several steps, each clipped to the box of half-width zeta; arguments as for `ascent`."""
    moved = pixels
    low, high = (np.clip(pixels + sign * np.float32(zeta), 0, 1) for sign in (-1, 1))
    for _ in range(STEPS):
        direction = np.sign(ascent(net, draws, moved, label)).astype(np.float32)
        moved = np.clip(moved + np.float32(RELATIVE_STEP * zeta) * direction, low, high)
    return moved


class Attacked(NamedTuple):
    """A network under attack, and how it predicts."""

    net: nn.Module  # in float32
    draws: Draws  # two or more
    samples: bool  # whether it predicts by the average of its draws, else by the last
    levels: tuple[float, ...]  # of FGSM
    pgd_levels: tuple[float, ...]

    def none(self) -> dict[str, np.ndarray]:
        """Count no image: i32[] or one count a level, by name."""
        zeros = np.zeros(len(self.levels), np.int32)
        names = {"clean": zeros[0], "authors": zeros, "favoured": zeros, "fair": zeros}
        counts = {name: np.array(count) for name, count in names.items()}
        return {**counts, "pgd": np.zeros(len(self.pgd_levels), np.int32)}

    def right(self, pixels: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
        """Count the images that are still right in each of the ways that `run` has; see `none`.

        The pixels are f32[B, 28, 28, 1] in [0, 1], the labels i32[B].
        """
        whole = self.draws if self.samples else self.draws[-1:]
        favoured = self._by_levels(pixels, label, self.draws[:1], self.draws[1:], predicted=True)
        return {
            "clean": self._right(whole, [pixels], label)[0],
            "favoured": favoured,
            "authors": favoured
            if self.samples
            else self._by_levels(pixels, label, whole, whole, predicted=True),
            "fair": self._by_levels(pixels, label, whole, whole, predicted=False),
            "pgd": self._right(
                whole,
                (pgd(self.net, whole, pixels, label, zeta) for zeta in self.pgd_levels),
                label,
            ),
        }

    def _by_levels(
        self,
        pixels: np.ndarray,
        label: np.ndarray,
        against: Draws,
        scored: Draws,
        *,
        predicted: bool,
    ) -> np.ndarray:
        """Count by level; attack the class that `against` predicts, or the true one."""
        away = label
        if predicted:
            away = mixture(self.net, against, pixels).argmax(-1).astype(np.int32)
        direction = ascent(self.net, against, pixels, away)
        moved = (fgsm(pixels, direction, zeta) for zeta in self.levels)
        return self._right(scored, moved, label)

    def _right(self, draws: Draws, each: Iterable[np.ndarray], label: np.ndarray) -> np.ndarray:
        """Count the images that are right, i32[K], each of K times that they were moved."""
        predicted = (mixture(self.net, draws, pixels).argmax(-1) for pixels in each)
        return np.array([(of == label).sum() for of in predicted], np.int32)
