# SPDX-License-Identifier: Apache-2.0
"""Random augmentation of image batches, on the device.

Each factory returns a pure, compiled function `(key, images) -> images`. It takes
float[B, H, W, C], keeps shape and dtype, and draws anew for each image. New pixels, such as those
of a border, get the value `fill`: one number or one per channel, on the scale of the images.

Why not dm_pix? The rotation of dm_pix 0.4.5 fails under strict dtype promotion. Under `vmap` it
takes tens of times as long as the interpolation used here. The package has no random erasing
(Zhong, Zheng, Kang, Li and Yang, AAAI 2020), and flips and crops are too short for a dependency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp

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

Augmentation: TypeAlias = Callable[[PRNGKey, jax.Array], jax.Array]
"""`(key, images) -> images`, float[B, H, W, C]."""

Fill: TypeAlias = float | Sequence[float]
"""The value of new pixels: one, or one per channel."""

TRIES = 10
"""The number of rectangles that are drawn for an image; the first that fits is erased."""


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
        _check_images(images)
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
        _check_images(images)
        batch, height, width, channels = images.shape
        padded = (batch, height + 2 * padding, width + 2 * padding, channels)
        canvas = jnp.broadcast_to(_shape_fill(fill, images), padded)
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
        _check_images(images)
        flipped = jax.random.bernoulli(key, probability, (images.shape[0], 1, 1, 1))
        return jnp.where(flipped, images[:, :, ::-1], images)

    return jax.jit(augment)


def random_erasing(
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    fill: Fill = 0.0,
) -> Augmentation:
    """Paint over a rectangle at a uniform place.

    Its share of the image and its aspect are uniform on their ranges, its sides
    sqrt(share * H * W * aspect) by sqrt(share * H * W / aspect) rounded to whole pixels. One that
    does not fit is drawn again; an image for which ten draws did not fit (about one in 10^14 at
    the default ranges) is left as it is.

    Args:
        probability: the chance of each image to be painted over, 0 to 1.
        area: the least and largest share of the image, 0 < least <= largest <= 1.
        aspect: the least and largest height / width, 0 < least <= largest.
        fill: the value painted.

    Returns:
        An augmentation.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> erase = random_erasing(probability=1.0, area=(0.25, 0.25), aspect=(1.0, 1.0))
        >>> float(erase(jax.random.key(0), jnp.ones((1, 8, 8, 1))).sum())
        48.0
    """
    within("probability", probability, "[0, 1]")
    if not 0 < area[0] <= area[1] <= 1:
        raise ValueError(f"area: {area} is no range of shares with 0 < least <= largest <= 1")
    if not 0 < aspect[0] <= aspect[1] < math.inf:
        raise ValueError(f"aspect: {aspect} is no range with 0 < least <= largest")

    def augment(key: PRNGKey, images: jax.Array) -> jax.Array:
        _check_images(images)
        batch, height, width, _ = images.shape
        chosen_key, share_key, aspect_key, row_key, column_key = jax.random.split(key, 5)
        chosen = jax.random.bernoulli(chosen_key, probability, (batch,))
        tries = (batch, TRIES)
        share = jax.random.uniform(share_key, tries, jnp.float32, *area)
        ratio = jax.random.uniform(aspect_key, tries, jnp.float32, *aspect)
        pixels = share * (height * width)
        sides = jnp.sqrt(jnp.stack([pixels * ratio, pixels / ratio]))  # [2, B, tries]
        sides = jnp.maximum(jnp.round(sides), 1).astype(jnp.int32)
        fits = (sides[0] <= height) & (sides[1] <= width)
        first = jnp.argmax(fits, axis=1)[None, :, None]
        sides = jnp.take_along_axis(sides, first, axis=2)  # [2, B, 1]
        chosen = chosen & jnp.any(fits, axis=1)

        def inside(key: PRNGKey, side: jax.Array, size: int) -> jax.Array:
            """Place an interval of length `side` in 0 .. size - 1; bool[B, size]."""
            stop = jnp.maximum(size - side, 0) + 1
            start = jax.random.randint(key, side.shape, 0, stop, jnp.int32)
            pixel = jnp.arange(size, dtype=jnp.int32)[None]
            return (pixel >= start) & (pixel < start + side)

        rows, columns = inside(row_key, sides[0], height), inside(column_key, sides[1], width)
        erased = chosen[:, None, None] & rows[:, :, None] & columns[:, None, :]
        return jnp.where(erased[..., None], _shape_fill(fill, images), images)

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
        _check_images(images)
        limit = math.radians(max_degrees)
        angles = jax.random.uniform(key, images.shape[:1], jnp.float32, -limit, limit)
        return _rotate(images, angles, _shape_fill(fill, images))

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


def _shape_fill(fill: Fill, images: jax.Array) -> jax.Array:
    """Shape the fill to [1, 1, 1, C]."""
    channels = images.shape[-1]
    values = jnp.asarray(fill, images.dtype)
    if values.shape not in ((), (channels,)):
        raise ValueError(f"fill: shape {values.shape} does not fit images of {channels} channels")
    return jnp.broadcast_to(values, (1, 1, 1, channels))


def _check_images(images: jax.Array) -> None:
    """Require floats of shape [B, H, W, C]."""
    if images.ndim != 4:
        raise ValueError(f"images: expected [B, H, W, C], got shape {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(f"images: expected floats, got {images.dtype}; normalise them first")
