# SPDX-License-Identifier: Apache-2.0
"""The multilayer perceptron of the regression experiments: d-50-1 with ReLU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax

__all__ = ["MLP"]


class MLP(nn.Module):
    """Dense layers `fc1`, `fc2`, ... with ReLU, then a dense `head`.

    Attributes:
        hidden: the widths of the hidden layers.
        features: the width of the output.
        dtype: the dtype computed in; None takes that of inputs and parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> variables = jax.eval_shape(MLP().init, jax.random.key(0), jnp.ones((1, 13)))
        >>> variables["params"]["fc1"]["kernel"].shape
        (13, 50)
    """

    hidden: Sequence[int] = (50,)
    features: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool = False) -> jax.Array:
        """Map inputs [B, ...] to outputs [B, features]; `train` makes no difference."""
        del train
        x = inputs.reshape(inputs.shape[0], -1)
        for number, width in enumerate(self.hidden, 1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"fc{number}")(x))
        return nn.Dense(self.features, dtype=self.dtype, name="head")(x)
