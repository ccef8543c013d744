# SPDX-License-Identifier: Apache-2.0
"""What the tables share: Markdown, a mean with its error, how the rows were made."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["NOT_RUN", "made", "mean", "table"]

NOT_RUN = "not run"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    rows = [[head.strip() for head in heads], ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def mean(
    values: Sequence[float | None],
    digits: int = 2,
    *,
    lost: str = "without",
    deviation: bool = False,
) -> str:
    """Write a mean and its standard error.

    Args:
        values: one a row; None where it was not finite.
        digits: after the point.
        lost: what to call the rows without a number; they are counted.
        deviation: write the standard deviation in the place of the error.

    Returns:
        Such as "3.28 ± 0.03"; "-" where there is no number.
    """
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    text = f"{statistics.fmean(numbers):.{digits}f}"
    if len(numbers) > 1:
        spread = statistics.stdev(numbers) / (1.0 if deviation else len(numbers) ** 0.5)
        text += f" ± {spread:.{digits}f}"
    missing = len(values) - len(numbers)
    return text + (f" ({missing} {lost})" if missing else "")


def made(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how rows were made; "" where there are none."""
    ways: dict[str, set[str]] = {}
    for row in rows:
        hardware, packages = row["hardware"], row["metrics"].get("packages", {})
        cores = "1 core" if hardware["cores"] == 1 else f"{hardware['cores']} cores"
        by = f"{hardware['accelerator'] or hardware['cpu']}, {cores}, "
        names = {"jax": row["versions"]["jax"], **packages}
        by += ", ".join(f"{name} {version}" for name, version in names.items())
        ways.setdefault(by, set()).add(f"{row['commit']} ({row['date']})")
    said = [f"{by}, commit {', '.join(sorted(commits))}" for by, commits in sorted(ways.items())]
    return f"Made on: {'; '.join(said)}." if said else ""
