# SPDX-License-Identifier: Apache-2.0
"""The families of y, each as a normal regression whose weights and response are redrawn.

Given weights omega and a response z, the likelihood of the linear predictor eta is that of

    z_i ~ N(eta_i, sigma^2 / omega_i).

Given eta, sigma and y, omega and z can be drawn. With w the row weights that the user gave:

    student_t          y = eta + t_f sigma / sqrt w.  z = y, omega = w g,
                       g ~ Gamma((f + 1) / 2) / ((f + w (y - eta)^2 / sigma^2) / 2)
    binomial           w y ~ Binomial(w, 1 / (1 + exp -eta)).  sigma = 1,
                       omega ~ PG(w, eta),  z = w (y - 1/2) / omega
    negative_binomial  y ~ NB with mean m = exp eta and variance m + m^2 / r, to the power of w.
                       sigma = 1, omega ~ PG(w (y + r), eta - log r),
                       z = w (y - r) / (2 omega) + log r

A row that stands for c equal rows (`repeats`) has w c in place of w in the last two families. In a
Student's t its omega is the sum of those of the c rows, w Gamma(c (f + 1) / 2, ...).

f and r are drawn first, given eta alone. If omega were given too, they would hardly move. They are
drawn from a grid that is evenly spaced in the logarithm. f has the prior Gamma(2, 1/10) (Juarez and
Steel, JBES 2010), between 1 and 100. log r has a flat prior, with r between 0.02 and 500. The
offset, the known part of eta, is subtracted from z.

Reference: Polson, Scott and Windle (JASA 2013), for the last two families.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb.linear.polya_gamma import gamma, polya_gamma, polya_gamma_one
from aeb.types import PRNGKey

__all__ = ["FAMILIES", "Family", "Response", "Rows", "shapes"]


class Rows(NamedTuple):
    """The data: the columns to choose from, and the base, whose columns are always in."""

    x: jax.Array  # f64[n, p]
    base: jax.Array  # f64[n, k]: what is always in, the intercept first
    precision: jax.Array  # f64[k]: of the prior of the coefficients of base, over that of the noise
    y: jax.Array  # f64[n]
    weights: jax.Array  # f64[n]: w
    offset: jax.Array  # f64[n]: part of eta that is known
    grid: jax.Array  # f64[g]: of f or r
    heights: jax.Array  # f64[g]: the part of its log density that does not depend on eta
    repeats: jax.Array | None = None  # f64[n]: c, for "student_t"; None if each row counts once


class Response(NamedTuple):
    """The normal regression that replaces y."""

    weights: jax.Array  # f64[n]: omega
    target: jax.Array  # f64[n]: z
    shape: jax.Array  # f64[]: f or r


class Family(NamedTuple):
    """A family of y. `start(rows)` and `redraw(key, rows, eta, sigma)` return a response."""

    start: Callable[[Rows], Response]
    redraw: Callable[[PRNGKey, Rows, jax.Array, jax.Array], Response]
    known_sigma: bool


def shapes(
    family: str,
    given: float | None,
    y: np.ndarray,
    weights: np.ndarray,
    repeats: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the grid of f or r, and the part of its log density that does not depend on eta.

    Args:
        family: a name in `FAMILIES`.
        given: f or r, if it is known. The grid is then this one point.
        y: f64[n].
        weights: f64[n], w; for "negative_binomial" w c.
        repeats: f64[n], c, for "student_t"; None if each row counts once.

    Returns:
        The grid and its heights, f64[g] each. For a family without f and r, the grid is one point
        of height 0.

    Example:
        >>> shapes("student_t", 4.0, np.zeros(3), np.ones(3))[0].tolist()
        [4.0]
    """
    from scipy.special import gammaln  # takes as long to import as all of this library

    if family == "student_t":
        grid = np.geomspace(1.0, 100.0, 47) if given is None else np.array([given])
        half = 0.5 * grid
        heights = gammaln(half + 0.5) - gammaln(half) - 0.5 * np.log(grid)
        # Gamma(2, 1/10) in f is f^2 exp(-f / 10) in log f.
        size = len(y) if repeats is None else repeats.sum()
        return grid, size * heights + 2.0 * np.log(grid) - grid / 10.0
    if family == "negative_binomial":
        grid = np.geomspace(0.02, 500.0, 140) if given is None else np.array([given])
        heights = np.array([weights @ (gammaln(y + r) - gammaln(r)) for r in grid])
        return grid, heights + weights.sum() * grid * np.log(grid)
    return np.ones(1), np.zeros(1)


def _start_t(rows: Rows) -> Response:
    return Response(_times(rows, rows.weights), rows.y - rows.offset, _middle(rows))


def _redraw_t(key: PRNGKey, rows: Rows, eta: jax.Array, sigma: jax.Array) -> Response:
    shape_key, weight_key = jax.random.split(key)
    square = rows.weights * jnp.square((rows.y - eta) / sigma)
    tails = _times(rows, jnp.log1p(square[None, :] / rows.grid[:, None]))
    logs = rows.heights - 0.5 * (rows.grid + 1.0) * jnp.sum(tails, axis=1)
    f = rows.grid[jax.random.categorical(shape_key, logs)]
    drawn = gamma(weight_key, _times(rows, jnp.broadcast_to(0.5 * (f + 1.0), square.shape)))
    return Response(rows.weights * drawn / (0.5 * (f + square)), rows.y - rows.offset, f)


def _answer(rows: Rows, weights: jax.Array) -> Response:
    target = rows.weights * (rows.y - 0.5) / weights - rows.offset
    return Response(weights, target, _middle(rows))


def _start_binomial(rows: Rows) -> Response:
    return _answer(rows, 0.25 * rows.weights)


def _redraw_bernoulli(key: PRNGKey, rows: Rows, eta: jax.Array, sigma: jax.Array) -> Response:
    del sigma
    return _answer(rows, polya_gamma_one(key, eta))


def _redraw_binomial(key: PRNGKey, rows: Rows, eta: jax.Array, sigma: jax.Array) -> Response:
    del sigma
    return _answer(rows, polya_gamma(key, rows.weights, eta))


def _count(rows: Rows, r: jax.Array, weights: jax.Array) -> Response:
    target = 0.5 * rows.weights * (rows.y - r) / weights + jnp.log(r) - rows.offset
    return Response(weights, target, r)


def _start_counts(rows: Rows) -> Response:
    r = _middle(rows)
    # The information of NB(m, r) about log m, at m = y: omega there would be up to y / r times as
    # much, and large counts would hold the chain where it starts.
    m = rows.y + 0.5
    return Response(rows.weights * m * r / (m + r), jnp.log(m) - rows.offset, r)


def _redraw_counts(key: PRNGKey, rows: Rows, eta: jax.Array, sigma: jax.Array) -> Response:
    del sigma
    shape_key, weight_key = jax.random.split(key)
    # log(r + exp eta), which must not overflow.
    sums = jnp.logaddexp(jnp.log(rows.grid)[:, None], eta[None, :])
    counts = rows.weights[None, :] * (rows.y[None, :] + rows.grid[:, None])
    logs = rows.heights - jnp.sum(counts * sums, axis=1)
    r = rows.grid[jax.random.categorical(shape_key, logs)]
    return _count(rows, r, polya_gamma(weight_key, rows.weights * (rows.y + r), eta - jnp.log(r)))


def _times(rows: Rows, values: jax.Array) -> jax.Array:
    """Multiply values, whose last axis is rows, by how often each row counts."""
    if rows.repeats is None:
        return values
    return values * jnp.broadcast_to(rows.repeats, values.shape)


def _middle(rows: Rows) -> jax.Array:
    return rows.grid[len(rows.grid) // 2]


FAMILIES = {
    "student_t": Family(_start_t, _redraw_t, known_sigma=False),
    "bernoulli": Family(_start_binomial, _redraw_bernoulli, known_sigma=True),
    "binomial": Family(_start_binomial, _redraw_binomial, known_sigma=True),
    "negative_binomial": Family(_start_counts, _redraw_counts, known_sigma=True),
}
"""The families by name. "bernoulli" is "binomial" with one trial per row."""
