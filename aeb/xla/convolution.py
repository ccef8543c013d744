# SPDX-License-Identifier: Apache-2.0
"""Convolution whose gradients XLA also runs fast on a CPU.

Write s for the stride, r for the dilation and l for the low padding. A convolution y of images
x[N, U, V, C] has two gradients. With g = dL/dy, and one axis of the image in place of two,

    y[n, a, d] = sum_(i, c) x[n, s a + r i - l, c] w[i, c, d]
    dw[i, c, d] = sum_(n, a) x[n, s a + r i - l, c] g[n, a, d]
    dx[n, b, c] = sum_(i, d) g[n, (b + l - r i) / s, d] w[i, c, d],  if (b + l - r i) / s is whole

So both gradients are convolutions too. dw convolves x by g, and sums over images where y sums over
channels. dx convolves g, with s - 1 zeros between its pixels, by the reversed w.

XLA has one fast convolution for the CPU: images [N, ..., C] by kernels [..., C, D]. JAX writes the
two gradients in other layouts. Outside a loop, XLA rewrites them. In the body of a compiled loop it
does not, and they run far slower. Here they are in the fast layout from the start, which takes
transposes. A loop transposes one row of the images at a time. Otherwise XLA would fuse the
transpose with the operations that made the images, and compute those again with strided reads.

If stride and dilation are 1, dw is a product of two matrices instead. Row b of x meets row
b + l - i of g, and the pixels of a row meet in the same way. With m the padding at the left,

    X[(n, b, q), (j, c)] = x[n, b, q + j - m, c]        k_w C columns
    G[(n, b, q), (i, d)] = g[n, b + l - i, q, d]        k_h D columns

dw[i, j, c, d] is X'G. This costs as much as the convolution if the padding keeps the size of the
image. X is k_w times as large as the images and G is k_h times as large as g. So they are made and
multiplied for a few images at a time, which fit in the cache unless a single image is too large.
The two matrices are reused: the pixels of each block overwrite those of the block before, and the
borders stay zero. So nothing has to be padded, and XLA fuses each copy.

Gain, of the layout: steps of descent by three layers of 3x3 and 16 channels, in a compiled loop
under `compiler_options`, took 11 to 46 times as long with JAX's gradients as with these with jaxlib
0.10, and 126 to 167 times with 0.12 (batch 10 and 50, images of 16x16 and 32x32, two idle cores).
For jaxlib 0.10 to 0.12 on a CPU.

Gain, of X'G: at 3x3 and batch 100 on two cores (AVX2, jaxlib 0.12), with padded images, X'G took
0.7 of the time of the convolution for 16 channels of 32x32, 0.85 for 32 channels of 16x16, and as
long for 64 channels of 8x8. Reusing the matrices has since saved a fifth to a quarter of that
(AVX-512). oneDNN, where it is on, is faster than XLA at y and dx but slower at dw. It takes
convolutions only, so it leaves X'G to XLA. Over several devices the sum would be sent once for each
block, so there dw stays a convolution.

On other backends the convolution is `jax.lax.conv_general_dilated`, gradients included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aeb.precision import working_dtype

__all__ = ["conv_general_dilated"]

BLOCK = 2**20
"""The most bytes that X and G may have together, so that they fit in a cache."""


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Convolve as `jax.lax.conv_general_dilated` does; hand it to `flax.linen.Conv`.

    On a CPU, the gradients of a convolution of images [N, ..., C] by kernels [..., C, D] are
    computed as the module says. `jax.grad` works, to any order, and so does `jax.jvp` of a
    gradient. `jax.jvp` of the network itself does not; use `jax.lax.conv_general_dilated` for it.
    With a dilated input, groups, another layout or another dtype of the result, this is JAX's own
    convolution.

    Args:
        lhs: images x.
        rhs: kernels w, of the dtype of `lhs`.
        window_strides: s, one for each axis of the image.
        padding: (low, high) pixels for each, or "SAME" or "VALID".
        lhs_dilation: the dilation of the input; None is 1.
        rhs_dilation: r, the dilation of the kernel; None is 1.
        dimension_numbers: the layout; None is JAX's own, which is not that of Flax.
        feature_group_count: groups of channels.
        batch_group_count: groups of images.
        precision: as in JAX.
        preferred_element_type: the dtype of the result; None is that of `lhs`.

    Returns:
        y, with the size that JAX gives it.

    Example:
        >>> import flax.linen as nn
        >>> layer = nn.Conv(8, (3, 3), conv_general_dilated=conv_general_dilated)
        >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 5, 5, 3)))
        >>> layer.apply(variables, jnp.ones((2, 5, 5, 3))).shape
        (2, 5, 5, 8)
    """
    image = lhs.ndim - 2
    layout = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    plain = (
        jax.default_backend() == "cpu"
        and layout == _layout(image)
        and all(d == 1 for d in lhs_dilation or ())
        and feature_group_count == batch_group_count == 1
        and preferred_element_type is None
    )
    if not plain:
        return jax.lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
        )
    dilation = tuple(rhs_dilation or (1,) * image)
    if isinstance(padding, str):
        sizes = [r * (k - 1) + 1 for r, k in zip(dilation, rhs.shape, strict=False)]
        padding = jax.lax.padtype_to_pads(lhs.shape[1:-1], sizes, window_strides, padding)
    pairs = tuple((int(low), int(high)) for low, high in padding)
    window = _Window(tuple(window_strides), pairs, dilation, precision)
    return _convolve(window, *_varying_alike(lhs, rhs))


def _varying_alike(*arrays: jax.Array) -> list[jax.Array]:
    """Let arrays differ over the same devices of a shard_map, as their gradients then do."""
    axes = [jax.typeof(a).manual_axis_type.varying for a in arrays]
    missing = [tuple(frozenset().union(*axes) - here) for here in axes]
    return [
        jax.lax.pcast(a, names, to="varying") if names else a
        for a, names in zip(arrays, missing, strict=True)
    ]


class _Window(NamedTuple):
    """How the kernel moves over the image; one entry for each axis of the image."""

    strides: tuple[int, ...]  # s
    padding: tuple[tuple[int, int], ...]  # (low, high)
    dilation: tuple[int, ...]  # r
    precision: Any


def _layout(image: int) -> jax.lax.ConvDimensionNumbers:
    """Return the layout of images [N, ..., C] and kernels [..., C, D] with `image` axes between."""
    axes = tuple(range(1, image + 1))
    images, kernels = (0, image + 1, *axes), (image + 1, image, *(a - 1 for a in axes))
    return jax.lax.ConvDimensionNumbers(images, kernels, images)


def _direct(window: _Window, x: jax.Array, w: jax.Array, **others: Any) -> jax.Array:
    """Convolve in the one layout, with JAX's gradients."""
    return jax.lax.conv_general_dilated(
        x,
        w,
        window.strides,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=_layout(x.ndim - 2),
        precision=window.precision,
        **others,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(window: _Window, x: jax.Array, w: jax.Array) -> jax.Array:
    return _direct(window, x, w)


def _forward(window: _Window, x: jax.Array, w: jax.Array) -> tuple[jax.Array, Any]:
    return _direct(window, x, w), (x, w)


def _backward(window: _Window, kept: Any, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, w = kept
    return _image_gradient(window, x.shape, w, g), _kernel_gradient(window, x, w.shape, g)


_convolve.defvjp(_forward, _backward)


def _image_gradient(
    window: _Window, shape: tuple[int, ...], w: jax.Array, g: jax.Array
) -> jax.Array:
    """Compute dx[N, ..., C]: convolve g, spread by s, with w reversed and its channels swapped."""
    image = w.ndim - 2
    w = jnp.flip(w, range(image)).swapaxes(-1, -2)
    padding = tuple(
        (r * (k - 1) - low, n + low - 1 - s * (a - 1))
        for n, k, a, s, (low, _), r in _axes(window, shape, w.shape, g.shape)
    )
    spread = window._replace(strides=(1,) * image, padding=padding)
    return _direct(spread, g, w, lhs_dilation=window.strides)


def _kernel_gradient(
    window: _Window, x: jax.Array, shape: tuple[int, ...], g: jax.Array
) -> jax.Array:
    """Compute dw[..., C, D]: convolve x by g, spread by s, images for channels; strides are r."""
    image = x.ndim - 2
    single = all(step == 1 for step in (*window.strides, *window.dilation))
    if image == 2 and single and x.size and jax.device_count() == 1:
        return _kernel_gradient_by_rows(window, x, shape, g)
    padding = tuple(
        (low, s * (a - 1) + r * (k - 1) + 1 - n - low)
        for n, k, a, s, (low, _), r in _axes(window, x.shape, shape, g.shape)
    )
    across = _Window(window.dilation, padding, window.strides, window.precision)
    axes = tuple(range(1, image + 1))
    images = _transposed(x, (image + 1, *axes, 0))  # [C, ..., N]
    gradient = _transposed(g, (*axes, 0, image + 1))  # [..., N, D]
    return jnp.moveaxis(_direct(across, images, gradient), 0, image)


def _kernel_gradient_by_rows(
    window: _Window, x: jax.Array, shape: tuple[int, ...], g: jax.Array
) -> jax.Array:
    """dw[k_h, k_w, C, D] as X'G, a block of images at a time."""
    (tall, wide, channels, features), (top, _), (left, _) = shape, *window.padding
    count, height, width = g.shape[0], x.shape[1], g.shape[2]
    columns = (wide * channels, tall * features)
    each = sum(columns) * height * width * x.dtype.itemsize
    fitting = [n for n in range(1, count + 1) if count % n == 0 and n * each <= BLOCK]
    block = max(fitting, default=1)

    def add(number: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        total, left_factor, right_factor = carry
        first = number * block
        for j in range(wide):
            left_factor = _shifted_into(left_factor, x, first, 2, left - j, j * channels)
        for i in range(tall):
            right_factor = _shifted_into(right_factor, g, first, 1, i - top, i * features)
        total += jax.lax.dot_general(
            left_factor.reshape(-1, columns[0]),
            right_factor.reshape(-1, columns[1]),
            (((0,), (0,)), ((), ())),
            precision=window.precision,
            preferred_element_type=total.dtype,
        )
        return total, left_factor, right_factor

    blank = (jnp.zeros((block, height, width, n), x.dtype) for n in columns)
    *start, _, _ = _varying_alike(jnp.zeros(columns, working_dtype(x)), *blank, x, g)
    total, *_ = jax.lax.fori_loop(0, count // block, add, tuple(start))
    ordered = total.reshape(wide, channels, tall, features).transpose(2, 0, 1, 3)
    return ordered.astype(x.dtype)


def _shifted_into(
    factor: jax.Array, images: jax.Array, first: jax.Array, axis: int, by: int, channel: int
) -> jax.Array:
    """Copy a block of images to `channel` of a factor, moved along an axis; the rest stays zero."""
    low = max(0, by)
    high = min(factor.shape[axis], images.shape[axis] + by)
    if high <= low:  # nothing of an image is under this part of the kernel
        return factor
    place = [0, 0, 0, channel]
    place[axis] = low
    start: list[int | jax.Array] = [first, 0, 0, 0]
    start[axis] = low - by
    sizes = [factor.shape[0], *images.shape[1:]]
    sizes[axis] = high - low
    return jax.lax.dynamic_update_slice(factor, jax.lax.dynamic_slice(images, start, sizes), place)


def _axes(
    window: _Window, images: tuple[int, ...], kernels: tuple[int, ...], outputs: tuple[int, ...]
) -> Iterator[tuple[int, int, int, int, tuple[int, int], int]]:
    """Yield, for each axis of the image, its size, that of w and of y, and the window's move."""
    return zip(images[1:-1], kernels[:-2], outputs[1:-1], *window[:3], strict=True)


def _transposed(x: jax.Array, order: tuple[int, ...]) -> jax.Array:
    """Transpose images, one row of them at a time."""

    def row(number: jax.Array, done: jax.Array) -> jax.Array:
        one = jax.lax.dynamic_slice_in_dim(x, number, 1, axis=1).transpose(order)
        return jax.lax.dynamic_update_slice_in_dim(done, one, number, axis=order.index(1))

    return jax.lax.fori_loop(0, x.shape[1], row, jnp.zeros_like(x.transpose(order)))
