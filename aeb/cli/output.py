# SPDX-License-Identifier: Apache-2.0
"""Decide where the output of a command goes.

    stdout    the result, once, at the end: text, or one JSON object with `--json`
    stderr    everything else: messages, progress, errors

So `aeb compress ... --json > result.json` writes the result to the file and shows the messages.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any, NamedTuple

import tyro
from tqdm import tqdm

from aeb.files.atomic import plain

__all__ = ["AsJson", "Countdown", "Outcome", "Switch", "is_watched", "tell"]

Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A flag without a `--no-` form."""

AsJson = Annotated[Switch, tyro.conf.arg(name="json")]
"""The flag `--json`. Its field is `as_json`."""


class Outcome(NamedTuple):
    """The result of a command."""

    text: str  # for people
    facts: dict[str, Any]  # the same for programs; it fits into JSON

    def show(self, *, as_json: bool) -> str:
        """Return the text for stdout."""
        if not as_json:
            return self.text
        return json.dumps(plain(self.facts), indent=2, allow_nan=False)


def tell(line: str) -> None:
    """Print a message on stderr, above the progress bar if there is one."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def is_watched() -> bool:
    """Return whether stderr is a terminal, where a line can be overwritten."""
    return sys.stderr.isatty()


class Countdown:
    """Estimates the time left, from the clock and the steps taken since this process began."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._first: tuple[int, float] | None = None  # a resumed run does not begin at 0

    def left(self, step: int) -> str:
        """Return the time left after a step, such as `, 2 min left`; "" if it is unknown."""
        now = time.monotonic()
        if self._first is None:
            self._first = step, now
        begin, began = self._first
        if not begin < step < self._total:
            return ""
        return f", {_duration((now - began) / (step - begin) * (self._total - step))} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
