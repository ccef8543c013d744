# SPDX-License-Identifier: Apache-2.0
"""Describe and read the folder of a run.

settings.json        the settings, including defaults
metrics.jsonl        one JSON object per line, written during the run:
                       time       seconds since 1970
                       seed       of the run
                       stage      `dense`, `compress`, or the name of an arm
                       step       steps that the stage has taken
                       epoch      the same in passes over the training rows
                       loss       mean per watched row: nats, or half the squared error
                       accuracy   share of correct classes; null for a regression
                       sparsity   share of zeros over all weights
                       target     share of zeros that the ramp asks for; null without a target
results.json         written at the end: scores by network, zeros by leaf, rho, reliability
model.safetensors    the sparse network; other networks have other names
.lock                empty; the process that works in the folder holds a lock on it
the rest             checkpoints
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aeb.comparison import LABELS
from aeb.files.atomic import plain, write_json
from aeb.usage import UsageError

__all__ = [
    "DENSE",
    "METRICS",
    "MODEL",
    "RESULTS",
    "SETTINGS",
    "Run",
    "read_run",
    "score_table",
    "write_results",
]

SETTINGS, METRICS, RESULTS = "settings.json", "metrics.jsonl", "results.json"
MODEL, DENSE = "model.safetensors", "dense.safetensors"

COLUMNS = {
    "accuracy": ("accuracy %", lambda value: f"{100 * value:.2f}"),
    "nll": ("NLL", lambda value: f"{value:.4f}"),
    "half_mse": ("half MSE", lambda value: f"{value:.4g}"),
    "rmse": ("RMSE", lambda value: f"{value:.4g}"),
    "r2": ("R2", lambda value: f"{value:.4f}"),
    "ece": ("ECE %", lambda value: f"{100 * value:.2f}"),
    "sparsity": ("zeros %", lambda value: f"{100 * value:.2f}"),
    "bytes": ("bytes", lambda value: f"{value:,.0f}"),
}
"""Scores: their names in a table and their formats."""


class Run(NamedTuple):
    """The contents of a folder.

    Example:
        >>> run = Run(Path("run"), "net on rows", {"sparsity": 0.9}, [], None)
        >>> run.settings["sparsity"], run.scores
        (0.9, ('test', {}))
    """

    folder: Path
    title: str
    settings: dict[str, Any]
    metrics: list[dict[str, Any]]  # rows of metrics.jsonl, in order
    results: dict[str, Any] | None  # None until the run has ended

    @property
    def scores(self) -> tuple[str, dict[str, dict[str, Any]]]:
        """Return which rows the networks were scored on, and means over seeds by network."""
        results = self.results or {}
        for split, key in (("test", "arms"), ("validation", "validation")):
            if results.get(key):
                return split, {name: _mean(runs) for name, runs in results[key].items()}
        return "test", {}

    @property
    def num_scored(self) -> int | None:
        """Return how many rows the networks were scored on; None for a run of an older version."""
        plan = (self.results or {}).get("plan", {})
        count = plan.get("num_test" if self.scores[0] == "test" else "num_held_out")
        return None if count is None else int(count)

    @property
    def scored_on(self) -> str:
        """Return which rows the networks were scored on, such as `the 1,000 test rows`."""
        count = "" if self.num_scored is None else f"{self.num_scored:,} "
        return f"the {count}{self.scores[0]} rows"

    def label(self, network: str) -> str:
        """Return the name of a network in tables."""
        return LABELS.get(network, network)


def read_run(folder: str | Path) -> Run:
    r"""Read the folder of a run, finished or not.

    Args:
        folder: the folder given as `--out`.

    Returns:
        A `Run`.

    Raises:
        UsageError: it is not the folder of a run, or a file in it is damaged.

    Example:
        >>> import tempfile
        >>> row = {"stage": "compress", "step": 20, "epoch": 1.0, "loss": 0.5, "sparsity": 0.2}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "metrics.jsonl").write_text(json.dumps(row) + "\n")
        ...     run = read_run(folder)
        >>> run.metrics[-1]["loss"], run.results is None
        (0.5, True)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"RUN: there is no folder {folder}")
    settings, results = (_read_json(folder / name) for name in (SETTINGS, RESULTS))
    metrics = _read_lines(folder / METRICS)
    if settings is None and results is None and not metrics:
        raise UsageError(
            f"RUN: {folder} holds none of {SETTINGS}, {METRICS}, {RESULTS}; name the --out of "
            "aeb demo or aeb compress"
        )
    settings = settings or (results or {}).get("settings") or {}
    title = (results or {}).get("title")
    if title is None:
        title = " on ".join(str(settings[name]) for name in ("model", "data") if name in settings)
    return Run(folder, title or folder.name, settings, metrics, results)


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json` atomically.

    Args:
        folder: the folder of the run.
        results: values that fit into JSON. A number that is not finite is written as null.
    """
    write_json(folder / RESULTS, plain(dict(results)))


def score_table(scores: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """Make a table of scores with one line per network. Columns that no network has are omitted.

    Args:
        scores: for each network, one mapping per seed.

    Returns:
        Text of several lines.
    """
    means = {name: _mean(runs) for name, runs in scores.items()}
    used = [key for key in COLUMNS if any(key in mean for mean in means.values())]
    lines = [f"{'':<26}" + "".join(f"{COLUMNS[key][0]:>12}" for key in used)]
    for name, mean in means.items():
        cells = (written(key, mean.get(key)) for key in used)
        lines.append(f"{LABELS.get(name, name):<26}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def written(key: str, value: Any) -> str:
    """Format a score as in tables."""
    return "-" if value is None else COLUMNS[key][1](value)


def _mean(runs: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Average over seeds."""
    return {
        key: None
        if any(run[key] is None for run in runs)
        else sum(run[key] for run in runs) / len(runs)
        for key in runs[0]
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"RUN: {path} is damaged: {error}") from error
    return content


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # The run may still be writing the last line.
    whole, _, _ = path.read_text().rpartition("\n")
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise UsageError(f"RUN: {path} is damaged: {error}") from error
