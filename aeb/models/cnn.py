# SPDX-License-Identifier: Apache-2.0
"""The two convolutional networks of the MNIST and Fashion-MNIST experiments.

`CNN` is the paper's "2-Conv-2-FC", 681,506 parameters on 28x28x1. Made narrow it suits small
images: `CNN(channels=(16, 32), kernel_size=3, hidden=64)` has 13,706 parameters on 8x8x1.
`CNNBN` is its "2-Conv-BN-3-FC" for augmented data, 493,772 parameters on 28x28x1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax

from aeb.models.batch_norm import batch_norm
from aeb.xla.convolution import conv_general_dilated
from aeb.xla.pooling import max_pool

__all__ = ["CNN", "CNNBN"]


class CNN(nn.Module):
    """Blocks of convolution, ReLU and 2x2 max-pooling, one hidden dense layer, a dense head.

    The layers are `conv1`, `conv2`, ..., `fc1` and `head`. Convolutions keep the size of the image.

    Attributes:
        num_classes: the width of the output.
        channels: the channels of each convolution.
        kernel_size: the side of each convolution, odd.
        hidden: the width of `fc1`, the layer that the paper makes sparse.
        dropout: the rate of dropout before `fc1`.
        dtype: the dtype computed in; None takes that of inputs and parameters.
        conv_general_dilated: the convolution itself; None is that of `jax.lax`.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.ones((1, 28, 28, 1))
        >>> variables = jax.eval_shape(CNN().init, jax.random.key(0), image)
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables))
        681506
    """

    num_classes: int = 10
    channels: Sequence[int] = (32, 64)
    kernel_size: int = 5
    hidden: int = 200
    dropout: float = 0.0
    dtype: Any = None
    conv_general_dilated: Callable[..., jax.Array] | None = conv_general_dilated

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [B, H, W, C] to logits [B, num_classes]; `train` switches dropout on."""
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: got {self.kernel_size}, needs to be odd")
        x = images
        for number, width in enumerate(self.channels, 1):
            side = self.kernel_size
            x = _block(self, number, width, side, padding=side // 2)(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.relu(nn.Dense(self.hidden, dtype=self.dtype, name="fc1")(x))
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)


class CNNBN(nn.Module):
    """BatchNorm on the image, two 4x4 convolutions with pooling and dropout, three dense layers.

    The layers are `bn_image`, `conv1`, `conv2`, `fc1`, `fc2`, `bn` and `head`. The net comes from
    the Keras network of cmasch/zalando-fashion-mnist, by way of the paper's code.

    Attributes:
        num_classes: the width of the output.
        channels: the channels of the two convolutions.
        hidden: the widths of `fc1`, the layer that the paper makes sparse, and `fc2`.
        dropout: the rates of dropout after the two convolutions.
        dtype: the dtype computed in; None takes that of inputs and parameters.
        conv_general_dilated: the convolution itself; None is that of `jax.lax`.

    Example:
        >>> import jax.numpy as jnp
        >>> net, images = CNNBN(), jnp.ones((2, 28, 28, 1))
        >>> variables = net.init(jax.random.key(0), images)
        >>> logits, moments = net.apply(variables, images, mutable=["batch_stats"])
        >>> logits.shape, sorted(variables), sorted(moments)
        ((2, 10), ['batch_stats', 'params'], ['batch_stats'])
    """

    num_classes: int = 10
    channels: tuple[int, int] = (64, 64)
    hidden: tuple[int, int] = (256, 64)
    dropout: tuple[float, float] = (0.1, 0.3)
    dtype: Any = None
    conv_general_dilated: Callable[..., jax.Array] | None = conv_general_dilated

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [B, H, W, C] to logits [B, num_classes].

        `train` switches dropout on and makes BatchNorm use, and keep, the moments of the batch.
        """
        x = batch_norm(images, train=train, dtype=self.dtype, name="bn_image")
        blocks = zip(self.channels, (2, 0), self.dropout, strict=True)
        for number, (channels, padding, rate) in enumerate(blocks, 1):
            x = _block(self, number, channels, 4, padding=padding)(x)
            x = nn.Dropout(rate, deterministic=not train)(x)
        x = x.reshape(x.shape[0], -1)
        for number, width in enumerate(self.hidden, 1):
            x = nn.relu(nn.Dense(width, dtype=self.dtype, name=f"fc{number}")(x))
        x = batch_norm(x, train=train, dtype=self.dtype, name="bn")
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)


def _block(
    net: CNN | CNNBN, number: int, channels: int, side: int, *, padding: int
) -> Callable[[jax.Array], jax.Array]:
    """Make the convolution `conv<number>` of a net, with the ReLU and the pooling behind it."""
    convolution = nn.Conv(
        channels,
        (side, side),
        padding=padding,
        dtype=net.dtype,
        conv_general_dilated=net.conv_general_dilated,
        name=f"conv{number}",
    )
    return lambda x: nn.relu(max_pool(convolution(x), 2))
