# SPDX-License-Identifier: Apache-2.0
"""Files: sparse models and checkpoints. Also the report of the zeros in a network."""

from aeb.files import checkpoint
from aeb.files.archive import DamagedFileError
from aeb.files.report import SparsityReport, sparsity_report
from aeb.files.sparse_file import (
    Model,
    SparseFileInfo,
    inspect_sparse,
    load,
    load_sparse,
    save_sparse,
)

__all__ = [
    "DamagedFileError",
    "Model",
    "SparseFileInfo",
    "SparsityReport",
    "checkpoint",
    "inspect_sparse",
    "load",
    "load_sparse",
    "save_sparse",
    "sparsity_report",
]
