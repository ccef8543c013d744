# SPDX-License-Identifier: Apache-2.0
"""A prior written with `leafwise_prior`: Student's t, a scale mixture, whose scale EM learns.

    beta_j | v_j ~ N(0, v_j),   v_j ~ IG(dof / 2, dof s / 2),   so beta_j ~ sqrt(s) t(dof)

The E-step is E(1 / v_j | beta_j, s) = (dof + 1) / (dof s + beta_j^2), which needs the present s.
The M-step is s' = mean_j of s E(1 / v_j) beta_j^2, which keeps the maximum of the t density.

Mutations that fail here: the fixed point handed the starting value of theta, or theta of another
leaf; the weights reweighted by a theta that is already moved; the density at another theta.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import aeb
from aeb.priors.leafwise import leafwise_prior

DOF, STEP_SIZE, NUM_DATA, STEPS = 3.0, 0.02, 5, 60


def student_t(start=1.0):
    def log_density(beta, s):
        return -0.5 * (DOF + 1.0) * jnp.sum(jnp.log1p(jnp.square(beta) / (DOF * s)))

    def target(beta, s):
        weight = (DOF + 1.0) * s / (DOF * s + jnp.square(beta))
        return jnp.mean(weight * jnp.square(beta))

    return leafwise_prior(log_density, target, start)


def centres():
    rng = np.random.default_rng(0)
    return {"few": np.array([1.5, -2.0, 3.0]), "many": 4.0 * rng.standard_t(3, size=40)}


def by_hand(gain):
    """Descend to the mode and reweight, in numpy."""
    middle = centres()
    beta, scale = {name: np.zeros_like(c) for name, c in middle.items()}, dict.fromkeys(middle, 1.0)
    for _ in range(STEPS):
        for name, c in middle.items():
            s = scale[name]
            pull = -(DOF + 1.0) * beta[name] / (DOF * s + beta[name] ** 2)
            b = beta[name] + STEP_SIZE * (NUM_DATA * (c - beta[name]) + pull)
            weight = (DOF + 1.0) * s / (DOF * s + b**2)
            beta[name], scale[name] = b, (1.0 - gain) * s + gain * np.mean(weight * b**2)
    return beta, scale


def test_student_t_by_em_is_the_loop_by_hand():
    for gain in (1.0, 0.3):
        with jax.enable_x64(True):
            middle = jax.tree.map(jnp.asarray, centres())
            algorithm = aeb.empirical_bayes(aeb.sgld(STEP_SIZE, 0.0), student_t(), gain=gain)

            def loss(params, batch, middle=middle):
                squares = jax.tree.map(lambda b, c: jnp.sum((b - c) ** 2), params, middle)
                return 0.5 * sum(jax.tree.leaves(squares)) + 0.0 * batch.sum()

            kernel = jax.jit(aeb.build_kernel(algorithm, loss, num_data=NUM_DATA))
            state = algorithm.init(jax.tree.map(jnp.zeros_like, middle))
            for step in range(STEPS):
                state = kernel(state, jnp.zeros(NUM_DATA), jax.random.key(step))
        for found, expected in zip((state.position, state.latent), by_hand(gain), strict=True):
            for name, value in expected.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-10)


def test_em_ends_at_the_maximum_of_the_likelihood():
    """Against the density of scipy, which knows of no mixture and no EM."""
    with jax.enable_x64(True):
        prior, beta = student_t(), {"w": jnp.asarray(centres()["many"])}
        latent = prior.init(beta)
        for _ in range(200):
            latent = prior.update(latent, beta, omega=1.0, num_data=NUM_DATA)
        best = float(latent["w"])

    def likelihood(s):
        return stats.t(DOF, scale=np.sqrt(s)).logpdf(np.asarray(beta["w"])).sum()

    slope = (likelihood(best * 1.001) - likelihood(best / 1.001)) / 0.002
    assert abs(slope) < 1e-5
    assert likelihood(best) > max(likelihood(0.9 * best), likelihood(1.1 * best))
