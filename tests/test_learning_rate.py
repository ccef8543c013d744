# SPDX-License-Identifier: Apache-2.0
"""A learning rate l of the mean loss is the step size l / N, on every face.

Mutations that fail here: the division by N left out, or made twice; a schedule of learning rates
read as one of step sizes; a learning rate given to one call ignored by a face; both units taken.
"""

import jax
import jax.numpy as jnp
import optax
import pytest
from chex import assert_trees_all_equal
from problems import NUM_DATA, cross_entropy, data, two_layers

import aeb

RATE = 0.03
UNITS = {
    "sgld": (aeb.sgld(learning_rate=RATE), aeb.sgld(RATE / NUM_DATA)),
    "sghmc": (aeb.sghmc(learning_rate=RATE), aeb.sghmc(RATE / NUM_DATA)),
    "schedule": (
        aeb.sghmc(learning_rate=aeb.cyclical(RATE, period=3)),
        # NUM_DATA is a power of two, so that dividing by it rounds nothing.
        aeb.sghmc(aeb.cyclical(RATE / NUM_DATA, period=3)),
    ),
}


def chain(face, dynamics, num_steps=4, **rates):
    """Run a few steps on a face and return the weights."""
    algorithm = aeb.empirical_bayes(dynamics, aeb.gaussian())
    batch, params = data(), two_layers()
    if face == "optax":
        tx = aeb.as_gradient_transformation(algorithm, num_data=NUM_DATA, key=jax.random.key(0))

        @jax.jit
        def step(params, state):
            updates, state = tx.update(jax.grad(cross_entropy)(params, batch), state, params)
            return optax.apply_updates(params, updates), state

        state = tx.init(params)
        for _ in range(num_steps):
            params, state = step(params, state)
        return params
    state = algorithm.init(params)
    if face == "kernel":
        kernel = jax.jit(aeb.build_kernel(algorithm, cross_entropy, num_data=NUM_DATA))
        for k in range(num_steps):
            state = kernel(state, batch, jax.random.key(k), **rates)
    else:
        sampler = aeb.as_sampling_algorithm(algorithm, cross_entropy, num_data=NUM_DATA)
        step = jax.jit(sampler.step)
        for k in range(num_steps):
            state = step(jax.random.key(k), state, batch, **rates)
    return state.position


@pytest.mark.parametrize("face", ["kernel", "optax", "blackjax"])
@pytest.mark.parametrize("unit", UNITS)
def test_both_units_make_one_chain(face, unit):
    of_mean, of_sum = UNITS[unit]
    assert_trees_all_equal(chain(face, of_mean), chain(face, of_sum))


@pytest.mark.optimised  # without, the two programs round differently
@pytest.mark.parametrize("face", ["kernel", "blackjax"])
def test_a_call_overrides_in_either_unit(face):
    expected = chain(face, aeb.sgld(RATE / NUM_DATA))
    for dynamics in (aeb.sgld(1e-3), aeb.sgld(learning_rate=1.0)):
        assert_trees_all_equal(chain(face, dynamics, learning_rate=jnp.float32(RATE)), expected)
        assert_trees_all_equal(
            chain(face, dynamics, step_size=jnp.float32(RATE / NUM_DATA)), expected
        )


def test_a_sampler_of_ones_own_may_give_either():
    sampler = aeb.sgld(1.0)
    by_position = aeb.Dynamics(sampler.init, sampler.update, RATE / NUM_DATA, 1.0)
    by_name = aeb.Dynamics(sampler.init, sampler.update, learning_rate=RATE)
    assert_trees_all_equal(chain("kernel", by_position), chain("kernel", by_name))


@pytest.mark.parametrize("make", [aeb.sgld, aeb.sghmc])
def test_exactly_one_unit(make):
    with pytest.raises(ValueError, match=r"neither.*exactly one.*learning_rate / num_data"):
        make()
    with pytest.raises(ValueError, match="both"):
        make(1e-4, learning_rate=0.1)
    with pytest.raises(ValueError, match=r"^learning_rate:.*positive"):
        make(learning_rate=-0.1)


def test_exactly_one_unit_for_a_sampler_of_ones_own_and_for_a_call():
    sampler = aeb.sgld(1.0)
    with pytest.raises(ValueError, match="neither"):
        aeb.empirical_bayes(aeb.Dynamics(sampler.init, sampler.update), aeb.gaussian())
    with pytest.raises(ValueError, match="both"):
        chain("kernel", sampler, step_size=1e-3, learning_rate=1e-1)
