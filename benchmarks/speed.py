# SPDX-License-Identifier: Apache-2.0
"""What a step costs, against plain SGD, against other libraries, and against the least there is.

Each section is a race of contenders in one process: they are timed in turn, A B C, A B C, each
warm, and a row holds the times of all of them. Only ratios within a row mean something on a machine
that others use too; seconds are worth printing on a GPU alone. Sections whose package is not
installed (numpyro, PyTorch) are left out, and a line says so.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any, Literal

import jax

import cost
import frame

__all__ = ["NAME", "PRESETS", "SECTIONS", "Speed", "main"]

NAME = "speed"

DESCRIPTION = "What a step costs, against plain SGD, other libraries and the least there is."

Section = Literal[
    "step",
    "sampler",
    "threshold",
    "blackjax",
    "nuts",
    "torch",
    "simulation",
    "chains",
    "loop",
    "data",
    "compile",
    "epoch",
]

SECTIONS: tuple[Section, ...] = (
    "step",
    "sampler",
    "threshold",
    "blackjax",
    "nuts",
    "torch",
    "simulation",
    "chains",
    "loop",
    "data",
    "compile",
)
"""All but the epochs, which a CPU takes minutes for."""


@dataclasses.dataclass(frozen=True)
class Speed(frame.Settings):
    """The settings of this script."""

    preset: Literal["smoke", "cpu", "gpu"] = "smoke"
    """Where the other settings start: smoke is under a minute, cpu is for two cores, gpu for one
    accelerator."""
    backend: Literal["cpu", "gpu"] = "cpu"
    """Where it is meant to run; it is part of the key of a row."""
    sections: tuple[Section, ...] = SECTIONS
    """What to measure."""
    clock: cost.Clock = dataclasses.field(default_factory=cost.Clock)
    """How long to measure."""
    step: cost.Step = dataclasses.field(default_factory=cost.Step)
    """A training step over plain SGD."""
    sampler: cost.Sampler = dataclasses.field(default_factory=cost.Sampler)
    """The sampler alone over its floor."""
    threshold: cost.Threshold = dataclasses.field(default_factory=cost.Threshold)
    """Choosing what to prune, against sort and top-k."""
    blackjax: cost.BlackJax = dataclasses.field(default_factory=cost.BlackJax)
    """BlackJAX's samplers per gradient."""
    nuts: cost.Nuts = dataclasses.field(default_factory=cost.Nuts)
    """numpyro's NUTS per effective sample."""
    torch: cost.Torch = dataclasses.field(default_factory=cost.Torch)
    """PyTorch's step."""
    simulation: cost.Regressions = dataclasses.field(default_factory=cost.Regressions)
    """A step of the large-p-small-n simulation."""
    chains: cost.Chains = dataclasses.field(default_factory=cost.Chains)
    """Chains by vmap."""
    loop: cost.Loop = dataclasses.field(default_factory=cost.Loop)
    """Dispatched, sampled, scanned."""
    data: cost.Data = dataclasses.field(default_factory=cost.Data)
    """Loading and augmentation."""
    compile: cost.Compiling = dataclasses.field(default_factory=cost.Compiling)
    """Compile time, traces, memory."""
    epoch: cost.Epoch = dataclasses.field(default_factory=cost.Epoch)
    """Whole epochs on the device."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        self.clock.check()
        for section in self.sections:
            getattr(self, section).check()

    def cases(self) -> list[cost.Case]:
        """List what there is to measure, whether or not its package is installed."""
        return [
            case
            for section in dict.fromkeys(self.sections)
            for case in getattr(self, section).cases()
        ]

    def config(self, case: cost.Case) -> dict[str, Any]:
        """Tell all that fixes the row of a case."""
        return case.config | {"backend": self.backend, "clock": dataclasses.asdict(self.clock)}

    def units(self) -> list[frame.Unit]:
        """List the cases that can be measured here."""
        if jax.default_backend() != self.backend:
            raise ValueError(
                f"backend: this is for a {self.backend}, JAX runs on a {jax.default_backend()}; "
                f"name the preset or the backend that fits"
            )
        cases = self.cases()
        missing = {case.needs for case in cases if case.needs and not _installed(case.needs)}
        for package in sorted(missing):
            names = ", ".join(case.name for case in cases if case.needs == package)
            print(f"{NAME}: {package} is not installed; left out: {names}", file=sys.stderr)
        return [
            frame.Unit(
                name=case.name,
                configs=(self.config(case),),
                seeds=(self.seed,),
                size=1,
                run=functools.partial(self._run, case),
            )
            for case in cases
            if case.needs not in missing
        ]

    def _run(
        self, case: cost.Case, folder: Path, report: Any
    ) -> tuple[float, list[dict[str, Any]]]:
        """Measure a case; too short a work to be checkpointed."""
        began = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        metrics = case.run(self.clock, folder)
        report(1)
        return time.monotonic() - began, [metrics]


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


PRESETS = {
    "smoke": Speed(
        preset="smoke",
        sections=(*SECTIONS, "epoch"),
        clock=cost.Clock(repeats=1, least=1e-3, limit=1.0),
        step=cost.Step(nets=("tiny",), batch_size=10, parts=False),
        sampler=cost.Sampler(sizes=(2000,), parts_up_to=0),
        threshold=cost.Threshold(sizes=(2000,)),
        blackjax=cost.BlackJax(
            models=("logistic",), num_rows=100, num_columns=5, batch_size=10, by_row=False
        ),
        nuts=cost.Nuts(num_rows=50, num_columns=3, warmup=20, draws=20, batch_size=10, thinning=2),
        torch=cost.Torch(nets=("small_cnn",), steps=(2,), batch_size=10),
        simulation=cost.Regressions(
            data_sets=(2,), chains=(1,), design=cost.Design(num_rows=10, num_columns=12)
        ),
        chains=cost.Chains(counts=(2,), net="tiny", batch_size=10),
        loop=cost.Loop(nets=("tiny",), steps=(4,), batch_size=10),
        data=cost.Data(net="tiny", num_images=40, batch_size=10),
        compile=cost.Compiling(nets=("tiny",), batch_size=10),
        epoch=cost.Epoch(net="tiny", num_images=20, batch_sizes=(10,)),
    ),
    "cpu": Speed(preset="cpu"),
    "gpu": Speed(
        preset="gpu",
        backend="gpu",
        sections=(
            *("step", "sampler", "threshold", "blackjax", "chains", "loop", "data"),
            *("compile", "epoch"),
        ),
        step=cost.Step(batch_size=1000),
        sampler=cost.Sampler(parts_up_to=100_000_000),
        threshold=cost.Threshold(sizes=(100_000, 1_000_000, 10_000_000, 100_000_000)),
        loop=cost.Loop(nets=("mlp", "mnist_cnn"), steps=(300, 300)),
        data=cost.Data(batch_size=1000),
        compile=cost.Compiling(batch_size=1000),
    ),
}


def main(args: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return frame.main(NAME, PRESETS, args, description=DESCRIPTION)


if __name__ == "__main__":
    sys.exit(main())
