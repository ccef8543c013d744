# SPDX-License-Identifier: Apache-2.0
"""A network in use: as it was, with units at zero, and with these taken out by `aeb.shrink`.

The forward pass of one batch, weights and images random. The units are the first ones of each
layer, which makes no difference to a dense product; those of the hidden layers, and of the first
convolution of each residual block. The zeros stay in kernels of full size: what they save is what
the hardware makes of a number that is zero.
"""

import dataclasses
import functools
import re
from typing import Annotated, Any

import jax
import numpy as np
import optax

import aeb
from aeb.tree import named_leaves, replace_leaves
from benchmarks.harness.ranges import Count, within
from benchmarks.speed import nets
from benchmarks.speed.clock import Clock, Section, repeating
from benchmarks.speed.nets import Net

PRUNED = r"(fc\d+|block.*/conv1|^conv\d+)/kernel$"
"""The kernels that lose units."""


@dataclasses.dataclass(frozen=True)
class Shrunk(Section):
    """Units taken out."""

    each = (("nets", "net"),)

    nets: tuple[Net, ...] = ("mnist_cnn", "resnet20")  # the networks, a row each
    share: Annotated[float, within("(0, 1)")] = 0.75  # of the units of a layer, at zero
    batch_size: Count = 100  # images at a time

    def measure(self, clock: Clock, net: str) -> dict[str, Any]:
        module, _ = nets.NETS[net]
        workload = nets.make_workload(net, self.batch_size)
        images, state = workload.batch["image"], dict(workload.model_state or {})
        zeros = _without_units(workload.params, self.share)
        small = aeb.shrink(module, {"params": zeros} | state, images[:2])
        networks = {
            "dense": (module, {"params": workload.params} | state),
            "zeros": (module, {"params": zeros} | state),
            "shrunk": (small.model, small.variables),
        }
        contenders = {
            name: repeating(functools.partial(jax.jit(network.apply), variables, images))
            for name, (network, variables) in networks.items()
        }
        sizes = {
            name: optax.tree.size(variables["params"]) for name, (_, variables) in networks.items()
        }
        return {"weights": sizes, "seconds": clock.race(contenders)}


def _without_units(params: Any, share: float) -> Any:
    """Set the first units of each layer that loses some to zero."""
    pruned = {
        path: np.where(np.arange(leaf.shape[-1]) < round(share * leaf.shape[-1]), 0.0, leaf)
        for path, leaf in named_leaves(params).items()
        if re.search(PRUNED, path)
    }
    return replace_leaves(params, {path: leaf.astype(np.float32) for path, leaf in pruned.items()})
