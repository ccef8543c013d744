# SPDX-License-Identifier: Apache-2.0
"""What a step costs, against plain SGD, other libraries and the least there is.

Each section is a race of contenders in one process: they are timed in turn, A B C, A B C, each
warm, and a row holds the times of all of them. Only ratios within a row mean something on a machine
that others use too; seconds are worth printing on a GPU alone. Sections whose package is not
installed (numpyro, PyTorch) are left out, and a line says so.
"""

import dataclasses
import importlib.util
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jax

from benchmarks import harness
from benchmarks.harness.ranges import one_of
from benchmarks.simulation.design import Design
from benchmarks.speed.clock import Clock, Race
from benchmarks.speed.images import Data, Epoch
from benchmarks.speed.peers import BlackJax, Nuts
from benchmarks.speed.regressions import Regressions
from benchmarks.speed.sampler import Sampler, Threshold
from benchmarks.speed.shrunk import Shrunk
from benchmarks.speed.steps import Chains, Compiling, Loop, Step
from benchmarks.speed.torch_peer import Torch

SECTIONS = (
    *("step", "sampler", "threshold", "blackjax", "nuts", "torch", "simulation", "chains"),
    *("loop", "data", "compile", "shrunk"),
)
"""All but the epochs, which a CPU takes minutes for."""


@dataclasses.dataclass(frozen=True)
class Speed(harness.Settings):
    # Where the other settings start: smoke is under a minute, cpu is for two cores, gpu for one
    # accelerator.
    preset: Literal["smoke", "cpu", "gpu"] = "smoke"
    # Where it is meant to run; it is part of the key of a row.
    backend: Literal["cpu", "gpu"] = "cpu"
    sections: tuple[Annotated[str, one_of(*SECTIONS, "epoch")], ...] = SECTIONS  # what to measure
    clock: Clock = Clock()  # how long to measure
    step: Step = Step()  # a training step over plain SGD
    sampler: Sampler = Sampler()  # the sampler alone over its floor
    threshold: Threshold = Threshold()  # choosing what to prune, against sort and top-k
    blackjax: BlackJax = BlackJax()  # BlackJAX's samplers per gradient
    nuts: Nuts = Nuts()  # numpyro's NUTS per effective sample
    torch: Torch = Torch()  # PyTorch's step
    simulation: Regressions = Regressions()  # a step of the large-p-small-n simulation
    chains: Chains = Chains()  # chains by vmap
    loop: Loop = Loop()  # dispatched, sampled, scanned
    data: Data = Data()  # loading and augmentation
    compile: Compiling = Compiling()  # compile time, traces, memory
    epoch: Epoch = Epoch()  # whole epochs on the device
    shrunk: Shrunk = Shrunk()  # units that are zero taken out

    def cells(self) -> list[Race]:
        """List what there is to measure, whether or not its package is installed."""
        shared = {"backend": self.backend, "clock": dataclasses.asdict(self.clock)}
        return [
            race
            for section in dict.fromkeys(self.sections)
            for race in getattr(self, section).races(section, shared)
        ]

    def seeds_of(self, cell: Race) -> tuple[int]:
        return (self.seed,)

    def config(self, cell: Race) -> dict[str, Any]:
        return cell.config

    def units(self) -> list[harness.Unit]:
        """List the cases that can be measured here."""
        if jax.default_backend() != self.backend:
            raise ValueError(
                f"backend: this is for a {self.backend}, JAX runs on a {jax.default_backend()}; "
                f"name the preset or the backend that fits"
            )
        races = self.cells()
        missing = {race.needs for race in races if race.needs and not _installed(race.needs)}
        for package in sorted(missing):
            names = ", ".join(race.name for race in races if race.needs == package)
            print(f"{NAME}: {package} is not installed; left out: {names}", file=sys.stderr)
        units = harness.one_row_each(self, self._run, name=lambda race: race.name)
        return [unit for unit, race in zip(units, races, strict=True) if race.needs not in missing]

    def _run(self, race: Race, seed: int, folder: Path, report: Any) -> harness.Measured:
        """Run a race; too short a work to be checkpointed."""
        del seed, folder
        began = time.monotonic()
        metrics = race.run(self.clock)
        report(1)
        return time.monotonic() - began, [metrics]


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


PRESETS = {
    "smoke": Speed(
        preset="smoke",
        sections=(*SECTIONS, "epoch"),
        clock=Clock(repeats=1, least=1e-3, limit=1.0),
        step=Step(nets=("tiny",), batch_size=10, parts=False),
        sampler=Sampler(sizes=(2000,), parts=(False,)),
        threshold=Threshold(sizes=(2000,)),
        blackjax=BlackJax(
            models=("logistic",), num_rows=100, num_columns=5, batch_size=10, by_row=False
        ),
        nuts=Nuts(num_rows=50, num_columns=3, warmup=20, draws=20, batch_size=10, thinning=2),
        torch=Torch(nets=("small_cnn",), steps=(2,), batch_size=10),
        simulation=Regressions(
            data_sets=(2,), chains=(1,), design=Design(num_rows=10, num_columns=12)
        ),
        chains=Chains(counts=(2,), net="tiny", batch_size=10),
        loop=Loop(nets=("tiny",), steps=(4,), batch_size=10),
        data=Data(net="tiny", num_images=40, batch_size=10),
        compile=Compiling(nets=("tiny",), batch_size=10),
        epoch=Epoch(net="tiny", num_images=20, batch_sizes=(10,)),
        shrunk=Shrunk(nets=("small_cnn",), batch_size=2),
    ),
    "cpu": Speed(preset="cpu"),
    "gpu": Speed(
        preset="gpu",
        backend="gpu",
        sections=(
            *("step", "sampler", "threshold", "blackjax", "chains", "loop", "data"),
            *("compile", "epoch"),
        ),
        step=Step(batch_size=1000),
        sampler=Sampler(parts=(True,) * 4),
        threshold=Threshold(sizes=(100_000, 1_000_000, 10_000_000, 100_000_000)),
        loop=Loop(nets=("mlp", "mnist_cnn"), steps=(300, 300)),
        data=Data(batch_size=1000),
        compile=Compiling(batch_size=1000),
    ),
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
