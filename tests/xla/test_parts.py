# SPDX-License-Identifier: Apache-2.0
"""Parts of a flat array, for one chain and for several.

Mutations that were tried, and are caught: starts one part late; the branch that is never taken,
taken; an empty witness read; the witness of the first chain taken for those of all.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.dynamics.noise import standard_normal_like
from aeb.xla.parts import cut, unseen
from aeb.xla.threshold import order_bits, smallest

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
    given = [3, 0, 2**32 - 1]
    for function in (unseen, jax.jit(unseen, static_argnums=0)):
        assert [int(number) for number in function(tuple(given), jnp.array([first]))] == given


def test_of_nothing_come_empty_parts():
    for function in (cut, jax.jit(cut, static_argnums=1)):
        (part,) = function(jnp.zeros(0), ((0, 3),))
        assert part.shape == (0, 3)
        assert function(jnp.zeros(2), ()) == []
    empty = [jnp.zeros(0), jnp.zeros((0, 3))]
    assert [x.shape for x in jax.jit(standard_normal_like)(jax.random.key(0), empty)] == [
        (0,),
        (0, 3),
    ]
    assert [x.shape for x in jax.jit(smallest)([order_bits(empty)], 0)] == [(0,), (0, 3)]


def test_split_chains_send_nothing(key):
    """Fails if the parts of all chains hang on a number that one of them has."""
    flat = jax.random.normal(key, (8, 14))
    for kind in (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit):
        mesh = jax.make_mesh((8,), ("chain",), axis_types=(kind,))
        split = jax.device_put(flat, jax.NamedSharding(mesh, jax.P("chain")))

        def one(flat):
            return *cut(flat, [(3,), (2, 2), (7,)]), flat + unseen([3], flat)[0].astype(float)

        compiled = jax.jit(jax.vmap(one)).lower(split).compile()
        assert not re.search("all-|collective", compiled.as_text())
        np.testing.assert_array_equal(compiled(split)[0], flat[:, :3])


def test_chains_are_cut_alike(key):
    flat = jax.random.normal(key, (2, 3, 14))
    of_chains = jax.jit(jax.vmap(jax.vmap(lambda flat: cut(flat, SHAPES))))
    assert " gather(" not in of_chains.lower(flat).compile().as_text()
    for part, shape in zip(of_chains(flat), SHAPES, strict=True):
        assert part.shape == (2, 3, *shape)
    np.testing.assert_array_equal(of_chains(flat)[1], flat[..., 3:7].reshape(2, 3, 2, 2))
