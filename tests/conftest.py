# SPDX-License-Identifier: Apache-2.0
"""Strict by default: eight virtual devices, no silent promotion, no key used twice.

Compiling is most of what the tests cost. Those of the README's line are compiled without most
optimisations, which halves it; tests marked `optimised` or `slow` are compiled as users compile.
With jaxlib 0.10 they are also compiled without its emitters of fused loops, which halves compiling.
"""

import os
from pathlib import Path

import jax
import jaxlib
import pytest
from jax._src import compiler

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)

os.environ.setdefault("MPLBACKEND", "Agg")

QUICK = {"xla_cpu_use_fusion_emitters": False} if jaxlib.__version__.startswith("0.10.") else {}
"""How to compile quickly, beside disabling most optimisations. Later jaxlibs have no choice."""

make_options = compiler.get_compile_options


def make_quick_options(*args, env_options_overrides=None, **settings):
    """Make the options of a quick compilation; JAX has no setting for this."""
    options = QUICK | dict(env_options_overrides or {})
    return make_options(*args, env_options_overrides=options, **settings)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def x64():
    """Double precision for one test, switched off again after it."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def complaint(capsys):
    """What a command said on standard error, which has to be one line; call it once it has."""

    def read():
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    return read


def pytest_runtest_setup(item):
    """Choose how a test's programs are compiled, before its fixtures are made."""
    full = item.get_closest_marker("optimised") or item.get_closest_marker("slow")
    quick = item.get_closest_marker("quickly_compiled") is not None or full is None
    jax.config.update("jax_disable_most_optimizations", quick)
    chosen = make_quick_options if quick else make_options
    if compiler.get_compile_options is not chosen:
        compiler.get_compile_options = chosen
        # The two round differently, and a test may look for equal bits.
        jax.clear_caches()


MOST_MEMORY = 2**30
"""Bytes that a process may hold at the end of a module before its programs are dropped."""


@pytest.fixture(scope="module", autouse=True)
def _programs_do_not_pile_up():
    """Drop the compiled programs once they are many: those of all tests would take 5 GiB."""
    yield
    held = Path("/proc/self/statm")
    if not held.exists() or int(held.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") > (
        MOST_MEMORY
    ):
        jax.clear_caches()
