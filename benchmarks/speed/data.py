# SPDX-License-Identifier: Apache-2.0
"""Images a second that can be loaded, gathered and augmented, against what a step consumes.

`load` reads the decoded set from its cache, checksums included; `gather` takes the rows of a
minibatch on the device; `augment` standardises, crops and mirrors it; `step` is ours on a ResNet
at the same batch. Seconds are for one image. Pixels are random.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb import guards
from aeb.data.files import read_npz, write_npz
from benchmarks.harness import check
from benchmarks.speed.clock import Case, Clock, copied
from benchmarks.speed.epoch import augmentation
from benchmarks.speed.nets import NETS, algorithm, compiled, kernel_step, make_problem

__all__ = ["Data"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Loading and augmentation."""

    net: str = "resnet20"
    """The network; one that takes 3 channels."""
    num_images: int = 50_000
    """Images of the set."""
    batch_size: int = 100
    """Images a step."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        coloured = tuple(name for name in NETS if NETS[name][1][-1] == 3)
        check(self, whole={1: "batch_size"}, one_of={coloured: "net"})
        guards.whole("num_images", self.num_images, self.batch_size)

    def cases(self) -> list[Case]:
        """List the row."""
        return [Case("data", {"section": "data"} | dataclasses.asdict(self), self._run)]

    def _run(self, clock: Clock, folder: Path) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        shape = (self.num_images, *NETS[self.net][1])
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        file = folder / "images.npz"
        write_npz(file, {"train_image": image})
        stored, key = jnp.asarray(image), jax.random.key(0)
        normalize, augment = aeb.data.normalizer("cifar10"), augmentation()
        rows = jnp.asarray(rng.permutation(self.num_images)[: self.batch_size])
        batch = stored[: self.batch_size]
        gather = jax.jit(lambda data, rows: jnp.take(data, rows, axis=0))
        prepare = jax.jit(lambda key, batch: augment(key, normalize(batch)))
        problem, own = make_problem(self.net, self.batch_size), algorithm()
        step = compiled(kernel_step(problem, own))
        held = [copied(own.init(problem.params, problem.model_state))]

        def repeated(work: Callable[[], Any]) -> Callable[[int], None]:
            def run(count: int) -> None:
                for _ in range(count):
                    done = work()
                jax.block_until_ready(done)

            return run

        def stepped(count: int) -> None:
            state = held.pop()
            for _ in range(count):
                state = step(state, problem.batch, key)
            held.append(jax.block_until_ready(state))

        contenders = {
            "gather": repeated(lambda: gather(stored, rows)),
            "augment": repeated(lambda: prepare(key, batch)),
            "step": stepped,
        }
        times = clock.race(contenders, per=self.batch_size)
        times |= clock.race({"load": repeated(lambda: read_npz(file))}, per=self.num_images)
        return {"seconds": times}
