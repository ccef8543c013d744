# SPDX-License-Identifier: Apache-2.0
"""The range test against a grid of runs as long on other minibatches, on four problems.

Mutations that fail here: the highest rate that did not diverge is taken; the rate is handed on as a
step size; the test goes on from the state that the last rate left.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb

ROWS = 512


def regression():
    """Least squares with features of unequal size."""
    x = jax.random.normal(jax.random.key(0), (ROWS, 8)) * jnp.linspace(0.3, 1.0, 8)[None]
    y = x @ jnp.linspace(-2.0, 2.0, 8) + 0.1 * jax.random.normal(jax.random.key(1), (ROWS,))

    def loss_fn(w, batch):
        return 0.5 * jnp.mean(jnp.square(batch["x"] @ w - batch["y"]))

    return loss_fn, jnp.zeros(8), {"x": x, "y": y}


def digits():
    digits, normalize = aeb.data.load("digits"), aeb.data.normalizer("digits")
    images = np.asarray(normalize(digits.train["image"][:ROWS])).reshape(ROWS, -1)
    return {"x": jnp.asarray(images), "y": jnp.asarray(digits.train["label"][:ROWS])}


def entropy(logits, labels):
    log_probs = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_probs, labels[:, None], axis=-1))


def logistic():
    """A linear classifier of the digits."""
    return lambda w, batch: entropy(batch["x"] @ w, batch["y"]), jnp.zeros((64, 10)), digits()


def network(scale=1.0):
    """A network of one hidden layer; `scale` is that of its weights, its function is the same."""
    first, second = jax.random.split(jax.random.key(2))
    params = {
        "one": scale * jax.random.normal(first, (64, 32)) / 8.0,
        "two": scale * jax.random.normal(second, (32, 10)) / 32**0.5,
    }

    def loss_fn(params, batch):
        hidden = jax.nn.relu(batch["x"] @ (params["one"] / scale))
        return entropy(hidden @ (params["two"] / scale), batch["y"])

    return loss_fn, params, digits()


PROBLEMS = {
    "regression": regression,
    "logistic": logistic,
    "network": network,
    "small weights": lambda: network(0.2),
}


def prepare(problem):
    loss_fn, params, data = PROBLEMS[problem]()
    algorithm = aeb.empirical_bayes(
        aeb.sghmc(learning_rate=1.0), aeb.gaussian(precision=1e-3), gain=0.0
    )
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=ROWS)
    return kernel, algorithm.init(params), data


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_within_a_factor_of_two_of_the_best_of_a_grid(problem):
    kernel, state, data = prepare(problem)
    rate = aeb.tune(kernel, state, data, jax.random.key(3), batch_size=64)

    @jax.jit
    def mean_loss(rate):
        def step(state, key):
            rows = jax.random.randint(key, (64,), 0, ROWS)
            batch = jax.tree.map(lambda leaf: leaf[rows], data)
            key = jax.random.fold_in(key, 1)
            state = kernel(state, batch, key, learning_rate=rate, temperature=0.0)
            return state, state.loss

        keys = jax.random.split(jax.random.key(4), 60)
        return jnp.mean(jax.lax.scan(step, state, keys)[1][-15:])

    grid = rate * 2.0 ** np.arange(-5, 6)
    with jax.debug_key_reuse(False):
        reached = np.array([float(mean_loss(jnp.float32(each))) for each in grid])
    best = grid[np.nanargmin(reached)]
    assert 0.49 < rate / best < 2.01, dict(zip(grid, reached, strict=True))


def test_it_leaves_the_state_and_gives_the_same_rate_again():
    kernel, state, data = prepare("regression")
    rates = [
        aeb.tune(kernel, state, data, jax.random.key(3), batch_size=64, num_steps=8, lowest=4e-3)
        for _ in range(2)
    ]
    assert rates[0] == rates[1]
    assert int(state.step) == 0
    # The largest curvature is about 1: above 2 (1 + 0.9) no rate with this momentum can hold.
    assert 4e-3 < rates[0] < 1.0


@pytest.mark.parametrize(
    ("options", "word"),
    [({"lowest": 8.0}, "lowest"), ({"lowest": 1e-6, "highest": 1e-5}, "highest")],
)
def test_a_range_that_misses_the_best_says_which_end_to_move(options, word):
    kernel, state, data = prepare("regression")
    with pytest.raises(ValueError, match=f"^{word}:"):
        aeb.tune(kernel, state, data, jax.random.key(3), batch_size=64, num_steps=8, **options)
