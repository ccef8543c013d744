# SPDX-License-Identifier: Apache-2.0
"""Polya-Gamma and gamma draws against their Laplace transforms.

Five standard errors of 20,000 draws. Mutations that fail here: the branches' masses without exp(-z)
or its inverse, the cut at 1 with the series left at 0.64, the series stopped at its first term, the
narrow inverse Gaussian for all z, the remainder left out, its variance left out, the boost of small
shapes left out.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb.linear.polya_gamma import TERMS, _unit_moments, gamma, polya_gamma, polya_gamma_one

Z = np.array([0.0, 0.01, 0.7, 2.0, 3.2, 6.0, 30.0])
B = np.array([0.3, 1.0, 2.5, 7.0, 1.0, 40.0, 1.0])
DRAWS = 20_000


def transform(b, z, t):
    """E exp(-t omega)."""
    return (np.cosh(z / 2) / np.cosh(np.sqrt((z**2 / 2 + t) / 2))) ** b


def agree(drawn, b):
    """Transforms at several multiples of the inverse mean, where tails and bulk both weigh."""
    mean = b * np.where(Z == 0, 0.25, np.tanh(Z / 2) / np.where(Z == 0, 1, 2 * Z))
    np.testing.assert_allclose(
        drawn.mean(axis=0), mean, atol=5 * drawn.std(axis=0).max() / DRAWS**0.5
    )
    for times in (0.3, 1.0, 3.0, 10.0):
        t = times / mean
        values = np.exp(-t * drawn)
        error = values.std(axis=0) / DRAWS**0.5
        assert np.all(np.abs(values.mean(axis=0) - transform(b, Z, t)) < 5 * error)


@pytest.mark.slow
def test_one(x64):
    z = jnp.broadcast_to(jnp.asarray(Z), (DRAWS, len(Z)))
    drawn = np.asarray(jax.jit(polya_gamma_one)(jax.random.key(0), z))
    agree(drawn, np.ones(len(Z)))
    other = np.asarray(jax.jit(polya_gamma_one)(jax.random.key(0), -z))
    np.testing.assert_array_equal(other, drawn)
    assert np.isnan(polya_gamma_one(jax.random.key(1), jnp.full(2, jnp.nan))).all()


@pytest.mark.slow
def test_any(x64):
    z, b = (jnp.broadcast_to(jnp.asarray(part), (DRAWS, len(Z))) for part in (Z, B))
    drawn = jax.jit(polya_gamma)(jax.random.key(0), b.ravel(), z.ravel())
    agree(np.asarray(drawn).reshape(z.shape), B)


def test_what_stands_for_the_other_terms(x64):
    """Exact mean and variance; the third cumulant within 2e-9 of itself at z = 0, as the docstring
    says, and within 1e-3 up to z = 30."""
    k = np.arange(1, 200_001) - 0.5
    for z in Z:
        d = 1 / (2 * np.pi**2 * (k**2 + z**2 / (4 * np.pi**2)))
        mean, variance = (float(part) for part in _unit_moments(jnp.asarray(z)))
        assert mean == pytest.approx(d.sum() + 1 / (2 * np.pi**2 * 200_000), rel=1e-9)
        assert variance == pytest.approx(np.sum(d**2), rel=1e-9)
        rest = d[TERMS:]
        mean, variance = mean - d[:TERMS].sum(), np.sum(rest**2)
        third = 2 * variance**2 / mean
        short = abs(third - 2 * np.sum(rest**3)) / (2 * np.sum(d**3))
        assert short < (2e-9 if z == 0 else 1e-3)


def test_gamma(x64):
    shape = np.array([0.1, 0.6, 1.0, 3.7, 200.0])
    drawn = np.asarray(gamma(jax.random.key(2), jnp.broadcast_to(jnp.asarray(shape), (DRAWS, 5))))
    for t in (0.1, 1.0, 5.0):
        values = np.exp(-t * drawn / shape)
        error = values.std(axis=0) / DRAWS**0.5
        assert np.all(np.abs(values.mean(axis=0) - (1 + t / shape) ** -shape) < 5 * error)
