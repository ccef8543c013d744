# SPDX-License-Identifier: Apache-2.0
"""The `aeb` command: demo, compress, report, compare, inspect, data, predict."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from aeb.cli.compare import Compare
from aeb.cli.compress import Compress, Demo
from aeb.cli.files import Data, Inspect
from aeb.cli.predict import Predict
from aeb.cli.report import Report
from aeb.data import DataError
from aeb.files.archive import DamagedFileError
from aeb.sampling import DivergenceError
from aeb.usage import UsageError, complain, parse
from aeb.version import __version__

__all__ = ["main"]

Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Compress, tyro.conf.subcommand("compress")]
    | Annotated[Report, tyro.conf.subcommand("report")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
)

COMPLETION = "--tyro-print-completion"
"""Prints a completion script for a shell. `docs/guides/compress.md` says how to use it."""

DESCRIPTION = "Sparse Bayesian deep learning. Start with `aeb demo`. Version: `aeb --version`."


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: the words after `aeb`; None takes those of the process.

    Returns:
        The exit code. It is 0, or 2 if the input was wrong. Then one line on stderr says what to
        change.
    """
    words = list(sys.argv[1:] if args is None else args)
    if words == ["--version"]:
        print(f"aeb {__version__}")
        return 0
    if words[:1] == [COMPLETION] and words[1:] not in (["bash"], ["zsh"]):
        return complain("aeb", f"{COMPLETION}: it is there for bash and for zsh")
    try:
        command = parse(
            Command,
            words,
            prog="aeb",
            description=DESCRIPTION,
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )
        command.check()
    except (ValueError, TypeError) as error:
        return complain("aeb", str(error))
    as_json = command.as_json
    try:
        # The user's code may print. With --json, stdout must hold nothing but one JSON object.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            outcome = command()
        print(outcome.show(as_json=as_json))
    except BrokenPipeError:
        # The reader closed the pipe, as in `aeb inspect FILE | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UsageError, DataError, DamagedFileError, DivergenceError, OSError) as error:
        return complain("aeb", str(error))
    except KeyboardInterrupt:
        print("aeb: stopped; aeb compress continues with the same command", file=sys.stderr)
        return 130
    return 0
