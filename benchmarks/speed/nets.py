# SPDX-License-Identifier: Apache-2.0
"""The networks that are timed, our step on them with parts of it left out, and plain SGD."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

import aeb
from aeb.kernel import Facts, with_facts
from aeb.models import CNN, MLP, ResNet, make_loss
from aeb.types import Kernel
from benchmarks.harness.ranges import one_of
from benchmarks.speed.clock import Contender, looping

NUM_DATA = 50_000.0
"""N; of the steps measured none gets slower or faster by it."""

RATE = 1e-3
"""Learning rate of plain SGD; ours is the same over N."""

NETS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "mnist_cnn": (CNN(), (28, 28, 1)),
    "resnet20": (ResNet(depth=20), (32, 32, 3)),
    "mlp10m": (MLP(hidden=(2800, 2800), features=10), (28, 28, 1)),
    "mlp": (MLP(hidden=(200,), features=10), (28, 28, 1)),
    "small_mlp": (MLP(hidden=(64,), features=10), (8, 8, 1)),
    "tiny": (MLP(hidden=(), features=10), (8, 8, 3)),
    "small_cnn": (CNN(channels=(4, 8), kernel_size=3, hidden=16), (8, 8, 1)),
    "small_resnet": (ResNet(depth=8, widths=(4, 8, 8)), (8, 8, 3)),
    "slim_resnet": (ResNet(depth=8, widths=(4, 8, 16)), (8, 8, 3)),
}
"""Module and shape of an image, by name; `tiny` and what follows is for trying the code."""

Net = Annotated[str, one_of(*NETS)]

PARTS = ("noise", "latents", "pruning")
"""What can be left out of our step."""

Draw = Callable[[jax.Array, Any], Any]
"""`(key, tree) -> tree` of standard normals."""

Steps = tuple[Callable[..., Any], Any]
"""`(state, batch, key) -> state`, and the state that it starts from."""


class Workload(NamedTuple):
    """A network with a batch; pixels and labels are random."""

    params: Any  # f32
    model_state: Any  # batch statistics, or ()
    batch: dict[str, jax.Array]  # image f32[B, H, W, C], label i32[B]
    loss_fn: Callable[..., Any]
    has_aux: bool

    @property
    def size(self) -> int:
        return optax.tree.size(self.params)

    def start(self, sampler: aeb.Algorithm) -> aeb.State:
        return sampler.init(self.params, self.model_state)

    def kernel(self, sampler: aeb.Algorithm) -> Kernel:
        kernel = aeb.build_kernel(sampler, self.loss_fn, num_data=NUM_DATA, has_aux=self.has_aux)
        # The rows are few and random, and their number is not looked at: that would take time too.
        return with_facts(kernel, Facts())


class SgdState(NamedTuple):
    """What plain SGD carries."""

    step: jax.Array  # i32[]
    params: Any
    model_state: Any
    optimizer: Any


def make_workload(net: str, batch_size: int) -> Workload:
    """Draw parameters and a batch for one of `NETS`."""
    module, shape = NETS[net]
    init_key, image_key, label_key = jax.random.split(jax.random.key(0), 3)
    image = jax.random.normal(image_key, (batch_size, *shape), jnp.float32)
    label = jax.random.randint(label_key, (batch_size,), 0, 10, jnp.int32)
    variables = dict(jax.jit(module.init)(init_key, image[:1]))
    params = variables.pop("params")
    has_aux = bool(variables)
    loss_fn = make_loss(module, has_aux=has_aux)
    batch = {"image": image, "label": label}
    return Workload(params, variables if has_aux else (), batch, loss_fn, has_aux)


def algorithm(without: tuple[str, ...] = ()) -> aeb.Algorithm:
    """Put our step together: noise, latents and pruning at each step, less what is named."""
    return aeb.empirical_bayes(
        aeb.sghmc(RATE / NUM_DATA, temperature=0.0 if "noise" in without else 1e-2),
        aeb.spike_slab(v0=0.01, v1=1.0, kappa0=None, learn_sigma=True, follow_ramp=False),
        gain=0.0 if "latents" in without else None,
        sparsify=None if "pruning" in without else aeb.magnitude(0.9, scope="global"),
    )


def variants(parts: bool) -> dict[str, tuple[str, ...]]:
    """Return what is left out of our step, by the name of the contender; without parts, nothing."""
    if not parts:
        return {"ours": ()}
    return {"ours": (), "bare": PARTS} | {f"no_{part}": (part,) for part in PARTS}


def ours(workload: Workload, without: tuple[str, ...] = ()) -> Steps:
    """Make our step less what is named, with a key of its own for each step."""
    sampler = algorithm(without)
    kernel = workload.kernel(sampler)

    def step(state: aeb.State, batch: Any, key: jax.Array) -> aeb.State:
        return kernel(state, batch, jax.random.fold_in(key, state.step))

    return step, workload.start(sampler)


def sampling(
    workload: Workload, data: Any, key: jax.Array, *, steps: int, batch_size: int
) -> Contender:
    """Make a contender of our step by `aeb.sample`; one piece of work is so many steps."""
    sampler = algorithm()
    kernel = workload.kernel(sampler)

    def loop(state: aeb.State, count: int) -> aeb.State:
        state, _ = aeb.sample(
            kernel,
            state,
            data,
            key,
            num_steps=count * steps,
            batch_size=batch_size,
            missed="ignore",
            progress=False,
        )
        return state

    return looping(loop, workload.start(sampler))


def sgd(workload: Workload, *, draw: Draw | None = None) -> Steps:
    """Make a step of SGD with momentum.

    Args:
        workload: what is trained on.
        draw: draws a normal for each weight, which is added to it: the least that a sampler by
            gradients has to do. None for plain SGD.
    """
    rule = optax.sgd(RATE, momentum=0.9)

    def mean_loss(params: Any, model_state: Any, batch: Any, key: jax.Array) -> Any:
        if workload.has_aux:
            return workload.loss_fn(params, batch, model_state, key)
        return workload.loss_fn(params, batch), model_state

    def step(state: SgdState, batch: Any, key: jax.Array) -> SgdState:
        noise_key, loss_key = jax.random.split(jax.random.fold_in(key, state.step))
        (_, model_state), grad = jax.value_and_grad(mean_loss, has_aux=True)(
            state.params, state.model_state, batch, loss_key
        )
        updates, optimizer = rule.update(grad, state.optimizer, state.params)
        if draw is not None:
            normals = draw(noise_key, state.params)
            updates = jax.tree.map(lambda u, xi: u + 1e-6 * xi, updates, normals)
        params = optax.apply_updates(state.params, updates)
        return SgdState(state.step + 1, params, model_state, optimizer)

    params, optimizer = workload.params, rule.init(workload.params)
    return step, SgdState(jnp.zeros((), jnp.int32), params, workload.model_state, optimizer)


def normals_like(key: jax.Array, tree: Any) -> Any:
    """Draw a normal for each weight as one would by hand: `jax.random.normal`, cut into leaves."""
    flat, unflatten = jax.flatten_util.ravel_pytree(tree)
    return unflatten(jax.random.normal(key, flat.shape, flat.dtype))


def state_bytes(state: Any) -> int:
    """Count the bytes of all arrays of a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
