# SPDX-License-Identifier: Apache-2.0
"""Random erasing of image batches, on the device.

Zhong, Zheng, Kang, Li and Yang, Random Erasing Data Augmentation, AAAI 2020: a rectangle of random
area and aspect, at a random place, is painted over.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from aeb.data.pixels import Augmentation, Fill, check_images, shape_fill
from aeb.guards import within
from aeb.types import PRNGKey

__all__ = ["random_erasing"]

_TRIES = 10


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
        check_images(images)
        batch, height, width, _ = images.shape
        chosen_key, share_key, aspect_key, row_key, column_key = jax.random.split(key, 5)
        chosen = jax.random.bernoulli(chosen_key, probability, (batch,))
        tries = (batch, _TRIES)
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
        return jnp.where(erased[..., None], shape_fill(fill, images), images)

    return jax.jit(augment)
