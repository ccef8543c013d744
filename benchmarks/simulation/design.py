# SPDX-License-Identifier: Apache-2.0
"""The large-p-small-n regression: its data, and the scores of an estimate.

    x ~ N(0, Sigma),  Sigma_ij = c^|i-j|;   y = x beta + N(0, s2)
    beta_1..beta_m ~ N((3, 2, 1), t^2), drawn once a data set;  beta_j = 0 beyond

with c = 0.6, s2 = 3, t = 0.2, n = 100 rows, p = 1000 columns: the design of Rockova and George
(JASA 2014) with signals that vary. The fresh rows to be predicted have the same beta; the authors'
own test rows had another one than the rows that were fitted.

The error on the population of rows is exact, E (y - x beta-hat)^2 = s2 + d' Sigma d with
d = beta - beta-hat. As x_1 = z_1, x_j = c x_{j-1} + sqrt(1 - c^2) z_j with independent z,

    d' Sigma d = u_1^2 + (1 - c^2) sum_{j>1} u_j^2,   u_j = d_j + c u_{j+1},

in time and memory linear in p.
"""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb import guards
from aeb.types import PRNGKey
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, Positive, Some, at_least, whole, within


@dataclasses.dataclass(frozen=True)
class Design:
    """What the data sets are drawn from."""

    num_rows: Annotated[int, whole(2)] = 100  # n, rows to fit
    num_columns: int = 1000  # p, coefficients
    num_fresh: Count = 50  # fresh rows to predict, from the same coefficients
    correlation: Annotated[float, within("[0, 1)")] = 0.6  # c; columns i, j correlate by c^|i-j|
    noise_variance: Positive = 3.0  # of the noise of y
    signals: Some[float] = (3.0, 2.0, 1.0)  # means of the first coefficients; the others are 0
    signal_spread: Annotated[float, at_least(0.0)] = 0.2  # their deviation over data sets

    def check(self) -> None:
        check(self)
        guards.whole("num_columns", self.num_columns, len(self.signals) + 1)


class DataSet(NamedTuple):
    """One data set."""

    x: jax.Array  # f32[n, p]
    y: jax.Array  # f32[n]
    fresh_x: jax.Array  # f32[fresh, p]
    fresh_y: jax.Array  # f32[fresh]
    beta: jax.Array  # f32[p]: the truth


def draw(design: Design, key: PRNGKey) -> DataSet:
    """Draw a data set; pure, so that many can be drawn under `jax.vmap`."""
    rows, columns, count = (
        design.num_rows + design.num_fresh,
        design.num_columns,
        len(design.signals),
    )
    # All cut from one draw, which XLA compiles in a third of the time of three.
    flat = jax.random.normal(key, (count + rows + columns * rows,), float)
    signal, noise, z = jnp.split(flat, [count, count + rows])
    signals = jnp.asarray(design.signals, float) + design.signal_spread * signal
    beta = jnp.zeros(columns, float).at[:count].set(signals)
    z = z.reshape(columns, rows)
    innovation = (1.0 - design.correlation**2) ** 0.5

    def column(left: jax.Array, z_j: jax.Array) -> tuple[jax.Array, jax.Array]:
        x_j = design.correlation * left + innovation * z_j
        return x_j, x_j

    _, others = jax.lax.scan(column, z[0], z[1:])
    x = jnp.concatenate([z[:1], others]).T
    y = jnp.matmul(x, beta, precision="highest") + design.noise_variance**0.5 * noise
    n = design.num_rows
    return DataSet(x[:n], y[:n], x[n:], y[n:], beta)


def data_key(seed: Any) -> PRNGKey:
    """Return the key that the data set of a seed is drawn with, by every script alike."""
    return jax.random.split(jax.random.key(seed), 3)[0]


def population_mse(design: Design, beta: np.ndarray, estimate: np.ndarray) -> float:
    """Compute the exact expected squared error on a new row; its floor is the noise variance.

    Example:
        >>> import numpy as np
        >>> population_mse(Design(num_columns=4), np.zeros(4), np.array([1.0, 1.0, 0.0, 0.0]))
        6.2
    """
    c, u = design.correlation, 0.0
    total = 0.0
    gaps = np.asarray(estimate, np.float64) - np.asarray(beta, np.float64)
    for gap in gaps[:0:-1]:
        u = gap + c * u
        total += (1.0 - c**2) * u**2
    return float(design.noise_variance + total + (gaps[0] + c * u) ** 2)


def errors(data: DataSet, estimate: np.ndarray) -> dict[str, float]:
    """Compute the mean absolute and squared error on the fresh rows of a data set in numpy."""
    x, y = (np.asarray(part, np.float64) for part in (data.fresh_x, data.fresh_y))
    residual = y - x @ np.asarray(estimate, np.float64)
    return {"mae": float(np.mean(np.abs(residual))), "mse": float(np.mean(residual**2))}


def interval_scores(beta: np.ndarray, low: np.ndarray, high: np.ndarray, *, count: int) -> Any:
    """Compute coverage and width of intervals, for the first `count` coefficients and the rest."""
    inside = (low <= beta) & (beta <= high)
    return {
        name: {"coverage": float(inside[part].mean()), "width": float((high - low)[part].mean())}
        for name, part in (("signals", slice(count)), ("nulls", slice(count, None)))
    }
