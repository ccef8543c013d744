# SPDX-License-Identifier: Apache-2.0
"""The convolutions of a training step, alone: ours and PyTorch's.

A contender does one kind of them for all layers of a network, layer by layer: the outputs, the
gradients of the images (the first layer needs none), or those of the kernels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb.models import conv_general_dilated
from benchmarks.speed.clock import Contender, repeating
from benchmarks.speed.nets import NETS

__all__ = ["KINDS", "Layer", "contenders", "layers", "ours", "peers"]

KINDS = ("outputs", "image_gradients", "kernel_gradients")

LAYOUT = ("NHWC", "HWIO", "NHWC")


class Layer(NamedTuple):
    """One convolution; the padding is the same at both sides."""

    images: tuple[int, ...]  # [B, H, W, C]
    kernel: tuple[int, ...]  # [h, w, C, D]
    strides: tuple[int, ...]
    padding: tuple[int, ...]

    def convolve(self, x: Any, w: Any) -> jax.Array:
        pairs = [(side, side) for side in self.padding]
        return conv_general_dilated(x, w, self.strides, pairs, dimension_numbers=LAYOUT)

    def arrays(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Draw images, a kernel, and a gradient of the output."""
        keys = jax.random.split(jax.random.key(sum(self.kernel)), 3)
        x, w = (
            jax.random.normal(key, shape, jnp.float32)
            for key, shape in zip(keys, (self.images, self.kernel), strict=False)
        )
        return x, w, jax.random.normal(keys[2], jax.eval_shape(self.convolve, x, w).shape, x.dtype)


def layers(net: str, batch_size: int) -> list[Layer]:
    """List the convolutions of a network of `nets`, in the order in which it does them."""
    module, shape = NETS[net]
    found = []

    def record(x: Any, w: Any, strides: Any, padding: Any, **others: Any) -> jax.Array:
        pairs = padding
        if isinstance(padding, str):
            pairs = jax.lax.padtype_to_pads(x.shape[1:-1], w.shape[:-2], strides, padding)
        if any(low != high for low, high in pairs):
            raise ValueError(f"net: {net} pads the two sides unequally, which PyTorch does not")
        found.append(Layer(x.shape, w.shape, tuple(strides), tuple(low for low, _ in pairs)))
        return conv_general_dilated(x, w, strides, padding, **others)

    images = jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32)
    hooked = module.clone(conv_general_dilated=record)
    jax.eval_shape(hooked.init, jax.random.key(0), images)
    return found


def ours(layer: Layer) -> dict[str, Callable[[], Any]]:
    """Compile the three of them, as `aeb.sample` compiles a step."""
    x, w, g = layer.arrays()

    def image_gradient(x: jax.Array, w: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(lambda images: layer.convolve(images, w), x)[1](g)[0]

    def kernel_gradient(x: jax.Array, w: jax.Array, g: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: layer.convolve(x, kernel), w)[1](g)[0]

    def run(work: Callable[..., jax.Array]) -> Callable[[], Any]:
        program = jax.jit(work, compiler_options=aeb.compiler_options())
        return lambda: jax.block_until_ready(program(x, w, g))

    outputs = run(lambda x, w, g: layer.convolve(x, w))
    return dict(zip(KINDS, (outputs, run(image_gradient), run(kernel_gradient)), strict=True))


def peers(layer: Layer) -> dict[str, Callable[[], Any]]:
    """Make the three of them by PyTorch, in its own layout; the results are in it too."""
    import torch

    x, w, g = (
        torch.tensor(np.asarray(array).transpose(order)).contiguous()
        for array, order in zip(
            layer.arrays(), ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)), strict=True
        )
    )
    strides, padding = list(layer.strides), list(layer.padding)

    def gradient(wanted: int) -> Callable[[], Any]:
        mask = [place == wanted for place in range(3)]
        return lambda: torch.ops.aten.convolution_backward(
            g, x, w, None, strides, padding, [1, 1], False, [0, 0], 1, mask
        )[wanted]

    def outputs() -> Any:
        return torch.nn.functional.conv2d(x, w, None, strides, padding)

    return dict(zip(KINDS, (outputs, gradient(0), gradient(1)), strict=True))


def contenders(net: str, batch_size: int, steps: int) -> dict[str, Contender]:
    """Make one for each kind, ours and PyTorch's; one piece of work is that of so many steps."""
    found = layers(net, batch_size)

    def together(make: Callable[[Layer], dict[str, Callable[[], Any]]], kind: str) -> Contender:
        first = 1 if kind == "image_gradients" else 0
        works = [make(layer)[kind] for layer in found[first:]]

        def step() -> Any:
            return [work() for work in works]

        return repeating(step, steps)

    return {
        f"{name}{kind}": together(make, kind)
        for kind in KINDS
        for name, make in (("", ours), ("torch_", peers))
    }
