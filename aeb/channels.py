# SPDX-License-Identifier: Apache-2.0
"""Follow channels through a network, to find which axes of which weights must be cut together.

A network is read as the list of primitive operations that JAX traces. Every axis of every array has
a label, and operations join labels:

    y = x W            the rows of W have the label of x's channels; W's columns label y's
    x + b, relu(x)     elementwise: all operands share their labels
    [H, W, C] -> HWC   a row is (place, channel): the label of C, with an outer factor H W

The result is sets of axes, of kernels, biases and moments, that share the same channels. A label is
pinned where no channel can be removed: at inputs and outputs, at constants, and at any operation
that may not treat each channel by itself, such as a sort or a mean over channels.

A channel whose incoming weights are all zero carries a constant. Unless its label is pinned,
elementwise operations combine it only with weights and with arrays of the same label.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

__all__ = ["Axis", "Contraction", "Labels", "Trace", "trace"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ELEMENTWISE = _words(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp copy copy_p "
    "convert_element_type cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1 floor ge gt "
    "integer_pow is_finite le lgamma log log1p logistic lt max min mul ne neg nextafter not "
    "optimization_barrier or pow real_part reduce_precision rem round rsqrt select_n sign sin "
    "sinh sqrt square stop_gradient sub tan tanh xor"
)
"""Primitives with one result that treat each entry by itself."""

CALLS = _words(
    "pjit jit closed_call core_call custom_jvp_call custom_vjp_call custom_vjp_call_jaxpr remat "
    "remat2 checkpoint"
)
"""Primitives that call a function. The primitives of that function are read instead."""

REDUCTIONS = _words("reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or")

WINDOWS = _words("reduce_window reduce_window_sum reduce_window_max reduce_window_min")

RENAMES = _words("convert_element_type copy copy_p optimization_barrier")
"""Elementwise primitives that do not change the values."""


CONSTANT = "a constant of the code has their number"
"""Why a label is pinned."""


class Axis(NamedTuple):
    """The structure of the indices of an axis: (outer, channel, inner), the last one fastest."""

    label: int
    outer: int = 1
    inner: int = 1


class Labels:
    """Sets of axes. Operations that show that two axes belong together join their sets."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._parents: list[Axis | None] = []
        self._pins: list[str | None] = []

    def new(self, size: int, pin: str | None = None) -> Axis | None:
        """Make a label, or return None for an axis with one entry, which needs none."""
        if size == 1:
            return None
        self.sizes.append(size)
        self._parents.append(None)
        self._pins.append(pin)
        return Axis(len(self.sizes) - 1)

    def find(self, axis: Axis) -> Axis:
        """Return an axis in terms of the channels of its set."""
        parent = self._parents[axis.label]
        while parent is not None:
            axis = Axis(parent.label, axis.outer * parent.outer, parent.inner * axis.inner)
            parent = self._parents[axis.label]
        return axis

    def pinned(self, axis: Axis) -> str | None:
        """Return why no channel can be removed; None if channels can be removed."""
        return self._pins[self.find(axis).label]

    def pin(self, axis: Axis | None, why: str) -> None:
        """Forbid removing channels of an axis."""
        if axis is not None and self.pinned(axis) is None:
            self._pins[self.find(axis).label] = why

    def join(self, one: Axis | None, two: Axis | None) -> Axis | None:
        """Join two axes that have the same channels."""
        if one is None or two is None:
            return one or two
        one, two = self.find(one), self.find(two)
        if one == two:
            return one
        alike = one[1:] == two[1:]
        if one.label == two.label or not (alike or one[1:] == (1, 1) or two[1:] == (1, 1)):
            for axis in (one, two):
                self.pin(axis, "its channels are read in two ways that do not fit")
            return one
        if not alike and two[1:] == (1, 1):
            one, two = two, one
        # `one` becomes part of `two`.
        why = self._pins[one.label]
        self._parents[one.label] = Axis(two.label) if alike else two
        if why is not None:
            self.pin(two, why)
        return two


@dataclasses.dataclass(eq=False)
class Contraction:
    """A matrix product or convolution of an array that depends on the input with weights.

    Attributes:
        name: the path of the weights, or a substitute for it.
        lhs: the array that depends on the input.
        rhs: the weights.
        axes: the axes of the weights.
        pairs: the axes in lhs and rhs that are summed over.
        window: the axes in rhs that are summed over by a sliding window.
        padded: whether the sums include padded zeros.
        uses: how often the result is used.
        absorber: the path of weights that are added to the result, and the sign; None if there are
            none.
    """

    name: str
    lhs: Any
    rhs: Any
    axes: tuple[Axis | None, ...]
    pairs: list[tuple[int, int]]
    window: tuple[int, ...]
    padded: bool
    uses: int = 0
    absorber: tuple[str, float] | None = None

    def produced(self) -> list[int]:
        """List the axes of rhs whose channels are those of the result."""
        summed = {right for _, right in self.pairs} | set(self.window)
        return [place for place in range(len(self.axes)) if place not in summed]


class _Value(NamedTuple):
    """An intermediate array."""

    array: Any
    axes: tuple[Axis | None, ...]  # None where the entries are equal along the axis
    dynamic: bool  # whether it depends on the input
    contraction: Contraction | None = None  # the contraction that it is the result of
    leaf: str | None = None  # the path of weights, if it is these weights broadcast or reshaped


class Trace(NamedTuple):
    """The structure of a network.

    Attributes:
        labels: the sets of axes.
        axes: the axes of each leaf, by path.
        contractions: the contractions in the order in which they run, with NumPy arrays.
        leaf_uses: how often each leaf is used.
    """

    labels: Labels
    axes: dict[str, tuple[Axis | None, ...]]
    contractions: list[Contraction]
    leaf_uses: Counter[str]


def trace(
    function: Callable[[dict[str, Any], Any], Any], leaves: dict[str, jax.Array], inputs: Any
) -> Trace:
    """Find which axes of the weights belong together.

    Args:
        function: `(leaves, inputs) -> outputs`, such as a network in evaluation mode.
        leaves: the weights by path.
        inputs: a few rows.

    Returns:
        A `Trace`.

    Example:
        >>> import jax.numpy as jnp
        >>> leaves = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}
        >>> found = trace(lambda w, x: jnp.tanh(x @ w["a"]) @ w["b"], leaves, jnp.ones((5, 3)))
        >>> found.labels.find(found.axes["a"][1]) == found.labels.find(found.axes["b"][0])
        True
        >>> found.labels.pinned(found.axes["b"][1])
        'they are outputs'
    """
    closed = jax.make_jaxpr(function)(leaves, inputs)
    reader = _Reader()
    axes = {
        path: tuple(reader.labels.new(size) for size in leaf.shape) for path, leaf in leaves.items()
    }

    def run(leaves: dict[str, Any], inputs: Any) -> list[tuple[Any, Any]]:
        weights = {
            path: _Value(leaf, axes[path], dynamic=False, leaf=path)
            for path, leaf in leaves.items()
        }
        given = [
            reader.fresh(leaf, "they are inputs", dynamic=True) for leaf in jax.tree.leaves(inputs)
        ]
        # In the order in which make_jaxpr flattens its arguments.
        arguments = [*jax.tree.leaves(weights, is_leaf=lambda x: isinstance(x, _Value)), *given]
        for output in reader.run(closed.jaxpr, closed.consts, arguments):
            reader.use(output)
            for axis in output.axes:
                reader.labels.pin(axis, "they are outputs")
        return [(each.lhs, each.rhs) for each in reader.contractions]

    arrays = jax.device_get(jax.jit(run)(leaves, inputs))
    for contraction, (lhs, rhs) in zip(reader.contractions, arrays, strict=True):
        contraction.lhs, contraction.rhs = lhs, rhs
    return Trace(reader.labels, axes, reader.contractions, reader.leaf_uses)


class _Reader:
    """Runs the operations, and records how they join labels."""

    def __init__(self) -> None:
        self.labels = Labels()
        self.contractions: list[Contraction] = []
        self.leaf_uses: Counter[str] = Counter()

    def fresh(self, array: Any, pin: str, *, dynamic: bool) -> _Value:
        """Label an array from which no channel can be removed."""
        return _Value(array, tuple(self.labels.new(n, pin) for n in np.shape(array)), dynamic)

    def use(self, value: _Value) -> None:
        """Record that a value is used."""
        if value.contraction is not None:
            value.contraction.uses += 1
        if value.leaf is not None:
            self.leaf_uses[value.leaf] += 1

    def run(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[_Value]) -> list[_Value]:
        """Run a list of operations."""
        from jax.extend.core import Literal  # takes a tenth of a second, and only this needs it

        known = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, const in zip(jaxpr.constvars, consts, strict=True):
            known[variable] = self._constant(const)

        def read(atom: Any) -> _Value:
            return self._constant(atom.val) if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            outputs = self._step(equation, [read(atom) for atom in equation.invars])
            known.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _constant(self, array: Any) -> _Value:
        if isinstance(array, _Value):
            return array
        return self.fresh(array, CONSTANT, dynamic=False)

    def _step(self, equation: Any, inputs: list[_Value]) -> list[_Value]:
        name = equation.primitive.name
        if name in CALLS:
            inner = next(
                equation.params[key]
                for key in ("jaxpr", "call_jaxpr", "fun_jaxpr")
                if key in equation.params
            )
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
        options = equation.primitive.get_bind_params(equation.params)
        outputs = equation.primitive.bind(*(each.array for each in inputs), **options)
        arrays = outputs if equation.primitive.multiple_results else [outputs]
        value = None
        if len(arrays) == 1:
            value = self._read(name, equation.params, inputs, arrays[0])
        if value is not None:
            return [value]
        for each in inputs:
            self.use(each)
            for axis in each.axes:
                self.labels.pin(axis, f"they go into {name!r}, which may mix them")
        dynamic = any(each.dynamic for each in inputs)
        return [self.fresh(each, f"they come from {name!r}", dynamic=dynamic) for each in arrays]

    def _read(
        self, name: str, options: dict[str, Any], inputs: list[_Value], array: Any
    ) -> _Value | None:
        """Label the result of an operation. Return None if the operation is unknown."""
        if name in ("dot_general", "conv_general_dilated"):
            one, two = inputs
            contract = self._multiplied if name == "dot_general" else self._convolved
            return contract(options, one, two, array)
        axes = self._axes_of(name, options, inputs, array.shape)
        return None if axes is None else self._kept(name, inputs, array, axes)

    def _kept(
        self, name: str, inputs: list[_Value], array: Any, axes: tuple[Axis | None, ...]
    ) -> _Value:
        """Make the result, and record where it comes from."""
        first = inputs[0] if inputs else None
        dynamic = any(value.dynamic for value in inputs)
        renames = name in RENAMES or name in ("reshape", "broadcast_in_dim", "squeeze")
        if first is not None and len(inputs) == 1 and renames:
            if first.leaf is not None:
                return _Value(array, axes, dynamic, leaf=first.leaf)
            if first.contraction is not None and name in RENAMES:
                return _Value(array, axes, dynamic, contraction=first.contraction)
        for value in inputs:
            self.use(value)
        if name in ("add", "add_any", "sub"):
            self._note_absorber(name, *inputs)
        return _Value(array, axes, dynamic)

    def _note_absorber(self, name: str, one: _Value, two: _Value) -> None:
        if name != "sub" and two.contraction is not None:
            one, two = two, one
        if one.contraction is None or two.leaf is None or one.contraction.absorber is not None:
            return
        one.contraction.absorber = (two.leaf, -1.0 if name == "sub" else 1.0)

    def _axes_of(
        self, name: str, options: dict[str, Any], inputs: list[_Value], shape: Sequence[int]
    ) -> tuple[Axis | None, ...] | None:
        """Label the axes of a result other than a contraction; None for an unknown operation."""
        if name in ELEMENTWISE:
            return self._joined(inputs, shape)
        if not inputs:  # iota and such
            return tuple(self.labels.new(n, CONSTANT) for n in shape)
        value = inputs[0]
        if name == "broadcast_in_dim":
            axes: list[Axis | None] = [None] * len(shape)
            for place, axis in zip(options["broadcast_dimensions"], value.axes, strict=True):
                axes[place] = axis
            return tuple(axes)
        if name == "transpose":
            return tuple(value.axes[place] for place in options["permutation"])
        if name == "squeeze":
            gone = {place % len(value.axes) for place in options["dimensions"]}
            return tuple(axis for place, axis in enumerate(value.axes) if place not in gone)
        if name == "reshape" and options["dimensions"] is None:
            return self._reshaped(value, shape)
        if name in REDUCTIONS:
            for place in options["axes"]:
                self.labels.pin(value.axes[place], f"{name!r} goes over them")
            kept = [place for place in range(len(value.axes)) if place not in options["axes"]]
            return tuple(value.axes[place] for place in kept)
        if name in ("slice", "pad", "rev") or name in WINDOWS:
            return self._windowed(name, options, value, shape)
        if name == "concatenate":
            place = options["dimension"]
            for each in inputs:
                self.labels.pin(each.axes[place], "they are put beside others")
            others = [each._replace(axes=_without(each.axes, place)) for each in inputs]
            axes = list(self._joined(others, _without(shape, place)))
            new = self.labels.new(shape[place], "others are put beside them")
            return (*axes[:place], new, *axes[place:])
        return None

    def _joined(self, values: list[_Value], shape: Sequence[int]) -> tuple[Axis | None, ...]:
        """Join the labels of operands that are combined entry by entry."""
        axes: list[Axis | None] = []
        for place in range(len(shape)):
            axis = None
            for value in values:
                if len(value.axes) == len(shape):
                    axis = self.labels.join(axis, value.axes[place])
            for value in values:
                has = len(value.axes) == len(shape) and value.axes[place] is not None
                if value.dynamic and not has:
                    self.labels.pin(
                        axis, "they are combined with one number that depends on inputs"
                    )
            axes.append(axis)
        return tuple(axes)

    def _reshaped(self, value: _Value, shape: Sequence[int]) -> tuple[Axis | None, ...]:
        """Express merged axes as (outer, channel, inner). Pin other axes that change."""
        old = [(n, axis) for n, axis in zip(value.array.shape, value.axes, strict=True) if n > 1]
        new = [n for n in shape if n > 1]
        found: list[Axis | None] = []
        while old or new:
            left, right = [old.pop(0)] if old else [], [new.pop(0)] if new else []
            sizes = math.prod(n for n, _ in left), math.prod(right)
            while sizes[0] != sizes[1]:
                if sizes[0] < sizes[1]:
                    left.append(old.pop(0))
                else:
                    right.append(new.pop(0))
                sizes = math.prod(n for n, _ in left), math.prod(right)
            found += self._merged(left, right)
        pending = iter(found)
        return tuple(next(pending) if n > 1 else None for n in shape)

    def _merged(self, left: list[tuple[int, Axis | None]], right: list[int]) -> list[Axis | None]:
        """Label a group of axes that has the same entries as another group."""
        if len(left) == len(right) == 1:
            return [left[0][1]]
        if all(axis is None for _, axis in left):
            return [None] * len(right)
        free = [
            (place, self.labels.find(axis))
            for place, (_, axis) in enumerate(left)
            if axis is not None and self.labels.pinned(axis) is None
        ]
        if len(free) == 1 and len(right) == 1:
            ((place, axis),) = free
            outer = math.prod(n for n, _ in left[:place])
            inner = math.prod(n for n, _ in left[place + 1 :])
            return [Axis(axis.label, outer * axis.outer, axis.inner * inner)]
        for _, axis in free:
            self.labels.pin(axis, "a reshape splits or mixes them")
        return [self.labels.new(n, "a reshape splits or mixes them") for n in right]

    def _windowed(
        self, name: str, options: dict[str, Any], value: _Value, shape: Sequence[int]
    ) -> tuple[Axis | None, ...]:
        """Keep the labels of axes that an operation does not change, and pin the others."""
        rank = len(shape)
        if name == "rev":
            changed = [place in options["dimensions"] for place in range(rank)]
        elif name == "pad":
            changed = [tuple(each) != (0, 0, 0) for each in options["padding_config"]]
        elif name == "slice":
            strides = options["strides"] or (1,) * rank
            changed = [
                shape[place] != value.array.shape[place] or strides[place] != 1
                for place in range(rank)
            ]
        else:
            changed = [n != 1 for n in options["window_dimensions"]]
            for place in range(rank):
                changed[place] |= shape[place] != value.array.shape[place]
        axes = []
        for place, axis in enumerate(value.axes):
            if changed[place]:
                self.labels.pin(axis, f"{name!r} goes over them")
                axis = self.labels.new(shape[place], f"they come from {name!r}")
            axes.append(axis)
        return tuple(axes)

    def _multiplied(
        self, options: dict[str, Any], one: _Value, two: _Value, array: Any
    ) -> _Value | None:
        (summed_one, summed_two), (batch, _) = options["dimension_numbers"]
        if batch or one.dynamic == two.dynamic:
            return None
        axes = [axis for place, axis in enumerate(one.axes) if place not in summed_one]
        axes += [axis for place, axis in enumerate(two.axes) if place not in summed_two]
        pairs = list(zip(summed_one, summed_two, strict=True))
        if two.dynamic:
            one, two = two, one
            pairs = [(right, left) for left, right in pairs]
        return _Value(array, tuple(axes), True, self._record(one, two, pairs))

    def _convolved(
        self, options: dict[str, Any], one: _Value, two: _Value, array: Any
    ) -> _Value | None:
        layout = options["dimension_numbers"]
        if options["batch_group_count"] != 1 or two.dynamic or not one.dynamic:
            return None
        places = "they are places in an image, or rows"
        for place in (layout.lhs_spec[0], *layout.lhs_spec[2:]):
            self.labels.pin(one.axes[place], places)
        for place in layout.rhs_spec[2:]:
            self.labels.pin(two.axes[place], places)
        spread = any(n != 1 for n in options["lhs_dilation"])
        padded = spread or any(side != 0 for pair in options["padding"] for side in pair)
        pairs, window = [(layout.lhs_spec[1], layout.rhs_spec[1])], layout.rhs_spec[2:]
        if options["feature_group_count"] != 1:
            # A channel belongs to its group, and all groups must keep the same size.
            self.labels.pin(one.axes[layout.lhs_spec[1]], "they go into a convolution with groups")
            self.labels.pin(two.axes[layout.rhs_spec[1]], places)
            made = "a convolution with groups makes them"
            self.labels.pin(two.axes[layout.rhs_spec[0]], made)
            pairs, window = [], layout.rhs_spec[1:]
        contraction = self._record(one, two, pairs, window, padded)
        axes = [self.labels.new(n, places) for n in array.shape]
        axes[layout.out_spec[1]] = two.axes[layout.rhs_spec[0]]
        return _Value(array, tuple(axes), True, contraction)

    def _record(
        self,
        one: _Value,
        two: _Value,
        pairs: list[tuple[int, int]],
        window: Sequence[int] = (),
        padded: bool = False,
    ) -> Contraction:
        """Record a contraction of `one` with the weights `two`."""
        self.use(one)
        self.use(two)
        for left, right in pairs:
            self.labels.join(one.axes[left], two.axes[right])
        contraction = Contraction(
            two.leaf or f"weights of product {len(self.contractions)}",
            one.array,
            two.array,
            two.axes,
            pairs,
            tuple(window),
            padded,
        )
        self.contractions.append(contraction)
        return contraction


def _without(items: Sequence[Any], place: int) -> tuple[Any, ...]:
    return (*items[:place], *items[place + 1 :])
