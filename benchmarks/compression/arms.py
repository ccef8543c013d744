# SPDX-License-Identifier: Apache-2.0
"""The arms: what each is, and the stage that runs it."""

from typing import Annotated, Any, NamedTuple

import jax.numpy as jnp

import aeb
from aeb.comparison.arms import momentum_sgd
from aeb.types import ArrayTree, Kernel, LossFn, ScalarOrSchedule, Schedule, Sparsifier
from benchmarks.compression.network import Setup
from benchmarks.compression.recipe import FRICTION, Released, Rewound, Size
from benchmarks.compression.released import released_algorithm
from benchmarks.harness.ranges import one_of


class Arm(NamedTuple):
    """What tells one arm from another."""

    label: str
    kind: str  # "dense"; "released", "control" or "aeb": whose prior and steps
    gain: str = "falling"  # "zero", "one" or "falling"; released arms
    anneal: bool = False  # whether the temperature falls; released arms
    score: str = "magnitude"  # what is pruned by: "magnitude", "rho", "fisher", "learned"
    scope: str = "global"
    regrow: bool = True  # whether a pruned weight may return
    noise: bool = False  # whether T > 0; our arms
    # Whether the prior takes its widths from each leaf, and its weight from the number of images
    # and of weights, as `aeb.spike_slab()` does, with the weight decay of the control; our arms.
    scaled: bool = False
    cycles: bool = False  # whether samples are averaged
    taught: bool = False  # whether by the dense network too


ARMS: dict[str, Arm] = {
    "dense": Arm("dense", "dense"),
    "a_sghmc": Arm("A-SGHMC", "released", gain="zero", anneal=True),
    "a_sghmc_em": Arm("A-SGHMC-EM", "released", gain="one", anneal=True),
    "sghmc_sa": Arm("SGHMC-SA", "released"),
    "a_sghmc_sa": Arm("A-SGHMC-SA", "released", anneal=True),
    "control": Arm("control", "control"),
    "control_leaf": Arm("control, per layer", "control", scope="leaf"),
    "control_relative": Arm("control, relative", "control", scope="relative"),
    "control_frozen": Arm("control, frozen", "control", regrow=False),
    "control_fisher": Arm("control, frozen, by Fisher", "control", score="fisher", regrow=False),
    "control_frozen_taught": Arm("control, frozen, taught", "control", regrow=False, taught=True),
    "control_cycles": Arm("control, cycles", "control", cycles=True),
    "control_taught": Arm("control, cycles, taught", "control", cycles=True, taught=True),
    "aeb": Arm("aeb", "aeb"),
    "aeb_noise": Arm("aeb, noise", "aeb", noise=True),
    "aeb_rho": Arm("aeb, by rho", "aeb", score="rho"),
    "aeb_relative": Arm("aeb, relative", "aeb", scope="relative"),
    "aeb_scaled": Arm("aeb, scaled", "aeb", scaled=True),
    "aeb_frozen": Arm("aeb, scaled, frozen", "aeb", scaled=True, regrow=False),
    "aeb_fisher": Arm(
        "aeb, scaled, frozen, by Fisher", "aeb", score="fisher", scaled=True, regrow=False
    ),
    "aeb_fisher_taught": Arm(
        "aeb, scaled, frozen, by Fisher, taught",
        "aeb",
        score="fisher",
        scaled=True,
        regrow=False,
        taught=True,
    ),
    "aeb_learned": Arm("aeb, no target", "aeb", score="learned"),
    "aeb_cycles": Arm("aeb, noise, cycles", "aeb", noise=True, cycles=True),
    "aeb_taught": Arm("aeb, noise, cycles, taught", "aeb", noise=True, cycles=True, taught=True),
}

ArmName = Annotated[str, one_of(*ARMS)]


class Stage(NamedTuple):
    """One way to train, compiled once and used for every seed.

    Attributes:
        algorithm: the sampler.
        kernel: one step of it.
        loss_fn: what it descends.
        step_size: eps by step.
        temperature: T, by step or constant.
        epochs: of the run.
        samples: epochs after which a sample is taken; () takes none.
        cut: step at which rho cuts first; None where it does not.
    """

    algorithm: aeb.Algorithm
    kernel: Kernel
    loss_fn: LossFn
    step_size: Schedule
    temperature: ScalarOrSchedule
    epochs: int
    samples: tuple[int, ...]
    cut: int | None


def make_stage(
    setup: Setup,
    size: Size,
    released: Released,
    rewound: Rewound,
    arm: ArmName,
    sparsity: float | None,
    params: ArrayTree,
) -> Stage:
    """Put an arm together; the parameters are for their shapes."""
    how = ARMS[arm]
    epochs = size.dense_epochs if how.kind == "dense" else size.epochs
    loss_fn = setup.taught(rewound.teacher, rewound.softness) if how.taught else setup.loss_fn
    cycles = rewound.cycles if how.cycles else 0
    cycle = rewound.cycle_epochs(epochs) if cycles else 0
    main = epochs - cycles * cycle
    temperature: ScalarOrSchedule = 0.0
    num_data, cut = size.num_images, None
    if how.kind == "released":
        assert sparsity is not None
        num_data = released.num_data
        algorithm, step_size, temperature = released_algorithm(
            released,
            params,
            sparsity=sparsity,
            gain=how.gain,
            anneal=how.anneal,
            epochs=epochs,
            epoch_steps=size.steps,
        )
    else:
        peak = rewound.learning_rate if how.kind == "dense" else rewound.rewind
        step_size = rewound_step_size(
            rewound, peak / num_data, main * size.steps, cycle * size.steps
        )
        ramp_steps = round(rewound.ramp * main * size.steps)
        if how.score == "learned":
            cut = ramp_steps // size.steps * size.steps
        rule = None if how.kind == "dense" else _rule(how, sparsity, ramp_steps, cut)
        if how.kind == "aeb":
            temperature = rewound.temperature if how.noise else 0.0
            algorithm = aeb.empirical_bayes(
                aeb.sghmc(step_size, FRICTION, temperature),
                # Why sigma stays and kappa0 starts at 0: see aeb.comparison.arms.
                aeb.spike_slab(
                    *((None, None) if how.scaled else (rewound.v0, rewound.v1)),
                    weight=None if how.scaled else rewound.weight or 1.0,
                    precision=rewound.weight_decay * num_data if how.scaled else 0.0,
                    follow_ramp=bool(rewound.follow_ramp),
                    a=rewound.a,
                    b=rewound.a,
                    kappa0=0.0,
                    learn_sigma=False,
                ),
                gain=aeb.robbins_monro(1.0, rewound.gain_offset, rewound.gain_exponent),
                sparsify=rule,
            )
        else:
            algorithm = momentum_sgd(
                step_size,
                num_data=num_data,
                weight_decay=rewound.weight_decay,
                sparsify=rule,
                friction=FRICTION,
            )
    kernel = aeb.build_kernel(algorithm, loss_fn, num_data=num_data, has_aux=True)
    samples = tuple(main + cycle * number for number in range(1, cycles + 1))
    return Stage(algorithm, kernel, loss_fn, step_size, temperature, epochs, samples, cut)


def rewound_step_size(recipe: Rewound, peak: float, main: int, cycle: int) -> Schedule:
    """Rise to the peak, fall by a cosine or a straight line, and cycle after `main` steps.

    A cycle takes `cycle` steps; 0 is none. The step size is above 0 up to the last step.
    """
    rise = max(recipe.warmup * main, 1.0)

    def step_size(count: Any) -> Any:
        step = jnp.asarray(count, float)
        up = (step + 1.0) / rise
        # Over one step more than is taken, as in aeb.comparison.arms.
        phase = jnp.minimum(step / (main + 1), 1.0)
        value = peak * jnp.minimum(up, 1.0) * (1.0 - phase if recipe.fall else _cosine(phase))
        if cycle:
            phase = jnp.remainder(step - main, cycle) / (cycle + 1)
            value = jnp.where(step < main, value, recipe.cycle_rate * peak * _cosine(phase))
        return value

    return step_size


RULES = {"magnitude": aeb.magnitude, "rho": aeb.inclusion, "fisher": aeb.fisher}


def _cosine(phase: Any) -> Any:
    return 0.5 * (1.0 + jnp.cos(jnp.pi * phase))


def _rule(arm: Arm, sparsity: float | None, steps: int, cut: int | None) -> Sparsifier:
    if cut is not None:
        return aeb.learned(begin=cut)
    assert sparsity is not None
    rule = RULES[arm.score]
    ramp = aeb.sparsity_ramp(sparsity, max(steps, 1), until=1.0)
    return rule(ramp, scope=arm.scope, of="all", regrow=arm.regrow)
