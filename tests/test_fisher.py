# SPDX-License-Identifier: Apache-2.0
"""`aeb.fisher` against numpy in double precision.

Mutations that fail here: the gradient not squared, F replaced by the last square, the damping left
out or taken over all leaves, beta_j for beta_j^2, a gradient that is not finite taken in, the score
of the posterior in place of the gradient, the mask forgotten.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aeb

DECAY, DAMPING, STEPS = 0.7, 0.2, 4


def everywhere(path, leaf):
    return True


def leaves(rng, dtype=np.float64):
    sizes = {"wide": (5, 4), "small": (6,)}
    return {name: rng.normal(size=size).astype(dtype) for name, size in sizes.items()}


def worth(params, information):
    """beta^2 (F + damping mean F), all leaves in one array, in the order of a tree."""
    return np.concatenate(
        [
            (params[name] ** 2 * (f + DAMPING * f.mean())).ravel()
            for name, f in sorted(information.items())
        ]
    )


SCOPES = ("global", "leaf", "relative")


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("regrow", [True, False])
def test_those_worth_least_go(x64, regrow, scope):
    rng = np.random.default_rng(0)
    rule = aeb.fisher(0.5, scope=scope, regrow=regrow, decay=DECAY, damping=DAMPING)
    params = leaves(rng)
    state = rule.init(params, None, everywhere)
    information = {name: np.zeros_like(leaf) for name, leaf in params.items()}
    alive = np.ones(26, bool)
    for count in range(STEPS):
        # Leaves on scales of their own, of the weights and of the gradients.
        scales = {"small": 3.0, "wide": 1.0}
        params = {name: scales[name] * leaf for name, leaf in leaves(rng).items()}
        grad = {name: leaf / scales[name] ** 2 for name, leaf in leaves(rng).items()}
        if not regrow:
            flat, params = alive, {name: leaf.copy() for name, leaf in params.items()}
            params["small"][~flat[:6]] = 0.0
            params["wide"][~flat[6:].reshape(5, 4)] = 0.0
        state = rule.observe(state, grad)
        momentum = {name: np.ones_like(leaf) for name, leaf in params.items()}
        pruned, momentum, state = rule.apply(params, momentum, None, state, count, everywhere)
        for name, g in grad.items():
            information[name] = DECAY * information[name] + (1 - DECAY) * g**2
            np.testing.assert_allclose(state.information[name], information[name], rtol=1e-6)
        used = params
        if scope == "relative":
            used = {name: leaf / np.sqrt(np.sum(leaf**2)) for name, leaf in params.items()}
        value = np.where(alive, worth(used, information), -1.0)
        if scope == "relative":  # one weight of each leaf stays
            for part in (slice(0, 6), slice(6, 26)):
                value[part.start + np.argmax(value[part])] = np.inf
        kept = np.ones(26, bool)
        parts = [slice(0, 6), slice(6, 26)] if scope == "leaf" else [slice(0, 26)]
        for part in parts:
            order = np.argsort(value[part], kind="stable") + part.start
            kept[order[: len(order) // 2]] = False
        told = np.concatenate([np.asarray(pruned[name]).ravel() != 0 for name in sorted(pruned)])
        np.testing.assert_array_equal(told, kept)
        held = np.concatenate([np.asarray(momentum[name]).ravel() for name in sorted(momentum)])
        np.testing.assert_array_equal(held, 1.0 if regrow else kept)
        alive = alive if regrow else kept


def test_bfloat16_has_its_information_in_float32():
    params = {"kernel": jnp.array([3.0, -1.0, 0.5, 2.0], jnp.bfloat16)}
    rule = aeb.fisher(0.5)
    state = rule.observe(
        rule.init(params, None, everywhere), {"kernel": jnp.array([1.0, 4.0, 4.0, 1e-3])}
    )
    pruned, _, state = rule.apply(params, (), None, state, 0, everywhere)
    assert state.information["kernel"].dtype == jnp.float32
    assert pruned["kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(pruned["kernel"].astype(float), [3.0, -1.0, 0.0, 0.0])


def test_a_gradient_that_is_not_finite_is_left_out():
    rule = aeb.fisher(0.5)
    state = rule.init({"kernel": jnp.ones(3)}, None, everywhere)
    state = rule.observe(state, {"kernel": jnp.array([1.0, 2.0, 3.0])})
    again = rule.observe(state, {"kernel": jnp.array([jnp.nan, jnp.inf, 3.0])})
    told, before = again.information["kernel"], state.information["kernel"]
    np.testing.assert_array_equal(told[:2], before[:2])
    np.testing.assert_allclose(told[2], 0.98 * before[2] + 0.02 * 9.0, rtol=1e-6)


def test_before_the_first_gradient_magnitude_decides():
    params = leaves(np.random.default_rng(1), np.float32)
    rule = aeb.fisher(0.5, scope="global")
    pruned, _, _ = rule.apply(params, (), None, rule.init(params, None, everywhere), 0, everywhere)
    want, _, _ = aeb.magnitude(0.5, scope="global").apply(params, (), None, (), 0, everywhere)
    jax.tree.map(np.testing.assert_array_equal, pruned, want)


def test_the_gradient_of_the_step_is_what_it_sees():
    """That of the log-likelihood where the step began, without the prior's."""
    params, target = jnp.array([3.0, -2.0, 0.5]), jnp.array([1.0, 1.0, 1.0])

    def loss_fn(params, batch):
        return jnp.sum(batch * jnp.square(params["kernel"] - target))

    algorithm = aeb.empirical_bayes(
        aeb.sgld(learning_rate=0.01, temperature=0.0),
        aeb.spike_slab(v0=0.1, v1=1.0),
        sparsify=aeb.fisher(0.0, decay=0.5),
    )
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=10)
    state = algorithm.init({"kernel": params})
    first = jnp.array([1.0, 2.0, 3.0])
    state = kernel(state, first, jax.random.key(0))
    square = np.square(10 * 2 * first * (params - target))
    np.testing.assert_allclose(state.mask.information["kernel"], 0.5 * square, rtol=1e-6)


@pytest.mark.parametrize("scope", ["global", "leaf"])
def test_the_scale_of_a_leaf_in_front_of_a_normalisation_does_not_matter(x64, scope):
    rng = np.random.default_rng(2)
    params, grad = leaves(rng), leaves(rng)
    found = []
    for scale in (1.0, 8.0):
        rule = aeb.fisher(0.5, scope=scope, regrow=False)
        moved = {**params, "wide": scale * params["wide"]}
        seen = {**grad, "wide": grad["wide"] / scale}
        state = rule.observe(rule.init(moved, None, everywhere), seen)
        found.append(rule.apply(moved, (), None, state, 0, everywhere)[2].mask)
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert not all(bool(kept.all()) for kept in found[0].values())


@pytest.mark.parametrize("wrong", [{"decay": 1.0}, {"damping": -0.1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        aeb.fisher(0.5, **wrong)
