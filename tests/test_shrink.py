# SPDX-License-Identifier: Apache-2.0
"""Smaller networks give the outputs of the pruned ones, and what cannot be cut is refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aeb
from aeb.models import CNN, MLP, ResNet


class ValidNet(nn.Module):
    """A user's: convolutions without borders, BatchNorm before and after what is not linear."""

    @nn.compact
    def __call__(self, x, training):
        x = nn.Conv(6, (3, 3), padding="VALID", use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not training)(x))
        x = nn.pool(x, 0.0, jax.lax.add, (2, 2), (2, 2), "VALID") / 4.0
        x = nn.gelu(nn.Conv(5, (2, 2), padding="VALID")(x))
        x = nn.BatchNorm(use_running_average=not training)(x)
        x = nn.Conv(4, (1, 1), use_bias=False)(x)
        x = nn.tanh(nn.BatchNorm(use_running_average=not training)(x))
        return nn.Dense(3)(x.reshape(len(x), -1))


def filled(tree, seed=0):
    """Draw every weight anew, so that no bias and no moment is at its default."""
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(
            np.abs(rng.normal(size=leaf.shape)) + 0.5
            if "var" in jax.tree_util.keystr(path)
            else rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])),
            leaf.dtype,
        ),
        tree,
    )


def variables_of(net, inputs, **options):
    return filled(jax.eval_shape(lambda: net.init(jax.random.key(0), inputs, **options)))


def zeroed(variables, units):
    """Set the given units of the given kernels to zero."""
    named = aeb.tree.named_leaves(variables)
    new = {}
    for path, which in units.items():
        (full,) = (name for name in named if name.endswith(f"{path}/kernel"))
        new[full] = np.array(named[full])
        new[full][..., which] = 0.0
    return aeb.tree.replace_leaves(variables, new)


def close(small, whole, inputs, tolerance=1e-6, **options):
    one = jax.jit(whole)(inputs)
    two = jax.jit(small)(inputs)
    np.testing.assert_allclose(two, one, rtol=0, atol=tolerance * float(jnp.abs(one).max()))


def after(shrunk):
    return {layer.paths[0].removesuffix("/kernel"): layer.after for layer in shrunk.layers}


@pytest.fixture
def images():
    return jax.random.normal(jax.random.key(5), (3, 8, 8, 1))


def test_a_chain_of_dense_layers():
    """Mutations: the constants dropped; added twice; a bias left at its old width."""
    inputs = jax.random.normal(jax.random.key(1), (4, 6))
    net = MLP(hidden=(8, 7), features=2)
    variables = zeroed(variables_of(net, inputs), {"fc1": [0, 3, 4], "fc2": [6]})
    small = aeb.shrink(net, variables, inputs[:1])
    assert after(small) == {"fc1": 5, "fc2": 6, "head": 2}
    assert small.variables["params"]["fc2"]["kernel"].shape == (5, 6)
    assert str(small).splitlines()[0].split() == ["fc1/kernel", "8", "->", "5"]
    assert repr(small) == "Shrunk(Resized, 17 units -> 13)"
    close(
        lambda x: small.model.apply(small.variables, x), lambda x: net.apply(variables, x), inputs
    )


def test_a_function_in_double_precision(x64):
    """Mutations: what is folded rounded to float32; units that nobody reads kept."""
    rng = np.random.default_rng(0)
    params = {
        "a": jnp.asarray(rng.normal(size=(5, 9))).at[:, :4].set(0.0),
        "a0": jnp.asarray(rng.normal(size=9)),
        "b": jnp.asarray(rng.normal(size=(9, 6))).at[8].set(0.0),  # nobody reads unit 8 of a
        "b0": jnp.asarray(rng.normal(size=6)),
        "c": jnp.asarray(rng.normal(size=(6, 2))).at[1].set(0.0),  # nor unit 1 of b
    }
    # Unit 7 of a is read by unit 1 of b alone, and goes once that is gone.
    params["b"] = params["b"].at[7].set(0.0).at[7, 1].set(1.0)

    def net(params, x):
        hidden = jnp.tanh(x @ params["a"] + params["a0"][None])
        return jax.nn.silu(hidden @ params["b"] + params["b0"][None]) @ params["c"]

    inputs = jnp.asarray(rng.normal(size=(4, 5)))
    small = aeb.shrink(net, params, inputs)
    assert small.model is net
    assert [layer.after for layer in small.layers] == [3, 5, 2]
    assert small.variables["b0"].shape == (5,)
    close(lambda x: net(small.variables, x), lambda x: net(params, x), inputs, 1e-12)


def test_zeros_beside_an_image_are_no_constant(images):
    """A border sees fewer of the constants, so that one unit stays to carry them.

    Mutations: `padded` never set; the weights of the unit that stays left as they were; rows of the
    dense layer after the images cut in the wrong order.
    """
    net = CNN(channels=(5, 6), kernel_size=3, hidden=7)
    variables = zeroed(
        variables_of(net, images), {"conv1": [0, 1, 4], "conv2": [1, 2], "fc1": [0, 5]}
    )
    bias = variables["params"]["conv1"]["bias"]
    variables["params"]["conv1"]["bias"] = bias.at[:5].set(jnp.array([0.7, 0.3, 0.1, 0.2, -1.0]))
    small = aeb.shrink(net, variables, images)
    assert after(small) == {"conv1": 3, "conv2": 4, "fc1": 5, "head": 10}
    assert small.layers[0].why == "one carries a constant that no bias takes up"
    close(
        lambda x: small.model.apply(small.variables, x), lambda x: net.apply(variables, x), images
    )


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_batch_norm_takes_up_what_its_convolution_lost(images):
    """Mutations: added to the mean, not taken off; BatchNorm's moments left at their old width."""
    net = ValidNet()
    variables = zeroed(
        variables_of(net, images, training=False), {"Conv_0": [0, 1, 4], "Conv_1": [1, 2]}
    )
    variables["params"]["BatchNorm_0"]["bias"] = jnp.linspace(0.5, 1.0, 6)
    small = aeb.shrink(net, variables, images)
    assert after(small) == {"Conv_0": 3, "Conv_1": 3, "Conv_2": 4, "Dense_0": 3}
    assert small.variables["batch_stats"]["BatchNorm_0"]["mean"].shape == (3,)

    def apply(module, variables):
        return lambda x: module.apply(variables, x, training=False)

    close(apply(small.model, small.variables), apply(net, variables), images)


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_a_residual_network():
    """Between the convolutions of a block units go freely; along the sum, those zero in all layers.

    Mutations: labels of a sum not joined; units that are zero in one layer of a sum alone cut.
    """
    images = jax.random.normal(jax.random.key(5), (3, 8, 8, 3))
    net = ResNet(depth=8, widths=(4, 5, 6))
    units = {
        "block1_1/conv1": [0, 1, 2],
        "block3_1/conv1": [3],
        "stem": [2],  # with the next one
        "block1_1/conv2": [2],
        "block3_1/conv2": [2],
        "block3_1/shortcut": [2, 4],
    }
    variables = variables_of(net, images)
    # Without the shifts of BatchNorm, which give constants that no bias takes up.
    named = aeb.tree.named_leaves(variables)
    shifts = {path: -jnp.abs(leaf) - 1 for path, leaf in named.items() if "bn1/bias" in path}
    variables = zeroed(aeb.tree.replace_leaves(variables, shifts), units)
    small = aeb.shrink(net, variables, images)
    assert after(small) == {
        "stem": 4,
        "block1_1/conv1": 1,
        "block2_1/conv1": 5,
        "block2_1/conv2": 5,
        "block3_1/conv1": 5,
        "block3_1/conv2": 5,
        "head": 10,
    }
    whys = {layer.paths[0]: layer.why for layer in small.layers if layer.why}
    assert whys == {
        "stem/kernel": "one carries a constant that no bias takes up",
        "block3_1/conv2/kernel": "layers are added that do not have the same zeros",
    }
    close(
        lambda x: small.model.apply(small.variables, x), lambda x: net.apply(variables, x), images
    )


class NnxNet(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(1, 6, (3, 3), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.out = nnx.Linear(6 * 36, 3, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.norm(self.conv(x))).reshape(len(x), -1))


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_an_nnx_module(images):
    """Mutation: the module that was given is changed."""
    net = NnxNet()
    net.conv.kernel[...] = net.conv.kernel[...].at[..., 2:4].set(0.0)
    net.norm.bias[...] = jnp.arange(6.0) - 2.5
    net.eval()
    small = aeb.shrink(net, None, images)
    assert small.variables is None
    assert after(small) == {"conv": 4, "out": 3}
    assert small.model.out.kernel.shape == (4 * 36, 3)
    assert net.out.kernel.shape == (6 * 36, 3)
    close(small.model, net, images)


class Attention(nn.Module):
    """A block of a transformer, whose first layers make heads and features."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="embed")(x)
        x = x + nn.MultiHeadDotProductAttention(2, name="attend")(nn.LayerNorm()(x))
        return x + nn.Dense(8, name="down")(nn.gelu(nn.Dense(6, name="up")(x)))


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_a_transformer_loses_hidden_units():
    """Mutation: layers told apart by their kernel alone, which may make heads and features."""
    rows = jax.random.normal(jax.random.key(0), (2, 3, 4))
    net = Attention()
    variables = zeroed(variables_of(net, rows), {"up": [0, 4]})
    small = aeb.shrink(net, variables, rows)
    changed = {layer.paths[0]: layer.after for layer in small.layers if layer.after < layer.before}
    assert changed == {"up/kernel": 4}
    assert ("attend/query/kernel, axis 1", 2, 2) in {
        (layer.paths[0], layer.before, layer.after) for layer in small.layers
    }
    close(lambda x: small.model.apply(small.variables, x), lambda x: net.apply(variables, x), rows)


W = {"a": jnp.ones((3, 4)).at[:, 1].set(0.0), "b": jnp.ones((4, 2))}
G = {"a": jnp.ones((3, 4)), "g": jnp.ones((4, 2, 1)).at[1].set(0.0), "b": jnp.ones((4, 2))}


def grouped(w, x):
    """Apply a convolution in two groups between two dense layers."""
    hidden = jax.lax.conv_general_dilated(
        (x @ w["a"])[..., None], w["g"], (1,), "SAME", feature_group_count=2
    )
    return hidden[..., 0] @ w["b"]


@pytest.mark.parametrize(
    ("net", "params", "says"),
    [
        (lambda w, x: x @ w["a"] @ w["b"], W | {"a": jnp.ones((3, 4))}, "prune whole units"),
        (lambda w, x: jax.nn.softmax(x @ w["a"]) @ w["b"], W, "a: 'reduce_max' goes over them"),
        (lambda w, x: x @ w["a"], W, "a: they are outputs"),
        (lambda w, x: jnp.sort(x @ w["a"]) @ w["b"], W, "a: they go into 'sort'"),
        (lambda w, x: (x @ w["a"] + jnp.arange(4.0)[None]) @ w["b"], W, "a constant of the code"),
        (lambda w, x: (x @ w["a"] + x[:, :1]) @ w["b"], W, "one number that depends on inputs"),
        (lambda w, x: (x @ w["a"] + x @ w["c"]) @ w["b"], W | {"c": jnp.ones((3, 4))}, "not have"),
        (lambda w, x: (x @ w["a"]).reshape(-1, 2, 2)[:, 0] @ w["b"][:2], W, "a reshape splits"),
        (lambda w, x: (x @ w["a"]).reshape(-1, 4) @ w["b"], W, "does not run with fewer units"),
        (grouped, G, "g: a convolution with groups makes them"),
        (grouped, W | {"g": jnp.ones((4, 2, 1))}, "a: they go into a convolution with groups"),
    ],
)
def test_what_cannot_be_cut_is_refused(net, params, says):
    """Mutations: a pin left out, each in its turn; a convolution with groups not recorded."""
    with pytest.raises(ValueError, match=says):
        aeb.shrink(net, params, jnp.arange(6.0).reshape(2, 3))
