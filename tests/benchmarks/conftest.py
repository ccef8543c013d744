# SPDX-License-Identifier: Apache-2.0
"""Beside what all tests share: data that an experiment can run on; and all of it is slow."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import harness, report
from benchmarks.uci import splits


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder as slow: the README's line leaves them to `.ci/run`."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def runs(tmp_path):
    """Make `run(*words) -> exit code` of a script with some words of its own, in a fresh folder.

    `run.file` has its rows, `run.work` its checkpoints, and `run.rows()` reads all of a row that
    does not depend on the clock.
    """

    def of(script, *small):
        def run(*words):
            folders = ["--results", str(tmp_path / "rows"), "--work", str(tmp_path / "work")]
            return script.main([*small, "--no-progress", *folders, *words])

        def rows():
            read = [json.loads(line) for line in run.file.read_text().splitlines()]
            return [{name: row[name] for name in ("config", "seed", "metrics")} for row in read]

        run.file = tmp_path / "rows" / f"{script.NAME}.jsonl"
        run.work, run.rows = tmp_path / "work" / script.NAME, rows
        return run

    return of


@pytest.fixture
def section_of(capsys):
    """Make `section_of(title, *words)`: what the report says below a heading, by these words."""

    def section(title, *words):
        assert report.main([str(word) for word in words]) == 0
        return capsys.readouterr().out.split(f"## {title}")[1].split("\n## ")[0]

    return section


@pytest.fixture
def dies(monkeypatch):
    """Make a run die at the checkpoint of which `when(steps so far)` says so; lists the steps.

    What was saved stays. `dies.no_more()` lets runs live again.
    """
    real = harness.Checkpoints.save_if_due

    def start(when):
        saves = []

        def save(self, step, tree):
            real(self, step, tree)
            saves.append(step)
            if when(saves):
                raise KeyboardInterrupt

        monkeypatch.setattr(harness.Checkpoints, "save_if_due", save)
        return saves

    start.no_more = lambda: monkeypatch.setattr(harness.Checkpoints, "save_if_due", real)
    return start


@pytest.fixture
def small_sets(tmp_path, monkeypatch):
    """A small made-up set in the place of two of the UCI ones."""
    rng = np.random.default_rng(7)
    for name, rows in (("yacht", 43), ("boston", 30)):
        file = tmp_path / "data" / "uci" / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        x = rng.normal(2, 3, size=(rows, 2))
        y = 5 + x[:, 0] + rng.normal(size=rows)
        lines = [f"{a},{b},1,{c}" for (a, b), c in zip(x, y, strict=True)]
        file.write_text("\n".join(["a,b,same,y", *lines]) + "\n")
    monkeypatch.setenv("AEB_DATA_DIR", str(tmp_path / "data"))
    splits.load.cache_clear()
    yield
    splits.load.cache_clear()
