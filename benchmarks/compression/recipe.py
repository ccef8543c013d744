# SPDX-License-Identifier: Apache-2.0
"""How the compression runs are set: data and network, the authors' recipe, and ours."""

import dataclasses
import math
from typing import Annotated, Literal

from aeb import guards
from benchmarks.harness import check
from benchmarks.harness.ranges import Count, Positive, at_least, whole, within

FULL_STEPS = 50_000
"""Steps of each stage in the authors' code: 1000 epochs of 50."""

FRICTION = 0.1
"""One minus the momentum of all arms, as in the paper. No row tells it: a row of another friction
needs it among its settings."""

SCALES = {0.3: (0.5, 1e-3), 0.5: (0.1, 5e-4), 0.7: (0.1, 5e-5), 0.9: (0.005, 1e-5)}
"""v0 and v1 in the authors' code, by sparsity."""


def spike_and_slab(sparsity: float) -> tuple[float, float]:
    """Return v0 and v1 of the authors' code; those of the nearest sparsity where it has none."""
    return SCALES[min(SCALES, key=lambda known: (abs(known - sparsity), -known))]


Part = Annotated[float, within("(0, 1)")]


@dataclasses.dataclass(frozen=True)
class Size:
    """Data and network; the defaults are the full size."""

    # Image set; digits ship with the package and serve to try the code.
    data: Literal["cifar10", "digits"] = "cifar10"
    pool: Count = 1  # pixels a side that are averaged into one
    num_images: Count = 50_000  # training images, drawn once from the training set
    # Other training images to score instead of the test images, for choosing; 0 scores these.
    num_validation: Annotated[int, whole(0)] = 0
    num_test: Count = 10_000  # test images to score
    depth: int = 20  # depth of the ResNet, 6n + 2
    widths: tuple[int, int, int] = (16, 32, 64)  # channels of its three stages
    # What the network computes in while training; parameters and latents are float32.
    compute: Literal["float32", "bfloat16"] = "bfloat16"
    padding: int = 4  # pixels of padding before the random crop
    flip: bool = True  # whether to mirror
    erasing: bool = True  # whether to erase a rectangle of every second image
    batch_size: Count = 1000  # images of a minibatch
    dense_epochs: Count = 1000  # epochs of dense training
    epochs: Count = 1000  # epochs of each sparse arm
    evaluate_every: Count = 50  # epochs between two looks at the scores; none is chosen by them

    def check(self) -> None:
        check(self)
        guards.whole("num_images", self.num_images, self.batch_size)

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

    step_size: Positive = 2e-9  # eps of SGHMC for the loss summed over the images
    num_data: Count = 50_000  # images that the likelihood counts as
    inverse_temperature: Positive = 1000.0  # 1 / T at the start
    # What the A- arms multiply it by after each of 1000 epochs.
    anneal: Annotated[float, at_least(1.0)] = 1.005
    # L2 penalty per image on what is not sparse, and both kappas of the sparse at the start.
    weight_decay: Positive = 5e-4
    gain_coefficient: float = 0.02  # C in the gain C (A + k)^-alpha
    gain_offset: float = 1000.0  # A, in steps
    gain_exponent: float = 0.75  # alpha
    beta: Positive = 2.7e5 / 267_264  # a = b of the Beta prior of delta, per sparse weight
    nu: Positive = 1000.0 / 267_264  # nu of the prior of sigma^2, per sparse weight
    lam: Positive = 1000.0  # lambda of it
    ramp_every: float = 50.0  # steps in which a hundredth of what is left of the ramp goes
    # Shares of the run at which the step size falls to a tenth.
    falls: tuple[float, float] = (0.7, 0.9)


@dataclasses.dataclass(frozen=True)
class Rewound:
    """What dense training, the control and our arms share; chosen on validation images.

    The learning rate rises, falls by a cosine, and is rewound for each arm; the sparsity rises by
    a cubic. Arms with cycles split off a last share of their epochs into short cosines, and
    average the predictions of the networks at the end of each.
    """

    learning_rate: Positive = 0.1  # highest learning rate for the mean loss, dense
    rewind: Positive = 0.1  # highest learning rate of the arms
    warmup: Part = 0.05  # share of the steps in which it rises
    weight_decay: Positive = 5e-4  # L2 penalty per image of dense training and of the control
    # Share of the steps before the cycles at which the target is reached, or rho cuts first.
    ramp: Part = 0.5
    cycle_share: Part = 0.4  # share of the epochs that the cycles take
    cycles: Count = 4  # cycles in it, one sample each
    # Highest learning rate of a cycle, as a share of `rewind`.
    cycle_rate: Annotated[float, within("(0, 1]")] = 0.5
    refresh: Count = 50  # minibatches by which BatchNorm statistics of a sample are refreshed
    v0: Positive = 0.01  # scale of the spike
    v1: Positive = 0.1  # variance of the slab
    gain_offset: float = 10.0  # A in the gain (A + k)^-alpha, in steps
    gain_exponent: float = 0.7  # alpha
    a: float = 2.0  # both parameters of the Beta prior of delta
    # T of the arms with noise; 1 is the posterior.
    temperature: Annotated[float, at_least(0.0)] = 0.1
    # Weight of the dense network's probabilities beside the labels, in arms with a teacher.
    teacher: Annotated[float, within("[0, 1]")] = 0.5
    softness: Positive = 2.0  # what both logits are divided by for it
    # How the learning rate falls after its rise; None is by a cosine.
    fall: Literal["linear"] | None = None
    # What the prior of our arms counts beside the likelihood; None is 1.
    weight: Positive | None = None
    # Whether delta of our arms with a target follows the ramp; None is not.
    follow_ramp: bool | None = None

    def cycle_epochs(self, epochs: int) -> int:
        """Return how many epochs a cycle takes in a run of so many.

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
