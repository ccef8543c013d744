# SPDX-License-Identifier: Apache-2.0
"""Choose how to compile a step for a CPU.

jaxlib 0.10 to 0.12 pass two-dimensional convolutions of more than 16 channels to YNNPACK, and also
sums over many rows. `compiler_options` switches it off, for the sake of kernel gradients.

Gain: the time that YNNPACK takes over that of XLA itself, for JAX's 3x3 convolutions of 32 and 64
channels at batch 100 and for sums of 20,000 to 100,000 rows (AVX2, two idle cores, medians of 31):

    jaxlib                              0.10          0.12
    kernel gradient, 8x8 and 16x16      2.5 to 6.1    1.5 to 2.1
    kernel gradient, 32x32              22            6.4
    output and image gradient           1.5 to 1.9    1.1 to 1.3
    sum over rows of 12                 1.4 to 1.7    1.5 to 1.7
    sum over rows of 25                 1.3           .9
    sum over rows of 50 and 100         .3 to .5      .3 to .4

So the price is paid by sums over longer rows.

jaxlib 0.12 can pass convolutions to oneDNN instead. That took .6 to .7 of XLA's time for outputs
and image gradients at 16 channels and .85 to 1.0 at 32 and 64 (docs/lab-notes.md).
`compiler_options` asks for it.

XLA has one fast layout: images [N, ..., C] by kernels [..., C, D]. Outside a loop it converts other
layouts to it. In the body of a loop it does not, and they run far slower. The gradients of JAX's
convolution have such layouts; those of `aeb.models.conv_general_dilated` do not.
`collapses_in_a_loop` checks for them.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jaxlib

__all__ = ["collapses_in_a_loop", "compiler_options"]

_AXES = ("0, 1, 2", "0, 1", "0")
_FAST = {f"[b, {axes}, f]x[{axes}, i, o]->[b, {axes}, f]" for axes in _AXES}


def compiler_options() -> dict[str, str | bool]:
    """Return the options of `jax.jit` under which this backend runs fast.

    Returns:
        What to pass as `compiler_options` to an outermost `jax.jit`. It is {} if nothing is to be
        changed, that is, except on a CPU with a jaxlib for which this was measured.

    Example:
        >>> step = jax.jit(lambda x: x + 1, compiler_options=compiler_options())
        >>> int(step(1))
        2
    """
    version = tuple(int(part) for part in jaxlib.__version__.split(".")[:2])
    if jax.default_backend() != "cpu" or not (0, 10) <= version <= (0, 12):
        return {}
    options: dict[str, str | bool] = {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
    }
    if version == (0, 12):
        options["xla_cpu_experimental_onednn_custom_call"] = True
    return options


def collapses_in_a_loop(step: Any, *arguments: Any) -> bool:
    """Return whether a step holds convolutions that XLA runs slowly in a loop on this backend."""
    if jax.default_backend() != "cpu":
        return False
    leaves, structure = jax.tree.flatten(arguments)
    return _collapses(step, structure, tuple(jax.typeof(leaf) for leaf in leaves))


@functools.lru_cache(maxsize=32)
def _collapses(step: Any, structure: Any, types: tuple[Any, ...]) -> bool:
    """Look at the layouts of the lowered step, once for its types: a large one takes long."""
    traced = step.trace(*jax.tree.unflatten(structure, types))
    if "conv_general_dilated" not in str(traced.jaxpr):
        return False
    found = set(re.findall(r"dim_numbers = (\[.*?\]->\[.*?\])", traced.lower().as_text()))
    return not found or not found <= _FAST
