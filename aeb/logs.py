# SPDX-License-Identifier: Apache-2.0
"""Write the metrics of a run where you look at them.

A writer is a function that is called along a run and writes down its metrics:

    json_lines             a file with one JSON object a line, for pandas, jq or a later look
    tensorboard            event files, by tensorboardX
    weights_and_biases     a run of W&B that you started

Pass it as a callback, `aeb.sample(callback=writer)` or `aeb.compress(callback=writer)`, or call it
in a loop of your own, `writer({"step": 10, "loss": 0.5})`. Its `read` turns what it is called with
into names and numbers. The default is `metrics`; to add others, pass a function of your own. Call
a writer in order of steps. A run that goes on from a checkpoint makes a few steps again, and all
three writers keep each step once.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb.files.atomic import replacing
from aeb.files.report import sparsity_report

__all__ = ["json_lines", "metrics", "tensorboard", "weights_and_biases"]

Row = dict[str, Any]
"""Names to numbers, text or None."""


def metrics(source: Any) -> Row:
    """Return the metrics of a run at one step.

    Args:
        source: a state, as `aeb.sample` passes it to its callback. Its metrics are its step, its
            loss (the mean over chains) and its sparsity, the share of zeros over all parameters.
            Or a dict or NamedTuple, such as a `Look` of `aeb.compress`, whose metrics are its own
            names and values.

    Returns:
        A dict from names to Python's own numbers, text or None.

    Raises:
        TypeError: it is none of these, or a value is no single number, text or None.

    Example:
        >>> import aeb
        >>> state = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.gaussian()).init({"w": np.eye(2)})
        >>> metrics(state)["sparsity"]
        0.5
        >>> metrics({"step": 3, "loss": np.float32(0.5)})
        {'step': 3, 'loss': 0.5}
    """
    if hasattr(source, "position") and hasattr(source, "step"):
        found: Row = {"step": int(np.max(jax.device_get(source.step)))}
        loss = getattr(source, "loss", None)
        if loss is not None:
            found["loss"] = float(np.mean(jax.device_get(loss)))
        return found | {"sparsity": sparsity_report(source.position).sparsity}
    if hasattr(source, "_asdict"):
        source = source._asdict()
    if not isinstance(source, Mapping):
        raise TypeError(
            f"metrics: got {type(source).__name__}, needs to be a state, a dict or a NamedTuple; "
            "pass read=, a function from it to a dict"
        )
    return {str(name): _plain(str(name), value) for name, value in source.items()}


def json_lines(
    path: str | os.PathLike[str],
    *,
    tags: Mapping[str, Any] | None = None,
    read: Callable[[Any], Mapping[str, Any]] = metrics,
) -> Callable[[Any], None]:
    """Return a writer of one JSON object a line; `pandas.read_json(path, lines=True)` reads it.

    Each line has `time`, in seconds since 1970, the tags, and the metrics; a number that is not
    finite is written as null. Each line is in the file when the call returns.

    If the file exists, the writer continues it. Its first row replaces the rows of the same step
    and of later steps. So a resumed run leaves each step once, and a run that begins again starts
    the file again. Rows without a `step` are appended. A last line that was cut short is dropped.

    Args:
        path: the file. Its folder must exist.
        tags: values to add to each row of this writer, such as `{"arm": "em", "seed": 0}`. Rows
            with other tags are left alone, so that several writers can share a file.
        read: from what the writer is called with to a dict of names and numbers.

    Returns:
        A function to pass as `callback=`.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: a line of the file, when the first row is written, is no JSON object.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write = json_lines(folder + "/run.jsonl", tags={"seed": 0})
        ...     write({"step": 1, "loss": 0.5})
        ...     row = json.loads(Path(folder, "run.jsonl").read_text())
        >>> row.pop("time") > 0, row
        (True, {'seed': 0, 'step': 1, 'loss': 0.5})
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path: there is no folder {path.parent}; make it first")
    fixed = {name: _finite(value) for name, value in metrics(tags or {}).items()}
    is_new = True

    def write(source: Any) -> None:
        nonlocal is_new
        row = {name: _finite(value) for name, value in metrics(read(source)).items()}
        if is_new:
            _make_room(path, fixed, row.get("step"))
            is_new = False
        line = json.dumps({"time": round(time.time(), 3)} | fixed | row, allow_nan=False)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return write


def tensorboard(
    folder: str | os.PathLike[str],
    *,
    read: Callable[[Any], Mapping[str, Any]] = metrics,
) -> Callable[[Any], None]:
    """Return a writer of TensorBoard's event files; needs `pip install tensorboardX`.

    Look at them with `tensorboard --logdir FOLDER`. Numbers become curves over `step`, or over the
    number of rows if there is no `step`; text and None are left out. If a run resumes in the same
    folder, TensorBoard drops the old rows of the steps that are repeated.

    Args:
        folder: a folder for this run alone; it is created if it does not exist.
        read: from what the writer is called with to a dict of names and numbers.

    Returns:
        A function to pass as `callback=`.

    Raises:
        ImportError: tensorboardX is not installed.

    Example:
        >>> import pytest, tempfile; _ = pytest.importorskip("tensorboardX")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tensorboard(folder)({"step": 1, "loss": 0.5})
        ...     [path.name[:19] for path in Path(folder).iterdir()]
        ['events.out.tfevents']
    """
    try:
        import tensorboardX
    except ImportError as error:
        raise ImportError(
            "aeb.logs.tensorboard writes by tensorboardX: pip install tensorboardX"
        ) from error
    count, events = 0, None

    def write(source: Any) -> None:
        nonlocal count, events
        row = metrics(read(source))
        step = row.pop("step", count)
        count += 1
        if events is None:
            # A thread of its own writes to the disk: within a second, and when Python ends.
            events = tensorboardX.SummaryWriter(str(folder), purge_step=step, flush_secs=1)
        for name, value in row.items():
            if isinstance(value, int | float):
                events.add_scalar(name, value, step)

    return write


def weights_and_biases(
    run: Any = None, *, read: Callable[[Any], Mapping[str, Any]] = metrics
) -> Callable[[Any], None]:
    """Return a writer to a run of Weights & Biases; needs `pip install wandb`.

    W&B takes steps in ascending order only, so it ignores the steps that a resumed run repeats.

    Args:
        run: what `wandb.init(...)` returned, with the project, the mode and the rest as you chose
            them; None for the run that is open, or a new one of W&B's defaults.
        read: from what the writer is called with to a dict of names and numbers.

    Returns:
        A function to pass as `callback=`. It does not end the run; `run.finish()` does.

    Raises:
        ImportError: no run was given, and wandb is not installed.

    Example:
        >>> class Run:  # stands for wandb.init(mode="offline")
        ...     def log(self, row, step, commit):
        ...         print(step, row)
        >>> weights_and_biases(Run())({"step": 10, "loss": 0.5, "accuracy": None})
        10 {'loss': 0.5}
    """
    if run is None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError(
                "aeb.logs.weights_and_biases needs a run: pip install wandb, or pass one"
            ) from error
        run = wandb.run or wandb.init()

    def write(source: Any) -> None:
        row = {name: value for name, value in metrics(read(source)).items() if value is not None}
        # At once: without commit, W&B holds a row back until the next.
        run.log(row, step=row.pop("step", None), commit=True)

    return write


def _make_room(path: Path, fixed: Row, step: Any) -> None:
    """Drop the rows that a run will write again, and a last line that was cut short."""
    if not path.exists():
        return
    text = path.read_text(encoding="utf-8")
    whole, _, _ = text.rpartition("\n")
    kept = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"path: line {number} of {path} is no JSON object; name another file")
        is_own = all(row.get(name) == value for name, value in fixed.items())
        if not (is_own and step is not None and row.get("step", -math.inf) >= step):
            kept.append(line + "\n")
    if "".join(kept) != text:
        with replacing(path) as file:
            file.write("".join(kept).encode())


def _plain(name: str, value: Any) -> Any:
    """Return a number, text or None as Python's own."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    array = np.asarray(jax.device_get(value))
    is_number = array.dtype == bool or jnp.issubdtype(array.dtype, jnp.number)
    if array.size != 1 or not is_number:
        raise TypeError(
            f"metrics: {name!r} is {type(value).__name__} of shape {array.shape}, needs to be one "
            "number, text or None"
        )
    return array.reshape(()).item()


def _finite(value: Any) -> Any:
    """Return None for a number that JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
