# SPDX-License-Identifier: Apache-2.0
"""Strict by default: eight virtual devices, no silent promotion, no key used twice."""

import os

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    """Double precision for one test, switched off again after it."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def quickly_compiled():
    """For tests where compiling is most of the time, and no time is looked at."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
