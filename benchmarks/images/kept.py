# SPDX-License-Identifier: Apache-2.0
"""Networks that were trained, kept so that what comes after need not train them again.

`classification` scores them, `adversarial` attacks them; whichever comes first trains. A
network is found again by its recipe, cell, seed and the versions of what made it, not by the
commit: so it brings along the commit it was trained at, which goes into the rows. Delete the folder
to train anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aeb import checkpoint
from aeb.files.atomic import replacing
from benchmarks.harness.rows import canonical
from benchmarks.harness.stamp import stamp
from benchmarks.images.chains import Trained, blank, train
from benchmarks.images.data import Images
from benchmarks.images.recipe import Cell, Recipe

__all__ = ["Found", "trained"]


class Found(NamedTuple):
    """A network, and where it comes from."""

    seconds: float  # of training
    network: Trained
    commit: str  # at which it was trained


def trained(
    recipe: Recipe,
    cell: Cell,
    seed: int,
    images: Images,
    config: Mapping[str, Any],
    folder: Path,
    shelf: Path,
    checkpoint_every: float,
    report: Callable[[int], Any],
) -> Found:
    """Take a network from the shelf, or train it and put it there.

    Args:
        recipe: how.
        cell: which.
        seed: of its run.
        images: what to train on.
        config: all that fixes the network but its seed.
        folder: for checkpoints of the training.
        shelf: folder of the networks that are kept.
        checkpoint_every: seconds between two checkpoints.
        report: called with steps done.

    Returns:
        `Found`.
    """
    made = stamp()
    name = hashlib.sha256(canonical([config, seed, made["versions"]]).encode()).hexdigest()[:16]
    place, note = shelf / name, shelf / f"{name}.json"
    if note.exists():
        like = (blank(recipe, cell), np.zeros(()))
        _, (network, seconds) = checkpoint.restore(place, like)
        report(recipe.steps(cell))
        return Found(float(seconds), network, json.loads(note.read_text())["commit"])
    seconds, network = train(recipe, cell, seed, images, folder, checkpoint_every, report)
    checkpoint.save(place, recipe.steps(cell), (network, np.asarray(seconds)))
    # Last, so that a network without its note is not whole.
    with replacing(note) as file:
        text = json.dumps({"commit": made["commit"], "config": config, "seed": seed})
        file.write(text.encode())
    return Found(seconds, network, made["commit"])
