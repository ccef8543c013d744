# SPDX-License-Identifier: Apache-2.0
"""The compiled loop: same chain as a loop by hand, resumable at any step, honest epochs.

Mutations that fail here: keys not folded with the step, the epoch's order drawn anew on resume,
rows drawn with replacement, a row gathered one step late, the last partial group dropped, a call
of slow steps that ends after two of them.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import NUM_DATA, cross_entropy, data, two_layers

import aeb
from aeb.models import conv_general_dilated
from aeb.sampling import keeper, programs, runner

ALGORITHM = aeb.empirical_bayes(
    aeb.sghmc(1e-4), aeb.spike_slab(0.1, 1.0), sparsify=aeb.magnitude(0.5)
)
KERNEL = aeb.build_kernel(ALGORITHM, cross_entropy, num_data=NUM_DATA)


@pytest.fixture
def key():
    return jax.random.key(1)


def position_of(state):
    return state.position


def spied(monkeypatch):
    """Note how each piece of a run is taken."""
    taken, real = [], programs.take

    def take(*arguments, **settings):
        taken.append(settings)
        return real(*arguments, **settings)

    monkeypatch.setattr(programs, "take", take)
    return taken


def rows_seen(num_steps, batch_size, start=0, key=3):
    """Run a kernel that only notes which rows it was handed."""
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-4), aeb.gaussian())

    def kernel(state, batch, key):
        return state._replace(step=state.step + 1, model_state=batch["row"])

    size = batch_size or 10
    state = algorithm.init(jnp.ones(2), jnp.zeros(size, jnp.int32))
    state = state._replace(step=jnp.int32(start))
    _, rows = aeb.sample(
        kernel,
        state,
        {"row": jnp.arange(10, dtype=jnp.int32)},
        jax.random.key(key),
        num_steps=num_steps,
        batch_size=batch_size,
        collect=lambda state: state.model_state,
        progress=False,
    )
    return np.asarray(rows)


def test_an_epoch_takes_each_row_at_most_once_and_the_next_differs():
    rows = rows_seen(num_steps=60, batch_size=3)
    epochs = rows.reshape(20, 9)
    assert all(len(set(epoch)) == 9 for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 20
    # Each epoch leaves one row out; over 20 epochs it is not always the same.
    assert len({(set(range(10)) - set(epoch)).pop() for epoch in epochs.tolist()}) > 3


def test_rows_do_not_depend_on_where_a_run_was_cut():
    whole = rows_seen(num_steps=12, batch_size=3)
    np.testing.assert_array_equal(whole[5:], rows_seen(num_steps=7, batch_size=3, start=5))


def test_all_rows_come_in_their_order():
    np.testing.assert_array_equal(rows_seen(num_steps=2, batch_size=None)[1], np.arange(10))


def test_the_chain_is_the_kernel_with_folded_keys():
    run_key = jax.random.key(9)
    start = ALGORITHM.init(two_layers())
    state, _ = aeb.sample(
        KERNEL, start, data(), run_key, num_steps=5, batch_size=None, progress=False
    )
    expected, step = start, jax.jit(KERNEL)
    for k in range(5):
        expected = step(expected, data(), jax.random.fold_in(run_key, k))
    chex.assert_trees_all_close(state, expected, rtol=1e-5, atol=1e-6)


SLOW = pytest.mark.slow


@pytest.mark.optimised  # without, slices of unequal length round differently
@pytest.mark.parametrize("every", [pytest.param(1, marks=SLOW), 3, pytest.param(7, marks=SLOW)])
def test_resumed_in_slices_it_ends_in_the_same_bits(every, key):
    options = {"batch_size": 8, "collect": position_of, "every": every, "progress": False}
    start = ALGORITHM.init(two_layers())
    straight, draws = aeb.sample(KERNEL, start, data(), jax.random.key(1), num_steps=14, **options)
    assert draws["Dense_0"]["kernel"].shape == (14 // every, 6, 5)
    state, parts = start, []
    for length in (4, 1, 9):
        state, part = aeb.sample(KERNEL, state, data(), key, num_steps=length, **options)
        parts += [] if part is None else [part]
    joined = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
    chex.assert_trees_all_equal((straight, draws), (state, joined))
    last = jax.tree.map(lambda x: x[-1], draws)
    if 14 % every == 0:
        np.testing.assert_array_equal(last["Dense_1"]["bias"], straight.position["Dense_1"]["bias"])


@pytest.mark.parametrize(
    ("convolve", "stepped"),
    [(jax.lax.conv_general_dilated, True), (conv_general_dilated, False)],
)
def test_a_cpu_steps_jaxs_convolutions_and_loops_over_ours(convolve, stepped, monkeypatch):
    """Fails if the wrong one of the two ways is taken, or if it gathers other steps."""
    stepped = stepped and jax.default_backend() == "cpu"
    taken = spied(monkeypatch)
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.spike_slab(0.1, 1.0))

    def loss_fn(params, batch):
        image = batch["image"]
        layout = ("NHWC", "HWIO", "NHWC")
        out = convolve(image, params["kernel"], (1, 1), "SAME", dimension_numbers=layout)
        return jnp.mean(jnp.square(out - 1.0))

    images = jax.random.normal(jax.random.key(2), (12, 4, 4, 1))
    state, steps = aeb.sample(
        aeb.build_kernel(algorithm, loss_fn, num_data=12),
        algorithm.init({"kernel": jnp.zeros((3, 3, 1, 1))}),
        {"image": images},
        jax.random.key(3),
        num_steps=7,
        batch_size=4,
        collect=lambda state: state.step,
        every=3,
        progress=False,
    )
    assert steps.tolist() == [3, 6]
    assert int(state.step) == 7
    assert {settings["dispatch"] for settings in taken} == {stepped}


def test_the_loss_is_traced_once_over_slices():
    chex.clear_trace_counter()  # it is kept by the name of the function
    loss_fn = chex.assert_max_traces(cross_entropy, n=1)
    kernel = aeb.build_kernel(ALGORITHM, loss_fn, num_data=NUM_DATA)
    state = ALGORITHM.init(two_layers())
    for _ in range(3):
        state, _ = aeb.sample(
            kernel, state, data(), jax.random.key(1), num_steps=6, batch_size=8, progress=False
        )


def test_the_callers_state_survives():
    state = ALGORITHM.init(two_layers())
    aeb.sample(KERNEL, state, data(), jax.random.key(1), num_steps=2, batch_size=8, progress=False)
    assert bool(jnp.isfinite(state.position["Dense_0"]["kernel"]).all())


def test_chains_lead_and_collect_sees_one(key):
    """Fails if the axes are left as [draws, chains], or `collect` is given all chains at once."""
    starts = jax.tree.map(lambda x: jnp.stack([x, x]), two_layers())
    state, draws = aeb.sample(
        aeb.chains(KERNEL),
        jax.vmap(ALGORITHM.init)(starts),
        data(),
        key,
        num_steps=6,
        batch_size=8,
        collect=lambda s: (s.loss, s.position["Dense_1"]["bias"]),
        every=2,
        progress=False,
    )
    assert state.step.tolist() == [6, 6]
    losses, biases = draws
    assert losses.shape == (2, 3)
    np.testing.assert_array_equal(losses[:, -1], state.loss)
    np.testing.assert_array_equal(biases[:, -1], state.position["Dense_1"]["bias"])
    # They share the rows of a step and differ in noise.
    assert float(losses[0, 2]) != float(losses[1, 2])


@pytest.mark.parametrize("batch_size", [None, pytest.param(3, marks=pytest.mark.slow)])
def test_each_chain_has_its_rows_and_is_the_run_that_it_would_be_alone(batch_size):
    """Fails if chains share an order, take the rows of another, or mix up their keys."""

    def note_rows(state, batch, key):
        return state._replace(
            step=state.step + 1, model_state=(batch["row"], jax.random.uniform(key))
        )

    states = jax.vmap(aeb.empirical_bayes(aeb.sgld(1e-4), aeb.gaussian()).init)(
        jnp.ones((2, 2)), (jnp.zeros((2, batch_size or 7), jnp.int32), jnp.zeros(2))
    )
    data, keys = (
        {"row": jnp.arange(14, dtype=jnp.int32).reshape(2, 7)},
        jax.random.split(jax.random.key(3), 2),
    )
    options = {"num_steps": 9, "batch_size": batch_size, "progress": False}
    options |= {"collect": lambda state: state.model_state}
    _, (rows, noise) = aeb.sample(
        aeb.chains(note_rows, same_batch=False), states, data, keys, data_per_chain=True, **options
    )
    assert rows.shape == (2, 9, batch_size or 7)
    for chain in range(2):
        state, own_rows = jax.tree.map(lambda leaf, at=chain: leaf[at], (states, data))
        _, alone = aeb.sample(note_rows, state, own_rows, keys[chain], **options)
        np.testing.assert_array_equal(rows[chain], alone[0])
        np.testing.assert_array_equal(noise[chain], alone[1])
    _, (rows, noise) = aeb.sample(
        aeb.chains(note_rows, same_batch=False),
        states,
        data,
        jax.random.key(3),
        data_per_chain=True,
        **options,
    )
    assert (rows[0] < 7).all()
    assert (rows[1] >= 7).all()
    assert (batch_size is None) == np.array_equal(rows[0], rows[1] - 7)
    assert not np.array_equal(noise[0], noise[1])


def test_data_of_chains_that_do_not_fit_are_refused(key):
    states = jax.vmap(ALGORITHM.init)(jax.tree.map(lambda x: jnp.stack([x, x]), two_layers()))

    def run(states=states, key=key, **options):
        aeb.sample(aeb.chains(KERNEL), states, data(), key, num_steps=1, batch_size=4, **options)

    with pytest.raises(ValueError, match=r"^data: it leads with 32 where .* 2 chains"):
        run(data_per_chain=True)
    with pytest.raises(ValueError, match=r"^data_per_chain: the state is of one chain"):
        run(ALGORITHM.init(two_layers()), data_per_chain=True)
    with pytest.raises(ValueError, match=r"^key: expected one key, got shape \(2,\)"):
        run(key=jax.random.split(key, 2))  # they share the minibatches


def test_the_first_draws_are_left_out_in_the_warmup():
    _, whole = checkpointed(None, every=3)
    _, rest = checkpointed(None, every=3, warmup=9)
    np.testing.assert_array_equal(
        whole["Dense_1"]["bias"][3:], rest["Dense_1"]["bias"], strict=True
    )
    with pytest.raises(ValueError, match=r"^warmup: of num_steps=20 steps 20 .* no draw is due"):
        checkpointed(None, warmup=20)
    with pytest.raises(ValueError, match=r"^warmup: got 21, needs to be in \[0, 20\]"):
        checkpointed(None, warmup=21)


def test_a_call_ends_between_two_draws(tmp_path):
    """Fails if a compiled call goes on to the next draw, however far that is."""
    with pytest.raises(TimeoutError, match="step 1 of 20;"):
        checkpointed(tmp_path, every=20, limit_seconds=1e-9)


@pytest.mark.parametrize("every", [5, 100])
def test_the_pace_is_kept_over_callbacks(every, monkeypatch):
    """Fails if each callback starts the pace anew."""
    monkeypatch.setattr(runner.time, "monotonic", lambda: 0.0)
    taken = spied(monkeypatch)
    checkpointed(None, num_steps=64, callback=lambda state: None, callback_every=32, every=every)
    assert [piece["stop"] - piece["start"] for piece in taken] == [1, 2, 4, 8, 16, 1, 32]


@pytest.mark.parametrize(
    ("step", "settles"), [(1e-4, 8192), (0.01, 64), (0.4, 8), (2.0, 4), (30.0, 1)]
)
def test_a_call_lasts_a_second_or_has_enough_steps(step, settles):
    pace = runner._Pace()
    seen = []
    for _ in range(30):
        seen.append(pace.steps)
        pace.update(pace.steps, step * pace.steps)
    assert seen[-10:] == [settles] * 10
    pace.steps = 16 * settles  # the machine was faster a moment ago
    for _ in range(30):
        pace.update(pace.steps, step * pace.steps)
    assert pace.steps * step <= 2 * runner.PATIENCE or pace.steps <= max(settles, runner.ENOUGH)
    assert pace.steps * step <= 2 * runner.LONGEST or pace.steps == 1


def test_no_steps_give_no_draws():
    state, draws = aeb.sample(
        KERNEL,
        ALGORITHM.init(two_layers()),
        data(),
        jax.random.key(1),
        num_steps=0,
        batch_size=8,
        collect=lambda s: s.loss,
        progress=False,
    )
    assert int(state.step) == 0
    assert draws is None


class StoppedError(Exception):
    """Raised where a test stops a run."""


def checkpointed(folder, key=1, **changes):
    """Take 20 steps with a draw every 3; the others of a run's arguments are `changes`."""
    options = {"num_steps": 20, "callback_every": 4, "batch_size": 8, "every": 3}
    options |= {"collect": position_of} | changes
    return aeb.sample(
        KERNEL,
        ALGORITHM.init(two_layers()),
        data(),
        jax.random.key(key),
        checkpoint=folder,
        progress=False,
        **options,
    )


def test_a_run_that_is_stopped_again_and_again_ends_in_the_same_bits(tmp_path, monkeypatch):
    """Fails if draws are lost or taken twice, the rows start anew, or the end is not saved."""
    monkeypatch.setattr(keeper, "SAVE_EVERY", 0.0)
    straight = checkpointed(tmp_path / "straight")
    assert straight[1]["Dense_0"]["kernel"].shape == (6, 6, 5)
    seen = []

    def stop(state):
        seen.append(int(state.step))
        if len(seen) in (1, 2, 4):
            raise StoppedError

    for _ in range(3):
        with pytest.raises(StoppedError):
            checkpointed(tmp_path / "stopped", callback=stop)
    again = checkpointed(tmp_path / "stopped", callback=stop)
    assert seen == sorted(seen)
    assert seen[-1] == 20
    chex.assert_trees_all_equal(straight, again)
    # It is at its end: a further call takes no step, and calls nobody.
    once_more = checkpointed(tmp_path / "stopped", callback=stop)
    assert seen[-1] == 20
    assert len(seen) == len(set(seen))
    chex.assert_trees_all_equal(straight, once_more)


def test_a_limit_on_the_seconds_saves_and_says_so(tmp_path):
    """Fails if the limit is not looked at, or what was done is not saved first."""
    straight = checkpointed(None)
    for _ in range(40):
        try:
            again = checkpointed(tmp_path, limit_seconds=1e-9)
            break
        except TimeoutError as error:
            said = str(error)
    else:
        pytest.fail("no call got any further")
    assert "the same call goes on" in said
    chex.assert_trees_all_equal(straight, again)


def test_the_callback_comes_when_it_is_due_and_at_the_end():
    steps = []
    checkpointed(None, callback=lambda s: steps.append(int(s.step)), callback_every=7)
    assert steps == [7, 14, 20]
    kept = []
    checkpointed(None, callback=kept.append)
    assert [int(s.step) for s in kept] == [4, 8, 12, 16, 20]  # none of them was used up


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    checkpointed(tmp_path)
    with pytest.raises(ValueError, match=r"^key: the run in"):
        checkpointed(tmp_path, key=2)
    with pytest.raises(ValueError, match=r"^batch_size: .* begun with 8, this one is with 4"):
        checkpointed(tmp_path, batch_size=4)
    checkpointed(tmp_path / "short", num_steps=5)  # one draw, as every 4 steps would give
    with pytest.raises(ValueError, match=r"^every: .* begun with 3, this one is with 4"):
        checkpointed(tmp_path / "short", num_steps=5, every=4)
    with pytest.raises(ValueError, match=r"^checkpoint: what is in .* is of another run"):
        checkpointed(tmp_path, collect=None)
    with pytest.raises(ValueError, match=r"^checkpoint: .* holds step 20, and this run ends at 19"):
        checkpointed(tmp_path, num_steps=19)
    with pytest.raises(ValueError, match=r"^limit_seconds: it needs a folder"):
        checkpointed(None, limit_seconds=1.0)


def test_a_damaged_checkpoint_is_gone_behind(tmp_path, monkeypatch):
    """Fails if the run stops at the later file that it could not read."""
    checkpointed(tmp_path, num_steps=6)
    checkpointed(tmp_path, num_steps=12)
    newest = max(tmp_path.glob("step_*"))
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(bytes(content))
    monkeypatch.setattr(keeper, "SAVE_EVERY", 0.0)
    with pytest.warns(UserWarning, match="passed over a checkpoint"):
        again = checkpointed(tmp_path)
    chex.assert_trees_all_equal(again, checkpointed(None))


def test_no_callback_is_lost_at_a_limit(tmp_path):
    steps = []
    for _ in range(40):
        try:
            checkpointed(tmp_path, limit_seconds=1e-9, callback=lambda s: steps.append(int(s.step)))
            break
        except TimeoutError:
            continue
    assert steps == [4, 8, 12, 16, 20]


def test_a_run_can_be_made_longer(tmp_path):
    checkpointed(tmp_path, num_steps=10)
    longer, whole = checkpointed(tmp_path), checkpointed(None)
    chex.assert_trees_all_equal(longer, whole)
