# SPDX-License-Identifier: Apache-2.0
"""What a plain 0 switches off is not computed, and the chain is that of a 0 which is computed with.

Mutations that fail here: noise drawn at T = 0, latents updated at gain 0, a traced 0 taken for a
plain one, zeros of another dtype.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb


def zero(count):
    return jnp.zeros(())


def chain(dynamics, gain, dtype=jnp.float32):
    algorithm = aeb.empirical_bayes(
        dynamics, aeb.spike_slab(0.1, 1.0), gain=gain, sparsify=aeb.magnitude(0.5)
    )
    state = algorithm.init({"kernel": jnp.linspace(-1, 1, 12, dtype=dtype).reshape(3, 4)})
    kernel = aeb.build_kernel(
        algorithm, lambda p, x: jnp.mean((p["kernel"][None] - x) ** 2), num_data=9
    )
    return jax.jit(kernel), state


@pytest.mark.optimised  # without, the two programs round differently
@pytest.mark.parametrize("sampler", [aeb.sgld, aeb.sghmc])
def test_a_plain_zero_is_not_computed(sampler):
    batch, key = jnp.ones((2, 3, 4)), jax.random.key(0)
    off, state = chain(sampler(1e-3, temperature=0.0), 0.0)
    on, _ = chain(sampler(1e-3, temperature=zero), zero)
    operations = {
        name: str(kernel.trace(state, batch, key).jaxpr)
        for name, kernel in (("off", off), ("on", on))
    }
    for operation in ("= erf_inv", "= exp"):
        assert operation in operations["on"]
        assert operation not in operations["off"]
    for k in range(3):
        state = off(state, batch, jax.random.key(k))
    other = chain(sampler(1e-3), 1.0)[1]
    for k in range(3):
        other = on(other, batch, jax.random.key(k))
    chex.assert_trees_all_equal(state, other)


def test_a_temperature_of_the_call_counts():
    kernel, state = chain(aeb.sgld(1e-3, temperature=0.0), 0.0)
    batch = jnp.ones((2, 3, 4))
    cold = kernel(state, batch, jax.random.key(0))
    warm = kernel(state, batch, jax.random.key(0), temperature=1.0)
    assert not np.array_equal(cold.position["kernel"], warm.position["kernel"])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_stay(dtype):
    kernel, state = chain(aeb.sghmc(1e-3, temperature=0.0), 0.0, dtype)
    new = kernel(state, jnp.ones((2, 3, 4), dtype), jax.random.key(0))
    kinds = jax.tree.map(lambda leaf: leaf.dtype, (state, new))
    assert kinds[0] == kinds[1]
