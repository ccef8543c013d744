# SPDX-License-Identifier: Apache-2.0
"""`aeb demo` and `aeb compress`: compress a network, compare, and save the result.

    one of ours       trained here, compressed by every arm, compared (`aeb.comparison`)
    your own          `--model package.module:factory`, by `aeb.compress` (`aeb.cli.custom`)

A run has one folder (`aeb.runs.folder`). Each stage keeps checkpoints in a folder of its own, so
the same command continues where it stopped. A folder with a run of other settings is refused.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

import aeb
from aeb import guards
from aeb.cli import custom
from aeb.cli.named import is_name
from aeb.cli.output import AsJson, Outcome, Switch, tell
from aeb.cli.plan import RunPlan, plan_leaves
from aeb.cli.rows import SETS
from aeb.comparison import ARMS, Plan, Recipe, make_plan, run_plan
from aeb.files.atomic import plain, write_json
from aeb.files.lock import alone
from aeb.logs import json_lines
from aeb.runs.folder import METRICS, RESULTS, SETTINGS
from aeb.usage import UsageError

__all__ = ["Compress", "Demo"]

Arm = Literal["magnitude", "em", "sa", "learned"]

OURS = ("cnn", "resnet20")
"""Networks that have a short name."""

ONLY_OURS = ("start", "arms", "seeds", "v0", "v1")
"""Settings for our networks only."""

ONLY_CUSTOM = (
    "test",
    "params",
    "preprocess",
    "augment",
    "num_steps",
    "where",
    "scope",
    "rank",
    "seed",
)
"""Settings for the user's own network only."""

DEFAULTS: dict[str, Any] = {
    "data": "fashion_mnist",
    "dense_epochs": 30,
    "epochs": 30,
    "batch_size": 500,
    "learning_rate": 0.1,
    "temperature": 1e-2,
    "weight_decay": 5e-4,
}
"""Defaults for our networks, where they differ from those for the user's own."""

HELD_OUT = 0.1
"""The share of the training rows that the demo watches, and chooses the best arm by."""


@dataclasses.dataclass(frozen=True)
class Demo(Recipe):
    """Compress a small CNN on the 8x8 digits that ship with aeb, in under two minutes."""

    out: Path = Path("aeb-demo")
    """Folder for the model, the figure and the results."""
    seeds: int = 3
    """Number of runs with different seeds. The table shows their means."""
    as_json: AsJson = False
    """Print one JSON object to stdout. Everything else goes to stderr."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        guards.whole("seeds", self.seeds, 1)

    def __call__(self) -> Outcome:
        """Run it."""
        plan = _plan("digits", "cnn", _recipe(self), ARMS, validation=HELD_OUT)
        return _run(plan, self.seeds, self.out, resume=False)


@dataclasses.dataclass(frozen=True)
class Compress:
    """Make a network sparse: one of ours, trained here, or your own.

    Your own: aeb compress --model package.module:factory --data train.npz --test test.npz
    """

    model: str = "cnn"
    """cnn, resnet20, or package.module:name of your linen or NNX module, or of what makes it."""
    data: str | None = None
    """digits, mnist, fashion_mnist (default), cifar10. Your own: npz of x and y, or TFDS folder."""
    test: str | None = None
    """Your own: test rows in the same form. They are scored once, at the end."""
    params: Path | None = None
    """Your own: trained weights (.safetensors, .msgpack, .npz). By default it is trained first."""
    preprocess: str | None = None
    """Your own: package.module:function, applied to the inputs of each batch."""
    augment: str | None = None
    """Your own: package.module:function, (key, inputs) -> inputs, applied next, training only."""
    start: Literal["scratch", "authors"] = "scratch"
    """Ours: train the dense network here, or take the authors' ResNet20 for CIFAR-10."""
    arms: tuple[Arm, ...] = ("magnitude", "em", "sa", "learned")
    """Ours: the ways to compress that are compared."""
    sparsity: float | None = 0.9
    """Share of all parameters to set to zero, in [0, 1). Your own: with None the prior decides."""
    where: str | None = None
    """Your own: regular expression for paths of leaves to prune. By default all but bias, scale."""
    scope: Literal["relative", "global", "leaf"] = "relative"
    """Your own: one threshold relative to each leaf's norm, one for all, or one per leaf."""
    rank: Literal["magnitude", "fisher"] | None = None
    """Your own: prune by size or by worth to the loss. By default by worth with BatchNorm."""
    dense_epochs: int | None = None
    """Epochs of dense training. By default 30. Your own: 30, and at least 1,000 steps."""
    epochs: int | None = None
    """Epochs of compression. By default 30. Your own: 20, and at least 1,000 steps."""
    num_steps: int | None = None
    """Your own: steps of compression, instead of --epochs."""
    batch_size: int | None = None
    """Rows in a minibatch. By default 500. Your own: 128."""
    learning_rate: float | None = None
    """Highest learning rate for the mean loss. By default 0.1. Your own: found by trials."""
    temperature: float | None = None
    """Temperature of the sampler: 1 is the posterior, 0 no noise. By default 0.01. Your own: 0."""
    weight_decay: float | None = None
    """L2 penalty per example. Ours: 5e-4, in arms without the spike-and-slab prior. Your own: 0."""
    v0: float = 0.01
    """Ours: scale of the spike, about the size of a weight that may be pruned."""
    v1: float = 1.0
    """Ours: variance of the slab."""
    validation: float = 0.1
    """Share of the training rows to hold out, in (0, 1). All choices are made on these rows."""
    limit_images: int | None = None
    """Use only the first N training rows and the first N test rows, for a quick try."""
    seeds: int = 1
    """Ours: number of runs with different seeds. The table shows their means."""
    seed: int = 0
    """Your own: seed of the weights, the split and the minibatches."""
    out: Path = Path("aeb-runs")
    """Folder for the run. The same command continues an unfinished run there."""
    dry_run: Switch = False
    """Show what would be done, and write nothing."""
    as_json: AsJson = False
    """Print one JSON object to stdout. Everything else goes to stderr."""

    @property
    def is_custom(self) -> bool:
        """Whether the network is the user's own."""
        return is_name(self.model)

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        if not self.is_custom and self.model not in OURS:
            raise ValueError(
                f"--model: got {self.model!r}; needs to be {' or '.join(OURS)}, or your own as "
                "package.module:factory"
            )
        self._check_ranges()
        for name in ONLY_OURS if self.is_custom else ONLY_CUSTOM:
            if getattr(self, name) != getattr(type(self), name):
                whose = ", ".join(OURS) if self.is_custom else "a network of your own"
                raise ValueError(f"--{name.replace('_', '-')}: it is for {whose} alone; leave it")
        if self.is_custom:
            if self.data is None:
                raise ValueError(
                    "--data: name the rows to train on: an .npz file, a folder that TFDS prepared, "
                    f"or one of {', '.join(SETS)}"
                )
            if self.epochs is not None and self.num_steps is not None:
                raise ValueError("--epochs: give it or --num-steps")
            return
        data = DEFAULTS["data"] if self.data is None else self.data
        if data not in SETS:
            raise ValueError(
                f"--data: got {data!r}; needs to be one of {', '.join(SETS)}, or, with your "
                "own --model package.module:factory, a file or a folder"
            )
        if self.sparsity is None:
            raise ValueError("--sparsity: it is None; the arm learned goes without a target")
        if not self.arms:
            raise ValueError(f"arms: name at least one of {', '.join(ARMS)}")
        if self.start == "authors" and (data, self.model) != ("cifar10", "resnet20"):
            raise ValueError("start: 'authors' is a ResNet20; add --data cifar10 --model resnet20")

    def _check_ranges(self) -> None:
        def named(check: Callable[..., None], *names: str, **more: Any) -> None:
            for name in names:
                if getattr(self, name) is not None:
                    check(f"--{name.replace('_', '-')}", getattr(self, name), **more)

        named(guards.within, "validation", interval="(0, 1)")
        named(guards.share, "sparsity")
        named(guards.whole, "seeds", "limit_images", "dense_epochs", "epochs", low=1)
        named(guards.whole, "num_steps", "batch_size", low=1)
        named(guards.whole, "seed", low=0)
        named(guards.positive, "learning_rate", "v0", "v1")
        named(guards.at_least, "temperature", "weight_decay", low=0.0)

    def __call__(self) -> Outcome:
        """Run it, or show what would be run."""
        return self._run_custom() if self.is_custom else self._run_ours()

    def _run_custom(self) -> Outcome:
        names = custom.Settings._fields
        job = custom.prepare(custom.Settings(**{name: getattr(self, name) for name in names}))
        plan = custom.make_plan(job)
        if self.dry_run:
            return _dry(plan, self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        with alone(self.out):
            _claim(self.out / SETTINGS, {name: getattr(self, name) for name in names})
            return custom.run(job, plan)

    def _run_ours(self) -> Outcome:
        settings = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in (*ONLY_CUSTOM, "dry_run", "as_json")
        }
        settings |= {name: value for name, value in DEFAULTS.items() if settings[name] is None}
        recipe = Recipe(
            **{field.name: settings[field.name] for field in dataclasses.fields(Recipe)}
        )
        plan = _plan(
            settings["data"],
            self.model,
            recipe,
            tuple(dict.fromkeys(self.arms)),
            start=self.start,
            validation=self.validation,
            limit=self.limit_images,
        )
        if self.dry_run:
            return _dry(_describe(plan, self.seeds), self.out)
        self.out.mkdir(parents=True, exist_ok=True)
        with alone(self.out):
            _claim(self.out / SETTINGS, settings)
            return _run(plan, self.seeds, self.out, resume=True)


def _plan(*args: Any, **options: Any) -> Plan:
    """Make a plan. An error in planning means that the user's input was wrong."""
    try:
        return make_plan(*args, **options)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _dry(plan: RunPlan, out: Path) -> Outcome:
    """Show a plan instead of running it."""
    return Outcome(f"{plan}\n\nnothing was written; it would go to {out}", plan.to_dict())


def _describe(plan: Plan, seeds: int) -> RunPlan:
    """Describe what a comparison would do."""
    task, recipe = plan.task, plan.recipe
    params, model_state = jax.eval_shape(task.init, jax.random.key(0))
    steps = task.num_data // recipe.batch_size
    arms = [arm for arm in plan.stages if arm != "dense"]
    splits = (task.data.train, task.watched or {}, task.data.test)
    return RunPlan(
        title=f"{plan.title}: {', '.join(arms)}; {seeds} seed(s)",
        leaves=plan_leaves(params, model_state, None),
        sparsity=recipe.sparsity,
        num_data=task.num_data,
        num_held_out=task.num_watched,
        num_test=len(task.data.test["label"]),
        row_bytes=sum(array.nbytes for split in splits for array in split.values()),
        batch_size=recipe.batch_size,
        dense_steps=recipe.dense_epochs * steps if plan.stages["dense"] else 0,
        dense_by="momentum SGD",
        num_steps=recipe.epochs * steps,
        arms=len(arms),
    )


def _run(plan: Plan, seeds: int, out: Path, *, resume: bool) -> Outcome:
    """Run a plan, write its files, and return the table and the places of the files."""
    images = plan.task.num_data
    tell(f"aeb {aeb.__version__}: {plan.title}, {seeds} seed(s), {images} images to train on")
    out.mkdir(parents=True, exist_ok=True)
    writers: dict[tuple[int, str], Any] = {}
    if not resume:
        for name in (METRICS, RESULTS):  # of an earlier run in the same folder
            (out / name).unlink(missing_ok=True)

    def log(seed: int, stage: str, row: Mapping[str, Any]) -> None:
        if (seed, stage) not in writers:
            writers[seed, stage] = json_lines(out / METRICS, tags={"seed": seed, "stage": stage})
        writers[seed, stage](row)

    comparison = run_plan(plan, range(seeds), folder=out if resume else None, log=log)
    files = comparison.save(out) | {METRICS: "loss, accuracy and zeros along the run"}
    lines = [str(comparison), *(f"{out / name}: {what}" for name, what in files.items())]
    facts = json.loads((out / RESULTS).read_text())
    return Outcome("\n".join(lines), facts | {"files": [str(out / name) for name in files]})


def _recipe(settings: Recipe) -> Recipe:
    """Return the part of a command's settings that all commands share."""
    names = [field.name for field in dataclasses.fields(Recipe)]
    return Recipe(**{name: getattr(settings, name) for name in names})


def _claim(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a run, or check that they are the ones it was started with."""
    free = ("out", "seeds", "arms")  # these may change when a run continues
    mine = {name: plain(value) for name, value in settings.items() if name not in free}
    if not path.exists():
        write_json(path, mine)
        return
    try:
        theirs = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"--out: {path} is damaged; delete the folder or name another") from error
    changed = [name for name in mine if theirs.get(name) != mine[name]]
    if changed:
        name = changed[0]
        raise UsageError(
            f"--out: {path.parent} holds a run with {name} {theirs.get(name)}, not {mine[name]}; "
            "name another folder, or use the same settings to continue it"
        )
