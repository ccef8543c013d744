# SPDX-License-Identifier: Apache-2.0
"""Minibatches of data that do not fit one host, read with grain; each process reads its own rows.

Global batch k holds rows k B to (k + 1) B of an endless stream: the source, shuffled again in each
epoch. Process i of n reads every n-th of these rows, starting at the i-th. So batch k depends only
on the seed and on k, however many processes there are. The position of a run is the number of its
next batch, which a `State` holds as `step`. A run that goes on from a checkpoint needs nothing
else.
"""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import jax

from aeb import guards

__all__ = ["stream"]


def stream(
    source: Any,
    batch_size: int,
    *,
    seed: int = 0,
    start: SupportsIndex = 0,
    shuffle: bool = True,
    process_index: int | None = None,
    process_count: int | None = None,
) -> Any:
    """Return this process's part of each global batch; needs `pip install 'aeb[grain]'`.

    Args:
        source: anything with `len(source)` and `source[i]`, such as a TFDS data source, grain's
            `ArrayRecordDataSource` or a list. Or a `grain.MapDataset`, whose transformations run
            before rows are put into batches. A row is a tree of arrays and numbers.
        batch_size: B, the number of rows in a global batch; a multiple of the number of processes.
        seed: the seed of the order, in [0, 2^32).
        start: the global batch to begin with, such as `state.step`.
        shuffle: whether the order is random.
        process_index: the index of this process; None asks JAX.
        process_count: the number of processes; None asks JAX.

    Returns:
        An endless `grain.MapDataset` of batches. Each is a tree of numpy arrays with
        B / process_count rows. `batches[k]` reads one batch, `iter(batches.to_iter_dataset())`
        reads ahead in threads, and all other methods of grain's data sets work as well.

    Raises:
        ImportError: grain is not installed.
        ValueError: an argument is out of its range, or the source is empty.

    Example:
        >>> rows = [{"x": float(i)} for i in range(6)]
        >>> batches = stream(rows, 4, seed=1, process_index=0, process_count=2)
        >>> later = stream(rows, 4, seed=1, start=3, process_index=0, process_count=2)
        >>> batches[3]["x"].tolist() == later[0]["x"].tolist()
        True
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError("aeb.data.stream reads by grain: pip install 'aeb[grain]'") from error
    guards.whole("batch_size", batch_size, 1)
    guards.whole("seed", seed, 0)
    guards.within("seed", seed, "[0, 4294967296)")
    first = operator.index(start)
    guards.at_least("start", first, 0)
    index = jax.process_index() if process_index is None else process_index
    count = jax.process_count() if process_count is None else process_count
    guards.whole("process_count", count, 1)
    guards.whole("process_index", index, 0)
    guards.within("process_index", index, f"[0, {count})")
    if batch_size % count:
        raise ValueError(
            f"batch_size: got {batch_size}, needs to be a multiple of the {count} processes"
        )
    rows = source if isinstance(source, grain.MapDataset) else grain.MapDataset.source(source)
    if not len(rows):
        raise ValueError("source: there is no row in it")
    if shuffle:
        rows = rows.shuffle(seed=seed)
    part = rows.repeat()[first * batch_size + index :: count]
    return part.batch(batch_size // count, drop_remainder=True)
