# SPDX-License-Identifier: Apache-2.0
"""Images, network and losses of a size."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aeb.comparison.task import Task, task_of
from aeb.data import (
    DataError,
    Dataset,
    compose,
    load,
    normalizer,
    random_crop,
    random_erasing,
    random_flip,
)
from aeb.models import ResNet, load_authors_resnet20, make_loss
from aeb.types import ArrayTree, Batch, LossFn, PRNGKey
from aeb.usage import UsageError
from benchmarks.compression.recipe import Size


class Setup(NamedTuple):
    """Images on the device, a network, and its losses.

    Attributes:
        task: the network in float32 with the images to train on and, as its test set, those to
            score.
        train: `image` u8[N, H, W, C] and `label` i32[N], on the device.
        loss_fn: the mean loss on a minibatch; pixels are augmented in it.
        taught: `(weight, softness)` to such a loss with a teacher, whose variables ride in the
            model state as `teacher`.
    """

    task: Task
    train: dict[str, jax.Array]
    loss_fn: LossFn
    taught: Any


@functools.lru_cache(maxsize=2)
def make_setup(size: Size) -> Setup:
    """Load the images and make the network of a size.

    Raises:
        UsageError: the images are not there, or too few.
    """
    try:
        whole = load(size.data)
    except DataError as error:
        raise UsageError(str(error)) from error
    dataset = _part(whole, size)
    module = ResNet(depth=size.depth, widths=size.widths)
    trained = module.clone(dtype=jnp.bfloat16) if size.compute == "bfloat16" else module
    preprocess = normalizer(size.data)
    augment = _augmentation(size, preprocess)
    task = task_of(dataset, module, preprocess=preprocess, augment=augment)

    @functools.lru_cache(maxsize=4)
    def taught(weight: float, softness: float) -> LossFn:
        def loss_fn(
            params: ArrayTree, batch: Batch, model_state: Any, key: PRNGKey
        ) -> tuple[jax.Array, Any]:
            images = augment(key, preprocess(batch["image"]))
            logits, new = trained.apply(
                {"params": params, "batch_stats": model_state["batch_stats"]},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            told = trained.apply(dict(model_state["teacher"]), images)
            logits, told = logits.astype(jnp.float32), told.astype(jnp.float32)
            hard = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
            aim = jax.nn.softmax(told / softness)
            soft = optax.softmax_cross_entropy(logits / softness, aim).mean()
            # The square keeps the size of its gradient (Hinton, Vinyals and Dean, 2015).
            loss = (1.0 - weight) * hard + weight * softness**2 * soft
            return loss, {**model_state, "batch_stats": new["batch_stats"]}

        return loss_fn

    return Setup(
        task=task,
        train={name: jnp.asarray(array) for name, array in dataset.train.items()},
        loss_fn=make_loss(trained, has_aux=True, preprocess=preprocess, augment=augment),
        taught=taught,
    )


def authors_network() -> tuple[ArrayTree, Any]:
    """Read the authors' dense ResNet20 as parameters and model state.

    Raises:
        UsageError: it is not there.
    """
    try:
        params, batch_stats = load_authors_resnet20()
    except DataError as error:
        raise UsageError(str(error)) from error
    return params, {"batch_stats": batch_stats}


def _part(whole: Dataset, size: Size) -> Dataset:
    """Take the images to train on and those to score; no image is both."""
    order = np.random.default_rng(0).permutation(len(whole.train["label"]))
    wanted = size.num_images + size.num_validation
    if wanted > len(order):
        raise UsageError(
            f"num_images: {size.data} has {len(order)} training images, not {wanted} to train on "
            "and to validate by"
        )
    train = _rows(whole.train, order[: size.num_images], size.pool)
    if size.num_validation:
        scored = _rows(whole.train, order[size.num_images : wanted], size.pool)
    else:
        scored = _rows(whole.test, np.arange(len(whole.test["label"]))[: size.num_test], size.pool)
    return Dataset(train, scored, whole.num_classes, whole.name)


def _rows(split: dict[str, np.ndarray], rows: np.ndarray, pool: int) -> dict[str, np.ndarray]:
    image = split["image"][rows]
    if pool > 1:
        count, height, width, channels = image.shape
        blocks = image.reshape(count, height // pool, pool, width // pool, pool, channels)
        image = np.round(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
    return {"image": image, "label": split["label"][rows]}


def _augmentation(size: Size, preprocess: Callable[[Any], jax.Array]) -> Any:
    """Crop, mirror, erase, as the authors do.

    They pad with black, and hand the means of the pixels to an erasure that comes after
    standardising, so that what is erased is not of the mean colour.
    """
    channels = 3 if size.data == "cifar10" else 1
    black = preprocess(np.zeros((channels,), np.uint8))
    steps = [random_crop(padding=size.padding, fill=tuple(black.tolist()))]
    if size.flip:
        steps.append(random_flip())
    if size.erasing:
        steps.append(random_erasing(fill=(0.4914, 0.4822, 0.4465) if channels == 3 else 0.0))
    return compose(*steps)
