# SPDX-License-Identifier: Apache-2.0
"""A network as one file that JAX alone can run: StableHLO with the weights inside, by `jax.export`.

The file is what `jax.export` serialises. Whoever runs it needs JAX and flatbuffers, and neither
this library nor the code of the network:

    from pathlib import Path
    import jax.export
    network = jax.export.deserialize(bytearray(Path("net.jax").read_bytes()))
    logits = network.call(images)

The weights are dense constants of the program, in which a zero takes as much room as any other
number. To make the file smaller and the network faster, remove whole units with `aeb.shrink` first.
To store a sparse network, use `aeb.save_sparse`.

JAX promises that the file runs with a jaxlib built up to six months after the one that wrote it, or
up to three weeks before (docs.jax.dev, "Exporting and serializing staged-out computations"). So do
not archive it: keep a sparse file, from which you can write it again. On another version or
platform the program is the same, but its results may be rounded differently.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp

from aeb import guards
from aeb.files.atomic import replacing
from aeb.network import in_use

__all__ = ["export"]

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
"""Names that `jax.export` knows."""


def export(
    path: str | os.PathLike[str],
    model: Any,
    variables: Any,
    inputs: Any,
    *,
    preprocess: Callable[[Any], jax.Array] | None = None,
    batch_size: int | None = None,
    platforms: Sequence[str] | None = None,
) -> None:
    """Write a network, with its weights, to a file that JAX runs without this library.

    Args:
        path: the file. Its folder must exist. An existing file is replaced in one step.
        model: a linen module, an NNX module, or a function `(params, inputs) -> outputs`. It is
            written as it is used: no dropout, running moments for BatchNorm.
        variables: `{"params": ..., "batch_stats": ...}` for a linen module, None for an NNX module,
            the parameters for a function; `Compressed.variables` and `Shrunk.variables` fit.
        inputs: rows such as the program will take, [n, ...], or a tree of them. Only their shapes
            and dtypes are read.
        preprocess: applied to the inputs first, and written with the network, such as
            `aeb.data.normalizer("mnist")`.
        batch_size: the number of rows that the program takes; None for any number.
        platforms: where the program will run, a list of "cpu", "cuda", "rocm" and "tpu"; None for
            the platform of this process.

    Raises:
        ImportError: flatbuffers is not installed.
        FileNotFoundError: the folder does not exist.
        ValueError: an argument is out of its range, the rows do not fit the weights, or the code of
            the model needs to know the number of rows.
        TypeError: the model is none of the three.

    Example:
        >>> import pytest, tempfile; _ = pytest.importorskip("flatbuffers")
        >>> from aeb.models import MLP
        >>> net, rows = MLP(features=3), jnp.ones((1, 4))
        >>> variables = net.init(jax.random.key(0), rows)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export(folder + "/net.jax", net, variables, rows)
        ...     network = jax.export.deserialize(bytearray(Path(folder, "net.jax").read_bytes()))
        >>> network.call(jnp.ones((5, 4))).shape
        (5, 3)
    """
    guards.check_data("inputs", inputs)
    if batch_size is not None:
        guards.whole("batch_size", batch_size, 1)
    for platform in platforms or ():
        guards.one_of("platforms", platform, PLATFORMS)
    used = in_use(model, variables)
    guards.check_params(used.params)

    @jax.jit
    def predict(inputs: Any) -> Any:
        prepared = inputs if preprocess is None else preprocess(inputs)
        return used.outputs(used.params, used.model_state, prepared)

    with guards.taking("inputs", inputs):
        jax.eval_shape(predict, jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), inputs))
    scope = jax.export.SymbolicScope()

    def spec(leaf: Any) -> jax.ShapeDtypeStruct:
        leaf = jnp.asarray(leaf)
        rows = "rows" if batch_size is None else str(batch_size)
        sizes = ", ".join([rows, *map(str, leaf.shape[1:])])
        return jax.ShapeDtypeStruct(jax.export.symbolic_shape(sizes, scope=scope), leaf.dtype)

    specs = jax.tree.map(spec, inputs)
    make = jax.export.export(predict, platforms=None if platforms is None else list(platforms))
    try:
        exported = make(specs)
    except Exception as error:  # the model may raise anything on a symbolic row count
        if batch_size is not None:
            raise
        raise ValueError(
            f"batch_size: the model's code does not run for any number of rows ({error}); write "
            "x.shape[0] for len(x) in it, or pass the number of rows"
        ) from error
    try:
        content = exported.serialize()
    except ImportError as error:
        raise ImportError("aeb.export writes by flatbuffers: pip install flatbuffers") from error
    with replacing(Path(path)) as file:
        file.write(content)
