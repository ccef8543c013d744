# SPDX-License-Identifier: Apache-2.0
"""Sums of several arrays in one pass.

Mutations that were tried, and are caught: long rows added as they are; each array reduced by
itself. That nothing but scalars is sent of a sharded array is in `test_sharded.py`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.xla.sums import sums

SHAPES = [
    (),
    (1,),
    (7,),
    (0,),
    (3, 0),
    (0, 3),
    (1000,),
    (1031,),  # a prime, longer than a row
    (1_000_003,),
    (2**20,),
    (64, 100),
    (3, 1031),
    (5, 5, 32, 64),
    (3136, 200),
    (4, 40_000),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_those_of_float64(shape):
    keys = jax.random.split(jax.random.key(len(shape)), 3)
    terms = [jax.random.uniform(key, shape, minval=0.5, maxval=2.0) for key in keys]
    found = jax.jit(sums)(*terms)
    assert len(found) == len(terms)
    for total, term in zip(found, terms, strict=True):
        assert total.shape == ()
        assert total.dtype == jnp.float32
        # Rows, and what is left of them, are so short that the rounding stays below 16 units.
        np.testing.assert_allclose(total, np.sum(np.asarray(term, np.float64)), rtol=16 * 2.0**-24)


def test_sums_keep_float64():
    with jax.enable_x64(True):
        term = jax.random.uniform(jax.random.key(0), (4, 3000), jnp.float64)
        single, double = sums(term, 2 * term)
        assert single.dtype == jnp.float64
        np.testing.assert_allclose(single, math.fsum(np.asarray(term).ravel()), rtol=1e-14)
        np.testing.assert_allclose(double, 2 * single, rtol=1e-14)


def test_sums_of_chains_are_those_of_each():
    terms = jax.random.normal(jax.random.key(0), (3, 2, 40, 50))
    together = jax.vmap(lambda both: sums(both[0], both[1]))(terms)
    for chain, both in enumerate(terms):
        np.testing.assert_allclose(
            [part[chain] for part in together], sums(both[0], both[1]), rtol=1e-5
        )


@pytest.mark.optimised
def test_several_sums_are_one_reduction():
    def three(x):
        return sums(jnp.exp(x), x * x, x)

    text = jax.jit(three).lower(jnp.ones((2048, 300))).compile().as_text()
    entry = text[text.index("ENTRY") :].splitlines()[1:]
    (name,) = [line.split("=")[0].strip() for line in entry if "parameter(0)" in line]
    reading = [line for line in entry if name in line.split(" = ")[-1]]
    assert len(reading) == 1, reading
