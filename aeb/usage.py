# SPDX-License-Identifier: Apache-2.0
"""Parse the words of a command line, and report errors in one line with exit code 2.

The command `aeb` and the scripts in `benchmarks/` share this.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import Any

import tyro

__all__ = ["USAGE_ERROR", "UsageError", "complain", "parse"]

USAGE_ERROR = 2
"""The exit code for wrong input."""


class UsageError(Exception):
    """Wrong input, found after parsing. The message says what to change."""


def parse(
    command: Any, words: Sequence[str], *, prog: str, description: str, **options: Any
) -> Any:
    """Parse words with tyro, and reduce its error panel to one line.

    Args:
        command: the type to build, a dataclass or a union of them.
        words: the words after the name of the program.
        prog: the name of the program.
        description: the first lines of the help.
        **options: passed on to `tyro.cli`.

    Returns:
        An instance of `command`.

    Raises:
        ValueError: the words cannot be parsed. The message is one line.
        SystemExit: the user asked for help, which was printed.
    """
    panel = io.StringIO()
    try:
        with contextlib.redirect_stderr(panel):
            return tyro.cli(command, prog=prog, description=description, args=words, **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(f"{_first_sentence(panel.getvalue())}; see {prog} --help") from None


def complain(prog: str, message: str) -> int:
    """Print one line on stderr, and return the exit code."""
    print(f"{prog}: " + " ".join(message.split()), file=sys.stderr)
    return USAGE_ERROR


def _first_sentence(panel: str) -> str:
    """Extract the message from a panel of title, message, rules and hints, boxed or plain."""
    # tyro 1.0.17 has no public access to the text: console_outputs=False drops it, and the hook
    # tyro._errors.on_parse_error "may change or be removed in any release".
    message: list[str] = []
    for line in panel.splitlines()[1:]:
        text = line.strip("│ ")
        if set(text) <= set("─-"):
            if message:
                break
            continue
        message.append(text)
    return " ".join(message).rstrip(".")
