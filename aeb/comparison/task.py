# SPDX-License-Identifier: Apache-2.0
"""The task of a comparison: a data set, a network for it, and how to score it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aeb import guards
from aeb.data import Dataset, compose, load, normalizer, random_crop, random_flip
from aeb.evaluation.diagnostics import accuracy, expected_calibration_error, negative_log_likelihood
from aeb.files.report import sparsity_report
from aeb.models import CNN, ResNet, make_loss
from aeb.types import ArrayTree, LossFn, PRNGKey

__all__ = ["Metrics", "Task", "evaluate", "hold_out", "make_task", "task_of"]

TEST_BATCH = 500


class Task(NamedTuple):
    """A network and its data."""

    data: Dataset
    loss_fn: LossFn  # (params, batch, model_state, key) -> (f32[], model_state)
    init: Callable[[PRNGKey], tuple[ArrayTree, Any]]  # key -> (params, model_state)
    probs: Callable[[ArrayTree, Any, Any], jax.Array]  # (params, model_state, images) -> f32[n, K]
    watched: dict[str, np.ndarray] | None = None  # held-out rows, scored during a run
    module: nn.Module | None = None  # the network, which a sparse file can name

    @property
    def num_data(self) -> int:
        """Return the number of training examples, N."""
        return len(self.data.train["label"])

    @property
    def num_watched(self) -> int:
        """Return the number of rows that are held out."""
        return 0 if self.watched is None else len(self.watched["label"])


class Metrics(NamedTuple):
    """The scores of a network on rows that it was not trained on, and its size."""

    accuracy: float  # fraction
    nll: float  # nats per example
    ece: float  # expected calibration error, fraction
    sparsity: float  # fraction of zeros over all parameters
    bytes: int  # in a sparse file


def make_task(data: str, model: str, limit: int | None = None) -> Task:
    """Load a data set and pair it with a network.

    Args:
        data: a name that `aeb.data.load` knows.
        model: "cnn" (a narrow one for the 8x8 digits) or "resnet20".
        limit: how many of the first training and test images to use; None for all.

    Returns:
        A `Task`. CIFAR-10 is augmented by crops and flips.
    """
    dataset = load(data)
    if limit is not None:
        train, test = (
            {name: array[:limit] for name, array in split.items()}
            for split in (dataset.train, dataset.test)
        )
        dataset = dataset._replace(train=train, test=test)
    preprocess = normalizer(data)
    module: nn.Module
    if model == "resnet20":
        module = ResNet(depth=20)
    elif data == "digits":
        module = CNN(channels=(16, 32), kernel_size=3, hidden=64)
    else:
        module = CNN()
    augment = compose(random_crop(padding=4), random_flip()) if data == "cifar10" else None
    return task_of(dataset, module, preprocess=preprocess, augment=augment)


def task_of(
    dataset: Dataset,
    module: nn.Module,
    *,
    preprocess: Callable[[Any], jax.Array],
    augment: Callable[[PRNGKey, jax.Array], jax.Array] | None,
) -> Task:
    """Pair data with a network.

    Args:
        dataset: images and labels.
        module: a module that maps images to logits.
        preprocess: a function from raw pixels to the inputs of the module.
        augment: `(key, images) -> images` for training, or None.

    Returns:
        A `Task`.
    """
    example = preprocess(jnp.asarray(dataset.train["image"][:1]))

    def init(key: PRNGKey) -> tuple[ArrayTree, Any]:
        variables = dict(module.init(key, example))
        return variables.pop("params"), variables

    @jax.jit
    def probs(params: ArrayTree, model_state: Any, images: jax.Array) -> jax.Array:
        logits = module.apply({"params": params, **model_state}, preprocess(images))
        return jax.nn.softmax(logits)

    loss_fn = make_loss(module, has_aux=True, preprocess=preprocess, augment=augment)
    return Task(dataset, loss_fn, init, probs, module=module)


def hold_out(task: Task, share: float, seed: int = 0) -> Task:
    """Hold out a share of the training rows, to score runs and to choose between them.

    Args:
        task: network and data.
        share: the share of the training rows, in (0, 1).
        seed: the seed of the choice of rows.

    Returns:
        A `Task` with fewer training rows and `watched`.

    Raises:
        ValueError: the share is out of its range, or leaves no row on one side.
    """
    guards.within("validation", share, "(0, 1)")
    count = round(share * task.num_data)
    if not 0 < count < task.num_data:
        raise ValueError(
            f"validation: {share} of {task.num_data} training images is {count}; needs to leave "
            "one or more on both sides"
        )
    order = np.random.default_rng(seed).permutation(task.num_data)
    train, watched = (
        {name: array[rows] for name, array in task.data.train.items()}
        for rows in (order[count:], order[:count])
    )
    return task._replace(data=task.data._replace(train=train), watched=watched)


def evaluate(
    task: Task,
    params: ArrayTree,
    model_state: Any,
    rows: Mapping[str, np.ndarray] | None = None,
) -> tuple[Metrics, np.ndarray]:
    """Score a network.

    Args:
        task: network and data.
        params: the weights.
        model_state: batch statistics.
        rows: `image` and `label` to score on; None for the test set.

    Returns:
        The metrics and the probabilities, f32[n, K].
    """
    rows = task.data.test if rows is None else rows
    images, labels = rows["image"], rows["label"]
    probs = np.concatenate(
        [
            np.asarray(task.probs(params, model_state, images[first : first + TEST_BATCH]))
            for first in range(0, len(images), TEST_BATCH)
        ]
    )
    report = sparsity_report(params)
    metrics = Metrics(
        accuracy=float(accuracy(probs, labels)),
        nll=float(negative_log_likelihood(probs, labels)),
        ece=float(expected_calibration_error(probs, labels)),
        sparsity=report.sparsity,
        bytes=report.sparse_bytes,
    )
    return metrics, probs
