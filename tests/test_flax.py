# SPDX-License-Identifier: Apache-2.0
"""Both Flax APIs in their own training loops, with BatchNorm and dropout.

Mutations that fail here: paths that end in `value`, a mask that clears BatchNorm's scale, a model
state that is sampled or dropped, a key that does not reach dropout.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from flax.training.train_state import TrainState
from jax.sharding import AxisType

import aeb
from aeb.tree import named_leaves, select


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(8, name="l1")(x)
        x = nn.BatchNorm(use_running_average=not train, name="bn")(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(3, name="l2")(x)


class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.l1 = nnx.Linear(6, 8, rngs=rngs)
        self.bn = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.l2 = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.l2(self.dropout(nnx.relu(self.bn(self.l1(x)))))


X = jax.random.normal(jax.random.key(0), (32, 6))
Y = jnp.argmax(X[:, :3], axis=-1)
ALGORITHM = aeb.empirical_bayes(
    aeb.sghmc(1e-3), aeb.spike_slab(v0=0.1, v1=1.0), sparsify=aeb.magnitude(0.75)
)
KEPT = {"l1/kernel": 12, "l2/kernel": 6}


def transform():
    return aeb.as_gradient_transformation(ALGORITHM, num_data=32, key=jax.random.key(4))


def kept(tree):
    return {path: int((leaf != 0).sum()) for path, leaf in select(tree).items()}


def mean_nll(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, Y).mean()


@pytest.mark.slow
def test_kernel_with_batch_norm_and_dropout():
    model = LinenNet()
    variables = model.init(jax.random.key(1), X, train=False)

    def loss_fn(params, batch, model_state, key):
        logits, new = model.apply(
            {"params": params, **model_state},
            batch,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return mean_nll(logits), new

    kernel = jax.jit(aeb.build_kernel(ALGORITHM, loss_fn, num_data=32, has_aux=True))
    start = {"batch_stats": variables["batch_stats"]}
    state = ALGORITHM.init(variables["params"], start)
    losses = []
    for key in jax.random.split(jax.random.key(2), 3):
        # One position under three keys: dropout gets its own.
        losses.append(float(kernel(state, X, key).loss))
    for key in jax.random.split(jax.random.key(3), 20):
        state = kernel(state, X, key)
    assert len(set(losses)) == 3
    assert kept(state.position) == KEPT
    mean = state.model_state["batch_stats"]["bn"]["mean"]
    assert not np.allclose(mean, start["batch_stats"]["bn"]["mean"])
    assert bool((state.position["bn"]["scale"] != 0).all())


def test_linen_train_state():
    model = LinenNet()
    variables = model.init(jax.random.key(1), X, train=False)
    stats = variables["batch_stats"]

    def loss_fn(params):
        logits = model.apply({"params": params, "batch_stats": stats}, X, train=False)
        return mean_nll(logits)

    state = TrainState.create(apply_fn=model.apply, params=variables["params"], tx=transform())

    @jax.jit
    def step(state):
        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        return state.apply_gradients(grads=grads), loss

    state, first = step(state)
    for _ in range(60):
        state, last = step(state)
    assert kept(state.params) == KEPT
    assert float(last) < float(first)


def test_a_train_state_goes_on_from_its_bytes():
    """To the bit. Mutation: the key left in the closure, which the bytes do not hold."""
    params = {"l1": {"kernel": X[:6, :4], "bias": jnp.zeros(4)}}

    def start(seed):
        tx = aeb.as_gradient_transformation(ALGORITHM, num_data=32, key=jax.random.key(seed))
        return TrainState.create(apply_fn=None, params=params, tx=tx)

    @jax.jit
    def advance(state):
        return state.apply_gradients(grads=jax.tree.map(jnp.sin, state.params))

    middle = advance(start(4))
    data = serialization.to_bytes(middle)
    expected = advance(middle)
    # Into a state of another chain, as a new process would have it.
    restored = advance(serialization.from_bytes(start(5), data))
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(restored), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


class Plain(nnx.Module):
    def __init__(self, split=()):
        normal = nnx.initializers.lecun_normal()
        kernel = nnx.with_partitioning(normal, split) if split else normal
        self.l1 = nnx.Linear(6, 8, kernel_init=kernel, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.l1(x)[:, :3]


def trained(compile_, model):
    """Two steps of an nnx optimizer; the kernel that comes of them."""
    optimizer = nnx.Optimizer(model, transform(), wrt=nnx.Param)

    @compile_
    def step(model, optimizer):
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        grads = jax.grad(lambda params: mean_nll(nnx.merge(graph, params, rest)(X)))(params)
        optimizer.update(model, grads)

    for _ in range(2):
        step(model, optimizer)
    return model.l1.kernel[...]


@pytest.mark.slow
def test_nnx_under_a_mesh():
    """Mutation: noise that depends on where a weight lies."""
    mesh = jax.make_mesh((2,), ("model",), axis_types=(AxisType.Auto,))
    expected = trained(nnx.jit, Plain())
    with jax.set_mesh(mesh):
        kernel = trained(nnx.jit, Plain(split=(None, "model")))
    assert int((kernel == 0).sum()) == 36
    assert kernel.sharding.shard_shape(kernel.shape) == (6, 4)
    np.testing.assert_allclose(np.asarray(kernel), np.asarray(expected), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.quickly_compiled
@pytest.mark.skipif(
    jax.__version_info__ < (0, 12), reason="this JAX cannot differentiate hijax variables"
)
def test_nnx_with_hijax_variables():
    """Not compiled: Flax 0.12.12 cannot differentiate hijax variables inside `nnx.jit`.

    Mutation: paths or shapes read off a variable that has no leaves of its own.
    """
    expected = trained(nnx.jit, Plain())
    with nnx.var_defaults(hijax=True):
        kernel = trained(lambda step: step, Plain())
    np.testing.assert_allclose(np.asarray(kernel), np.asarray(expected), rtol=1e-5, atol=1e-7)


def test_nnx_optimizer():
    model = NNXNet(nnx.Rngs(1))
    optimizer = nnx.Optimizer(model, transform(), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda m: mean_nll(m(X)))(model)
        optimizer.update(model, grads, value=loss)
        return loss

    for _ in range(5):
        loss = step(model, optimizer)
    assert bool(jnp.isfinite(loss))
    assert kept(nnx.state(model, nnx.Param)) == KEPT
    assert not np.allclose(model.bn.mean[...], 0.0)


def test_nnx_state_in_the_kernel():
    """An nnx state is a pytree like any other; graph and other state ride along."""
    graph, params, rest = nnx.split(NNXNet(nnx.Rngs(1)), nnx.Param, ...)

    def loss_fn(params, batch, model_state, key):
        model = nnx.merge(graph, params, model_state, copy=True)
        nnx.reseed(model, default=key)
        loss = mean_nll(model(batch))
        return loss, nnx.state(model, nnx.Not(nnx.Param))

    kernel = jax.jit(aeb.build_kernel(ALGORITHM, loss_fn, num_data=32, has_aux=True))
    state = ALGORITHM.init(params, rest)
    new = kernel(state, X, jax.random.key(5))
    assert kept(new.position) == KEPT
    chex.assert_trees_all_equal_shapes_and_dtypes(new, state)


def test_path_rules_choose_the_same_tensors_in_both():
    linen = LinenNet().init(jax.random.key(1), X, train=False)
    linen_params, nnx_params = linen["params"], nnx.state(NNXNet(nnx.Rngs(0)), nnx.Param)
    assert list(named_leaves(linen_params)) == list(named_leaves(nnx_params))
    assert list(named_leaves({"params": linen_params})) == list(named_leaves(nnx_params))
    for where in (None, r"^l\d/kernel$", r"bn", lambda path, leaf: leaf.ndim == 2):
        left = {path: leaf.shape for path, leaf in select(linen_params, where).items()}
        assert left == {p: leaf.shape for p, leaf in select(nnx_params, where).items()}
        assert left


def test_pruning_all_variables_leaves_the_statistics_alone():
    """Mutation: statistics ranked with the weights. All running means at 0 would go first."""
    variables = LinenNet().init(jax.random.key(1), X, train=False)
    state = nnx.state(NNXNet(nnx.Rngs(1)))
    for tree, left in ((variables, "batch_stats/bn/mean"), (state, "bn/mean")):
        pruned = aeb.prune(tree, 0.75)
        before, after = named_leaves(tree), named_leaves(pruned)
        assert aeb.sparsity_report(pruned, None).sparsity == 0.75
        assert left in aeb.sparsity_report(pruned).left
        for path in aeb.sparsity_report(pruned).left:
            assert after[path] is before[path]


def test_statistics_among_the_parameters_are_refused():
    """Mutation: the check dropped. The sampler would add noise to running means."""
    variables = LinenNet().init(jax.random.key(1), X, train=False)
    for tree in (variables, nnx.state(NNXNet(nnx.Rngs(1)))):
        with pytest.raises(ValueError, match=r"params: .* no parameters .*bn/mean.* model_state"):
            ALGORITHM.init(tree)
