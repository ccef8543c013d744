# SPDX-License-Identifier: Apache-2.0
"""What every algorithm owes its users: one table of algorithms, one list of properties.

Each property holds for every row. Those that compile a row anew are checked for `SPOT` at once, and
for the other rows among the slow tests.

Mutations that fail here: a bf16 leaf returned as float32 (dtype), `step` not incremented (count),
a key reused for noise (determinism, key-reuse checker), a Python branch on a traced value (trace).
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import NUM_DATA, cross_entropy, data, half_mse, laplace_prior, two_layers

import aeb

SLAB = {"v0": 0.1, "v1": 1.0}
HOT = aeb.sghmc(1e-4, friction=0.3, temperature=aeb.annealing(1.0, factor=1.1))
ALGORITHMS = {
    "sgld-em": {"dynamics": aeb.sgld(aeb.cyclical(1e-3, period=4, floor=1e-5)), "gain": 1.0},
    "cold-fixed": {"dynamics": aeb.sghmc(1e-4, temperature=0.0), "gain": 0.0},
    "leaf": {"dynamics": HOT, "sparsify": aeb.magnitude(0.5)},
    "global-all": {
        "sparsify": aeb.magnitude(aeb.exponential_ramp(0.6), scope="global", of="all"),
    },
    "frozen": {"dynamics": HOT, "sparsify": aeb.inclusion(0.5, regrow=False)},
    "units": {"dynamics": aeb.sgld(1e-4), "sparsify": aeb.units(0.4, scope="global")},
    "fisher": {"dynamics": HOT, "sparsify": aeb.fisher(0.4, scope="global", regrow=False)},
    "learned": {"sparsify": aeb.learned(), "likelihood": "gaussian", "loss_fn": half_mse},
    "gaussian": {"prior": aeb.gaussian(), "likelihood": "gaussian", "loss_fn": half_mse},
    "own-prior": {"prior": laplace_prior()},
}

SPOT = ("frozen", "gaussian")
"""The dynamics with momentum, both likelihoods and priors, and a rule that keeps a mask."""


def build(name, **kernel_options):
    """Algorithm and kernel of a row; cached, so that a row is compiled about once.

    Tests that compile without most optimisations have programs of their own: they round otherwise.
    """
    return _build(name, jax.config.read("jax_disable_most_optimizations"), **kernel_options)


@functools.cache
def _build(name, quickly, **kernel_options):
    del quickly
    row = dict(ALGORITHMS[name])
    loss_fn = row.pop("loss_fn", cross_entropy)
    dynamics = row.pop("dynamics", aeb.sghmc(1e-4))
    algorithm = aeb.empirical_bayes(dynamics, row.pop("prior", aeb.spike_slab(**SLAB)), **row)
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=NUM_DATA, **kernel_options)
    return algorithm, jax.jit(kernel)


@pytest.fixture(params=ALGORITHMS)
def row(request):
    return request.param


def some_rows(*names):
    """Rows of a costly property, those not named being slow."""
    rows = [pytest.param(row, marks=() if row in names else pytest.mark.slow) for row in ALGORITHMS]
    return pytest.mark.parametrize("row", rows)


def keys(*seeds):
    return jax.vmap(jax.random.key)(jnp.array(seeds))


def run(kernel, state, num_steps, seed=0, batch=None):
    for k in range(num_steps):
        state = kernel(state, data() if batch is None else batch, jax.random.key(seed + k))
    return state


def assert_same(left, right, rtol=0.0, atol=0.0):
    chex.assert_trees_all_equal_shapes_and_dtypes(left, right)
    chex.assert_trees_all_close(left, right, rtol=rtol, atol=atol)


def test_structure_shape_and_dtype_are_kept(row):
    keeps_structure_shape_and_dtype(row, jnp.float32)


@some_rows(*SPOT)
def test_bfloat16_is_kept(row):
    keeps_structure_shape_and_dtype(row, jnp.bfloat16)


def keeps_structure_shape_and_dtype(row, dtype):
    algorithm, kernel = build(row)
    params = two_layers(dtype)
    batch = {**data(), "x": data()["x"].astype(dtype), "y": data()["y"].astype(dtype)}
    state = algorithm.init(params)
    new = run(kernel, state, 2, batch=batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(new.position, params)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(new.latent))
    assert new.loss.dtype == jnp.float32


@some_rows(*SPOT)
def test_double_parameters_get_double_latents(row, x64):
    algorithm, kernel = build(row)
    new = run(kernel, algorithm.init(two_layers(jnp.float64)), 2, batch=data(jnp.float64))
    floating = [x for x in jax.tree.leaves(new) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(x.dtype == jnp.float64 for x in floating)


def test_every_number_stays_finite_and_the_weights_move(row):
    algorithm, kernel = build(row)
    state = algorithm.init(two_layers())
    new = run(kernel, state, 5)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(new) if x.dtype != bool)
    for old_leaf, leaf in zip(
        jax.tree.leaves(state.position), jax.tree.leaves(new.position), strict=True
    ):
        assert not np.array_equal(old_leaf, leaf)


@some_rows(*SPOT)
def test_traced_once(row):
    chex.clear_trace_counter()  # it is kept by the name of the function
    options = dict(ALGORITHMS[row])
    loss_fn = chex.assert_max_traces(options.pop("loss_fn", cross_entropy), n=1)
    dynamics = options.pop("dynamics", aeb.sghmc(1e-4))
    prior = options.pop("prior", aeb.spike_slab(**SLAB))
    algorithm = aeb.empirical_bayes(dynamics, prior, **options)
    kernel = jax.jit(aeb.build_kernel(algorithm, loss_fn, num_data=NUM_DATA, exact_rss=False))
    run(kernel, algorithm.init(two_layers()), 3)


def test_steps_are_counted(row):
    algorithm, kernel = build(row)
    assert int(run(kernel, algorithm.init(two_layers()), 3).step) == 3


def test_same_key_same_chain_and_other_key_other_chain(row):
    algorithm, kernel = build(row)
    state = algorithm.init(two_layers())
    assert_same(run(kernel, state, 3), run(kernel, state, 3))
    if row != "cold-fixed":
        other = run(kernel, state, 3, seed=50).position["Dense_0"]["bias"]
        assert not np.array_equal(run(kernel, state, 3).position["Dense_0"]["bias"], other)


@some_rows(*SPOT)
def test_scan_gives_the_chain_of_a_loop(row):
    algorithm, kernel = build(row)
    state, batch = algorithm.init(two_layers()), data()

    @jax.jit
    def scanned(state):
        return jax.lax.scan(lambda s, key: (kernel(s, batch, key), None), state, keys(0, 1, 2, 3))[
            0
        ]

    assert_same(scanned(state), run(kernel, state, 4), rtol=2e-4, atol=2e-5)


@some_rows(*SPOT)
def test_vmapped_chains_equal_a_loop_over_them(row):
    algorithm, kernel = build(row)
    starts = [jax.tree.map(lambda x, s=s: x * s, two_layers()) for s in (1.0, 0.5, -2.0)]
    states = jax.vmap(algorithm.init)(jax.tree.map(lambda *x: jnp.stack(x), *starts))
    together = aeb.chains(kernel)(states, data(), keys(0, 1, 2))
    for chain, start in enumerate(starts):
        alone = kernel(algorithm.init(start), data(), jax.random.key(chain))
        one = jax.tree.map(lambda x, c=chain: x[c], together)
        assert_same(one, alone, rtol=2e-4, atol=2e-5)


def test_no_transfer_inside_the_loop(row):
    algorithm, kernel = build(row)
    state, batch = algorithm.init(two_layers()), jax.device_put(data())
    first, second, third = jax.random.split(jax.random.key(0), 3)
    state = kernel(state, batch, first)
    with jax.transfer_guard("disallow"):
        state = kernel(kernel(state, batch, second), batch, third)
    assert int(state.step) == 3


@some_rows("leaf", "gaussian")
def test_faces_make_one_chain(row):
    """Kernel, optax and BlackJAX agree over 30 steps with noise, adaptation and pruning."""
    import optax

    options = ALGORITHMS[row]
    # The optax face knows the loss at the old position only.
    old_loss = options.get("likelihood") == "gaussian"
    algorithm, kernel = build(row, exact_rss=False) if old_loss else build(row)
    loss_fn = options.get("loss_fn", cross_entropy)
    sampler = aeb.as_sampling_algorithm(
        algorithm, loss_fn, num_data=NUM_DATA, exact_rss=not old_loss
    )
    chain_key, batch, params = jax.random.key(5), data(), two_layers()
    tx = aeb.as_gradient_transformation(algorithm, num_data=NUM_DATA, key=chain_key)

    @jax.jit
    def train_step(params, opt_state):
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        updates, opt_state = tx.update(grads, opt_state, params, value=loss)
        return optax.apply_updates(params, updates), opt_state

    state, jax_state = algorithm.init(params), sampler.init(params)
    opt_state = tx.init(params)
    jax_step = jax.jit(sampler.step)
    for k in range(30):
        state = kernel(state, batch, jax.random.fold_in(chain_key, k))
        jax_state = jax_step(jax.random.fold_in(chain_key, k), jax_state, batch)
        params, opt_state = train_step(params, opt_state)
    assert_same(state, jax_state, rtol=1e-6, atol=1e-7)
    assert_same(state.position, params, rtol=2e-4, atol=2e-5)
    assert_same(state.latent, opt_state.chain.latent, rtol=2e-3, atol=2e-5)
    zeros = [int((leaf == 0).sum()) for leaf in jax.tree.leaves(state.position)]
    assert zeros == [int((leaf == 0).sum()) for leaf in jax.tree.leaves(params)]
    # The optax face keeps no second copy of the weights.
    assert opt_state.chain.position == ()


def test_an_algorithm_reads_the_inclusion_probabilities_of_its_prior():
    """Mutations: `inclusion` not passed on; kappa0 in its place; a function for a prior without."""
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}
    sparse = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.spike_slab(**SLAB, rho=0.25))
    (path, rho), *rest = sparse.inclusion(sparse.init(params)).items()
    assert (path, rest) == ("kernel", [])
    np.testing.assert_array_equal(rho, np.full((2, 3), 0.25, np.float32))
    assert aeb.empirical_bayes(aeb.sgld(1e-3), aeb.gaussian()).inclusion is None
