# SPDX-License-Identifier: Apache-2.0
"""The fixed point theta*, and the error about it that linear theory foretells.

The sweep of gain omega moves theta by omega (H(beta, theta) - theta) + O(omega^2), where beta has
settled to pi_eps(. | theta) and H gathers the targets rho~, kappa0~, kappa1~, delta~, sigma~. (That
a target uses latents already moved in its sweep is the O(omega^2): at the fixed point nothing
moves.) So the mean field is

    h(theta) = E_{beta ~ pi_eps(. | theta)} H(beta, theta) - theta,    h(theta*) = 0,

found here by theta <- theta + h(theta), EM with exact expectations. theta* depends on eps; at the
fixed point of the very chain that runs there is no bias of discretisation left to blur a slope.

About theta* the second moment M_k of theta_k - theta* obeys, with J the Jacobian of h and S the
sum over all lags of the covariances of H(beta_k, theta*),

    M_{k+1} = (I + omega_k J) M_k (I + omega_k J)' + omega_k^2 S.

Hence E |theta_k - theta*|^2 ~ lambda omega_k with lambda = tr Sigma, where (Benveniste, Metivier
and Priouret, 1990, part II, theorem 13)

    (J + c I) Sigma + Sigma (J + c I)' + S = 0,    c = 0 for alpha < 1, 1 / (2 C) for alpha = 1.

With alpha = 1 a solution needs C times the least real part of the spectrum of -J above 1/2. Below
that the start is forgotten more slowly than the noise averages out, and the rate is
k^(-2 C that part): the theorem's constant is infinite there.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.special

from benchmarks.convergence.law import Law, stationary_law
from benchmarks.convergence.recipe import SIZE, Gain, Theta, TwoMeans, from_vector, to_vector

TOLERANCE = 1e-12
"""Largest change of a latent that counts as none."""

REST = 1e-10
"""Largest rest of a sum over lags that counts as none."""

SWEEPS = 1000
"""Sweeps before the search for the fixed point is given up."""

DIFFERENCE = 1e-5
"""Step of the central differences, relative."""


class Prediction(NamedTuple):
    """What linear theory needs to know of a step size."""

    theta: np.ndarray  # f64[8]: theta*
    jacobian: np.ndarray  # f64[8, 8]: J
    noise: np.ndarray  # f64[8, 8]: S

    @property
    def stability(self) -> float:
        """Least real part of the spectrum of -J."""
        return float(-np.linalg.eigvals(self.jacobian).real.max())


def targets(
    problem: TwoMeans, theta: Theta, nodes: tuple[np.ndarray, np.ndarray]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Evaluate rho~ on the nodes of each coefficient, and sigma~ on their product.

    Returns:
        f64[n1] and f64[n2], and f64[n1, n2].
    """
    rho, linear, quadratic = [], [], []
    for j, beta in enumerate(nodes):
        scaled = np.abs(beta) / theta.sigma
        slab = -0.5 * np.square(scaled) / problem.v1 - 0.5 * np.log(2.0 * np.pi * problem.v1)
        spike = -scaled / problem.v0 - np.log(2.0 * problem.v0)
        odds = np.log(theta.delta) - np.log1p(-theta.delta) + slab - spike
        rho.append(scipy.special.expit(odds))
        linear.append(theta.kappa0[j] * np.abs(beta))
        residual = problem.num_rows * np.square(problem.means[j] - beta)
        quadratic.append(residual + theta.kappa1[j] * np.square(beta))
    leading = problem.num_data + len(nodes) + problem.nu
    constant = quadratic[0][:, None] + quadratic[1] + problem.within + problem.nu * problem.lam
    both = linear[0][:, None] + linear[1]
    return rho, (both + np.sqrt(np.square(both) + 4.0 * leading * constant)) / (2.0 * leading)


class MeanField:
    """The mean field of SGLD at a step size eps >= 0; 0 is the diffusion."""

    def __init__(self, problem: TwoMeans, step_size: float) -> None:
        self.problem, self.step_size = problem, step_size

    def laws(self, theta: Theta) -> tuple[Law, Law]:
        """Compute the stationary laws of the two coefficients."""
        first, second = (stationary_law(self.problem, theta, j, self.step_size) for j in range(2))
        return first, second

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Evaluate h at f64[8]."""
        theta, problem = from_vector(vector), self.problem
        first, second = self.laws(theta)
        rho, sigma = targets(problem, theta, (first.nodes, second.nodes))
        new = Theta(
            rho=np.array([first.mass @ rho[0], second.mass @ rho[1]]),
            kappa0=(1.0 - theta.rho) / problem.v0,
            kappa1=theta.rho / problem.v1,
            delta=(theta.rho.sum() + problem.a - 1.0) / (problem.a + problem.b + SIZE - 2.0),
            sigma=first.mass @ sigma @ second.mass,
        )
        return to_vector(new) - vector

    def fixed_point(self, start: np.ndarray | None = None) -> np.ndarray:
        """Find theta*, f64[8].

        Raises:
            ValueError: it is not found; there need not be one.
        """
        vector = self.start() if start is None else start
        for _ in range(SWEEPS):
            change = self(vector)
            vector = vector + change
            if np.abs(change).max() < TOLERANCE:
                return vector
        raise ValueError(
            f"problem: no fixed point after {SWEEPS} sweeps at step size {self.step_size:g}; "
            "take means farther apart or a larger spread"
        )

    def start(self) -> np.ndarray:
        """Return the latents that the library starts from, f64[8]."""
        half = np.full(2, 0.5)
        return to_vector(Theta(half, half / self.problem.v0, half / self.problem.v1, 0.5, 1.0))

    def jacobian(self, vector: np.ndarray) -> np.ndarray:
        """Compute J by central differences, f64[8, 8]."""
        columns = []
        for place in range(len(vector)):
            shift = np.zeros_like(vector)
            shift[place] = DIFFERENCE * max(1.0, abs(vector[place]))
            columns.append((self(vector + shift) - self(vector - shift)) / (2 * shift[place]))
        return np.stack(columns, axis=1)

    def noise(self, vector: np.ndarray) -> np.ndarray:
        """Compute S, f64[8, 8]; only rho~ and sigma~ look at the weights."""
        theta = from_vector(vector)
        first, second = self.laws(theta)
        if first.transition is None or second.transition is None:
            raise ValueError("step_size: got 0, needs to be positive, for the lags count its steps")
        (rho0, rho1), sigma = targets(self.problem, theta, (first.nodes, second.nodes))
        mass = first.mass[:, None] * second.mass
        seen = _centred(np.stack([rho0[:, None] + 0.0 * mass, rho1 + 0.0 * mass, sigma]), mass)
        # The sum of P^n f over n < 2^k, doubled until P^(2^k) of it is nothing.
        summed, over0, over1 = seen, first.transition.T, second.transition
        more = np.full_like(seen, np.inf)
        while np.abs(more).max() > REST:
            # Rounding would leave a constant, which doubles too.
            more = _centred(over0 @ summed @ over1, mass)
            summed = summed + more
            over0, over1 = over0 @ over0, over1 @ over1
        ahead = np.einsum("fij,gij,ij->fg", seen, summed, mass)
        total = ahead + ahead.T - np.einsum("fij,gij,ij->fg", seen, seen, mass)
        places = np.array([0, 1, len(vector) - 1])
        noise = np.zeros((len(vector), len(vector)))
        noise[np.ix_(places, places)] = total
        return noise

    def prediction(self) -> Prediction:
        theta = self.fixed_point()
        return Prediction(theta, self.jacobian(theta), self.noise(theta))


def predict(prediction: Prediction, gain: Gain, start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Follow M_k from a start, and read its trace.

    Args:
        prediction: theta*, J and S.
        gain: omega.
        start: f64[8], theta_0.
        steps: i64[K], rising; where to read.

    Returns:
        f64[K], tr M_k.
    """
    moment = np.outer(start - prediction.theta, start - prediction.theta)
    identity, traces, wanted = np.eye(len(start)), [], set(steps.tolist())
    for number, omega in enumerate(gain.at(np.arange(steps[-1])).tolist(), 1):
        move = identity + omega * prediction.jacobian
        moment = move @ moment @ move.T + omega * omega * prediction.noise
        if number in wanted:
            traces.append(np.trace(moment))
    return np.array(traces)


def limit_factor(prediction: Prediction, gain: Gain) -> float:
    """Compute the limit of E |theta_k - theta*|^2 / omega_k; infinite if the gain is too small."""
    shift = 1.0 / (2.0 * gain.coefficient) if gain.exponent == 1.0 else 0.0
    if prediction.stability <= shift:
        return float("inf")
    shifted = prediction.jacobian + shift * np.eye(len(prediction.theta))
    return float(np.trace(scipy.linalg.solve_continuous_lyapunov(shifted, -prediction.noise)))


def _centred(each: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Take their means under the law off functions f64[F, n1, n2]."""
    return each - np.einsum("fij,ij->f", each, mass)[:, None, None]
