# SPDX-License-Identifier: Apache-2.0
"""What is written down: sparse models, checkpoints, and the report of what is left of a network."""

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
