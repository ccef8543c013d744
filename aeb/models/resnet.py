# SPDX-License-Identifier: Apache-2.0
"""Residual networks for 32x32 images.

He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2, with
the projection shortcut "B": where a stage changes the shape, the shortcut is a 1x1 convolution and
BatchNorm. At depth 20 there are 272,474 parameters. The AEB paper makes the 3x3 convolutions in the
blocks sparse: `where="block.*/conv.*/kernel$"` chooses them, 267,264 weights.

The details are those of the usual PyTorch networks. Convolutions pad one pixel at each side, while
flax's "SAME" with a stride of 2 pads the far side only. Their initial weights are normal with
variance 2 / fan_out. `aeb.models.batch_norm` describes BatchNorm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aeb.models.batch_norm import batch_norm
from aeb.xla.convolution import conv_general_dilated

__all__ = ["ResNet"]

_he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_torch_linear = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class ResNet(nn.Module):
    """A ResNet of depth 6n + 2: a stem, three stages of n blocks, and a dense head.

    The layers are `stem`, `stem_bn`, `block1_1` to `block3_n` (each with `conv1`, `bn1`, `conv2`,
    `bn2` and, where the shape changes, `shortcut`, `shortcut_bn`) and `head`.

    Attributes:
        depth: 6n + 2, n >= 1.
        num_classes: the width of the output.
        widths: the channels of the three stages.
        dtype: the dtype computed in; None takes that of inputs and parameters.
        conv_general_dilated: the convolution itself; None is that of `jax.lax`.

    Raises:
        ValueError: at `init` or `apply`, where the depth is not 6n + 2 or there are not three
            widths.

    Example:
        >>> import jax.numpy as jnp
        >>> variables = jax.eval_shape(ResNet().init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        272474
    """

    depth: int = 20
    num_classes: int = 10
    widths: Sequence[int] = (16, 32, 64)
    dtype: Any = None
    conv_general_dilated: Callable[..., jax.Array] | None = conv_general_dilated

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [B, H, W, C] to logits [B, num_classes].

        `train` makes BatchNorm use, and keep, the moments of the batch.
        """
        blocks, rest = divmod(self.depth - 2, 6)
        if blocks < 1 or rest:
            raise ValueError(f"depth: got {self.depth}, needs to be 6n + 2, such as 8, 20 or 32")
        if len(self.widths) != 3:
            raise ValueError(f"widths: got {tuple(self.widths)}, needs one for each of 3 stages")
        conv = partial(
            nn.Conv,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=_he_fan_out,
            conv_general_dilated=self.conv_general_dilated,
        )
        norm = partial(batch_norm, train=train, dtype=self.dtype)
        x = conv(self.widths[0], (3, 3), padding=1, name="stem")(images)
        x = nn.relu(norm(x, name="stem_bn"))
        for stage, width in enumerate(self.widths, 1):
            for number in range(1, blocks + 1):
                stride = 2 if stage > 1 and number == 1 else 1
                name = f"block{stage}_{number}"
                x = _Block(width, stride, conv, norm, name=name)(x)
        if jnp.finfo(x.dtype).bits < 32:
            # jaxlib 0.12 on a CPU makes NaN of a bfloat16 mean that it fuses with what is before.
            x = jax.lax.optimization_barrier(x)
        x = x.mean(axis=(1, 2))
        head = nn.Dense(self.num_classes, dtype=self.dtype, kernel_init=_torch_linear, name="head")
        return head(x)


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut: relu(bn2(conv2(relu(bn1(conv1 x)))) + shortcut x)."""

    width: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        strides = (self.stride, self.stride)
        y = self.conv(self.width, (3, 3), strides=strides, padding=1, name="conv1")(x)
        y = nn.relu(self.norm(y, name="bn1"))
        y = self.conv(self.width, (3, 3), padding=1, name="conv2")(y)
        y = self.norm(y, name="bn2")
        if self.stride > 1 or x.shape[-1] != self.width:
            x = self.conv(self.width, (1, 1), strides=strides, padding=0, name="shortcut")(x)
            x = self.norm(x, name="shortcut_bn")
        return nn.relu(y + x)
