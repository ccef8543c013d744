# SPDX-License-Identifier: Apache-2.0
"""The ways to run one kernel over a mesh: a step, a state to start from, and where it lies."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import aeb
from benchmarks.speed.nets import Workload

__all__ = ["CHAINS", "ROADS", "Road", "Way", "algorithm", "make_way"]

Road = Literal["data parallel", "sharded state", "chains", "shard_map"]

ROADS: tuple[Road, ...] = ("data parallel", "sharded state", "chains", "shard_map")

NUM_DATA = 1000.0
"""N."""

CHAINS = 8
"""Chains, on any number of devices."""


class Way(NamedTuple):
    """A road that is ready to be taken."""

    step: Callable[..., Any]  # (state, batch, key) -> state, compiled
    init: Callable[[Any], Any]  # params -> state
    state: Any  # shardings of the state, a tree or one for all of it
    batch: NamedSharding
    key: Callable[[jax.Array], jax.Array]  # of a step, to what the step takes


def algorithm() -> aeb.Algorithm:
    """Put together all that a step can have; large enough steps that five of them move weights."""
    return aeb.empirical_bayes(
        aeb.sghmc(0.1 / NUM_DATA),
        aeb.spike_slab(v0=0.1, v1=1.0, kappa0=None, learn_sigma=True, follow_ramp=False),
        sparsify=aeb.magnitude(0.5, scope="global"),
    )


def make_way(road: Road, workload: Workload, mesh: Mesh) -> Way:
    sampler = algorithm()
    axis = "data" if road == "shard_map" else None
    kernel = aeb.build_kernel(
        sampler, workload.loss_fn, num_data=NUM_DATA, has_aux=workload.has_aux, axis_name=axis
    )
    everywhere, split = (NamedSharding(mesh, PartitionSpec(*names)) for names in ((), ("data",)))

    def init(params: Any) -> Any:
        return sampler.init(params, workload.model_state)

    if road == "chains":

        def many(params: Any) -> Any:
            starts = jax.tree.map(lambda x: jnp.stack([x] * CHAINS), params)
            return jax.vmap(init)(starts)

        step = aeb.chains(kernel, mesh=mesh)
        return Way(step, many, split, everywhere, lambda key: jax.random.split(key, CHAINS))
    where: Any = everywhere
    step = aeb.data_parallel(kernel, mesh)
    if road == "sharded state":
        where = aeb.state_sharding(jax.eval_shape(init, workload.params), mesh)
        step = aeb.sharded(kernel, where)
    if road == "shard_map":
        specs = PartitionSpec(), PartitionSpec("data"), PartitionSpec()
        mapped = jax.shard_map(kernel, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
        step = jax.jit(mapped, in_shardings=(everywhere, split, everywhere))
    return Way(step, init, where, split, lambda key: key)
