# SPDX-License-Identifier: Apache-2.0
"""How the compression runs are set: data and network, the authors' recipe, and ours."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from aeb import guards

__all__ = ["FULL_STEPS", "Released", "Rewound", "Size", "spike_and_slab"]

FULL_STEPS = 50_000
"""Steps of each stage in the authors' code: 1000 epochs of 50."""

SCALES = {0.3: (0.5, 1e-3), 0.5: (0.1, 5e-4), 0.7: (0.1, 5e-5), 0.9: (0.005, 1e-5)}
"""v0 and v1 in the authors' code, by sparsity."""


def spike_and_slab(sparsity: float) -> tuple[float, float]:
    """Give v0 and v1 of the authors' code; those of the nearest sparsity where it has none."""
    return SCALES[min(SCALES, key=lambda known: (abs(known - sparsity), -known))]


@dataclasses.dataclass(frozen=True)
class Size:
    """Data and network; the defaults are the full size."""

    data: Literal["cifar10", "digits"] = "cifar10"
    """Image set; digits ship with the package and serve to try the code."""
    pool: int = 1
    """Pixels a side that are averaged into one."""
    num_images: int = 50_000
    """Training images, drawn once from the training set."""
    num_validation: int = 0
    """Other training images to score instead of the test images, for choosing; 0 scores these."""
    num_test: int = 10_000
    """Test images to score."""
    depth: int = 20
    """Depth of the ResNet, 6n + 2."""
    widths: tuple[int, int, int] = (16, 32, 64)
    """Channels of its three stages."""
    compute: Literal["float32", "bfloat16"] = "bfloat16"
    """What the network computes in while training; parameters and latents are float32."""
    padding: int = 4
    """Pixels of padding before the random crop."""
    flip: bool = True
    """Whether to mirror."""
    erasing: bool = True
    """Whether to erase a rectangle of every second image."""
    batch_size: int = 1000
    """Images of a minibatch."""
    dense_epochs: int = 1000
    """Epochs of dense training."""
    epochs: int = 1000
    """Epochs of each sparse arm."""
    evaluate_every: int = 50
    """Epochs between two looks at the scores; none is chosen by them."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        for name in ("pool", "batch_size", "dense_epochs", "epochs", "evaluate_every", "num_test"):
            guards.whole(name, getattr(self, name), 1)
        guards.whole("num_images", self.num_images, self.batch_size)
        guards.whole("num_validation", self.num_validation, 0)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.num_images // self.batch_size


@dataclasses.dataclass(frozen=True)
class Released:
    """The authors' sparse stage; the defaults are their code's, at 50,000 steps.

    A shorter run keeps what the whole run adds up to: the step size and the squared noise summed
    over steps, the sum of the gains, the ramp and the annealing as functions of the share of the
    run. The likelihood counts as 50,000 images, so that the prior weighs as much beside it. What is
    in proportion to the number of weights stays so.
    """

    step_size: float = 2e-9
    """eps of SGHMC for the loss summed over the images, > 0."""
    num_data: int = 50_000
    """Images that the likelihood counts as."""
    inverse_temperature: float = 1000.0
    """1 / T at the start."""
    anneal: float = 1.005
    """What the A- arms multiply it by after each of 1000 epochs."""
    weight_decay: float = 5e-4
    """L2 penalty per image on what is not sparse, and both kappas of the sparse at the start."""
    gain_coefficient: float = 0.02
    """C in the gain C (A + k)^-alpha."""
    gain_offset: float = 1000.0
    """A, in steps."""
    gain_exponent: float = 0.75
    """alpha."""
    beta: float = 2.7e5 / 267_264
    """a = b of the Beta prior of delta, per sparse weight."""
    nu: float = 1000.0 / 267_264
    """nu of the prior of sigma^2, per sparse weight."""
    lam: float = 1000.0
    """lambda of it."""
    ramp_every: float = 50.0
    """Steps in which a hundredth of what is left of the ramp goes."""
    falls: tuple[float, float] = (0.7, 0.9)
    """Shares of the run at which the step size falls to a tenth."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        for name in ("step_size", "inverse_temperature", "weight_decay", "beta", "nu", "lam"):
            guards.positive(name, getattr(self, name))
        guards.whole("num_data", self.num_data, 1)
        guards.at_least("anneal", self.anneal, 1.0)


@dataclasses.dataclass(frozen=True)
class Rewound:
    """What dense training, the control and our arms share; chosen on validation images.

    The learning rate rises, falls by a cosine, and is rewound for each arm; the sparsity rises by
    a cubic. Arms with cycles split off a last share of their epochs into short cosines, and
    average the predictions of the networks at the end of each.
    """

    learning_rate: float = 0.1
    """Highest learning rate for the mean loss, dense."""
    rewind: float = 0.1
    """Highest learning rate of the arms."""
    warmup: float = 0.05
    """Share of the steps in which it rises."""
    weight_decay: float = 5e-4
    """L2 penalty per image of dense training and of the control."""
    ramp: float = 0.5
    """Share of the steps before the cycles at which the target is reached, or rho cuts first."""
    cycle_share: float = 0.4
    """Share of the epochs that the cycles take."""
    cycles: int = 4
    """Cycles in it, one sample each."""
    cycle_rate: float = 0.5
    """Highest learning rate of a cycle, as a share of `rewind`."""
    refresh: int = 50
    """Minibatches by which BatchNorm statistics of a sample are refreshed."""
    v0: float = 0.01
    """Scale of the spike."""
    v1: float = 0.1
    """Variance of the slab."""
    gain_offset: float = 10.0
    """A in the gain (A + k)^-alpha, in steps."""
    gain_exponent: float = 0.7
    """alpha."""
    a: float = 2.0
    """Both parameters of the Beta prior of delta."""
    temperature: float = 0.1
    """T of the arms with noise; 1 is the posterior."""
    teacher: float = 0.5
    """Weight of the dense network's probabilities beside the labels, in arms with a teacher."""
    softness: float = 2.0
    """What both logits are divided by for it."""
    fall: Literal["linear"] | None = None
    """How the learning rate falls after its rise; None is by a cosine."""
    weight: float | None = None
    """What the prior of our arms counts beside the likelihood, > 0; None is 1."""
    follow_ramp: bool | None = None
    """Whether delta of our arms with a target follows the ramp; None is not."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        for name in ("learning_rate", "rewind", "weight_decay", "v0", "v1", "softness"):
            guards.positive(name, getattr(self, name))
        for name in ("warmup", "ramp", "cycle_share"):
            guards.within(name, getattr(self, name), "(0, 1)")
        guards.within("teacher", self.teacher, "[0, 1]")
        guards.within("cycle_rate", self.cycle_rate, "(0, 1]")
        guards.at_least("temperature", self.temperature, 0.0)
        guards.whole("cycles", self.cycles, 1)
        guards.whole("refresh", self.refresh, 1)
        if self.weight is not None:
            guards.positive("weight", self.weight)

    def cycle_epochs(self, epochs: int) -> int:
        """Tell how many epochs a cycle takes in a run of so many.

        Raises:
            ValueError: it would be shorter than one.
        """
        length = math.floor(self.cycle_share * epochs / self.cycles)
        if length < 1:
            raise ValueError(
                f"cycles: {self.cycles} of them do not fit into {self.cycle_share:g} of {epochs} "
                "epochs; take fewer, or more epochs"
            )
        return length
