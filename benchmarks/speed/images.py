# SPDX-License-Identifier: Apache-2.0
"""Images on the device: what it takes to feed a step, and whole epochs. Pixels are random.

`data`: images a second that can be loaded, gathered and augmented, against what a step consumes.
`load` reads the decoded set from its cache, checksums included; `gather` takes the rows of a
minibatch on the device; `augment` standardises, crops and mirrors it; `step` is ours on a ResNet
at the same batch. Seconds are for one image.

`epoch`: seconds an epoch with everything on the device. One dispatch runs whole epochs: each
shuffles the rows, takes minibatches of bytes, standardises, crops and mirrors them, and steps; the
network computes in bfloat16; parameters, momentum and latents are float32. `ours` has noise,
adaptation and pruning at each step, `sgd` is plain, in the same loop; `sample` is ours by
`aeb.sample`.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb import guards
from aeb.data.files import read_npz, write_npz
from aeb.models import make_loss
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, one_of
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Contender, Section, compiled, repeating, stepping, turning

Coloured = Annotated[str, one_of(*(net for net, (_, shape) in nets.NETS.items() if shape[-1] == 3))]
"""A network that takes 3 channels."""

NORMALIZE = aeb.data.normalizer("cifar10")

AUGMENT = aeb.data.compose(aeb.data.random_crop(padding=4), aeb.data.random_flip())


@dataclasses.dataclass(frozen=True)
class Data(Section):
    """Loading and augmentation."""

    net: Coloured = "resnet20"  # a network that takes 3 channels
    num_images: Count = 50_000  # images of the set
    batch_size: Count = 100  # images a step

    def check(self) -> None:
        check(self)
        guards.whole("num_images", self.num_images, self.batch_size)

    def measure(self, clock: Clock) -> dict[str, Any]:
        rng, key = np.random.default_rng(0), jax.random.key(0)
        shape = (self.num_images, *nets.NETS[self.net][1])
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        stored = jnp.asarray(image)
        rows = jnp.asarray(rng.permutation(self.num_images)[: self.batch_size])
        batch = stored[: self.batch_size]
        gather = jax.jit(lambda data, rows: jnp.take(data, rows, axis=0))
        prepare = jax.jit(lambda key, batch: AUGMENT(key, NORMALIZE(batch)))
        workload = nets.make_workload(self.net, self.batch_size)
        step, start = nets.ours(workload)
        contenders = {
            "gather": repeating(lambda: gather(stored, rows)),
            "augment": repeating(lambda: prepare(key, batch)),
            "step": stepping(compiled(step), start, workload.batch, key),
        }
        times = clock.race(contenders, per=self.batch_size)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npz"
            write_npz(file, {"train_image": image})
            times |= clock.race({"load": repeating(lambda: read_npz(file))}, per=self.num_images)
        return {"seconds": times}


@dataclasses.dataclass(frozen=True)
class Epoch(Section):
    """Whole epochs on the device."""

    each, more = (("batch_sizes", "batch_size"),), (("compute", "bfloat16"),)

    net: Coloured = "resnet20"  # a network that takes 3 channels
    num_images: Count = 50_000  # images of an epoch
    batch_sizes: tuple[Count, ...] = (1000,)  # images a step, a row each

    def check(self) -> None:
        check(self)
        guards.whole("num_images", self.num_images, max(self.batch_sizes, default=0))

    def measure(self, clock: Clock, batch_size: int) -> dict[str, Any]:
        module, shape = nets.NETS[self.net]
        loss_fn = make_loss(
            module.clone(dtype=jnp.bfloat16), has_aux=True, preprocess=NORMALIZE, augment=AUGMENT
        )
        workload = nets.make_workload(self.net, batch_size)
        workload = workload._replace(loss_fn=loss_fn, has_aux=True)
        rng, key = np.random.default_rng(0), jax.random.key(1)
        image = rng.integers(0, 256, (self.num_images, *shape), dtype=np.uint8)
        label = rng.integers(0, 10, self.num_images, dtype=np.int32)
        data = {"image": jnp.asarray(image), "label": jnp.asarray(label)}
        steps = self.num_images // batch_size

        def racing(step: Callable[..., Any], start: Any) -> Contender:
            def epoch(state: Any, data: Any, key: jax.Array) -> Any:
                step_key, order_key = jax.random.split(key)
                order_key = jax.random.fold_in(order_key, state.step)
                order = jax.random.permutation(order_key, self.num_images)

                def one(place: Any, state: Any) -> Any:
                    rows = jax.lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
                    batch = jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), data)
                    return step(state, batch, step_key)

                return jax.lax.fori_loop(0, steps, one, state)

            return turning(epoch, start, data, key)

        contenders = {
            "sgd": racing(*nets.sgd(workload)),
            "ours": racing(*nets.ours(workload)),
            "sample": nets.sampling(workload, data, key, steps=steps, batch_size=batch_size),
        }
        return {"weights": workload.size, "steps": steps, "seconds": clock.race(contenders)}
