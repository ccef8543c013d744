# SPDX-License-Identifier: Apache-2.0
"""Runs that diverge: each policy does what it says, and says what went wrong.

Mutations that fail here: the loss not looked at in the loop, the diverged state returned by "stop",
its draws kept, a skipped step that does not count.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from aeb.files import checkpoint
from aeb.sampling import keeper
from aeb.sampling.divergence import healthy, observe

ROWS = 8


def problem(learning_rate=0.1):
    """Momentum SGD on half the squared distance to the rows; above 38 / 8 it diverges."""
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(learning_rate / ROWS, 0.1, temperature=0.0), aeb.gaussian(), gain=0.0
    )

    def loss_fn(params, rows):
        return 0.5 * jnp.mean(jnp.square(rows - params["w"]))

    return algorithm, aeb.build_kernel(algorithm, loss_fn, num_data=ROWS)


SOUND, KERNEL = problem()
WILD, WILD_KERNEL = problem(1e6)
PARAMS = {"w": jnp.ones((1, 2))}
GOOD = jnp.arange(16.0).reshape(ROWS, 2) / 16
BAD = GOOD.at[5, 0].set(jnp.nan)


def weights(state):
    return state.position["w"]


def run(kernel, state, data=GOOD, **changes):
    options = {"num_steps": 40, "batch_size": 1, "collect": weights}
    options |= changes
    return aeb.sample(kernel, state, data, jax.random.key(2), progress=False, **options)


def note_rows(state, batch, key):
    del key
    return state._replace(step=state.step + 1, model_state=batch)


def finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def bad():
    """The first step of the wild run whose result is not finite, found one by one."""
    state, step = WILD.init(PARAMS), jax.jit(WILD_KERNEL)
    _, rows = run(note_rows, WILD.init(PARAMS, GOOD[:1]), collect=lambda s: s.model_state)
    for count in range(40):
        state = step(state, rows[count], jax.random.key(count))
        if not finite(state):
            return count + 1
    raise AssertionError("it does not diverge")


def test_a_run_that_diverges_is_an_error_that_names_step_leaf_and_remedy(
    bad, tmp_path, monkeypatch
):
    """Fails for the default policy, and if a state that is not finite is saved first."""
    monkeypatch.setattr(keeper, "SAVE_EVERY", 0.0)
    start = WILD.init(PARAMS)
    with pytest.raises(
        aeb.DivergenceError,
        match=rf"^divergence: at step {bad}, not finite any more: the loss; 'position/w'\. Try a "
        "smaller learning rate or step size",
    ):
        run(WILD_KERNEL, start, checkpoint=tmp_path)
    saved = checkpoint.latest_step(tmp_path)
    assert 0 < saved < bad
    assert finite(run(WILD_KERNEL, start, checkpoint=tmp_path, num_steps=saved))


def test_stop_returns_the_last_finite_state_and_the_draws_up_to_it(bad):
    start = WILD.init(PARAMS)
    steps = []
    with pytest.warns(aeb.DivergenceWarning, match=f"at step .*; stopped after step {bad - 1}$"):
        state, draws = run(
            WILD_KERNEL, start, divergence="stop", callback=lambda s: steps.append(int(s.step))
        )
    chex.assert_trees_all_equal((state, draws), run(WILD_KERNEL, start, num_steps=bad - 1))
    assert len(draws) == steps[-1] == bad - 1
    assert finite((state, draws))


def test_skip_leaves_out_the_steps_that_are_not_finite():
    """Against the same steps by hand."""
    start = SOUND.init(PARAMS)
    with pytest.warns(
        aeb.DivergenceWarning, match=r"^divergence: 3 steps .* data, the arr.* at \[5, 0\]"
    ):
        state, draws = run(KERNEL, start, BAD, num_steps=24, divergence="skip")
    assert int(state.step) == 24
    _, rows = run(note_rows, SOUND.init(PARAMS, BAD[:1]), BAD, collect=lambda s: s.model_state)
    step, expected = jax.jit(KERNEL), start
    for count in range(24):
        new = step(expected, rows[count], jax.random.key(count))
        expected = new if finite(new) else expected._replace(step=new.step)
        np.testing.assert_allclose(draws[count], expected.position["w"], rtol=1e-5)
    np.testing.assert_allclose(state.momentum["w"], expected.momentum["w"], rtol=1e-5)
    np.testing.assert_allclose(state.loss, expected.loss, rtol=1e-5)
    chex.assert_trees_all_equal(
        run(KERNEL, start, num_steps=24, divergence="skip"), run(KERNEL, start, num_steps=24)
    )


def test_skip_gives_up_where_no_step_is_finite():
    with pytest.raises(
        aeb.DivergenceError, match=r"none of the last 1\d\d steps .* In data, the ar"
    ):
        run(
            KERNEL,
            SOUND.init(PARAMS),
            jnp.full_like(GOOD, jnp.nan),
            num_steps=999,
            divergence="skip",
        )


def test_data_that_are_not_finite_are_named():
    with pytest.raises(
        aeb.DivergenceError, match="In data, leaf 'x' holds values that are not fin"
    ):
        aeb.sample(
            lambda state, batch, key: KERNEL(state, batch["x"], key),
            SOUND.init(PARAMS),
            {"label": jnp.zeros(ROWS, jnp.int32), "x": BAD},
            jax.random.key(0),
            num_steps=ROWS,
            batch_size=1,
            progress=False,
        )


def test_a_state_that_diverges_under_a_loss_that_does_not_is_seen():
    """Fails if only the loss is looked at."""

    def kernel(state, batch, key):
        new = KERNEL(state, batch, key)
        late = jnp.where(new.step == 7, jnp.inf, 0.0)
        return new._replace(model_state={"mean": new.model_state["mean"] + late})

    state = SOUND.init(PARAMS, {"mean": jnp.zeros(2)})
    with pytest.raises(
        aeb.DivergenceError, match=r"between steps \d and \d+, .*'model_state/mean'"
    ):
        run(kernel, state)
    with pytest.warns(aeb.DivergenceWarning):
        assert int(run(kernel, state, divergence="stop")[0].step) == 6


def test_what_was_never_finite_is_the_users_own():
    state = SOUND.init(PARAMS, {"least": jnp.full(2, jnp.inf)})
    assert int(run(KERNEL, state)[0].step) == 40
    with pytest.raises(ValueError, match=r"^state: 'position/w' holds values that are not finite"):
        run(KERNEL, SOUND.init({"w": jnp.full((1, 2), jnp.nan)}))
    lost, _ = run(KERNEL, SOUND.init({"w": jnp.full((1, 2), jnp.nan)}), divergence="ignore")
    assert not finite(lost.position)


@pytest.mark.slow
def test_one_chain_of_two():
    """Fails if the chain that is well loses steps, or the count of chains is wrong."""
    states = jax.vmap(SOUND.init)({"w": jnp.ones((2, 1, 2))})
    keys = jax.random.split(jax.random.key(4), 2)
    arguments = (aeb.chains(KERNEL, same_batch=False), states, jnp.stack([GOOD, BAD]), keys)
    options = {"batch_size": 1, "num_steps": 16, "progress": False}
    chains = {"data_per_chain": True, **options}
    with pytest.raises(aeb.DivergenceError, match=r"step \d, in 1 of 2 chains, not finite any mo"):
        aeb.sample(*arguments, **chains)
    with pytest.warns(aeb.DivergenceWarning, match="^divergence: 2 steps of one chain were not"):
        both, _ = aeb.sample(*arguments, divergence="skip", **chains)
    assert both.step.tolist() == [16, 16]
    assert finite(both)
    alone, _ = aeb.sample(KERNEL, SOUND.init(PARAMS), GOOD, keys[0], **options)
    np.testing.assert_allclose(both.position["w"][0], alone.position["w"], rtol=1e-5)


class Told(NamedTuple):
    """As much of a state as the loop reads."""

    step: jax.Array
    loss: jax.Array


def watched(losses, bound):
    """Return the health after each of these losses."""

    def one(health, loss):
        state = Told(jnp.ones((), jnp.int32), loss)
        health = observe(state, state, health)[1]
        return health, health

    start = healthy(Told(jnp.zeros((), jnp.int32), jnp.zeros(())), bound)
    return jax.lax.scan(one, start, jnp.asarray(losses, jnp.float32))[1]


def test_the_recent_loss_is_a_running_mean():
    """Mutations: the loss of a minibatch in its place; no limit on one; a bound of 0 doubled."""
    rng = np.random.default_rng(0)
    dead = 1.6 + 0.06 * rng.normal(size=300)  # as of a network that guesses one of five classes
    assert (dead > 1.56).mean() < 0.85
    health = watched(dead, 1.56)
    assert int(health.above[-1]) > 100
    by_hand = dead[0]
    for loss in dead[1:]:
        by_hand += (min(loss, 3.12) - by_hand) / 20
    np.testing.assert_allclose(health.recent[-1], by_hand, rtol=1e-5)
    for bound, low, high in ((1.0, 0.5, 1e9), (-1.0, -3.0, 1e9), (0.0, -1.0, 1e9)):
        # An outlier counts for a while, and not for hundreds of steps.
        above = watched([low] * 30 + [high] + [low] * 60, bound).above
        assert int(above[-1]) == 0
        assert int(watched([low] * 30 + [high] * 60, bound).above[-1]) > 20
    above = watched([jnp.nan] + [0.5] * 9 + [2.0] * 40, 1.0).above
    assert int(above[9]) == 0
    assert int(above[-1]) > 20


@pytest.mark.slow
def test_a_loss_that_stays_above_that_of_a_guess_is_divergence():
    """Mutations: steps that are not in a row counted, the patience left out, a bound not looked at.

    At a rate of 0 the loss is that of the rows, at most 1 / 2. Single rows are above a bound
    between the mean and the largest of them, and a mean over 20 rows hardly ever.
    """
    still, kernel = problem(1e-9)
    start = still.init(PARAMS)
    losses = run(kernel, start, collect=lambda s: s.loss, num_steps=150)[1]
    low, high = float(losses.min()), float(losses.max())
    between = 0.5 * (float(losses.mean()) + high)
    assert (losses > between).any()
    with pytest.raises(
        aeb.DivergenceError,
        match=r"to step \d+ the recent loss was above loss_bound=.* for 1\d\d steps .* Try a sm",
    ):
        run(kernel, start, num_steps=150, loss_bound=low / 2)
    for bound in (between, high):
        assert int(run(kernel, start, num_steps=900, loss_bound=bound)[0].step) == 900
    with pytest.warns(aeb.DivergenceWarning, match="to step 99 .* for 99 steps in a row"):
        assert int(run(kernel, start, num_steps=99, loss_bound=low / 2)[0].step) == 99
    assert int(run(kernel, start, num_steps=19, loss_bound=low / 2)[0].step) == 19
    with pytest.warns(aeb.DivergenceWarning, match=r"no better than a guess\..*; stopped after st"):
        state, draws = run(kernel, start, num_steps=150, loss_bound=low / 2, divergence="stop")
    assert 100 <= int(state.step) < 150
    assert len(draws) == int(state.step)
    with pytest.raises(TypeError, match="loss_bound: it needs a state with a field `loss`"):
        run(note_rows, SOUND.init(PARAMS)._asdict(), loss_bound=1.0)
