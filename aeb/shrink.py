# SPDX-License-Identifier: Apache-2.0
"""Remove the units of a network that are zero: narrower layers, the same outputs.

Zeros do not make a dense kernel faster; a smaller kernel does. A unit is an output feature of a
dense layer or a channel of a convolution. It is removed if

    all its incoming weights are zero    it then carries a constant c, such as relu(bias) or the
                                         shift of BatchNorm
    or all its outgoing weights are      no layer reads it

`aeb.channels` finds which axes of which weights belong to the same units: the kernel that makes
them, its bias, the moments of BatchNorm, and the rows of the kernels that read them. Layers that
are added, as in a residual network, share their units. Such a unit is removed if it is zero in all
of them.

The next layer still gets exactly what it got from the constants. With kernel K this is sum c K. It
moves

    to the bias that is added next, or with the opposite sign to the running mean that is subtracted
    to one of the units that carry constants, if there is no bias, or if an image is padded with
    zeros, because its border then sees fewer units: K[u] becomes the sum of c / c_u K, and unit u
    stays

Units that cannot be removed are listed with the reason. Some layers always keep their units: inputs
and outputs, the features that a LayerNorm or a softmax covers, and convolutions with groups.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb import guards
from aeb.channels import Axis, Contraction, Trace, trace
from aeb.network import InUse, in_use
from aeb.tree import named_leaves, replace_leaves

__all__ = ["Layer", "Shrunk", "shrink"]

Named = dict[str, Any]
"""Arrays by path: "params/..." and "state/..."."""


class Layer(NamedTuple):
    """Units that are made together, and removed together."""

    paths: tuple[str, ...]  # the kernels that make them; with the axis if they make others too
    before: int
    after: int
    why: str | None  # why some zero units stayed; None if none did


class Shrunk(NamedTuple):
    """A smaller network. `print` shows the widths.

    Attributes:
        model: the model to call. For linen it is an `aeb.models.Resized` around the given module,
            for NNX a new module, and for a function the function itself.
        variables: the weights, in the given form; None for an NNX module, which holds its own.
        layers: the units of each layer, before and after.

    Example:
        >>> first = jnp.zeros((2, 4)).at[:, 1].set(1.0)
        >>> params = {"first": first, "last": jnp.ones((4, 1))}
        >>> def net(params, inputs):
        ...     return jnp.tanh(inputs @ params["first"]) @ params["last"]
        >>> small = shrink(net, params, jnp.ones((3, 2)))
        >>> {name: kernel.shape for name, kernel in small.variables.items()}
        {'first': (2, 1), 'last': (1, 1)}
    """

    model: Any
    variables: Any
    layers: tuple[Layer, ...]

    def __str__(self) -> str:
        """Show the widths of the layers."""
        lines = []
        for layer in self.layers:
            first, *others = layer.paths
            name = first + (f" and {len(others)} more" if others else "")
            why = f"  ({layer.why})" if layer.why else ""
            lines.append(f"{name:<40}{layer.before:>6} -> {layer.after:<6}{why}".rstrip())
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Name the result in one line."""
        before, after = (sum(getattr(x, n) for x in self.layers) for n in ("before", "after"))
        return f"Shrunk({type(self.model).__name__}, {before} units -> {after})"


def shrink(model: Any, variables: Any, inputs: Any) -> Shrunk:
    """Return a smaller network, without the units that are zero.

    Args:
        model: a linen module, an NNX module (it is not changed), or a function
            `(params, inputs) -> outputs`.
        variables: `{"params": ..., "batch_stats": ...}` for a linen module, None for an NNX module,
            the parameters for a function.
        inputs: a few rows as the network takes them, [n, ...]. The outputs of both networks are
            compared on these rows and, if they are real numbers, on random rows of the same shape.

    Returns:
        A `Shrunk` whose outputs equal those of the given network, up to rounding. Use it to
        predict. If you train it further, removed units do not come back.

    Raises:
        ValueError: there is no unit to remove, and the message says why; or the code of the model
            does not run with fewer units, or gives different outputs.
        TypeError: the model is none of the three.

    Example:
        >>> from aeb.models import MLP
        >>> net, inputs = MLP(hidden=(50, 50)), jnp.ones((1, 13))
        >>> variables = net.init(jax.random.key(0), inputs)
        >>> kernel = variables["params"]["fc1"]["kernel"]
        >>> variables["params"]["fc1"]["kernel"] = kernel.at[:, :40].set(0.0)
        >>> small = shrink(net, variables, inputs)
        >>> print(small)
        fc1/kernel                                  50 -> 10
        fc2/kernel                                  50 -> 50
        >>> small.model.apply(small.variables, inputs).shape
        (1, 1)
    """
    rows = guards.check_data("inputs", inputs)
    inputs = jax.tree.map(jnp.asarray, inputs)
    if rows == 1:  # with one row alone, an axis of rows looks like any axis of one entry
        inputs = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), inputs)
    given = net = _Net(model, in_use(model, variables))
    guards.check_params(net.used.params)
    plans: list[_Plan] = []
    # Once some units are gone, other units may have no reader any more.
    while not plans or plans[-1].gone:
        try:
            found = trace(net.outputs, net.leaves(), inputs)
        except Exception as error:  # the model's own code, which may raise anything
            if net is given:
                raise
            raise ValueError(
                f"model: its code does not run with fewer units ({error}); take them from the "
                "shapes of the weights, or prune other layers"
            ) from error
        plans.append(_plan(found, net.leaves()))
        if plans[-1].gone:
            net = _cut(net, found, plans[-1])
    # A layer with one unit cannot become smaller.
    last = {key: layer for plan in plans for key, layer in plan.layers.items()}
    layers = tuple(
        layer._replace(after=last[key].after, why=last[key].why)
        for key, layer in plans[0].layers.items()
    )
    if net is given:
        raise ValueError(_why_nothing(layers))
    _check_equal(given, net, inputs)
    variables = net.used.variables(net.used.params, net.used.model_state)
    if net.used.library == "nnx":
        return Shrunk(variables, None, layers)
    return Shrunk(net.model, variables, layers)


class _Net(NamedTuple):
    """A network while it is being cut."""

    model: Any
    used: InUse

    def leaves(self) -> Named:
        """List the arrays by path."""
        return {
            f"{part}/{path}": leaf
            for part, tree in (("params", self.used.params), ("state", self.used.model_state))
            for path, leaf in named_leaves(tree).items()
        }

    def replaced(self, leaves: Named) -> tuple[Any, Any]:
        """Return the network with other arrays."""
        params, state = (
            replace_leaves(tree, {path: leaves[f"{part}/{path}"] for path in named_leaves(tree)})
            for part, tree in (("params", self.used.params), ("state", self.used.model_state))
        )
        return params, state

    def outputs(self, leaves: Named, inputs: Any) -> Any:
        """Return the outputs with other arrays."""
        return self.used.outputs(*self.replaced(leaves), inputs)


class _Plan(NamedTuple):
    """The cuts of one pass."""

    gone: dict[int, np.ndarray]  # by label: bool[units]
    leaves: Named  # weights that absorb what the units contributed
    layers: dict[str, Layer]  # by the first of their paths


class _Reader(NamedTuple):
    """A contraction that reads a set of units.

    Its weights and its input have the axis of units first, as (outer, unit, inner), then the other
    axes that are summed over. The weights have their remaining axes last.
    """

    contraction: Contraction
    pair: int  # which of its pairs
    axis: Axis

    def order(self) -> list[tuple[int, int]]:
        """List the pairs, that of the units first."""
        pairs = self.contraction.pairs
        return [pairs[self.pair], *pairs[: self.pair], *pairs[self.pair + 1 :]]

    def places(self) -> list[int]:
        """List the axes of the weights that are summed over, that of the units first."""
        return [right for _, right in self.order()]

    def split(self, array: np.ndarray) -> np.ndarray:
        """Split the first axis into outer, units and inner."""
        outer, inner = self.axis.outer, self.axis.inner
        return array.reshape(outer, len(array) // (outer * inner), inner, *array.shape[1:])

    def weights(self, array: Any) -> np.ndarray:
        """Bring weights into this order, in float64."""
        places = self.places()
        return self.split(np.moveaxis(np.asarray(array, np.float64), places, range(len(places))))

    def placed(self, weights: np.ndarray) -> np.ndarray:
        """Bring weights back into their own order."""
        places = self.places()
        whole = weights.reshape(-1, *weights.shape[3:])
        return np.moveaxis(whole, range(len(places)), places)

    def carried(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the input in the first row and place, and the largest difference from it."""
        places = [left for left, _ in self.order()]
        lhs = np.moveaxis(np.asarray(self.contraction.lhs, np.float64), places, range(len(places)))
        lhs = lhs.reshape(*lhs.shape[: len(places)], -1)
        spread = np.abs(lhs - lhs[..., :1]).max(axis=-1)
        return self.split(lhs[..., 0]), self.split(spread)

    def steady(self) -> np.ndarray:
        """Return which units carry the same value in all rows and places, up to rounding."""
        first, spread = self.carried()
        return (spread <= 1e-6 * np.abs(first)).all(axis=_but_units(first))

    def nothing(self) -> np.ndarray:
        """Return which units carry only zeros."""
        first, spread = self.carried()
        return ((first == 0) & (spread == 0)).all(axis=_but_units(first))


def _plan(found: Trace, leaves: Named) -> _Plan:
    """Decide which units go, and what absorbs their contributions."""
    labels = found.labels
    makers: dict[int, list[tuple[str, np.ndarray]]] = {}
    readers: dict[int, list[_Reader]] = {}
    for contraction in found.contractions:
        for place in contraction.produced():
            if (axis := contraction.axes[place]) is not None:
                axis = labels.find(axis)
                alive = _alive(contraction.rhs, place, axis)
                name = contraction.name.removeprefix("params/")
                if len(contraction.produced()) > 1:  # such as heads and features
                    name += f", axis {place}"
                makers.setdefault(axis.label, []).append((name, alive))
        for number, (_, right) in enumerate(contraction.pairs):
            if (axis := contraction.axes[right]) is not None:
                axis = labels.find(axis)
                readers.setdefault(axis.label, []).append(_Reader(contraction, number, axis))
    plan = _Plan({}, {}, {})
    busy: set[int] = set()  # in one pass, a contraction absorbs units of one label only
    for label, made in makers.items():
        made_alive = np.stack([alive for _, alive in made])
        dead = ~made_alive.any(axis=0)
        gone = np.zeros_like(dead)
        why = labels.pinned(Axis(label))
        mine = {id(reader.contraction) for reader in readers.get(label, ())}
        if why is None and mine and not mine & busy:
            unread = ~np.any(
                [_alive(r.contraction.rhs, r.order()[0][1], r.axis) for r in readers[label]], axis=0
            )
            taken, why = _take_up(found, leaves, plan.leaves, readers[label], dead & ~unread)
            gone = taken | unread
            if gone.all():
                gone[np.argmin(unread)] = False
                why = "a layer keeps one"
            if gone.any():
                plan.gone[label] = gone
                busy |= mine
        if why is None and (~made_alive.all(axis=0) & ~dead & ~gone).any():
            why = "layers are added that do not have the same zeros"
        left = (~made_alive.all(axis=0) & ~gone).any()
        paths = tuple(dict.fromkeys(name for name, _ in made))
        after = int(dead.size - gone.sum())
        plan.layers[paths[0]] = Layer(paths, dead.size, after, why if left else None)
    return plan


def _alive(weights: Any, place: int, axis: Axis) -> np.ndarray:
    """Return which units have a weight that is not zero, bool[units]."""
    others = tuple(other for other in range(weights.ndim) if other != place)
    entries = (np.asarray(weights) != 0).any(axis=others)
    return entries.reshape(axis.outer, -1, axis.inner).any(axis=(0, 2))


def _take_up(
    found: Trace, leaves: Named, changed: Named, readers: list[_Reader], constant: np.ndarray
) -> tuple[np.ndarray, str | None]:
    """Move the constants of units, into `changed`. Return which may go, and why others may not."""
    free = constant.copy()
    for reader in readers:
        absorbs = _absorbs(found, leaves, reader.contraction)
        free &= reader.nothing() | (reader.steady() & absorbs)
    gathered, why = constant & ~free, None
    if gathered.any():
        gathered, why = _gather(found, leaves, changed, readers, gathered)
    for reader in readers:
        if _absorbs(found, leaves, reader.contraction):
            _absorb(leaves, changed, reader, free)
    return free | gathered, why


def _absorbs(found: Trace, leaves: Named, contraction: Contraction) -> bool:
    """Return whether one bias or running mean that is used only here can absorb a constant."""
    if contraction.absorber is None or contraction.padded or contraction.uses != 1:
        return False
    path, _ = contraction.absorber
    axes = [contraction.axes[place] for place in contraction.produced()]
    shape = tuple(contraction.rhs.shape[place] for place in contraction.produced())
    if leaves[path].shape != shape or found.leaf_uses[path] != 1:
        return False
    return all(
        one is None or two is None or found.labels.find(one) == found.labels.find(two)
        for one, two in zip(axes, found.axes[path], strict=True)
    )


def _absorb(leaves: Named, changed: Named, reader: _Reader, units: np.ndarray) -> None:
    """Add the contribution of units to the bias that follows, or subtract it from the mean."""
    contraction = reader.contraction
    path, sign = contraction.absorber or ("", 0.0)
    first, _ = reader.carried()
    values = np.where(_along_units(units, first), first, 0.0)
    total = np.tensordot(values, reader.weights(contraction.rhs), axes=values.ndim)
    # Nothing is padded here, so every place of the window sees the same.
    rest = [place for place in range(len(contraction.axes)) if place not in reader.places()]
    total = total.sum(axis=tuple(rest.index(place) for place in contraction.window))
    changed[path] = np.asarray(changed.get(path, leaves[path]), np.float64) + sign * total


def _gather(
    found: Trace, leaves: Named, changed: Named, readers: list[_Reader], units: np.ndarray
) -> tuple[np.ndarray, str]:
    """Let one unit carry the constants of several. Return which may go, and why others may not."""
    none = np.zeros_like(units)
    size = np.full(units.shape, np.inf)  # the smallest that a unit carries where any carries some
    for reader in readers:
        path = reader.contraction.name
        is_leaf = path in leaves and found.leaf_uses[path] == 1
        if not is_leaf or leaves[path].shape != reader.contraction.rhs.shape:
            return none, "the kernel that reads them is not an array of its own"
        units = units & reader.steady()
    for reader in readers:
        first = np.abs(reader.carried()[0])
        needed = np.where(_along_units(units, first), first, 0.0).any(axis=1, keepdims=True)
        size = np.minimum(size, np.where(needed, first, np.inf).min(axis=_but_units(first)))
    if not units.any():
        return none, "what they carry is not the same at all places"
    keeper = int(np.argmax(np.where(units, size, -1.0)))
    if size[keeper] == 0.0:
        return none, "none of them carries something to all that read them"
    for reader in readers:
        path = reader.contraction.name
        first, _ = reader.carried()
        alone = first[:, keeper : keeper + 1]
        share = np.divide(first, alone, out=np.zeros_like(first), where=alone != 0)
        share = np.where(_along_units(units, first), share, 0.0)
        weights = reader.weights(changed.get(path, leaves[path]))
        share = share.reshape(*share.shape, *(1,) * (weights.ndim - share.ndim))
        weights[:, keeper] = (share * weights).sum(axis=1)
        changed[path] = reader.placed(weights)
    units = units.copy()
    units[keeper] = False
    return units, "one carries a constant that no bias takes up"


def _along_units(units: np.ndarray, like: np.ndarray) -> np.ndarray:
    return units.reshape(1, -1, *(1,) * (like.ndim - 2))


def _but_units(array: np.ndarray) -> tuple[int, ...]:
    return (0, *range(2, array.ndim))


def _cut(net: _Net, found: Trace, plan: _Plan) -> _Net:
    """Remove the units from all of their axes."""
    leaves, widths = net.leaves(), {}
    for path, leaf in leaves.items():
        array = np.asarray(plan.leaves.get(path, leaf))
        for place, axis in enumerate(found.axes[path]):
            axis = axis and found.labels.find(axis)
            if axis is None or axis.label not in plan.gone:
                continue
            kept = ~plan.gone[axis.label][None, :, None]
            kept = np.broadcast_to(kept, (axis.outer, kept.size, axis.inner)).reshape(-1)
            array = array.compress(kept, axis=place)
            layer, _, name = path.removeprefix("params/").rpartition("/")
            if name == "kernel" and place == array.ndim - 1:
                widths[layer] = array.shape[-1]
        leaves[path] = jnp.asarray(array, leaf.dtype)
    params, state = net.replaced(leaves)
    if net.used.library != "linen":
        return _Net(net.model, net.used._replace(params=params, model_state=state))
    model = _resized(net.model, widths)
    return _Net(model, in_use(model, net.used.variables(params, state)))


def _resized(module: Any, widths: dict[str, int]) -> Any:
    from aeb.models.resized import Resized  # with flax, which nobody else needs here

    if isinstance(module, Resized):
        module, widths = module.module, {**module.widths, **widths}
    return Resized(module, widths)


def _why_nothing(layers: tuple[Layer, ...]) -> str:
    """Say why there is no unit to remove."""
    whys = [f"{layer.paths[0]}: {layer.why}" for layer in layers if layer.why]
    if not whys:
        return (
            "variables: no layer has a unit whose weights are all zero; prune whole units with "
            "aeb.units, and see that `where` chooses the kernels"
        )
    return f"variables: units are zero, but none can be taken out: {'; '.join(whys)}"


def _check_equal(given: _Net, small: _Net, inputs: Any) -> None:
    """Compare the outputs of two networks."""
    trials = [inputs]
    if all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(inputs)):
        rng = np.random.default_rng(0)
        trials.append(
            jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), inputs)
        )
    given_outputs, small_outputs = jax.jit(given.outputs), jax.jit(small.outputs)
    for trial in trials:
        one = jax.tree.leaves(given_outputs(given.leaves(), trial))
        two = jax.tree.leaves(small_outputs(small.leaves(), trial))
        for left, right in zip(one, two, strict=True):
            wide = np.asarray(left, np.float64)
            error = np.abs(wide - np.asarray(right, np.float64)).max()
            if not error <= 100 * float(jnp.finfo(left.dtype).eps) * max(np.abs(wide).max(), 1e-30):
                raise ValueError(
                    f"model: the smaller network's outputs differ by {error:.2g}, so its code does "
                    "something with the number of units that cannot be seen; leave it as it is"
                )
