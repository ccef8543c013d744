# SPDX-License-Identifier: Apache-2.0
"""The harness of the benchmarks, from the outside and through the simulation that runs on it.

Mutations that fail here: rows written in place, or without the lock; a damaged line passed over; a
checkpoint ignored on resume, the batch of a resumed unit made of the missing seeds alone, NaN in a
row, settings that are not in the row's key.
"""

import dataclasses
import errno
import functools
import json
import os
import platform
import re
import threading
import time
import types
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from aeb.files.lock import alone
from aeb.usage import UsageError
from benchmarks import harness, report
from benchmarks.harness import ranges, slices
from benchmarks.harness import rows as rows_module
from benchmarks.harness.runner import choose
from benchmarks.simulation import run as simulation
from benchmarks.speed import run as speed

SMALL = [
    *("--preset", "smoke", "--design.num-rows", "10", "--design.num-columns", "12"),
    *("--recipe.num-steps", "40", "--recipe.thinning", "2", "--recipe.interval-draws", "5"),
    *("--v0", "0.1", "--sigma", "1", "--arms", "sa", "sgld"),
]


@pytest.fixture
def run(runs):
    return runs(simulation, *SMALL)


def lines(file):
    return file.read_text().splitlines()


def test_a_row_tells_how_it_was_made(run):
    assert run() == 0
    rows = [json.loads(line) for line in lines(run.file)]
    assert len(rows) == 4
    for row in rows:
        assert list(row) == list(rows_module.FIELDS)
        assert (row["script"], row["preset"]) == ("simulation", "smoke")
        assert re.fullmatch(r"[0-9a-f]{12}(\+dirty)?|unknown", row["commit"])
        assert set(row["hardware"]) == {"cpu", "family", "instructions", "cores", "accelerator"}
        assert set(row["versions"]) == {"python", "jax", "jaxlib", "flax", "optax", "aeb"}
        assert row["seconds"] > 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"])
        assert row["config"]["recipe"]["num_steps"] == 40
    assert {row["seed"] for row in rows} == {0, 1}
    assert {row["config"]["arm"] for row in rows} == {"sa", "sgld"}
    if len(platform.node()) > 3:
        assert platform.node() not in run.file.read_text()


def test_only_what_is_missing_is_done(run):
    assert run() == 0
    before = run.file.read_text()
    assert run() == 0
    assert run.file.read_text() == before
    assert run("--data-sets", "4", "--together", "2") == 0
    after = run.file.read_text()
    assert after.startswith(before)
    assert [json.loads(line)["seed"] for line in lines(run.file)[4:]] == [2, 3, 2, 3]
    assert [json.loads(line)["config"]["arm"] for line in lines(run.file)[4:]] == (
        ["sa", "sa", "sgld", "sgld"]
    )
    assert run("--sigma", "2", "1") == 0
    assert len(lines(run.file)) == 12
    assert [path.name for path in run.work.iterdir()] == [".lock"]


def test_every_setting_that_matters_is_in_the_key():
    settings = simulation.PRESETS["smoke"]
    for part in ("design", "recipe"):
        old = getattr(settings, part)
        for field in dataclasses.fields(old):
            other = dataclasses.replace(old, **{field.name: 77})
            changed = dataclasses.replace(settings, **{part: other})
            cell = settings.cells()[0]
            assert harness.row_key(changed.config(cell), 0) != harness.row_key(
                settings.config(cell), 0
            )
    keys = [harness.row_key(settings.config(cell), 0) for cell in settings.cells()]
    assert len(set(keys)) == 10


@pytest.mark.parametrize("stop_after", [1, 3, 6])
def test_an_interrupted_run_ends_in_the_same_rows(run, monkeypatch, dies, stop_after):
    assert run() == 0
    straight = run.rows()
    run.file.unlink()
    saves = dies(lambda saves: len(saves) == stop_after)
    assert run("--checkpoint-every", "0") == 130
    dies.no_more()
    real_restore, starts = harness.Checkpoints.restore, []

    def watched(self, tree):
        tree = real_restore(self, tree)
        starts.append(int(tree.chain.step[0, 0]) // 2)  # draws, two steps apart
        return tree

    monkeypatch.setattr(harness.Checkpoints, "restore", watched)
    assert run("--checkpoint-every", "0") == 0
    assert starts[0] == saves[-1] > 0
    assert run.rows() == straight


def test_seconds_go_on_where_they_stopped(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(slices.time, "monotonic", lambda: now)
    tree = {"x": np.arange(3)}
    first = harness.Checkpoints(tmp_path, every=5.0)
    now += 4.0
    first.save_if_due(1, tree)
    assert not list(tmp_path.iterdir())
    now += 3.0
    first.save_if_due(2, tree)
    now += 50.0
    second = harness.Checkpoints(tmp_path, every=5.0)
    np.testing.assert_array_equal(second.restore({"x": np.zeros(3, int)})["x"], [0, 1, 2])
    now += 2.0
    assert second.seconds == 9.0
    with pytest.raises(UsageError, match="delete it"):
        second.restore({"y": np.zeros(3, int)})


@functools.cache
def chain_of():
    """Make a kernel, where to start, and what reads a draw; once, because compiling takes long."""
    algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=0.1), aeb.gaussian())
    kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w[0]) ** 2), num_data=4)
    return kernel, algorithm.init(jnp.zeros(1)), lambda state: state.position


def walk(sample, **options):
    """Run a short chain by `sample`, which is handed the arguments of `aeb.sample`."""
    kernel, state, collect = chain_of()
    options |= {"num_steps": 3, "batch_size": 2, "collect": collect}
    return sample(kernel, state, jnp.arange(4.0), jax.random.key(0), **options)


TOOK = []
"""Seconds that each call of the unit below took."""


@dataclasses.dataclass(frozen=True)
class OneChain(harness.Settings):
    """A chain that leaves its checkpoints to `aeb.sample`."""

    def units(self):
        def run(folder, report):
            began, steps = time.monotonic(), []
            try:
                seconds, _, draws = walk(functools.partial(slices.sample, folder, steps.append))
            finally:
                TOOK.append(time.monotonic() - began)
            return seconds, [{"draws": np.ravel(draws).tolist(), "steps": steps}]

        return [harness.Unit("chain", ({},), (0,), 1, run)]


def test_a_call_of_the_sampler_stops_at_the_limit_of_the_script(runs):
    """Mutations: the limit not handed on; the error not turned; the seconds before forgotten."""
    chain = types.SimpleNamespace(
        NAME="chain",
        main=lambda words: harness.main("chain", {"smoke": OneChain()}, words, description="Test."),
    )
    run = runs(chain)
    TOOK.clear()
    codes = [run("--limit-seconds", "1e-9") for _ in range(3)]
    assert codes == [75, 75, 0]  # a step a call
    (row,) = (json.loads(line) for line in lines(run.file))
    straight = walk(functools.partial(aeb.sample, progress=False))[1]
    assert row["metrics"] == {"draws": np.ravel(straight).tolist(), "steps": [3]}
    assert TOOK[-1] < row["seconds"] < sum(TOOK)


def test_a_run_that_is_killed_keeps_the_seconds_before_its_last_save(tmp_path, monkeypatch):
    """Mutation: the clock saved at the limit only."""
    monkeypatch.setattr(slices, "SAVE_EVERY", 0.0)

    def killed(*arguments, callback, **options):
        time.sleep(0.2)
        callback(types.SimpleNamespace(step=2))
        raise KeyboardInterrupt

    steps = []
    real = aeb.sample
    monkeypatch.setattr(aeb, "sample", killed)
    with pytest.raises(KeyboardInterrupt):
        slices.sample(tmp_path, steps.append)
    monkeypatch.setattr(aeb, "sample", real)
    seconds, *_ = walk(functools.partial(slices.sample, tmp_path, steps.append))
    assert seconds > 0.2
    assert steps == [2, 3]


def test_an_error_that_is_not_of_the_limit_passes(tmp_path, monkeypatch):
    """Mutation: any TimeoutError taken for the end of the time."""

    def fails(*arguments, limit_seconds, **options):
        raise TimeoutError("a disk that does not answer")

    monkeypatch.setattr(aeb, "sample", fails)
    with slices.limited(60.0), pytest.raises(TimeoutError, match="disk"):
        slices.sample(tmp_path, print)
    assert slices.remaining() is None


def test_a_row_that_only_lacks_its_newline_is_kept(run):
    assert run() == 0
    text = run.file.read_text()
    run.file.write_text(text[:-1])
    assert len(harness.Results(run.file).read()) == 4
    assert run("--data-sets", "3") == 0
    assert run.file.read_text().startswith(text)


@pytest.mark.parametrize("damage", ["{broken", "[1, 2]", '{"script": "simulation"}', "\0\0", "1"])
@pytest.mark.parametrize("last", [True, False])
def test_damage_is_one_line_and_nothing_is_touched(run, complaint, damage, last):
    whole = json.dumps(dict.fromkeys(rows_module.FIELDS, 0))
    damaged = f"{whole}\n{damage}" + ("" if last else f"\n{whole}\n")
    run.file.parent.mkdir()
    run.file.write_text(damaged)
    for script in (run, lambda: report.main(["--results", str(run.file.parent)])):
        assert script() == 2
        said = complaint()
        assert "line 2" in said
        assert "simulation.jsonl" in said
    assert run.file.read_text() == damaged


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_rows_go_in_together_or_not_at_all(tmp_path, monkeypatch, stop):
    """Also where the disk is full, or the run is killed when half of it is written."""
    results = harness.Results(tmp_path / "rows.jsonl")
    row = dict.fromkeys(rows_module.FIELDS, 0) | {"config": {}}
    results.append([row])
    before = results.path.read_bytes()

    def stops(file):
        raise stop

    monkeypatch.setattr(os, "fsync", stops)
    with pytest.raises(type(stop)):
        results.append([row | {"seed": 1}, row | {"seed": 2}])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="JSON"):
        results.append([row, row | {"metrics": {"loss": float("nan")}}])
    with pytest.raises(ValueError, match="fields"):
        results.append([{"seed": 1}])
    assert results.path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [results.path]


def test_who_adds_rows_waits_for_another(tmp_path):
    results = harness.Results(tmp_path / "rows.jsonl")
    row = dict.fromkeys(rows_module.FIELDS, 0) | {"config": {}}
    other = threading.Thread(target=results.append, args=([row],))
    with rows_module._locked(tmp_path):
        other.start()
        other.join(0.1)
        assert not results.path.exists()
    other.join()
    assert len(results.read()) == 1


def test_what_is_not_finite_becomes_null():
    given = {"a": [np.float32("nan"), 1.5], "b": (np.inf, np.int64(3)), "c": None, "d": True}
    made = rows_module.finite(given)
    assert made == {"a": [None, 1.5], "b": [None, 3], "c": None, "d": True}
    assert json.loads(json.dumps(made, allow_nan=False)) == made


@dataclasses.dataclass(frozen=True)
class Inner:
    """Settings inside others."""

    devices: ranges.Count = 2


@dataclasses.dataclass(frozen=True)
class Ranged:
    """Settings that are in range."""

    sizes: ranges.Some[ranges.Count] = (1, 2)
    pair: tuple[ranges.Count, ranges.Positive] = (1, 0.5)
    share: Annotated[float, ranges.within("(0, 1]")] = 1.0
    weight: ranges.Positive | None = None
    word: Annotated[str, ranges.one_of("a", "b")] = "a"
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sizes": ()}, "sizes: name at least one"),
        ({"sizes": (1, 0)}, "sizes: got 0, needs to be at least 1"),
        ({"pair": (0, 0.5)}, "pair: got 0, needs to be at least 1"),
        ({"pair": (1, 0.0)}, "pair: got 0.0, needs to be positive"),
        ({"share": 1.5}, r"share: got 1.5, needs to be in \(0, 1]"),
        ({"weight": 0.0}, "weight: got 0.0, needs to be positive"),
        ({"word": "c"}, "word: got 'c', needs to be one of a, b"),
        ({"inner": Inner(0)}, "devices: got 0"),
    ],
)
def test_the_range_in_a_type_holds_for_each_entry(changed, says):
    """Fails if entries, unions or settings inside others are passed over."""
    harness.check(Ranged())
    with pytest.raises(ValueError, match=says):
        harness.check(Ranged(**changed))


def test_the_pace_doubles_until_it_takes_long(monkeypatch):
    clock = iter([0.0, 0.1, 1.0, 1.1, 2.0, 9.0, 10.0, 19.0, 20.0, 29.0])
    monkeypatch.setattr(slices.time, "monotonic", lambda: next(clock))
    assert list(harness.paced(13)) == [1, 2, 4, 4, 2]
    assert list(harness.paced(0)) == []


@pytest.mark.parametrize("option", ["--results", "--work"])
def test_a_folder_that_cannot_be_written_is_one_line(run, option, complaint, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert run(option, str(tmp_path / "file" / "folder")) == 2
    assert complaint().startswith(f"simulation: {option.strip('-')}: cannot write")


def test_two_runs_do_not_share_a_work_folder(run, capsys):
    run.work.mkdir(parents=True)
    with alone(run.work):
        assert run() == 2
    assert "work: another process" in capsys.readouterr().err
    assert run() == 0


@pytest.mark.parametrize("script", [simulation, speed, report])
def test_every_option_has_help(script, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["--help"])
    assert stop.value.code == 0
    text = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    options = [i for i, line in enumerate(text) if re.match(r"--[a-z]", line)]
    assert len(options) >= {simulation: 30, speed: 40, report: 3}[script]
    for i in options:
        words_of_help = re.findall(r"[a-z]{3,}", re.sub(r"^--\S+( \S+)?", "", text[i]))
        assert words_of_help or re.match(r"[A-Za-z]", text[i + 1]), text[i]


def test_presets_differ_in_size_alone():
    smoke, cpu, paper = (simulation.PRESETS[name] for name in ("smoke", "cpu", "paper"))
    assert smoke.recipe.num_steps < cpu.recipe.num_steps < paper.recipe.num_steps == 500_000
    assert (paper.recipe.thinning, paper.data_sets) == (100, 50)
    assert (paper.recipe.kept, paper.recipe.discarded) == (4000, 1000)
    for settings in (smoke, cpu, paper):
        settings.check()
        units = settings.units()
        assert {config["arm"] for config in units[0].configs} == {"sa", "em", "sgld"}
        assert sum(len(unit.cases) for unit in units) == 10 * settings.data_sets
        # The key of a row has to survive the way through a file.
        for config in units[0].configs:
            there = json.loads(json.dumps(config))
            assert harness.row_key(there, 0) == harness.row_key(config, 0)


def test_a_script_without_words_takes_its_first_preset():
    settings = choose(simulation.PRESETS, [], prog="simulation", description="")
    assert settings == next(iter(simulation.PRESETS.values()))
