# SPDX-License-Identifier: Apache-2.0
"""How good a network's predictions are, on its own set and on one that it has never seen."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata

from aeb import diagnostics
from benchmarks.images.data import Images
from benchmarks.images.networks import SPARSE, logits_of
from benchmarks.images.training import Trained

Draws = Sequence[tuple[Any, Any]]
"""Weight and draw of each member of a mixture."""

QUANTILES = (0.1, 0.5, 0.9)

ROWS = 1000
"""Images that a network predicts at a time."""


def draws_of(trained: Trained) -> Draws:
    """List the draws, each with its weight."""
    return [
        (weight, jax.tree.map(lambda leaf, at=place: jnp.asarray(leaf[at]), trained.draws))
        for place, weight in enumerate(trained.weights)
    ]


@functools.lru_cache(maxsize=16)
def _softmax(net: nn.Module) -> Any:
    logits = logits_of(net)
    return jax.jit(lambda draw, pixels: jax.nn.softmax(logits(draw, pixels)))


def probs(net: nn.Module, draw: Any, pixels: np.ndarray) -> np.ndarray:
    """Predict by one draw: f32[M, 10] for bytes, or floats in [0, 1], [M, 28, 28, 1]."""
    predict = _softmax(net)
    parts = [predict(draw, pixels[at : at + ROWS]) for at in range(0, len(pixels), ROWS)]
    return np.concatenate([np.asarray(part) for part in parts])


def mixture(net: nn.Module, draws: Draws, pixels: np.ndarray) -> np.ndarray:
    """Predict by the average over draws, weighted; f32[M, 10] of sum 1."""
    total = sum(weight for weight, _ in draws)
    return sum(weight / total * probs(net, draw, pixels) for weight, draw in draws)


def score(net: nn.Module, trained: Trained, images: Images) -> dict[str, Any]:
    """Score the last draw and the average over the draws, under "last" and "average".

    Where the prior was learned, what it says of the sparse layer stands under "sparse".
    """
    pixels = np.concatenate([images.image, images.other])
    draws = draws_of(trained)
    found = {
        "last": _scores(mixture(net, draws[-1:], pixels), images),
        "average": _scores(mixture(net, draws, pixels), images),
        "draws": len(trained.weights),
        "loss": trained.loss,
    }
    if trained.latent and np.ptp(trained.latent.rho[SPARSE]) > 0:
        found["sparse"] = _sparse(net, trained, images)
    return found


def _scores(predicted: np.ndarray, images: Images) -> dict[str, Any]:
    known, other = predicted[: len(images.label)], predicted[len(images.label) :]
    entropy, strange = (np.asarray(diagnostics.predictive_entropy(p)) for p in (known, other))
    return {
        "accuracy": diagnostics.accuracy(known, images.label),
        "nll": diagnostics.negative_log_likelihood(known, images.label),
        "scaled_nll": diagnostics.temperature_scaled_nll(known, images.label),
        "ece": diagnostics.expected_calibration_error(known, images.label),
        "entropy": entropy.mean(),
        "entropy_other": strange.mean(),
        "auroc": area_under_roc(entropy, strange),
    }


def area_under_roc(low: np.ndarray, high: np.ndarray) -> float:
    """Return the chance that a value of the second lies above one of the first; ties count half."""
    ranks = rankdata(np.concatenate([low, high]))[len(low) :]
    return float((ranks.sum() / len(high) - (len(high) + 1) / 2) / len(low))


def _sparse(net: nn.Module, trained: Trained, images: Images) -> dict[str, Any]:
    """Return what was learned of FC1, and what its last draw predicts once rho has cut it."""
    latent = trained.latent
    out = latent.rho[SPARSE] <= 0.5
    _, draw = draws_of(trained)[-1]
    layer, kernel = SPARSE.split("/")
    weights = np.asarray(draw["params"][layer][kernel])
    draw["params"][layer][kernel] = jnp.asarray(np.where(out, 0, weights))
    return {
        "share_out": out.mean(),
        "accuracy_after_cut": diagnostics.accuracy(probs(net, draw, images.image), images.label),
        "sigma": latent.sigma,
        "delta": latent.delta[SPARSE],
        "magnitudes": np.quantile(np.abs(weights), QUANTILES),
    }
