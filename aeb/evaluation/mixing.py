# SPDX-License-Identifier: Apache-2.0
"""Measure how well chains mix: effective sample size and split R-hat of draws[chains, draws].

Both take what `aeb.sample` collects with `aeb.chains`: a tree of arrays whose first axis is chains.

    ESS      M N / tau, where tau = 1 + 2 sum_t rho_t over Geyer's initial monotone sequence
    R-hat    sqrt(((N - 1) / N W + B / N) / W) over the 2 M half chains of N draws, where W is the
             mean variance within them and B / N the variance of their means

The estimators are BlackJAX's; this module handles shapes, dtypes and half chains. The tests check
them on autoregressive series, whose ESS is known. On the weights of a network they say little,
because its hidden units can be exchanged. Use them on predictions, losses or inclusion
probabilities.

Reference: Gelman et al., Bayesian Data Analysis (2013), 11.4 and 11.5.
"""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np

from aeb.precision import working_dtype
from aeb.tree import named_leaves
from aeb.types import ArrayTree

__all__ = ["effective_sample_size", "potential_scale_reduction"]


def effective_sample_size(draws: ArrayTree) -> ArrayTree:
    """Estimate how many independent draws would estimate the mean as precisely as these draws.

    The estimate uses Geyer's initial monotone sequence over all chains, as Stan does (Gelman et al.
    2013, 11.5). For an autoregressive series with coefficient phi it tends to (1 - phi) / (1 + phi)
    times the number of draws.

    Args:
        draws: an array [chains, draws, ...], or a tree of such arrays, with at least four draws per
            chain. For a single chain pass `draws[None]`.

    Returns:
        f32[...], one number for each sampled scalar, in a tree like `draws`; 0 where the draws
        never change, nan where a draw is nan.

    Raises:
        ValueError: `draws` lacks an axis, or has fewer than four draws a chain.

    Warns:
        UserWarning: there are more chains than draws, so the axes may be swapped.

    Example:
        >>> draws = jax.random.normal(jax.random.key(0), (4, 500, 2))
        >>> effective_sample_size(draws).shape
        (2,)
    """
    from blackjax import diagnostics

    def one(array: jax.Array) -> jax.Array:
        # Compile it as a whole: compiling its operations one by one takes seconds.
        return jax.jit(diagnostics.effective_sample_size)(array).reshape(array.shape[2:])

    return jax.tree.map(one, _checked(draws))


def potential_scale_reduction(draws: ArrayTree) -> ArrayTree:
    """Compute split R-hat, which compares the spread of all draws with that within half chains.

    Each chain is split into its first and its second half, so that a drifting chain is noticed and
    a single chain is enough (Gelman et al. 2013, 11.4). Near 1 the chains agree. Above 1.01, or 1.1
    to be less strict, they do not.

    Args:
        draws: an array [chains, draws, ...], or a tree of such arrays, with at least four draws per
            chain. If their number is odd, the last draw is ignored. For a single chain pass
            `draws[None]`.

    Returns:
        f32[...], one number for each sampled scalar, in a tree like `draws`; nan where the draws
        never change.

    Raises:
        ValueError: `draws` lacks an axis, or has fewer than four draws a chain.

    Warns:
        UserWarning: there are more chains than draws, so the axes may be swapped.

    Example:
        >>> draws = jax.random.normal(jax.random.key(0), (4, 500))
        >>> bool(potential_scale_reduction(draws) < 1.01)
        True
    """
    from blackjax import diagnostics

    def one(array: jax.Array) -> jax.Array:
        half = array.shape[1] // 2
        halves = jnp.concatenate([array[:, :half], array[:, half : 2 * half]])
        return diagnostics.potential_scale_reduction(halves).reshape(array.shape[2:])

    return jax.tree.map(one, _checked(draws))


def _checked(draws: ArrayTree) -> ArrayTree:
    """Convert the leaves, and raise a ValueError if one does not begin with [chains, draws]."""
    for path, leaf in named_leaves(draws).items():
        shape, name = np.shape(leaf), f"draws: leaf {path!r}" if path else "draws:"
        if len(shape) < 2 or shape[0] < 1 or shape[1] < 4:
            raise ValueError(
                f"{name} got shape {shape}, "
                "needs to be [chains, draws, ...] with four draws or more"
            )
        if shape[0] > shape[1]:
            warnings.warn(
                f"{name} got shape {shape}: more chains than draws; if draws lead, swap the first "
                "two axes, for chains have to",
                stacklevel=3,
            )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, working_dtype(jnp.asarray(leaf))), draws)
