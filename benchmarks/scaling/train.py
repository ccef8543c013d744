# SPDX-License-Identifier: Apache-2.0
"""An example of a run over several processes that may die: it goes on from its last checkpoint.

On one machine, each line in a shell of its own:

    python -m benchmarks.scaling.train --folder run --processes 2 --index 0 --port 9911
    python -m benchmarks.scaling.train --folder run --processes 2 --index 1 --port 9911

Kill either: the other ends within a minute and says so. The same lines go on, and the run ends in
the bits that it would have ended in. On several hosts the folder has to be one that all of them
see, and `jax.distributed.initialize` takes the address of the first (see docs/scaling.md).
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import aeb
from aeb.models import MLP, make_loss
from aeb.usage import parse
from benchmarks.scaling.launch import HEARTBEAT, Layout, make_mesh, start


@dataclasses.dataclass(frozen=True)
class Train:
    """A small network on the 8x8 digits, data parallel."""

    folder: Path  # where the checkpoints go, and in the end the state, as `final.npz`
    devices: int = 2  # devices in all
    processes: int = 1  # they share the devices evenly
    index: int = 0  # which of them this is
    port: int = 0  # where process 0 listens
    steps: int = 60  # steps in all
    every: int = 10  # steps between two checkpoints
    batch_size: int = 32  # rows of a global batch
    heartbeat: int = HEARTBEAT  # seconds without a sign of life after which a process is given up
    pause: float = 0.0  # seconds to wait after each step, for trying what a kill does


def train(settings: Train) -> aeb.State:
    """Run to the end, from the last checkpoint if there is one."""
    layout = Layout(settings.devices, settings.processes)
    start(layout, settings.index, settings.port, heartbeat=settings.heartbeat)
    digits, normalize = aeb.data.load("digits"), aeb.data.normalizer("digits")
    images, labels = digits.train["image"], digits.train["label"]
    examples = [
        {"image": image, "label": label} for image, label in zip(images, labels, strict=True)
    ]
    net = MLP(hidden=(32,), features=10)
    params = net.init(jax.random.key(0), normalize(images[:1]))["params"]
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(1e-4, temperature=0.1),
        aeb.spike_slab(v0=0.1, v1=1.0, kappa0=None, learn_sigma=True, follow_ramp=False),
    )
    loss_fn = make_loss(net, preprocess=normalize)
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=len(examples))
    mesh = make_mesh(settings.devices)
    step, split = aeb.data_parallel(kernel, mesh), NamedSharding(mesh, PartitionSpec("data"))

    # Every process reads the checkpoint; one writes it.
    state, done, key = algorithm.init(params), 0, jax.random.key(1)
    if aeb.checkpoint.latest_step(settings.folder) is not None:
        done, state = aeb.checkpoint.restore(settings.folder, state)
        print(f"goes on from step {done}", flush=True)
    batches = aeb.data.stream(examples, settings.batch_size, seed=2, start=done)
    for count, rows in zip(range(done, settings.steps), batches.to_iter_dataset(), strict=False):
        batch: Any = jax.tree.map(
            lambda leaf: jax.make_array_from_process_local_data(split, leaf), rows
        )
        state = step(state, batch, jax.random.fold_in(key, count))
        if (count + 1) % settings.every == 0 and jax.process_index() == 0:
            aeb.checkpoint.save(settings.folder, count + 1, state)
            print(f"step {count + 1}, loss {float(state.loss):.3f}", flush=True)
        time.sleep(settings.pause)
    return state


def main() -> int:
    """Run and write the weights; returns the exit code."""
    settings = parse(Train, sys.argv[1:], prog="scaling.train", description=Train.__doc__ or "")
    state = train(settings)
    if jax.process_index() == 0:
        settings.folder.mkdir(parents=True, exist_ok=True)
        np.savez(settings.folder / "final.npz", *map(np.asarray, jax.tree.leaves(state)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
