# SPDX-License-Identifier: Apache-2.0
"""Eight virtual devices give the chain of one, by pmap, shard_map and data_parallel.

Mutations that fail here: a pmean left out (each shard its own chain), the pcast left out (under
shard_map the gradient is eight times too large), noise drawn per shard.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from problems import NUM_DATA, cross_entropy, data, half_mse, two_layers

import aeb

CASES = {
    "categorical": ({"sparsify": aeb.magnitude(0.5, scope="global")}, cross_entropy),
    "gaussian": ({"likelihood": "gaussian"}, half_mse),
}
STEPS = 8


@pytest.fixture(scope="module")
def mesh():
    assert jax.device_count() >= 8
    return jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))


def with_batch_norm(loss_fn):
    """A model state of the shape of BatchNorm's: a running mean, and a counter."""

    def loss_with_state(params, batch, model_state, key):
        mean = 0.9 * model_state["mean"] + 0.1 * jnp.mean(batch["x"], axis=0)
        return loss_fn(params, batch), {"mean": mean, "count": model_state["count"] + 1}

    return loss_with_state


def build(case, **options):
    ingredients, loss_fn = CASES[case]
    algorithm = aeb.empirical_bayes(aeb.sghmc(1e-3), aeb.spike_slab(0.1, 1.0), **ingredients)
    kernel = aeb.build_kernel(
        algorithm, with_batch_norm(loss_fn), num_data=NUM_DATA, has_aux=True, **options
    )
    state = algorithm.init(two_layers(), {"mean": jnp.zeros(6), "count": jnp.int32(0)})
    return kernel, state


def run(step, state):
    for k in range(STEPS):
        state = step(state, data(), jax.random.key(k))
    return jax.device_get(state)


def by_pmap(case, mesh):
    kernel, state = build(case, axis_name="data")
    mapped = jax.pmap(kernel, axis_name="data", in_axes=(None, 0, None), out_axes=None)

    def step(state, batch, key):
        shards = jax.tree.map(lambda x: x.reshape(8, -1, *x.shape[1:]), batch)
        return mapped(state, shards, key)

    return run(step, state)


def by_shard_map(case, mesh, check_vma=True):
    kernel, state = build(case, axis_name="data")
    everywhere, split = PartitionSpec(), PartitionSpec("data")
    step = jax.shard_map(
        kernel,
        mesh=mesh,
        in_specs=(everywhere, split, everywhere),
        out_specs=everywhere,
        check_vma=check_vma,
    )
    return run(jax.jit(step), state)


def by_unchecked_shard_map(case, mesh):
    return by_shard_map(case, mesh, check_vma=False)


def by_data_parallel(case, mesh):
    kernel, state = build(case)
    return run(aeb.data_parallel(kernel, mesh), state)


@pytest.mark.parametrize(
    ("road", "case"),
    [
        pytest.param(by_pmap, "categorical", marks=pytest.mark.slow),
        pytest.param(by_pmap, "gaussian", marks=pytest.mark.slow),
        pytest.param(by_shard_map, "categorical", marks=pytest.mark.slow),
        (by_shard_map, "gaussian"),
        pytest.param(by_unchecked_shard_map, "categorical", marks=pytest.mark.slow),
        pytest.param(by_unchecked_shard_map, "gaussian", marks=pytest.mark.slow),
        (by_data_parallel, "categorical"),
        pytest.param(by_data_parallel, "gaussian", marks=pytest.mark.slow),
    ],
)
def test_eight_devices_give_the_chain_of_one(case, road, mesh):
    kernel, state = build(case)
    alone = run(jax.jit(kernel), state)
    together = road(case, mesh)
    chex.assert_trees_all_close(alone, together, rtol=2e-4, atol=2e-5)
    assert int(together.model_state["count"]) == STEPS


def test_each_shard_has_its_own_dropout_and_a_key_rides_in_the_state(mesh):
    """The loss draws from its key; eight shards that drew alike would average to one draw."""
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.gaussian())

    def loss_fn(params, batch, model_state, key):
        return jax.random.uniform(key) + 0 * jnp.sum(params), model_state

    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=8, has_aux=True, axis_name="data")
    mapped = jax.pmap(kernel, axis_name="data", in_axes=(None, 0, None), out_axes=None)
    state = algorithm.init(jnp.ones(2), {"rng": jax.random.key(7)})
    new = mapped(state, jnp.ones((8, 1)), jax.random.key(0))
    loss_key = aeb.kernel.step_keys(jax.random.key(0))[1]
    draws = [float(jax.random.uniform(jax.random.fold_in(loss_key, i))) for i in range(8)]
    np.testing.assert_allclose(float(new.loss), np.mean(draws), rtol=1e-6)
    assert jax.random.key_data(new.model_state["rng"]).tolist() == [0, 7]


def test_the_batch_and_the_chains_are_spread(mesh):
    algorithm = aeb.empirical_bayes(aeb.sghmc(1e-3), aeb.spike_slab(0.1, 1.0))
    seen = []

    def loss_fn(params, batch):
        jax.debug.inspect_array_sharding(batch["x"], callback=seen.append)
        return cross_entropy(params, batch)

    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=NUM_DATA)
    state = algorithm.init(two_layers())
    new = aeb.data_parallel(kernel, mesh)(state, data(), jax.random.key(0))
    assert seen[0].shard_shape((NUM_DATA, 6)) == (NUM_DATA // 8, 6)
    assert new.position["Dense_0"]["kernel"].sharding.is_fully_replicated
    plain = aeb.build_kernel(algorithm, cross_entropy, num_data=NUM_DATA)
    states = jax.vmap(algorithm.init)(jax.tree.map(lambda x: jnp.stack([x] * 8), two_layers()))
    keys = jax.random.split(jax.random.key(3), 8)
    new = aeb.chains(plain, mesh=mesh)(states, data(), keys)
    assert new.position["Dense_0"]["kernel"].sharding.shard_shape((8, 6, 5)) == (1, 6, 5)


@pytest.mark.parametrize("same_batch", [pytest.param(True, marks=pytest.mark.slow), False])
def test_chains_over_a_mesh_equal_chains_on_one_device(mesh, same_batch):
    algorithm = aeb.empirical_bayes(aeb.sghmc(1e-3), aeb.spike_slab(0.1, 1.0))
    kernel = aeb.build_kernel(algorithm, cross_entropy, num_data=NUM_DATA)
    starts = jax.tree.map(lambda x: jnp.stack([x * c for c in range(1, 9)]), two_layers())
    states = jax.vmap(algorithm.init)(starts)
    batches = jax.tree.map(lambda x: x.reshape(8, 4, *x.shape[1:]), data())

    def keys():
        return jax.random.split(jax.random.key(3), 8)

    batch = data() if same_batch else batches
    here = aeb.chains(kernel, same_batch=same_batch)(states, batch, keys())
    there = aeb.chains(kernel, mesh=mesh, same_batch=same_batch)(states, batch, keys())
    chex.assert_trees_all_close(here, there, rtol=2e-4, atol=2e-5)
    for c in range(8):
        one = jax.tree.map(lambda x, c=c: x[c], states)
        row = batch if same_batch else jax.tree.map(lambda x, c=c: x[c], batch)
        alone = jax.jit(kernel)(one, row, keys()[c])
        mine = jax.tree.map(lambda x, c=c: x[c], here)
        chex.assert_trees_all_close(alone, mine, rtol=2e-4, atol=2e-5)
