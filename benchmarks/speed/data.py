# SPDX-License-Identifier: Apache-2.0
"""Images a second that can be loaded, gathered and augmented, against what a step consumes.

`load` reads the decoded set from its cache, checksums included; `gather` takes the rows of a
minibatch on the device; `augment` standardises, crops and mirrors it; `step` is ours on a ResNet
at the same batch. Seconds are for one image. Pixels are random.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb import guards
from aeb.data.files import read_npz, write_npz
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, one_of
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Race, make_races, repeating, stepping
from benchmarks.speed.epoch import augmentation

__all__ = ["Data"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Loading and augmentation."""

    net: Annotated[str, one_of(*nets.COLOURED)] = "resnet20"  # one that takes 3 channels
    num_images: Count = 50_000  # images of the set
    batch_size: Count = 100  # images a step

    def check(self) -> None:
        check(self)
        guards.whole("num_images", self.num_images, self.batch_size)

    def races(self) -> list[Race]:
        return make_races("data", self, self._run)

    def _run(self, clock: Clock) -> dict[str, Any]:
        rng, key = np.random.default_rng(0), jax.random.key(0)
        shape = (self.num_images, *nets.NETS[self.net][1])
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        stored = jnp.asarray(image)
        rows = jnp.asarray(rng.permutation(self.num_images)[: self.batch_size])
        batch = stored[: self.batch_size]
        normalize, augment = aeb.data.normalizer("cifar10"), augmentation()
        gather = jax.jit(lambda data, rows: jnp.take(data, rows, axis=0))
        prepare = jax.jit(lambda key, batch: augment(key, normalize(batch)))
        workload = nets.make_workload(self.net, self.batch_size)
        step, start = nets.ours(workload)
        contenders = {
            "gather": repeating(lambda: gather(stored, rows)),
            "augment": repeating(lambda: prepare(key, batch)),
            "step": stepping(nets.compiled(step), start, workload.batch, key),
        }
        times = clock.race(contenders, per=self.batch_size)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "images.npz"
            write_npz(file, {"train_image": image})
            times |= clock.race({"load": repeating(lambda: read_npz(file))}, per=self.num_images)
        return {"seconds": times}
