# SPDX-License-Identifier: Apache-2.0
"""The losses against numpy, and the two forms of the contract."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.data import normalizer
from aeb.models import CNN, CNNBN, MLP, make_loss


class Scale(nn.Module):
    """Outputs `scale * x`: a network whose loss is known; counts its training calls."""

    @nn.compact
    def __call__(self, x, *, train=False):
        calls = self.variable("count", "calls", lambda: jnp.zeros(())) if train else None
        if calls is not None and not self.is_initializing():
            calls.value = calls.value + 1
        return x * self.param("scale", nn.initializers.ones, ())


PARAMS = {"scale": jnp.array(2.0)}


def test_categorical_is_the_mean_cross_entropy():
    """Fails if the mean is a sum, the sign turns, or the logarithm is not in nats."""
    logits = np.random.default_rng(0).normal(size=(5, 4))
    labels = np.array([0, 3, 1, 1, 2])
    probabilities = np.exp(2 * logits) / np.exp(2 * logits).sum(1, keepdims=True)
    expected = -np.log(probabilities[np.arange(5), labels]).mean()
    batch = {"image": jnp.asarray(logits, jnp.float32), "label": jnp.asarray(labels, jnp.int32)}
    loss = make_loss(Scale())(PARAMS, batch)
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("outputs", "target"), [((6, 1), (6,)), ((6,), (6,)), ((6, 1), (6, 1)), ((6, 3), (6, 3))]
)
def test_gaussian_is_half_the_mean_squared_error(outputs, target):
    """Fails if the half is lost, [B, 1] against [B] broadcasts, or K outputs are averaged."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=outputs), rng.normal(size=target)
    expected = ((y - 2 * x.reshape(target)) ** 2).sum() / 6 / 2
    batch = {"features": jnp.asarray(x, jnp.float32), "target": jnp.asarray(y, jnp.float32)}
    loss = make_loss(Scale(), likelihood="gaussian")(PARAMS, batch)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    """Fails if a target broadcasts against the outputs."""
    with pytest.raises(ValueError, match=r"target: shape \(3,\)"):
        make_loss(Scale(), likelihood="gaussian")(
            PARAMS, {"features": jnp.ones((6, 1)), "target": jnp.ones(3)}
        )
    with pytest.raises(ValueError, match=r"label: shape \(5, 1\)"):
        make_loss(Scale())(
            PARAMS, {"image": jnp.ones((5, 4)), "label": jnp.zeros((5, 1), jnp.int32)}
        )


def test_bad_arguments_are_named():
    """Fails if a likelihood is guessed, or an augmentation never gets a key."""
    with pytest.raises(ValueError, match=r"likelihood.*categorical, gaussian"):
        make_loss(Scale(), likelihood="poisson")
    with pytest.raises(ValueError, match=r"augment.*has_aux=True"):
        make_loss(Scale(), augment=lambda key, x: x)


def test_low_precision_outputs_are_scored_in_float32():
    """Fails if the log-softmax of bfloat16 logits stays in bfloat16."""
    batch = {"image": jnp.ones((2, 4)), "label": jnp.zeros(2, jnp.int32)}
    module = MLP(features=10, dtype=jnp.bfloat16)
    params = jax.eval_shape(module.init, jax.random.key(0), batch["image"])["params"]
    loss, grads = jax.eval_shape(jax.value_and_grad(make_loss(module)), params, batch)
    assert {x.dtype for x in jax.tree.leaves((loss, grads))} == {jnp.dtype("float32")}


def test_model_state_is_carried_and_keeps_its_structure(key):
    """Fails if `train` is not set, or the state is dropped or renamed on its way."""
    loss = make_loss(Scale(), has_aux=True)
    batch = {"image": jnp.ones((2, 4)), "label": jnp.zeros(2, jnp.int32)}
    state = {"count": {"calls": jnp.array(4.0)}}
    value, new = loss(PARAMS, batch, state, key)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert new["count"]["calls"] == 5
    np.testing.assert_allclose(value, np.log(4), rtol=1e-5)


def test_preprocess_comes_before_augment(key):
    """Fails if the order is turned, or one of the two is not applied."""
    seen = []

    def augment(key, images):
        seen.append(images.dtype)
        return images + 1

    loss = make_loss(
        Scale(), has_aux=True, preprocess=lambda x: x.astype(jnp.float32) * 3, augment=augment
    )
    batch = {"image": jnp.array([[1, 0]], jnp.uint8), "label": jnp.zeros(1, jnp.int32)}
    value, _ = loss(PARAMS, batch, {"count": {"calls": jnp.zeros(())}}, key)
    assert seen == [jnp.float32]
    np.testing.assert_allclose(value, np.log1p(np.exp(2 * (1 - 4))), rtol=1e-4)


def test_dropout_and_augmentation_draw_apart(key):
    """Fails if one key serves both: the augmentation would see the key of the dropout."""
    keys = []

    class Peek(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            keys.append(jax.random.key_data(self.make_rng("dropout")))
            return x * self.param("scale", nn.initializers.ones, ())

    def augment(key, images):
        keys.append(jax.random.bits(key, (2,)))  # consumes the key, so a second use raises
        return images

    loss = make_loss(Peek(), has_aux=True, augment=augment)
    batch = {"image": jnp.ones((1, 2)), "label": jnp.zeros(1, jnp.int32)}
    loss(PARAMS, batch, (), key)
    loss(PARAMS, batch, (), jax.random.key(9))
    assert len({tuple(np.asarray(k).tolist()) for k in keys}) == 4


SMALL = CNN(channels=(4, 4), kernel_size=3, hidden=8, dropout=0.5)


@pytest.mark.parametrize(("module", "shape"), [(SMALL, (8, 8, 1)), (CNNBN(), (28, 28, 1))])
def test_rides_in_a_scan(module, shape):
    """Fails if the state changes structure or dtype on its way, `()` above all."""
    batch = {
        "image": jax.ShapeDtypeStruct((2, *shape), jnp.uint8),
        "label": jax.ShapeDtypeStruct((2,), jnp.int32),
    }
    image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(1), image)
    params, state = variables.pop("params"), variables or ()
    loss = make_loss(module, has_aux=True, preprocess=normalizer("mnist"))

    def run(params, batch, state, keys):
        gradient = jax.grad(loss, has_aux=True)
        return jax.lax.scan(lambda s, k: gradient(params, batch, s, k)[::-1], state, keys)

    new, grads = jax.eval_shape(run, params, batch, state, jax.random.split(jax.random.key(2), 3))
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert jax.tree.structure(grads) == jax.tree.structure(params)


def test_gradient_reaches_every_parameter(key):
    """Fails if a layer's output is dropped or the gradient stopped."""
    batch = {"image": jax.random.normal(key, (8, 8, 8, 1)), "label": jnp.arange(8) % 3}
    shapes = jax.eval_shape(SMALL.init, jax.random.key(1), batch["image"])["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)
    grads, _ = jax.jit(jax.grad(make_loss(SMALL, has_aux=True), has_aux=True))(
        params, batch, (), jax.random.key(2)
    )
    assert all(bool(jnp.isfinite(g).all() and (g != 0).any()) for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("likelihood", "batch", "says"),
    [
        ("categorical", {"x": 1, "y": 2}, "reads 'image' and 'label' from it, got keys 'x', 'y'"),
        ("categorical", {"image": 1}, "got keys 'image';"),
        ("categorical", (1, 2), "got tuple; pass the data as a dict"),
        ("gaussian", {"image": 1, "label": 2}, "reads 'features' and 'target'"),
    ],
)
def test_a_batch_of_other_names_is_told(likelihood, batch, says):
    """Mutation: the check dropped, for `KeyError: 'image'`."""
    with pytest.raises(ValueError, match=f"^batch: .*{says}"):
        make_loss(Scale(), likelihood=likelihood)(PARAMS, batch)


def test_a_module_that_takes_no_train_is_told_before_the_first_step():
    """Mutation: the check dropped, for a TypeError of Flax about an unexpected keyword."""

    class NeedsTrain(nn.Module):
        def __call__(self, x, train):
            return x

    class TakesAny(nn.Module):
        def __call__(self, x, **options):
            return x

    with pytest.raises(TypeError, match=r"^module: .*Dense.__call__ takes 'inputs' alone; give it"):
        make_loss(nn.Dense(3), has_aux=True)
    with pytest.raises(
        TypeError, match=r"^module: NeedsTrain.__call__ needs `train`.*has_aux=True"
    ):
        make_loss(NeedsTrain())
    make_loss(nn.Dense(3))
    make_loss(NeedsTrain(), has_aux=True)
    make_loss(TakesAny(), has_aux=True)
