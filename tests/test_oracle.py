# SPDX-License-Identifier: Apache-2.0
"""The library against `oracle.py`, state by state.

The two share the data, the start and the configuration, and no code. The noise is switched off
(T = 0), so that every number of every state can be compared over 60 steps. Within `tol` means, leaf
by leaf, max |library - oracle| <= tol * max |oracle|; rho, a probability, is compared absolutely,
and a momentum, which passes through zero, against the largest that its leaf has had so far.
`tol` is 1e-10 in double and 1e-4 in single precision. The configurations were chosen so that the
oracle itself magnifies a relative change of its start by less than 1000 over the 60 steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import aeb

STEPS = 60
ROWS, INPUTS, HIDDEN, CLASSES = 24, 5, 4, 3
SELECTED = ("hidden/kernel", "output/kernel")


def make_data(likelihood, seed=0):
    """Draw a small data set that a sparse network can explain."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, INPUTS))
    signal = np.tanh(x[:, 0]) - 0.5 * x[:, 1]
    if likelihood == "gaussian":
        return x, signal + 0.3 * rng.normal(size=ROWS)
    noisy = signal + 0.3 * rng.normal(size=ROWS)
    return x, np.digitize(noisy, np.quantile(noisy, [1 / 3, 2 / 3]))


def make_position(likelihood, scale, seed=1):
    """Draw a start; some weights are near zero and some are not."""
    rng = np.random.default_rng(seed)
    outputs = 1 if likelihood == "gaussian" else CLASSES
    shapes = {
        "hidden/kernel": (INPUTS, HIDDEN),
        "hidden/bias": (HIDDEN,),
        "output/kernel": (HIDDEN, outputs),
        "output/bias": (outputs,),
    }
    return {
        path: (scale if path in SELECTED else 0.1) * rng.normal(size=shape)
        for path, shape in shapes.items()
    }


def as_tree(named, dtype):
    """Turn paths back into the nested dict that a user would pass."""
    tree = {}
    for path, leaf in named.items():
        layer, name = path.split("/")
        tree.setdefault(layer, {})[name] = jnp.asarray(leaf, dtype)
    return tree


def as_named(tree):
    """Flatten two levels of dict to paths, in numpy."""
    return {
        f"{layer}/{name}": np.asarray(leaf)
        for layer, leaves in tree.items()
        for name, leaf in leaves.items()
    }


def network(params, x):
    hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None, :])
    return hidden @ params["output"]["kernel"] + params["output"]["bias"][None, :]


def half_mean_squared_error(params, batch):
    x, y = batch
    return jnp.mean((y - network(params, x)[:, 0]) ** 2) / 2


def cross_entropy(params, batch):
    x, y = batch
    log_p = jax.nn.log_softmax(network(params, x), axis=-1)
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=-1))


LOSS = {"gaussian": half_mean_squared_error, "categorical": cross_entropy}


def build(spec, start, gain):
    """Say to the library what `spec` and `start` say to the oracle."""

    def step_size(count):
        return spec.step_size(count.astype(float))

    if spec.dynamics == "sghmc":
        dynamics = aeb.sghmc(step_size=step_size, friction=spec.friction, temperature=0.0)
    else:
        dynamics = aeb.sgld(step_size=step_size, temperature=0.0)
    prior = aeb.spike_slab(
        v0=spec.v0,
        v1=spec.v1,
        weight=spec.weight,
        follow_ramp=spec.follow_ramp,
        where=r"/kernel$",
        a=spec.a,
        b=spec.b,
        nu=spec.nu,
        lam=spec.lam,
        sigma0=spec.sigma0,
        precision=spec.precision,
        learn_sigma=spec.learn_sigma,
        learn_delta=spec.learn_delta,
        **start,
    )
    sparsify = None
    if spec.scope is not None:
        ramp = aeb.sparsity_ramp(spec.target, decay=spec.decay, every=spec.every)
        sparsify = aeb.magnitude(ramp, scope=spec.scope, of=spec.of)
    algorithm = aeb.empirical_bayes(
        dynamics, prior, gain=gain, sparsify=sparsify, likelihood=spec.likelihood
    )
    return algorithm, aeb.build_kernel(algorithm, LOSS[spec.likelihood], num_data=spec.num_data)


def assert_close(got, want, tol, what, *, scale=None):
    scale = np.max(np.abs(want)) if scale is None else scale
    error = np.max(np.abs(np.asarray(got, np.float64) - want))
    assert error <= tol * scale, f"{what}: error {error:.3g}, allowed {tol * scale:.3g}"


def assert_same_state(state, chain, tol, fastest):
    """Compare every field; `chain` is the oracle's, `fastest` the largest momentum so far."""
    assert int(state.step) == chain.step
    where = f"after {chain.step} steps, "
    position = as_named(state.position)
    for path, want in chain.position.items():
        assert_close(position[path], want, tol, where + path)
        np.testing.assert_array_equal(position[path] == 0, want == 0, err_msg=where + path)
    if state.momentum != ():
        momentum = as_named(state.momentum)
        for path, want in chain.momentum.items():
            what = where + "momentum of " + path
            assert_close(momentum[path], want, tol, what, scale=fastest[path])
    latent = state.latent
    assert set(latent.rho) == set(latent.delta) == set(SELECTED)
    for path in SELECTED:
        assert_close(latent.rho[path], chain.rho[path], tol, where + "rho", scale=1.0)
        assert_close(latent.kappa0[path], chain.kappa0[path], tol, where + "kappa0")
        assert_close(latent.kappa1[path], chain.kappa1[path], tol, where + "kappa1")
        assert_close(latent.delta[path], chain.delta[path], tol, where + "delta")
    assert_close(latent.sigma, chain.sigma, tol, where + "sigma")
    if chain.step:
        assert_close(state.loss, chain.loss, tol, where + "loss")


def compare(spec, start, gain, position, batches, dtype, tol):
    """Run both chains, comparing after each step; return the oracle's states."""
    chain = oracle.start(spec, position, **start)
    states = oracle.run(spec, chain, batches)
    algorithm, kernel = build(spec, start, gain)
    # Compiling is most of the time here; level 0 halves it and changes no arithmetic.
    kernel = jax.jit(kernel, compiler_options={"xla_backend_optimization_level": 0})
    state = algorithm.init(as_tree(position, dtype))
    fastest = dict.fromkeys(position, 0.0)
    assert_same_state(state, chain, tol, fastest)
    for (x, y), want, key in zip(
        batches, states, jax.random.split(jax.random.key(0), len(batches)), strict=True
    ):
        y = jnp.asarray(y, dtype if y.dtype.kind == "f" else jnp.int32)
        before, state = state, kernel(state, (jnp.asarray(x, dtype), y), key)
        for path, momentum in want.momentum.items():
            fastest[path] = max(fastest[path], np.max(np.abs(momentum)))
        assert_same_state(state, want, tol, fastest)
        assert jax.tree.map(jnp.result_type, before) == jax.tree.map(jnp.result_type, state)
    for leaf in jax.tree.leaves((state.position, state.latent)):
        assert leaf.dtype == dtype
    return [chain, *states]


def assert_moved(states, *, latents):
    """Show that the comparison had something to see."""
    first = states[0]

    def farthest(read):
        return max(float(np.max(np.abs(read(s) - read(first)))) for s in states)

    for path in SELECTED:
        assert farthest(lambda s, p=path: s.position[p]) > 0.5 * np.std(first.position[path])
        if latents:
            for name in ("rho", "kappa0", "kappa1"):
                old = np.mean(getattr(first, name)[path])
                assert farthest(lambda s, n=name, p=path: getattr(s, n)[p]) > 0.1 * old
            assert farthest(lambda s, p=path: s.delta[p]) > 0.01
    if latents:
        assert farthest(lambda s: s.sigma) > 0.05 * first.sigma


def rho_range(states):
    rho = np.concatenate([states[-1].rho[path].ravel() for path in SELECTED])
    return rho.min(), rho.max()


START = {"rho": 0.5, "kappa0": 2.0, "kappa1": 1.0, "delta": 0.25, "sigma": 0.8}
SA = (0.6, 10, 0.7)

# likelihood, dynamics, gain, pruning, and what differs from the defaults in `make_case`
CASES = {
    "sa-sghmc-categorical-leaf": ("categorical", "sghmc", SA, "leaf", {}),
    "sa-sghmc-gaussian-global": ("gaussian", "sghmc", SA, "global", {"nu": 30.0, "lam": 2.0}),
    "sa-sgld-categorical-global": ("categorical", "sgld", SA, "global", {"sigma0": 0.5}),
    "sa-sgld-gaussian-none": ("gaussian", "sgld", SA, None, {"sigma0": 0.1}),
    "em-sghmc-categorical-none": ("categorical", "sghmc", 1.0, None, {"sigma0": 0.4}),
    "em-sghmc-gaussian-leaf": ("gaussian", "sghmc", 1.0, "leaf", {"a": 1.5, "b": 7.0}),
    "em-sgld-categorical-leaf": ("categorical", "sgld", 1.0, "leaf", {"nu": 8.0, "lam": 0.3}),
    "em-sgld-gaussian-global": ("gaussian", "sgld", 1.0, "global", {}),
    "fixed-sghmc-categorical-global": ("categorical", "sghmc", 0.0, "global", {}),
    "fixed-sgld-gaussian-leaf": ("gaussian", "sgld", 0.0, "leaf", {"sigma0": 0.1}),
    "sigma-held": ("gaussian", "sghmc", SA, None, {"learn_sigma": False}),
    "delta-held": ("categorical", "sghmc", SA, None, {"learn_delta": False}),
    "target-over-all-parameters": ("categorical", "sghmc", SA, "leaf", {"of": "all"}),
    "weighted-categorical": ("categorical", "sghmc", SA, "global", {"weight": 0.3, "sigma0": 0.5}),
    "decay": ("categorical", "sghmc", SA, "global", {"weight": 0.3, "precision": 2.0}),
    "rate-follows-the-ramp": ("categorical", "sghmc", SA, "global", {"follow_ramp": True}),
    "rate-follows-all-parameters": (
        "gaussian",
        "sgld",
        1.0,
        "leaf",
        {"follow_ramp": True, "of": "all", "weight": 0.5},
    ),
    "weighted-gaussian": ("gaussian", "sgld", SA, "leaf", {"weight": 0.3}),
}


def make_case(name):
    """Return what the oracle and the library each need for a named case."""
    likelihood, dynamics, gain, scope, changes = CASES[name]
    rate = 0.001 if dynamics == "sghmc" else 0.005 if likelihood == "categorical" else 0.002
    spec = oracle.Spec(
        likelihood=likelihood,
        dynamics=dynamics,
        selected=SELECTED,
        num_data=5 * ROWS,
        step_size=lambda k: rate / (1 + 0.05 * k),
        friction=0.2,
        v0=0.15,
        v1=0.6,
        a=2.5,
        b=3.0,
        nu=3.0,
        lam=0.5,
        gain=oracle.robbins_monro(*gain) if isinstance(gain, tuple) else lambda k: gain,
        scope=scope,
        target=0.8,
        decay=0.9,
        every=8,
    )._replace(**changes)
    library_gain = aeb.robbins_monro(*gain) if isinstance(gain, tuple) else gain
    return spec, library_gain, make_position(likelihood, 0.6)


@pytest.mark.parametrize("likelihood", LOSS)
def test_oracle_gradient_is_the_slope_of_its_loss(likelihood):
    """The oracle's hand-made gradient against central differences; no library here.

    Mutation caught: a wrong derivative of tanh in the oracle.
    """
    x, y = make_data(likelihood)
    position = make_position(likelihood, 0.6)
    grad = oracle.mean_loss_grad(likelihood, position, x, y)
    for path, leaf in position.items():
        for index in np.ndindex(leaf.shape):
            up, down = leaf.copy(), leaf.copy()
            up[index] += 1e-5
            down[index] -= 1e-5
            slope = (
                oracle.mean_loss(likelihood, position | {path: up}, x, y)
                - oracle.mean_loss(likelihood, position | {path: down}, x, y)
            ) / 2e-5
            assert abs(grad[path][index] - slope) < 1e-9


@pytest.mark.parametrize("name", CASES)
def test_library_follows_the_oracle_in_double_precision(name, x64):
    """The whole chain; two cases see other rows at each step, all have num_data above the rows.

    Mutations caught. Counter: frozen; k + 1 for dynamics, gain or ramp. Likelihood: 1 / sigma^2
    missing or 1 / sigma; I halved, or at the old position; the loss at the new one. Order: kappa0,
    kappa1, delta or sigma from values before the sweep, delta before rho, the prior's gradient from
    latents after the sweep, pruning before the sweep. Gain: offset lost, 1 - omega dropped. Prior:
    learn_sigma or learn_delta ignored; the weight left out of g, of Ra, Rb, J, of either sum in
    delta, or put into rho; the ramp's share taken one step late, over the wrong total, or moved by
    the gain. Pruning: floor for round, leaf for global, "all" ignored, a
    ramp in stairs, momentum cleared under zeros.
    """
    spec, gain, position = make_case(name)
    in_turn = name in ("sa-sghmc-gaussian-global", "sa-sgld-categorical-global")
    batches = [make_data(spec.likelihood, seed if in_turn else 0) for seed in range(STEPS)]
    states = compare(spec, START, gain, position, batches, jnp.float64, 1e-10)
    assert_moved(states, latents=gain != 0.0 and not name.endswith("held"))
    if spec.scope is not None:
        zeros = [sum(np.sum(s.position[p] == 0) for p in SELECTED) for s in states]
        assert zeros[1] == 0
        assert 0 < zeros[20] < zeros[-1] < sum(position[p].size for p in SELECTED)
    if name.startswith("em-sghmc"):
        assert rho_range(states)[0] < 0.1
        assert rho_range(states)[1] > 0.9


@pytest.mark.parametrize("name", ["sa-sghmc-categorical-leaf", "em-sgld-gaussian-global"])
def test_library_follows_the_oracle_in_single_precision(name):
    """Two of the cases above, at 1e-4.

    Mutations caught: rho rounded to bfloat16; 1 / sigma^2 missing.
    """
    spec, gain, position = make_case(name)
    batches = [make_data(spec.likelihood)] * STEPS
    states = compare(spec, START, gain, position, batches, jnp.float32, 1e-4)
    assert_moved(states, latents=True)


NARROW = {"rho": 0.5, "kappa0": 100.0, "kappa1": 5e4, "delta": 0.25, "sigma": 0.8}


@pytest.mark.parametrize(
    ("gain", "likelihood", "dynamics"),
    [
        (SA, "categorical", "sghmc"),
        (SA, "gaussian", "sgld"),
        (1.0, "categorical", "sgld"),
        (1.0, "gaussian", "sghmc"),
    ],
    ids=["sa-categorical", "sa-gaussian", "em-categorical", "em-gaussian"],
)
def test_the_narrow_prior_of_the_paper_in_single_precision(gain, likelihood, dynamics):
    """v1 = 1e-5 and v0 = 0.005: densities and log odds in the hundreds.

    Mutations caught: densities in place of their logarithms (NaN); v1 as a standard deviation;
    |beta| with slope 1 at 0, which pushes pruned weights.
    """
    rate = 5e-7 if dynamics == "sghmc" else 1e-6
    spec = oracle.Spec(
        likelihood=likelihood,
        dynamics=dynamics,
        selected=SELECTED,
        num_data=100_000,
        step_size=lambda k: rate,
        friction=0.2,
        v0=0.005,
        v1=1e-5,
        a=2.5,
        b=3.0,
        nu=100.0,
        lam=1.0,
        gain=oracle.robbins_monro(*gain) if isinstance(gain, tuple) else lambda k: gain,
        scope="leaf",
        target=0.8,
        decay=0.9,
        every=8,
    )
    library_gain = aeb.robbins_monro(*gain) if isinstance(gain, tuple) else gain
    batches = [make_data(likelihood)] * STEPS
    position = make_position(likelihood, 0.02)
    states = compare(spec, NARROW, library_gain, position, batches, jnp.float32, 1e-4)
    assert_moved(states, latents=True)
