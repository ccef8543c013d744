# SPDX-License-Identifier: Apache-2.0
"""A file that stands alone: the module comes back from its name and its fields."""

import functools
import json
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aeb
from aeb.files.archive import read_archive, write_archive
from aeb.files.module import build_module, describe_module
from aeb.models import CNN, MLP, ResNet


class Every(nn.Module):
    """A module with a field of each kind that a file holds."""

    none: Any = 1
    flag: bool = False
    number: float = 0.5
    text: str = ""
    pair: tuple[int, ...] = ()
    items: Any = ()
    table: Any = None
    dtype: Any = jnp.float32
    inner: Any = None
    activation: Any = nn.relu  # cannot be written, so it has to stay

    @nn.compact
    def __call__(self, x):
        return self.activation(self.inner(x)) * self.number


FULL = {
    "none": None,
    "flag": True,
    "number": 1e-30,
    "text": "é",
    "pair": (3, (4,)),
    "items": [1, 2.5],
    "table": {"a": (1,)},
    "dtype": jnp.bfloat16,
    "inner": nn.Dense(2, name="own", dtype=jnp.float32),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_every_plain_field_comes_back():
    """Fails if a tuple becomes a list, a dtype text, or a submodule loses its name."""
    module = Every(**FULL)
    description = json.loads(json.dumps(describe_module(module)))
    built = build_module(description)
    assert type(built) is Every
    for name, value in FULL.items():
        found = getattr(built, name)
        assert type(found) is type(value) or name == "dtype"
        assert found == value
    assert built.inner.name == "own"
    assert built.activation is nn.relu


@pytest.mark.parametrize(
    "module",
    [
        MLP(features=3, hidden=(5,)),
        CNN(channels=(2, 3), hidden=4),
        ResNet(depth=8, widths=(2, 3, 4)),
    ],
)
def test_a_file_alone_gives_the_same_outputs(path, module):
    """Fails if a collection is lost, or a field takes its default."""
    inputs = jnp.linspace(0, 1, 2 * 8 * 8).reshape(2, 8, 8, 1)
    variables = module.init(jax.random.key(0), inputs)
    aeb.save_sparse(path, variables, module=module, metadata={"step": 3})
    model = aeb.load(path)
    assert model.module == module
    assert model.metadata == {"step": 3}
    assert set(model.variables) == set(variables)
    np.testing.assert_array_equal(model(inputs), module.apply(variables, inputs))
    assert f"module: {type(module).__module__}:{type(module).__name__}" in str(
        aeb.inspect_sparse(path)
    )
    assert len(repr(model)) < 250


def test_parameters_alone_are_taken_for_the_collection(path):
    """Fails if the tree of parameters is handed to `apply` as if it were all variables."""
    module, inputs = nn.Dense(2), jnp.ones((1, 3))
    params = module.init(jax.random.key(0), inputs)["params"]
    aeb.save_sparse(path, params, module=module)
    np.testing.assert_array_equal(aeb.load(path)(inputs), module.apply({"params": params}, inputs))


@pytest.mark.slow
def test_equal_runs_give_equal_bytes(written_twice):
    """Fails if a file holds the time, or anything in an order that changes by process."""
    one, two = written_twice(
        "import jax, jax.numpy as jnp, aeb; from aeb.models import MLP;"
        "net = MLP(features=3); variables = net.init(jax.random.key(0), jnp.ones((1, 4)));"
        "aeb.save_sparse(sys.argv[1], variables, module=net, metadata=dict.fromkeys(names, 1))",
        "a b",
        "b a",
    )
    assert one == two


def local_class():
    class Local(nn.Module):
        pass

    return Local()


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (Every(activation=nn.gelu), TypeError, "field 'activation' of Every holds <.*plain"),
        (Every(number=float("inf")), TypeError, "field 'number' of Every holds inf, a float"),
        (Every(table={1: 2}), TypeError, "field 'table' of Every .*a dict"),
        (Every(items=np.ones(2)), TypeError, "field 'items' .*ndarray"),
        (Every(dtype=float), TypeError, "field 'dtype' .*type"),
        (Every(inner=Every(number=np.float32(1))), TypeError, "field 'number' of Every"),
        (local_class(), ValueError, "class local_class.<locals>.Local of .* cannot be imported"),
        (
            nnx.Linear(1, 1, rngs=nnx.Rngs(0)),
            TypeError,
            "flax.linen.Module, got one of Linear.*like=",
        ),
        (MLP, TypeError, "instance of flax.linen.Module"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(path, module, error, message):
    """Fails if a field is dropped without a word, or written as text."""
    with pytest.raises(error, match=f"^module: .*{message}"):
        aeb.save_sparse(path, {"w": jnp.ones(1)}, module=module)
    assert not path.exists()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"class": "nothing_of_the_sort:Net"}, ImportError, "nothing_of_the_sort:Net cannot be im"),
        ({"class": "flax.linen:Nothing"}, ImportError, "flax.linen:Nothing cannot be imported"),
        ({"class": "subprocess:run"}, ValueError, "subprocess:run is no flax.linen.Module"),
        ({"class": "collections:OrderedDict"}, ValueError, "is no flax.linen.Module"),
        ({"fields": {"width": 3}}, ValueError, "Dense does not take the fields .*width"),
        ({"fields": {"features": {"type": "code"}}}, ValueError, "unknown type 'code'"),
    ],
)
def test_a_name_that_does_not_serve_is_told(path, changes, error, message):
    """Fails if anything but the class of a linen module is called, or an error is of Python's."""
    aeb.save_sparse(path, {"kernel": jnp.ones((1, 1))}, module=nn.Dense(1))
    arrays, header = read_archive(path, "sparse")
    write_archive(path, "sparse", arrays, header | {"module": header["module"] | changes})
    with pytest.raises(error, match=f"^module: .*{message}"):
        aeb.load(path)
    aeb.load_sparse(path)


def test_a_file_without_a_module_is_told(path):
    """Fails if the error is that of a missing key."""
    aeb.save_sparse(path, {"w": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"path: .* does not say which module .*load_sparse"):
        aeb.load(path)


class NNXNet(nnx.Module):
    """BatchNorm, dropout and a list of layers: statistics, streams and integer keys."""

    def __init__(self, width, *, depth=1, rngs):
        self.first = nnx.Linear(3, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.rest = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(depth)])

    def __call__(self, x):
        x = self.dropout(self.norm(self.first(x)))
        for layer in self.rest:
            x = layer(nnx.relu(x))
        return x


def test_an_nnx_module_comes_back_from_its_class_and_arguments(path):
    """Fails if running moments stay fresh or count as weights, dropout is on, or an argument is
    lost."""
    module = NNXNet(4, depth=2, rngs=nnx.Rngs(7))
    inputs = jnp.linspace(0, 1, 6).reshape(2, 3)
    module(inputs)
    module.eval()
    state = nnx.state(module, nnx.Not(nnx.RngState))
    recipe = functools.partial(NNXNet, 4, depth=2)
    aeb.save_sparse(path, state, module=recipe, metadata={"step": 3})
    model = aeb.load(path)
    np.testing.assert_array_equal(model(inputs), module(inputs))
    assert model.metadata == {"step": 3}
    assert f"module: {NNXNet.__module__}:NNXNet" in str(aeb.inspect_sparse(path))
    assert len(repr(model)) < 250
    # 3 x 4 + 4, scale and bias of BatchNorm, and twice 4 x 4 + 4; its 8 moments do not count.
    assert "64 values in 8 leaves" in repr(model)
    aeb.save_sparse(path, nnx.state(module, nnx.Param), module=recipe)
    with pytest.raises(ValueError, match=r"path: the weights do not fit .* leaf 'norm/mean' is no"):
        aeb.load(path)
    with pytest.raises(TypeError, match="leave rngs out"):
        aeb.save_sparse(path, state, module=functools.partial(NNXNet, 4, rngs=nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"an argument of NNXNet is .*a file holds plain values"):
        aeb.save_sparse(path, state, module=functools.partial(NNXNet, np.ones(2)))
    with pytest.raises(TypeError, match="partial of the class of an nnx module"):
        aeb.save_sparse(path, state, module=functools.partial(MLP, 3))
