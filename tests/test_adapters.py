# SPDX-License-Identifier: Apache-2.0
"""The optax face inside optax's own wrappers, and the BlackJAX face inside BlackJAX's loops.

Mutations that fail here: the key not folded with the step (masked noise repeats), an update scaled
after the fact (zeros revive), overrides ignored by `step`, rows drawn from a spent key.
"""

import blackjax
import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import NUM_DATA, cross_entropy, data, two_layers

import aeb
from aeb.tree import named_leaves

PRIOR = aeb.spike_slab(v0=0.1, v1=1.0)
ALGORITHM = aeb.empirical_bayes(aeb.sghmc(1e-4), PRIOR, sparsify=aeb.magnitude(0.5))


def transform(key=0, algorithm=ALGORITHM):
    return aeb.as_gradient_transformation(algorithm, num_data=NUM_DATA, key=jax.random.key(key))


def train(tx, num_steps=6, params=None):
    params = two_layers() if params is None else params
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        grads = jax.grad(cross_entropy)(params, data())
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(num_steps):
        params, state = step(params, state)
    return params, state


@pytest.fixture
def lenient():
    """Adam and MultiSteps mix floats and counts, and MultiSteps selects between two states.

    The key checker takes a `where` over a key for a use of it.
    """
    with jax.numpy_dtype_promotion("standard"), jax.debug_key_reuse(False):
        yield


def zeros(tree):
    return {path: int((leaf == 0).sum()) for path, leaf in named_leaves(tree).items()}


PRUNED = {"Dense_0/bias": 0, "Dense_0/kernel": 15, "Dense_1/bias": 0, "Dense_1/kernel": 8}


def test_alone():
    params, state = train(transform())
    assert zeros(params) == PRUNED
    assert int(state.chain.step) == 6


def test_chain_after_clipping():
    assert zeros(train(optax.chain(optax.clip_by_global_norm(1.0), transform()))[0]) == PRUNED


def test_masked_prunes_its_part_only():
    mask = {"Dense_0": True, "Dense_1": False}
    tx = optax.chain(
        optax.masked(transform(), mask),
        optax.masked(optax.sgd(0.1), {"Dense_0": False, "Dense_1": True}),
    )
    assert zeros(train(tx)[0]) == {**PRUNED, "Dense_1/kernel": 0}


def test_partition_samples_one_part_and_optimises_the_other(lenient):
    tx = optax.partition(
        {"sampled": transform(), "adam": optax.adam(1e-2)},
        {"Dense_0": "sampled", "Dense_1": "adam"},
    )
    assert zeros(train(tx)[0]) == {**PRUNED, "Dense_1/kernel": 0}


def test_multi_steps_takes_one_step_in_k(lenient):
    params, state = train(optax.MultiSteps(transform(), every_k_schedule=3))
    assert zeros(params) == PRUNED
    assert int(state.inner_opt_state.chain.step) == 2


def test_inject_hyperparams_sets_the_step_size_from_outside():
    def make(step_size):
        algorithm = aeb.empirical_bayes(aeb.sgld(step_size, temperature=0.0), PRIOR, gain=0.0)
        return transform(algorithm=algorithm)

    tx = optax.inject_hyperparams(make, hyperparam_dtype=jnp.float32)(step_size=1e-4)
    params = two_layers()
    state = tx.init(params)
    grads = jax.grad(cross_entropy)(params, data())
    slow, _ = tx.update(grads, state, params)
    state.hyperparams["step_size"] = jnp.float32(3e-4)
    fast, _ = tx.update(grads, state, params)
    for a, b in zip(jax.tree.leaves(slow), jax.tree.leaves(fast), strict=True):
        np.testing.assert_allclose(3 * np.asarray(a), np.asarray(b), rtol=2e-3, atol=1e-7)


def test_inject_hyperparams_runs_a_schedule_in_a_compiled_step(lenient):
    """Mutation: the number of the first step kept for all."""

    def make(learning_rate):
        dynamics = aeb.sgld(learning_rate=learning_rate, temperature=0.0)
        return transform(algorithm=aeb.empirical_bayes(dynamics, PRIOR, gain=0.0))

    halved = optax.piecewise_constant_schedule(1e-3, {1: 0.5})
    tx = optax.inject_hyperparams(make, hyperparam_dtype=jnp.float32)(learning_rate=halved)
    params = two_layers()
    grads, update = jax.tree.map(jnp.cos, params), jax.jit(tx.update)
    first, state = update(grads, tx.init(params), params)
    second, _ = update(grads, state, params)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(np.asarray(a), 2 * np.asarray(b), rtol=2e-3, atol=1e-7)


def test_python_floats_are_weights():
    """In all three faces alike. Mutation: the floats put into the state as they are."""
    algorithm = aeb.empirical_bayes(aeb.sghmc(1e-3), PRIOR)
    start = {"slope": 0.5, "shift": -1.0}
    arrays = jax.tree.map(jnp.float32, start)
    state = algorithm.init(start)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    chex.assert_trees_all_equal(state, algorithm.init(arrays))
    tx = transform(algorithm=algorithm)
    grads = jax.tree.map(jnp.sin, arrays)
    floats, _ = tx.update(grads, tx.init(start), start)
    same, _ = tx.update(grads, tx.init(arrays), arrays)
    chex.assert_trees_all_equal(floats, same)


def test_unknown_extra_arguments_are_swallowed():
    params, tx = two_layers(), transform()
    updates, _ = tx.update(params, tx.init(params), params, value=1.0, grad_norm=3.0)
    assert zeros(optax.apply_updates(params, updates)) == PRUNED


def test_bfloat16_weights_land_on_exact_zero():
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), two_layers())
    tx = transform()
    updates, _ = tx.update(params, tx.init(params), params)
    new = optax.apply_updates(params, updates)
    assert zeros(new) == PRUNED
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(new))


def test_a_donated_state_leaves_the_callers_key_alone():
    key = jax.random.key(0)
    tx = aeb.as_gradient_transformation(ALGORITHM, num_data=NUM_DATA, key=key)
    params = two_layers()
    step = jax.jit(lambda state, grads: tx.update(grads, state, params), donate_argnums=0)
    step(tx.init(params), params)
    step(tx.init(params), params)
    assert not key.is_deleted()


@pytest.fixture(scope="module")
def sampler():
    return aeb.as_sampling_algorithm(ALGORITHM, cross_entropy, num_data=NUM_DATA)


def test_step_arguments_override_the_schedules(sampler):
    state = sampler.init(two_layers(), jax.random.key(3))

    def moved(**options):
        new = sampler.step(jax.random.key(1), state, data(), **options)
        return np.asarray(new.position["Dense_0"]["bias"])

    cold = moved(step_size=1e-4, temperature=0.0)
    np.testing.assert_allclose(moved(step_size=2e-4, temperature=0.0), 2 * cold, rtol=1e-5)
    hot = moved(temperature=1.0)
    # At T = 4 the noise doubles: the distance to the cold step doubles with it.
    np.testing.assert_allclose(moved(temperature=4.0) - cold, 2 * (hot - cold), rtol=1e-4)
    np.testing.assert_allclose(moved(), hot)


def test_bound_sampler_runs_under_blackjax(sampler):
    bound = aeb.bind_data(sampler, data(), batch_size=8)
    final, history = blackjax.util.run_inference_algorithm(
        jax.random.key(0),
        bound,
        num_steps=12,
        initial_state=bound.init(two_layers()),
        transform=lambda state, info: (state.position, info.loss),
    )
    positions, losses = history
    assert int(final.step) == 12
    assert positions["Dense_0"]["kernel"].shape == (12, 6, 5)
    assert len(np.unique(np.asarray(losses))) == 12
    thin = blackjax.util.thin_algorithm(bound, thinning=4)
    state, _ = thin.step(jax.random.key(1), thin.init(two_layers(), None))
    assert int(state.step) == 4


def test_bound_sampler_sees_every_row(sampler):
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-4), aeb.gaussian())
    mean = aeb.as_sampling_algorithm(
        algorithm, lambda w, batch: jnp.mean(batch["value"]) + 0 * jnp.sum(w), num_data=4
    )
    bound = aeb.bind_data(mean, {"value": jnp.arange(4.0)}, batch_size=1)
    state = bound.init(jnp.ones(1))
    step = jax.jit(bound.step)
    seen = {float(step(key, state)[1].loss) for key in jax.random.split(jax.random.key(2), 60)}
    assert seen == {0.0, 1.0, 2.0, 3.0}


@pytest.mark.parametrize("size", [0, 33])
def test_bind_data_checks_its_batch_size(sampler, size):
    with pytest.raises(ValueError, match=r"^batch_size:"):
        aeb.bind_data(sampler, data(), batch_size=size)
