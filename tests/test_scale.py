# SPDX-License-Identifier: Apache-2.0
"""A loss that sums over its minibatch and a wrong `num_data` are told; nothing else is."""

import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb
from aeb.kernel import facts_of
from aeb.sampling import scale
from aeb.sampling.scale import sums_over_rows, wrong_scale

ROWS = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
WEIGHTS = np.linspace(-1.0, 1.0, 6, dtype=np.float32)


class Net(nn.Module):
    """With all that makes a loss depend on more than its row."""

    rate: float = 0.5

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=False)(nn.Dense(16)(x))
        return nn.Dense(1)(nn.Dropout(self.rate, deterministic=False)(x))


def squares(w, x):
    return (1.0 - x @ w) ** 2


def contrast(w, x):
    """Each row against the rest of the batch, as contrastive losses have it."""
    z = x * w[None]
    z = z / jnp.linalg.norm(z, axis=1, keepdims=True)
    return -jnp.mean(jnp.diag(jax.nn.log_softmax(30.0 * z @ z.T)))


MEANS = {
    "mean": lambda w, x: jnp.mean(squares(w, x)),
    "mean and a large regulariser": lambda w, x: jnp.mean(squares(w, x)) + 50.0 * jnp.sum(w**2),
    "nothing left": lambda w, x: jnp.mean(squares(w, x)) * 0.0,
    "not finite": lambda w, x: jnp.mean(squares(w, x)) * jnp.nan,
    "contrast": contrast,
    "largest": lambda w, x: jnp.max(squares(w, x)),
    "one size alone": lambda w, x: jnp.sum(squares(w, x.reshape(32, 6))),
}
SUMS = {
    "sum": lambda w, x: jnp.sum(squares(w, x)),
    "sum and a regulariser": lambda w, x: jnp.sum(squares(w, x)) + jnp.sum(w**2),
    "log density": lambda w, x: -jnp.sum(squares(w, x)),
}


def said(loss):
    def with_state(w, x, model_state, key):
        return loss(w, x), model_state

    return sums_over_rows(with_state, jnp.asarray(WEIGHTS), ROWS, (), jax.random.key(0))


@pytest.mark.parametrize("name", MEANS)
def test_a_mean_is_acquitted(name):
    """Mutations: SLACK = 1; the user's error passed on."""
    assert said(MEANS[name]) is None


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_is_told(name):
    """Mutations: GROWTH = 1; `grown > 2 * once`."""
    assert "at 32 rows" in said(SUMS[name])


@pytest.mark.slow
@pytest.mark.quickly_compiled
def test_batch_norm_and_dropout_hide_nothing():
    """Mutations: acquitted by GROWTH alone; SLACK = 0.01, which noise exceeds."""
    net = Net()
    variables = net.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, ROWS[:2])

    def loss(params, x, model_state, key):
        out, _ = net.apply({"params": params}, x, mutable=["batch_stats"], rngs={"dropout": key})
        return jnp.mean((out - 1.0) ** 2), model_state

    def total(params, x, model_state, key):
        return len(x) * loss(params, x, model_state, key)[0], model_state

    arguments = (variables["params"], ROWS, (), jax.random.key(0))
    assert sums_over_rows(loss, *arguments) is None
    assert sums_over_rows(total, *arguments) is not None


def built(loss, num_data, learning_rate=1e-4):
    """A kernel and its first state."""
    dynamics = aeb.sgld(learning_rate=learning_rate, temperature=0.0)
    algorithm = aeb.empirical_bayes(dynamics, aeb.gaussian())
    kernel = aeb.build_kernel(algorithm, loss, num_data=num_data)
    return kernel, algorithm.init(jnp.asarray(WEIGHTS))


def of_kernel(loss, *, num_data=40, rows=ROWS):
    kernel, state = built(loss, num_data)
    return wrong_scale(facts_of(kernel), state, rows, jax.random.key(0), batch_size=8)


def run(kernel, state, num_steps):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        settings = {"num_steps": num_steps, "batch_size": 8, "progress": False}
        aeb.sample(kernel, state, ROWS, jax.random.key(0), **settings)
    return " ".join(str(each.message) for each in caught)


def test_a_run_says_so_once():
    """Mutations: the facts left behind by `aeb.chains`; every call looked at; none that is long."""
    kernel, state = built(SUMS["sum"], num_data=40)
    states = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), state)
    kernel = aeb.chains(kernel)
    said = run(kernel, states, 100)
    assert said.startswith("loss_fn: it sums over the rows of a minibatch (")
    assert "jnp.mean for jnp.sum" in said
    assert not run(kernel, states, 1)
    assert not run(kernel, states._replace(step=states.step + 100), 1)


def test_a_right_run_does_not_read_its_loss_again(monkeypatch):
    """That compiles it anew. Mutations: SUSPICIOUS = 0; the loss at the start taken for one."""
    kernel, state = built(lambda w, x: 0.01 * jnp.mean(squares(w, x)), num_data=40)
    monkeypatch.setattr(scale, "wrong_scale", lambda *arguments: "looked")
    assert not run(kernel, state._replace(loss=jnp.array(1e3)), 100)
    assert run(kernel, state._replace(position=state.position + 1e3), 100) == "looked"


def test_a_sum_that_diverges_is_told_too():
    """Mutations: a loss that is not finite passed over; the state after the step read."""
    kernel, state = built(lambda w, x: 1e-3 * jnp.sum(squares(w, x)), 40, learning_rate=1e38)
    settings = {"num_steps": 100, "batch_size": 8, "progress": False}
    with pytest.warns(UserWarning, match=r"^loss_fn: it sums over the rows"):  # noqa: SIM117 - the warning comes before the error
        with pytest.raises(aeb.DivergenceError):
            aeb.sample(kernel, state, ROWS, jax.random.key(0), **settings)


def test_a_sum_may_be_weighed_as_it_should_be():
    """The sum over 8 of 40 rows, five times, is that over all. Mutation: `rows` for the ratio."""
    assert of_kernel(SUMS["sum"]).startswith("loss_fn")
    assert of_kernel(SUMS["sum"], num_data=5) is None


def test_num_data_is_compared_with_the_rows():
    """Mutations: FACTOR = 1.1; a text counted by its rows alone; images counted as texts."""
    assert of_kernel(MEANS["mean"]) is None
    assert of_kernel(MEANS["mean"], num_data=50) is None
    wrong = of_kernel(MEANS["mean"], num_data=50_000)
    assert wrong.startswith("num_data: the kernel was built with 50,000, and data has 40 rows")
    assert "num_data=40" in wrong

    def of_tokens(w, text):
        return jnp.mean(jnp.square(w - text.astype(float)))

    text = np.arange(240, dtype=np.int32).reshape(40, 6)
    with jax.numpy_rank_promotion("allow"):
        assert of_kernel(of_tokens, num_data=240, rows=text) is None
        assert "num_data" in of_kernel(of_tokens, num_data=240, rows=text.astype(np.uint8))


def test_compress_refuses_a_sum():
    """Mutation: the check left to `aeb.sample`, after the learning rate was searched for."""
    settings = {"num_steps": 1, "progress": False, "key": jax.random.key(0)}
    with pytest.raises(ValueError, match=r"^model: the loss sums over .*jnp\.mean for jnp\.sum"):
        aeb.compress(SUMS["sum"], jnp.asarray(WEIGHTS), ROWS, sparsity=0.5, **settings)
