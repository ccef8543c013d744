# SPDX-License-Identifier: Apache-2.0
"""Schedules that no other library has; for all others use `optax.schedules`.

A schedule maps the number of steps already taken, 0 on the first step, to a scalar:

    robbins_monro    omega_k = min(1, C (A + k)^-alpha)          gain of stochastic approximation
    sparsity_ramp    s_k = S (1 - (1 - min(k, R) / R)^3)         fraction of zeros
    exponential_ramp s_k = S (1 - D^(k / U))                     fraction of zeros, the paper's
    annealing        T_k = T / factor^floor(k / every)           temperature
    cyclical         eps_k = eps / 2 (1 + cos(pi (k mod M) / M)) step size

References: Robbins and Monro (1951); Zhu and Gupta (2017) for the cubic ramp; Deng et al. (NeurIPS
2019), Algorithm 1, for the exponential one; Zhang et al. (ICLR 2020) for the cyclical step size.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from aeb import guards
from aeb.types import ScalarOrSchedule, Schedule

__all__ = [
    "annealing",
    "as_schedule",
    "cyclical",
    "exponential_ramp",
    "is_zero",
    "robbins_monro",
    "sparsity_ramp",
]


def as_schedule(value: ScalarOrSchedule) -> Schedule:
    """Return a schedule for a scalar or a schedule.

    Args:
        value: a scalar, or a function from the number of steps taken to a scalar.

    Returns:
        A schedule. For a scalar it is constant and returns the scalar as it is, so that a Python
        float keeps its double precision until it meets an array.

    Example:
        >>> as_schedule(0.5)(100)
        0.5
    """
    if not callable(value):
        return lambda count: value

    def scheduled(count: Any) -> Any:
        # The schedules of optax, for instance, mix the integer count with floats.
        with jax.numpy_dtype_promotion("standard"):
            return value(count)

    return scheduled


def is_zero(value: Any) -> bool:
    """Return whether a value is the plain number 0, so that what it scales can be left out.

    Arrays and traced values return False, because their value may not be known yet.

    Example:
        >>> is_zero(0.0), is_zero(jnp.zeros(()))
        (True, False)
    """
    return isinstance(value, int | float) and value == 0


def robbins_monro(
    coefficient: float = 1.0, offset: float = 10.0, exponent: float = 0.7
) -> Schedule:
    """Build the gain of a stochastic approximation, omega_k = min(1, C (A + k)^-alpha).

    The sum over k diverges and the sum of the squares converges, as the theory requires. The sum
    over the run says how far the latents get: with C = 0.02, A = 1000 and alpha = 0.75 it is 0.75
    after 50,000 steps, and a latent covers about half of the way to its target.

    Args:
        coefficient: C > 0.
        offset: A >= 0, in steps; with A = 0 the first gain is 1.
        exponent: alpha in (0.5, 1].

    Returns:
        A schedule with values in (0, 1].

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> round(float(robbins_monro(10.0, 1000.0, 1.0)(0)), 6)
        0.01
    """
    guards.positive("coefficient", coefficient)
    guards.at_least("offset", offset, 0.0)
    guards.within("exponent", exponent, "(0.5, 1]")

    def gain(count: Any) -> Any:
        return jnp.minimum(1.0, coefficient * (offset + _real(count)) ** -exponent)

    return gain


def sparsity_ramp(
    sparsity: float,
    num_steps: int | None = None,
    *,
    until: float = 0.5,
    decay: float | None = None,
    every: float | None = None,
) -> Schedule:
    """Build a fraction of zeros that rises to its target within a run, fast at first.

    The ramp is cubic, s_k = S (1 - (1 - min(k, R) / R)^3). It reaches the target after R steps and
    then stays there, so that the network can recover from pruning in the rest of the run.

    Args:
        sparsity: S in [0, 1), the target.
        num_steps: the number of steps in the run.
        until: the share of the run that the ramp takes, in (0, 1]; R = until * num_steps.
        decay: give this or `every` in place of `num_steps` to get `exponential_ramp`.
        every: see `decay`.

    Returns:
        A schedule with values in [0, S].

    Raises:
        ValueError: an argument is out of its range, or you gave both or neither of `num_steps` and
            the arguments of the exponential ramp.

    Example:
        >>> ramp = sparsity_ramp(0.8, num_steps=100)
        >>> [round(float(ramp(k)), 3) for k in (0, 25, 50, 99)]
        [0.0, 0.7, 0.8, 0.8]
    """
    exponential = decay is not None or every is not None
    if exponential == (num_steps is not None):
        raise ValueError(
            f"num_steps: got {num_steps!r} with decay={decay!r} and every={every!r}; give the "
            "steps in the run, num_steps, for a ramp that reaches its target in it, or decay and "
            "every for the exponential of the paper, which comes as close as the run is long"
        )
    if num_steps is None:
        return exponential_ramp(
            sparsity,
            decay=0.99 if decay is None else decay,
            every=50 if every is None else every,
        )
    guards.share("sparsity", sparsity)
    guards.whole("num_steps", num_steps, 1)
    guards.within("until", until, "(0, 1]")
    ramp_steps = max(int(until * num_steps), 1)

    def fraction(count: Any) -> Any:
        left = 1.0 - jnp.minimum(_real(count), ramp_steps) / ramp_steps
        return sparsity - sparsity * left**3

    return fraction


def exponential_ramp(sparsity: float, *, decay: float = 0.99, every: float = 50) -> Schedule:
    """Build a fraction of zeros that approaches its target, s_k = S (1 - D^(k / U)).

    After n steps the share D^(n / U) of the way is still left. With the defaults that is 88 % after
    660 steps, and 1 % after 23,000. Use `sparsity_ramp` to reach the target within the run.

    Args:
        sparsity: S in [0, 1), the fraction that the ramp approaches.
        decay: D in (0, 1), the share of the remaining way that is left after `every` more steps.
        every: U > 0, in steps; the ramp is smooth between them.

    Returns:
        A schedule with values in [0, S].

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> round(float(exponential_ramp(0.9, decay=0.5, every=10)(10)), 6)
        0.45
    """
    guards.share("sparsity", sparsity)
    guards.within("decay", decay, "(0, 1)")
    guards.positive("every", every)

    def fraction(count: Any) -> Any:
        return -sparsity * jnp.expm1(_real(count) / every * math.log(decay))

    return fraction


def annealing(temperature: float, *, factor: float = 1.005, every: int = 1) -> Schedule:
    """Build a temperature that falls in steps, T_k = T / factor^floor(k / every).

    Args:
        temperature: T >= 0, the temperature at the start.
        factor: at least 1; the temperature is divided by it.
        every: the number of steps between two divisions, for instance an epoch.

    Returns:
        A schedule with values in [0, T].

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> float(annealing(1.0, factor=2.0, every=10)(25))
        0.25
    """
    guards.at_least("temperature", temperature, 0.0)
    guards.at_least("factor", factor, 1.0)
    guards.at_least("every", every, 1)

    def annealed(count: Any) -> Any:
        return temperature * _real(factor) ** -(_real(count) // every)

    return annealed


def cyclical(step_size: float, *, period: int, floor: float = 0.0) -> Schedule:
    """Build a step size that falls by a cosine and restarts, to visit several modes.

    Args:
        step_size: eps > 0, the step size at the start of each cycle.
        period: M >= 1, the number of steps in a cycle.
        floor: the smallest step size, in [0, step_size].

    Returns:
        A schedule with values in [floor, step_size].

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> [round(float(cyclical(1.0, period=4)(k)), 3) for k in range(5)]
        [1.0, 0.854, 0.5, 0.146, 1.0]
    """
    guards.positive("step_size", step_size)
    guards.at_least("period", period, 1)
    guards.within("floor", floor, f"[0, {step_size}]")

    def step(count: Any) -> Any:
        phase = jnp.remainder(_real(count), period) / period
        return floor + (step_size - floor) * 0.5 * (1.0 + jnp.cos(math.pi * phase))

    return step


def _real(count: Any) -> Any:
    """Convert a count to the default float type, which is double if x64 is on."""
    return jnp.asarray(count, float)
