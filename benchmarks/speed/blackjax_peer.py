# SPDX-License-Identifier: Apache-2.0
"""BlackJAX's sgld and sghmc per gradient against ours: one posterior, one size of minibatch.

Each contender is a compiled loop that takes its minibatch from the data by a slice. BlackJAX's
`sghmc` takes ten gradients a call, on one minibatch; its time is a tenth of a call. `_by_row` uses
BlackJAX's own estimator, which maps over the rows of the minibatch one by one; the others the very
gradient that ours take. `aeb_sgld` and `aeb_sghmc` have the same fixed prior; `aeb_full` is SGHMC
with a spike-and-slab prior adapted and 90 % pruned at each step: another posterior, more work;
`no_latents` and `no_pruning` are that without a part, `bare` without both.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp

import aeb
from aeb import guards
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, one_of
from benchmarks.speed.clock import Clock, Contender, Race, looping, make_races
from benchmarks.speed.posterior import Posterior, log_prior, logistic, network, prior

__all__ = ["BlackJax"]

LEAPS = 10
"""Gradients in one call of BlackJAX's sghmc, its default."""

STEP_SIZE = 1e-6

MODELS = ("logistic", "network")


@dataclasses.dataclass(frozen=True)
class BlackJax:
    """BlackJAX's samplers per gradient."""

    # Posteriors, a row each.
    models: tuple[Annotated[str, one_of(*MODELS)], ...] = ("logistic", "network")
    num_rows: Count = 10_000  # rows of data
    num_columns: Count = 100  # coefficients of the logistic regression
    hidden: Count = 100  # hidden units of the network
    batch_size: Count = 100  # rows of a minibatch
    by_row: bool = True  # whether to time BlackJAX's own estimator as well

    def check(self) -> None:
        check(self)
        guards.whole("num_rows", self.num_rows, self.batch_size)

    def races(self) -> list[Race]:
        return make_races("blackjax", self, self._run, {"models": "model"})

    def _run(self, clock: Clock, model: str) -> dict[str, Any]:
        if model == "logistic":
            posterior = logistic(self.num_rows, self.num_columns)
        else:
            posterior = network(self.num_rows, self.hidden)
        # A key used twice, ranks and dtypes mixed: theirs, and none of our business here.
        with (
            jax.debug_key_reuse(False),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            times = clock.race(_contenders(posterior, self.batch_size, self.by_row))
        per_gradient = {name: spread["median"] / LEAPS for name, spread in times.items()}
        return {"gradient_seconds": per_gradient, "seconds": times}


def _contenders(posterior: Posterior, batch_size: int, by_row: bool) -> dict[str, Contender]:
    """Make the loops; one unit of work is `LEAPS` gradients for each of them."""
    import blackjax
    from blackjax.sgmcmc.gradients import grad_estimator

    def batch_at(data: Any, place: Any) -> Any:
        start = jnp.remainder(place, posterior.num_data // batch_size) * batch_size
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, batch_size), data
        )

    def log_posterior(position: Any, batch: Any) -> jax.Array:
        return log_prior(position) - posterior.num_data * posterior.loss_fn(position, batch)

    def log_likelihood(position: Any, row: Any) -> jax.Array:
        single = jax.tree.map(lambda leaf: leaf[None], row)
        return -posterior.loss_fn(position, single)

    def looped(one: Callable[..., Any], start: Any, calls: int) -> Contender:
        @functools.partial(jax.jit, donate_argnums=0)
        def loop(state: Any, data: Any, key: jax.Array, count: Any) -> Any:
            def body(place: Any, state: Any) -> Any:
                return one(jax.random.fold_in(key, place), state, batch_at(data, place))

            return jax.lax.fori_loop(0, count * calls, body, state)

        return looping(loop, start, posterior.data, jax.random.key(1))

    gradients: dict[str, Any] = {"": jax.grad(log_posterior)}
    if by_row:
        gradients["_by_row"] = grad_estimator(log_prior, log_likelihood, posterior.num_data)
    contenders = {}
    for suffix, gradient in gradients.items():
        for name, peer, calls in (
            ("blackjax_sgld", blackjax.sgld(gradient), LEAPS),
            ("blackjax_sghmc", blackjax.sghmc(gradient, LEAPS), 1),
        ):
            peer_step = functools.partial(_peer_step, peer.step)
            contenders[name + suffix] = looped(peer_step, posterior.position, calls)
    ours = {
        "aeb_sgld": aeb.empirical_bayes(aeb.sgld(STEP_SIZE), prior(), gain=0.0),
        "aeb_sghmc": aeb.empirical_bayes(aeb.sghmc(STEP_SIZE), prior(), gain=0.0),
        "aeb_full": _full(),
        "bare": _full(gain=0.0, sparsify=None),
        "no_latents": _full(gain=0.0),
        "no_pruning": _full(sparsify=None),
    }
    for name, algorithm in ours.items():
        sampler = aeb.as_sampling_algorithm(
            algorithm, posterior.loss_fn, num_data=posterior.num_data
        )
        contenders[name] = looped(sampler.step, sampler.init(posterior.position), LEAPS)
    return contenders


def _full(**changes: Any) -> aeb.Algorithm:
    """Put together SGHMC with all that we have, but for what is changed."""
    parts: dict[str, Any] = {"sparsify": aeb.magnitude(0.9, scope="global")}
    prior = aeb.spike_slab(v0=0.1, v1=1.0, kappa0=None, learn_sigma=True, follow_ramp=False)
    return aeb.empirical_bayes(aeb.sghmc(STEP_SIZE), prior, **(parts | changes))


def _peer_step(step: Callable[..., Any], key: jax.Array, position: Any, batch: Any) -> Any:
    return step(key, position, batch, STEP_SIZE)
