# SPDX-License-Identifier: Apache-2.0
"""One chain over many devices, or many chains: both are JAX's own sharding around a pure kernel.

    data_parallel    the state everywhere, the batch split along its first axis; one chain
    sharded          the state split too, for models that do not fit one device; one chain
    chains           a leading axis of chains on the state and the keys; independent chains

The noise of a weight depends on the key and on its place in the tree, not on the device, so one
chain over many devices is that of a single device up to the order in which floats are added. That
holds for BatchNorm too, whose moments are here those of the whole batch. For `jax.pmap` and
`jax.shard_map` build the kernel with `axis_name`; there each device normalises by the moments of
its own rows, which is another model, and the running statistics are averaged. Several hosts need
`jax.distributed` and nothing of ours: see `docs/scaling.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aeb import guards
from aeb.empirical_bayes import State
from aeb.kernel import target_of, with_target
from aeb.tree import keyed_leaves, named_leaves, path_of
from aeb.types import Kernel

__all__ = ["chains", "data_parallel", "sharded", "state_sharding"]

SMALL = 1024
"""Leaves with fewer entries are kept whole on each device unless a rule says otherwise."""

Rule = Callable[[str, Any], PartitionSpec]
"""`(path, leaf) -> PartitionSpec` of a weight."""


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
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
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
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
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
        return cast(Kernel, with_target(jax.jit(mapped), target_of(kernel)))
    everywhere, split = PartitionSpec(), PartitionSpec(_axis(mesh, axis))
    batch = everywhere if same_batch else split

    def spread(state: Any, batch_: Any, key: Any, **overrides: Any) -> Any:
        guards.check_key("key", key, many=True)
        # Each device its own chains: left to itself XLA gathers the inputs of a convolution whose
        # weights differ by chain. Nothing is summed over devices, so there is nothing to check.
        on_each = jax.shard_map(
            lambda *arguments: mapped(*arguments[:3], **arguments[3]),
            mesh=mesh,
            in_specs=(split, batch, split, everywhere),
            out_specs=split,
            check_vma=False,
        )
        return on_each(state, batch_, key, overrides)

    arguments = (NamedSharding(mesh, spec) for spec in (split, batch, split))
    step = _sharded(spread, tuple(arguments), NamedSharding(mesh, split))
    return cast(Kernel, with_target(step, target_of(kernel)))


def state_sharding(
    state: State, mesh: Mesh, *, axis: str | None = None, rule: Rule | None = None
) -> State:
    """Say where each array of a state goes, weights, momentum and latents of a layer alike.

    Args:
        state: a state, or its shapes from `jax.eval_shape(algorithm.init, params)`.
        mesh: a mesh of devices, its axes of the type `jax.sharding.AxisType.Auto`.
        axis: the mesh axis that the default rule splits over; None for the first.
        rule: `(path, leaf) -> PartitionSpec` for each weight, with the path as in `where`. By
            default a weight is split along its longest axis that the mesh axis divides; one that
            has none, or fewer than 1024 entries, is on every device.

    Returns:
        A tree like the state, of `NamedSharding`. What has the path and the shape of a weight lies
        as the weight does; all else is on every device.

    Raises:
        ValueError: the mesh has no such axis, or an axis of a weight does not divide by what the
            rule wants it split into.

    Example:
        >>> import aeb, jax.numpy as jnp
        >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        >>> algorithm = aeb.empirical_bayes(aeb.sghmc(learning_rate=1e-3), aeb.spike_slab())
        >>> params = {"kernel": jnp.zeros((64, 128)), "bias": jnp.zeros(128)}
        >>> shardings = state_sharding(jax.eval_shape(algorithm.init, params), mesh)
        >>> tuple(shardings.latent.rho["kernel"].spec), tuple(shardings.position["bias"].spec)
        ((None, 'data'), ())
        >>> state = jax.jit(algorithm.init, out_shardings=shardings)(params)
    """
    rule = _longest_axis(mesh, _axis(mesh, axis)) if rule is None else rule
    weights = named_leaves(state.position)
    spots = {path: NamedSharding(mesh, rule(path, leaf)) for path, leaf in weights.items()}
    for path, spot in spots.items():
        try:
            spot.shard_shape(weights[path].shape)
        except ValueError as error:
            raise ValueError(f"rule: {spot.spec} does not fit the leaf {path!r}: {error}") from None
    everywhere = NamedSharding(mesh, PartitionSpec())

    def place(path: str, leaf: Any) -> NamedSharding:
        # The state puts names before those of a weight: latent/rho/Dense_0/kernel.
        words = path.split("/")
        for start in range(len(words) + 1):
            end = "/".join(words[start:])
            if end in spots and weights[end].shape == leaf.shape:
                return spots[end]
        return everywhere

    placed = [place(path_of(leaf.keys), leaf.value) for leaf in keyed_leaves(state)]
    result: State = jax.tree.unflatten(jax.tree.structure(state), placed)
    return result


def sharded(kernel: Kernel, shardings: State, *, axis: str | None = None) -> Kernel:
    """Split the state as well as the batch, for a model that does not fit one device.

    XLA gathers the weights of a layer where its forward and backward pass need them, or moves the
    activations instead. Noise, momentum, latents and pruning are computed where the weights lie:
    of the sampler itself only scalars are sent.

    Args:
        kernel: made by `aeb.build_kernel` without `axis_name`.
        shardings: where each array goes, from `state_sharding`.
        axis: the mesh axis to split the batch over; None for the first.

    Returns:
        A compiled `(state, batch, key) -> state`; the length of the batch has to be a multiple of
        the axis.

    Raises:
        ValueError: the mesh has no such axis.

    Example:
        >>> import aeb, jax.numpy as jnp
        >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x @ w) ** 2), num_data=4)
        >>> params = jnp.zeros((1024, 2))
        >>> shardings = state_sharding(jax.eval_shape(algorithm.init, params), mesh)
        >>> state = jax.jit(algorithm.init, out_shardings=shardings)(params)
        >>> state = sharded(kernel, shardings)(state, jnp.ones((4, 1024)), jax.random.key(0))
        >>> tuple(state.position.sharding.spec)
        ('data',)
    """
    mesh = jax.tree.leaves(shardings)[0].mesh
    split = NamedSharding(mesh, PartitionSpec(_axis(mesh, axis)))
    return _sharded(kernel, (shardings, split, NamedSharding(mesh, PartitionSpec())), shardings)


def _longest_axis(mesh: Mesh, axis: str) -> Rule:
    """Split along the longest axis that divides, the first of them."""
    parts = mesh.shape[axis]

    def rule(path: str, leaf: Any) -> PartitionSpec:
        del path
        fitting = [i for i, length in enumerate(leaf.shape) if length % parts == 0]
        if leaf.size < SMALL or not fitting:
            return PartitionSpec()
        longest = max(fitting, key=lambda i: leaf.shape[i])
        return PartitionSpec(*[None] * longest, axis)

    return rule


def _sharded(kernel: Callable[..., Any], arguments: tuple[Any, ...], result: Any) -> Kernel:
    """Compile a kernel for given shardings, which jit takes for positional arguments only."""

    def positional(state: Any, batch: Any, key: Any, overrides: dict[str, Any]) -> Any:
        return kernel(state, batch, key, **overrides)

    everywhere = NamedSharding(jax.tree.leaves(result)[0].mesh, PartitionSpec())
    shardings = (*arguments, everywhere)
    compiled = jax.jit(positional, in_shardings=shardings, out_shardings=result)

    def step(state: Any, batch: Any, key: Any, **overrides: Any) -> Any:
        return compiled(state, batch, key, overrides)

    return cast(Kernel, with_target(step, target_of(kernel)))


def _axis(mesh: Mesh, axis: str | None) -> Any:
    """Read the name of a mesh axis."""
    if axis is None:
        return mesh.axis_names[0]
    if axis not in mesh.axis_names:
        raise ValueError(f"axis: got {axis!r}, the mesh has {', '.join(mesh.axis_names)}")
    return axis
