# SPDX-License-Identifier: Apache-2.0
"""How sparse a model is, leaf by leaf, and how large its file is.

A leaf of n values, k of them kept, w bytes each, takes

    dense bytes   n w
    sparse bytes  min(n w, ceil(n / 8) + k w)      a bit per value and the values kept, if smaller

`zeros` counts values equal to 0. A value is kept if any of its bits is set. So a negative zero is
a zero that is kept, which makes files exact to the bit.

Statistics (see `aeb.tree`) are listed by name but not counted, because no rule prunes them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aeb.files.archive import host_array
from aeb.guards import some
from aeb.tree import select, statistics
from aeb.types import ArrayTree, Where

__all__ = [
    "LeafReport",
    "SparsityReport",
    "host_array",
    "kept_bits",
    "sparsity_report",
    "stored_bytes",
]


class LeafReport(NamedTuple):
    """What one leaf holds."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    size: int  # number of values
    zeros: int  # values equal to 0
    dense_bytes: int
    sparse_bytes: int  # in a file made by `save_sparse`, without its header

    @property
    def sparsity(self) -> float:
        """Share of values equal to 0, between 0 and 1."""
        return self.zeros / max(self.size, 1)


class SparsityReport(NamedTuple):
    """A table of leaves, with totals; `str` prints it, `to_dict` is for JSON.

    Example:
        >>> report = sparsity_report({"kernel": np.eye(8, dtype=np.float32)})
        >>> report.zeros, report.sparsity, report.dense_bytes, report.sparse_bytes
        (56, 0.875, 256, 40)
        >>> report.to_dict()["total"]["zeros"]
        56
    """

    leaves: tuple[LeafReport, ...]
    left: tuple[str, ...] = ()  # paths of the statistics, which are not counted

    @property
    def size(self) -> int:
        """Number of values in all leaves."""
        return sum(leaf.size for leaf in self.leaves)

    @property
    def zeros(self) -> int:
        """Number of values equal to 0."""
        return sum(leaf.zeros for leaf in self.leaves)

    @property
    def sparsity(self) -> float:
        """Share of values equal to 0, between 0 and 1."""
        return self.zeros / max(self.size, 1)

    @property
    def dense_bytes(self) -> int:
        """Bytes of all values."""
        return sum(leaf.dense_bytes for leaf in self.leaves)

    @property
    def sparse_bytes(self) -> int:
        """Bytes in a file made by `save_sparse`, without its header."""
        return sum(leaf.sparse_bytes for leaf in self.leaves)

    def to_dict(self) -> dict[str, Any]:
        """Return the table as dicts, lists, strings and numbers."""
        leaves = [
            {**leaf._asdict(), "shape": list(leaf.shape), "sparsity": leaf.sparsity}
            for leaf in self.leaves
        ]
        totals = ("size", "zeros", "sparsity", "dense_bytes", "sparse_bytes")
        return {
            "leaves": leaves,
            "left": list(self.left),
            "total": {name: getattr(self, name) for name in totals},
        }

    def __repr__(self) -> str:
        left = f", {len(self.left)} leaves of statistics not counted" if self.left else ""
        return (
            f"SparsityReport({self.size:,} values in {len(self.leaves)} leaves, "
            f"{self.zeros:,} zeros, {self.sparsity:.2%}{left})"
        )

    def __str__(self) -> str:
        head = (
            "path",
            "shape",
            "dtype",
            "size",
            "zeros",
            "sparsity",
            "dense bytes",
            "sparse bytes",
        )
        rows = [
            head,
            *(
                (
                    leaf.path or "(array)",
                    "x".join(map(str, leaf.shape)),
                    leaf.dtype,
                    *_numbers(leaf),
                )
                for leaf in self.leaves
            ),
            ("total", "", "", *_numbers(self)),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if index < 3 else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        if self.left:
            lines.append(f"not counted: {len(self.left)} leaves of statistics ({some(self.left)})")
        return "\n".join(lines)


def sparsity_report(params: ArrayTree, where: Where = ".*") -> SparsityReport:
    """Count zeros and bytes, leaf by leaf and in total.

    Args:
        params: a tree of arrays: plain, linen, nnx, or a bare array.
        where: the leaves to list and to sum over: a regular expression over the path,
            `(path, leaf) -> bool`, or None for every leaf but those named bias or scale. By
            default every leaf that is a parameter.

    Returns:
        A `SparsityReport`, its leaves in the order of `jax.tree.leaves`. Statistics that the tree
        holds, such as the collection `batch_stats`, are named in `left` and not counted.

    Raises:
        ValueError: `where` chooses no leaf, or is no regular expression.
        TypeError: a leaf is not an array of numbers, or is a typed PRNG key.

    Example:
        >>> report = sparsity_report({"kernel": np.eye(8, dtype=np.float32), "bias": np.ones(8)})
        >>> print(report)
        path    shape  dtype    size  zeros  sparsity  dense bytes  sparse bytes
        bias    8      float64     8      0    0.00 %           64            64
        kernel  8x8    float32    64     56   87.50 %          256            40
        total                     72     56   77.78 %          320           104
        >>> report.sparsity > 0.77, report.to_dict()["total"]["zeros"]
        (True, 56)
    """
    chosen = select(params, where)
    if not chosen:
        raise ValueError("params: no leaf to report; the tree is empty or `where` chooses none")
    leaves = tuple(_leaf_report(path, leaf) for path, leaf in chosen.items())
    return SparsityReport(leaves, tuple(statistics(params)))


def stored_bytes(size: int, kept: int, itemsize: int) -> int:
    """Return a leaf's bytes in a sparse file: a bitmask and the values kept, or dense if less."""
    return min(size * itemsize, -(-size // 8) + kept * itemsize)


def kept_bits(array: np.ndarray) -> np.ndarray:
    """Return for each value, in C order, whether any of its bits is set: bool[size]."""
    return array.reshape(-1).view(f"u{array.dtype.itemsize}") != 0


def _leaf_report(path: str, leaf: Any) -> LeafReport:
    array = host_array("params", path, leaf)
    kept = int(np.count_nonzero(kept_bits(array)))
    return LeafReport(
        path=path,
        shape=array.shape,
        dtype=array.dtype.name,
        size=array.size,
        zeros=int(np.count_nonzero(array == 0)),
        dense_bytes=array.nbytes,
        sparse_bytes=stored_bytes(array.size, kept, array.dtype.itemsize),
    )


def _numbers(row: LeafReport | SparsityReport) -> tuple[str, ...]:
    return (
        f"{row.size:,}",
        f"{row.zeros:,}",
        f"{row.sparsity:.2%}".replace("%", " %"),
        f"{row.dense_bytes:,}",
        f"{row.sparse_bytes:,}",
    )
