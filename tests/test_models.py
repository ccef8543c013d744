# SPDX-License-Identifier: Apache-2.0
"""The networks: the parameters they have by name, the law they start from, what `train` changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.models import CNN, CNNBN, MLP, ResNet
from aeb.tree import named_leaves, select

BLOCK_CONVS = r"block.*/conv.*/kernel$"
ZOO = {
    "mlp": (MLP(), (13,)),
    "cnn": (CNN(), (28, 28, 1)),
    "small": (CNN(channels=(16, 32), kernel_size=3, hidden=64), (8, 8, 1)),
    "cnnbn": (CNNBN(), (28, 28, 1)),
    "resnet": (ResNet(), (32, 32, 3)),
}


def shapes(module, shape):
    image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), image)


def draw(module, shape):
    """Fill the variables by numpy: compiling `init` takes far longer than the test."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.1, 1, leaf.shape) / leaf.shape[0], leaf.dtype),
        shapes(module, shape),
    )


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "parameters", "layers"),
    [
        ("mlp", 13 * 50 + 50 + 50 + 1, "fc1 head"),
        ("cnn", 681_506, "conv1 conv2 fc1 head"),
        ("small", 160 + 4_640 + 8_256 + 650, "conv1 conv2 fc1 head"),
        ("cnnbn", 493_772, "bn bn_image conv1 conv2 fc1 fc2 head"),
    ],
)
def test_parameters_and_layers(name, parameters, layers):
    """Fails if a width, a kernel, a padding (by the size of fc1) or a name changes."""
    params = shapes(*ZOO[name])["params"]
    assert count(params) == parameters
    assert sorted(params) == layers.split()


@pytest.mark.parametrize(("depth", "blocks"), [(8, 1), (20, 3), (32, 5)])
def test_resnet_parameters(depth, blocks):
    """Fails if a block or shortcut is missing, convolutions get a bias, or shortcuts are sparse."""
    params = shapes(ResNet(depth=depth), (32, 32, 3))["params"]
    convs = 9 * sum(n * n * (2 * blocks - (n > 16)) + (n // 2) * n * (n > 16) for n in (16, 32, 64))
    norms = 2 * sum(n * 2 * blocks for n in (16, 32, 64))
    stem, shortcuts = 9 * 3 * 16 + 2 * 16, 16 * 32 + 32 * 64 + 2 * (32 + 64)
    sparse = select(params, BLOCK_CONVS)
    assert count(sparse) == convs
    assert count(params) == convs + norms + stem + shortcuts + 64 * 10 + 10
    assert len(sparse) == 6 * blocks
    if depth == 20:
        assert (count(sparse), count(params)) == (267_264, 272_474)
        assert {"block1_1/conv1/kernel", "block3_3/conv2/kernel"} <= sparse.keys()
        assert {"block2_1/shortcut/kernel", "stem/kernel", "head/kernel"} <= select(
            params, r"kernel$"
        ).keys() - sparse.keys()


@pytest.mark.parametrize("depth", [2, 18, 19, 21, -4])
def test_resnet_refuses_a_depth_that_is_not_6n_plus_2(depth):
    """Fails if the depth is rounded, or 2 passes for a network of no blocks."""
    with pytest.raises(ValueError, match=r"depth.*6n \+ 2"):
        shapes(ResNet(depth=depth), (32, 32, 3))


def test_bad_fields_are_named():
    """Fails if a fourth stage is dropped silently, or an even kernel shifts the image."""
    with pytest.raises(ValueError, match="widths"):
        shapes(ResNet(widths=(16, 32)), (32, 32, 3))
    with pytest.raises(ValueError, match="kernel_size"):
        shapes(CNN(kernel_size=4), (28, 28, 1))


def test_resnet_starts_from_hes_normal_law(key):
    """Fails if fan-in is taken for fan-out (the stem, the shortcut), or the law is truncated."""
    image = jnp.ones((1, 32, 32, 3))
    chosen = r"(stem|block2_1/conv1|block2_1/shortcut|block3_1/conv2|head)/kernel$"
    # Only these, so that XLA compiles no other draw.
    kernels = jax.jit(lambda key: select(ResNet(depth=8).init(key, image)["params"], chosen))(key)
    head, wide = kernels.pop("head/kernel"), kernels["block3_1/conv2/kernel"]
    assert len(kernels) == 4
    for path, kernel in kernels.items():
        variance = 2 / (kernel.shape[0] * kernel.shape[1] * kernel.shape[3])
        error = 5 * variance * np.sqrt(2 / kernel.size)
        assert abs(float((kernel**2).mean()) - variance) < error, path
    assert float(abs(wide).max()) > 3.5 * np.sqrt(2 / (9 * 64))
    assert 0.95 / 8 < float(abs(head).max()) <= 1 / 8


@pytest.mark.parametrize("name", ["cnnbn", "resnet"])
def test_batch_norm_keeps_a_tenth_of_each_batch(name, key):
    """Fails if the momentum is not 0.9, or `train` does not reach a BatchNorm."""
    module, shape = ZOO[name]
    module = module.clone(depth=8) if name == "resnet" else module
    images = 2 + 3 * jax.random.normal(key, (4, *shape))
    variables = draw(module, shape)

    @jax.jit
    def train(variables, images):
        rngs = {"dropout": jax.random.key(2)}
        return module.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)[1]

    new = train(variables, images)
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), variables["batch_stats"], new["batch_stats"]
    )
    assert all(jax.tree.leaves(moved)), moved
    if name == "cnnbn":
        old, stats = (tree["batch_stats"]["bn_image"] for tree in (variables, new))
        pixels = np.asarray(images, np.float64)
        for name, moment in (("mean", pixels.mean()), ("var", pixels.var())):
            np.testing.assert_allclose(stats[name], 0.9 * old[name] + 0.1 * moment, rtol=1e-4)


@pytest.mark.parametrize("name", ["small", "cnnbn"])
def test_dropout_follows_train(name, key):
    """Fails if dropout is always on or never on."""
    module, shape = ZOO[name]
    module = module.clone(dropout=0.5) if name == "small" else module
    images = jax.random.normal(key, (2, *shape))
    variables = draw(module, shape)

    @jax.jit
    def train(key):
        return module.apply(
            variables, images, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )[0]

    assert not jnp.array_equal(train(jax.random.key(2)), train(jax.random.key(3)))
    jax.eval_shape(module.apply, variables, images)  # flax asks for a key where dropout is on


@pytest.mark.parametrize("name", ZOO)
def test_bfloat16_computes_low_and_keeps_float32_parameters(name, key):
    """Fails if a layer is left out of `dtype`: its output would come back as float32."""
    module, shape = ZOO[name]
    module = module.clone(depth=8) if name == "resnet" else module
    images = jax.random.normal(key, (2, *shape))
    variables = draw(module, shape)
    low = module.clone(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(low, shape))} == {jnp.dtype("float32")}
    found, expected = jax.jit(lambda v, x: (low.apply(v, x), module.apply(v, x)))(variables, images)
    assert (found.dtype, expected.dtype) == (jnp.bfloat16, jnp.float32)
    assert found.shape == (2, module.features if name == "mlp" else 10)
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=0.1 * scale)


def test_batch_norm_hands_on_the_low_precision():
    """Fails if the float32 of its sums leaks into the stream between the blocks."""
    module = ResNet(depth=8, dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    _, seen = jax.eval_shape(
        lambda variables, x: module.apply(variables, x, capture_intermediates=True),
        shapes(module, (32, 32, 3)),
        images,
    )
    blocks = select(seen["intermediates"], r"block\d_1/__call__/0$")
    assert len(blocks) == 3
    assert {leaf.dtype for leaf in blocks.values()} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(("name", "convs"), [("cnn", 2), ("cnnbn", 2), ("resnet", 21)])
def test_a_convolution_of_ones_own_is_used_everywhere(name, convs):
    """Fails if one layer does not get the field."""
    calls = []

    def conv(*args, **kwargs):
        calls.append(1)
        return jax.lax.conv_general_dilated(*args, **kwargs)

    module, shape = ZOO[name]
    shapes(module.clone(conv_general_dilated=conv), shape)
    assert len(calls) == convs


def test_paths_are_those_of_the_rules():
    """Fails if linen's own numbering (`Dense_0`) comes back for any leaf."""
    for module, shape in ZOO.values():
        assert not [p for p in named_leaves(shapes(module, shape)["params"]) if p[0].isupper()]
