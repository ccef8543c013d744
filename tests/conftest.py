# SPDX-License-Identifier: Apache-2.0
"""Strict by default: eight virtual devices, no silent promotion, no key used twice."""

import os

import jax
import numpy as np
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


@pytest.fixture
def small_sets(tmp_path, monkeypatch):
    """A small made-up set in the place of two of the UCI ones."""
    import tabular

    rng = np.random.default_rng(7)
    for name, rows in (("yacht", 43), ("boston", 30)):
        file = tmp_path / "data" / "uci" / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        x = rng.normal(2, 3, size=(rows, 2))
        y = 5 + x[:, 0] + rng.normal(size=rows)
        lines = [f"{a},{b},1,{c}" for (a, b), c in zip(x, y, strict=True)]
        file.write_text("\n".join(["a,b,same,y", *lines]) + "\n")
    monkeypatch.setenv("AEB_DATA_DIR", str(tmp_path / "data"))
    tabular.load.cache_clear()
    yield
    tabular.load.cache_clear()
