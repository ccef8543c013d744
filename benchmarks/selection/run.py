# SPDX-License-Identifier: Apache-2.0
"""`aeb.regression` beside its rivals, on simulated designs and on real data.

    designs         error, finds, calibration and coverage, where the truth is known (`designs.py`)
    tasks           error on rows held out of real data (`real.py`)
    credible sets   coverage and power beside susie's, of effects at real genotypes (`effects.py`)
    keys            how far several keys agree on all rows of riboflavin (`real.py`)

Every method sees the same rows, and each is set as its users set it (`rivals.py` says how), so
that none but the horseshoe is told a number of signals, and none the noise. Seconds are of a fit
alone, on the clock and of the processor. The first call of a method in a process imports and
compiles, that of `aeb` for each shape, so the fit is made twice there: `first_call` has the first,
the second counts. The horseshoe is too long for that: what it compiles is in its seconds.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Annotated, Any

from benchmarks import harness
from benchmarks.harness import methods
from benchmarks.harness.comparison import Cell, Comparison, Given, Job, Way, check_installed
from benchmarks.harness.methods import Estimate
from benchmarks.harness.ranges import Count, Some, one_of, whole
from benchmarks.regression import horseshoe, mcp
from benchmarks.regression.horseshoe import Horseshoe
from benchmarks.regression.mcp import MCP
from benchmarks.selection import designs, effects, real, rivals
from benchmarks.selection.scores import of_fold, of_truth

SKLEARN = ("scikit-learn",)


def _folds(settings: Selection, cell: Cell) -> dict[str, Any]:
    return {"folds": settings.folds}


def _mcp(given: Given) -> Estimate:
    settings, tall = given.settings, len(given.x) > given.x.shape[1]
    penalty = dataclasses.replace(settings.mcp, ratio=rivals.TALL) if tall else settings.mcp
    return mcp.fit(given.x, given.y, settings=penalty, folds=settings.folds)


METHODS = {
    "lasso": Way(lambda g: rivals.lasso(g.x, g.y, folds=g.settings.folds), SKLEARN, _folds),
    "ridge": Way(lambda g: rivals.ridge(g.x, g.y), SKLEARN),
    "elastic net": Way(
        lambda g: rivals.elastic_net(g.x, g.y, folds=g.settings.folds), SKLEARN, _folds
    ),
    "mcp": Way(
        _mcp,
        (*SKLEARN, "skglm"),
        lambda settings, cell: {
            **_folds(settings, cell),
            **dataclasses.asdict(settings.mcp),
            "ratio_of_tall": rivals.TALL,
        },
    ),
    "ard": Way(lambda g: rivals.ard(g.x, g.y), SKLEARN, most=500),
    "aeb": Way(
        lambda g: methods.ours(g.x, g.y, key=0), options=lambda settings, cell: methods.defaults()
    ),
    "aeb, v0 = 0": Way(
        lambda g: methods.ours(g.x, g.y, key=0, v0=0.0),
        options=lambda settings, cell: methods.defaults(0.0),
    ),
    "abess": Way(lambda g: rivals.abess(g.x, g.y, folds=None), ("abess",)),
    "abess, folds": Way(
        lambda g: rivals.abess(g.x, g.y, folds=g.settings.folds), ("abess",), _folds
    ),
    "susie": Way(lambda g: rivals.susie(g.x, g.y), ("pysusie",)),
    "millipede": Way(
        lambda g: rivals.millipede(g.x, g.y, seed=g.seed), ("millipede-regression", "torch")
    ),
    "horseshoe": Way(
        lambda g: horseshoe.fit(g.x, g.y, settings=g.settings.horseshoe, level=0.9, seed=g.seed),
        ("numpyro",),
        lambda settings, cell: settings.horseshoe.options(),
        most=300,
    ),
}

NotNegative = Annotated[int, whole(0)]


@dataclasses.dataclass(frozen=True)
class Selection(Comparison):
    ways = METHODS

    methods: Some[Annotated[str, one_of(*METHODS)]] = tuple(METHODS)  # what to compare
    designs: tuple[Annotated[str, one_of(*designs.DESIGNS)], ...] = tuple(designs.DESIGNS)
    tasks: tuple[Annotated[str, one_of(*real.TASKS)], ...] = tuple(real.TASKS)  # real data
    wide_sets: Count = 10  # data sets of a design with more than 5,000 columns
    horseshoe_sets: NotNegative = 3  # data sets of a design, for the horseshoe
    draws: NotNegative = 300  # draws of effects whose credible sets are looked at
    keys: NotNegative = 5  # keys that are to agree on riboflavin
    folds: Annotated[int, whole(2)] = 10  # folds of the cross-validations inside a method
    mcp: MCP = dataclasses.field(default_factory=MCP)  # how MCP is set
    horseshoe: Horseshoe = dataclasses.field(default_factory=Horseshoe)  # how the horseshoe is set

    def check(self) -> None:
        super().check()
        genotypes, riboflavin = "n3finemapping.npz", "riboflavin.npz"
        for option, file, asked, otherwise in (
            ("designs", genotypes, "genotypes" in self.designs, "leave genotypes out of it"),
            ("draws", genotypes, self.draws, "set --draws 0"),
            ("tasks", riboflavin, "riboflavin" in self.tasks, "leave riboflavin out of it"),
            ("keys", riboflavin, self.keys, "set --keys 0"),
        ):
            if asked and not designs.stored(file).exists():
                raise ValueError(
                    f"{option}: this needs AEB_DATA_DIR with regression/{file}; set it, or "
                    f"{otherwise}"
                )
        for name in self.tasks:
            # Of ISLP only a file is read, and what it depends on is large.
            check_installed("tasks", name, real.TASKS[name].packages, "--no-deps {}")

    def cells(self) -> tuple[Cell, ...]:
        """List what there is to compare: each task in turn, by every method."""
        cells = []
        for name in dict.fromkeys(self.designs):
            columns = designs.DESIGNS[name].num_columns
            sets = self.data_sets if columns <= 5000 else self.wide_sets
            for method in dict.fromkeys(self.methods):
                if columns <= (METHODS[method].most or columns):
                    few = min(sets, self.horseshoe_sets) if method == "horseshoe" else sets
                    cells.append(Cell(method, name, few))
        for name in dict.fromkeys(self.tasks):
            for method in dict.fromkeys(self.methods):
                if real.TASKS[name].num_columns <= (METHODS[method].most or math.inf):
                    cells.append(Cell(method, name, real.FOLDS))
        for method in dict.fromkeys(self.methods):
            if method in ("aeb", "susie"):
                cells.append(Cell(method, effects.TASK, self.draws))
            if method == "aeb":
                cells.append(Cell(method, real.KEYS, self.keys))
        return tuple(cell for cell in cells if cell.repeats)

    def told(self, task: str) -> dict[str, Any] | None:
        known = designs.DESIGNS.get(task)
        return None if known is None else known._asdict()

    def job(self, cell: Cell, seed: int) -> Job:
        if cell.task == effects.TASK:
            drawn = effects.draw(seed)
            fit = functools.partial(effects.sets_of, cell.method, drawn)
            return Job(drawn.x.shape, fit, functools.partial(effects.score, drawn))
        if cell.task == real.KEYS:
            x, y = real.TASKS["riboflavin"].read()
            return Job(x.shape, functools.partial(methods.ours, x, y, key=seed), real.agreement)
        if cell.task in real.TASKS:
            data: Any = real.fold(cell.task, seed)
            score = functools.partial(of_fold, data)
        else:
            data = designs.draw(cell.task, seed)
            score = functools.partial(of_truth, designs.DESIGNS[cell.task], data)
        given = Given(self, cell, data.x, data.y, seed)
        return Job(data.x.shape, functools.partial(METHODS[cell.method].fit, given), score)


PRESETS = {
    # Only what comes with the `test` extra and without data.
    "smoke": Selection(
        preset="smoke",
        methods=("lasso", "ridge", "aeb"),
        designs=("small", "short"),
        tasks=(),
        data_sets=1,
        draws=0,
        keys=0,
    ),
    "cpu": Selection(preset="cpu", data_sets=10, wide_sets=3, horseshoe_sets=1, draws=40),
    "paper": Selection(preset="paper"),
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
