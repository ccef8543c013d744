# SPDX-License-Identifier: Apache-2.0
"""What a newcomer's first hour may go wrong with: the right network, or an error that says why.

The network is theirs, an MLP trained on the digits. Each test is a mistake that once ruined such a
network without a word.

Mutations that fail here: the loss of zero weights not looked for; a guess said to be an error where
nothing was known, or only warned of where something was; the entropy of the labels left out; the
norm that the first step sets to zero not summed, or a rule with a target asked for it; a ramp that
is too short only warned of.
"""

import math
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import aeb
from aeb.evaluation import mixing

STEPS = 300
CLASSES = 10


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(nn.relu(nn.Dense(64)(x)))


def loss_fn(params, batch):
    logits = MLP().apply({"params": params}, batch["x"])
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()


@pytest.fixture(scope="module")
def digits():
    """Rows to train with, and rows to score with."""
    sets = aeb.data.load("digits")
    prepare = aeb.data.normalizer("digits")
    train, test = (
        {"x": np.asarray(prepare(rows["image"])).reshape(-1, 64), "y": rows["label"]}
        for rows in (sets.train, sets.test)
    )
    return train, test


@pytest.fixture(scope="module")
def fresh(digits):
    return MLP().init(jax.random.key(0), digits[0]["x"][:1])["params"]


@pytest.fixture(scope="module")
def trained(digits, fresh):
    optimizer, rows = optax.sgd(0.1, momentum=0.9), jax.tree.map(jnp.asarray, digits[0])

    @jax.jit
    def step(carry, key):
        params, state = carry
        places = jax.random.randint(key, (64,), 0, len(rows["y"]))
        batch = jax.tree.map(lambda leaf: leaf[places], rows)
        updates, state = optimizer.update(jax.grad(loss_fn)(params, batch), state)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(jax.random.key(1), STEPS)
    return jax.lax.scan(step, (fresh, optimizer.init(fresh)), keys)[0][0]


def accuracy(params, rows):
    return float((MLP().apply({"params": params}, rows["x"]).argmax(-1) == rows["y"]).mean())


def run(params, data, dynamics, prior, *, sparsify=None, num_steps=STEPS, **options):
    algorithm = aeb.empirical_bayes(dynamics, prior, sparsify=sparsify)
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=len(data["y"]))
    options |= {"num_steps": num_steps, "batch_size": 64, "progress": False}
    state, _ = aeb.sample(kernel, algorithm.init(params), data, jax.random.key(2), **options)
    return state.position


def sghmc(learning_rate=0.02):
    return aeb.sghmc(learning_rate=learning_rate, friction=0.1, temperature=1e-2)


def silent(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run(*arguments, **options)


@pytest.mark.slow
def test_a_learning_rate_of_1_8(trained, fresh, digits):
    """The step size of one set, taken for a set of 60,000 rows: from trained weights, and new."""
    train, test = digits
    with pytest.raises(aeb.DivergenceError, match=r"loss_bound=2\.233 for .* no better than a gu"):
        run(trained, train, sghmc(1.8), aeb.spike_slab(), num_steps=600)
    with pytest.warns(aeb.DivergenceWarning, match="no better than a guess"):
        run(fresh, train, sghmc(1.8), aeb.spike_slab(), num_steps=600)
    assert accuracy(silent(fresh, train, sghmc(), aeb.spike_slab()), test) > 0.85


@pytest.mark.slow
def test_rates_that_are_far_too_small(trained, fresh, digits):
    """From new weights nothing is learned; from trained ones little mends what is pruned.

    Mutation: a half of what was known, in place of a quarter; at a rate of .003 a third is lost.
    """
    train, test = digits
    with pytest.warns(aeb.DivergenceWarning, match="no better than a guess.* far too small or too"):
        run(fresh, train, sghmc(2e-7), aeb.spike_slab(), num_steps=600)
    ramp = aeb.magnitude(aeb.sparsity_ramp(0.97, STEPS))
    for rate in (1e-6, 3e-3):
        with pytest.warns(UserWarning, match=r"lost \d+% of what .* was 0\.\d+ at the start"):
            params = run(trained, train, sghmc(rate), aeb.spike_slab(), sparsify=ramp)
        assert accuracy(params, test) < 0.8 < accuracy(trained, test)
    mended = silent(trained, train, sghmc(), aeb.spike_slab(), sparsify=ramp)
    assert accuracy(mended, test) > 0.8


def test_a_loss_of_the_wrong_sign(trained, digits):
    """Mutation: the loss at the start not looked at."""
    algorithm = aeb.empirical_bayes(sghmc(), aeb.gaussian())
    wrong = aeb.build_kernel(algorithm, lambda p, b: -loss_fn(p, b), num_data=1437)
    with pytest.raises(aeb.DivergenceError, match=r"loss is below 0 .* take its negative"):
        aeb.sample(
            *(wrong, algorithm.init(trained), digits[0], jax.random.key(2)),
            num_steps=STEPS,
            batch_size=64,
            progress=False,
        )


def test_a_step_size_of_one(trained, digits):
    train, _ = digits
    with pytest.raises(
        aeb.DivergenceError, match=r"Try a smaller learning rate or step size, a te"
    ):
        run(trained, train, aeb.sgld(1.0), aeb.gaussian(), num_steps=200)


@pytest.mark.slow
def test_a_prior_that_is_wider_than_the_weights(trained, digits):
    """By itself it empties the network; with a target it does not decide how many weights go."""
    train, test = digits
    wide, before = aeb.spike_slab(v0=0.1, v1=1.0), accuracy(trained, test)
    with pytest.raises(
        aeb.DivergenceError, match=r"^sparsify: the first step sets \d\d\.\d% of al"
    ):
        run(trained, train, sghmc(), wide, sparsify=aeb.learned())
    at_once = aeb.magnitude(0.9)
    pruned = silent(trained, train, sghmc(), wide, sparsify=at_once)
    assert accuracy(pruned, test) > before - 0.15
    found = silent(trained, train, sghmc(), aeb.spike_slab(), sparsify=aeb.learned())
    assert accuracy(found, test) > before - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{}, {"learn_sigma": True}, {"kappa0": None}])
def test_the_prior_with_a_setting_left_out(trained, digits, changed):
    train, test = digits
    rule = aeb.magnitude(aeb.sparsity_ramp(0.8, num_steps=STEPS), scope="relative")
    sparse = silent(trained, train, sghmc(), aeb.spike_slab(**changed), sparsify=rule)
    assert aeb.sparsity_report(sparse).sparsity > 0.78
    assert accuracy(sparse, test) > accuracy(trained, test) - 0.02


def test_a_ramp_that_the_run_does_not_reach(trained, digits):
    train, _ = digits
    with pytest.raises(ValueError, match=r"^num_steps: got None .* give the steps in the run"):
        aeb.sparsity_ramp(0.9)
    for ramp in (aeb.exponential_ramp(0.9), aeb.sparsity_ramp(0.9, num_steps=4 * STEPS)):
        with pytest.raises(
            ValueError, match=r"^sparsify: the ramp asks for .* short of the 90\.00"
        ):
            run(trained, train, sghmc(), aeb.spike_slab(), sparsify=aeb.magnitude(ramp))


@pytest.mark.slow
def test_batch_statistics_are_not_pruned():
    variables = {"params": {"kernel": jnp.ones((4, 4))}, "batch_stats": {"var": jnp.ones(4)}}
    pruned = aeb.prune(variables, 0.5)
    assert int((pruned["params"]["kernel"] == 0).sum()) == 8
    assert bool((pruned["batch_stats"]["var"] == 1).all())


@pytest.mark.slow
def test_draws_of_chains_lead_with_chains(trained, digits):
    """They are what `mixing` and `predict` take; swapped, both say so."""
    train, test = digits
    algorithm = aeb.empirical_bayes(sghmc(), aeb.spike_slab())
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=len(train["y"]))
    states = jax.vmap(algorithm.init)(jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), trained))
    _, draws = aeb.sample(
        aeb.chains(kernel), states, train, jax.random.key(0), num_steps=24, batch_size=64,
        collect=lambda state: state.position, every=4, progress=False,
    )  # fmt: skip

    def forward(params, x):
        return jax.nn.softmax(MLP().apply({"params": params}, x))

    mean = aeb.predict(forward, draws, test["x"], chains=True).mean
    assert float((mean.argmax(-1) == test["y"]).mean()) > 0.85
    with pytest.raises(Exception, match="shape") as raised:  # the network's own, with a note
        aeb.predict(forward, draws, test["x"])
    assert "pass chains=True" in "".join(raised.value.__notes__)
    bias = draws["Dense_0"]["bias"]
    assert mixing.potential_scale_reduction(bias).shape == (CLASSES,)
    with pytest.warns(UserWarning, match="more chains than draws; if draws lead, swap"):
        mixing.potential_scale_reduction(jnp.swapaxes(bias, 0, 1).repeat(2, axis=1))


@pytest.mark.slow
def test_a_data_frame_of_other_columns():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.normal(size=(60, 4)), columns=["age", "dose", "height", "weight"])
    fit = aeb.regression(
        frame, 2 * frame["dose"] + rng.normal(size=60), num_draws=50, warmup=50, thinning=5
    )
    mixed = frame[["weight", "age", "height", "dose"]]
    with pytest.raises(ValueError, match=r"another order .* pass x\[list\(fit\.names\)\]"):
        fit.predict(mixed)
    with pytest.raises(ValueError, match="dose"):
        fit.predict(mixed.rename(columns={"dose": "amount"}))


@pytest.mark.slow
def test_a_loss_that_zero_weights_make_small_is_left_alone(digits):
    """Zero may be the best of all values: a posterior around it is no guess."""
    algorithm = aeb.empirical_bayes(aeb.sgld(1e-2), aeb.gaussian(), gain=0.0)
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(50, 3)), jnp.float32)
    rows = rows - rows.mean(axis=0, keepdims=True)

    def loss(w, batch):
        return 0.5 * jnp.mean(jnp.sum(jnp.square(batch - w[None]), axis=-1))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aeb.sample(
            aeb.build_kernel(algorithm, loss, num_data=50), algorithm.init(jnp.ones(3)), rows,
            jax.random.key(3), num_steps=400, batch_size=None, progress=False,
        )  # fmt: skip


@pytest.mark.slow
def test_rare_labels_are_guessed_by_their_shares(digits):
    """Of nine zeros to a one, a dead network has a loss of .325, well below log 2."""
    train, _ = digits
    rare = {"x": train["x"], "y": (train["y"] == 3).astype(np.int32)}

    def rare_loss(w, batch):
        logits = batch["x"] @ w["kernel"] + w["bias"][None]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()

    algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-9), aeb.gaussian())
    shares = np.bincount(rare["y"]) / len(rare["y"])
    dead = {"kernel": jnp.zeros((64, 2)), "bias": jnp.asarray(np.log(shares), jnp.float32)}
    with pytest.warns(aeb.DivergenceWarning, match=r"loss_bound=0\.3\d* for 1\d\d steps"):
        aeb.sample(
            aeb.build_kernel(algorithm, rare_loss, num_data=len(rare["y"])), algorithm.init(dead),
            rare, jax.random.key(4), num_steps=120, batch_size=None, progress=False,
        )  # fmt: skip


# --- The look at the start of a run. ---


def shared_loss(w, batch):
    """A classifier of one number, whose weights are one row of two logits."""
    logits = batch["x"][:, None] * w[None]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()


def looked_at(loss, start, data, *, wrapped=False, chains=False, **options):
    """Take 100 steps at a rate of nothing, and return what was said."""
    algorithm = aeb.empirical_bayes(
        aeb.sgld(1e-12, 0.0), aeb.gaussian(), gain=0.0, sparsify=options.pop("sparsify", None)
    )
    kernel = aeb.build_kernel(algorithm, loss, num_data=4)
    state = algorithm.init(start) if not chains else jax.vmap(algorithm.init)(start)
    stepping = aeb.chains(kernel, same_batch=False) if chains else kernel
    if wrapped:

        def stepping(state, batch, key):
            return kernel(state, batch, key)

    options |= {"num_steps": 100, "batch_size": None, "progress": False, "data_per_chain": chains}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        aeb.sample(stepping, state, data, jax.random.key(0), **options)
    return [str(one.message) for one in said if issubclass(one.category, UserWarning)]


SIGN = {"x": jnp.array([-1.0, 1.0, -2.0, 2.0]), "y": jnp.array([0, 1, 0, 1])}
APART = jnp.array([-2.0, 2.0])
FLAT = jnp.array([0.0, 1e-3])


def test_it_compiles_nothing_and_a_number_or_inf_looks_for_nothing(monkeypatch):
    """Mutation: a bound of another type when it is found, which compiles the loop again."""
    from aeb.sampling import start

    traced, looks = [], []

    def loss(w, batch):
        traced.append(w)
        return shared_loss(w, batch)

    real = start.look
    monkeypatch.setattr(start, "look", lambda *a, **o: looks.append(1) or real(*a, **o))
    assert looked_at(loss, APART, SIGN) == []
    found = len(traced)
    for bound in (math.inf, 5.0):
        traced.clear()
        assert looked_at(lambda w, batch: loss(w, batch), APART, SIGN, loss_bound=bound) == []
        assert len(traced) == found
    assert len(looks) == 1


def test_a_guess_that_is_not_a_number_bounds_nothing():
    """A loss that divides by the norm of the weights, and a column of whole numbers."""

    def loss(w, batch):
        return shared_loss(w / jnp.linalg.norm(w), batch)

    assert looked_at(loss, -FLAT, SIGN) == []
    assert len(looked_at(shared_loss, FLAT, SIGN)) == 1


def test_a_loss_that_cannot_be_called_at_zero_bounds_nothing():
    """Mutation: the error at weights that the user never had let through."""

    def check(w):
        if not np.any(w):
            raise FloatingPointError("all weights are zero")
        return w

    def loss(w, batch):
        w = w + 0 * jax.lax.stop_gradient(
            jax.pure_callback(
                check, jax.ShapeDtypeStruct(w.shape, w.dtype), jax.lax.stop_gradient(w)
            )
        )
        return shared_loss(w, batch)

    assert looked_at(loss, FLAT, SIGN) == []


def test_a_key_that_the_batch_lacks_is_told_with_those_it_has():
    with pytest.raises(KeyError, match="image") as raised:
        looked_at(lambda w, batch: jnp.mean(batch["image"] @ w), FLAT, SIGN)
    assert "the batch that it was given has the keys ['x', 'y']" in raised.value.__notes__[0]


def test_ingredients_and_latents_are_a_line_each():
    prior, rule = aeb.spike_slab(), aeb.magnitude(0.5)
    latent = prior.init({"kernel": jnp.ones((30, 40))})
    assert [repr(each) for each in (sghmc(), rule, latent)] == [
        "Dynamics(init, update, learning_rate=0.02, temperature=0.01)",
        "Sparsifier(init, apply, kept)",
        "SpikeSlabLatent(rho=<1,200 numbers, 0 of them zero>, kappa0=<1,200 numbers, 1,200 of them "
        "zero>, kappa1=<1,200 numbers, 0 of them zero>, delta=[0.5], sigma=1)",
    ]
    assert repr(aeb.sgld(step_size=lambda count: 0.1)).startswith(
        "Dynamics(init, update, step_size=<"
    )
    assert repr(prior).startswith("Prior(init, log_density, update, where, ")
    assert repr(jax.tree.map(lambda _: None, latent)).startswith("SpikeSlabLatent(")
    assert repr(latent._replace(delta=0)).startswith("SpikeSlabLatent(")


def test_a_rule_that_cannot_be_seen_may_prune_at_once():
    """Mutation: no target that is seen taken for none."""
    rule = aeb.magnitude(0.5)
    start = jnp.array([-2.0, 2.1])
    for wrapped in (False, True):
        assert looked_at(shared_loss, start, SIGN, sparsify=rule, wrapped=wrapped) == []


@pytest.mark.slow
def test_each_chain_has_its_own_guess():
    """Mutation: the labels of the first chain for all; the second is above its own bound alone."""
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), SIGN)
    both["y"] = both["y"].at[1].set(jnp.array([0, 0, 0, 1]))
    start = jnp.stack([APART, FLAT])
    said = looked_at(shared_loss, start, both, chains=True)
    assert len(said) == 1
    assert "in 1 of 2 chains was above loss_bound=0.5455" in said[0]
