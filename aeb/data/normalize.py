# SPDX-License-Identifier: Apache-2.0
"""Pixels to standardised floats, with the mean and standard deviation usual for each set.

    y = (x / white - mean_c) / sd_c,    channel c

The moments are those of the literature, so that results can be compared. For MNIST, Fashion-MNIST
and the digits they are taken over all training pixels. For CIFAR-10 they are the customary ones,
whose sd is the sd within an image, averaged over images. (The sd over all pixels is 0.247, 0.243,
0.262.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb.guards import one_of

__all__ = ["normalizer"]


class _Moments(NamedTuple):
    white: float  # the largest pixel value
    mean: tuple[float, ...]  # one per channel, on the scale where white is 1
    sd: tuple[float, ...]


_MOMENTS = {
    "digits": _Moments(16.0, (0.3053,), (0.3755,)),
    "mnist": _Moments(255.0, (0.1307,), (0.3081,)),
    "fashion_mnist": _Moments(255.0, (0.2860,), (0.3530,)),
    "cifar10": _Moments(255.0, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}


def normalizer(name: str, *, dtype: Any = jnp.float32) -> Callable[[Any], jax.Array]:
    """Build the function that standardises the pixels of a set.

    Args:
        name: a set that `load` knows.
        dtype: the float dtype of the result.

    Returns:
        A pure function from uint8[..., C] to floats of the same shape, fit for use under `jit`.
        It raises TypeError on any dtype but uint8, such as images already standardised, and
        ValueError on another number of channels.

    Raises:
        ValueError: there is no set of that name.

    Example:
        >>> bool(abs(normalizer("mnist")(jnp.zeros((1, 1), jnp.uint8))[0, 0] + 0.4242) < 1e-4)
        True
    """
    one_of("name", name, tuple(_MOMENTS))
    white, mean, sd = _MOMENTS[name]

    def normalize(images: Any) -> jax.Array:
        if images.dtype != jnp.uint8:
            raise TypeError(f"images: expected raw uint8 pixels, got {images.dtype}")
        if images.shape[-1] != len(mean):
            raise ValueError(f"images: {name} has {len(mean)} channels, got {images.shape}")
        shape = (1,) * (images.ndim - 1) + (len(mean),)
        unit = jnp.asarray(images, dtype) / white
        return (unit - jnp.array(mean, dtype).reshape(shape)) / jnp.array(sd, dtype).reshape(shape)

    return normalize
