# SPDX-License-Identifier: Apache-2.0
"""Seconds an epoch with everything on the device: pixels as bytes, shuffled, augmented, in bf16.

One dispatch runs whole epochs: each shuffles the rows, takes minibatches of bytes, standardises,
crops and mirrors them, and steps; the network computes in bfloat16; parameters, momentum and
latents are float32. `ours` has noise, adaptation and pruning at each step, `sgd` is plain, in the
same loop; `sample` is ours by `aeb.sample`. Pixels are random; nothing here depends on them.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb import guards
from aeb.models import make_loss
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, one_of
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Contender, Race, make_races, turning

__all__ = ["Epoch", "augmentation"]


@dataclasses.dataclass(frozen=True)
class Epoch:
    """Whole epochs on the device."""

    net: Annotated[str, one_of(*nets.COLOURED)] = "resnet20"  # one that takes 3 channels
    num_images: Count = 50_000  # images of an epoch
    batch_sizes: tuple[Count, ...] = (1000,)  # images a step, a row each

    def check(self) -> None:
        check(self)
        guards.whole("num_images", self.num_images, max(self.batch_sizes, default=0))

    def races(self) -> list[Race]:
        each = {"batch_sizes": "batch_size"}
        return make_races("epoch", self, self._run, each, compute="bfloat16")

    def _run(self, clock: Clock, batch_size: int) -> dict[str, Any]:
        workload, key = _in_bfloat16(self.net, batch_size), jax.random.key(1)
        rng = np.random.default_rng(0)
        shape = (self.num_images, *nets.NETS[self.net][1])
        data = {
            "image": jnp.asarray(rng.integers(0, 256, shape, dtype=np.uint8)),
            "label": jnp.asarray(rng.integers(0, 10, shape[0], dtype=np.int32)),
        }
        steps = self.num_images // batch_size

        def racing(step: Callable[..., Any], start: Any) -> Contender:
            return turning(_epoch(step, self.num_images, batch_size), start, data, key)

        contenders = {
            "sgd": racing(*nets.sgd(workload)),
            "ours": racing(*nets.ours(workload)),
            "sample": nets.sampling(workload, data, key, steps=steps, batch_size=batch_size),
        }
        return {"weights": workload.size, "steps": steps, "seconds": clock.race(contenders)}


def augmentation() -> Any:
    """Crop after padding by four, and mirror."""
    return aeb.data.compose(aeb.data.random_crop(padding=4), aeb.data.random_flip())


def _in_bfloat16(net: str, batch_size: int) -> nets.Workload:
    """Make a workload whose network computes in bfloat16, on batches of bytes."""
    loss_fn = make_loss(
        nets.NETS[net][0].clone(dtype=jnp.bfloat16),
        has_aux=True,
        preprocess=aeb.data.normalizer("cifar10"),
        augment=augmentation(),
    )
    return nets.make_workload(net, batch_size)._replace(loss_fn=loss_fn, has_aux=True)


def _epoch(step: Callable[..., Any], num_images: int, batch_size: int) -> Callable[..., Any]:
    """Make `(state, data, key) -> state`, a whole epoch."""

    def epoch(state: Any, data: Any, key: jax.Array) -> Any:
        step_key, order_key = jax.random.split(key)
        order = jax.random.permutation(jax.random.fold_in(order_key, state.step), num_images)

        def one(place: Any, state: Any) -> Any:
            rows = jax.lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
            batch = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), data)
            return step(state, batch, step_key)

        return jax.lax.fori_loop(0, num_images // batch_size, one, state)

    return epoch
