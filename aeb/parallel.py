# SPDX-License-Identifier: Apache-2.0
"""One chain on many devices, or many chains, by JAX's own sharding around a pure kernel.

    data_parallel    one chain; each device has the whole state and a part of the batch
    sharded          one chain; the state is split too, for models that do not fit one device
    chains           independent chains, along a leading axis of the state and of the keys

The noise of a weight depends on the key and on its place in the tree, not on the device. So a chain
on many devices is the chain of a single device, up to the order in which floats are added. That
holds for BatchNorm too, which uses the moments of the whole batch here. For `jax.pmap` and
`jax.shard_map`, build the kernel with `axis_name`. Then each device normalises by the moments of
its own rows, which is a different model, and the running statistics are averaged. For several
hosts you need `jax.distributed` and nothing else: see `docs/scaling.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aeb import guards
from aeb.empirical_bayes import State
from aeb.kernel import facts_of, with_facts
from aeb.tree import keyed_leaves, named_leaves, path_of
from aeb.types import Kernel

__all__ = ["chains", "data_parallel", "sharded", "state_sharding"]

SMALL = 1024
"""Leaves with fewer entries are copied to each device unless a rule says otherwise."""

Rule = Callable[[str, Any], PartitionSpec]
"""`(path, leaf) -> PartitionSpec` of a weight."""


def data_parallel(kernel: Kernel, mesh: Mesh, *, axis: str | None = None) -> Kernel:
    """Return a kernel that splits each batch over the devices of a mesh; XLA inserts the sums.

    Args:
        kernel: made by `aeb.build_kernel` without `axis_name`.
        mesh: a mesh of devices, as made by
            `jax.make_mesh((n,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))`.
        axis: the mesh axis to split over; None for the first.

    Returns:
        A compiled `(state, batch, key) -> state`. The state is replicated. The number of rows in a
        batch must be a multiple of the size of the axis.

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
    """Return a kernel that runs independent chains side by side.

    Args:
        kernel: made by `aeb.build_kernel`.
        mesh: the mesh to spread the chains over; None keeps them on one device.
        axis: the mesh axis to spread over; None for the first.
        same_batch: whether all chains see the same batch. If False, the first axis of the batch
            must be chains too.

    Returns:
        A compiled `(states, batch, keys) -> states`. The first axis of each array of `states` and
        of `keys` is chains. Make such states with `jax.vmap(algorithm.init)` and such keys with
        `jax.random.split`.

    Raises:
        ValueError: the mesh has no such axis; when called, the state is of one chain, or there is
            not one key per chain.

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
        _check_chains(state, key)
        in_axes = (0, None if same_batch else 0, 0)
        return jax.vmap(partial(cast(Any, kernel), **overrides), in_axes=in_axes)(state, batch, key)

    if mesh is None:
        return cast(Kernel, with_facts(jax.jit(mapped), facts_of(kernel)))
    everywhere, split = PartitionSpec(), PartitionSpec(_axis(mesh, axis))
    batch = everywhere if same_batch else split

    def spread(state: Any, batch_: Any, key: Any, **overrides: Any) -> Any:
        _check_chains(state, key)
        # Give each device its own chains. Left to itself, XLA gathers the inputs of a convolution
        # whose weights differ by chain. Nothing is summed over devices, so nothing needs a check.
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
    return cast(Kernel, with_facts(step, facts_of(kernel)))


def state_sharding(
    state: State, mesh: Mesh, *, axis: str | None = None, rule: Rule | None = None
) -> State:
    """Return how to split each array of a state; all arrays of a layer are split alike.

    Args:
        state: a state, or its shapes from `jax.eval_shape(algorithm.init, params)`.
        mesh: a mesh of devices, its axes of the type `jax.sharding.AxisType.Auto`.
        axis: the mesh axis that the default rule splits over; None for the first.
        rule: `(path, leaf) -> PartitionSpec` for each weight, with the path as in `where`. By
            default a weight is split along the longest of its axes whose length is a multiple of
            the size of the mesh axis. A weight without such an axis, or with fewer than 1024
            entries, is copied to every device.

    Returns:
        A tree like the state, of `NamedSharding`. An array with the path and the shape of a weight
        is split as that weight; everything else is copied to every device.

    Raises:
        ValueError: the mesh has no such axis, or the rule splits an axis of a weight into a number
            of parts that does not divide its length.

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
    """Return a kernel that splits the state as well as the batch, for large models.

    XLA gathers the weights of a layer where its forward and backward pass need them, or moves the
    activations instead. Noise, momentum, latents and pruning are computed where the weights are, so
    the sampler itself sends only scalars.

    Args:
        kernel: made by `aeb.build_kernel` without `axis_name`.
        shardings: how to split each array, from `state_sharding`.
        axis: the mesh axis to split the batch over; None for the first.

    Returns:
        A compiled `(state, batch, key) -> state`. The number of rows in a batch must be a multiple
        of the size of the axis.

    Raises:
        ValueError: the mesh has no such axis.

    Example:
        >>> import aeb, jax.numpy as jnp
        >>> algorithm = aeb.empirical_bayes(aeb.sgld(learning_rate=1e-3), aeb.spike_slab())
        >>> kernel = aeb.build_kernel(algorithm, lambda w, x: jnp.mean((x @ w) ** 2), num_data=4)
        >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
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


def _check_chains(state: Any, key: Any) -> None:
    """Require states and keys of several chains."""
    guards.check_key("key", key, many=getattr(key, "ndim", 0) > 0)  # its type first
    if hasattr(state, "step") and not jnp.ndim(state.step):
        raise ValueError(
            "state: it is of one chain, and the kernel runs several; stack their states, as "
            "jax.vmap(algorithm.init) does with stacked parameters"
        )
    guards.check_key("key", key, many=True)


def _longest_axis(mesh: Mesh, axis: str) -> Rule:
    """Split along the longest axis that can be divided, or the first of several."""
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
    """Compile a kernel for given shardings; `jax.jit` takes them for positional arguments only."""

    def positional(state: Any, batch: Any, key: Any, overrides: dict[str, Any]) -> Any:
        return kernel(state, batch, key, **overrides)

    everywhere = NamedSharding(jax.tree.leaves(result)[0].mesh, PartitionSpec())
    shardings = (*arguments, everywhere)
    compiled = jax.jit(positional, in_shardings=shardings, out_shardings=result)

    def step(state: Any, batch: Any, key: Any, **overrides: Any) -> Any:
        return compiled(state, batch, key, overrides)

    return cast(Kernel, with_facts(step, facts_of(kernel)))


def _axis(mesh: Mesh, axis: str | None) -> Any:
    """Return the name of a mesh axis, the first by default."""
    if axis is None:
        return mesh.axis_names[0]
    if axis not in mesh.axis_names:
        raise ValueError(f"axis: got {axis!r}, the mesh has {', '.join(mesh.axis_names)}")
    return axis
