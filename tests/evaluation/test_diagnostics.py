# SPDX-License-Identifier: Apache-2.0
"""Scores of predictions against scikit-learn, hand-made tables, and the plainest loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.metrics import brier_score_loss, log_loss

from aeb import diagnostics

SCORES = [
    diagnostics.accuracy,
    diagnostics.negative_log_likelihood,
    diagnostics.brier_score,
    diagnostics.expected_calibration_error,
]


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(4, 0.4), size=500).astype(np.float32)
    labels = np.where(rng.random(500) < 0.7, probs.argmax(1), rng.integers(0, 4, 500))
    return probs, labels


def test_negative_log_likelihood_is_scikit_learns_log_loss(predictions):
    """Fails if the log is to base 2, or the sum is not divided by the number of predictions."""
    probs, labels = predictions
    expected = log_loss(labels, probs / probs.sum(1, keepdims=True), labels=range(4))
    np.testing.assert_allclose(
        diagnostics.negative_log_likelihood(probs, labels), expected, rtol=1e-5
    )


def test_the_temperature_is_where_scipy_finds_the_least_nll(predictions):
    """Fails if the slope has the other sign, T is 1 / T, or the class of the label is another."""
    probs, labels = predictions
    logits = np.log(np.maximum(probs.astype(float), np.finfo(np.float32).tiny))

    def nll(log_temperature):
        scaled = logits / np.exp(log_temperature)
        return np.mean(logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels])

    best = minimize_scalar(nll, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9})
    found = float(diagnostics.calibrating_temperature(probs, labels))
    assert abs(np.log(found)) > 0.1  # there was something to mend
    np.testing.assert_allclose(np.log(found), best.x, atol=1e-3)


def test_the_scaled_nll_is_fitted_on_the_other_half(predictions):
    """Fails if a half is scored at its own temperature, or the halves are not weighted."""
    probs, labels = (array[:401] for array in predictions)
    total = 0.0
    halves = slice(0, None, 2), slice(1, None, 2)
    for scored, fitted in (halves, halves[::-1]):
        temperature = float(diagnostics.calibrating_temperature(probs[fitted], labels[fitted]))
        powers = np.maximum(probs[scored].astype(float), np.finfo(np.float32).tiny) ** (
            1 / temperature
        )
        of_label = powers[np.arange(len(powers)), labels[scored]] / powers.sum(axis=1)
        total -= np.log(of_label).sum()
    found = diagnostics.temperature_scaled_nll(probs, labels)
    np.testing.assert_allclose(found, total / 401, rtol=1e-4)
    # What is too sure by a factor is as good once it is scaled.
    sharper = jax.nn.softmax(3.0 * jnp.log(probs))
    np.testing.assert_allclose(
        diagnostics.temperature_scaled_nll(sharper, labels), found, rtol=1e-3
    )
    with pytest.raises(ValueError, match=r"^probs: got shape \(1, 4\)"):
        diagnostics.temperature_scaled_nll(probs[:1], labels[:1])


def test_brier_score_is_scikit_learns(predictions):
    """Fails if the square is halved, or averaged over classes."""
    probs, labels = predictions
    probs = probs / probs.sum(1, keepdims=True)
    expected = brier_score_loss(labels, probs, labels=range(4), scale_by_half=False)
    np.testing.assert_allclose(diagnostics.brier_score(probs, labels), expected, rtol=1e-5)


def test_a_probability_of_zero_costs_the_smallest_normal_number():
    """Fails if the clip is dropped (inf), or clips at the eps of the dtype (15.9 nats)."""
    loss = diagnostics.negative_log_likelihood(jnp.array([[1.0, 0.0]]), jnp.array([1]))
    np.testing.assert_allclose(loss, -np.log(np.finfo(np.float32).tiny), rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_class_gives_nan(label):
    """Fails if a negative label counts from the last class, or a large one is clipped."""
    loss = diagnostics.negative_log_likelihood(jnp.array([[0.5, 0.5]]), jnp.array([label]))
    assert jnp.isnan(loss)


def slow_calibration(probs, labels, num_bins):
    """Loop over predictions and bins in double precision: confidence, accuracy, count, ECE."""
    bins = [[] for _ in range(num_bins)]
    for row, label in zip(probs.astype(float), labels, strict=True):
        m = next(m for m in range(1, num_bins + 1) if row.max() <= m / num_bins)
        bins[m - 1].append((row.max(), row.argmax() == label))
    means = [np.mean(bin_, axis=0) if bin_ else (np.nan, np.nan) for bin_ in bins]
    counts = [len(bin_) for bin_ in bins]
    gaps = [n * abs(m[0] - m[1]) for m, n in zip(means, counts, strict=True) if n]
    return np.array(means)[:, 0], np.array(means)[:, 1], counts, sum(gaps) / len(probs)


@pytest.mark.parametrize("num_bins", [1, 15])
def test_calibration_is_that_of_a_plain_loop(predictions, num_bins):
    """Fails if bins are open above, if gaps are not weighted by counts, or summed with signs."""
    confidence, accuracy, counts, error = slow_calibration(*predictions, num_bins)
    curve = diagnostics.reliability_curve(*predictions, num_bins)
    np.testing.assert_allclose(curve.confidence, confidence, rtol=1e-5)
    np.testing.assert_allclose(curve.accuracy, accuracy, rtol=1e-5)
    np.testing.assert_array_equal(curve.counts, counts)
    np.testing.assert_allclose(
        diagnostics.expected_calibration_error(*predictions, num_bins), error, rtol=1e-5
    )


def test_a_bin_holds_its_upper_edge():
    """Fails if the index is floor(confidence * bins), which also sends 1.0 past the last bin."""
    probs = jnp.array([[0.5, 0.25, 0.25], [0.75, 0.25, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    curve = diagnostics.reliability_curve(probs, jnp.array([0, 0, 0, 1]), 4)
    np.testing.assert_array_equal(curve.counts, [0, 1, 1, 2])
    np.testing.assert_array_equal(curve.accuracy, [np.nan, 1.0, 1.0, 0.5])


def test_accuracy_counts_the_most_probable_class():
    """Fails if argmax runs over the examples."""
    probs = jnp.array([[0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    np.testing.assert_allclose(diagnostics.accuracy(probs, jnp.array([1, 0, 0])), 2 / 3)


def test_entropy_is_log_of_the_classes_when_uniform_and_zero_when_sure():
    """Fails if 0 log 0 is nan, or the sign is lost."""
    probs = jnp.array([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]])
    np.testing.assert_allclose(diagnostics.predictive_entropy(probs), [np.log(4.0), 0.0], rtol=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_scores_run_under_jit_on_any_leading_shape(predictions, score):
    """Fails if a score takes [n, classes] only, or reads concrete values."""
    probs, labels = predictions
    folded = jax.jit(score)(probs.reshape(5, 100, 4), labels.reshape(5, 100))
    np.testing.assert_allclose(folded, score(probs, labels), rtol=1e-5)


@pytest.mark.parametrize("score", SCORES)
def test_half_precision_is_averaged_in_single(predictions, score):
    """Fails if the sums stay in bfloat16."""
    probs, labels = predictions
    half = jnp.asarray(probs, jnp.bfloat16)
    assert score(half, labels).dtype == jnp.float32
    np.testing.assert_allclose(score(half, labels), score(half.astype(jnp.float32), labels))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("probs", "labels", "error", "message"),
    [
        (np.ones((3, 2)) / 2, np.zeros(4, int), ValueError, r"labels: got shape \(4,\).*\(3,\)"),
        (np.ones((3, 2)) / 2, np.zeros((3, 2), int), ValueError, "labels: got shape"),
        (np.ones((3, 2)) / 2, np.zeros(3), TypeError, "labels: got float32.*integer"),
        (np.ones((3, 2), int), np.zeros(3, int), ValueError, "probs: got int32"),
        (np.float32(1), np.zeros((), int), ValueError, r"probs: .*\[..., classes\]"),
        (np.ones((0, 2)), np.zeros(0, int), ValueError, r"probs: got shape \(0, 2\)"),
    ],
)
def test_bad_predictions_are_refused(score, probs, labels, error, message):
    """Fails if a check is dropped: broadcasting would give a number that means nothing."""
    with pytest.raises(error, match=message):
        score(probs, labels)


def test_no_bins_are_refused():
    """Fails if the guard on num_bins is dropped."""
    with pytest.raises(ValueError, match="num_bins: got 0"):
        diagnostics.reliability_curve(np.ones((3, 2)) / 2, np.zeros(3, int), 0)
