# SPDX-License-Identifier: Apache-2.0
"""Parts of a flat array, for one chain and for several.

Mutations that were tried, and are caught: starts one part late; the branch that is never taken,
taken; results of `unseen` batched under `jax.vmap`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.xla.parts import cut, unseen

SHAPES = [(3,), (2, 2), (), (3,), (0, 2), (1, 3)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool", "uint32", "int8"])
def test_parts_follow_one_another(dtype):
    """Whatever the first entry is, by whose bits the branch is chosen."""
    for first in (0, 1):
        flat = (first + jnp.arange(14)).astype(dtype)
        parts = jax.jit(lambda flat: cut(flat, SHAPES))(flat)
        assert [part.shape for part in parts] == SHAPES
        assert all(part.dtype == flat.dtype for part in parts)
        together = np.concatenate([np.asarray(part).ravel() for part in parts])
        np.testing.assert_array_equal(together, flat[: sum(map(math.prod, SHAPES))])


@pytest.mark.parametrize("first", [0.0, -0.0, jnp.nan, jnp.inf, 1e-45])
def test_no_witness_changes_the_numbers(first):
    assert [int(number) for number in unseen([3, 0, 2**32 - 1], jnp.array([first]))] == [
        *(3, 0, 2**32 - 1)
    ]


def test_chains_share_the_places(key):
    """Fails if each chain has starts of its own, for then a part is gathered entry by entry."""
    flat = jax.random.normal(key, (2, 3, 14))
    of_chains = jax.jit(jax.vmap(jax.vmap(lambda flat: cut(flat, SHAPES))))
    assert " gather(" not in of_chains.lower(flat).compile().as_text()
    for part, shape in zip(of_chains(flat), SHAPES, strict=True):
        assert part.shape == (2, 3, *shape)
    np.testing.assert_array_equal(of_chains(flat)[1], flat[..., 3:7].reshape(2, 3, 2, 2))


def test_slopes_reach_the_flat_array(key):
    flat = jax.random.normal(key, (14,))
    slopes = jax.grad(lambda flat: jnp.sum(cut(flat, SHAPES)[1] ** 2))(flat)
    expected = np.zeros(14, np.float32)
    expected[3:7] = 2.0 * flat[3:7]
    np.testing.assert_allclose(slopes, expected, rtol=1e-6)
