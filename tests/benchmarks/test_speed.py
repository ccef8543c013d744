# SPDX-License-Identifier: Apache-2.0
"""The clock of the speed suite, its contenders, and its report. No test looks at a time.

Mutations that fail here, each tried: contenders timed one after the other and not in turn; the
ratio of medians for the median of ratios; the length of a timing left out of it; a floor that
skips an array, or draws no normals; a part left in that a variant's name leaves out; wrong zeros
passed over; a target that fits no row; a miss shown as met; a missing peer without a word.
"""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up import made_up_row

from benchmarks import harness, report
from benchmarks.speed import clock as clock_module
from benchmarks.speed import figure as speed_figure
from benchmarks.speed import nets, sampler, steps, torch_peer
from benchmarks.speed import run as speed
from benchmarks.speed.clock import Clock, Spread, ratio
from benchmarks.speed.targets import TARGETS, part_costs


class Fake:
    """A clock that moves only while a contender works."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(clock_module.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(clock_module.time, "monotonic", lambda: self.now)

    def contender(self, name, seconds):
        def run(count):
            self.calls.append((name, count))
            self.now += count * seconds

        return run


def test_contenders_run_in_turn_and_long_enough(monkeypatch):
    fake = Fake(monkeypatch)
    contenders = {"a": fake.contender("a", 0.25), "b": fake.contender("b", 2.0)}
    times = Clock(repeats=3, least=1.0, limit=1e9).race(contenders, per=2)
    assert fake.calls[-6:] == [("a", 4), ("b", 1)] * 3
    assert times["a"]["rounds"] == [0.125] * 3  # seconds a unit, two units a call
    assert times["b"]["median"] == 1.0


def test_the_limit_ends_a_race_after_three_rounds(monkeypatch):
    fake = Fake(monkeypatch)
    times = Clock(repeats=9, least=1.0, limit=0.5).race({"a": fake.contender("a", 1.0)})
    assert len(times["a"]["rounds"]) == 3
    fake.calls.clear()
    cold = Clock(repeats=2, least=9.0, limit=1e9)
    assert len(cold.race({"a": fake.contender("a", 1.0)}, warm=False)["a"]["rounds"]) == 2
    assert fake.calls == [("a", 1)] * 2


def test_a_ratio_is_taken_within_a_round():
    times = {"a": {"rounds": [1.0, 20.0, 300.0]}, "b": {"rounds": [2.0, 10.0, 300.0]}}
    assert ratio(times, "a", "b") == Spread(1.0, 0.75, 1.5)


def test_parts_are_what_ours_saves_without_them():
    rounds = {"ours": 5.0, "no_noise": 2.0, "no_latents": 4.0, "no_pruning": 4.5, "bare": 1.5}
    times = {name: {"rounds": [value, 2 * value]} for name, value in rounds.items()}
    costs = part_costs({"seconds": times | {"sgd": {"rounds": [1.0, 2.0]}}}, "sgd")
    medians = {part: value.median for part, value in costs.items()}
    assert medians == {"noise": 3.0, "latents": 1.0, "pruning": 0.5, "rest": 0.5}
    assert part_costs({"seconds": {"ours": times["ours"]}}, "ours") == {}


def test_a_contender_takes_each_step_once():
    step = jax.jit(lambda state, by: state + by, donate_argnums=0)
    seen = []

    def watched(state, by):
        state = step(state, by)
        seen.append(int(state))
        return state

    run = clock_module.stepping(watched, jnp.asarray(0), jnp.asarray(2))
    run(2)
    run(1)
    assert seen == [2, 4, 6]


def test_the_floor_touches_each_array_of_the_state_once():
    params = sampler.make_tree(1000)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 1000
    grad = jax.tree.map(jnp.sin, params)
    start = nets.algorithm().init(params)
    start = start._replace(loss=jnp.ones_like(start.loss))
    key = jax.random.key(3)
    plain = sampler.floor(start, grad, key, draw=None)
    for old, new in zip(jax.tree.leaves(start), jax.tree.leaves(plain), strict=True):
        assert (np.asarray(old) != np.asarray(new)).all()
    noisy = sampler.floor(start, grad, key, draw=nets.normals_like)
    drawn = np.concatenate(
        [
            1e6 * np.ravel(a - b)
            for a, b in zip(
                jax.tree.leaves(noisy.momentum), jax.tree.leaves(plain.momentum), strict=True
            )
        ]
    )
    assert len(np.unique(drawn)) > 900
    assert abs(np.mean(np.square(drawn)) - 1.0) < 5 * np.sqrt(2 / 1000)
    assert nets.state_bytes({"a": jnp.zeros(3), "b": jnp.zeros(2, jnp.int8)}) == 14


def test_a_variant_leaves_out_what_it_says():
    assert set(nets.variants(True)) == {"ours", "bare", "no_noise", "no_latents", "no_pruning"}
    assert nets.variants(False) == {"ours": ()}
    params = {"kernel": jnp.linspace(-1.0, 1.0, 40)}
    grad = {"kernel": jnp.ones(40)}

    def after(without, seed=0):
        sampler = nets.algorithm(without)
        start = sampler.init(params)
        new = sampler.transition(start, grad, jax.random.key(seed), num_data=nets.NUM_DATA)
        return start, new

    seen = {}
    for name, without in nets.variants(True).items():
        start, new = after(without)
        _, other = after(without, seed=1)
        seen[name] = (
            bool(jnp.any(new.momentum["kernel"] != other.momentum["kernel"])),
            bool(jnp.any(new.latent.rho["kernel"] != start.latent.rho["kernel"])),
            int(jnp.sum(new.position["kernel"] == 0)) == 36,
        )
    assert seen == {
        "ours": (True, True, True),
        "no_noise": (False, True, True),
        "no_latents": (True, False, True),
        "no_pruning": (True, True, False),
        "bare": (False, False, False),
    }


def test_sgd_is_sgd_and_its_floor_adds_a_normal_to_each_weight():
    workload = nets.make_workload("tiny", 5)
    key = jax.random.key(2)
    ends = {}
    for name, draw in (("sgd", None), ("floor", nets.normals_like)):
        step, start = nets.sgd(workload, draw=draw)
        step = jax.jit(step)
        state = step(start, workload.batch, key)
        ends[name] = step(state, workload.batch, key).params
    grad = jax.jit(jax.grad(workload.loss_fn))
    params = workload.params
    first = grad(params, workload.batch)
    params = jax.tree.map(lambda p, g: p - nets.RATE * g, params, first)
    second = grad(params, workload.batch)
    params = jax.tree.map(lambda p, g, h: p - nets.RATE * (h + 0.9 * g), params, first, second)
    for plain, noisy, expected in zip(
        *map(jax.tree.leaves, (ends["sgd"], ends["floor"], params)), strict=True
    ):
        # A few roundings of float32 at a weight of order one.
        np.testing.assert_allclose(plain, expected, rtol=0, atol=1e-6)
        assert not np.array_equal(plain, noisy)


def test_exactness_is_checked():
    weights = jnp.asarray([0.5, -3.0, 0.1, 2.0, -0.2])
    right = jnp.asarray([0.5, -3.0, 0.0, 2.0, 0.0])
    assert sampler._check(right, weights, 2) == {"zeros": 2, "same": True}
    assert sampler._check(right.at[0].set(0.0), weights, 2) == {"zeros": 3, "same": False}
    assert sampler._check(right.at[2].set(0.1), weights, 2) == {"zeros": 1, "same": False}
    assert int(jnp.sum(sampler._sort(2, weights) == 0)) == 2
    assert int(jnp.sum(sampler._top_k(2, weights) == 0)) == 2


def test_memory_and_traces_of_a_step():
    def step(state, by):
        return jax.tree.map(lambda x: x + by, state)

    memory, traces = steps.examine(step, ({"w": jnp.zeros(1000)}, jnp.ones(())))
    assert traces == 1
    assert (memory["arguments"], memory["aliased"], memory["results"]) == (4004, 4000, 4000)
    assert memory["peak"] == 4004 + memory["temporaries"]


@pytest.mark.parametrize("net", ["mnist_cnn", "resnet20", "small_resnet"])
def test_the_nets_in_pytorch_have_as_many_parameters(net):
    pytest.importorskip("torch", reason="an optional peer, no dependency of the tests")
    from benchmarks.speed.torch_nets import make_net

    module, shape = nets.NETS[net]
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))
    ours = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert sum(p.numel() for p in make_net(net).parameters()) == ours


def test_the_convolutions_of_a_network_are_found():
    found = torch_peer.layers("resnet20", 2)
    assert len(found) == 21  # the stem, 18 in the blocks, two shortcuts
    assert sum(math.prod(layer.kernel) for layer in found) == 432 + 267_264 + 16 * 32 + 32 * 64
    assert [layer.padding for layer in torch_peer.layers("mnist_cnn", 2)] == [(2, 2)] * 2


@pytest.mark.parametrize("net", ["small_cnn", "small_resnet"])
def test_the_convolutions_are_those_of_pytorch(net):
    pytest.importorskip("torch", reason="an optional peer, no dependency of the tests")
    orders = ((0, 2, 3, 1), (0, 2, 3, 1), (2, 3, 1, 0))
    for layer in torch_peer.layers(net, 2):
        ours, theirs = torch_peer.ours(layer), torch_peer.peers(layer)
        for kind, order in zip(torch_peer.KINDS, orders, strict=True):
            expected = theirs[kind]().numpy().transpose(order)
            np.testing.assert_allclose(ours[kind](), expected, rtol=1e-4, atol=1e-4)


def configs(preset):
    settings = speed.PRESETS[preset]
    return [settings.config(race) for race in settings.cells()]


def test_presets_and_targets_know_each_other():
    for preset, settings in speed.PRESETS.items():
        settings.check()
        there = configs(preset)
        keys = {harness.row_key(config, 0) for config in there}
        assert len(keys) == len(there)
        assert keys == {harness.row_key(json.loads(json.dumps(config)), 0) for config in there}
    known = configs("cpu") + configs("gpu")
    for target in TARGETS:
        assert sum(target.fits(config) for config in known) == 1, target.text
    assert {config["section"] for config in configs("smoke")} == {*speed.SECTIONS, "epoch"}
    assert max(config.get("size", 0) for config in configs("gpu")) == 100_000_000


def test_a_peer_that_is_not_installed_is_left_out_with_a_line(monkeypatch, complaint):
    monkeypatch.setattr(speed, "_installed", lambda package: package != "torch")
    settings = dataclasses.replace(speed.PRESETS["smoke"], sections=("torch", "nuts", "data"))
    assert [unit.name for unit in settings.units()] == ["nuts, seed 0", "data, seed 0"]
    assert "torch is not installed" in complaint()


def test_a_run_ends_in_rows_and_tables(tmp_path, capsys):
    words = ["--preset", "smoke", "--no-progress", "--sections", "threshold"]
    folders = ["--results", str(tmp_path), "--work", str(tmp_path / "work")]
    assert speed.main([*words, *folders]) == 0
    (row,) = map(json.loads, (tmp_path / "speed.jsonl").read_text().splitlines())
    exact = row["metrics"]["exact"]
    assert [exact[kind]["ours"]["zeros"] for kind in ("normal", "tied")] == [1800, 1800]
    assert exact["tied"]["sort"]["zeros"] != 1800  # or the ties would show nothing
    assert len(row["metrics"]["seconds"]["ours"]["rounds"]) == 1
    capsys.readouterr()
    assert report.main(["--preset", "smoke", "--results", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    (line,) = (
        line
        for line in text.splitlines()
        if line.startswith("| 2,000 weights | ") and "+0, +0" in line
    )
    assert "not run" not in line


def made_up(config, rounds, **metrics):
    seconds = {name: {"median": each[0], "rounds": each} for name, each in rounds.items()}
    return made_up_row(speed.NAME, "cpu", config, 0, metrics | {"seconds": seconds})


def test_targets_are_held_against_the_rows(tmp_path, capsys):
    step, chains = (
        next(config for config in configs("cpu") if config["section"] == section)
        for section in ("step", "chains")
    )
    assert step["net"] == "mnist_cnn"
    names = ("ours", "no_noise", "no_latents", "no_pruning", "bare", "sgd", "floor")
    rounds = dict(zip(names, ([x] for x in (2.2, 1.2, 2.0, 2.1, 1.1, 1.0, 2.2)), strict=True))
    rows = [
        made_up(step, rounds, weights=9),
        made_up(chains, {str(n): [1.0 + n / 8] * 3 for n in chains["counts"]}, weights=9),
    ]
    harness.Results(tmp_path / "speed.jsonl").append(rows)
    assert report.main(["--results", str(tmp_path), "--figures", str(tmp_path / "figures")]) == 0
    lines = capsys.readouterr().out.splitlines()

    def line(start):
        (found,) = (line for line in lines if line.startswith(f"| {start}"))
        return found

    over_sgd = line("training step over plain SGD, mnist_cnn, cpu")
    assert "2.2 [2.2, 2.2] x | missed by 100% | noise +1.00, latents +0.20" in over_sgd
    over_floor = line("training step over SGD and as many normals, mnist_cnn, cpu")
    assert "| met |" in over_floor
    assert "2.67 [2.67, 2.67] x | met |" in line("16 chains over one, cpu")
    missing = line("training step over plain SGD, resnet20, gpu")
    assert "not run" in missing
    assert "met" not in missing
    assert any("--preset gpu" in line for line in lines)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["speed_cpu.png"]
    # By its own name as well, without the report.
    assert speed_figure.figure("smoke", harness.Results(tmp_path / "speed.jsonl"), tmp_path) == []
