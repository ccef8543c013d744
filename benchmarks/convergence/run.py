# SPDX-License-Identifier: Apache-2.0
"""How fast the latents and the law of the coefficients converge, against quadrature.

These are the two theorems of Deng et al. (NeurIPS 2019).

Latents. E |theta_k - theta*|^2 <= lambda omega_k. Many chains of SGLD-SA at a constant step size;
theta* is the fixed point of that very chain, discretisation included (`mean_field`), so
that nothing but the noise of the latents is left. All eight latents are learned. The slope is that
of log mean error on log omega_k over the last part of the run, with omega_k the last gain used; an
upper bound of order one means a slope of 1 or more, and a constant lambda a slope of 1.

With alpha = 1 the coefficient C matters: C times the stability of the mean field, the least real
part of the spectrum of -J, has to be above 1/2. It is 0.35 here, so C = 10 will do and C = 1 will
not; C = 1 is run to show what the condition is for: linear theory has the error fall as
omega_k^0.70 there, and no lambda.

Coefficients. As eps -> 0 and k -> infinity they converge weakly: with the latents learned at a
falling gain (alpha = 1), the mean of a test function over chains and over the second half of the
steps, less its expectation under pi(. | theta*) of the diffusion, against eps. Beside it stands the
same bias by quadrature, that of the law that Euler's chain has at the fixed point of Euler's chain.

Full batches throughout: with minibatches neither fixed point would be known.
"""

import dataclasses
import functools
import zlib
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

import aeb
from aeb.usage import UsageError
from benchmarks import harness
from benchmarks.convergence.mean_field import MeanField, Prediction
from benchmarks.convergence.recipe import Gain, TwoMeans
from benchmarks.convergence.sampler import build, theta_of
from benchmarks.convergence.scores import score_coefficients, score_latents
from benchmarks.harness.ranges import Positive, whole, within
from benchmarks.harness.rows import canonical

BLOCK = 500
"""Steps in one compiled call at most; fixed, so that a run that resumes adds the same sums."""

PER_DECADE = 24
"""Steps at which the error is read, for each factor of ten."""


Cell = tuple[Gain, float]
"""A gain and a step size, all that tells runs apart."""


class Carry(NamedTuple):
    """The chains and what is gathered from them, K readings."""

    states: aeb.State  # leads with C everywhere
    sums: np.ndarray  # f64[C, 2, 4]: test functions, summed over the second half
    errors: np.ndarray  # f64[C, K]: squared distance to theta*; 0 where it is not read yet


@dataclasses.dataclass(frozen=True)
class Convergence(harness.Settings):
    # alpha of each gain C (A + k)^-alpha.
    exponents: tuple[Annotated[float, within("(0.5, 1]")], ...] = (0.6, 0.75, 1.0, 1.0)
    coefficients: tuple[Positive, ...] = (2.0, 4.0, 10.0, 1.0)  # C of each gain
    offset: Positive = 100.0  # A of all gains, in steps
    step_size: Positive = 0.02  # eps at which the gains are compared
    # Step sizes for the law of the coefficients.
    ladder: tuple[Positive, ...] = (0.08, 0.04, 0.02, 0.01, 0.005, 0.0025)
    ladder_coefficient: Positive = 10.0  # C of the gain there, with alpha = 1
    chains: Annotated[int, whole(2)] = 2000  # chains of each run
    num_steps: Annotated[int, whole(100)] = 100_000  # steps of each chain
    # The slope is taken from this share of the steps on.
    tail: Annotated[float, within("(0, 0.5]")] = 0.05
    problem: TwoMeans = dataclasses.field(default_factory=TwoMeans)  # what is fitted

    def check(self) -> None:
        super().check()
        if len(self.exponents) != len(self.coefficients):
            raise ValueError(
                f"coefficients: got {len(self.coefficients)} of them for "
                f"{len(self.exponents)} exponents, needs one each"
            )

    def cells(self) -> list[Cell]:
        """List the runs; one that serves both theorems is made once."""
        return list(dict.fromkeys(self.rate_cells() + self.weak_cells()))

    def rate_cells(self) -> list[Cell]:
        """List the gains to compare, at one step size."""
        pairs = zip(self.coefficients, self.exponents, strict=True)
        return [(Gain(c, self.offset, alpha), self.step_size) for c, alpha in dict.fromkeys(pairs)]

    def weak_cells(self) -> list[Cell]:
        """List the step sizes to compare, at one gain."""
        gain = Gain(self.ladder_coefficient, self.offset, 1.0)
        return [(gain, step_size) for step_size in dict.fromkeys(self.ladder)]

    def seeds_of(self, cell: Cell) -> tuple[int]:
        return (self.seed,)

    def config(self, cell: Cell) -> dict[str, Any]:
        gain, step_size = cell
        return {
            "gain": dataclasses.asdict(gain),
            "step_size": step_size,
            "chains": self.chains,
            "num_steps": self.num_steps,
            "tail": self.tail,
            # Lists, as they come back from a file.
            "problem": dataclasses.asdict(self.problem) | {"means": list(self.problem.means)},
        }

    def units(self) -> list[harness.Unit]:
        return harness.one_row_each(
            self,
            self._run,
            name=lambda cell: (
                f"C {cell[0].coefficient:g}, alpha {cell[0].exponent:g}, eps {cell[1]:g}"
            ),
            size=lambda cell: self.num_steps,
        )

    def readings(self) -> np.ndarray:
        """Return the steps after which to read the error, even in their logarithm, i64[K]."""
        count = int(PER_DECADE * np.log10(self.num_steps / 10)) + 1
        return np.unique(np.geomspace(10, self.num_steps, count).round().astype(int))

    def _slices(self, left: int) -> list[int]:
        """Cut the steps that are left where the error is read, at half, and in blocks."""
        blocks = np.arange(BLOCK, self.num_steps, BLOCK)
        ends = [self.num_steps // 2, self.num_steps]
        stops = np.unique(np.concatenate([self.readings(), blocks, ends]))
        behind = self.num_steps - left
        steps: list[int] = np.diff(stops[stops > behind], prepend=behind).tolist()
        return steps

    def _run(self, cell: Cell, seed: int, folder: Path, report: Any) -> harness.Measured:
        gain, step_size = cell
        prediction, limit = _prediction(self.problem, step_size), _limit(self.problem)
        # A stream for each cell, so that their errors are independent.
        stream = zlib.crc32(canonical(self.config(cell)).encode())
        key = jax.random.fold_in(jax.random.key(seed), stream)
        keys = jax.random.split(key, self.chains)
        start, program = build(self.problem, gain)
        readings, half = self.readings(), self.num_steps // 2

        def advance(carry: Carry, steps: int) -> Carry:
            states, added = program(carry.states, keys, step_size, steps)
            done, (_, sums, errors) = int(states.step[0]), carry
            if done > half:
                sums = sums + np.asarray(added, np.float64)
            if done in readings:
                errors = errors.copy()
                gaps = theta_of(states) - prediction.theta
                errors[:, np.searchsorted(readings, done)] = np.square(gaps).sum(axis=1)
            return Carry(states, sums, errors)

        sums, errors = np.zeros((self.chains, 2, 4)), np.zeros((self.chains, len(readings)))
        carry = advance(Carry(start(self.chains), sums, errors), 0)  # compiled before the clock
        first = theta_of(carry.states)[0]
        checkpoints = harness.Checkpoints(folder, self.checkpoint_every)
        carry = harness.run_in_slices(
            advance,
            carry,
            lambda carry: int(carry.states.step[0]),
            self.num_steps,
            checkpoints,
            report,
            self._slices,
        )
        seconds, rng = checkpoints.seconds, np.random.default_rng([seed, stream])
        rate = score_latents(prediction, gain, first, readings, carry.errors, self.tail, rng)
        means = carry.sums / (self.num_steps - half)
        weak = score_coefficients(self.problem, step_size, prediction, limit, means)
        last = theta_of(carry.states)
        theta = {
            "fixed_point": prediction.theta,
            "fixed_point_of_diffusion": limit,
            "last_mean": last.mean(axis=0),
            "last_mean_se": last.std(axis=0, ddof=1) / self.chains**0.5,
        }
        return seconds, [{"theta": theta, "rate": rate, "weak": weak}]


@functools.lru_cache(maxsize=32)
def _prediction(problem: TwoMeans, step_size: float) -> Prediction:
    """Return what linear theory needs; where there is no fixed point the settings are at fault."""
    try:
        return MeanField(problem, step_size).prediction()
    except ValueError as error:
        raise UsageError(str(error)) from error


@functools.lru_cache(maxsize=32)
def _limit(problem: TwoMeans) -> np.ndarray:
    """Return theta* of the diffusion."""
    return MeanField(problem, 0.0).fixed_point()


PRESETS = {
    "smoke": Convergence(
        preset="smoke", ladder=(0.08, 0.04, 0.02), chains=200, num_steps=2000, tail=0.3
    ),
    "cpu": Convergence(preset="cpu", chains=1000, num_steps=50_000),
    "paper": Convergence(preset="paper"),
}

NAME, main = harness.script(__name__, __doc__, PRESETS)
