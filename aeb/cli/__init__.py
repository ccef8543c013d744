# SPDX-License-Identifier: Apache-2.0
"""The `aeb` command: demo, compress, inspect, data."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from aeb.cli.compress import Compress, Demo
from aeb.cli.files import Data, Inspect
from aeb.version import __version__

__all__ = ["main"]

Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Compress, tyro.conf.subcommand("compress")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Data, tyro.conf.subcommand("data")]
)

DESCRIPTION = "Sparse Bayesian deep learning. `aeb demo` is the place to start; `aeb --version`."

USAGE_ERROR = 2


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the words after `aeb`; None takes those of the process.

    Returns:
        The exit code: 0, or 2 where the input was at fault, after one line that says what to
        change.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words == ["--version"]:
        print(f"aeb {__version__}")
        return 0
    try:
        command = _parse(words)
        command()
    except BrokenPipeError:
        # The reader has left, `aeb inspect FILE | head` for instance.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, TypeError, OSError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        print("aeb: stopped; aeb compress continues with the same command", file=sys.stderr)
        return 130
    return 0


def _parse(words: list[str]) -> Demo | Compress | Inspect | Data:
    """Read the words; the parser's panel of complaint is boiled down to one line."""
    panel = io.StringIO()
    try:
        with contextlib.redirect_stderr(panel):
            return tyro.cli(
                Command,
                prog="aeb",
                description=DESCRIPTION,
                args=words,
                config=(tyro.conf.OmitSubcommandPrefixes,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(_first_sentence(panel.getvalue())) from None


def _first_sentence(panel: str) -> str:
    """The complaint itself, from a box with a title, a message, rules and hints."""
    lines = [line.strip("│ ").strip() for line in panel.splitlines() if line.startswith("│")]
    message = []
    for line in lines:
        if set(line) <= {"─"}:
            break
        message.append(line)
    return " ".join(message) + "; see aeb --help"


def _complain(message: str) -> int:
    """Print one line on the error stream."""
    print("aeb: " + " ".join(message.split()), file=sys.stderr)
    return USAGE_ERROR
