# SPDX-License-Identifier: Apache-2.0
"""How well the chains have mixed: effective sample size and split R-hat of draws[chains, draws].

    ESS      M N / tau, where tau = 1 + 2 sum_t rho_t over Geyer's initial monotone sequence
    R-hat    sqrt(((N - 1) / N W + B / N) / W) over the 2 M half chains of N draws, where W is the
             mean variance within them and B / N the variance of their means

The estimators are BlackJAX's (checked in the tests against autoregressive series, whose ESS is
known); here they get the shapes, the dtypes and the halves. On the weights of a network they say
little, for its hidden units can be exchanged: use them on predictions, losses, inclusion
probabilities.

Reference: Gelman et al., Bayesian Data Analysis (2013), 11.4 and 11.5.
"""

from __future__ import annotations

from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from aeb.precision import working_dtype

__all__ = ["effective_sample_size", "potential_scale_reduction"]

ArrayLike: TypeAlias = jax.Array | np.ndarray


def effective_sample_size(draws: ArrayLike) -> jax.Array:
    """Number of independent draws that would fix the mean as well as these do.

    Geyer's initial monotone sequence over all chains, as in Stan (Gelman et al. 2013, 11.5). For
    an autoregressive series of coefficient phi it tends to (1 - phi) / (1 + phi) of the draws.

    Args:
        draws: [chains, draws, ...], at least four draws a chain.

    Returns:
        f32[...], one for each scalar sampled; 0 where the draws never change, nan where one is nan.

    Raises:
        ValueError: `draws` lacks an axis, or has fewer than four draws.

    Example:
        >>> draws = jax.random.normal(jax.random.key(0), (4, 500, 2))
        >>> effective_sample_size(draws).shape
        (2,)
    """
    from blackjax import diagnostics

    draws = _checked(draws)
    # Compiled as a whole: one by one its operations take seconds to compile.
    return jax.jit(diagnostics.effective_sample_size)(draws).reshape(draws.shape[2:])


def potential_scale_reduction(draws: ArrayLike) -> jax.Array:
    """Split R-hat: the spread over all half chains against that within them.

    Each chain counts as two, its first and its second half, so that a chain that drifts shows, and
    one chain is enough (Gelman et al. 2013, 11.4). Near 1 the chains agree; above 1.01 to 1.1 they
    do not.

    Args:
        draws: [chains, draws, ...], at least four draws a chain; an odd last draw is left out.

    Returns:
        f32[...], one for each scalar sampled; nan where the draws never change.

    Raises:
        ValueError: `draws` lacks an axis, or has fewer than four draws.

    Example:
        >>> draws = jax.random.normal(jax.random.key(0), (4, 500))
        >>> bool(potential_scale_reduction(draws) < 1.01)
        True
    """
    from blackjax import diagnostics

    draws = _checked(draws)
    half = draws.shape[1] // 2
    halves = jnp.concatenate([draws[:, :half], draws[:, half : 2 * half]])
    return diagnostics.potential_scale_reduction(halves).reshape(draws.shape[2:])


def _checked(draws: ArrayLike) -> jax.Array:
    array = jnp.asarray(draws)
    if array.ndim < 2 or array.shape[0] < 1 or array.shape[1] < 4:
        raise ValueError(
            f"draws: got shape {array.shape}, "
            "needs to be [chains, draws, ...] with four draws or more"
        )
    return array.astype(working_dtype(array))
