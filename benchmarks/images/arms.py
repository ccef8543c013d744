# SPDX-License-Identifier: Apache-2.0
"""The arms as kernels that `aeb.sample` runs.

    SGHMC       N(0, 1) on all kernels, biases and BatchNorm flat; the target is p(beta | D)^tau,
                where each image counts several times
    SGHMC-SA    the same, with spike and slab on FC1, learned by stochastic approximation
    the others  Adam on the mean loss, no prior; Dropout with dropout

The step size is eps_k = h (k + 1)^(-1/5) / N after k steps, and that of Adam may fall alike. The
penalties of FC1 start at those of N(0, 1), kappa0 = 0 and kappa1 = sigma^2: with kappa0 =
(1 - rho) / v0 = 500 from the first step on, the spike would pull every weight to zero before rho is
learned.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import aeb
from aeb.kernel import Facts, with_facts
from aeb.models import make_loss
from aeb.tree import named_leaves
from aeb.types import Kernel, Prior
from benchmarks.images.networks import SPARSE, augmentation, network, standardise
from benchmarks.images.recipe import ARMS, Cell, Recipe


class OneChain(NamedTuple):
    """How a chain begins and how it steps.

    Attributes:
        init: `key -> aeb.State`.
        kernel: `(state, batch, key) -> state`.
    """

    init: Callable[[jax.Array], aeb.State]
    kernel: Kernel


def step_size_at(recipe: Recipe, count: Any) -> Any:
    """Return eps of a step for a mean loss, after `count` steps; draws are weighted by it."""
    return recipe.step_size * _root(count)


def _root(count: Any) -> Any:
    """Return what a step size that falls as k^-1/5 is of that of the first step."""
    return (jnp.asarray(count, float) + 1.0) ** -0.2


@functools.lru_cache(maxsize=16)
def build(recipe: Recipe, cell: Cell) -> OneChain:
    """Build the model of a cell; called again it is the same, so that nothing is compiled anew."""
    arm = ARMS[cell.arm]
    net = network(recipe, cell, dtype=recipe.dtype)
    loss_fn = make_loss(net, has_aux=True, preprocess=standardise, augment=augmentation(cell))
    if arm.samples:
        num_data = recipe.counted * recipe.num_train
        algorithm = aeb.empirical_bayes(
            aeb.sghmc(
                lambda count: step_size_at(recipe, count) / num_data,
                recipe.friction,
                recipe.temperature(cell),
            ),
            _prior(recipe, cell),
            gain=_gain(recipe) if arm.learns else 0.0,
        )
        begin = algorithm.init
        kernel = aeb.build_kernel(algorithm, loss_fn, num_data=num_data, has_aux=True)
        # N is not the number of images, and aeb.sample need not warn of it.
        kernel = with_facts(kernel, Facts())
    else:
        begin, kernel = _adam(recipe, loss_fn)

    start = _start(network(recipe, cell._replace(arm="vanilla")))

    def init(key: jax.Array) -> aeb.State:
        variables = dict(start(key))
        return begin(variables.pop("params"), variables or ())

    return OneChain(init, kernel)


@functools.lru_cache(maxsize=4)
def _start(net: nn.Module) -> Callable[[jax.Array], Any]:
    """Make the variables of a network, one compiled program for all arms."""
    return jax.jit(lambda key: net.init(key, jnp.zeros((1, 28, 28, 1))))


def _gain(recipe: Recipe) -> Any:
    """The gain, `stretch` steps of it at a time."""
    factor, alpha = recipe.stretch, recipe.gain_exponent
    coefficient = recipe.gain_coefficient * factor ** (1.0 - alpha)
    return aeb.robbins_monro(coefficient, recipe.gain_offset / factor, alpha)


def _prior(recipe: Recipe, cell: Cell) -> Prior:
    """Spike and slab on FC1 (or N(0, 1)), N(0, 1) on the other kernels, the rest flat."""
    learns = ARMS[cell.arm].learns
    net = network(recipe, cell)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    size = named_leaves(shapes["params"])[SPARSE].size
    sigma = recipe.sigma if learns else 1.0
    sparse = aeb.spike_slab(
        recipe.v0,
        recipe.v1,
        where=f"^{SPARSE}$",
        a=recipe.a or float(size),
        b=recipe.b or float(size),
        nu=recipe.nu,
        lam=recipe.lam,
        sigma=sigma,
        kappa0=recipe.kappa0 if learns else 0.0,
        kappa1=sigma**2,
        learn_sigma=recipe.learns is None,
        learn_delta=recipe.learns is None,
    )

    def log_density(params: Any, latent: Any) -> jax.Array:
        others = [
            jnp.sum(jnp.square(leaf))
            for path, leaf in named_leaves(params).items()
            if path.endswith("kernel") and path != SPARSE
        ]
        return sparse.log_density(params, latent) - 0.5 * sum(others, jnp.zeros(()))

    return sparse._replace(log_density=log_density)


def _adam(recipe: Recipe, loss_fn: Any) -> tuple[Callable[..., aeb.State], Kernel]:
    """Make Adam on the mean loss, in the state and the kernel that the sampler has."""
    step = recipe.adam_step
    rule = optax.adam((lambda count: step * _root(count)) if recipe.adam_fall else step)

    def begin(params: Any, model_state: Any = ()) -> aeb.State:
        return aeb.State(
            step=jnp.zeros((), jnp.int32),
            position=params,
            momentum=rule.init(params),
            latent=(),
            mask=(),
            model_state=model_state,
            loss=jnp.full((), jnp.inf, jnp.float32),
        )

    def kernel(state: aeb.State, batch: Any, key: jax.Array, **overrides: Any) -> aeb.State:
        del overrides
        (loss, model_state), grad = jax.value_and_grad(loss_fn, has_aux=True)(
            state.position, batch, state.model_state, key
        )
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its count with floats
            change, momentum = rule.update(grad, state.momentum, state.position)
        return state._replace(
            step=state.step + 1,
            position=optax.apply_updates(state.position, change),
            momentum=momentum,
            model_state=model_state,
            loss=loss,
        )

    return begin, kernel
