# SPDX-License-Identifier: Apache-2.0
"""Random augmentation of image batches, on the device.

Each factory returns a pure, compiled function `(key, images) -> images` on float[B, H, W, C] that
keeps shape and dtype and draws anew for each image. Where pixels have to be made up, `fill` gives
their value, one number or one per channel, on the scale of the images.

dm_pix 0.4.5 has flips, crops and rotation too, but its rotation fails under strict dtype promotion
and, under `vmap`, takes tens of times as long as the four-corner interpolation used here; the flip
and the crop alone are too short to be worth a dependency.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from aeb.data.erasing import random_erasing
from aeb.data.pixels import Augmentation, Fill, check_images, shape_fill
from aeb.guards import within
from aeb.types import PRNGKey

__all__ = [
    "Augmentation",
    "compose",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_rotation",
]


def compose(*augmentations: Augmentation) -> Augmentation:
    """Apply augmentations one after another, each with a key of its own.

    Args:
        *augmentations: the first is applied first; none at all is the identity.

    Returns:
        One augmentation.

    Example:
        >>> augment = compose(random_crop(padding=2), random_flip())
        >>> augment(jax.random.key(0), jnp.ones((4, 8, 8, 1))).shape
        (4, 8, 8, 1)
    """

    def augment(key: PRNGKey, images: jax.Array) -> jax.Array:
        check_images(images)
        for one, one_key in zip(
            augmentations, jax.random.split(key, len(augmentations)), strict=True
        ):
            images = one(one_key, images)
        return images

    return jax.jit(augment)


def random_crop(*, padding: int = 4, fill: Fill = 0.0) -> Augmentation:
    """Pad each side, then cut a window of the old size at a uniform offset.

    Args:
        padding: rows and columns added at each side, so that offsets run from 0 to 2 * padding.
        fill: the value of the padding.

    Returns:
        An augmentation.

    Raises:
        ValueError: `padding` is negative or not whole.

    Example:
        >>> image = jnp.ones((1, 4, 4, 1))
        >>> bool(jnp.all(random_crop(padding=0)(jax.random.key(0), image) == image))
        True
    """
    if not (isinstance(padding, int) and padding >= 0):
        raise ValueError(f"padding: got {padding!r}, needs to be a whole number of at least 0")

    def augment(key: PRNGKey, images: jax.Array) -> jax.Array:
        check_images(images)
        batch, height, width, channels = images.shape
        padded = (batch, height + 2 * padding, width + 2 * padding, channels)
        canvas = jnp.broadcast_to(shape_fill(fill, images), padded)
        canvas = jax.lax.dynamic_update_slice(canvas, images, (0, padding, padding, 0))
        offset = jax.random.randint(key, (2, batch, 1), 0, 2 * padding + 1, jnp.int32)
        rows = offset[0] + jnp.arange(height, dtype=jnp.int32)[None]
        columns = offset[1] + jnp.arange(width, dtype=jnp.int32)[None]
        canvas = jnp.take_along_axis(canvas, rows[:, :, None, None], axis=1)
        return jnp.take_along_axis(canvas, columns[:, None, :, None], axis=2)

    return jax.jit(augment)


def random_flip(*, probability: float = 0.5) -> Augmentation:
    """Mirror left and right.

    Args:
        probability: the chance of each image to be mirrored, 0 to 1.

    Returns:
        An augmentation.

    Raises:
        ValueError: `probability` is not between 0 and 1.

    Example:
        >>> images = jnp.arange(3.0).reshape(1, 1, 3, 1)
        >>> random_flip(probability=1.0)(jax.random.key(0), images).ravel().tolist()
        [2.0, 1.0, 0.0]
    """
    within("probability", probability, "[0, 1]")

    def augment(key: PRNGKey, images: jax.Array) -> jax.Array:
        check_images(images)
        flipped = jax.random.bernoulli(key, probability, (images.shape[0], 1, 1, 1))
        return jnp.where(flipped, images[:, :, ::-1], images)

    return jax.jit(augment)


def random_rotation(*, max_degrees: float = 15.0, fill: Fill = 0.0) -> Augmentation:
    """Rotate about the centre by a uniform angle, with bilinear interpolation.

    Args:
        max_degrees: the angle is uniform on [-max_degrees, max_degrees].
        fill: the value outside the image.

    Returns:
        An augmentation.

    Raises:
        ValueError: `max_degrees` is not between 0 and 180.

    Example:
        >>> images = jnp.ones((1, 5, 5, 1))
        >>> bool(random_rotation()(jax.random.key(0), images)[0, 2, 2, 0] == 1)
        True
    """
    within("max_degrees", max_degrees, "[0, 180]")

    def augment(key: PRNGKey, images: jax.Array) -> jax.Array:
        check_images(images)
        limit = math.radians(max_degrees)
        angles = jax.random.uniform(key, images.shape[:1], jnp.float32, -limit, limit)
        return _rotate(images, angles, shape_fill(fill, images))

    return jax.jit(augment)


def _rotate(images: jax.Array, angles: jax.Array, fill: jax.Array) -> jax.Array:
    """Rotate [B, H, W, C] counter-clockwise by [B] radians; fill is [1, 1, 1, C]."""
    _, height, width, _ = images.shape
    dtype = images.dtype if jnp.finfo(images.dtype).bits >= 32 else jnp.float32
    row_centre, column_centre = (height - 1) / 2, (width - 1) / 2
    rows = jnp.arange(height, dtype=dtype)[:, None] - row_centre
    columns = jnp.arange(width, dtype=dtype)[None, :] - column_centre

    def one_channel(image: jax.Array, where: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(image, list(where), order=1, cval=0.0)

    def one_image(image: jax.Array, angle: jax.Array) -> jax.Array:
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        # Where each new pixel comes from: the inverse rotation, about the centre.
        source = jnp.stack(
            [
                cos * rows + sin * columns + row_centre,
                -sin * rows + cos * columns + column_centre,
            ]
        )
        return jax.vmap(one_channel, in_axes=(-1, None), out_axes=-1)(image, source)

    # map_coordinates takes one fill, the same for every channel: shift the fill to zero.
    shift = fill.astype(dtype)
    rotated = jax.vmap(one_image)(images.astype(dtype) - shift, angles.astype(dtype)) + shift
    return rotated.astype(images.dtype)
