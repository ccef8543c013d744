# SPDX-License-Identifier: Apache-2.0
"""numpyro's NUTS per effective sample against SGHMC and SGLD, on one logistic regression.

One chain each, warm-up (NUTS) and burn-in (ours) in the seconds, compiling not. Effective samples
are the bulk ESS of `aeb.mixing`, least and median over the coefficients. A sampler by minibatches
is biased, so a row says how far: `mean_error` is the root mean square over coefficients of the
distance of the means in posterior standard deviations, `sd_ratio` the mean ratio of those
deviations, both to NUTS.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb import guards
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, Positive, whole
from benchmarks.speed.clock import Clock, Contender, Race, make_races
from benchmarks.speed.posterior import Posterior, logistic, prior

__all__ = ["Nuts"]


@dataclasses.dataclass(frozen=True)
class Nuts:
    """numpyro's NUTS per effective sample."""

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

    def races(self) -> list[Race]:
        return make_races("nuts", self, self._run, needs="numpyro")

    def _run(self, clock: Clock) -> dict[str, Any]:
        posterior = logistic(self.num_rows, self.num_columns)
        samplers = {
            "nuts": self._peer(posterior),
            "aeb_sghmc": self._ours(posterior, aeb.sghmc(self.step_size)),
            "aeb_sgld": self._ours(posterior, aeb.sgld(self.step_size / 2)),
        }
        drawn: dict[str, np.ndarray] = {}
        contenders: dict[str, Contender] = {
            name: functools.partial(_repeat, sample, drawn, name)
            for name, sample in samplers.items()
        }
        times = clock.race(contenders)
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
            chain.run(jax.random.key(number), posterior.data["x"], posterior.data["y"])
            return np.asarray(chain.get_samples()["beta"])

        return sample

    def _ours(self, posterior: Posterior, dynamics: aeb.Dynamics) -> Callable[[int], np.ndarray]:
        sampler = aeb.empirical_bayes(dynamics, prior(), gain=0.0)
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
                collect=_kernel_of,
                every=self.thinning,
                progress=False,
            )
            return np.asarray(draws)[burn_in:]

        return sample


def _kernel_of(state: aeb.State) -> jax.Array:
    kernel: jax.Array = state.position["kernel"]
    return jnp.asarray(kernel)


def _repeat(
    sample: Callable[[int], np.ndarray], drawn: dict[str, np.ndarray], name: str, count: int
) -> None:
    """Sample so many times, each with a seed of its own; the first draws are kept."""
    for number in range(count):
        draws = sample(number)
        drawn.setdefault(name, draws)
