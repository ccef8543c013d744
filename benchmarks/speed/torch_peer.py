# SPDX-License-Identifier: Apache-2.0
"""Our training step over PyTorch's, on the same network, batch and cores; and its convolutions.

`torch_sgd` and `torch_sampler` are those of `torch_nets`, eager; `sgd` and `ours` those of
`nets`, compiled and dispatched one by one; `sample` is `ours` as `aeb.sample` runs it, and its
time includes what a call of that does once. PyTorch gets as many threads as this process has cores.

Beside them, the convolutions of a step alone, ours and PyTorch's. A contender does one kind of them
for all layers of a network, layer by layer: the outputs, the gradients of the images (the first
layer needs none), or those of the kernels.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import aeb
from aeb.models import conv_general_dilated
from benchmarks.harness.ranges import Count, one_of
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Contender, Section, compiled, repeating, stepping

KINDS = ("outputs", "image_gradients", "kernel_gradients")

LAYOUT = ("NHWC", "HWIO", "NHWC")

Known = Annotated[str, one_of("mnist_cnn", "resnet20", "small_cnn", "small_resnet")]


@dataclasses.dataclass(frozen=True)
class Torch(Section):
    """PyTorch's step."""

    each, needs = (("nets", "net"), ("steps", "steps")), "torch"

    nets: tuple[Known, ...] = ("mnist_cnn", "resnet20")  # networks, a row each
    # Steps in one timing, for each network; of `sample`, in one call.
    steps: tuple[Count, ...] = (32, 4)
    batch_size: Count = 100  # images a step

    def measure(self, clock: Clock, net: str, steps: int) -> dict[str, Any]:
        import torch

        from benchmarks.speed import torch_nets

        batch_size = self.batch_size
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        workload, key = nets.make_workload(net, batch_size), jax.random.key(1)
        image = np.asarray(workload.batch["image"]).transpose(0, 3, 1, 2)
        batch = (torch.tensor(image), torch.tensor(np.asarray(workload.batch["label"])).long())
        peers = [torch_nets.make_net(net) for _ in range(2)]
        sizes = {sum(p.numel() for p in peer.parameters()) for peer in peers}
        if sizes != {workload.size}:
            raise ValueError(f"nets: PyTorch's {net} has {sizes} parameters, ours {workload.size}")

        def racing(step: Any, start: Any) -> Contender:
            return stepping(compiled(step), start, workload.batch, key, times=steps)

        by_sgd = torch_nets.sgd(peers[0], batch, nets.RATE)
        by_sampler = torch_nets.sampler(peers[1], batch, nets.RATE, nets.NUM_DATA)
        sample = nets.sampling(workload, workload.batch, key, steps=steps, batch_size=batch_size)
        contenders = {
            "torch_sgd": repeating(by_sgd, steps),
            "torch_sampler": repeating(by_sampler, steps),
            "sgd": racing(*nets.sgd(workload)),
            "ours": racing(*nets.ours(workload)),
            "sample": sample,
            **_convolutions(net, batch_size, steps),
        }
        return {
            "weights": workload.size,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "seconds": clock.race(contenders, per=steps),
        }


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
    module, shape = nets.NETS[net]
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

    def gradient(wanted: int) -> Callable[..., jax.Array]:
        return lambda x, w, g: jax.vjp(layer.convolve, x, w)[1](g)[wanted]

    def run(work: Callable[..., jax.Array]) -> Callable[[], Any]:
        program = jax.jit(work, compiler_options=aeb.compiler_options())
        return lambda: jax.block_until_ready(program(x, w, g))

    works = (lambda x, w, g: layer.convolve(x, w), gradient(0), gradient(1))
    return dict(zip(KINDS, map(run, works), strict=True))


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


def _convolutions(net: str, batch_size: int, steps: int) -> dict[str, Contender]:
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
