# SPDX-License-Identifier: Apache-2.0
"""Lock a folder, so that one process at a time works in it.

The lock is on the empty file `.lock` in the folder. It ends with the process that holds it, however
that ends.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["alone"]

LOCK = ".lock"


@contextlib.contextmanager
def alone(folder: Path, argument: str = "out") -> Iterator[None]:
    """Lock a folder against other processes, until the block or the process ends.

    Where the folder takes no locks, a line on stderr says so, and the block runs without one.

    Args:
        folder: the folder. It must exist.
        argument: the option that names it, for the message.

    Raises:
        BlockingIOError: another process holds the lock.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, alone(Path(folder)):
        ...     [path.name for path in Path(folder).iterdir()]
        ['.lock']
    """
    if sys.platform == "win32":  # it has other locks, which nobody tried here
        yield
        return
    import fcntl

    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"{argument}: another process is at work in {folder}; wait for it, or name another "
                "folder"
            ) from None
        except OSError as error:
            line = f"{folder} takes no locks ({error.strerror}): let no second run work in it"
            print(line, file=sys.stderr, flush=True)
        yield
