# SPDX-License-Identifier: Apache-2.0
"""Metrics come out where they are looked at, each step once."""

import json
import struct
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from aeb.compress import Look


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


def rows(path):
    """Read a file as strict JSON, without the times."""

    def refuse(word):
        raise ValueError(f"{word} is not JSON")

    found = [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]
    assert all(row.pop("time") > 1e9 for row in found)
    return found


def test_a_run_writes_its_steps(path, key):
    """Mutations: the loss of the first chain for the mean; zeros of the whole state counted."""
    algorithm = aeb.empirical_bayes(
        aeb.sgld(learning_rate=0.1), aeb.gaussian(), sparsify=aeb.magnitude(0.5)
    )
    kernel = aeb.chains(
        aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w[None]) ** 2), num_data=8)
    )
    states = jax.vmap(algorithm.init)(jnp.arange(8.0).reshape(2, 4))
    seen = []

    def look(state):
        seen.append(float(state.loss.mean()))
        write(state)

    write = aeb.logs.json_lines(path)
    data = jnp.ones((8, 4))
    aeb.sample(
        kernel,
        states,
        data,
        key,
        num_steps=5,
        batch_size=4,
        callback=look,
        callback_every=2,
        progress=False,
    )
    found = rows(path)
    assert [row["step"] for row in found] == [2, 4, 5]
    assert [row["loss"] for row in found] == pytest.approx(seen, rel=1e-6)
    assert {row["sparsity"] for row in found} == {0.5}


def test_names_and_numbers_are_pythons_own(path):
    """Mutations: nan written as NaN; text refused."""
    write = aeb.logs.json_lines(path)
    write(
        {
            "step": np.int32(1),
            "loss": jnp.float32(np.nan),
            "accuracy": None,
            "rate": jnp.bfloat16(0.5),
            "phase": "ramp",
            "done": np.bool_(True),
        }
    )
    write(Look(2, 0.5, float("inf"), None))
    assert rows(path) == [
        {"step": 1, "loss": None, "accuracy": None, "rate": 0.5, "phase": "ramp", "done": True},
        {"step": 2, "sparsity": 0.5, "loss": None, "accuracy": None},
    ]
    with pytest.raises(TypeError, match=r"^metrics: 'grad' is ndarray of shape \(3,\)"):
        write({"step": 3, "grad": np.ones(3)})
    with pytest.raises(TypeError, match="needs to be a state, a dict or a NamedTuple"):
        write(3.0)


def test_a_run_that_goes_on_leaves_each_step_once(path):
    """Mutations: always append; rows of other tags dropped too; a torn line kept."""
    other = aeb.logs.json_lines(path, tags={"arm": "em"})
    other({"step": 30, "loss": 7.0})
    write = aeb.logs.json_lines(path, tags={"arm": "sa"})
    for step in (10, 20, 30):
        write({"step": step, "loss": 1.0})
    write({"test": 0.9})
    with path.open("a") as file:
        file.write('{"step": 40, "lo')  # killed here
    write = aeb.logs.json_lines(path, tags={"arm": "sa"})
    assert len(path.read_text().splitlines()) == 6  # nothing happens before the first row
    write({"step": 20, "loss": 2.0})
    write({"step": 30, "loss": 2.0})
    assert rows(path) == [
        {"arm": "em", "step": 30, "loss": 7.0},
        {"arm": "sa", "step": 10, "loss": 1.0},
        {"arm": "sa", "test": 0.9},
        {"arm": "sa", "step": 20, "loss": 2.0},
        {"arm": "sa", "step": 30, "loss": 2.0},
    ]


def test_a_file_of_something_else_is_left_alone(path):
    """Mutation: lines that are no JSON dropped."""
    path.write_text("# my notes\n")
    with pytest.raises(ValueError, match=r"^path: line 1 of .* is no JSON object"):
        aeb.logs.json_lines(path)({"step": 1})
    assert path.read_text() == "# my notes\n"
    with pytest.raises(FileNotFoundError, match="make it first"):
        aeb.logs.json_lines(path.parent / "nowhere" / "run.jsonl")


def test_read_adds_what_is_asked_for(path):
    """Mutation: `read` ignored."""
    write = aeb.logs.json_lines(path, read=lambda state: aeb.logs.metrics(state) | {"norm": 2.0})
    write({"step": 1})
    assert rows(path) == [{"step": 1, "norm": 2.0}]


def scalars(folder):
    """Read event files: records of a length, its checksum, an event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            if event.session_log.status:
                found.append(("start", event.step))
            found += [
                (value.tag, event.step, round(value.simple_value, 6))
                for value in event.summary.value
            ]
    return found


def test_event_files_for_tensorboard(tmp_path):
    """Mutations: rows numbered in place of steps; purge_step left out; text written."""
    pytest.importorskip("tensorboardX")
    write = aeb.logs.tensorboard(tmp_path)
    write(Look(10, 0.5, 0.25, None))
    write({"step": 20, "loss": 0.125, "phase": "ramp"})
    waited = time.monotonic()
    while len(scalars(tmp_path)) < 4 and time.monotonic() - waited < 20:
        time.sleep(0.05)
    assert scalars(tmp_path) == [
        ("start", 10),
        ("sparsity", 10, 0.5),
        ("loss", 10, 0.25),
        ("loss", 20, 0.125),
    ]


def test_a_run_of_weights_and_biases(monkeypatch):
    """Mutations: the step among the metrics; a new run begun beside the one that is open."""
    logged = []

    class Run:
        def log(self, row, step=None, commit=None):
            logged.append((step, row))

    wandb = types.ModuleType("wandb")
    wandb.run, wandb.init = None, Run
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    aeb.logs.weights_and_biases()(Look(10, 0.5, 0.25, None))
    wandb.run, wandb.init = Run(), None
    aeb.logs.weights_and_biases()({"step": 20, "loss": 0.125})
    aeb.logs.weights_and_biases(Run())({"loss": 0.0})
    assert logged == [
        (10, {"sparsity": 0.5, "loss": 0.25}),
        (20, {"loss": 0.125}),
        (None, {"loss": 0.0}),
    ]


def test_weights_and_biases_as_it_is(tmp_path, monkeypatch):
    """Mutations: the step left out; commit left out, so that the last row is held back."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=tmp_path, project="aeb") as run:
        write = aeb.logs.weights_and_biases(run)
        write({"step": 10, "loss": 0.5, "accuracy": None})
        write({"step": 20, "loss": 0.25})
        assert run.summary["loss"] == 0.25
        assert run.step == 21  # the one that would come next


@pytest.mark.parametrize("name", ["tensorboardX", "wandb"])
def test_what_to_install(name, tmp_path, monkeypatch):
    """Mutation: the bare ImportError passed on."""
    monkeypatch.setitem(sys.modules, name, None)
    make = {
        "tensorboardX": lambda: aeb.logs.tensorboard(tmp_path),
        "wandb": aeb.logs.weights_and_biases,
    }
    with pytest.raises(ImportError, match=f"pip install {name}"):
        make[name]()
