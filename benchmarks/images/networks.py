# SPDX-License-Identifier: Apache-2.0
"""The two networks, what they see, and what they predict.

Pixels are brought to [0, 1] and standardised by the moments of MNIST, on both sets, as the authors
do. Augmentation follows, on the device: a crop after padding by four, then a rotation by up to 15
degrees on MNIST; a mirror image and random erasing on Fashion-MNIST.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aeb.data import augment
from aeb.models import CNN, CNNBN
from benchmarks.images.recipe import ARMS, Cell, Recipe

SPARSE = "fc1/kernel"
"""The path of the sparse layer."""

MEAN, SPREAD = 0.1307, 0.3081

BLACK = (0.0 - MEAN) / SPREAD
"""What a black pixel becomes."""

ERASED = 0.4914
"""What the authors paint over with, after standardising: the mean of CIFAR-10."""


def network(recipe: Recipe, cell: Cell, *, dtype: str = "float32") -> nn.Module:
    """Build the network of a cell; its dropout acts in training alone."""
    drops = ARMS[cell.arm].drops
    if cell.augment:
        return CNNBN(
            channels=recipe.channels_augmented,
            hidden=recipe.hidden_augmented,
            dropout=(0.1, 0.3) if drops else (0.0, 0.0),
            dtype=jnp.dtype(dtype),
        )
    return CNN(
        channels=recipe.channels,
        hidden=recipe.hidden,
        dropout=0.5 if drops else 0.0,
        dtype=jnp.dtype(dtype),
    )


def standardise(pixels: jax.Array) -> jax.Array:
    """Map bytes, or floats in [0, 1], to what the networks see."""
    unit = pixels.astype(jnp.float32) / 255.0 if pixels.dtype == jnp.uint8 else pixels
    return (unit - MEAN) / SPREAD


def augmentation(cell: Cell) -> Any:
    """Make the augmentation of a cell, of standardised images; None where it has none."""
    if not cell.augment:
        return None
    crop = augment.random_crop(padding=4, fill=BLACK)
    if cell.set == "fashion_mnist":
        erase = augment.random_erasing(fill=ERASED)
        return augment.compose(crop, augment.random_flip(), erase)
    return augment.compose(crop, augment.random_rotation(max_degrees=15.0, fill=BLACK))


@functools.lru_cache(maxsize=16)
def logits_of(net: nn.Module) -> Any:
    """Make `(draw, pixels) -> f32[B, 10]`, the logits, without dropout.

    A draw is `{"params": ..., "model_state": ...}`.
    """

    def logits(draw: Any, pixels: jax.Array) -> jax.Array:
        variables = {"params": draw["params"], **dict(draw["model_state"])}
        return net.apply(variables, standardise(pixels))

    return logits
