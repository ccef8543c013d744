# SPDX-License-Identifier: Apache-2.0
"""BlackJAX's sgld and sghmc per gradient against ours: one posterior, one size of minibatch.

Each contender is a compiled loop that takes its minibatch from the data by a slice. BlackJAX's
`sghmc` takes ten gradients a call, on one minibatch; its time is a tenth of a call. `_by_row` uses
BlackJAX's own estimator, which maps over the rows of the minibatch one by one; the others the very
gradient that ours take. `aeb_sgld` and `aeb_sghmc` have the same fixed prior; `aeb_full` is SGHMC
with a spike-and-slab prior adapted and 90 % pruned at each step: another posterior, more work;
`no_latents` and `no_pruning` are that without a part, `bare` without both.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import aeb
from aeb import guards
from benchmarks.harness import check
from benchmarks.speed.clock import Case, Clock, Contender, copied
from benchmarks.speed.posterior import Posterior, log_prior, logistic, network, prior

__all__ = ["BlackJax"]

LEAPS = 10
"""Gradients in one call of BlackJAX's sghmc, its default."""

STEP_SIZE = 1e-6


@dataclasses.dataclass(frozen=True)
class BlackJax:
    """BlackJAX's samplers per gradient."""

    models: tuple[str, ...] = ("logistic", "network")
    """Posteriors, a row each: logistic, network."""
    num_rows: int = 10_000
    """Rows of data."""
    num_columns: int = 100
    """Coefficients of the logistic regression."""
    hidden: int = 100
    """Hidden units of the network."""
    batch_size: int = 100
    """Rows of a minibatch."""
    by_row: bool = True
    """Whether to time BlackJAX's own estimator as well."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        check(
            self,
            whole={1: "num_columns hidden batch_size"},
            one_of={("logistic", "network"): "models"},
        )
        guards.whole("num_rows", self.num_rows, self.batch_size)

    def cases(self) -> list[Case]:
        """List the rows."""
        sizes = {
            name: value for name, value in dataclasses.asdict(self).items() if name != "models"
        }
        return [
            Case(
                f"BlackJAX, {model}",
                {"section": "blackjax", "model": model} | sizes,
                functools.partial(self._run, model),
            )
            for model in self.models
        ]

    def _run(self, model: str, clock: Clock, folder: Path) -> dict[str, Any]:
        del folder
        if model == "logistic":
            problem = logistic(self.num_rows, self.num_columns)
        else:
            problem = network(self.num_rows, self.hidden)
        # A key used twice, ranks and dtypes mixed: theirs, and none of our business here.
        with (
            jax.debug_key_reuse(False),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            times = clock.race(_contenders(problem, self.batch_size, self.by_row))
        return {"gradient_seconds": _per_gradient(times), "seconds": times}


def _contenders(problem: Posterior, batch_size: int, by_row: bool) -> dict[str, Contender]:
    """Make the loops; one unit of work is `LEAPS` gradients for each of them."""
    import blackjax
    from blackjax.sgmcmc.gradients import grad_estimator

    def batch_at(data: Any, place: Any) -> Any:
        start = jnp.remainder(place, problem.num_data // batch_size) * batch_size
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, batch_size), data
        )

    def log_posterior(position: Any, batch: Any) -> jax.Array:
        return log_prior(position) - problem.num_data * problem.loss_fn(position, batch)

    def log_likelihood(position: Any, row: Any) -> jax.Array:
        single = jax.tree.map(lambda leaf: leaf[None], row)
        return -problem.loss_fn(position, single)

    def looped(one: Callable[..., Any], start: Any, calls: int) -> Contender:
        @functools.partial(jax.jit, donate_argnums=0)
        def loop(state: Any, data: Any, key: jax.Array, count: Any) -> Any:
            def body(place: Any, state: Any) -> Any:
                return one(jax.random.fold_in(key, place), state, batch_at(data, place))

            return jax.lax.fori_loop(0, count * calls, body, state)

        held = [copied(start)]

        def run(count: int) -> None:
            state = loop(held.pop(), problem.data, jax.random.key(1), count)
            held.append(jax.block_until_ready(state))

        return run

    gradients: dict[str, Any] = {"": jax.grad(log_posterior)}
    if by_row:
        gradients["_by_row"] = grad_estimator(log_prior, log_likelihood, problem.num_data)
    contenders = {}
    for suffix, gradient in gradients.items():
        for name, peer, calls in (
            ("blackjax_sgld", blackjax.sgld(gradient), LEAPS),
            ("blackjax_sghmc", blackjax.sghmc(gradient, LEAPS), 1),
        ):
            peer_step = functools.partial(_peer_step, peer.step)
            contenders[name + suffix] = looped(peer_step, problem.position, calls)
    ours = {
        "aeb_sgld": aeb.empirical_bayes(aeb.sgld(STEP_SIZE), prior(), gain=0.0),
        "aeb_sghmc": aeb.empirical_bayes(aeb.sghmc(STEP_SIZE), prior(), gain=0.0),
        "aeb_full": _full(),
        "bare": _full(gain=0.0, sparsify=None),
        "no_latents": _full(gain=0.0),
        "no_pruning": _full(sparsify=None),
    }
    for name, own in ours.items():
        sampler = aeb.as_sampling_algorithm(own, problem.loss_fn, num_data=problem.num_data)
        contenders[name] = looped(sampler.step, sampler.init(problem.position), LEAPS)
    return contenders


def _full(**changes: Any) -> aeb.Algorithm:
    """Put together SGHMC with all that we have, but for what is changed."""
    parts: dict[str, Any] = {"sparsify": aeb.magnitude(0.9, scope="global")}
    prior = aeb.spike_slab(v0=0.1, v1=1.0, kappa0=None, learn_sigma=True, follow_ramp=False)
    return aeb.empirical_bayes(aeb.sghmc(STEP_SIZE), prior, **(parts | changes))


def _peer_step(step: Callable[..., Any], key: jax.Array, position: Any, batch: Any) -> Any:
    return step(key, position, batch, STEP_SIZE)


def _per_gradient(times: dict[str, Any]) -> dict[str, float]:
    return {name: own["median"] / LEAPS for name, own in times.items()}
