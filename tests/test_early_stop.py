# SPDX-License-Identifier: Apache-2.0
"""A run that ends when it no longer gets better.

Mutations that fail here: what a callback returns not looked at, any truthy answer taken for True, a
look before `begin` taken for the best, patience counted over all looks that were worse.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb

ALGORITHM = aeb.empirical_bayes(
    aeb.sgld(learning_rate=0.25, temperature=0.0), aeb.gaussian(precision=1e-6), gain=0.0
)
KERNEL = aeb.build_kernel(ALGORITHM, lambda w, x: jnp.mean((x - w[None]) ** 2), num_data=4)


def weights(state):
    return state.position


def run(callback, num_steps=40, every=2):
    """From 0 the weight comes half way to 1 at each step."""
    return aeb.sample(
        KERNEL,
        ALGORITHM.init(jnp.zeros(1)),
        jnp.ones((4, 1)),
        jax.random.key(0),
        num_steps=num_steps,
        batch_size=None,
        collect=weights,
        callback=callback,
        callback_every=every,
        progress=False,
    )


def gap_to(target):
    return lambda state: np.abs(state.position[0] - target)


def test_it_stops_after_as_many_looks_without_gain_as_its_patience():
    watch = aeb.EarlyStop(gap_to(0.9), patience=3)
    state, draws = run(watch)
    # Weights are 3 / 4, 15 / 16, 63 / 64, ... at the looks; the second is the nearest.
    assert watch.best.step == 4
    np.testing.assert_allclose(watch.best_state.position, 15 / 16, rtol=1e-4)
    assert [look.step for look in watch.history] == [2, 4, 6, 8, 10]
    assert int(state.step) == 10
    assert len(draws) == 10
    assert "best=Score(step=4" in repr(watch)


def test_looks_before_it_begins_are_noted_and_do_not_count():
    watch = aeb.EarlyStop(gap_to(0.9), patience=2, begin=7)
    state, _ = run(watch)
    assert watch.best.step == 8
    assert int(state.step) == 12
    assert len(watch.history) == 6


def test_a_run_that_gets_better_goes_on_and_one_that_was_not_a_number_recovers():
    watch = aeb.EarlyStop(lambda state: np.nan if state.step < 3 else -state.step, patience=2)
    assert int(run(watch, num_steps=12)[0].step) == 12
    assert watch.best.step == 12


@pytest.mark.parametrize("answer", [None, 1, "yes", np.False_, jnp.asarray(False)])
def test_only_true_ends_a_run(answer):
    assert int(run(lambda state: answer, num_steps=6)[0].step) == 6


@pytest.mark.parametrize("answer", [True, np.True_, jnp.asarray(True)])
def test_true_ends_a_run(answer):
    assert int(run(lambda state: answer, num_steps=6)[0].step) == 2


@pytest.mark.parametrize("options", [{"patience": 0}, {"begin": -1}])
def test_arguments_out_of_range(options):
    with pytest.raises(ValueError, match=f"^{next(iter(options))}: got"):
        aeb.EarlyStop(gap_to(0.0), **options)
