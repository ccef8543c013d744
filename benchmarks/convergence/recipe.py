# SPDX-License-Identifier: Apache-2.0
"""Two normal means under one spike-and-slab prior that learns itself.

    y_ij = beta_j + sigma e_ij,   i = 1 .. m,  j = 1, 2,   N = 2 m observations

with both coefficients in one sparse leaf. The rows are made, not drawn: column j alternates
between its mean plus and minus the spread, so the data are the same for every seed. Two
coefficients are the fewest that share delta and sigma, and few enough for the expectation of
sigma~, whose root couples them, on a product grid.

theta gathers all latents, as a vector in the order of `Theta`: eight numbers.
"""

import dataclasses
from typing import Annotated, Any, NamedTuple

import numpy as np

import aeb
from aeb.types import Prior, Schedule
from benchmarks.harness import check
from benchmarks.harness.ranges import Positive, at_least, whole, within

SIZE = 2
"""Coefficients."""

FUNCTIONS = ("beta", "beta²", "|beta|", "1{|beta| > c}")
"""The test functions of weak convergence."""


class Theta(NamedTuple):
    """The latents of the two coefficients; arrays may lead with more axes."""

    rho: np.ndarray  # f64[..., 2]
    kappa0: np.ndarray  # f64[..., 2]
    kappa1: np.ndarray  # f64[..., 2]
    delta: Any  # f64[...]
    sigma: Any  # f64[...]


def to_vector(theta: Theta) -> np.ndarray:
    """Lay the latents out as f64[..., 8]."""
    scalars = np.stack([np.asarray(theta.delta), np.asarray(theta.sigma)], axis=-1)
    parts = [theta.rho, theta.kappa0, theta.kappa1, scalars]
    return np.concatenate([np.asarray(part, np.float64) for part in parts], axis=-1)


def from_vector(vector: np.ndarray) -> Theta:
    """Read the latents out of f64[8]."""
    return Theta(vector[0:2], vector[2:4], vector[4:6], vector[6], vector[7])


@dataclasses.dataclass(frozen=True)
class Gain:
    """omega_k = min(1, C (A + k)^-alpha), with k the steps taken, from 0 on."""

    coefficient: float  # C
    offset: float  # A, in steps
    exponent: float  # alpha in (0.5, 1]

    @property
    def schedule(self) -> Schedule:
        return aeb.robbins_monro(self.coefficient, self.offset, self.exponent)

    def at(self, count: Any) -> np.ndarray:
        """Return the value after `count` steps, in double."""
        steps = self.offset + np.asarray(count, np.float64)
        return np.minimum(1.0, self.coefficient * steps**-self.exponent)


AboveOne = Annotated[float, within("(1, inf)")]
"""At 1 delta may reach an end of its interval, where the fixed point need not be alone."""


@dataclasses.dataclass(frozen=True)
class TwoMeans:
    """The data and the prior."""

    means: tuple[float, ...] = (1.2, 0.2)  # of each column: a signal, and one near nothing
    # How far an observation is from the mean of its column.
    spread: Annotated[float, at_least(0.0)] = 0.5
    num_rows: Annotated[int, whole(2)] = 4  # m, an even number
    v0: Positive = 0.3  # scale of the spike in units of sigma
    v1: Positive = 4.0  # variance of the slab in units of sigma^2
    a: AboveOne = 2.0  # first parameter of the Beta prior of delta
    b: AboveOne = 2.0  # second parameter of it
    nu: Positive = 1.0  # degrees of freedom of the prior of sigma^2
    lam: Positive = 1.0  # scale of the prior of sigma^2
    threshold: Positive = 0.5  # c in the test function 1{|beta| > c}

    def check(self) -> None:
        check(self)
        if len(self.means) != SIZE:
            raise ValueError(f"means: got {len(self.means)} of them, needs {SIZE}")
        if self.num_rows % 2:
            raise ValueError(f"num_rows: got {self.num_rows}, needs an even number")

    @property
    def num_data(self) -> int:
        """N, observations."""
        return SIZE * self.num_rows

    @property
    def within(self) -> float:
        """Sum of squares of the observations about the means of their columns."""
        return self.num_data * self.spread**2

    def prior(self) -> Prior:
        return aeb.spike_slab(
            self.v0, self.v1, a=self.a, b=self.b, nu=self.nu, lam=self.lam, kappa0=None
        )

    def rows(self) -> np.ndarray:
        """Return the data, f64[m, 2]."""
        signs = np.where(np.arange(self.num_rows) % 2, -1.0, 1.0)
        return np.asarray(self.means) + self.spread * signs[:, None]
