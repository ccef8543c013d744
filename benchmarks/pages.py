# SPDX-License-Identifier: Apache-2.0
"""Run the Python of a page, and put what each block prints below it.

    python -m benchmarks.pages README.md docs/guides/compress.md

The blocks of a page run in order and share their names, as if pasted into one session. A block
marked `text` that follows one marked `python` is its output, and is made anew; a page's other text
is left alone.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["code", "filled", "main", "run", "shown"]

PYTHON = re.compile(r"^```python\n(.*?)^```\n", re.DOTALL | re.MULTILINE)

OUTPUT = re.compile(r"\A\n```text\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def code(page: str) -> list[str]:
    """Return the blocks of Python of a page."""
    return [found[1] for found in PYTHON.finditer(page)]


def shown(page: str) -> list[str | None]:
    """Return the output that a page shows below each block of Python; None where it shows none."""
    outputs = (OUTPUT.match(page[found.end() :]) for found in PYTHON.finditer(page))
    return [None if output is None else output[1] for output in outputs]


def run(page: str, names: dict[str, Any] | None = None) -> list[str]:
    """Run the blocks of a page.

    Args:
        page: Markdown.
        names: what the blocks may use besides what they define; theirs are added to it.

    Returns:
        What each block prints.
    """
    names = {} if names is None else names
    names.setdefault("__name__", "page")
    printed = []
    for block in code(page):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(block, "page", "exec"), names)
        printed.append(output.getvalue())
    return printed


def filled(page: str, printed: Sequence[str]) -> str:
    """Put outputs below their blocks, where the page has a place for them."""
    parts, at = [], 0
    for found, output in zip(PYTHON.finditer(page), printed, strict=True):
        parts.append(page[at : found.end()])
        at = found.end()
        place = OUTPUT.match(page[at:])
        if place is not None:
            parts.append(f"\n```text\n{_without_ends(output)}```\n")
            at += place.end()
    return "".join([*parts, page[at:]])


def _without_ends(text: str) -> str:
    """Strip blanks at the ends of lines, which editors and linters take away."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def main(args: Sequence[str] | None = None) -> int:
    """Make the outputs of pages anew; files that their code writes are dropped."""
    for name in sys.argv[1:] if args is None else args:
        file = Path(name).resolve()
        page, here = file.read_text(), Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                printed = run(page)
            finally:
                os.chdir(here)
        file.write_text(filled(page, printed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
