# SPDX-License-Identifier: Apache-2.0
"""BatchNorm as in PyTorch's defaults, in float32 whatever the network computes in."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

__all__ = ["batch_norm"]


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
    norm = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)
    # flax would mix bfloat16 and float32 in its sums, which strict dtype promotion forbids.
    wide = x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)
    return norm(wide).astype(dtype or x.dtype)
