# SPDX-License-Identifier: Apache-2.0
"""The two theorems of Deng et al. (NeurIPS 2019), measured where the truth is known by quadrature.

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

from __future__ import annotations

import dataclasses
import functools
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import aeb
from aeb.cli.usage import UsageError
from benchmarks import harness
from benchmarks.convergence.mean_field import MeanField, Prediction
from benchmarks.convergence.problem import Gain, Problem
from benchmarks.convergence.sampler import build, theta_of
from benchmarks.convergence.scores import score_coefficients, score_latents
from benchmarks.harness.rows import canonical

__all__ = ["NAME", "PRESETS", "Convergence", "main"]

NAME = "convergence"

DESCRIPTION = "How fast the latents and the law of the coefficients converge, against quadrature."

BLOCK = 500
"""Steps in one compiled call at most; fixed, so that a run that resumes adds the same sums."""

PER_DECADE = 24
"""Steps at which the error is read, for each factor of ten."""


class Carry(NamedTuple):
    """The chains and what is gathered from them, K readings."""

    states: aeb.State  # leads with C everywhere
    sums: np.ndarray  # f64[C, 2, 4]: test functions, summed over the second half
    errors: np.ndarray  # f64[C, K]: squared distance to theta*; 0 where it is not read yet
    passed: np.ndarray  # i64[]: stops of the loop that are behind


@dataclasses.dataclass(frozen=True)
class Convergence(harness.Settings):
    """The settings of this script."""

    exponents: tuple[float, ...] = (0.6, 0.75, 1.0, 1.0)
    """alpha of each gain C (A + k)^-alpha."""
    coefficients: tuple[float, ...] = (2.0, 4.0, 10.0, 1.0)
    """C of each gain."""
    offset: float = 100.0
    """A of all gains, in steps."""
    step_size: float = 0.02
    """eps at which the gains are compared."""
    ladder: tuple[float, ...] = (0.08, 0.04, 0.02, 0.01, 0.005, 0.0025)
    """Step sizes for the law of the coefficients."""
    ladder_coefficient: float = 10.0
    """C of the gain there, with alpha = 1."""
    chains: int = 2000
    """Chains of each run."""
    num_steps: int = 100_000
    """Steps of each chain."""
    tail: float = 0.05
    """The slope is taken from this share of the steps on, in (0, 0.5]."""
    problem: Problem = dataclasses.field(default_factory=Problem)
    """What is fitted."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        self.problem.check()
        if len(self.exponents) != len(self.coefficients):
            raise ValueError(
                f"coefficients: got {len(self.coefficients)} of them for "
                f"{len(self.exponents)} exponents, needs one each"
            )
        harness.check(
            self,
            whole={2: "chains", 100: "num_steps"},
            positive="coefficients ladder offset step_size ladder_coefficient",
            within={"(0.5, 1]": "exponents", "(0, 0.5]": "tail"},
        )

    def rate_cells(self) -> list[tuple[Gain, float]]:
        """List the gains to compare, at one step size."""
        pairs = zip(self.coefficients, self.exponents, strict=True)
        return [(Gain(c, self.offset, alpha), self.step_size) for c, alpha in dict.fromkeys(pairs)]

    def weak_cells(self) -> list[tuple[Gain, float]]:
        """List the step sizes to compare, at one gain."""
        gain = Gain(self.ladder_coefficient, self.offset, 1.0)
        return [(gain, step_size) for step_size in dict.fromkeys(self.ladder)]

    def config(self, gain: Gain, step_size: float) -> dict[str, Any]:
        """Tell all that fixes the row of a cell but its seed."""
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
        """List the runs; one that serves both theorems is made once."""
        return [
            harness.Unit(
                name=f"C {gain.coefficient:g}, alpha {gain.exponent:g}, eps {step_size:g}",
                configs=(self.config(gain, step_size),),
                seeds=(self.seed,),
                size=self.num_steps,
                run=functools.partial(self._run, gain, step_size),
            )
            for gain, step_size in dict.fromkeys(self.rate_cells() + self.weak_cells())
        ]

    def readings(self) -> np.ndarray:
        """Steps after which the error is read, evenly spread in their logarithm, i64[K]."""
        count = int(PER_DECADE * np.log10(self.num_steps / 10)) + 1
        return np.unique(np.geomspace(10, self.num_steps, count).round().astype(int))

    def _run(
        self, gain: Gain, step_size: float, folder: Path, report: Any
    ) -> tuple[float, list[dict[str, Any]]]:
        """Run the chains of a cell, and score them."""
        prediction = _prediction(self.problem, step_size)
        programs, readings, half = build(self.problem, gain), self.readings(), self.num_steps // 2
        blocks = np.arange(BLOCK, self.num_steps, BLOCK)
        stops = np.unique(np.concatenate([readings, blocks, [half, self.num_steps]]))
        # A stream of its own for each cell, so that their errors are independent.
        cell = zlib.crc32(canonical(self.config(gain, step_size)).encode())
        key = jax.random.fold_in(jax.random.key(self.seed), cell)
        keys = jax.random.split(key, self.chains)
        # Compiled before the clock starts.
        states, _ = programs.advance(programs.start(self.chains), keys, step_size, 0)
        carry = Carry(
            states=states,
            sums=np.zeros((self.chains, 2, 4)),
            errors=np.zeros((self.chains, len(readings))),
            passed=np.zeros((), int),
        )
        first = theta_of(carry.states)[0]
        checkpoints = harness.Checkpoints(folder, self.checkpoint_every)
        carry = checkpoints.restore(carry)
        states, sums, errors = carry.states, np.array(carry.sums), np.array(carry.errors)
        done = int(stops[carry.passed - 1]) if carry.passed else 0
        report(done)
        for number in range(int(carry.passed), len(stops)):
            stop = int(stops[number])
            states, added = programs.advance(states, keys, step_size, stop - done)
            if done >= half:
                sums += np.asarray(added, np.float64)
            if stop in readings:
                gaps = theta_of(states) - prediction.theta
                errors[:, np.searchsorted(readings, stop)] = np.square(gaps).sum(axis=1)
            report(stop - done)
            done = stop
            if number + 1 < len(stops):
                saved = Carry(states, sums, errors, np.asarray(number + 1))
                checkpoints.save_if_due(done, saved)
        seconds = checkpoints.seconds
        rng = np.random.default_rng([self.seed, cell])
        rate = score_latents(prediction, gain, first, readings, errors, self.tail, rng)
        limit = _limit(self.problem)
        means = sums / (self.num_steps - half)
        weak = score_coefficients(self.problem, step_size, prediction, limit, means)
        last = theta_of(states)
        theta = {
            "fixed_point": prediction.theta,
            "fixed_point_of_diffusion": limit,
            "last_mean": last.mean(axis=0),
            "last_mean_se": last.std(axis=0, ddof=1) / self.chains**0.5,
        }
        return seconds, [{"theta": theta, "rate": rate, "weak": weak}]


@functools.lru_cache(maxsize=32)
def _prediction(problem: Problem, step_size: float) -> Prediction:
    """What linear theory needs; where there is no fixed point the settings are at fault."""
    try:
        return MeanField(problem, step_size).prediction()
    except ValueError as error:
        raise UsageError(str(error)) from error


@functools.lru_cache(maxsize=32)
def _limit(problem: Problem) -> np.ndarray:
    """theta* of the diffusion."""
    return MeanField(problem, 0.0).fixed_point()


PRESETS = {
    "smoke": Convergence(
        preset="smoke", ladder=(0.08, 0.04, 0.02), chains=200, num_steps=2000, tail=0.3
    ),
    "cpu": Convergence(preset="cpu", chains=1000, num_steps=50_000),
    "paper": Convergence(preset="paper"),
}


def main(args: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return harness.main(NAME, PRESETS, args, description=DESCRIPTION)
