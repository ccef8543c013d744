# SPDX-License-Identifier: Apache-2.0
"""Replace a file atomically.

The new file is written beside its target, flushed to the disk, and moved over the target. If the
writer is killed, the target is either the old file or the new one, and complete. If two processes
write the same target at once, the file of one of them remains.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["leftovers", "plain", "replacing", "write_json"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends without an error.

    Args:
        path: the target. Its folder must exist.

    Yields:
        A file to write bytes into.

    Raises:
        OSError: the folder cannot be written, or the disk is full. The error names the file, and no
            file is left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing(Path(folder, "a")) as file:
        ...         _ = file.write(b"whole")
        ...     Path(folder, "a").read_bytes()
        b'whole'
    """
    # In the same folder, so that moving it is a single step of the file system.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # A full disk is reported without a name.
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write a value that fits into JSON, indented, with a newline at the end.

    Args:
        path: the target, as in `replacing`.
        content: the value.

    Raises:
        OSError: as in `replacing`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder, "a"), {"loss": 0.5})
        ...     json.loads(Path(folder, "a").read_text())
        {'loss': 0.5}
    """
    with replacing(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def plain(value: Any) -> Any:
    """Convert a value to what JSON can hold. Numbers that are not finite become None.

    Example:
        >>> plain({"loss": float("nan"), "shape": (3, 4)})
        {'loss': None, 'shape': [3, 4]}
    """
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def leftovers(folder: Path, pattern: str) -> Iterator[Path]:
    """List files that killed writers left behind, for targets whose name matches a pattern."""
    return folder.glob(f".{pattern}.tmp")
