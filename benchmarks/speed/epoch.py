# SPDX-License-Identifier: Apache-2.0
"""Seconds an epoch with everything on the device: pixels as bytes, shuffled, augmented, in bf16.

One dispatch runs whole epochs: each shuffles the rows, takes minibatches of bytes, standardises,
crops and mirrors them, and steps; the network computes in bfloat16; parameters, momentum and
latents are float32. `ours` has noise, adaptation and pruning at each step, `sgd` is plain, in the
same loop; `sample` is ours by `aeb.sample`. Pixels are random; nothing here depends on them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb import guards
from aeb.models import make_loss
from benchmarks.harness import check
from benchmarks.speed.clock import Case, Clock, Contender, copied
from benchmarks.speed.nets import (
    NETS,
    NUM_DATA,
    Problem,
    algorithm,
    kernel_step,
    make_problem,
    sgd_state,
    sgd_step,
)

__all__ = ["Epoch", "augmentation"]


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Whole epochs on the device."""

    net: str = "resnet20"
    """The network; one that takes 3 channels."""
    num_images: int = 50_000
    """Images of an epoch."""
    batch_sizes: tuple[int, ...] = (1000,)
    """Images a step, a row each."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        coloured = tuple(name for name in NETS if NETS[name][1][-1] == 3)
        check(self, whole={1: "batch_sizes"}, one_of={coloured: "net"})
        guards.whole("num_images", self.num_images, max(self.batch_sizes, default=0))

    def cases(self) -> list[Case]:
        """List the rows."""
        return [
            Case(
                f"epoch of {self.net} at batch {size}",
                {
                    "section": "epoch",
                    "net": self.net,
                    "num_images": self.num_images,
                    "batch_size": size,
                    "compute": "bfloat16",
                },
                functools.partial(self._run, size),
            )
            for size in self.batch_sizes
        ]

    def _run(self, batch_size: int, clock: Clock, folder: Path) -> dict[str, Any]:
        del folder
        problem = _in_bfloat16(self.net, batch_size)
        rng = np.random.default_rng(0)
        shape = (self.num_images, *NETS[self.net][1])
        data = {
            "image": jnp.asarray(rng.integers(0, 256, shape, dtype=np.uint8)),
            "label": jnp.asarray(rng.integers(0, 10, shape[0], dtype=np.int32)),
        }
        own, key = algorithm(), jax.random.key(1)
        kernel = aeb.build_kernel(own, problem.loss_fn, num_data=NUM_DATA, has_aux=True)
        start = own.init(problem.params, problem.model_state)
        held = copied(start)
        steps = self.num_images // batch_size

        def sampling(count: int) -> None:
            nonlocal held
            held, _ = aeb.sample(
                kernel,
                held,
                data,
                key,
                num_steps=count * steps,
                batch_size=batch_size,
                progress=False,
            )
            jax.block_until_ready(held)

        contenders = {
            "sgd": _epochs(sgd_step(problem), sgd_state(problem), data, key, batch_size),
            "ours": _epochs(kernel_step(problem, own), start, data, key, batch_size),
            "sample": sampling,
        }
        return {
            "weights": problem.size,
            "steps": steps,
            "seconds": clock.race(contenders),
        }


def augmentation() -> Any:
    """Crop after padding by four, and mirror."""
    return aeb.data.compose(aeb.data.random_crop(padding=4), aeb.data.random_flip())


def _in_bfloat16(net: str, batch_size: int) -> Problem:
    """Make a problem whose network computes in bfloat16, on batches of bytes."""
    problem = make_problem(net, batch_size)
    loss_fn = make_loss(
        NETS[net][0].clone(dtype=jnp.bfloat16),
        has_aux=True,
        preprocess=aeb.data.normalizer("cifar10"),
        augment=augmentation(),
    )
    return problem._replace(loss_fn=loss_fn, has_aux=True)


def _epochs(
    step: Callable[..., Any], start: Any, data: Any, key: jax.Array, batch_size: int
) -> Contender:
    """Make a contender that runs so many epochs in one dispatch."""
    num_images = len(data["label"])
    batches = num_images // batch_size

    @functools.partial(jax.jit, donate_argnums=0)
    def epochs(state: Any, data: Any, key: jax.Array, count: Any) -> Any:
        step_key, order_key = jax.random.split(key)

        def epoch(_: Any, state: Any) -> Any:
            order = jax.random.permutation(jax.random.fold_in(order_key, state.step), num_images)

            def one(place: Any, state: Any) -> Any:
                rows = jax.lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
                batch = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), data)
                return step(state, batch, step_key)

            return jax.lax.fori_loop(0, batches, one, state)

        return jax.lax.fori_loop(0, count, epoch, state)

    held = [copied(start)]

    def run(count: int) -> None:
        state = epochs(held.pop(), data, key, count)
        held.append(jax.block_until_ready(state))

    return run
