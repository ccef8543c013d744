# SPDX-License-Identifier: Apache-2.0
"""Samplers of other libraries beside ours, on one posterior each time.

    log p(theta | D) = sum_i log p(y_i | x_i, theta) - |kernels|^2 / 2 + const

with biases flat, of a logistic regression or a small network.

`blackjax`: BlackJAX's sgld and sghmc per gradient, at one size of minibatch. Each contender is a
compiled loop that takes its minibatch from the data by a slice. BlackJAX's `sghmc` takes ten
gradients a call, on one minibatch; its time is a tenth of a call. `_by_row` uses BlackJAX's own
estimator, which maps over the rows of the minibatch one by one; the others the very gradient that
ours take. `aeb_sgld` and `aeb_sghmc` have the same fixed prior; `aeb_full` is SGHMC with a
spike-and-slab prior adapted and 90 % pruned at each step: another posterior, more work;
`no_latents` and `no_pruning` are that without a part, `bare` without both.

`nuts`: numpyro's NUTS per effective sample against SGHMC and SGLD, on one logistic regression. One
chain each, warm-up (NUTS) and burn-in (ours) in the seconds, compiling not. Effective samples are
the bulk ESS of `aeb.mixing`, least and median over the coefficients. A sampler by minibatches is
biased, so a row says how far: `mean_error` is the root mean square over coefficients of the
distance of the means in posterior standard deviations, `sd_ratio` the mean ratio of those
deviations, both to NUTS.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb import guards
from aeb.models import MLP, make_loss
from aeb.tree import select
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, Positive, one_of, whole
from benchmarks.speed.clock import Clock, Contender, Section, looping

LEAPS = 10
"""Gradients in one call of BlackJAX's sghmc, its default."""

STEP_SIZE = 1e-6
"""Of every contender of `blackjax`."""

PRIOR = aeb.gaussian(precision=1.0)
"""The prior of both; at gain 0 it stays what it is."""


class Posterior(NamedTuple):
    """A model, its data, and where to start."""

    position: Any  # f32
    data: dict[str, jax.Array]  # leads with N
    loss_fn: Callable[..., Any]  # mean negative log-likelihood of a batch, in nats
    num_data: int


@dataclasses.dataclass(frozen=True)
class BlackJax(Section):
    """BlackJAX's samplers per gradient."""

    each = (("models", "model"),)

    # Posteriors, a row each.
    models: tuple[Annotated[str, one_of("logistic", "network")], ...] = ("logistic", "network")
    num_rows: Count = 10_000  # rows of data
    num_columns: Count = 100  # coefficients of the logistic regression
    hidden: Count = 100  # hidden units of the network
    batch_size: Count = 100  # rows of a minibatch
    by_row: bool = True  # whether to time BlackJAX's own estimator as well

    def check(self) -> None:
        check(self)
        guards.whole("num_rows", self.num_rows, self.batch_size)

    def measure(self, clock: Clock, model: str) -> dict[str, Any]:
        if model == "logistic":
            posterior = _logistic(self.num_rows, self.num_columns)
        else:
            posterior = _network(self.num_rows, self.hidden)
        # A key used twice, ranks and dtypes mixed: theirs, and none of our business here.
        with (
            jax.debug_key_reuse(False),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            times = clock.race(self._contenders(posterior))
        per_gradient = {name: spread["median"] / LEAPS for name, spread in times.items()}
        return {"gradient_seconds": per_gradient, "seconds": times}

    def _contenders(self, posterior: Posterior) -> dict[str, Contender]:
        """Make the loops; one unit of work is `LEAPS` gradients for each of them."""
        import blackjax
        from blackjax.sgmcmc.gradients import grad_estimator

        size = self.batch_size

        def log_posterior(position: Any, batch: Any) -> jax.Array:
            return _log_prior(position) - posterior.num_data * posterior.loss_fn(position, batch)

        def log_likelihood(position: Any, row: Any) -> jax.Array:
            single = jax.tree.map(lambda leaf: leaf[None], row)
            return -posterior.loss_fn(position, single)

        def looped(one: Callable[..., Any], start: Any, calls: int) -> Contender:
            @functools.partial(jax.jit, donate_argnums=0)
            def loop(state: Any, data: Any, key: jax.Array, count: Any) -> Any:
                def body(place: Any, state: Any) -> Any:
                    first = jnp.remainder(place, posterior.num_data // size) * size
                    batch = jax.tree.map(
                        lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, size), data
                    )
                    return one(jax.random.fold_in(key, place), state, batch)

                return jax.lax.fori_loop(0, count * calls, body, state)

            return looping(loop, start, posterior.data, jax.random.key(1))

        def theirs(sampler: Any, calls: int) -> Contender:
            def one(key: jax.Array, position: Any, batch: Any) -> Any:
                return sampler.step(key, position, batch, STEP_SIZE)

            return looped(one, posterior.position, calls)

        def ours(algorithm: aeb.Algorithm) -> Contender:
            sampler = aeb.as_sampling_algorithm(
                algorithm, posterior.loss_fn, num_data=posterior.num_data
            )
            return looped(sampler.step, sampler.init(posterior.position), LEAPS)

        def full(**changes: Any) -> Contender:
            parts = {"sparsify": aeb.magnitude(0.9, scope="global"), **changes}
            prior = aeb.spike_slab(v0=0.1, v1=1.0, kappa0=None, learn_sigma=True, follow_ramp=False)
            return ours(aeb.empirical_bayes(aeb.sghmc(STEP_SIZE), prior, **parts))

        gradients: dict[str, Any] = {"": jax.grad(log_posterior)}
        if self.by_row:
            gradients["_by_row"] = grad_estimator(_log_prior, log_likelihood, posterior.num_data)
        contenders = {}
        for suffix, gradient in gradients.items():
            contenders[f"blackjax_sgld{suffix}"] = theirs(blackjax.sgld(gradient), LEAPS)
            contenders[f"blackjax_sghmc{suffix}"] = theirs(blackjax.sghmc(gradient, LEAPS), 1)
        return contenders | {
            "aeb_sgld": ours(aeb.empirical_bayes(aeb.sgld(STEP_SIZE), PRIOR, gain=0.0)),
            "aeb_sghmc": ours(aeb.empirical_bayes(aeb.sghmc(STEP_SIZE), PRIOR, gain=0.0)),
            "aeb_full": full(),
            "bare": full(gain=0.0, sparsify=None),
            "no_latents": full(gain=0.0),
            "no_pruning": full(sparsify=None),
        }


@dataclasses.dataclass(frozen=True)
class Nuts(Section):
    """numpyro's NUTS per effective sample."""

    needs = "numpyro"

    num_rows: Count = 1000  # rows of the logistic regression
    num_columns: Count = 20  # its coefficients
    warmup: Count = 500  # draws that NUTS adapts in
    draws: Annotated[int, whole(4)] = 1000  # draws that count, of every sampler
    batch_size: Count = 100  # rows of a minibatch of ours
    # Steps of ours between two draws; a quarter as many draws again are burned in.
    thinning: Count = 50
    step_size: Positive = 2e-5  # eps of SGHMC; SGLD takes half of it

    def check(self) -> None:
        check(self)
        guards.whole("num_rows", self.num_rows, self.batch_size)

    def measure(self, clock: Clock) -> dict[str, Any]:
        posterior = _logistic(self.num_rows, self.num_columns)
        drawn: dict[str, np.ndarray] = {}

        def racing(name: str, sample: Callable[[int], np.ndarray]) -> Contender:
            def run(count: int) -> None:
                # Each with a seed of its own; the first draws are kept.
                for number in range(count):
                    drawn.setdefault(name, sample(number))

            return run

        samplers = {
            "nuts": self._peer(posterior),
            "aeb_sghmc": self._ours(posterior, aeb.sghmc(self.step_size)),
            "aeb_sgld": self._ours(posterior, aeb.sgld(self.step_size / 2)),
        }
        times = clock.race({name: racing(name, sample) for name, sample in samplers.items()})
        center, scale = drawn["nuts"].mean(axis=0), drawn["nuts"].std(axis=0)
        metrics = {}
        for name, draws in drawn.items():
            ess = np.asarray(aeb.mixing.effective_sample_size(draws[None]))
            metrics[name] = {
                "least_ess": ess.min(),
                "median_ess": np.median(ess),
                "mean_error": np.sqrt(np.mean(np.square((draws.mean(axis=0) - center) / scale))),
                "sd_ratio": np.mean(draws.std(axis=0) / scale),
            }
        return {"samplers": metrics, "seconds": times}

    def _peer(self, posterior: Posterior) -> Callable[[int], np.ndarray]:
        import numpyro
        from numpyro.infer import MCMC, NUTS

        def model(x: Any, y: Any) -> None:
            spread = numpyro.distributions.Normal(0.0, 1.0)
            beta = numpyro.sample("beta", spread.expand([x.shape[1]]).to_event(1))
            law = numpyro.distributions.Bernoulli(logits=x @ beta)
            numpyro.sample("y", law, obs=y)

        chain = MCMC(
            NUTS(model), num_warmup=self.warmup, num_samples=self.draws, progress_bar=False
        )

        def sample(number: int) -> np.ndarray:
            chain.run(jax.random.key(number), **posterior.data)
            return np.asarray(chain.get_samples()["beta"])

        return sample

    def _ours(self, posterior: Posterior, dynamics: aeb.Dynamics) -> Callable[[int], np.ndarray]:
        sampler = aeb.empirical_bayes(dynamics, PRIOR, gain=0.0)
        kernel = aeb.build_kernel(sampler, posterior.loss_fn, num_data=posterior.num_data)
        start = sampler.init(posterior.position)
        burn_in = self.draws // 4

        def sample(number: int) -> np.ndarray:
            _, draws = aeb.sample(
                kernel,
                start,
                posterior.data,
                jax.random.key(number),
                num_steps=self.thinning * (burn_in + self.draws),
                batch_size=self.batch_size,
                collect=lambda state: state.position["kernel"],
                every=self.thinning,
                progress=False,
            )
            return np.asarray(draws)[burn_in:]

        return sample


def _log_prior(params: Any) -> jax.Array:
    """Write the same prior out, for other libraries."""
    return sum(
        (-0.5 * jnp.sum(jnp.square(leaf)) for leaf in select(params).values()),
        jnp.zeros((), jnp.float32),
    )


def _logistic(num_rows: int, num_columns: int) -> Posterior:
    """Draw a logistic regression without intercept; coefficients from N(0, 1 / columns)."""
    x_key, beta_key, y_key = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(x_key, (num_rows, num_columns), jnp.float32)
    beta = jax.random.normal(beta_key, (num_columns,), jnp.float32) / num_columns**0.5
    chance = jax.nn.sigmoid(x @ beta)
    y = (jax.random.uniform(y_key, (num_rows,), jnp.float32) < chance).astype(jnp.float32)

    def loss_fn(params: Any, batch: Any) -> jax.Array:
        logits = batch["x"] @ params["kernel"]
        return jnp.mean(jax.nn.softplus(logits) - batch["y"] * logits)

    return Posterior({"kernel": jnp.zeros_like(beta)}, {"x": x, "y": y}, loss_fn, num_rows)


def _network(num_rows: int, hidden: int) -> Posterior:
    """Draw rows of 64 numbers in ten classes, for a network of one hidden layer."""
    x_key, y_key, init_key = jax.random.split(jax.random.key(0), 3)
    data = {
        "image": jax.random.normal(x_key, (num_rows, 64), jnp.float32),
        "label": jax.random.randint(y_key, (num_rows,), 0, 10, jnp.int32),
    }
    module = MLP(hidden=(hidden,), features=10)
    params = module.init(init_key, data["image"][:1])["params"]
    return Posterior(params, data, make_loss(module), num_rows)
