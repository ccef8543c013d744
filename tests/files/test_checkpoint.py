# SPDX-License-Identifier: Apache-2.0
"""Save, stop, resume: the same chain, whatever happens to the process or to a file."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import aeb
from aeb.files.archive import DamagedFileError, read_archive
from aeb.files.checkpoint import latest_step, restore, save
from aeb.tree import named_leaves

VERSION_1 = Path(__file__).parent / "version_1"
"""Files that aeb wrote before the format had a version 2."""


class Latent(NamedTuple):
    rho: Any
    sigma: Any


class State(NamedTuple):
    step: Any
    position: Any
    momentum: Any
    latent: Any
    mask: Any
    model_state: Any
    key: Any


def make_state(seed=0):
    normal = np.random.default_rng(seed).normal
    position = {
        "a/b": jnp.asarray(normal(size=(3, 4)), jnp.float32).at[0, 0].set(-0.0),
        "a": [jnp.asarray(normal(size=5), jnp.bfloat16), jnp.asarray(jnp.nan)],
        "empty": jnp.zeros((0, 3)),
    }
    return State(
        step=jnp.asarray(3, jnp.int32),
        position=position,
        momentum=(),
        latent=Latent({"a/b": jnp.ones((3, 4))}, jnp.asarray(normal(), jnp.float32)),
        mask={"a/b": jnp.asarray(normal(size=(3, 4)) > 0)},
        model_state={"none": None, "counter": np.int64(2**40 + seed), "host": normal(size=3)},
        key=(jax.random.key(seed), jax.random.split(jax.random.key(seed, impl="rbg"), 2)),
    )


def bits(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf).tobytes()


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert type(one) is type(other)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert bits(one) == bits(other)


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_state_comes_back_to_the_bit(tmp_path):
    """Fails if a dtype passes through float32, a key loses its implementation, or -0 its sign."""
    save(tmp_path, 3, make_state(0))
    step, state = restore(tmp_path, make_state(1))
    assert step == 3
    assert_same(state, make_state(0))


def test_shapes_are_enough_to_restore(tmp_path, key):
    """Fails if `like` has to hold values."""
    tree = {"w": jnp.ones(3, jnp.bfloat16), "key": key}
    save(tmp_path, 0, tree)
    assert_same(restore(tmp_path, jax.eval_shape(lambda: tree))[1], tree)


def test_a_resumed_chain_is_the_chain_that_was_never_stopped(tmp_path, key):
    """Fails if the momentum or the key is not restored."""

    @jax.jit
    def step(carry):
        position, momentum, key = carry
        key, noise_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, position.shape)
        momentum = 0.9 * momentum - 0.1 * position + noise
        return position + momentum, momentum, key

    carry = (jnp.ones(5), jnp.zeros(5), jax.random.clone(key))
    for count in range(4):
        if count == 2:
            save(tmp_path, count, carry)
        carry = step(carry)
    resumed = restore(tmp_path, (jnp.zeros(5), jnp.zeros(5), jax.random.key(1)))[1]
    for _ in range(2):
        resumed = step(resumed)
    assert_same(resumed, carry)


def test_relative_folders_are_made(tmp_path, monkeypatch):
    """Fails if the folder must be absolute, or be there."""
    monkeypatch.chdir(tmp_path)
    path = save("runs/one", jnp.asarray(5), jnp.ones(3))
    assert path == tmp_path / "runs" / "one" / "step_000000000005.safetensors"
    assert restore("runs/one", jnp.zeros(3))[0] == 5


def test_the_last_checkpoints_are_kept(tmp_path):
    """Fails if the newest is deleted, files sort as text, or strangers' files go."""
    (tmp_path / "step_notes.txt").write_text("mine")
    steps = [9, 10, 99, 10**12 - 1, 10**12]
    for step in steps:
        save(tmp_path, step, jnp.full(2, step, jnp.float32), keep_last=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step_000000000099.safetensors",
        "step_1000000000000.safetensors",
        "step_999999999999.safetensors",
        "step_notes.txt",
    ]
    assert latest_step(tmp_path) == restore(tmp_path, jnp.zeros(2))[0] == 10**12
    step, value = restore(tmp_path, jnp.zeros(2), step=99)
    assert (step, value[0]) == (99, 99)
    save(tmp_path, 10**12, jnp.zeros(2), keep_last=1)
    assert restore(tmp_path, jnp.ones(2))[1][0] == 0
    assert len(list(tmp_path.iterdir())) == 2


def test_a_step_of_an_earlier_run_is_not_mixed_in(tmp_path):
    """Fails if the check is dropped: the old run's later step would be the one restored."""
    save(tmp_path, 100, jnp.ones(2))
    with pytest.raises(ValueError, match=r"step: got 10, but .* holds step 100, which is later"):
        save(tmp_path, 10, jnp.ones(2))


def test_a_damaged_newest_is_passed_over_with_a_warning(tmp_path):
    """Fails if the checksum is not looked at, or a damaged file ends the search."""
    save(tmp_path, 1, jnp.full(3, 1.0))
    damage(save(tmp_path, 2, jnp.full(3, 2.0)))
    with pytest.warns(UserWarning, match=r"passed over .*step_000000000002\.safetensors"):
        step, value = restore(tmp_path, jnp.zeros(3))
    assert (step, value[0]) == (1, 1.0)
    with pytest.raises(DamagedFileError, match=r"step_000000000002\.safetensors is damaged"):
        restore(tmp_path, jnp.zeros(3), step=2)


def test_nothing_whole_is_told(tmp_path):
    """Fails if the folder is not named."""
    path = save(tmp_path, 1, jnp.ones(3))
    path.write_bytes(path.read_bytes()[:-5])
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(DamagedFileError, match=rf"every checkpoint in {tmp_path} .*\[1\].*afresh"),
    ):
        restore(tmp_path, jnp.zeros(3))


def test_an_absent_checkpoint_is_told_and_no_folder_made(tmp_path):
    """Fails if looking makes the folder."""
    with pytest.raises(FileNotFoundError, match=r"folder: .*none holds no checkpoint"):
        restore(tmp_path / "none", jnp.zeros(3))
    assert not (tmp_path / "none").exists()
    save(tmp_path, 4, jnp.ones(3))
    with pytest.raises(FileNotFoundError, match=r"step: .* no checkpoint of step 3, only \[4\]"):
        restore(tmp_path, jnp.zeros(3), step=3)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"w": jnp.ones((3, 2))}, ValueError, r"'w' is float32\[3, 2\], .* float32\[2, 3\]"),
        ({"w": jnp.ones((2, 3), jnp.bfloat16)}, ValueError, r"'w' is bfloat16\[2, 3\]"),
        ({"w": [jnp.ones((2, 3))]}, ValueError, "the checkpoint lacks the leaf 'w/0'"),
        ({"w": ()}, ValueError, "only the checkpoint has the leaf 'w'"),
        ({"v": jnp.ones(1)}, ValueError, "the checkpoint lacks the leaf 'v'"),
        ({"w": 1.0}, TypeError, "leaf 'w' is float, needs to be an array"),
        ({"key": jnp.zeros(2, jnp.uint32)}, ValueError, r"'key' is uint32.*key<fry>\[\]"),
        ({"key": jax.random.key(0, impl="rbg")}, ValueError, "'key' is key<rbg>"),
    ],
)
def test_another_tree_is_refused(tmp_path, key, change, error, message):
    """Fails if a leaf is cast, reshaped, or left at the value of `like`."""
    tree = {"w": jnp.ones((2, 3)), "key": key}
    save(tmp_path, 1, tree)
    with pytest.raises(error, match=message) as caught:
        restore(tmp_path, tree | change)
    assert error is TypeError or str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("step", "tree", "keep_last", "error", "message"),
    [
        (-1, np.ones(1), 2, ValueError, "step: got -1"),
        (1.5, np.ones(1), 2, TypeError, "float"),
        (1, np.ones(1), 0, ValueError, "keep_last: got 0"),
        (1, (), 2, ValueError, "tree: it holds no array"),
        (1, {"a": 1.0}, 2, TypeError, "tree: leaf 'a' is float"),
        (1, {"a/b": 1.0, "a": {"b": 2.0}}, 2, ValueError, "tree: two leaves share the path 'a/b'"),
    ],
)
def test_what_cannot_be_saved_is_refused(tmp_path, step, tree, keep_last, error, message):
    """Fails if a check is dropped."""
    with pytest.raises(error, match=message):
        save(tmp_path / "run", step, tree, keep_last=keep_last)
    assert latest_step(tmp_path / "run") is None


def test_arrays_go_where_those_of_like_are(tmp_path):
    """Fails if a sharding is lost, or a free array is tied to one device."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    tree = {"free": jnp.ones(8), "spread": jax.device_put(jnp.arange(8.0), sharding)}
    save(tmp_path, 1, tree)
    found = restore(tmp_path, tree)[1]
    assert_same(found, tree)
    assert found["spread"].sharding == sharding
    assert not found["free"].committed
    (found["free"] + found["spread"]).block_until_ready()


def test_x64_is_asked_for(tmp_path):
    """Fails if a double is cut to single precision on its way back."""
    save(tmp_path, 1, {"w": np.ones(3)})
    with pytest.raises(ValueError, match=r"leaf .*'w'.* is float64.*enable_x64"):
        restore(tmp_path, {"w": jax.ShapeDtypeStruct((3,), np.float64)})


KILLED = """
import os, sys, time
import numpy as np
from aeb.files.checkpoint import save

def stop_here(descriptor):
    print("writing", flush=True)
    time.sleep(60)

os.fsync = stop_here
save(sys.argv[1], 2, np.full(3, 9.0, np.float32))
"""


def test_a_save_that_is_killed_leaves_the_checkpoints_as_they_were(tmp_path):
    """Fails if a file is written in place, old ones go first, or the remains are never removed."""
    for step in (1, 2):
        save(tmp_path, step, jnp.full(3, step, jnp.float32))
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "writing\n"
        child.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 3
    for step in (1, 2):
        assert restore(tmp_path, jnp.zeros(3), step=step)[1][0] == step
    assert restore(tmp_path, jnp.zeros(3))[0] == 2
    save(tmp_path, 3, jnp.full(3, 3.0))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step_000000000002.safetensors",
        "step_000000000003.safetensors",
    ]


def test_a_checkpoint_of_version_1_is_still_read():
    """Fails if the paths of the file are looked for in today's notation alone."""
    chain = aeb.empirical_bayes(aeb.sghmc(1e-3), aeb.spike_slab(v0=0.1, v1=1.0, kappa0=None))
    position = {
        "dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)},
        "list": [jnp.ones(2)],
    }
    tree = {"state": chain.init(position), "key": jax.random.key(7)}
    like = jax.tree.map(jnp.zeros_like, tree["state"])
    step, found = restore(VERSION_1, {"state": like, "key": jax.random.key(0)})
    assert step == 5
    assert_same(found, tree)
    with pytest.raises(ValueError, match=r"lacks the leaf \"\['key'\]\[0\]\""):
        restore(VERSION_1, {"state": like, "key": [jax.random.key(0)]})


def test_leaves_go_by_the_paths_of_rules(tmp_path):
    """Fails if a checkpoint names a leaf otherwise than `where` and the reports do."""
    tree = {
        "state": {"block": [jnp.ones(1)]},
        "model": nnx.state(nnx.Linear(1, 1, rngs=nnx.Rngs(0))),
    }
    _, header = read_archive(save(tmp_path, 1, tree), "checkpoint")
    assert list(header["leaves"]) == list(named_leaves(tree))
    assert list(header["leaves"]) == ["model/bias", "model/kernel", "state/block/0"]
    assert_same(restore(tmp_path, jax.tree.map(jnp.zeros_like, tree))[1], tree)
