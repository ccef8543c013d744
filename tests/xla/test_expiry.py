# SPDX-License-Identifier: Apache-2.0
"""When a file of `aeb/xla/` can go: each test fails once XLA makes something better of plain JAX.

They look at the program that XLA makes of the plain line, or time it where the gain is so large
that no noise hides it. A test that fails here is good news: measure anew
(`python -m benchmarks.speed`), and if the plain line is as fast, use it. For the convolution that
is `test_a_loop_keeps_the_convolutions_in_the_fast_layout`, for the options of the compiler
`test_the_options_switch_the_other_library_off`, both in `test_convolution.py`.
"""

import functools
import re
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.xla.parts import cut
from aeb.xla.pooling import max_pool
from aeb.xla.sums import sums
from aeb.xla.threefry import normal_at
from aeb.xla.threshold import order_bits, smallest

pytestmark = [
    pytest.mark.optimised,
    pytest.mark.skipif(jax.default_backend() != "cpu", reason="gains of a CPU"),
]


def program(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().as_text()


def test_threefry_is_a_loop_over_memory():
    key = jax.random.key(0)
    assert " while(" in program(lambda key: jax.random.normal(key, (2**18,)), key)
    words = jax.random.key_data(key)
    assert " while(" not in program(lambda words: normal_at(words, 0, (2**18,)), words)


def test_sums_are_reduced_one_by_one():
    terms = [jnp.ones((512, 512)) + i for i in range(3)]

    def of_jax(*terms):
        return [jnp.sum(jnp.exp(term)) for term in terms]

    def ours(*terms):
        return sums(*[jnp.exp(term) for term in terms])

    def together(text):
        """Whether several arrays are reduced in one pass."""
        return re.search(r"= \(f32\[[^=]*\) reduce\(", text) is not None

    assert together(program(ours, *terms))
    assert not together(program(of_jax, *terms))


def test_the_gradient_of_a_window_is_a_scatter():
    x = jnp.ones((4, 8, 8, 3))

    def plain(x):
        return jnp.sum(nn.max_pool(x, (2, 2), (2, 2)) ** 2)

    def ours(x):
        return jnp.sum(max_pool(x, 2) ** 2)

    window = ("select-and-scatter", "scatter(", "reduce-window")
    assert any(name in program(jax.grad(plain), x) for name in window)
    assert not any(name in program(jax.grad(ours), x) for name in window)


def test_a_sort_takes_far_longer_than_the_threshold():
    """Rows have a sort at 67 times ours for 1e5 weights; 5 times is beyond any noise."""
    weights = jnp.asarray(np.random.default_rng(0).normal(size=10**5), jnp.float32)

    def seconds(function):
        compiled = jax.jit(function)
        jax.block_until_ready(compiled(weights))
        times = []
        for _ in range(5):
            began = time.perf_counter()
            jax.block_until_ready(compiled(weights))
            times.append(time.perf_counter() - began)
        return min(times)

    def by_sort(weights):
        return jnp.abs(weights) < jnp.sort(jnp.abs(weights))[90_000]

    def ours(weights):
        return smallest([order_bits([weights])], 90_000)[0]

    assert seconds(by_sort) > 5 * seconds(ours)


@pytest.mark.optimised
def test_parts_that_are_sliced_take_far_longer_to_compile():
    """Measured at 13 times ours for 65 parts; 3 times is beyond any noise."""
    flat = jnp.zeros(65 * 500)

    def seconds(function):
        # JAX knows a function by its identity, and compiles one that it has not seen.
        lowered = jax.jit(functools.partial(function)).lower(flat)
        began = time.process_time()
        lowered.compile()
        return time.process_time() - began

    def by_slices(flat):
        return jnp.split(flat, 65)

    def ours(flat):
        return cut(flat, [(500,)] * 65)

    assert seconds(by_slices) > 3 * min(seconds(ours) for _ in range(2))
