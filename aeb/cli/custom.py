# SPDX-License-Identifier: Apache-2.0
"""`aeb compress` for the user's own network: read, plan, train if necessary, compress, save.

    1  a share of the rows is held out; all choices are made on these rows
    2  without trained weights, Adam trains the network dense
    3  `aeb.compress`
    4  the test rows, if there are any, are scored once

Steps 2 and 3 keep checkpoints in the run's folder, so the same command goes on where it stopped.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import aeb
from aeb import guards
from aeb.cli.named import described, find, find_network
from aeb.cli.output import Countdown, Outcome, is_watched, tell
from aeb.cli.plan import RunPlan, plan_leaves
from aeb.cli.rows import SETS, Rows, read_rows
from aeb.cli.weights import fill, place, read_weights
from aeb.comparison.facts import network_facts
from aeb.compress import EPOCHS, LEAST_STEPS, LOOKS, PRUNED_AFTER, Compressed, Look, default_rank
from aeb.data import normalizer
from aeb.evaluation.diagnostics import (
    accuracy,
    expected_calibration_error,
    negative_log_likelihood,
)
from aeb.files.atomic import plain
from aeb.files.report import sparsity_report
from aeb.files.sparse_file import save_sparse
from aeb.logs import json_lines
from aeb.network import SCORE_ROWS, TRAINING_FLAGS, Network, as_network, score
from aeb.runs.folder import DENSE, METRICS, MODEL, RESULTS, score_table, write_results
from aeb.sampling import DivergenceError
from aeb.schedules import sparsity_ramp
from aeb.training import train_dense
from aeb.types import ArrayTree
from aeb.usage import UsageError

__all__ = ["Job", "Settings", "make_plan", "prepare", "run"]

DENSE_EPOCHS = 30
"""The default number of epochs of dense training, with at least `LEAST_STEPS` steps."""


class Settings(NamedTuple):
    """The settings of the command. `aeb.cli.compress.Compress` describes each."""

    model: str
    data: str
    test: str | None
    params: Path | None
    preprocess: str | None
    augment: str | None
    sparsity: float | None
    where: str | None
    scope: str
    rank: str | None
    dense_epochs: int | None
    epochs: int | None
    num_steps: int | None
    batch_size: int | None
    learning_rate: float | None
    temperature: float | None
    weight_decay: float | None
    validation: float
    limit_images: int | None
    seed: int
    out: Path


class Job(NamedTuple):
    """A network, its rows, and how long to run."""

    settings: Settings
    module: Any
    recipe: Any  # how a file describes the module, see `aeb.cli.named.Found`
    variables: Any  # as `aeb.compress` takes them
    network: Network  # on the rows to train on
    held_out: tuple[np.ndarray, np.ndarray]
    test: Rows | None
    preprocess: Callable[[Any], jax.Array] | None
    augment: Callable[..., jax.Array] | None
    batch_size: int
    dense_steps: int
    num_steps: int

    @property
    def num_data(self) -> int:
        """The number of rows to train on."""
        return len(self.network.data["targets"])


def prepare(settings: Settings) -> Job:
    """Read the network, its weights and its rows, and check that they fit each other.

    Args:
        settings: the settings of the command.

    Returns:
        A `Job`.

    Raises:
        UsageError: something is missing or does not fit. The message names the option.
    """
    module, recipe = find_network(settings.model, settings.seed)
    rows = read_rows("data", settings.data, "train", settings.limit_images)
    tell(f"--data {rows}")
    test = _read_test(settings, rows)
    preprocess, augment = _functions(settings)
    variables = _variables(settings, module, rows, preprocess)
    train, held_out = _hold_out(rows, settings.validation, settings.seed)
    network = _fitted("data", module, variables, train, preprocess, augment)
    # The labels of held-out rows and test rows have to suit the network too.
    for option, more in (("data", held_out), ("test", None if test is None else test.pair)):
        if more is not None:
            _fitted(option, module, variables, more, preprocess, None)
    num_data = len(train[1])
    batch_size = min(settings.batch_size or 128, num_data)
    batches = num_data // batch_size
    dense_steps = 0
    if settings.params is None:
        dense_steps = _length(settings.dense_epochs, DENSE_EPOCHS, batches)
    num_steps = settings.num_steps or _length(settings.epochs, EPOCHS, batches)
    return Job(
        settings,
        module,
        recipe,
        variables,
        network,
        held_out,
        test,
        preprocess,
        augment,
        batch_size,
        dense_steps,
        num_steps,
    )


def make_plan(job: Job) -> RunPlan:
    """Describe what a job would do.

    Args:
        job: made by `prepare`.

    Returns:
        A `RunPlan`.

    Raises:
        UsageError: no leaf may be pruned, or too few may be to reach the sparsity.
    """
    settings = job.settings
    try:
        guards.check_matches(job.network.params, settings.where)
    except ValueError as error:
        raise UsageError(f"--{error}") from error
    sides = [job.network.data["inputs"], job.network.data["targets"], *job.held_out]
    sides += [] if job.test is None else job.test.pair
    plan = RunPlan(
        title=f"{settings.model} on {settings.data}",
        leaves=plan_leaves(job.network.params, job.network.model_state, settings.where),
        sparsity=settings.sparsity,
        num_data=job.num_data,
        num_held_out=len(job.held_out[1]),
        num_test=0 if job.test is None else len(job.test.targets),
        row_bytes=sum(side.nbytes for side in sides),
        batch_size=job.batch_size,
        dense_steps=job.dense_steps,
        num_steps=job.num_steps,
        rank=settings.rank or default_rank(job.network),
    )
    plan.check_reach()
    return plan


def run(job: Job, plan: RunPlan) -> Outcome:
    """Train the network if necessary, compress it, score it, and write the folder of the run.

    Args:
        job: made by `prepare`. Its folder exists.
        plan: the plan of the job.

    Returns:
        The text and the facts to print.

    Raises:
        UsageError: `aeb.compress` refuses the settings.
    """
    settings, out = job.settings, job.settings.out
    dense_key, key = jax.random.split(jax.random.key(settings.seed))
    dense = job.module, job.variables
    if job.dense_steps:
        dense = _train_dense(job, dense_key)
    show = _Progress(job, "compress", job.num_steps)
    tell(f"compress: {job.num_steps:,} steps, on {plan.num_data:,} rows")
    if settings.learning_rate is None:
        tell("compress: a learning rate is looked for first")
    try:
        sparse = aeb.compress(
            *dense,
            _pair(job.network.data),
            sparsity=settings.sparsity,
            num_steps=job.num_steps,
            key=key,
            learning_rate=settings.learning_rate,
            batch_size=job.batch_size,
            validation=job.held_out,
            where=settings.where,
            scope=settings.scope,
            rank=settings.rank,
            temperature=settings.temperature or 0.0,
            weight_decay=settings.weight_decay or 0.0,
            preprocess=job.preprocess,
            augment=job.augment,
            checkpoint=out / "compress",
            callback=show,
            progress=is_watched(),
        )
    except DivergenceError as error:
        # In Python the message also names arguments that are no options here.
        when = str(error).removeprefix("divergence: ").split(". ")[0]
        rate = settings.learning_rate
        todo = "give a smaller one than it found by trials"
        if rate is not None:
            todo = f"give {rate / 10:g} in place of {rate:g}, or leave it out to have one found"
        raise UsageError(f"--learning-rate: the run diverged, {when}; {todo}") from error
    except (ValueError, FloatingPointError) as error:
        raise UsageError(_as_option(str(error))) from error
    about = {
        "sparsity": sparse.report.sparsity,
        "validation": {"before": sparse.before._asdict(), "after": sparse.after._asdict()},
        "learning_rate": sparse.learning_rate,
        "num_steps": sparse.num_steps,
        "rank": sparse.rank,
    }
    _save_network(job, out / MODEL, sparse.network.stored(sparse.params, sparse.model_state), about)
    results = _results(job, plan, dense, sparse)
    write_results(out, results)
    is_class = job.network.kind == "categorical"
    files = {
        MODEL: "the sparse network",
        METRICS: f"{'loss, accuracy' if is_class else 'loss'} and zeros along the run",
        RESULTS: f"scores, zeros by leaf{', calibration' if is_class else ''}",
    }
    lines = [str(sparse), ""]
    if job.test is not None:
        lines += [score_table(results["arms"]), f"(on {plan.num_test:,} test rows)", ""]
    lines += [f"{out / name}: {what}" for name, what in files.items()]
    lines.append(f"aeb report {out} makes a page of it")
    return Outcome("\n".join(lines), results | {"files": [str(out / name) for name in files]})


class _Progress:
    """Print each look, and append it to the metrics of the run."""

    def __init__(self, job: Job, stage: str, total: int) -> None:
        self._stage, self._total = stage, total
        self._epoch = job.num_data // job.batch_size
        self._countdown = Countdown(total)
        self._ramp: Any = None
        if stage == "compress" and job.settings.sparsity is not None:
            self._ramp = sparsity_ramp(job.settings.sparsity, total, until=PRUNED_AFTER)
        self._write = json_lines(
            job.settings.out / METRICS, tags={"seed": job.settings.seed, "stage": stage}
        )

    def __call__(self, look: Look) -> None:
        row: dict[str, Any] = {"step": look.step, "epoch": look.step / self._epoch}
        row |= {"loss": look.loss, "accuracy": look.accuracy, "sparsity": look.sparsity}
        # The state after a step was pruned with the step count before it.
        target = None if self._ramp is None else float(self._ramp(look.step - 1))
        self._write(row | {"target": target})
        right = "" if look.accuracy is None else f", accuracy {look.accuracy:.2%}"
        tell(
            f"{self._stage} {look.step:,} of {self._total:,}: loss {look.loss:.4g}{right}, "
            f"zeros {look.sparsity:.1%}{self._countdown.left(look.step)}"
        )


def _train_dense(job: Job, key: jax.Array) -> tuple[Any, Any]:
    """Train with Adam, save the dense network, and return its module and variables."""
    network, held_out, out = job.network, _as_batch(job.held_out), job.settings.out
    tell(
        f"dense: {job.dense_steps:,} steps of Adam first; --params FILE begins with weights that "
        "are trained already"
    )
    show = _Progress(job, "dense", job.dense_steps)

    def look(state: Any) -> None:
        scores = score(network, state.position, state.model_state, held_out)
        zeros = sparsity_report(state.position).sparsity
        show(Look(int(state.step), zeros, *scores))

    try:
        state = train_dense(
            network,
            network.data,
            key,
            num_steps=job.dense_steps,
            batch_size=job.batch_size,
            folder=out / "dense",
            callback=look,
            callback_every=max(job.dense_steps // LOOKS, 1),
            progress=is_watched(),
        )
    except FloatingPointError as error:
        raise UsageError(
            f"--params: the dense training diverged ({error}); train the network yourself and give "
            "its weights, or scale the inputs with --preprocess"
        ) from error
    _save_network(job, out / DENSE, network.stored(state.position, state.model_state), {})
    variables = network.variables(state.position, state.model_state)
    # An NNX module holds its weights.
    return (variables, None) if job.variables is None else (job.module, variables)


def _read_test(settings: Settings, rows: Rows) -> Rows | None:
    """Read the test rows. A named data set has its own."""
    place = settings.test
    if place is None and settings.data in SETS:
        place = settings.data
    if place is None:
        tell("no test rows: name them with --test to have them scored at the end")
        return None
    test = read_rows("test", place, "test", settings.limit_images)
    tell(f"--test {test}")
    if test.inputs.shape[1:] != rows.inputs.shape[1:]:
        raise UsageError(
            f"--test: a row of {test.source} is {list(test.inputs.shape[1:])}, one of --data "
            f"{list(rows.inputs.shape[1:])}"
        )
    return test


def _functions(settings: Settings) -> tuple[Any, Any]:
    """Find the functions to apply to the inputs. Named data sets are normalized."""
    preprocess = augment = None
    if settings.preprocess is not None:
        preprocess = find("preprocess", settings.preprocess)
    elif settings.data in SETS:
        preprocess = normalizer(settings.data)
        tell(f"images are normalized by aeb.data.normalizer({settings.data!r})")
    if settings.augment is not None:
        augment = find("augment", settings.augment)
    for option, function in (("preprocess", preprocess), ("augment", augment)):
        if function is not None and not callable(function):
            raise UsageError(f"--{option}: it is {type(function).__name__}; needs to be a function")
    return preprocess, augment


def _variables(settings: Settings, module: Any, rows: Rows, preprocess: Any) -> Any:
    """Initialize or read the weights, and return them in the form for `aeb.compress`."""
    arrays = None if settings.params is None else read_weights(settings.params)
    if isinstance(module, nnx.Module):
        if arrays is not None:
            fill(module, arrays)
        return None
    params_key, dropout_key = jax.random.split(jax.random.key(settings.seed))
    keys = {"params": params_key, "dropout": dropout_key}
    flags = inspect.signature(type(module).__call__).parameters
    mode = {name: not training for name, training in TRAINING_FLAGS.items() if name in flags}

    def init(keys: Any, row: Any) -> Any:
        return module.init(keys, row if preprocess is None else preprocess(row), **mode)

    try:
        if arrays is None:
            return dict(jax.jit(init)(keys, jnp.asarray(rows.inputs[:1])))
        like = dict(jax.eval_shape(init, keys, jnp.asarray(rows.inputs[:1])))
    except Exception as error:  # the user's own code, which may raise anything: told in a line
        raise UsageError(
            f"--model: {settings.model} does not start on a row of {rows.inputs.dtype}"
            f"{list(rows.inputs.shape[1:])}: {described(error)}"
        ) from error
    variables = {"params": place(arrays, like.pop("params"), "weights")}
    for name, tree in like.items():
        variables[name] = place(arrays, {name: tree}, f"arrays of {name}")[name]
    return variables


def _length(epochs: int | None, usual: int, batches: int) -> int:
    """Return a length in steps. The default has a lower bound."""
    return max(usual * batches, LEAST_STEPS) if epochs is None else epochs * batches


def _hold_out(rows: Rows, share: float, seed: int) -> tuple[Any, Any]:
    """Split the rows by a permutation. Every choice is made on the second part."""
    size = len(rows.targets)
    count = max(round(share * size), 1)
    if count >= size:
        raise UsageError(f"--validation: {share} of {size} rows leaves none to train on")
    order = np.random.default_rng(seed).permutation(size)
    held_out, train = np.sort(order[:count]), np.sort(order[count:])
    return (
        (rows.inputs[train], rows.targets[train]),
        (rows.inputs[held_out], rows.targets[held_out]),
    )


def _fitted(
    option: str, module: Any, variables: Any, pair: Any, preprocess: Any, augment: Any
) -> Network:
    """Combine the network with its rows. If they do not fit, the error names the option."""
    try:
        return as_network(module, variables, pair, preprocess=preprocess, augment=augment)
    except Exception as error:  # the user's own code, which may raise anything: told in a line
        message = str(error)
        if not message.startswith(("data:", "model:", "params:")):
            message = f"model: on a row of {list(pair[0].shape[1:])}, {described(error)}"
        name, rest = message.split(":", 1)
        raise UsageError(f"--{option if name == 'data' else name}:{rest}") from error


def _as_option(message: str) -> str:
    """Turn the argument name at the start of a message of `aeb.compress` into an option."""
    name, colon, rest = message.partition(":")
    is_option = name.replace("_", "").isalpha() and bool(colon)
    return f"--{name.replace('_', '-')}:{rest}" if is_option else message


def _as_batch(pair: Any) -> dict[str, Any]:
    return {"inputs": pair[0], "targets": pair[1]}


def _save_network(job: Job, path: Path, stored: Any, about: Mapping[str, Any]) -> None:
    """Write a sparse file. `aeb.load` can rebuild the network if its module can be written."""
    metadata = {"model": job.settings.model, **about}
    if job.settings.preprocess is not None:
        metadata["preprocess"] = job.settings.preprocess
    fault = "name the class itself, or functools.partial of it, as --model"
    if job.recipe is not None:
        try:
            save_sparse(path, stored, metadata=metadata, module=job.recipe)
        except (TypeError, ValueError) as error:
            fault = str(error)
        else:
            return
    # After hours of training, saving the weights comes first.
    tell(
        f"{path} holds the weights without their module, so aeb.load cannot build it: {fault}. "
        f"aeb predict takes it with --model {job.settings.model}"
    )
    save_sparse(path, stored, metadata=metadata)


def _results(job: Job, plan: RunPlan, dense: Any, sparse: Compressed) -> dict[str, Any]:
    """Score both networks, also on the test rows, and collect all that the report needs."""
    module, variables = dense
    first = as_network(module, variables, _pair(job.network.data), preprocess=job.preprocess)
    networks = {
        "dense": (first, first.params, first.model_state, None),
        "sparse": (sparse.network, sparse.params, sparse.model_state, sparse.rho),
    }
    rows = {"validation": job.held_out} | ({} if job.test is None else {"test": job.test.pair})
    scores: dict[str, dict[str, list[dict[str, Any]]]] = {split: {} for split in rows}
    facts = {}
    for name, (network, params, model_state, rho) in networks.items():
        sizes = sparsity_report(params)
        about = {"sparsity": sizes.sparsity, "bytes": sizes.sparse_bytes}
        for split, (inputs, labels) in rows.items():
            found, probs = _scores(network, params, model_state, inputs, labels)
            scores[split][name] = [found | about]
            # Of the last rows scored, which are the test rows if there are any.
            facts[name] = network_facts(params, rho, probs, labels) | {"rows": split}
    counts = ("num_data", "num_held_out", "num_test", "batch_size", "dense_steps", "num_steps")
    return {
        "title": plan.title,
        "settings": plain(job.settings._asdict()),
        "plan": {name: getattr(plan, name) for name in counts}
        | {"learning_rate": sparse.learning_rate},
        "best": "sparse",
        "arms": scores.get("test"),
        "validation": scores["validation"],
        "networks": facts,
    }


def _scores(
    network: Network, params: ArrayTree, model_state: Any, inputs: Any, labels: Any
) -> tuple[dict[str, float | None], np.ndarray | None]:
    """Score a network in evaluation mode. Also return probabilities if the targets are classes."""
    assert network.outputs is not None  # a module has them
    outputs = np.concatenate(
        [
            np.asarray(network.outputs(params, model_state, inputs[first : first + SCORE_ROWS]))
            for first in range(0, len(labels), SCORE_ROWS)
        ]
    )
    if network.kind != "categorical":
        squares = np.square(outputs.reshape(labels.shape) - labels).reshape(len(labels), -1)
        spread = float(np.square(labels - labels.mean(axis=0)).sum())
        return {
            "half_mse": float(squares.sum(axis=1).mean() / 2),
            "rmse": float(np.sqrt(squares.mean())),
            # Equal targets leave nothing to explain.
            "r2": 1.0 - float(squares.sum()) / spread if spread else None,
        }, None
    probs = np.asarray(jax.nn.softmax(outputs.astype(np.float32)))
    return {
        "accuracy": float(accuracy(probs, labels)),
        "nll": float(negative_log_likelihood(probs, labels)),
        "ece": float(expected_calibration_error(probs, labels)),
    }, probs


def _pair(batch: Any) -> tuple[Any, Any]:
    return batch["inputs"], batch["targets"]
