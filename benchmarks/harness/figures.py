# SPDX-License-Identifier: Apache-2.0
"""The page that a figure is drawn on, and what several figures have on it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

__all__ = ["legend_above", "level", "marks", "page", "spread"]


@contextlib.contextmanager
def page(
    file: Path,
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    *,
    fonts: Mapping[str, float],
    dpi: int = 150,
    **options: Any,
) -> Iterator[tuple[Any, Any]]:
    """Open a figure; what is drawn on it inside goes to the file.

    Args:
        file: where to; its folder is made if need be. Without a date or version, so that the same
            rows make the same bytes.
        size: in inches; large enough that letters stay readable at half the width of a page.
        rows: of panels.
        columns: of panels.
        fonts: Matplotlib's settings of fonts, such as `{"font.size": 12}`.
        dpi: dots an inch.
        **options: for `plt.subplots`.

    Yields:
        The figure, and its axes as `plt.subplots` gives them.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(fonts):
        picture, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", **options)
        yield picture, axes
    picture.savefig(file, dpi=dpi, metadata={"Software": None})
    plt.close(picture)


def legend_above(picture: Any, panels: Any, columns: int, **options: Any) -> None:
    """Put one legend above all panels. What several of them name alike stands in it once."""
    named: dict[str, Any] = {}
    for axes in np.ravel(panels):
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    place = {"loc": "outside upper center", "ncols": columns}
    picture.legend(named.values(), named.keys(), **place, **options)


def level(axes: Any, at: float, words: str = "", *, colour: str = "0.5", **text: Any) -> None:
    """Draw a thin line at a height, behind all else, with words above its right end."""
    axes.axhline(at, color=colour, linewidth=1, zorder=0)
    if words:
        place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        axes.annotate(words, (1.0, at), color="0.4", **place, **text)


def marks(
    axes: Any, x: Any, y: Any, bars: Any, colour: str, marker: str, size: float, **style: Any
) -> None:
    """Draw marks with bars up and down, and no line between them."""
    shape = {"color": colour, "marker": marker, "markersize": size, "linestyle": "none"}
    axes.errorbar(x, y, bars, **shape, **style)


def spread(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard deviation of a sample; 0 for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
