# SPDX-License-Identifier: Apache-2.0
"""The designs: what the columns, the coefficients and the noise are drawn from.

    y = X beta + noise,   E x = 0,   E x x' = Sigma,   E noise^2 = s2

A coefficient is one of a few signals, or one of the others, which are 0 unless the design is dense.
The error of an estimate b, with intercept c, on a new row is exact,

    E (y - c - x b)^2 = s2 + c^2 + d' Sigma d,   d = beta - b,

and d' Sigma d takes time linear in p for every Sigma here:

    independent   |d|^2
    ar            as in `benchmarks.simulation.design`, Sigma_ij = r^|i-j|
    blocks        (1 - r) |d|^2 + r sum over blocks (sum of d in the block)^2
    equal         the same with one block
    factors       |u d|^2 + |L' (w d)|^2, x = w (z L' + e) with z, e normal; u = w
    genotypes     the mean of (X d)^2 over the rows, which are given

Designs of these kinds are in Rockova and George (JASA 2014; 2018), Zhang (Annals of Statistics
2010), Zhu et al. (PNAS 2020) and Wang et al. (JRSS B 2020); sizes and signals are our own choice.
"""

import functools
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

BLOCK = 20
"""Columns in a block."""

FACTORS = 3
"""Hidden factors that the columns share."""

Error = Callable[[float, np.ndarray], float]
"""(intercept, coefficients) -> expected squared error on a new row."""


class Design(NamedTuple):
    """What the data sets of a design are drawn from."""

    num_rows: int  # n
    num_columns: int  # p
    columns: Literal["independent", "ar", "blocks", "equal", "factors", "genotypes"] = "independent"
    correlation: float = 0.0  # r
    signals: tuple[float, ...] = ()  # coefficients that are large
    place: Literal["first", "even", "random"] = "even"  # which columns have them
    others: float = 0.0  # standard deviation of the coefficients of all other columns
    noise_variance: float = 1.0  # s2
    noise: Literal["normal", "t3"] = "normal"


class DataSet(NamedTuple):
    """One data set, and how an estimate from it is judged."""

    x: np.ndarray  # f64[n, p]
    y: np.ndarray  # f64[n]
    beta: np.ndarray  # f64[p]
    signal: np.ndarray  # bool[p]
    error: Error


DESIGNS: dict[str, Design] = {
    "paper": Design(100, 1000, "ar", 0.6, (3.0, 2.0, 1.0), "first", noise_variance=3.0),
    "small": Design(60, 30, signals=(1.0, -0.8, 0.6, -0.4, 0.2)),
    "short": Design(40, 300, signals=(2.0, -1.5, 1.0)),
    "near": Design(100, 200, "ar", 0.9, 5 * (1.5, -1.5), "even", noise_variance=3.0),
    "equal": Design(150, 500, "equal", 0.5, 4 * (1.0, -1.0), "random", noise_variance=3.0),
    "blocks": Design(
        100, 1000, "blocks", 0.9, (-2.5, -2.0, -1.5, 1.5, 2.0, 2.5), "even", noise_variance=3.0
    ),
    "factors": Design(120, 400, "factors", 0.0, 3 * (1.0, -1.0), "random", noise_variance=2.0),
    "tails": Design(100, 300, signals=(2.0, -1.5, 1.5, 1.0, -1.0), noise_variance=3.0, noise="t3"),
    "twenty": Design(200, 1000, signals=10 * (1.0, -1.0), place="random"),
    "wide": Design(200, 10_000, "ar", 0.6, (1.5, -1.0, 1.0, -0.5, 0.5), "even"),
    "null": Design(100, 500),
    "dense": Design(200, 300, others=0.1),
    "mixed": Design(200, 300, signals=(2.0, -2.0, 1.5, -1.5, 1.0), others=0.1),
    # The columns are given; their scale is not 1, so the signals are for standardised columns.
    "genotypes": Design(574, 1001, "genotypes", signals=(0.4, -0.3, 0.3), place="random"),
}
"""The designs by name; "near" has neighbours alike, "short" has few rows."""


def draw(name: str, seed: int) -> DataSet:
    """Draw a data set of one of `DESIGNS`; each draws its own numbers from a seed."""
    design = DESIGNS[name]
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    n = design.num_rows
    x, quadratic = columns(design, rng)
    beta, signal = coefficients(design, rng)
    noise = rng.standard_t(3, n) / 3**0.5 if design.noise == "t3" else rng.normal(size=n)
    y = x @ beta + design.noise_variance**0.5 * noise

    def error(intercept: float, coefficients: np.ndarray) -> float:
        return float(design.noise_variance + intercept**2 + quadratic(beta - coefficients))

    return DataSet(x, y, beta, signal, error)


def coefficients(design: Design, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw beta, f64[p], and return it with which of it are signals, bool[p]."""
    p, count = design.num_columns, len(design.signals)
    if design.place == "first":
        places = np.arange(count)
    elif design.place == "even":
        places = np.arange(count) * (p // max(count, 1))
    else:
        places = rng.choice(p, size=count, replace=False)
    signal = np.zeros(p, bool)
    signal[places] = True
    beta = design.others * rng.normal(size=p)
    beta[places] = design.signals
    return beta, signal


def columns(
    design: Design, rng: np.random.Generator
) -> tuple[np.ndarray, Callable[[np.ndarray], float]]:
    """Draw X, f64[n, p], and return it with d -> d' Sigma d."""
    n, p, r = design.num_rows, design.num_columns, design.correlation
    if design.columns == "genotypes":
        x = genotypes()
        return x, lambda d: float(np.mean((x @ d) ** 2))
    z = rng.normal(size=(n, p))
    if design.columns == "ar":
        x = z
        for j in range(1, p):
            x[:, j] = r * x[:, j - 1] + (1.0 - r**2) ** 0.5 * x[:, j]
        return x, lambda d: _ar(d, r)
    if design.columns in ("blocks", "equal"):
        width = BLOCK if design.columns == "blocks" else p
        shared = np.repeat(rng.normal(size=(n, p // width)), width, axis=1)
        x = (1.0 - r) ** 0.5 * z + r**0.5 * shared
        return x, lambda d: float(
            (1.0 - r) * d @ d + r * np.sum(d.reshape(-1, width).sum(axis=1) ** 2)
        )
    if design.columns == "factors":
        loadings = rng.normal(size=(p, FACTORS))
        scale = 1.0 / np.sqrt(1.0 + np.sum(loadings**2, axis=1))
        x = scale * (z + rng.normal(size=(n, FACTORS)) @ loadings.T)
        return x, lambda d: float(np.sum((scale * d) ** 2) + np.sum(((scale * d) @ loadings) ** 2))
    return z, lambda d: float(d @ d)


def _ar(d: np.ndarray, r: float) -> float:
    """Compute d' Sigma d for Sigma_ij = r^|i-j|."""
    u = np.zeros(len(d))
    u[-1] = d[-1]
    for j in range(len(d) - 2, -1, -1):
        u[j] = d[j] + r * u[j + 1]
    return float(u[0] ** 2 + (1.0 - r**2) * np.sum(u[1:] ** 2))


def stored(file: str) -> Path:
    """Return where a file of real data is, or is not."""
    return Path(os.environ.get("AEB_DATA_DIR", "nowhere")) / "regression" / file


@functools.lru_cache(maxsize=1)
def genotypes() -> np.ndarray:
    """Read the genotypes of susie's N3finemapping, 574 people by 1,001 variants, standardised."""
    with np.load(stored("n3finemapping.npz")) as arrays:
        x = arrays["X"].astype(np.float64)
    x -= x.mean(axis=0)
    return x / x.std(axis=0)
