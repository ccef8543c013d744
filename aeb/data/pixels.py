# SPDX-License-Identifier: Apache-2.0
"""What the augmentations share: their type, the check of their images, the shape of a fill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp

from aeb.types import PRNGKey

__all__ = ["Augmentation", "Fill", "check_images", "shape_fill"]

Augmentation: TypeAlias = Callable[[PRNGKey, jax.Array], jax.Array]
"""`(key, images) -> images`, float[B, H, W, C]."""

Fill: TypeAlias = float | Sequence[float]
"""The value of pixels that are made up: one, or one per channel."""


def shape_fill(fill: Fill, images: jax.Array) -> jax.Array:
    """Shape the fill to [1, 1, 1, C]."""
    channels = images.shape[-1]
    values = jnp.asarray(fill, images.dtype)
    if values.shape not in ((), (channels,)):
        raise ValueError(f"fill: shape {values.shape} does not fit images of {channels} channels")
    return jnp.broadcast_to(values, (1, 1, 1, channels))


def check_images(images: jax.Array) -> None:
    """Require floats of shape [B, H, W, C]."""
    if images.ndim != 4:
        raise ValueError(f"images: expected [B, H, W, C], got shape {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images: expected floats, got {images.dtype}; normalise them first")
