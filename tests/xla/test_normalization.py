# SPDX-License-Identifier: Apache-2.0
"""BatchNorm's own sums and gradients against those of Flax, in float64.

Mutations that were tried, and are caught: the first image left out of the sums; the gradient
through the mean, or through the variance, left out; m - 1 for m; the moments' own slopes dropped.
"""

import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.models.batch_norm import batch_norm
from aeb.xla.compilation import compiler_options
from aeb.xla.normalization import batch_normalize

EPSILON = 1e-5


def of_flax(x, scale, bias):
    """y, mean and variance of `nn.BatchNorm`, the moments out of the tenth that it keeps."""
    channels = x.shape[-1:]
    norm = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=EPSILON)
    statistics = {"mean": jnp.zeros(channels), "var": jnp.zeros(channels)}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": statistics}
    with jax.numpy_dtype_promotion("standard"):  # Flax mixes its own float32 with float64
        y, kept = norm.apply(variables, x, mutable=["batch_stats"])
    return y, 10.0 * kept["batch_stats"]["mean"], 10.0 * kept["batch_stats"]["var"]


def ours(x, scale, bias):
    return batch_normalize(x, scale, bias, EPSILON)


def slopes(results):
    return [jnp.cos(3.0 * result) for result in results]


@pytest.mark.parametrize(
    "shape",
    [
        (6, 32, 16, 2),  # a loop over images
        (3, 2, 2, 5),  # images too small for one
        pytest.param((40, 6), marks=pytest.mark.slow),
        pytest.param((1, 40, 40, 1), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_moments_and_gradients_are_those_of_flax(shape, key):
    with jax.enable_x64(True):
        keys = jax.random.split(key, 3)
        x = 3.0 * jax.random.normal(keys[0], shape) + 2.0
        scale, bias = (jax.random.normal(k, shape[-1:]) for k in keys[1:])
        found, expected = [], []
        for norm, results in ((ours, found), (of_flax, expected)):
            values, pullback = jax.vjp(norm, x, scale, bias)
            results.extend([*values, *pullback(tuple(slopes(values)))])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_chains_are_normalised_apart(key):
    """Fails if a batch of chains shares its moments."""
    x = jax.random.normal(key, (2, 3, 32, 32, 1)) * jnp.array([1.0, 5.0]).reshape(2, 1, 1, 1, 1)
    one = jnp.ones((2, 1))
    together = jax.vmap(ours)(x, one, one)
    apart = [ours(*arguments) for arguments in zip(x, one, one, strict=True)]
    for number, chain in enumerate(apart):
        for result, alone in zip(together, chain, strict=True):
            np.testing.assert_allclose(result[number], alone, rtol=1e-5, atol=1e-6)


class _Layer(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return batch_norm(x, train=train, dtype=None, name="bn")


def test_the_variables_are_those_of_flax_in_both_modes(key):
    """Fails if a layer made in training cannot be read outside it, or the other way round."""
    x = jax.random.normal(key, (4, 3))
    trained, read = (_Layer().init(key, x, train) for train in (True, False))
    jax.tree.map(np.testing.assert_array_equal, trained, read)


@pytest.mark.optimised
# Elsewhere `batch_norm` is Flax's own, and how XLA sums there is not what this file is for.
@pytest.mark.skipif(jax.default_backend() != "cpu", reason="batch_norm is Flax's elsewhere")
def test_plain_sums_go_by_windows():
    """Fails once XLA sums over all images without windows: measure anew."""
    x = jnp.ones((100, 32, 32, 16))

    def program(function):
        def loss(x):
            return jnp.sum(function(x, jnp.ones(16), jnp.zeros(16))[0] ** 3)

        compiled = jax.jit(jax.grad(loss), compiler_options=compiler_options())
        return compiled.lower(x).compile().as_text()

    def windows(norm):
        """List the sums that go by windows, by the entries that are summed."""
        found = re.findall(
            r"= f32\[([0-9,]+)\][^=]* reduce-window\(.*window=\{size=([0-9x]+)", program(norm)
        )
        sizes = [[*shape.split(","), *window.split("x")] for shape, window in found]
        return [math.prod(map(int, size)) for size in sizes]

    assert max(windows(of_flax)) > 100_000
    assert max(windows(ours), default=0) < 100_000
