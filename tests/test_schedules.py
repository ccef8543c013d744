# SPDX-License-Identifier: Apache-2.0
"""Schedules against their formulas in numpy. Mutations: count + 1, a wrong exponent or base.

Of the ramp by length: the share of the run ignored, the ramp not held at its target.
"""

import numpy as np
import pytest

import aeb


@pytest.mark.parametrize("count", [0, 1, 7, 1000, 50_000])
def test_formulas(count):
    k = float(count)
    checks = [
        (aeb.robbins_monro(0.02, 1000, 0.75), 0.02 * (1000 + k) ** -0.75),
        (aeb.robbins_monro(5.0, 1.0, 1.0), min(1.0, 5.0 / (1 + k))),
        (aeb.sparsity_ramp(0.9, decay=0.99, every=50), 0.9 * (1 - 0.99 ** (k / 50))),
        (aeb.sparsity_ramp(0.9, every=20), 0.9 * (1 - 0.99 ** (k / 20))),
        (aeb.exponential_ramp(0.9), 0.9 * (1 - 0.99 ** (k / 50))),
        (aeb.sparsity_ramp(0.9, num_steps=2001), 0.9 * (1 - (1 - min(k, 1000) / 1000) ** 3)),
        (aeb.sparsity_ramp(0.9, 1200, until=1.0), 0.9 * (1 - (1 - min(k, 1200) / 1200) ** 3)),
        (aeb.annealing(0.5, factor=1.005, every=50), 0.5 * 1.005 ** -(k // 50)),
        (
            aeb.cyclical(1e-3, period=9, floor=1e-4),
            1e-4 + 9e-4 * 0.5 * (1 + np.cos(np.pi * (k % 9) / 9)),
        ),
    ]
    for schedule, expected in checks:
        np.testing.assert_allclose(float(schedule(count)), expected, rtol=3e-5, atol=1e-12)


def test_double_precision_follows_x64(x64):
    value = aeb.robbins_monro(0.02, 1000, 0.75)(123)
    np.testing.assert_allclose(float(value), 0.02 * 1123**-0.75, rtol=1e-14)


def test_ramp_reaches_its_target():
    assert abs(float(aeb.exponential_ramp(0.9)(10**6)) - 0.9) < 1e-7


@pytest.mark.parametrize("num_steps", [1, 2, 7, 660, 10**6])
def test_a_ramp_by_length_is_at_its_target_in_the_last_step(num_steps):
    ramp = aeb.sparsity_ramp(0.9, num_steps)
    assert float(ramp(0)) == 0.0
    if num_steps > 1:
        assert float(ramp(num_steps - 1)) == np.float32(0.9)


@pytest.mark.parametrize("options", [{}, {"num_steps": 10, "every": 5}])
def test_a_ramp_without_a_length_asks_for_one(options):
    with pytest.raises(ValueError, match=r"^num_steps: .*steps in the run"):
        aeb.sparsity_ramp(0.9, **options)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: aeb.robbins_monro(0.0), "coefficient"),
        (lambda: aeb.robbins_monro(1.0, -1.0), "offset"),
        (lambda: aeb.robbins_monro(1.0, 1.0, 0.5), "exponent"),
        (lambda: aeb.robbins_monro(float("nan")), "coefficient"),
        (lambda: aeb.exponential_ramp(1.0), "sparsity"),
        (lambda: aeb.sparsity_ramp(-0.1, 100), "sparsity"),
        (lambda: aeb.sparsity_ramp(1.0, 100), "sparsity"),
        (lambda: aeb.sparsity_ramp(0.9, 0), "num_steps"),
        (lambda: aeb.sparsity_ramp(0.9, 100, until=0.0), "until"),
        (lambda: aeb.sparsity_ramp(0.9, 100, until=1.5), "until"),
        (lambda: aeb.sparsity_ramp(0.5, decay=1.0), "decay"),
        (lambda: aeb.sparsity_ramp(0.5, every=0), "every"),
        (lambda: aeb.annealing(-1.0), "temperature"),
        (lambda: aeb.annealing(1.0, factor=0.9), "factor"),
        (lambda: aeb.cyclical(1.0, period=0), "period"),
        (lambda: aeb.cyclical(1.0, period=5, floor=2.0), "floor"),
    ],
)
def test_bad_input_names_the_argument(make, word):
    with pytest.raises(ValueError, match=f"^{word}:"):
        make()
