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

from aeb.archive import DamagedFileError
from aeb.cli.compress import Compress, Demo
from aeb.cli.files import Data, Inspect
from aeb.cli.usage import UsageError
from aeb.data import DataError
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
        command.check()
    except (ValueError, TypeError) as error:
        return _complain(str(error))
    try:
        command()
    except BrokenPipeError:
        # The reader has left, `aeb inspect FILE | head` for instance.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UsageError, DataError, DamagedFileError, OSError) as error:
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
    """The complaint itself, from a panel of title, message, rules and hints, boxed or plain."""
    message: list[str] = []
    for line in panel.splitlines()[1:]:
        text = line.strip("│ ")
        if set(text) <= set("─-"):
            if message:
                break
            continue
        message.append(text)
    return " ".join(message).rstrip(".") + "; see aeb --help"


def _complain(message: str) -> int:
    """Print one line on the error stream."""
    print("aeb: " + " ".join(message.split()), file=sys.stderr)
    return USAGE_ERROR
