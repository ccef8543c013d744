# SPDX-License-Identifier: Apache-2.0
"""Wrong calls that the type checker has to catch; nothing here is ever run.

`.ci/run` hands this file to mypy, which complains of each `type: ignore` that it does not need: so
the check fails where a seam has lost its types and a wrong call goes through.
"""

from typing import Any

import jax

import aeb
from aeb.types import Dynamics, Kernel, Prior, Sparsifier


def wrong_transition(algorithm: aeb.Algorithm, state: aeb.State, key: jax.Array) -> None:
    grad = state.position
    algorithm.transition(state, grad, key, num_data=10)
    algorithm.transition(state, grad, key)  # type: ignore[call-arg]  # num_data is missing
    algorithm.transition(state, grad, key, num_data=10, rss=1.0)  # type: ignore[arg-type]  # no function
    algorithm.transition(state, grad, key, num_data=10, lr=1.0)  # type: ignore[call-arg]  # no such name
    print(state.momenta)  # type: ignore[attr-defined]  # the field is momentum


def wrong_kernel(kernel: Kernel, state: aeb.State, batch: Any, key: jax.Array) -> None:
    kernel(state, batch, key, temperature=0.0)
    kernel(state, batch, key, lr=1.0)  # type: ignore[call-arg]  # no such name


def wrong_dynamics(dynamics: Dynamics, tree: Any, key: jax.Array) -> None:
    dynamics.update(tree, (), tree, 0, key, step_size=1.0, temperature=1.0)
    # The numbers that empirical_bayes reads off the schedules are missing.
    dynamics.update(tree, (), tree, 0, key)  # type: ignore[call-arg]
    # The count is missing.
    dynamics.update(tree, (), tree, key, step_size=1.0, temperature=1.0)  # type: ignore[call-arg]


def wrong_prior(prior: Prior, tree: Any) -> None:
    latent = prior.init(tree)
    prior.update(latent, tree, 0.1, 10)
    prior.update(latent, tree, 0.1)  # type: ignore[call-arg]  # num_data is missing
    prior.update(latent, tree, 0.1, 10, omega=0.1)  # type: ignore[misc]  # omega is given twice
    if prior.inclusion is not None:
        prior.inclusion(latent)["kernel"]
    prior.noise_scale(latent)  # type: ignore[misc]  # it may be None


def wrong_rule(rule: Sparsifier, tree: Any) -> None:
    def everywhere(path: str, leaf: Any) -> bool:
        return True

    rule.apply(tree, (), None, (), 0, everywhere)
    rule.apply(tree, (), None, (), 0)  # type: ignore[call-arg]  # where is missing
    # A rule is handed a function; as_where has made one of the expression.
    rule.apply(tree, (), tree["rho"], (), 0, r"kernel$")  # type: ignore[arg-type]
