# SPDX-License-Identifier: Apache-2.0
"""Collect the facts that a run stores about a network: zeros, inclusion probabilities, calibration.

All of them fit into JSON, so a report needs only the folder of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aeb.evaluation.diagnostics import reliability_curve
from aeb.files.report import sparsity_report
from aeb.types import ArrayTree

__all__ = ["network_facts"]

RHO_BINS = 20
"""The number of equal bins for the inclusion probabilities, from 0 to 1."""


def network_facts(
    params: ArrayTree,
    rho: Mapping[str, Any] | None = None,
    probs: Any = None,
    labels: Any = None,
) -> dict[str, Any]:
    """Describe a network.

    Args:
        params: the weights of the network.
        rho: inclusion probabilities by path, if the prior has them.
        probs: f32[..., K], predicted probabilities for some rows; None if the targets are not
            classes.
        labels: i32[...], the classes of these rows.

    Returns:
        `leaves`: path, shape, size and zeros of each leaf. `rho`: counts by path over equal bins
        from 0 to 1, or None. `reliability`: confidence, accuracy (None in an empty bin) and counts
        of `aeb.diagnostics.reliability_curve`, or None.

    Example:
        >>> facts = network_facts({"kernel": np.eye(2)}, {"kernel": np.array([0.0, 1.0])})
        >>> facts["leaves"]
        [{'path': 'kernel', 'shape': [2, 2], 'size': 4, 'zeros': 2}]
        >>> facts["rho"]["kernel"][0], facts["rho"]["kernel"][-1], facts["reliability"]
        (1, 1, None)
    """
    leaves = [
        {"path": leaf.path, "shape": list(leaf.shape), "size": leaf.size, "zeros": leaf.zeros}
        for leaf in sparsity_report(params).leaves
    ]
    return {
        "leaves": leaves,
        "rho": None if rho is None else {path: _histogram(leaf) for path, leaf in rho.items()},
        "reliability": None if probs is None else _reliability(probs, labels),
    }


def _histogram(leaf: Any) -> list[int]:
    counts, _ = np.histogram(np.asarray(leaf, np.float32), RHO_BINS, (0.0, 1.0))
    return [int(count) for count in counts]


def _reliability(probs: Any, labels: Any) -> dict[str, list[Any]]:
    curve = reliability_curve(probs, labels)
    return {
        "confidence": [None if np.isnan(x) else float(x) for x in np.asarray(curve.confidence)],
        "accuracy": [None if np.isnan(x) else float(x) for x in np.asarray(curve.accuracy)],
        "counts": [int(x) for x in np.asarray(curve.counts)],
    }
