# SPDX-License-Identifier: Apache-2.0
"""BatchNorm as in PyTorch's defaults, in float32 whatever the network computes in."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aeb.xla.normalization import batch_normalize

__all__ = ["batch_norm"]

EPSILON = 1e-5
MOMENTUM = 0.9


def batch_norm(x: jax.Array, *, train: bool, dtype: Any, name: str) -> jax.Array:
    """Normalise by the moments of the batch or, outside training, by the running ones.

    Momentum 0.9 (PyTorch's 0.1) and epsilon 1e-5. One difference from PyTorch remains: the running
    variance takes the batch variance as it is, PyTorch scales it by n / (n - 1).

    Args:
        x: [B, ..., C].
        train: use the moments of the batch, and keep a tenth of them.
        dtype: the dtype of the result; None keeps that of `x`.
        name: the name of the layer in the module that calls this from a compact method.

    Returns:
        [B, ..., C].
    """
    # flax would mix bfloat16 and float32 in its sums, which strict dtype promotion forbids.
    wide = x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)
    # Over several devices a loop over images would gather what is spread; flax's sums are not.
    if train and jax.default_backend() == "cpu" and jax.device_count() == 1:
        return _OfTheBatch(name=name)(wide).astype(dtype or x.dtype)
    norm = nn.BatchNorm(
        use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON, name=name
    )
    return norm(wide).astype(dtype or x.dtype)


class _OfTheBatch(nn.Module):
    """`nn.BatchNorm` in training, with the same variables and sums that a CPU runs fast."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        var = self.variable("batch_stats", "var", jnp.ones, channels)
        y, *moments = batch_normalize(x, scale, bias, EPSILON)
        if not self.is_initializing():
            for running, of_batch in zip((mean, var), moments, strict=True):
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * of_batch
        return y
