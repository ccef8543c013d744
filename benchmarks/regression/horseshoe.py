# SPDX-License-Identifier: Apache-2.0
"""The regularised horseshoe, by numpyro's NUTS.

On standardised columns and y,

    beta_j = z_j tau lambda~_j,   lambda~_j^2 = c^2 lambda_j^2 / (c^2 + tau^2 lambda_j^2)
    z_j ~ N(0, 1),   lambda_j ~ C+(0, 1),   tau ~ C+(0, tau0 sigma),   sigma ~ N+(0, 1)
    tau0 = m / ((p - m) sqrt(n)),   c^2 ~ IG(f/2, f s^2/2)

where m is a guess of the number of signals, and s and f are scale and degrees of freedom of the
slab. A column is found where its central interval leaves 0 out.

Reference: Piironen and Vehtari (Electronic Journal of Statistics 2017).
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb.evaluation.mixing import potential_scale_reduction
from benchmarks.harness.methods import Estimate, standardise
from benchmarks.harness.ranges import Count, Positive, whole, within


@dataclasses.dataclass(frozen=True)
class Horseshoe:
    """Settings of the prior and of the sampler."""

    data_sets: Annotated[int, whole(0)] = 10  # the first of those that the others see
    chains: Count = 2  # one after the other
    warmup: Count = 300  # steps left out
    draws: Annotated[int, whole(4)] = 300  # draws kept of each chain
    # Acceptance that the step size is tuned to.
    target_accept: Annotated[float, within("(0, 1)")] = 0.9
    tree_depth: Count = 10  # doublings of a trajectory at most
    signals: Positive = 3.0  # guess of the number of signals; 3 is the truth
    slab_scale: Positive = 2.0  # scale of the slab, in units of the standard deviation of y
    slab_freedom: Positive = 4.0  # degrees of freedom of the slab

    def options(self) -> dict[str, Any]:
        """Return what a row says of them."""
        return {name: value for name, value in vars(self).items() if name != "data_sets"}


def fit(x: np.ndarray, y: np.ndarray, *, settings: Horseshoe, level: float, seed: int) -> Estimate:
    """Sample; the estimate is the posterior mean."""
    from numpyro.infer import MCMC, NUTS

    data = standardise(x, y)
    scale = data.y.std()
    n, p = x.shape
    sampler = MCMC(
        NUTS(
            _model,
            target_accept_prob=settings.target_accept,
            max_tree_depth=settings.tree_depth,
        ),
        num_warmup=settings.warmup,
        num_samples=settings.draws,
        num_chains=settings.chains,
        chain_method="sequential",
        progress_bar=False,
    )
    sampler.run(
        jax.random.key(seed),
        jnp.asarray(data.x, float),
        jnp.asarray(data.y / scale, float),
        settings.signals / ((p - settings.signals) * n**0.5),
        settings,
        extra_fields=("diverging", "num_steps"),
    )
    draws = jax.device_get(sampler.get_samples(group_by_chain=True))
    extra = jax.device_get(sampler.get_extra_fields(group_by_chain=True))
    beta = np.asarray(draws["beta"], np.float64) * scale / data.scale
    tails = [(1 - level) / 2, (1 + level) / 2]
    interval = np.quantile(beta.reshape(-1, p), tails, axis=0).T
    r_hat = {
        name: float(np.max(potential_scale_reduction(np.asarray(draws[name], np.float64))))
        for name in ("beta", "sigma", "tau")
    }
    coefficients = beta.mean(axis=(0, 1))
    details = {
        "largest_r_hat": r_hat,
        "divergences": int(extra["diverging"].sum()),
        "draws_at_full_depth": int((extra["num_steps"] >= 2**settings.tree_depth - 1).sum()),
        "gradients_a_draw": float(extra["num_steps"].mean()),
        "sigma": float(draws["sigma"].mean() * scale),
    }
    return Estimate(
        intercept=data.intercept(coefficients),
        coefficients=coefficients,
        found=(interval[:, 0] > 0) | (interval[:, 1] < 0),
        details=details,
        intervals={"averaged": interval},
        r_hat=max(r_hat.values()),
    )


def _model(x: Any, y: Any, tau0: Any, settings: Horseshoe) -> None:
    import numpyro
    from numpyro import distributions as dist

    p = x.shape[1]
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    tau = numpyro.deterministic(
        "tau", tau0 * sigma * numpyro.sample("tau_unit", dist.HalfCauchy(1.0))
    )
    local = numpyro.sample("lambda", dist.HalfCauchy(jnp.ones(p)))
    half = 0.5 * settings.slab_freedom
    slab = numpyro.sample("slab", dist.InverseGamma(half, half * settings.slab_scale**2))
    z = numpyro.sample("z", dist.Normal(jnp.zeros(p), 1.0))
    shrunk = local * jnp.sqrt(slab / (slab + jnp.square(tau * local)))
    beta = numpyro.deterministic("beta", z * tau * shrunk)
    numpyro.sample("y", dist.Normal(x @ beta, sigma), obs=y)
