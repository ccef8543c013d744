# SPDX-License-Identifier: Apache-2.0
"""ResNet20 on CIFAR-10 made sparse: the paper's arms, a control without Bayes, ours.

    A-SGHMC         the gain 0: an L2 penalty of next to nothing, T falls
    A-SGHMC-EM      the gain 1, T falls
    SGHMC-SA        stochastic approximation, T constant
    A-SGHMC-SA      the same, T falls
    control         no prior that learns and no noise: magnitudes, pruned on a ramp, and the
                    learning rate rewound; per layer, with cycles, with the dense network as teacher
    aeb             the same ramp and rewinding under a prior at the scale of the weights, with and
                    without noise; pruned by rho in place of magnitude; with no target at all; with
                    the predictions at the end of cycles averaged; with a teacher

The first four are the authors' code in all that the library can express
(`released.DEPARTURES` is the rest). They start from the dense network that the authors
released, or as the others from one that is trained here. Accuracy is that of the last epoch; the
best epoch by test accuracy, which is what the authors report, stands in a column of that name.

The paper preset is sized for one GPU; each arm of it takes 1000 epochs, as the authors' do. The
full preset has the same network and images, and schedules of 5 to 60 epochs at a batch of 100.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from aeb import checkpoint
from benchmarks import harness
from benchmarks.compression.arms import ARMS, ArmName, Stage, make_stage
from benchmarks.compression.network import authors_network, make_setup
from benchmarks.compression.recipe import Released, Rewound, Size
from benchmarks.compression.training import Run, Saved, metrics_of, train
from benchmarks.harness.ranges import Count

StartName = Literal["authors", "own"]

DENSE, SPARSE = range(2)
"""What the key of a seed is folded with."""


DENSE_SETTINGS = ("learning_rate", "warmup", "weight_decay")
"""Those of `Rewound` that dense training reads."""


class Cell(NamedTuple):
    """What tells the rows of a seed apart."""

    arm: ArmName
    sparsity: float | None  # over all parameters; None where there is no target
    start: StartName
    epochs: int | None = None  # sparse epochs; None for as many as the size says


class Plan(NamedTuple):
    """Arms that are run at the same sparsities, from the same starts, with as many seeds."""

    arms: tuple[ArmName, ...]
    sparsities: tuple[float, ...]
    starts: tuple[StartName, ...]
    seeds: int
    epochs: int | None = None  # sparse epochs, where they are not those of the size


AUTHORS: tuple[ArmName, ...] = ("a_sghmc", "a_sghmc_em", "sghmc_sa", "a_sghmc_sa")

PLANS: dict[str, tuple[Plan, ...]] = {
    "smoke": (
        Plan(("dense",), (), ("own",), 1),
        Plan(("aeb_taught",), (0.7,), ("own",), 1),
    ),
    "cpu": (
        Plan(("dense",), (), ("own",), 3),
        Plan((*AUTHORS, "control", "aeb"), (0.9,), ("own",), 3),
        Plan(("aeb_learned",), (), ("own",), 3),
        Plan(("aeb_noise", "aeb_rho"), (0.9,), ("own",), 3),
        Plan(("control_cycles", "aeb_cycles"), (0.9,), ("own",), 3),
        Plan(("control_taught", "aeb_taught"), (0.9,), ("own",), 3),
        Plan(("control", "aeb"), (0.95, 0.8), ("own",), 3),
        Plan(("control_leaf",), (0.9,), ("own",), 3),
        Plan(("control_frozen", "aeb_frozen"), (0.95, 0.9), ("own",), 3),
        Plan(("control_fisher", "aeb_fisher"), (0.95, 0.9), ("own",), 3),
    ),
    "full": (
        Plan(("control", "aeb"), (0.9,), ("authors",), 3),
        Plan(("control", "aeb"), (0.95, 0.98), ("authors",), 3),
        Plan(("aeb_learned",), (), ("authors",), 3),
        Plan(("aeb_scaled",), (0.98, 0.9), ("authors",), 3, epochs=5),
        Plan(("aeb_scaled",), (0.9, 0.95, 0.98), ("authors",), 3),
        Plan(("control", "aeb"), (0.98, 0.9), ("authors",), 3, epochs=5),
        Plan(("control_relative", "aeb_relative"), (0.98, 0.9), ("authors",), 1, epochs=5),
        Plan(("control_frozen", "aeb_frozen"), (0.98, 0.95, 0.9), ("authors",), 3, epochs=5),
        Plan(("control_fisher", "aeb_fisher"), (0.98, 0.95, 0.9), ("authors",), 3, epochs=5),
        Plan(("control_frozen_taught", "aeb_fisher_taught"), (0.98,), ("authors",), 3, epochs=5),
        Plan(("control_frozen", "aeb_frozen"), (0.98, 0.95, 0.9), ("authors",), 3),
        Plan(("control_fisher", "aeb_fisher"), (0.98, 0.95, 0.9), ("authors",), 3),
        Plan(("control_frozen_taught", "aeb_fisher_taught"), (0.98,), ("authors",), 3),
        Plan(("control", "aeb"), (0.9,), ("authors",), 1, epochs=30),
        Plan(("control", "aeb"), (0.9,), ("authors",), 1, epochs=60),
        Plan(("sghmc_sa", "a_sghmc_sa"), (0.9,), ("authors",), 1),
        Plan(("control_cycles", "aeb_cycles"), (0.9,), ("authors",), 2),
        Plan(("control", "aeb"), (0.5, 0.7, 0.8), ("authors",), 1),
    ),
    "paper": (
        Plan(("dense",), (), ("own",), 5),
        Plan(AUTHORS, (0.9,), ("authors", "own"), 3),
        Plan(("control", "aeb"), (0.9, 0.95, 0.98), ("own",), 5),
        Plan(("control_taught", "aeb_taught"), (0.9, 0.95, 0.98), ("own",), 5),
        Plan(("control_cycles", "aeb_cycles"), (0.9, 0.95, 0.98), ("own",), 5),
        Plan(("control",), (0.9,), ("authors",), 3),
        Plan(("aeb_learned",), (), ("own",), 3),
        Plan(("control_leaf", "aeb_noise", "aeb_rho"), (0.9,), ("own",), 3),
        Plan(("control_relative", "aeb_relative"), (0.9, 0.95, 0.98), ("own",), 3),
        Plan(("aeb_scaled",), (0.9, 0.95, 0.98), ("own",), 3),
        Plan(("control_frozen", "aeb_frozen"), (0.9, 0.95, 0.98), ("own",), 3),
        Plan(("control_fisher", "aeb_fisher"), (0.9, 0.95, 0.98), ("own",), 3),
        Plan(("control_frozen_taught", "aeb_fisher_taught"), (0.98,), ("own",), 3),
        Plan(AUTHORS, (0.3, 0.5, 0.7, 0.8, 0.95, 0.98), ("authors",), 1),
        Plan(("control", "aeb"), (0.3, 0.5, 0.7, 0.8), ("own",), 1),
    ),
}
"""What each preset runs, in this order."""


@dataclasses.dataclass(frozen=True)
class Compression(harness.Settings):
    # Those of the preset's arms, sparsities and starts to run.
    arms: tuple[ArmName, ...] = tuple(ARMS)
    sparsities: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    starts: tuple[StartName, ...] = ("authors", "own")
    lengths: tuple[int, ...] = ()  # those of its sparse epochs to run; () is all
    max_seeds: Count = 5  # seeds to run of each at most
    size: Size = Size()  # data and network
    released: Released = Released()  # how the authors' arms are set
    rewound: Rewound = Rewound()  # how dense training, the control and our arms are set

    def check(self) -> None:
        super().check()
        cells = self.cells()
        if any(ARMS[cell.arm].cycles for cell in cells):
            self.rewound.cycle_epochs(self.size.epochs)
        full = Size()
        fits = all(
            getattr(self.size, name) == getattr(full, name)
            for name in ("data", "pool", "depth", "widths")
        )
        if not fits and any(cell.start == "authors" for cell in cells):
            raise ValueError("starts: that of the authors is a ResNet20 of full width for CIFAR-10")
        if not cells:
            raise ValueError(f"arms: the preset {self.preset} has nothing of what is named")

    def cells(self) -> list[Cell]:
        return [cell for cell, _ in self.planned()]

    def seeds_of(self, cell: Cell) -> range:
        return range(self.seed, self.seed + dict(self.planned())[cell])

    def planned(self) -> list[tuple[Cell, int]]:
        """List what to run, each with the number of its seeds."""
        return [
            (Cell(arm, sparsity, start, plan.epochs), min(plan.seeds, self.max_seeds))
            for plan in PLANS[self.preset]
            if not self.lengths or (plan.epochs or self.size.epochs) in self.lengths
            for arm in plan.arms
            if arm in self.arms
            for start in plan.starts
            if start in self.starts
            for sparsity in plan.sparsities or (None,)
            if sparsity is None or sparsity in self.sparsities
        ]

    def config(self, cell: Cell) -> dict[str, Any]:
        size, rewound = dataclasses.asdict(self._size(cell)), dataclasses.asdict(self.rewound)
        # Settings that came later are left out where they are not used: so do older rows.
        rewound = {name: value for name, value in rewound.items() if value is not None}
        if ARMS[cell.arm].kind != "aeb" or ARMS[cell.arm].scaled:
            rewound.pop("weight", None)  # of our prior alone, where it does not find its own
        if ARMS[cell.arm].scaled:
            del rewound["v0"], rewound["v1"]
        config: dict[str, Any] = {
            "arm": cell.arm,
            "sparsity": cell.sparsity,
            "start": cell.start,
            "size": size | {"widths": list(self.size.widths)},
        }
        if cell.start == "own":
            config["dense"] = {name: rewound[name] for name in DENSE_SETTINGS}
        if cell.arm == "dense":
            config["size"].pop("epochs")
        elif ARMS[cell.arm].kind == "released":
            falls = list(self.released.falls)
            config["released"] = dataclasses.asdict(self.released) | {"falls": falls}
        else:
            config["rewound"] = rewound
        return config

    def _size(self, cell: Cell) -> Size:
        if cell.epochs is None:
            return self.size
        return dataclasses.replace(self.size, epochs=cell.epochs)

    def units(self) -> list[harness.Unit]:
        dense = self.size.dense_epochs
        return harness.one_row_each(
            self,
            self._run,
            name=lambda cell: f"{ARMS[cell.arm].label} {cell.sparsity or ''}",
            size=lambda cell: dense if cell.arm == "dense" else self._size(cell).epochs,
        )

    def _run(
        self, cell: Cell, seed: int, folder: Path, report: Callable[[int], Any]
    ) -> harness.Measured:
        """Run an arm for a seed, after the dense network that it starts from."""
        labels = make_setup(self.size).task.data.test["label"]
        if cell.arm == "dense":
            seconds, saved, stage = self._dense(seed, folder.parent, report)
            return seconds, [metrics_of(saved, stage, labels)]
        if cell.start == "own":
            _, dense, _ = self._dense(seed, folder.parent, lambda epochs: None)
            params, model_state = dense.state.position, dense.state.model_state
        else:
            params, model_state = authors_network()
        if ARMS[cell.arm].taught:
            model_state = {**model_state, "teacher": {"params": params, **model_state}}
        run = self._of(cell, jax.random.fold_in(jax.random.key(seed), SPARSE))
        checkpoints = harness.Checkpoints(folder, self.checkpoint_every)
        saved = train(run, params, model_state, checkpoints, report)
        return checkpoints.seconds, [metrics_of(saved, run.stage, labels)]

    def _of(self, cell: Cell, key: jax.Array) -> Run:
        size = self._size(cell)
        stage = _stage(size, self.released, self.rewound, cell.arm, cell.sparsity)
        return Run(make_setup(self.size), size, stage, key, self.rewound.refresh)

    def _dense(
        self, seed: int, work: Path, report: Callable[[int], Any]
    ) -> tuple[float, Saved, Stage]:
        """Train the dense network of a seed, or read it where that was done."""
        cell = Cell("dense", None, "own")
        folder = work / f"dense_{harness.place_of([self.config(cell), seed], harness.stamp())}"
        init_key, key = jax.random.split(jax.random.fold_in(jax.random.key(seed), DENSE))
        run = self._of(cell, key)
        if checkpoint.latest_step(folder) is None:
            params, model_state = jax.jit(run.setup.task.init)(init_key)
        else:  # their values are in it, and drawing them takes a while to compile
            shapes = jax.eval_shape(run.setup.task.init, init_key)
            params, model_state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
        checkpoints = harness.Checkpoints(folder, self.checkpoint_every)
        saved = train(run, params, model_state, checkpoints, report)
        seconds = checkpoints.seconds
        checkpoints.save(int(saved.state.step), saved)
        return seconds, saved, run.stage


@functools.lru_cache(maxsize=16)
def _stage(
    size: Size, released: Released, rewound: Rewound, arm: ArmName, sparsity: float | None
) -> Stage:
    """Make a stage, once for all seeds."""
    setup = make_setup(size)
    params, _ = jax.eval_shape(setup.task.init, jax.random.key(0))
    return make_stage(setup, size, released, rewound, arm, sparsity, params)


PRESETS = {
    "smoke": Compression(
        preset="smoke",
        size=Size(
            data="digits",
            num_images=100,
            num_test=100,
            depth=8,
            widths=(4, 4, 8),
            padding=1,
            batch_size=25,
            dense_epochs=2,
            epochs=4,
            evaluate_every=4,
        ),
        rewound=Rewound(cycles=2, cycle_share=0.5, refresh=4),
        checkpoint_every=2.0,
    ),
    "cpu": Compression(
        preset="cpu",
        size=Size(
            pool=2,
            num_images=10_000,
            num_test=5_000,
            depth=8,
            widths=(8, 16, 32),
            compute="float32",
            padding=2,
            erasing=False,
            batch_size=100,
            dense_epochs=16,
            epochs=6,
            evaluate_every=3,
        ),
        # A cycle is an epoch.
        rewound=Rewound(cycle_share=0.5, cycles=3),
        checkpoint_every=20.0,
    ),
    "full": Compression(
        preset="full",
        size=Size(
            compute="float32",
            erasing=False,
            batch_size=100,
            dense_epochs=60,
            epochs=15,
            evaluate_every=1,
        ),
        rewound=Rewound(rewind=0.05, fall="linear", ramp=0.4, weight=0.03, follow_ramp=True),
        checkpoint_every=120.0,
    ),
    "paper": Compression(
        preset="paper",
        # Not validated, for nothing of this size was run: the rate by the rule of .1 at a batch of
        # 250, v1 so that the slab pulls as the weight decay of the control does, 1 / (v1 N).
        rewound=Rewound(learning_rate=0.4, rewind=0.4, v1=0.04),
        checkpoint_every=120.0,
    ),
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
