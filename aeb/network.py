# SPDX-License-Identifier: Apache-2.0
"""Bring a model into the form that `aeb.compress` needs: a loss, a start, and how to score it.

A model is a linen module, an NNX module, or a bare loss `(params, batch) -> f32[]`. The first two
come with inputs and targets as data, and their loss is the mean negative log-likelihood:

    integer targets    classes:    -log softmax(f(x))_y, in nats
    real targets       regression: |y - f(x)|^2 / 2

Dropout and BatchNorm behave differently in training and in use. A linen module is told which by an
argument of `__call__` (`train`, `training`, `is_training`, `deterministic` or
`use_running_average`). An NNX module is told by its methods `train()` and `eval()`.
"""

from __future__ import annotations

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb import guards
from aeb.types import ArrayTree, Batch, LossFn, PRNGKey

__all__ = [
    "InUse",
    "Network",
    "Scores",
    "as_network",
    "gives_probabilities",
    "in_use",
    "loss_of_a_guess",
    "score",
]

PROBED = 32
"""The number of rows whose outputs are looked at."""

SCORE_ROWS = 512
"""The number of rows that are scored at a time."""

TRAINING_FLAGS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
"""Arguments of `__call__` that Flax models use, and their values in training."""

FORMS = (("image", "label"), ("features", "target"), ("x", "y"))
"""Names of inputs and targets that a dict may have."""


class Scores(NamedTuple):
    """The scores of a network on rows that it was not trained on."""

    loss: float  # nats per row; for a regression half the mean squared error; or the bare loss
    accuracy: float | None  # share of correct classes; None if the targets are not classes


class Network(NamedTuple):
    """A model of any library in one common form.

    Attributes:
        kind: "categorical", "gaussian", or "loss" for a bare loss.
        params: the initial weights.
        model_state: what else the model carries, such as running moments; () if nothing.
        data: the rows in the form that the loss takes.
        loss_fn: `(params, batch, model_state, key) -> (f32[], model_state)`, as in training.
        outputs: `(params, model_state, inputs) -> f32[n, ...]`, as in use; None for a bare loss.
        has_averages: whether the model state holds running moments of BatchNorm.
        variables: `(params, model_state) ->` the form that the model's own library takes.
        stored: `(params, model_state) ->` the arrays to store in a file.
        module: the linen module, which a file can name; None for other models.
    """

    kind: str
    params: ArrayTree
    model_state: Any
    data: Batch
    loss_fn: LossFn
    outputs: Callable[[ArrayTree, Any, Any], jax.Array] | None
    has_averages: bool
    variables: Callable[[ArrayTree, Any], Any]
    stored: Callable[[ArrayTree, Any], Any]
    module: Any = None


class InUse(NamedTuple):
    """A model in use, not in training: no dropout, and running moments for BatchNorm.

    Attributes:
        library: "linen", "nnx", or "function".
        params: the weights.
        model_state: what else the model carries, such as running moments; () if nothing.
        outputs: `(params, model_state, inputs) -> outputs`.
        variables: `(params, model_state) ->` the form that the model's own library takes.
    """

    library: str
    params: ArrayTree
    model_state: Any
    outputs: Callable[[ArrayTree, Any, Any], Any]
    variables: Callable[[ArrayTree, Any], Any]


def in_use(model: Any, variables: Any) -> InUse:
    """Bring a model in use, not in training, into the common form.

    Args:
        model: a linen module, an NNX module, or a function `(params, inputs) -> outputs`.
        variables: as in `as_network`.

    Returns:
        An `InUse`.

    Raises:
        TypeError: the model is none of the three.

    Example:
        >>> in_use(lambda w, x: x @ w, jnp.eye(2)).outputs(jnp.eye(2), (), jnp.ones(2)).tolist()
        [1.0, 1.0]
    """
    library = _library(model)
    if library == "loss":

        def outputs(params: ArrayTree, model_state: Any, inputs: Any) -> Any:
            return model(params, inputs)

        return InUse("function", variables, (), outputs, lambda params, model_state: params)
    read = _from_linen if library == "linen" else _from_nnx
    params, model_state, _, use, _, whole, _ = read(model, variables)
    return InUse(library, params, model_state, use, whole)


def as_network(
    model: Any,
    variables: Any,
    data: Any,
    *,
    preprocess: Callable[[Any], jax.Array] | None = None,
    augment: Callable[[PRNGKey, jax.Array], jax.Array] | None = None,
) -> Network:
    """Bring a model and its data into the common form.

    Args:
        model: a linen module, an NNX module, or a loss `(params, batch) -> f32[]`.
        variables: for a linen module its trained variables, `{"params": ...}`; for an NNX module
            None, because it holds its own; for a bare loss the parameters.
        data: for a module, a pair (inputs, targets), or a dict with "image" and "label", with
            "features" and "target", or with "x" and "y", whose first axes are rows. For a bare
            loss, a batch that contains all rows.
        preprocess: a function that is applied to the inputs of a module.
        augment: `(key, inputs) -> inputs`, applied next, in training only.

    Returns:
        A `Network`.

    Raises:
        TypeError: the model is none of the three, or the data have another form.
        ValueError: parts of the data do not fit each other, the model or its weights.

    Example:
        >>> def loss(w, x):
        ...     return jnp.mean((x - w) ** 2)
        >>> network = as_network(loss, jnp.zeros(1), jnp.ones((4, 1)))
        >>> network.kind, score(network, network.params, (), network.data)
        ('loss', Scores(loss=1.0, accuracy=None))
    """
    library = _library(model)
    if library == "loss":
        if preprocess is not None or augment is not None:
            name = "augment" if preprocess is None else "preprocess"
            raise ValueError(f"{name}: it is for modules; a loss does its own")
        return _from_loss(model, variables, data)
    inputs, targets = _inputs_and_targets(data)
    prepare = preprocess or (lambda x: x)
    read = _from_linen if library == "linen" else _from_nnx
    params, model_state, train, use, has_averages, whole, stored = read(model, variables)
    guards.check_params(params)
    guards.check_axes(params)
    row = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), inputs)
    with guards.taking("data", row):
        outputs = jax.eval_shape(lambda x: use(params, model_state, prepare(x)), row)
    if not hasattr(outputs, "shape"):
        raise TypeError(
            f"model: it returns a {type(outputs).__name__}, needs to return one array; wrap it in "
            "a module that returns the logits alone, or pass a loss (params, batch) -> number"
        )
    shape = outputs.shape
    if library == "linen" and has_averages and not _training_flag(model):
        # The call above may not change them. If it had, it would have failed.
        _, *arguments = inspect.signature(type(model).__call__).parameters
        warnings.warn(
            f"model: BatchNorm keeps its running moments in training, for {type(model).__name__} "
            f"is not told that it is trained. Its __call__ takes ({', '.join(arguments)}); the "
            f"argument that tells it has to be one of {', '.join(TRAINING_FLAGS)}",
            stacklevel=3,
        )
    kind, targets = _checked_targets(targets, shape)

    def loss_fn(params: ArrayTree, batch: Batch, model_state: Any, key: PRNGKey) -> Any:
        augment_key, model_key = jax.random.split(key)
        inputs = prepare(batch["inputs"])
        if augment is not None:
            inputs = augment(augment_key, inputs)
        outputs, model_state = train(params, model_state, inputs, model_key)
        return jnp.mean(_losses(kind, outputs, batch["targets"])), model_state

    return Network(
        kind=kind,
        params=params,
        model_state=model_state,
        data={"inputs": inputs, "targets": targets},
        loss_fn=loss_fn,
        outputs=jax.jit(lambda params, state, inputs: use(params, state, prepare(inputs))),
        has_averages=has_averages,
        variables=whole,
        stored=stored,
        module=model if library == "linen" else None,
    )


def score(network: Network, params: ArrayTree, model_state: Any, data: Batch) -> Scores:
    """Score a network on rows, without dropout and with running moments for BatchNorm.

    Args:
        network: made by `as_network`.
        params: the weights.
        model_state: the model state.
        data: rows in the form of `network.data`.

    Returns:
        Means over the rows.
    """
    program = _scorer(network.kind, network.loss_fn, network.outputs)
    rows = guards.check_data("data", data)
    totals = np.zeros(2)
    for first in range(0, rows, SCORE_ROWS):
        part = jax.tree.map(lambda leaf, at=first: leaf[at : at + SCORE_ROWS], data)
        size = min(SCORE_ROWS, rows - first)
        totals += size * np.asarray(program(params, model_state, part), float)
    loss, accuracy = totals / rows
    return Scores(float(loss), float(accuracy) if network.kind == "categorical" else None)


def loss_of_a_guess(network: Network) -> float | None:
    """Compute the loss of the best constant guess, on the rows of the network.

    Args:
        network: made by `as_network`.

    Returns:
        The entropy of the classes in nats, or half the variance of the targets of a regression.
        None for a bare loss, or if all targets are equal.

    Example:
        >>> import flax.linen as nn
        >>> module, x = nn.Dense(2), jnp.ones((4, 3))
        >>> network = as_network(module, module.init(jax.random.key(0), x), (x, [0, 1, 0, 1]))
        >>> round(loss_of_a_guess(network), 4)
        0.6931
    """
    if network.kind == "loss":
        return None
    targets = np.asarray(network.data["targets"])
    if network.kind == "gaussian":
        loss = float(np.var(targets.astype(float), axis=0).sum()) / 2
    else:
        shares = np.bincount(targets.ravel()) / targets.size
        loss = -float(np.sum(shares * np.log(np.where(shares > 0, shares, 1.0))))
    return loss if loss > 0 else None


def gives_probabilities(network: Network, data: Batch, loss: float) -> bool:
    """Return whether a classifier returns probabilities where logits are needed.

    Args:
        network: made by `as_network`.
        data: rows in the form of `network.data`.
        loss: the loss of the network on these rows. With probabilities for logits it cannot be
            small, so then nothing is computed.

    Example:
        >>> x = jnp.eye(2)
        >>> network = as_network(lambda w, batch: jnp.mean(w), jnp.ones(2), x)
        >>> gives_probabilities(network, x, 1.0)
        False
    """
    if network.kind != "categorical" or network.outputs is None:
        return False
    inputs = jax.tree.map(lambda leaf: leaf[:PROBED], data["inputs"])
    given = network.params, network.model_state, inputs
    classes = jax.eval_shape(network.outputs, *given).shape[-1]
    if classes < 2 or loss < math.log(math.e + classes - 1) - 1 - 1e-3:
        return False
    outputs = np.asarray(network.outputs(*given), np.float64)
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=-1), 1.0, atol=1e-2))


@functools.lru_cache(maxsize=8)
def _scorer(kind: str, loss_fn: Any, outputs: Any) -> Any:
    """Compile a function that scores some rows: f32[2], loss and accuracy."""

    @jax.jit
    def program(params: ArrayTree, model_state: Any, part: Batch) -> jax.Array:
        if outputs is None:
            # A bare loss ignores the key, but the signature needs one.
            loss, _ = loss_fn(params, part, model_state, jax.random.key(0))
            return jnp.stack([loss, jnp.zeros_like(loss)])
        predicted, targets = outputs(params, model_state, part["inputs"]), part["targets"]
        loss = jnp.mean(_losses(kind, predicted, targets))
        right = jnp.zeros_like(loss)
        if kind == "categorical":
            right = jnp.mean(predicted.argmax(axis=-1) == targets, dtype=loss.dtype)
        return jnp.stack([loss, right])

    return program


def _losses(kind: str, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return each row's negative log-likelihood, in at least float32."""
    if jnp.finfo(outputs.dtype).bits < 32:
        outputs = outputs.astype(jnp.float32)
    if kind == "categorical":
        of_label = jnp.take_along_axis(outputs, targets[..., None], axis=-1)[..., 0]
        losses = jax.nn.logsumexp(outputs, axis=-1) - of_label
        return losses.reshape(len(targets), -1).mean(axis=1)
    squares = jnp.square(targets.astype(outputs.dtype) - outputs.reshape(targets.shape))
    return squares.reshape(len(targets), -1).sum(axis=1) / 2


def _library(model: Any) -> str:
    """Return "linen", "nnx" or "loss". Import Flax only if the model comes from it."""
    if _is_flax(model):
        import flax.linen
        import flax.nnx

        if isinstance(model, flax.linen.Module):
            return "linen"
        if isinstance(model, flax.nnx.Module):
            return "nnx"
    if isinstance(model, type):
        raise TypeError(
            f"model: got the class {model.__name__}; pass an instance, {model.__name__}(...)"
        )
    if not callable(model):
        raise TypeError(
            f"model: got {type(model).__name__}, needs to be a linen module, an NNX module, or a "
            "loss (params, batch) -> number"
        )
    return "loss"


def _is_flax(model: Any) -> bool:
    return any(cls.__module__.split(".")[0] == "flax" for cls in type(model).__mro__)


def _from_loss(loss: Callable[..., Any], params: Any, data: Any) -> Network:
    """Read a bare loss. It has no state and no outputs, and its batch has any form."""
    owner = getattr(loss, "__self__", None)
    if _is_flax(owner):
        raise TypeError(
            f"model: got the method {loss.__name__} of a {type(owner).__name__}; pass the module "
            "itself, or a loss (params, batch) -> number"
        )
    guards.check_params(params)
    guards.check_axes(params)
    guards.check_data("data", data)
    guards.check_numbers("data", data)
    _check_loss(loss, params, data)

    def loss_fn(params: ArrayTree, batch: Batch, model_state: Any, key: PRNGKey) -> Any:
        return loss(params, batch), model_state

    def alone(params: ArrayTree, model_state: Any) -> Any:
        return params

    return Network("loss", params, (), data, loss_fn, None, False, alone, alone)


def _check_loss(loss: Callable[..., Any], params: Any, data: Any) -> None:
    """Require a function of weights and a batch that returns one real number."""
    hint = "pass lambda params, batch: loss(params, *batch), or what fits"
    guards.called_with("model", loss, "params, batch", hint)
    rows = jax.tree.map(lambda leaf: np.asarray(leaf[:SCORE_ROWS]), data)
    value = jax.eval_shape(loss, params, rows)
    if not hasattr(value, "shape"):
        got = f"a {type(value).__name__}"
    elif value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        got = f"{value.dtype}{list(value.shape)}"
    else:
        return
    raise ValueError(
        f"model: the loss returns {got}, needs to return one real number, the mean over the rows "
        "of its batch"
    )


def _from_linen(module: Any, variables: Any) -> Any:
    """Read a linen module. Its other collections are the model state."""
    if not (isinstance(variables, Mapping) and "params" in variables):
        got = type(variables).__name__
        if isinstance(variables, Mapping):
            got = f"keys {sorted(variables)}"
        taken = "variables.params" if hasattr(variables, "params") else "..."
        raise TypeError(
            f"variables: got {got}, needs to be a dict with 'params', as module.init returns; pass "
            f"{{'params': {taken}}}, and the other collections beside it"
        )
    model_state = {name: tree for name, tree in variables.items() if name != "params"}
    flag = _training_flag(module)

    def train(params: ArrayTree, model_state: Any, inputs: Any, key: PRNGKey) -> Any:
        mode = {name: TRAINING_FLAGS[name] for name in flag}
        outputs, new = module.apply(
            {"params": params, **model_state},
            inputs,
            mutable=list(model_state),
            # Streams of other names are drawn from that of the parameters.
            rngs={"dropout": key, "params": jax.random.fold_in(key, 0)},
            **mode,
        )
        return outputs, {name: new.get(name, tree) for name, tree in model_state.items()}

    def use(params: ArrayTree, model_state: Any, inputs: Any) -> jax.Array:
        outputs: jax.Array = serving(module)({"params": params, **model_state}, inputs)
        return outputs

    def whole(params: ArrayTree, model_state: Any) -> Any:
        return {"params": params, **model_state}

    return variables["params"], model_state, train, use, "batch_stats" in model_state, whole, whole


def serving(module: Any) -> Callable[[Any, Any], Any]:
    """Return `(variables, inputs) -> outputs` of a linen module in use, not in training.

    Raises:
        TypeError: calling the module needs more than the inputs and a training flag.
    """
    mode = {name: not TRAINING_FLAGS[name] for name in _training_flag(module)}
    return lambda variables, inputs: module.apply(variables, inputs, **mode)


def _training_flag(module: Any) -> tuple[str, ...]:
    """Find the argument that tells a linen module whether it is being trained, if it has one."""
    from aeb.models.resized import Resized

    if isinstance(module, Resized):  # it passes its arguments on to the module inside
        module = module.module
    _, *parameters = inspect.signature(type(module).__call__).parameters.values()
    flags = tuple(p.name for p in parameters if p.name in TRAINING_FLAGS)
    needed = [
        p.name
        for p in parameters[1:]
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and p.name not in flags
    ]
    if needed:
        raise TypeError(
            f"model: {type(module).__name__}.__call__ also needs {', '.join(needed)}; pass a loss "
            "(params, batch) -> number that calls it, and the parameters as variables"
        )
    return flags


def _from_nnx(module: Any, variables: Any) -> Any:
    """Read an NNX module. Apart from parameters and random streams, all is model state."""
    from flax import nnx

    if variables is not None:
        raise TypeError(
            f"variables: got {type(variables).__name__}; an NNX module carries its own, pass None"
        )
    module = nnx.clone(module)
    module.train()
    training, params, streams, model_state = nnx.split(module, nnx.Param, nnx.RngState, ...)
    module.eval()
    serving = nnx.split(module, nnx.Param, nnx.RngState, ...)[0]
    has_averages = bool(jax.tree.leaves(nnx.state(module, nnx.BatchStat)))

    def train(params: ArrayTree, model_state: Any, inputs: Any, key: PRNGKey) -> Any:
        model = nnx.merge(training, params, streams, model_state, copy=True)
        nnx.reseed(model, default=key)
        outputs = model(inputs)
        return outputs, nnx.split(model, nnx.Param, nnx.RngState, ...)[3]

    def use(params: ArrayTree, model_state: Any, inputs: Any) -> jax.Array:
        outputs: jax.Array = nnx.merge(serving, params, streams, model_state, copy=True)(inputs)
        return outputs

    def whole(params: ArrayTree, model_state: Any) -> Any:
        return nnx.merge(serving, params, streams, model_state, copy=True)

    def stored(params: ArrayTree, model_state: Any) -> Any:
        return nnx.merge_state(params, model_state)

    return params, model_state, train, use, has_averages, whole, stored


def _inputs_and_targets(data: Any) -> tuple[Any, Any]:
    """Read the rows in any supported form."""
    wanted = (
        "a pair (inputs, targets), or a dict with 'image' and 'label', with 'features' and "
        "'target', or with 'x' and 'y'"
    )
    if isinstance(data, Mapping):
        for form in FORMS:
            if set(form) <= set(data):
                inputs, targets = data[form[0]], data[form[1]]
                if more := sorted(str(name) for name in data if name not in form):
                    warnings.warn(
                        f"data: {form[0]!r} and {form[1]!r} are used, and {guards.some(more)} not; "
                        "to use more, pass a loss (params, batch) -> number in place of the module",
                        stacklevel=4,
                    )
                break
        else:
            raise TypeError(f"data: got a dict with {sorted(map(str, data))}, needs to be {wanted}")
    elif isinstance(data, tuple | list) and len(data) == 2:
        inputs, targets = data
    else:
        raise TypeError(f"data: got {type(data).__name__}, needs to be {wanted}")
    guards.check_order(inputs, "data: the targets", targets)
    try:
        targets = np.asarray(targets)
    except ValueError as error:  # of several shapes, as in a list of two batches
        raise TypeError(
            f"data: the targets are no array ({error}); data needs to be {wanted}"
        ) from error
    if isinstance(inputs, list | tuple) and not all(map(np.ndim, jax.tree.leaves(inputs))):
        raise TypeError("data: the inputs are lists of numbers; pass an array, np.asarray(inputs)")
    guards.check_data("data", {"inputs": inputs, "targets": targets})
    return inputs, targets


def _checked_targets(targets: np.ndarray, shape: tuple[int, ...]) -> tuple[str, np.ndarray]:
    """Return the kind of the targets, and check that they fit the outputs of one row."""
    rest = targets.shape[1:]
    is_one_hot = targets.ndim == 2 and targets.shape[1] > 1 and _one_hot(targets)
    one_hot = "data: the targets are one-hot; pass the classes as integers, targets.argmax(axis=1)"
    if np.issubdtype(targets.dtype, np.integer) or targets.dtype == bool:
        fits = len(shape) > 1 and shape[1:-1] == rest
        if not fits and is_one_hot:
            raise ValueError(one_hot)
        if not fits and rest == (1,) and len(shape) == 2 and shape[1] > 1:
            raise ValueError(
                f"data: the classes are a column, {targets.shape}; pass a row, targets[:, 0]"
            )
        if not fits:
            raise ValueError(
                f"data: integer targets {targets.shape} are classes, and the model gives {shape} "
                "for one row; it needs one logit a class on a last axis more. For a regression, "
                "pass the targets as floats"
            )
        low, high = int(targets.min()), int(targets.max())
        if shape[-1] == 1 and high > 0:
            raise ValueError(
                "data: integer targets are classes, and the model has one output, for one class. "
                "For a regression pass the targets as floats; for a sigmoid pass a loss (params, "
                "batch) -> number in place of the module"
            )
        if low < 0 or high >= shape[-1]:
            raise ValueError(
                f"data: the classes run from {low} to {high}, and the model has {shape[-1]} "
                f"outputs, for the classes 0 to {shape[-1] - 1}"
            )
        return "categorical", targets.astype(np.int32)
    if not np.issubdtype(targets.dtype, np.floating):
        raise TypeError(
            f"data: the targets are {targets.dtype}, need to be integers or floats; "
            "np.unique(targets, return_inverse=True)[1] numbers classes that have names"
        )
    if is_one_hot:
        raise ValueError(one_hot)
    if shape[1:] not in (rest, (*rest, 1)):
        raise ValueError(
            f"data: real targets {targets.shape} do not fit the model, which gives {shape} for "
            "one row; for classes, pass the targets as integers"
        )
    if not np.isfinite(targets).all():
        raise ValueError("data: a target is not finite; leave out such rows")
    look = _look_like_labels(targets)
    if look is not None:
        warnings.warn(
            f"data: the targets {targets.shape} are real numbers, so this is a regression with "
            f"squared errors; but {look}. For classes pass integers; for a sigmoid or for soft "
            "labels pass a loss (params, batch) -> number in place of the module",
            stacklevel=4,
        )
    return "gaussian", targets


def _look_like_labels(targets: np.ndarray) -> str | None:
    """Say how real targets resemble the labels of a classification; None if they do not."""
    if np.isin(targets, (0.0, 1.0)).all() and targets.any() and not targets.all():
        return "all of them are 0 or 1, as labels are"
    several = targets.ndim > 1 and targets.shape[-1] > 1 and bool((targets >= 0).all())
    if several and np.allclose(targets.sum(axis=-1), 1.0, atol=1e-3):
        return "each row is at least 0 and sums to 1, as probabilities of classes do"
    return None


def _one_hot(targets: np.ndarray) -> bool:
    return bool(np.isin(targets, (0.0, 1.0)).all() and (targets.sum(axis=1) == 1.0).all())
