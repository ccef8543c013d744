# SPDX-License-Identifier: Apache-2.0
"""Effective sample size and R-hat on autoregressive series, whose values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aeb import mixing


def autoregressive(phi, chains, draws, width, seed=0):
    """Draw x_t = phi x_(t-1) + e_t from its stationary law."""
    noise = np.random.default_rng(seed).normal(size=(draws, chains, width))
    series = [noise[0] / np.sqrt(1 - phi**2)]
    for step in noise[1:]:
        series.append(phi * series[-1] + step)
    return np.swapaxes(np.array(series, np.float32), 0, 1)


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_an_autoregressive_series(phi):
    """Fails if tau is off by 10 %: the closed form is (1 - phi) / (1 + phi) of the draws.

    At fixed seed; over 200 series of 4 x 1000 draws the estimator's bias is below 5 % and the
    standard error of the mean below 2 %.
    """
    draws = autoregressive(phi, chains=4, draws=1000, width=200)
    share = mixing.effective_sample_size(draws) / (4.0 * 1000.0)
    assert share.shape == (200,)
    np.testing.assert_allclose(share.mean(), (1 - phi) / (1 + phi), rtol=0.07)


def test_split_r_hat_is_its_definition():
    """Fails if the chains are not halved, or the odd last draw stays in."""
    draws = autoregressive(0.9, chains=3, draws=41, width=5)
    halves = np.concatenate([draws[:, :20], draws[:, 20:40]]).astype(float)
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = 20 * halves.mean(axis=1).var(axis=0, ddof=1)
    expected = np.sqrt((19 / 20 * within + between / 20) / within)
    np.testing.assert_allclose(mixing.potential_scale_reduction(draws), expected, rtol=1e-5)


def test_split_r_hat_sees_a_single_chain_that_drifts():
    """Fails if whole chains are compared: one chain would have nothing to be compared with."""
    drift = np.linspace(0, 5, 1000, dtype=np.float32)[None, :, None]
    noise = autoregressive(0.0, chains=1, draws=1000, width=1)
    assert mixing.potential_scale_reduction(noise)[0] < 1.01
    assert mixing.potential_scale_reduction(noise + drift)[0] > 1.5


@pytest.mark.parametrize(
    "estimator", [mixing.effective_sample_size, mixing.potential_scale_reduction]
)
def test_shapes_and_dtypes(estimator):
    """Fails if axes of length 1 are squeezed away, or bfloat16 and integers reach the FFT."""
    draws = autoregressive(0.0, chains=1, draws=50, width=2).reshape(1, 50, 1, 2)
    assert estimator(draws).shape == (1, 2)
    assert estimator(draws[..., 0, 0]).shape == ()
    assert jax.eval_shape(estimator, draws.astype(jnp.bfloat16)).dtype == jnp.float32
    assert jax.eval_shape(estimator, draws.astype(np.int32)).dtype == jnp.float32


def test_draws_that_never_change():
    """Fails if a stuck chain is given an effective sample size."""
    draws = jnp.ones((2, 10))
    assert mixing.effective_sample_size(draws) == 0
    assert jnp.isnan(mixing.potential_scale_reduction(draws))


@pytest.mark.parametrize("shape", [(), (10,), (0, 10), (2, 3)])
@pytest.mark.parametrize(
    "estimator", [mixing.effective_sample_size, mixing.potential_scale_reduction]
)
def test_bad_shapes_are_refused(estimator, shape):
    """Fails if a check is dropped: blackjax asserts, or returns nan."""
    with pytest.raises(ValueError, match=r"draws: got shape .*needs to be \[chains, draws"):
        estimator(jnp.ones(shape))


def test_a_tree_of_draws_and_one_whose_axes_look_swapped():
    """Fails if leaves are mixed up, or more chains than draws go through without a word."""
    draws = autoregressive(0.5, chains=4, draws=50, width=2)
    tree = {"a": draws, "b": draws[..., :1]}
    for estimator in (mixing.effective_sample_size, mixing.potential_scale_reduction):
        found = estimator(tree)
        np.testing.assert_array_equal(found["a"], estimator(draws))
        assert found["b"].shape == (1,)
        with pytest.warns(UserWarning, match=r"leaf 'a' got shape \(50, 4, 2\): more chains"):
            estimator({"a": np.swapaxes(draws, 0, 1)})
