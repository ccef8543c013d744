# SPDX-License-Identifier: Apache-2.0
"""The page that a figure is drawn on."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

__all__ = ["page"]


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
