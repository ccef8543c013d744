# SPDX-License-Identifier: Apache-2.0
"""A process of a layout: run chains and write their final state, or count what a step sends.

python -m benchmarks.scaling.worker '{"section": "chain", "net": ..., ...}' INDEX PORT

A road is a way to run one kernel over a mesh.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import aeb
from benchmarks.scaling.collectives import DIGITS, collectives, summed
from benchmarks.scaling.launch import Layout, make_mesh, start
from benchmarks.speed.nets import Workload, make_workload, state_bytes

Road = Literal["data parallel", "sharded state", "chains", "shard_map"]

NUM_DATA = 1000.0
"""N."""

CHAINS = 8
"""Chains, on any number of devices."""


class Ready(NamedTuple):
    """A road that is ready to be taken."""

    step: Callable[..., Any]  # (state, batch, key) -> state, compiled
    init: Callable[[Any], Any]  # params -> state
    state: Any  # shardings of the state, a tree or one for all of it
    batch: NamedSharding
    key: Callable[[jax.Array], jax.Array]  # of a step, to what the step takes


def make_ready(road: Road, workload: Workload, mesh: Mesh) -> Ready:
    """Put together all that a step can have; large enough steps that five of them move weights."""
    sampler = aeb.empirical_bayes(
        aeb.sghmc(0.1 / NUM_DATA),
        aeb.spike_slab(v0=0.1, v1=1.0, kappa0=None, learn_sigma=True, follow_ramp=False),
        sparsify=aeb.magnitude(0.5, scope="global"),
    )
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
        return Ready(step, many, split, everywhere, lambda key: jax.random.split(key, CHAINS))
    where: Any = everywhere
    step = aeb.data_parallel(kernel, mesh)
    if road == "sharded state":
        where = aeb.state_sharding(jax.eval_shape(init, workload.params), mesh)
        step = aeb.sharded(kernel, where)
    if road == "shard_map":
        specs = PartitionSpec(), PartitionSpec("data"), PartitionSpec()
        mapped = jax.shard_map(kernel, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
        step = jax.jit(mapped, in_shardings=(everywhere, split, everywhere))
    return Ready(step, init, where, split, lambda key: key)


def main(spec: dict[str, Any], index: int, port: int) -> None:
    """Do what a specification asks for; process 0 writes what came of it."""
    layout = Layout(spec["devices"], spec["processes"])
    start(layout, index, port)
    workload = make_workload(spec["net"], spec["batch_size"])
    if spec.get("precision") == "float64":
        jax.config.update("jax_enable_x64", True)
        workload = _in_double(workload)
    mesh = make_mesh(layout.devices)
    roads = {road: make_ready(road, workload, mesh) for road in spec["roads"]}
    out = Path(spec["out"])
    if spec["section"] == "communication":
        counts = {road: count(ready, workload, layout.devices) for road, ready in roads.items()}
        out.write_text(json.dumps(counts))
        return
    arrays: dict[str, Any] = {
        f"{road}|{order}|{name}": leaf
        for road, ready in roads.items()
        for order in range(spec["orders"])
        for name, leaf in fields(run(ready, workload, spec["steps"], order))
    }
    begun = fields(roads["data parallel"].init(workload.params))
    arrays |= {f"start|0|{name}": leaf for name, leaf in begun}
    if index == 0:
        np.savez(out, **arrays)


def _in_double(workload: Workload) -> Workload:
    def double(x: Any) -> Any:
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    arrays = {name: getattr(workload, name) for name in ("params", "model_state", "batch")}
    return workload._replace(**jax.tree.map(double, arrays))


def run(ready: Ready, workload: Workload, steps: int, order: int) -> Any:
    """Take some steps on the one batch of a workload; the final state is whole on each device.

    At order 0 the rows of the batch are as they are, else in one of their permutations.
    """
    batch = jax.tree.map(np.asarray, workload.batch)
    if order:
        rows = np.random.default_rng(order).permutation(len(batch["label"]))
        batch = {name: leaf[rows] for name, leaf in batch.items()}
    placed = {
        name: jax.make_array_from_callback(leaf.shape, ready.batch, leaf.__getitem__)
        for name, leaf in batch.items()
    }
    params = jax.tree.map(np.asarray, workload.params)
    state = jax.jit(ready.init, out_shardings=ready.state)(params)
    for k in range(steps):
        state = ready.step(state, placed, ready.key(jax.random.key(k)))
        jax.block_until_ready(state)
    everywhere = NamedSharding(ready.batch.mesh, PartitionSpec())
    return jax.jit(lambda tree: tree, out_shardings=everywhere)(state)


def fields(state: Any) -> list[tuple[str, np.ndarray]]:
    """List the arrays of a state, each under the name of its field and its number there."""
    latent = state.latent._asdict()
    tree = {name: leaf for name, leaf in state._asdict().items() if name != "latent"} | latent
    return [
        (f"{name}|{number}", np.asarray(leaf))
        for name, part in tree.items()
        for number, leaf in enumerate(jax.tree.leaves(part))
    ]


def count(ready: Ready, workload: Workload, devices: int) -> dict[str, Any]:
    """Compile a step and read from its text what is sent; nothing is run."""
    shapes = jax.eval_shape(ready.init, workload.params)
    key = jax.eval_shape(lambda: ready.key(jax.random.key(0)))
    program = jax.jit(lambda *arguments: ready.step(*arguments))
    state, batch = _placed(shapes, ready.state), _placed(workload.batch, ready.batch)
    compiled = program.lower(state, batch, key).compile()
    analysis: Any = compiled.cost_analysis()
    return {
        "weights": sum(leaf.size for leaf in jax.tree.leaves(workload.params)),
        "state_bytes": state_bytes(shapes),
        "state_bytes_on_a_device": sum(
            leaf.dtype.itemsize * int(np.prod(leaf.sharding.shard_shape(leaf.shape)))
            for leaf in jax.tree.leaves(state)
        ),
        "bytes_accessed": analysis["bytes accessed"],
        "collectives": summed(collectives(compiled.as_text() or "", most=DIGITS), devices),
    }


def _placed(tree: Any, where: Any) -> Any:
    """Give shapes to arrays, with where they lie."""
    if isinstance(where, NamedSharding):
        where = jax.tree.map(lambda _: where, tree)
    return jax.tree.map(
        lambda leaf, spot: jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype, sharding=spot),
        tree,
        where,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
