# SPDX-License-Identifier: Apache-2.0
"""One chain over many devices, or many chains: both are JAX's own sharding around a pure kernel.

    data_parallel    the state everywhere, the batch split along its first axis; one chain
    chains           a leading axis of chains on the state and the keys; independent chains

All replicas of one chain draw the same noise, so the chain is that of a single device up to the
order in which floats are added. For `jax.pmap` and `jax.shard_map` build the kernel with
`axis_name`. Several hosts need `jax.distributed` and nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aeb import guards
from aeb.types import Kernel

__all__ = ["chains", "data_parallel"]


def data_parallel(kernel: Kernel, mesh: Mesh, *, axis: str | None = None) -> Kernel:
    """Split each batch over the devices of a mesh; XLA inserts the sums.

    Args:
        kernel: made by `aeb.build_kernel` without `axis_name`.
        mesh: a mesh of devices, as made by
            `jax.make_mesh((n,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))`.
        axis: the mesh axis to split over; None for the first.

    Returns:
        A compiled `(state, batch, key) -> state`; the state is replicated, the length of the batch
        has to be a multiple of the axis.

    Raises:
        ValueError: the mesh has no such axis.

    Example:
        >>> import aeb, jax.numpy as jnp
        >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.spike_slab(v0=0.1, v1=1.0))
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w) ** 2), num_data=4)
        >>> step = data_parallel(kernel, mesh)
        >>> int(step(algorithm.init(jnp.zeros(1)), jnp.ones((4, 1)), jax.random.key(0)).step)
        1
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec(_axis(mesh, axis)))
    return _sharded(kernel, (everywhere, split, everywhere), everywhere)


def chains(
    kernel: Kernel, *, mesh: Mesh | None = None, axis: str | None = None, same_batch: bool = True
) -> Kernel:
    """Run independent chains side by side.

    Args:
        kernel: made by `aeb.build_kernel`.
        mesh: spread the chains over an axis of this mesh; None keeps them on one device.
        axis: the mesh axis to spread over; None for the first.
        same_batch: whether all chains see one batch; if False, the batch leads with an axis of
            chains as well.

    Returns:
        A compiled `(states, batch, keys) -> states` where each array of `states` and `keys` leads
        with an axis of chains. Such states come from `jax.vmap(algorithm.init)`, keys from
        `jax.random.split`.

    Raises:
        ValueError: the mesh has no such axis; when called, the keys are not one a chain.

    Example:
        >>> import aeb, jax.numpy as jnp
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(1e-3), aeb.spike_slab(v0=0.1, v1=1.0))
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x - w) ** 2), num_data=4)
        >>> states = jax.vmap(algorithm.init)(jnp.zeros((3, 1)))
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> chains(kernel)(states, jnp.ones((4, 1)), keys).position.shape
        (3, 1)
    """

    def mapped(state: Any, batch: Any, key: Any, **overrides: Any) -> Any:
        guards.check_key("key", key, many=True)
        in_axes = (0, None if same_batch else 0, 0)
        return jax.vmap(partial(cast(Any, kernel), **overrides), in_axes=in_axes)(state, batch, key)

    if mesh is None:
        return jax.jit(mapped)
    split = NamedSharding(mesh, PartitionSpec(_axis(mesh, axis)))
    batch = NamedSharding(mesh, PartitionSpec()) if same_batch else split
    return _sharded(mapped, (split, batch, split), split)


def _sharded(
    kernel: Callable[..., Any], arguments: tuple[Any, ...], result: NamedSharding
) -> Kernel:
    """Compile a kernel for given shardings, which jit takes for positional arguments only."""

    def positional(state: Any, batch: Any, key: Any, overrides: dict[str, Any]) -> Any:
        return kernel(state, batch, key, **overrides)

    shardings = (*arguments, NamedSharding(result.mesh, PartitionSpec()))
    compiled = jax.jit(positional, in_shardings=shardings, out_shardings=result)

    def step(state: Any, batch: Any, key: Any, **overrides: Any) -> Any:
        return compiled(state, batch, key, overrides)

    return step


def _axis(mesh: Mesh, axis: str | None) -> Any:
    """Read the name of a mesh axis."""
    if axis is None:
        return mesh.axis_names[0]
    if axis not in mesh.axis_names:
        raise ValueError(f"axis: got {axis!r}, the mesh has {', '.join(mesh.axis_names)}")
    return axis
