# SPDX-License-Identifier: Apache-2.0
"""Turn a Flax module into the loss that the samplers take.

The loss is the mean over the minibatch of the negative log-likelihood:

    categorical    -log softmax(f(x))_y                 in nats
    gaussian       |y - f(x)|^2 / 2                     sigma left out, see `aeb.empirical_bayes`

The loss of a module without BatchNorm and dropout is a function `(params, batch) -> f32[]`. For
other modules, pass `has_aux=True`. The loss is then a function
`(params, batch, model_state, key) -> (f32[], model_state)`. The model state is what `module.init`
returns besides `params`, such as `{"batch_stats": ...}`, or ().
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aeb.guards import one_of, some
from aeb.types import ArrayTree, Batch, LossFn, PRNGKey

__all__ = ["make_loss"]

_KEYS = {"categorical": ("image", "label"), "gaussian": ("features", "target")}


def make_loss(
    module: nn.Module,
    *,
    likelihood: str = "categorical",
    has_aux: bool = False,
    preprocess: Callable[[Any], jax.Array] | None = None,
    augment: Callable[[PRNGKey, jax.Array], jax.Array] | None = None,
) -> LossFn:
    """Build the loss of a module.

    Args:
        module: a linen module from inputs [B, ...] to outputs. With `has_aux` it is called with
            `train=True`.
        likelihood: "categorical" or "gaussian". Categorical takes batches
            `{"image": [B, ...], "label": i32[B]}` and a module with one logit per class. Gaussian
            takes `{"features": [B, ...], "target": f[B]}` and a module with one output, or a
            target f[B, K] and K outputs.
        has_aux: whether the loss takes a model state and a key, for BatchNorm and dropout. Without
            it, dropout is off.
        preprocess: applied to the inputs first, such as `aeb.data.normalizer("mnist")`.
        augment: `(key, inputs) -> inputs`, applied next; needs `has_aux`.

    Returns:
        `loss_fn(params, batch) -> f32[]` or, with `has_aux`,
        `loss_fn(params, batch, model_state, key) -> (f32[], model_state)`.

    Raises:
        ValueError: the likelihood is neither of the two, or `augment` comes without `has_aux`.
            The loss raises it too, if the batch lacks a key, or if the shapes of outputs and
            targets do not fit.
        TypeError: `has_aux` is set, and the module takes no `train`; or it is not set, and the
            module cannot be called without `train`.

    Example:
        >>> from aeb.models import MLP
        >>> module = MLP(features=10)
        >>> batch = {"image": jnp.ones((2, 8, 8, 1)), "label": jnp.array([3, 4])}
        >>> params = module.init(jax.random.key(0), batch["image"])["params"]
        >>> make_loss(module)(params, batch).shape
        ()
    """
    one_of("likelihood", likelihood, tuple(_KEYS))
    if augment is not None and not has_aux:
        raise ValueError("augment: needs a key in every step; set has_aux=True")
    inputs_key, targets_key = _KEYS[likelihood]
    score = _categorical if likelihood == "categorical" else _gaussian
    _check_train(module, has_aux)

    def inputs_of(batch: Batch) -> jax.Array:
        if not isinstance(batch, Mapping) or not {inputs_key, targets_key} <= batch.keys():
            got = (
                f"keys {some(list(batch))}" if isinstance(batch, Mapping) else type(batch).__name__
            )
            raise ValueError(
                f"batch: make_loss(likelihood={likelihood!r}) reads {inputs_key!r} and "
                f"{targets_key!r} from it, got {got}; pass the data as a dict with these keys"
            )
        inputs = batch[inputs_key]
        return inputs if preprocess is None else preprocess(inputs)

    def loss_fn(params: ArrayTree, batch: Batch) -> jax.Array:
        outputs = module.apply({"params": params}, inputs_of(batch))
        return score(outputs, batch[targets_key])

    def loss_fn_with_aux(
        params: ArrayTree, batch: Batch, model_state: ArrayTree, key: PRNGKey
    ) -> tuple[jax.Array, ArrayTree]:
        augment_key, dropout_key = jax.random.split(key)
        inputs = inputs_of(batch)
        if augment is not None:
            inputs = augment(augment_key, inputs)
        outputs, new_state = module.apply(
            {"params": params, **dict(model_state)},
            inputs,
            train=True,
            mutable=list(model_state),
            rngs={"dropout": dropout_key},
        )
        # The container stays what it was, `()` too, so that the state can ride in a scan.
        new_state = jax.tree.unflatten(jax.tree.structure(model_state), jax.tree.leaves(new_state))
        return score(outputs, batch[targets_key]), new_state

    return loss_fn_with_aux if has_aux else loss_fn


def _check_train(module: nn.Module, has_aux: bool) -> None:
    """Require a module that can be called as the loss will call it."""
    parameters = inspect.signature(module.__call__).parameters
    name = type(module).__name__
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if has_aux and "train" not in parameters and not takes_any:
        raise TypeError(
            f"module: with has_aux it is called with train=True, and {name}.__call__ takes "
            f"{some(list(parameters))} alone; give it a keyword `train`, or leave has_aux out if "
            "it has neither BatchNorm nor dropout"
        )
    if not has_aux and "train" in parameters:
        train = parameters["train"]
        if train.default is train.empty:
            raise TypeError(
                f"module: {name}.__call__ needs `train`, and without has_aux it is not passed; "
                "give it the default False, or pass has_aux=True for BatchNorm and dropout"
            )


def _categorical(logits: jax.Array, labels: jax.Array) -> jax.Array:
    if logits.shape[:-1] != labels.shape:
        raise ValueError(f"label: shape {labels.shape} does not fit logits {logits.shape}")
    return optax.softmax_cross_entropy_with_integer_labels(_at_least_f32(logits), labels).mean()


def _gaussian(outputs: jax.Array, target: jax.Array) -> jax.Array:
    if outputs.shape not in (target.shape, (*target.shape, 1)):
        raise ValueError(f"target: shape {target.shape} does not fit outputs {outputs.shape}")
    outputs = _at_least_f32(outputs)
    squares = (target.astype(outputs.dtype) - outputs.reshape(target.shape)) ** 2
    return squares.reshape(target.shape[0], -1).sum(axis=1).mean() / 2


def _at_least_f32(x: jax.Array) -> jax.Array:
    return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)
