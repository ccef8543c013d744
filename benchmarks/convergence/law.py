# SPDX-License-Identifier: Apache-2.0
"""The stationary law of one coefficient given the latents, by quadrature in double precision.

With s^2 = sigma^2, the mean ybar of its column and m rows, the log density of coefficient j is

    log pi(beta) = -(m (beta - ybar)^2 + kappa1 beta^2) / (2 s^2) - kappa0 |beta| / s + constant
    g(beta)      = (m (ybar - beta) - kappa1 beta) / s^2 - kappa0 sign(beta) / s,   sign(0) = 0

and the two coefficients are independent. SGLD at step size eps and temperature 1 does not keep pi,
but the law pi_eps that its transition density leaves in place,

    pi_eps(x) = integral of K(x | z) pi_eps(z) dz,   K(. | z) = N(z + eps g(z), variance 2 eps).

Both are taken on Gauss-Legendre panels with edges at 0, where the drift jumps, and at -c and c,
where a test function does: the integrands are smooth on each panel. The panels are so narrow (two
standard deviations of K) that eight nodes leave no error to be seen (Nystrom's method). pi_eps
solves (I - K) p = 0, sum p = 1 on the nodes. Step size 0 stands for pi itself.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.convergence.recipe import Theta, TwoMeans

REACH = 9.0
"""Standard deviations of the Gaussian part that the nodes reach to, beyond either centre."""

ORDER = 8
"""Nodes a panel."""


class Law(NamedTuple):
    """A law on nodes."""

    nodes: np.ndarray  # f64[n]
    mass: np.ndarray  # f64[n], sums to 1
    transition: np.ndarray | None  # f64[n, n]: mass that goes from node [., j] to node [i, .]


def score(problem: TwoMeans, theta: Theta, which: int, beta: np.ndarray) -> np.ndarray:
    """Compute the slope of log pi of coefficient `which`, g."""
    pull = problem.num_rows * (problem.means[which] - beta) - theta.kappa1[which] * beta
    return pull / theta.sigma**2 - theta.kappa0[which] * np.sign(beta) / theta.sigma


def stationary_law(
    problem: TwoMeans, theta: Theta, which: int, step_size: float, *, finer: int = 1
) -> Law:
    """Make pi_eps of a coefficient, or pi at step size 0.

    Args:
        problem: what is fitted.
        theta: the latents.
        which: coefficient, 0 or 1.
        step_size: eps >= 0; eps times the precision has to be below 2.
        finer: how many times narrower to make the panels.

    Returns:
        The `Law`.

    Raises:
        ValueError: the step size is so large that the chain has no stationary law.
    """
    precision = (problem.num_rows + theta.kappa1[which]) / theta.sigma**2
    if step_size * precision >= 2.0:
        raise ValueError(
            f"step_size: got {step_size}, needs to be below {2.0 / precision:.3g}, where the "
            "chain leaves every bound"
        )
    # Euler's chain is wider than pi by 1 / (1 - eps precision / 2) at most.
    deviation = (precision * (1.0 - step_size * precision / 2.0)) ** -0.5
    centre = problem.num_rows * problem.means[which] / (problem.num_rows + theta.kappa1[which])
    shift = theta.kappa0[which] / theta.sigma / precision
    reach = REACH * deviation + shift
    width = min(precision**-0.5, 2.0 * (2.0 * step_size) ** 0.5 if step_size else np.inf) / finer
    low, high = min(centre, 0.0) - reach, max(centre, 0.0) + reach
    jumps = [jump for jump in (-problem.threshold, 0.0, problem.threshold) if low < jump < high]
    nodes, weights = _panels([low, *jumps, high], width)
    if not step_size:
        log_density = -0.5 * precision * np.square(nodes - centre)
        log_density = log_density - theta.kappa0[which] * np.abs(nodes) / theta.sigma
        mass = weights * np.exp(log_density - log_density.max())
        return Law(nodes, mass / mass.sum(), None)
    after = nodes + step_size * score(problem, theta, which, nodes)
    transition = np.exp(-np.square(nodes[:, None] - after) / (4.0 * step_size)) * weights[:, None]
    transition /= transition.sum(axis=0)
    # One of the n equations follows from the others; the sum of masses takes its place.
    equations = np.eye(len(nodes)) - transition
    equations[0] = 1.0
    mass = np.linalg.solve(equations, np.eye(len(nodes))[0])
    return Law(nodes, mass, transition)


def functions(problem: TwoMeans, beta: np.ndarray) -> np.ndarray:
    """Evaluate the test functions at f64[n]; returns f64[n, 4]."""
    size = np.abs(beta)
    return np.stack([beta, beta * beta, size, size > problem.threshold], axis=-1, dtype=np.float64)


def mean_of_functions(problem: TwoMeans, theta: Theta, step_size: float) -> np.ndarray:
    """Compute the means of the test functions under the laws of both coefficients, f64[2, 4]."""
    laws = [stationary_law(problem, theta, j, step_size) for j in range(2)]
    return np.stack([law.mass @ functions(problem, law.nodes) for law in laws])


def _panels(breaks: Sequence[float], width: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights between breaks, on panels no wider than the width."""
    pieces = [
        np.linspace(start, end, int(np.ceil((end - start) / width)) + 1)[1:]
        for start, end in itertools.pairwise(breaks)
    ]
    edges = np.concatenate([[breaks[0]], *pieces])
    places, weights = np.polynomial.legendre.leggauss(ORDER)
    half, middle = np.diff(edges)[:, None] / 2.0, (edges[1:] + edges[:-1])[:, None] / 2.0
    return (middle + half * places).ravel(), (half * weights).ravel()
