# SPDX-License-Identifier: Apache-2.0
"""One chain over several devices and processes, and a process that dies.

Mutations that fail here, each tried: a stream that begins anew on the second start; differences
that are not relative; the yardstick in the order that it is compared with; a scatter planned as
if its shards did not shrink; chains left to XLA's own partitioning. JAX's own heartbeat of 100 s
was seen to take 97.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from benchmarks import harness, report
from benchmarks.scaling import collectives, launch
from benchmarks.scaling import run as scaling
from benchmarks.scaling import table as scaling_table
from benchmarks.scaling.launch import Layout, WorkerError

ROOT = Path(__file__).resolve().parents[2]
STEPS = 40

MINUTE = 60
"""Seconds within which a process has to end once the other is dead."""

LONG = 600
"""Seconds for a run on a busy machine."""


class Pair:
    """The two processes of a run of `benchmarks.scaling.train`."""

    def __init__(self, folder, cache, pause=0.0):
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        # What is compiled once serves the later starts.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        words = [sys.executable, "-m", "benchmarks.scaling.train", "--folder", str(folder)]
        words += ["--processes", "2", "--port", str(launch.free_port())]
        words += ["--steps", str(STEPS), "--heartbeat", "10", "--pause", str(pause)]
        self.folder = folder
        self.processes = [
            subprocess.Popen(
                [*words, "--index", str(index)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for index in range(2)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.communicate()

    def wait_for(self, step):
        """Until a checkpoint of that step is there."""
        while (aeb.checkpoint.latest_step(self.folder) or 0) < step:
            assert all(process.poll() is None for process in self.processes)
            time.sleep(0.05)

    def ends(self, index, limit=LONG):
        """Exit code and words of one process."""
        said, _ = self.processes[index].communicate(timeout=limit)
        return self.processes[index].returncode, said

    def final(self):
        """Arrays of the final state, once both have ended well."""
        for index in range(2):
            code, said = self.ends(index)
            assert code == 0, said
        with np.load(self.folder / "final.npz") as arrays:
            return said, [arrays[name] for name in arrays.files]


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_and_the_run_goes_on(tmp_path):
    """Killed once each, the worker and then the coordinator; it ends in the bits of a run that
    was left alone."""
    with Pair(tmp_path / "straight", tmp_path / "cache") as pair:
        _, straight = pair.final()
    for victim, step in ((1, 10), (0, 20)):
        with Pair(tmp_path / "killed", tmp_path / "cache", pause=0.1) as pair:
            pair.wait_for(step)
            pair.processes[victim].kill()
            code, said = pair.ends(1 - victim, MINUTE)
            assert code != 0
            assert "another task died" in said  # of JAX
            assert aeb.checkpoint.latest_step(tmp_path / "killed") < STEPS
    with Pair(tmp_path / "killed", tmp_path / "cache") as pair:
        said, resumed = pair.final()
    assert "goes on from step" in said
    assert int(resumed[0]) == STEPS
    for a, b in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_two_processes_make_the_chain_of_one_device(tmp_path):
    """By the script at its smallest, with real workers that talk over loopback."""
    words = ["--results", str(tmp_path), "--work", str(tmp_path / "work"), "--no-progress"]
    assert scaling.main(["--preset", "smoke", *words]) == 0
    rows = [json.loads(line) for line in (tmp_path / "scaling.jsonl").read_text().splitlines()]
    chains = {
        row["config"]["road"]: row["metrics"] for row in rows if row["config"]["section"] == "chain"
    }
    assert set(chains) == {"data parallel", "chains"}
    for metrics in chains.values():
        assert metrics["moved"] > 0.1
        # Each entry in units of the largest of its array: a few roundings of float32.
        assert max(metrics["differences"].values()) < 1e-6


def test_chains_of_a_convolution_over_a_mesh_send_nothing():
    """Left to itself, XLA gathers the inputs of convolutions whose weights differ by chain."""
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-3, temperature=0.0), aeb.gaussian(), gain=0.0)

    def loss_fn(weight, batch):
        once = jax.lax.conv(batch, weight, (1, 1), "SAME")
        return jnp.mean(jax.lax.conv(once, weight, (1, 1), "SAME") ** 2)

    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=16)
    step = aeb.chains(kernel, mesh=launch.make_mesh(8))
    state = jax.vmap(algorithm.init)(jnp.ones((8, 4, 4, 3, 3)))
    key = jax.random.split(jax.random.key(0), 8)
    program = jax.jit(lambda *arguments: step(*arguments)).lower(
        state, jnp.ones((16, 4, 8, 8)), key
    )
    assert collectives.collectives(program.compile().as_text()) == []


def test_differences_are_relative_to_an_array():
    alone = {
        "a|0|position|0": np.array([1.0, -4.0]),
        "a|0|position|1": np.array([0.01]),
        "a|0|step|0": np.array(5),
        "b|0|position|0": np.array([9.0]),
    }
    final = {
        "c|2|position|0": np.array([1.0, -3.5]),
        "c|2|position|1": np.array([0.02]),
        "c|2|step|0": np.array(5),
    }
    apart = scaling.differences(alone, "a", final, "c", 2)
    assert apart == {"position": 1.0, "step": 0.0}


@pytest.fixture
def fake_workers(monkeypatch):
    """Workers that write at once what they might have found."""
    calls = []

    def worker(module, spec, layout):
        assert module == "benchmarks.scaling.worker"
        calls.append((spec["section"], layout, tuple(spec["roads"])))
        if spec["section"] == "communication":
            metrics = {
                "weights": 10,
                "state_bytes": 200,
                "state_bytes_on_a_device": 25_000_000,
                "bytes_accessed": 4e8,
                "collectives": {
                    "all-reduce": {"calls": 1, "bytes": 40_000_000, "sent": 7e7},
                    "reduce-scatter": {"calls": 1, "bytes": 1_000_000, "sent": 1e6},
                },
            }
            Path(spec["out"]).write_text(json.dumps(dict.fromkeys(spec["roads"], metrics)))
            return
        arrays = {"start|0|position|0": np.zeros(2), "start|0|loss|0": np.array(np.inf)}
        for road, order in itertools.product(spec["roads"], range(spec["orders"])):
            # Off by an order's tenth on one device, and by half of it elsewhere.
            off = 0.1 * order if layout.devices == 1 else 0.05
            arrays[f"{road}|{order}|position|0"] = np.array([1.0 + off, 0.5])
            arrays[f"{road}|{order}|loss|0"] = np.array(2.0)
        np.savez(spec["out"], **arrays)

    monkeypatch.setattr(launch, "worker", worker)
    return calls


def test_rows_tables_and_a_plan(fake_workers, tmp_path, capsys):
    words = ["--preset", "cpu", "--results", str(tmp_path), "--work", str(tmp_path / "work")]
    assert scaling.main([*words, "--no-progress"]) == 0
    text = scaling_table.report("cpu", harness.Results(tmp_path / "scaling.jsonl"))
    assert "not run" not in text
    # Three other orders, of which the last is farthest off: 0.3 of an array whose largest is 1.
    assert "| small_mlp | data parallel | 1 device, another order | 3.0e-01 |" in text
    line = "| slim_resnet | shard_map | 8 devices | 5.0e-02 | - | - | - | 0.0e+00 | 0.17 |"
    assert line in text
    assert "2 processes x 4 devices" in text
    # At 64 devices 2 x 63 / 64 of 40 MB, and 63 shards of an eighth of a MB.
    sent = 2 * 63 / 64 * 40 + 63 / 8
    assert f"| mlp10m | data parallel | 64 | {sent:.2f} MB | {sent / 10:.2f} |" in text
    fake_workers.clear()
    assert scaling.main([*words, "--no-progress"]) == 0
    assert fake_workers == []


def test_layouts_that_are_done_are_passed_over(fake_workers, tmp_path):
    settings = scaling.PRESETS["cpu"]
    unit = settings.units()[0]
    unit.run(tmp_path, lambda amount: None)
    assert [layout for _, layout, _ in fake_workers] == [Layout(1), *settings.chain.layouts]
    (tmp_path / "8_2.npz").unlink()
    fake_workers.clear()
    unit.run(tmp_path, lambda amount: None)
    assert [layout for _, layout, _ in fake_workers] == [Layout(8, 2)]


def test_without_rows_it_says_not_run(tmp_path):
    text = scaling_table.report("paper", harness.Results(tmp_path / "scaling.jsonl"))
    settings = scaling.PRESETS["cpu"]
    rows = sum(len(unit.configs) for unit in settings.units())
    counts = len(settings.communication.nets) * len(settings.communication.roads)
    lines = [line for line in text.splitlines() if "not run" in line]
    assert len(lines) == rows + len(scaling_table.PLANNED) * counts
    assert scaling.NAME in report.SECTIONS


def test_a_worker_that_fails_says_why():
    with pytest.raises(WorkerError, match=r"1 device: exit 1\n(?s:.*)No module named"):
        launch.worker("benchmarks.nowhere", {}, Layout(1))


def test_settings_out_of_range_are_named(capsys):
    for words, message in (
        (["--chain.steps", "0"], "steps: got 0"),
        (["--communication.nets", "nothing"], "nets: got 'nothing'"),
        (["--communication.devices", "3"], "3 devices: the processes have to share"),
    ):
        assert scaling.main(words) == 2
        assert message in capsys.readouterr().err
