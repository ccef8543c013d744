# SPDX-License-Identifier: Apache-2.0
"""What rows say of the targets that were set for `aeb.regression`."""

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import Row, markdown, paired

__all__ = ["targets"]

COVERED = (0.85, 0.95)
"""Where the coverage of the signals is to be."""

FALSE_FINDS = 0.2
"""False discoveries of a data set that are allowed for."""


def targets(
    by_key: Sequence[Sequence[Row]],
    mcp: Sequence[Row],
    horseshoe: Sequence[Row],
    wide: Sequence[Row],
    *,
    size: str,
) -> dict[str, str]:
    """Set what was measured beside each target.

    Args:
        by_key: the rows of aeb for each key.
        mcp: those of MCP on the same data sets.
        horseshoe: those of the horseshoe on some of them, for which no target was set.
        wide: those of aeb on wide data.
        size: of the wide data, in words.

    Returns:
        Target to words, "not run" where the rows that it takes are not there.
    """
    ours = by_key[0] if by_key else []
    return {
        "Population MSE at or below that of MCP": _against(ours, mcp, judge=True),
        "The same beside the horseshoe, which is no target": _against(ours, horseshoe),
        f"Intervals cover {COVERED[0]:.0%} to {COVERED[1]:.0%} of the signals": _if_any(
            ours, _covered
        ),
        f"At most {FALSE_FINDS:g} false finds a data set": _if_any(ours, _false_finds),
        "The same answer from every start": _same(by_key),
        f"{size} in one call": _if_any(wide, _wide),
    }


def _if_any(rows: Sequence[Row], write: markdown.Column) -> str:
    return write(rows) if rows else markdown.NOT_RUN


def _memory(rows: Sequence[Row]) -> str:
    """Write the largest peak of the rows, and in brackets what was resident before."""
    both = [
        (row["metrics"]["peak_resident_bytes"], row["metrics"]["resident_bytes_before"])
        for row in rows
    ]
    known = [pair for pair in both if None not in pair]
    if not known:
        return "-"
    peak, before = max(known)
    return f"{peak / 2**20:,.0f} MiB ({before / 2**20:,.0f})"


def _against(ours: Sequence[Row], others: Sequence[Row], *, judge: bool = False) -> str:
    pairs = paired(ours, others)
    if not pairs:
        return markdown.NOT_RUN
    mine, theirs = (
        [row["metrics"]["population_mse"] for row in side] for side in zip(*pairs, strict=True)
    )
    gaps = [a - b for a, b in zip(mine, theirs, strict=True)]
    means = statistics.fmean(mine), statistics.fmean(theirs)
    verdict = f"{_verdict(means[0] <= means[1])}, " if judge else ""
    return (
        f"{verdict}{means[0]:.3f} against {means[1]:.3f} over {_sets(pairs)}; "
        f"the difference is {markdown.mean(gaps, 3)}, lower on "
        f"{sum(gap < 0 for gap in gaps)} of them"
    )


def _covered(rows: Sequence[Row]) -> str:
    parts = []
    for kind in rows[0]["metrics"]["intervals"]:
        signals = [signal for row in rows for signal in row["metrics"]["beta"]]
        inside = [
            signal["intervals"][kind][0] <= signal["true"] <= signal["intervals"][kind][1]
            for signal in signals
        ]
        share = statistics.fmean(inside)
        verdict = _verdict(COVERED[0] <= share <= COVERED[1])
        parts.append(f"{verdict} by those {kind}, {share:.1%} of {len(inside)}")
    return "; ".join(parts)


def _false_finds(rows: Sequence[Row]) -> str:
    finds = [row["metrics"]["false_discoveries"] for row in rows]
    verdict = _verdict(statistics.fmean(finds) <= FALSE_FINDS)
    return f"{verdict}, {markdown.mean(finds)} over {_sets(finds)}"


def _same(by_key: Sequence[Sequence[Row]]) -> str:
    pairs = [pair for others in by_key[1:] for pair in paired(by_key[0], others)]
    if not pairs:
        return markdown.NOT_RUN
    errors, gaps, alike = [], [], 0
    for pair in pairs:
        one, other = (row["metrics"]["population_mse"] for row in pair)
        errors.append(abs(one - other))
        a, b = ({int(j): rho for j, rho in row["metrics"]["inclusion"]} for row in pair)
        gaps.append(max((abs(a.get(j, 0.0) - b.get(j, 0.0)) for j in a | b), default=0.0))
        found = [{j for j, rho in side.items() if rho > 0.5} for side in (a, b)]
        alike += found[0] == found[1]
    return (
        f"two keys, which draw other starts and other noise, differ over {_sets(pairs)} by at most "
        f"{max(errors):.3f} in population MSE (mean {statistics.fmean(errors):.4f}) and by at most "
        f"{max(gaps):.3f} in the inclusion of a column (mean of the largest "
        f"{statistics.fmean(gaps):.3f}); the columns found are the same in {alike} of them"
    )


def _wide(rows: Sequence[Row]) -> str:
    seconds, errors, true, false = (
        [row["metrics"][name] for row in rows]
        for name in ("cpu_seconds", "population_mse", "true_discoveries", "false_discoveries")
    )
    firsts = [row["metrics"]["first_call"] for row in rows if row["metrics"]["first_call"]]
    compiling = f", {firsts[0]['cpu']:.1f} with compiling" if firsts else ""
    return (
        f"{_sets(rows)}, {markdown.mean(seconds, 1)} CPU seconds{compiling}; population MSE "
        f"{markdown.mean(errors, 3)}, {markdown.mean(true)} true and "
        f"{markdown.mean(false)} false finds; "
        f"memory {_memory(rows)}"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def _sets(things: Sequence[Any]) -> str:
    return f"{len(things)} data set" + ("" if len(things) == 1 else "s")
