# SPDX-License-Identifier: Apache-2.0
"""A run that ends before its ramp is at the target says so.

Mutations that fail here: the target not handed on by `chains`, or by `sharded` and its kin; the
ramp read at step 0 in place of the last; all weights counted in place of the chosen ones; "raise"
looked at only when the run is over.
"""

import functools
import warnings

import jax
import jax.numpy as jnp
import pytest

import aeb

ROWS = jnp.ones((4, 1))
PARAMS = {"kernel": jnp.linspace(0.5, 1.5, 40), "bias": jnp.zeros(40)}


def problem(ramp, **options):
    algorithm = aeb.empirical_bayes(
        aeb.sgld(1e-3, 0.0), aeb.gaussian(), gain=0.0, sparsify=aeb.magnitude(ramp, **options)
    )

    def loss_fn(params, rows):
        return 0.5 * jnp.mean(jnp.square(rows - params["kernel"][None]))

    return algorithm.init(PARAMS), aeb.build_kernel(algorithm, loss_fn, num_data=4)


def run(kernel, state, num_steps=10, **options):
    options |= {"num_steps": num_steps, "batch_size": None, "progress": False}
    return aeb.sample(kernel, state, ROWS, jax.random.key(0), **options)[0]


LONG = problem(aeb.sparsity_ramp(0.8, num_steps=20, until=1.0))
"""A ramp of 20 steps; after ten, 1 - (1 - 9 / 20)^3 of the way is asked for, 26.7 of 40 zeros."""


def test_a_ramp_that_is_longer_than_the_run():
    state, kernel = LONG
    with pytest.warns(
        UserWarning,
        match=r"^sparsify: 67\.50% of the chosen weights are zero after step 10, short of the "
        r"80\.00% .* num_steps=\.\.\.\)",
    ):
        half = run(kernel, state, missed="warn")
    assert int((half.position["kernel"] == 0).sum()) == 27
    whole = run(kernel, run(kernel, state, missed="ignore"))
    assert int((whole.position["kernel"] == 0).sum()) == 32


def test_raise_refuses_it_before_its_first_step():
    state, kernel = LONG

    def never(state):
        raise AssertionError("it ran")

    with pytest.raises(ValueError, match=r"asks for 70\.00% .* after step 10, short of the 80\.00"):
        run(kernel, state, callback=never)
    run(kernel, state, num_steps=20)
    with pytest.raises(ValueError, match=r"^missed: got 'stop', needs to be one of raise, warn"):
        run(kernel, state, missed="stop")


def test_the_ramp_of_the_paper_that_is_slower_than_the_run():
    """`of="all"` counts the biases too: 0.4 of all parameters are 0.8 of the kernel."""
    state, kernel = problem(aeb.exponential_ramp(0.4, every=50), of="all")
    with pytest.raises(ValueError, match=r"^sparsify: .* 0\.16% zeros .*, short of the 80\.00%"):
        run(kernel, state)
    run(*reversed(problem(aeb.exponential_ramp(0.4, decay=0.1, every=1))))


def test_a_run_that_a_callback_ends():
    state, kernel = LONG
    with pytest.warns(UserWarning, match="zero after step 10, short of"):
        run(kernel, state, num_steps=20, callback=lambda state: True, callback_every=10)


@pytest.mark.slow
def test_chains_and_wrapped_kernels_say_it_too():
    state, kernel = LONG
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    for stepping, start in (
        (aeb.chains(kernel), states),
        (aeb.chains(kernel, mesh=mesh), states),
        (aeb.data_parallel(kernel, mesh), state),
        (functools.partial(jax.jit(kernel), temperature=0.0), state),
    ):
        with pytest.warns(UserWarning, match="sparsify: 67.50% of the chosen"):
            run(stepping, start, missed="warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(lambda state, batch, key: kernel(state, batch, key), state)
