# SPDX-License-Identifier: Apache-2.0
"""An exported network runs in a process that has JAX alone, and gives the same logits."""

import subprocess
import sys

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aeb
from aeb.models import MLP

RUN = """
import sys
from pathlib import Path
import numpy as np
import jax.export

network = jax.export.deserialize(bytearray(Path(sys.argv[1]).read_bytes()))
for name in sys.argv[2:]:
    np.save(name + ".out.npy", network.call(np.load(name)))
assert not {"aeb", "flax"} & set(sys.modules), "the library was imported"
"""


@pytest.fixture
def path(tmp_path):
    pytest.importorskip("flatbuffers")
    return tmp_path / "net.jax"


def run(path):
    return jax.export.deserialize(bytearray(path.read_bytes()))


class Net(nn.Module):
    """A convolution with BatchNorm, and a dense layer."""

    hidden: int = 8

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.Conv(2, (3, 3), strides=2)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x)).reshape(x.shape[0], -1)
        return nn.Dense(5)(nn.relu(nn.Dense(self.hidden, name="fc")(x)))


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_it_runs_where_the_library_is_not(path, tmp_path):
    """Mutations: the preprocessing left out; the moments of the rows, not the running ones."""
    net = Net()
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    prepare = aeb.data.normalizer("cifar10")
    variables = net.init(jax.random.key(0), prepare(images))
    variables["params"] = aeb.prune(variables["params"], 0.5)
    moved = jax.tree.map(lambda leaf: leaf + 0.3, variables["batch_stats"])
    variables = variables | {"batch_stats": moved}
    aeb.export(path, net, variables, images[:1], preprocess=prepare)
    parts = {"one.npy": images[:1], "all.npy": images}
    for name, part in parts.items():
        np.save(tmp_path / name, part)
    # Isolated: no path to this library, unless it is installed, where nothing imports it.
    subprocess.run([sys.executable, "-c", RUN, path, *parts], check=True, cwd=tmp_path)
    for name, part in parts.items():
        wanted = net.apply(variables, prepare(part), train=False)
        found = np.load(tmp_path / f"{name}.out.npy")
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.slow
@pytest.mark.quickly_compiled
@pytest.mark.filterwarnings("ignore:variables")  # the network is not trained, and that is said
def test_what_compress_made_runs_where_the_library_is_not(path, tmp_path):
    """Mutation: the preprocessing of the run left out."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 3), np.uint8)
    net, prepare = Net(), aeb.data.normalizer("cifar10")
    sparse = aeb.compress(
        net,
        net.init(jax.random.key(0), prepare(images[:1])),
        (images, np.arange(60) % 5),
        sparsity=0.5,
        num_steps=10,
        learning_rate=1e-3,
        preprocess=prepare,
        key=jax.random.key(1),
        progress=False,
    )
    sparse.export(path)
    np.save(tmp_path / "rows.npy", images)
    subprocess.run([sys.executable, "-c", RUN, path, "rows.npy"], check=True, cwd=tmp_path)
    wanted = net.apply(sparse.variables, prepare(images), train=False)
    found = np.load(tmp_path / "rows.npy.out.npy")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


class NnxNet(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.drop(self.layer(x))


def test_nnx_modules_and_functions(path):
    """Mutation: dropout left on."""
    rows = jnp.arange(8.0).reshape(2, 4)
    net = NnxNet()
    aeb.export(path, net, None, rows)
    np.testing.assert_allclose(run(path).call(rows), net.layer(rows), rtol=1e-6)
    params = {"w": jnp.ones((4, 2)), "v": jnp.ones((3, 2))}

    def two(params, inputs):
        return inputs["a"] @ params["w"] + inputs["b"] @ params["v"]

    inputs = {"a": rows, "b": jnp.ones((2, 3))}
    aeb.export(path, two, params, inputs, platforms=("cpu", "cuda"))
    np.testing.assert_allclose(run(path).call(inputs), two(params, inputs), rtol=1e-6)
    assert run(path).platforms == ("cpu", "cuda")


def test_the_number_of_rows(path):
    """Mutation: the symbolic number used where one was given."""

    class Counts(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(x.reshape(len(x), -1))

    net, rows = Counts(), jnp.ones((1, 2, 2))
    variables = net.init(jax.random.key(0), rows)
    with pytest.raises(ValueError, match=r"^batch_size: .*write x.shape\[0\] for len\(x\)"):
        aeb.export(path, net, variables, rows)
    assert not path.exists()
    aeb.export(path, net, variables, rows, batch_size=3)
    assert run(path).call(jnp.ones((3, 2, 2))).shape == (3, 2)


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_a_shrunk_network_is_a_smaller_file(path):
    """Mutation: the weights of the network given are written."""
    images = jnp.ones((1, 8, 8, 1))
    net = Net(hidden=64)
    variables = net.init(jax.random.key(0), images)
    variables["params"]["fc"]["kernel"] = variables["params"]["fc"]["kernel"].at[:, 4:].set(0.0)
    aeb.export(path, net, variables, images)
    dense, logits = path.stat().st_size, run(path).call(images)
    small = aeb.shrink(net, variables, images)
    aeb.export(path, small.model, small.variables, images)
    assert path.stat().st_size < dense - 4 * 32 * 60
    np.testing.assert_allclose(run(path).call(images), logits, atol=1e-6)


def test_what_was_given_is_checked(tmp_path):
    """Mutations: an unknown platform passed on; the folder made."""
    net, rows = MLP(), jnp.ones((1, 4))
    variables = net.init(jax.random.key(0), rows)
    with pytest.raises(ValueError, match=r"^platforms: got 'gpu'"):
        aeb.export(tmp_path / "net.jax", net, variables, rows, platforms=["gpu"])
    with pytest.raises(
        ValueError, match=r"^inputs: .* of the shape \(3,\); with such rows .*needs"
    ):
        aeb.export(tmp_path / "net.jax", net, variables, jnp.ones((1, 3)))
    pytest.importorskip("flatbuffers")
    with pytest.raises(FileNotFoundError):
        aeb.export(tmp_path / "nowhere" / "net.jax", net, variables, rows)


def test_without_flatbuffers_it_says_what_to_install(tmp_path, monkeypatch):
    """Mutation: the error of jax passed on as it is."""
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    for name in [name for name in sys.modules if name.startswith("jax._src.export.serialization")]:
        monkeypatch.delitem(sys.modules, name)
    net, rows = MLP(), jnp.ones((1, 4))
    with pytest.raises(ImportError, match="pip install flatbuffers"):
        aeb.export(tmp_path / "net.jax", net, net.init(jax.random.key(0), rows), rows)
