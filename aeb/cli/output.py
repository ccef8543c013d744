# SPDX-License-Identifier: Apache-2.0
"""Where a command's words go.

    stdout    the result, once, at the end: text, or one JSON object with `--json`
    stderr    all else: what is going on, progress, complaints

So `aeb compress ... --json > result.json` keeps what a program reads and shows what a person reads.
"""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Annotated, Any, NamedTuple

import tyro
from tqdm import tqdm

__all__ = ["AsJson", "Countdown", "Outcome", "Switch", "is_watched", "plain", "tell"]

Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A flag without its opposite."""

AsJson = Annotated[Switch, tyro.conf.arg(name="json")]
"""The flag `--json`; the field is `as_json`."""


class Outcome(NamedTuple):
    """What a command has to say at its end."""

    text: str  # for people
    facts: dict[str, Any]  # the same for programs, what JSON can hold

    def show(self, *, as_json: bool) -> str:
        """Return what goes to stdout."""
        if not as_json:
            return self.text
        return json.dumps(plain(self.facts), indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """Return what JSON can hold: a number that is not finite becomes None, the rest is written out.

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


def tell(line: str) -> None:
    """Say what is going on, above the bar where there is one."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()


def is_watched() -> bool:
    """Whether stderr is a terminal, where a line can be drawn over."""
    return sys.stderr.isatty()


class Countdown:
    """How long a run still takes, from the clock and the steps that it took since it began here."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._first: tuple[int, float] | None = None  # a run that goes on does not begin at 0

    def left(self, step: int) -> str:
        """Say the time left after a step, such as `, 2 min left`; nothing where it is unknown."""
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
