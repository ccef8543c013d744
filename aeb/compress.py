# SPDX-License-Identifier: Apache-2.0
"""Make a trained network sparse, in one call.

What `compress` does, in order:

1. It holds out a share of the rows. Every choice, and both scores in the report, use these rows.
2. It finds the learning rate that best repairs a pruned copy of the network (`aeb.tune`).
3. It goes on training the network by SGHMC, under a spike-and-slab prior that takes its scales from
   the weights. The learning rate rises over the first twentieth of the run, then falls to 0 along a
   cosine. The weights that rank lowest, relative to their leaf, are pruned along a cubic ramp. It
   reaches its target after two fifths of the run; a pruned weight never returns. They are ranked by
   size, or in a network with BatchNorm by their worth to the loss (`aeb.fisher`). With
   `sparsity=None` there is no target: from that step on, each weight that the prior assigns to the
   spike is zero.
4. It recomputes the running moments of BatchNorm for the final weights.

A run diverges if a loss or a weight is not finite, or if the recent loss stays too high for a tenth
of the steps: near that of a constant guess, or above that of the given network if this is as high
(see `aeb.sampling.divergence`). A run that ends short of its target says what it reached.

Reference: Deng, Zhang, Liang and Lin, "An Adaptive Empirical Bayesian Method for Sparse Deep
Learning", NeurIPS 2019; the settings are those that `docs/lab-notes.md` found to work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aeb import guards
from aeb.dynamics import sghmc
from aeb.empirical_bayes import Algorithm, State, empirical_bayes
from aeb.evaluation.predict import predict
from aeb.export import export
from aeb.files.atomic import write_json
from aeb.files.module import describe_module
from aeb.files.report import SparsityReport, sparsity_report
from aeb.files.sparse_file import save_sparse
from aeb.kernel import build_kernel, facts_of, with_facts
from aeb.network import (
    Network,
    Scores,
    as_network,
    gives_probabilities,
    loss_of_a_guess,
    score,
)
from aeb.precision import working_dtype
from aeb.priors import gaussian, spike_slab
from aeb.sampling import sample
from aeb.sampling.divergence import FORGOT_ADVICE, LOST_ADVICE, POLICIES, DivergenceError, about
from aeb.sampling.scale import sums_over_rows
from aeb.sampling.start import KNOWS, NEAR
from aeb.schedules import sparsity_ramp
from aeb.sparsity import fisher, learned, magnitude
from aeb.sparsity.rule import SCOPES
from aeb.tree import as_where, named_leaves, path_of, select
from aeb.tuning import tune
from aeb.types import ArrayTree, Batch, PRNGKey, Schedule, Sparsifier, Where

__all__ = ["Compressed", "Look", "compress", "default_rank"]

FRICTION = 0.1
"""One minus the momentum, as in the paper."""

PRUNED_AFTER = 0.4
"""The share of the run after which the ramp is at its target."""

EPOCHS, LEAST_STEPS = 20, 1000
"""The default length of a run: this many epochs, and at least this many steps."""

LOOKS = 20
"""How many times a run scores the held-out rows."""

LOWEST, HIGHEST = (1e-3, 1e-6), 10.0
"""The lowest learning rate to try, the next if that is too high, as for a regression that is all
but exact, and the highest."""

RANKS = {"magnitude": magnitude, "fisher": fisher}
"""The rules by which weights are ranked."""

TRIAL_STEPS = (60, 200)
"""The fewest and the most steps to try a rate for. Between them it is a twentieth of the run."""

TRIAL_SPARSITY = 0.8
"""The share of zeros in the copy to repair: enough to do harm that a few steps can undo."""

MOST_LOST = 0.25
"""The share of what a network knows beyond a guess that may be lost without a warning."""

FINGERPRINTS = ("key", "variables", "data", "validation")
"""What a run folder knows only by a fingerprint."""

REFRESH_BATCHES = 100
"""The number of minibatches from which the running moments of BatchNorm are recomputed."""

MOST_KEPT = 0.999
"""The most that a pass of these may leave of a running mean; of what moves less, the limit is
unknown."""

ADVICE = (
    "Try more steps, a lower sparsity, or another learning_rate: too small a one does not mend "
    "what is pruned, too large a one destroys what was learned"
)
"""What to do about a run that lost what the network knew."""


class Look(NamedTuple):
    """The scores of a run at one step, on the held-out rows."""

    step: int
    sparsity: float  # share of zeros over all parameters
    loss: float
    accuracy: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Compressed:
    """A sparse network, and the run that made it. `print` shows a report.

    Attributes:
        params: the sparse weights, with the tree and the dtypes of the given ones.
        model_state: what else the model carries, such as running moments; () if nothing.
        before: scores of the given network, on the held-out rows.
        after: scores of the sparse network, on the same rows.
        report: zeros and bytes of each leaf.
        history: scores and sparsity along the run.
        draws: `(params, model_state)` of the draws that were kept. The first axis of each array is
            draws. None if none were kept.
        learning_rate: the highest learning rate of the run, for the mean loss.
        num_steps: the number of steps taken.
        state: the sampler's last state, with the latents of the prior.
        network: the model in the form that the run used.
        target: the requested sparsity; None if the prior decided.
        planned_steps: the number of steps planned. If it is more than `num_steps`, a callback or a
            divergence ended the run early, while the learning rate was still above 0.
        rank: what decided which weights went first; None if the prior decided.
        rho: the inclusion probabilities by path, if the prior has them.
        num_held_out: the number of rows held out, on which the scores were computed.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (64, 8))
        >>> y = x[:, 0] - 2.0 * x[:, 1]
        >>> w = jnp.array([1.0, -2.0, 0.1, 0.1, -0.1, 0.1, 0.1, -0.1])
        >>> import flax.linen as nn, tempfile
        >>> net, variables = nn.Dense(1, use_bias=False), {"params": {"kernel": w[:, None]}}
        >>> sparse = compress(
        ...     net, variables, (x, y[:, None]), sparsity=0.75, num_steps=100, learning_rate=0.1,
        ...     key=jax.random.key(1), progress=False,
        ... )
        >>> sparse.report.sparsity, sparse.after.loss < sparse.before.loss, sparse.num_steps
        (0.75, True, 100)
        >>> sparse.predict(x).shape
        (64, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sparse.save(f"{folder}/net.safetensors")
    """

    params: ArrayTree
    model_state: Any
    before: Scores
    after: Scores
    report: SparsityReport
    history: tuple[Look, ...]
    draws: tuple[ArrayTree, Any] | None
    learning_rate: float
    num_steps: int
    state: State
    network: Network
    target: float | None = None
    planned_steps: int | None = None
    rank: str | None = None
    rho: dict[str, jax.Array] | None = None
    num_held_out: int | None = None

    @property
    def variables(self) -> Any:
        """The sparse network in the form that its own library uses.

        This is `{"params": ..., "batch_stats": ...}` for a linen module, a new module for NNX, and
        the parameters for a bare loss.
        """
        return self.network.variables(self.params, self.model_state)

    def predict(self, inputs: Any, *, average: bool = False) -> jax.Array:
        """Predict with the sparse network.

        Args:
            inputs: rows as in training, [n, ...].
            average: whether to average over the draws that `num_draws` of `compress` kept, instead
                of using the last network alone.

        Returns:
            Probabilities f32[n, ..., classes], or the outputs of a regression, f32[n, ...].

        Raises:
            TypeError: the model was a bare loss, which makes no predictions, or `inputs` is a data
                frame.
            ValueError: there are no draws to average over, or the rows do not fit the weights.
        """
        if self.network.outputs is None:
            raise TypeError(
                "predict: a bare loss has no predictions; use the weights in `params` with the "
                "function that the loss calls"
            )
        if hasattr(inputs, "columns") and hasattr(inputs, "to_numpy"):
            raise TypeError(
                "inputs: got a data frame, whose columns are not compared with those fitted; "
                "pass inputs.to_numpy(), with the columns in the order of the training"
            )
        draws = self.draws
        if average and draws is None:
            raise ValueError("average: no draws were kept; call compress with num_draws=10")
        if not average or draws is None:
            draws = jax.tree.map(lambda leaf: leaf[None], (self.params, self.model_state))
        predictor = _predictor(self.network.kind, self.network.outputs)
        with guards.taking("inputs", inputs):
            return predict(predictor, draws, inputs).mean

    def save(self, path: str | os.PathLike[str], *, module: Any = None) -> None:
        """Write the weights, the running moments and the module to a sparse file for `aeb.load`.

        The file holds no code, so preprocessing is not in it. Apply it yourself to the inputs of
        the network that `aeb.load(path)` returns.

        Args:
            path: the file. Its folder must exist.
            module: as in `aeb.save_sparse`. None takes the linen module that was compressed; if
                that cannot be written, a warning says why, and the file holds the weights alone.
                For an NNX module pass `functools.partial(Class, ...)` with the arguments it was
                made with, because it does not keep them.

        Raises:
            FileNotFoundError: the folder does not exist.
            TypeError: a file cannot hold the given module.
            ValueError: the class of the given module cannot be imported.
        """
        about = {
            "sparsity": self.report.sparsity,
            "validation": {"before": self.before._asdict(), "after": self.after._asdict()},
            "learning_rate": self.learning_rate,
            "num_steps": self.num_steps,
        }
        if module is None and self.network.module is not None:
            try:
                describe_module(self.network.module)
            except (TypeError, ValueError) as error:
                # After hours of training, saving the weights comes first.
                warnings.warn(f"{path} holds the weights alone; {error}", stacklevel=2)
            else:
                module = self.network.module
        stored = self.network.stored(self.params, self.model_state)
        save_sparse(path, stored, metadata=about, module=module)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        batch_size: int | None = None,
        platforms: Sequence[str] | None = None,
    ) -> None:
        """Write the sparse network to a file that JAX runs without this library and without Flax.

        The file holds a program that takes rows as in training. It applies the `preprocess` of the
        run itself, and returns what the model returns, such as logits. See `aeb.export` for how to
        run it.

        Args:
            path: the file. Its folder must exist.
            batch_size: the number of rows that the program takes; None for any number.
            platforms: as in `aeb.export`; None for the platform of this process.

        Raises:
            TypeError: the model was a bare loss, which has no outputs.
            ImportError, FileNotFoundError, ValueError: as in `aeb.export`.
        """
        outputs, model_state = self.network.outputs, self.model_state
        if outputs is None:
            raise TypeError(
                "export: a bare loss has no outputs; pass a function (params, inputs) -> outputs "
                "to aeb.export, with the weights in `params`"
            )
        rows = jax.tree.map(lambda leaf: leaf[:1], self.network.data["inputs"])
        export(
            path,
            lambda params, inputs: outputs(params, model_state, inputs),
            self.params,
            rows,
            batch_size=batch_size,
            platforms=platforms,
        )

    def __reduce__(self) -> Any:
        """Refuse to be pickled, and say how to keep the network."""
        raise TypeError(
            "pickle: a Compressed holds compiled functions of the model; write the network by "
            "save(path), for aeb.load, or pickle its params, model_state, history and draws"
        )

    def __copy__(self) -> Compressed:
        """Return itself: neither it nor its arrays change."""
        return self

    def __deepcopy__(self, memo: Any) -> Compressed:
        """Return itself: neither it nor its arrays change."""
        return self

    def __str__(self) -> str:
        """Show scores before and after, and zeros by leaf."""
        name = {"categorical": "NLL", "gaussian": "half MSE", "loss": "loss"}[self.network.kind]
        rows = "the rows" if self.num_held_out is None else f"{self.num_held_out:,} rows"
        lines = [f"{f'on {rows} held out':<24}{'before':>12}{'after':>12}"]
        if self.before.accuracy is not None and self.after.accuracy is not None:
            lines.append(
                f"{'accuracy':<24}{self.before.accuracy:>12.2%}{self.after.accuracy:>12.2%}"
            )
        lines.append(f"{name:<24}{self.before.loss:>12.4g}{self.after.loss:>12.4g}")
        steps = f"{self.num_steps:,}"
        if self.planned_steps is not None and self.num_steps < self.planned_steps:
            steps = f"ended early, after {steps} of {self.planned_steps:,}"
        lines.append(f"{steps} steps at a learning rate of up to {self.learning_rate:.2g}")
        missed = _missed(self)
        lines += [missed] if missed else []
        return "\n".join([*lines, "", str(self.report)])

    def __repr__(self) -> str:
        """Name the result in one line."""
        return (
            f"Compressed(sparsity={self.report.sparsity:.4f}, before={self.before}, "
            f"after={self.after})"
        )


class _Run(NamedTuple):
    """Values that the parts of a run share."""

    network: Network
    train: Batch
    validation: Batch
    num_data: int
    batch_size: int
    num_steps: int
    sparsity: float | None
    where: Where
    scope: str
    rank: str
    temperature: float
    weight_decay: float
    noise: float  # variance of a regression's noise; 1 for other losses
    loss_bound: float | None  # of `aeb.sample`, in units of `noise`
    divergence: str

    def loss_fn(self, params: ArrayTree, batch: Batch, model_state: Any, key: PRNGKey) -> Any:
        """Return the mean negative log-likelihood per row, in nats."""
        loss, model_state = self.network.loss_fn(params, batch, model_state, key)
        return loss / self.noise, model_state


def compress(
    model: Any,
    variables: Any,
    data: Any,
    *,
    sparsity: float | None = 0.9,
    num_steps: int | None = None,
    epochs: float | None = None,
    key: PRNGKey,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    validation: Any = 0.1,
    where: Where = None,
    scope: str = "relative",
    rank: str | None = None,
    temperature: float = 0.0,
    weight_decay: float = 0.0,
    num_draws: int = 0,
    preprocess: Callable[[Any], jax.Array] | None = None,
    augment: Callable[[PRNGKey, jax.Array], jax.Array] | None = None,
    callback: Callable[[Look], Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    limit_seconds: float | None = None,
    divergence: str = "raise",
    progress: bool = True,
) -> Compressed:
    """Make a trained network sparse.

    Args:
        model: a linen module, an NNX module (it is not changed), or a loss
            `(params, batch) -> f32[]`, the mean negative log-likelihood of the rows of a batch.
        variables: the trained weights. For a linen module `{"params": ..., "batch_stats": ...}`;
            for an NNX module None, because it carries its own; for a loss the parameters.
        data: the rows that the network was trained on. For a module, a pair (inputs, targets), or a
            dict with "image" and "label", with "features" and "target", or with "x" and "y".
            Integer targets are classes; real targets make it a regression. For a loss, a pytree of
            arrays with the same first axis.
        sparsity: the share of all parameters to set to zero, in [0, 1). None lets the prior decide.
        num_steps: the number of minibatches to train on; give this or `epochs`. By default it is 20
            epochs, and at least 1,000 steps.
        epochs: the number of passes over the training rows.
        key: a typed key for the whole call.
        learning_rate: the highest learning rate of the run, for the mean loss, > 0. None finds one.
            In a regression, the loss is the squared error divided by twice the variance of the
            residuals of the given network.
        batch_size: the rows of a minibatch. None takes 128, or all rows if there are fewer.
        validation: the share of the rows to hold out, in (0, 1), or other rows in the form of
            `data`. The given network scores too well on rows that it was trained on.
        where: the leaves that may be pruned: a regular expression to search for in the path, a
            function `(path, leaf) -> bool`, or None for all leaves except those named bias or
            scale.
        scope: how leaves share a threshold. "relative" uses one threshold for all leaves, after
            dividing the weights by the norm of their leaf; it empties no leaf. "global" uses one
            threshold for all weights as they are. "leaf" prunes the same share of each leaf.
        rank: what decides which weights go first: "magnitude", their size, or "fisher", what they
            are worth to the loss (see `aeb.fisher`). None takes "fisher" if the network has
            BatchNorm, and "magnitude" otherwise. It is not used with `sparsity=None`.
        temperature: T >= 0 of the sampler. 1 samples the posterior, 0 adds no noise.
        weight_decay: the L2 penalty per row, >= 0, on the leaves that may be pruned. Use that of
            the original training, above all if the network has BatchNorm and you prune more than
            nine tenths.
        num_draws: the number of draws to keep from the second half of the run, >= 0, for
            `Compressed.predict(average=True)`.
        preprocess: a function of the inputs of a module, such as `aeb.data.normalizer("mnist")`.
        augment: `(key, inputs) -> inputs`, applied after `preprocess`, in training only.
        callback: a function of a `Look`, called about 20 times along the run, such as
            `aeb.logs.json_lines("run.jsonl")`. If it returns True, the run ends there. To stop
            early, but not before the ramp is at its target, pass
            `aeb.EarlyStop(lambda look: look.loss, begin=num_steps // 2)`. After a crash, a run with
            `checkpoint` repeats the calls made since the last save.
        checkpoint: a folder for this run alone. If it holds a save, the same call goes on from
            there. Its result is the same to the bit.
        limit_seconds: the training time in seconds, after which the run is saved and a TimeoutError
            is raised. It needs `checkpoint`.
        divergence: as in `aeb.sample`. With "stop" the result is that of the last finite state.
        progress: whether to show a progress bar.

    Returns:
        The sparse network, its scores before and after, and the run that made it.

    Warns:
        UserWarning: the run ended short of its target; the given network, or the one that came
            out, is no better than a constant guess; the one that came out lost more than a
            quarter of what the given one knew beyond a guess; or a dict of data has more than
            inputs and targets.

    Raises:
        TypeError: the model, its variables or the data have a form that is not supported.
        ValueError: an argument is out of its range, data and weights do not fit each other, a loss
            is a sum over its rows, the checkpoint belongs to another run, or a whole leaf was
            pruned.
        aeb.DivergenceError: the run diverged, and `divergence` is "raise" (a FloatingPointError).
        FloatingPointError: the loss on the held-out rows is not finite.
        TimeoutError: the time is over, and everything is saved.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (64, 8))
        >>> y = x[:, 0] - 2.0 * x[:, 1]
        >>> def loss(w, batch):
        ...     return jnp.mean((batch["y"] - batch["x"] @ w) ** 2) / 2
        >>> w = jnp.array([1.0, -2.0, 0.1, 0.1, -0.1, 0.1, 0.1, -0.1])
        >>> sparse = compress(
        ...     loss, w, {"x": x, "y": y}, sparsity=0.75, num_steps=100, learning_rate=0.1,
        ...     key=jax.random.key(1), progress=False,
        ... )
        >>> print(sparse.params.round(1), sparse.report.zeros)
        [ 1. -2.  0.  0.  0.  0.  0.  0.] 6
    """
    guards.check_key("key", key)
    if sparsity is not None:
        guards.share("sparsity", sparsity)
    guards.one_of("scope", scope, SCOPES)
    if rank is not None:
        guards.one_of("rank", rank, tuple(RANKS))
    guards.one_of("divergence", divergence, POLICIES)
    guards.at_least("temperature", temperature, 0.0)
    guards.at_least("weight_decay", weight_decay, 0.0)
    guards.whole("num_draws", num_draws, 0)
    if callable(learning_rate):
        raise TypeError(
            "learning_rate: got a schedule, needs to be a number, the highest rate; compress warms "
            "up to it and falls from it in a cosine"
        )
    if learning_rate is not None:
        guards.positive("learning_rate", learning_rate)
    folder = None if checkpoint is None else guards.check_folder("checkpoint", checkpoint)
    network = as_network(model, variables, data, preprocess=preprocess, augment=augment)
    guards.check_matches(network.params, where)
    split_key, trial_key, run_key, refresh_key = jax.random.split(key, 4)
    if isinstance(validation, float | int):
        train, held_out = _hold_out(network.data, validation, split_key)
    else:
        train = network.data
        held_out = _own_rows(model, variables, validation, preprocess)
    num_data = guards.check_data("data", train)
    batch_size = min(128, num_data) if batch_size is None else batch_size
    guards.whole("batch_size", batch_size, 1)
    if batch_size > num_data:
        raise ValueError(
            f"batch_size: got {batch_size}, needs to be in [1, {num_data}], the number of rows "
            "that are left to train on"
        )
    num_steps = _length(num_steps, epochs, num_data // batch_size)
    guards.whole("num_draws", num_draws, 0)
    guards.within("num_draws", num_draws, f"[0, {num_steps // 2}]")
    rank = rank or default_rank(network)
    _check_reach(network.params, sparsity, num_steps, where, scope)

    before = score(network, network.params, network.model_state, held_out)
    if not math.isfinite(before.loss):
        raise ValueError(
            f"variables: the loss of the given weights is {before.loss}.{about(network.data)}"
        )
    if network.kind == "loss":
        said = sums_over_rows(network.loss_fn, network.params, held_out, network.model_state, key)
        if said is not None:
            raise ValueError(
                f"model: the loss sums over the rows of its batch ({said}), needs to be their mean "
                "for any number of rows; take jnp.mean for jnp.sum"
            )
    if gives_probabilities(network, held_out, before.loss):
        raise ValueError(
            "model: its outputs are at least 0 and sum to 1 in each row, as probabilities do, and "
            "logits are needed; leave out its softmax, or pass a loss (params, batch) -> number"
        )
    noise = 1.0
    if network.kind == "gaussian":
        # The variance of the residuals that the given network leaves, per output.
        targets = network.data["targets"]
        noise = max(2.0 * before.loss / max(targets[0].size, 1), np.finfo(np.float32).tiny)
    guess = loss_of_a_guess(network)
    knew_nothing = _is_no_better(before, guess, held_out)
    if knew_nothing:
        warnings.warn(
            f"variables: on the rows held out the given network has a loss of {before.loss:.4g}, "
            f"and a constant guess one of {guess:.4g}. See that these are the trained weights, and "
            "that preprocess= does to the inputs what was done to them in training",
            stacklevel=2,
        )
    run = _Run(
        network,
        train,
        held_out,
        num_data,
        batch_size,
        num_steps,
        sparsity,
        where,
        scope,
        rank,
        temperature,
        weight_decay,
        noise,
        None if guess is None else _bound(guess, before.loss) / noise,
        divergence,
    )
    facts = {
        "sparsity": sparsity,
        "num_steps": num_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "scope": scope,
        "rank": "magnitude" if sparsity is None else rank,
        "temperature": temperature,
        "weight_decay": weight_decay or None,  # None as in older runs, which did not have it
        "num_draws": num_draws,
        "key": _fingerprint(jax.random.key_data(key)),
        "variables": _fingerprint(network.params),
        "data": _fingerprint(train),
        "validation": _fingerprint(held_out),
    }
    found, given_rate = _resume(folder, facts), learning_rate is not None
    if learning_rate is None:
        learning_rate = found or _tuned(run, trial_key)
    _record(folder, facts, learning_rate)
    algorithm = _algorithm(run, learning_rate)
    state, draws, history = _train(
        run, algorithm, learning_rate, run_key, num_draws, callback, folder, limit_seconds, progress
    )
    params, model_state = state.position, state.model_state
    if network.has_averages:
        model_state = _refreshed(run, params, model_state, refresh_key)
    result = Compressed(
        params=params,
        model_state=model_state,
        before=before,
        after=score(network, params, model_state, held_out),
        report=sparsity_report(params),
        history=history,
        draws=draws,
        learning_rate=learning_rate,
        num_steps=int(state.step),
        state=state,
        network=network,
        target=sparsity,
        planned_steps=num_steps,
        rank=None if sparsity is None else rank,
        rho=None if algorithm.inclusion is None else algorithm.inclusion(state),
        num_held_out=len(jax.tree.leaves(held_out)[0]),
    )
    missed = _missed(result)
    if missed:
        warnings.warn(f"sparsity: {missed}; ask for more steps", stacklevel=2)
    if not knew_nothing and _is_no_better(result.after, guess, held_out):
        warnings.warn(
            f"the network that came out is of no use: on the {len(held_out['targets'])} rows held "
            f"out it has a loss of {result.after.loss:.4g}, and a constant guess one of "
            f"{guess:.4g}. Try a lower sparsity, more steps, a lower learning rate than "
            f"{learning_rate:.2g}, or more rows",
            stacklevel=2,
        )
    elif (lost := _lost(before, result.after, guess, held_out)) is not None:
        warnings.warn(
            f"the network that came out knows much less than the given one: {lost}. Try more "
            "steps, a lower sparsity"
            + (" or no learning_rate, to have one found" if given_rate else "")
            + ", or more rows",
            stacklevel=2,
        )
    return result


def default_rank(network: Network) -> str:
    """Return what a network's weights are ranked by if nobody says: "fisher" with BatchNorm."""
    return "fisher" if network.has_averages else "magnitude"


def _bound(guess: float, before: float) -> float:
    """Return the loss above which a run is no better than a guess."""
    return NEAR * guess if before < KNOWS * guess else max(guess, before)


def _lost(before: Scores, after: Scores, guess: float | None, held_out: Batch) -> str | None:
    """Say that more than `MOST_LOST` of what a network knew beyond a guess is gone."""
    if guess is None:
        return None
    if before.accuracy is None or after.accuracy is None:
        known, left = guess - before.loss, guess - after.loss
        said = f"the loss went from {before.loss:.4g} to {after.loss:.4g}; a guess has {guess:.4g}"
    else:
        targets = np.asarray(held_out["targets"]).ravel()
        base = float(np.bincount(targets).max()) / targets.size
        known, left = before.accuracy - base, after.accuracy - base
        said = (
            f"the accuracy went from {before.accuracy:.1%} to {after.accuracy:.1%}; a guess has "
            f"{base:.1%}"
        )
    if known <= 0 or left >= (1 - MOST_LOST) * known:
        return None
    return f"on the {len(held_out['targets'])} rows held out {said}"


def _is_no_better(scores: Scores, guess: float | None, held_out: Batch) -> bool:
    """Return whether a network is no better than a constant guess, whose loss is given."""
    return guess is not None and scores.loss > guess and _only_guesses(scores, held_out)


def _only_guesses(scores: Scores, held_out: Batch) -> bool:
    """Return whether a classifier is no better than the most frequent class. True for other losses.

    The loss alone does not tell: a network that is overconfident where it is wrong has a high loss,
    but may still know a lot.
    """
    if scores.accuracy is None:
        return True
    targets = np.asarray(held_out["targets"]).ravel()
    # Compare counts: the accuracy is a float32, the share of rows is not.
    return round(scores.accuracy * targets.size) <= int(np.bincount(targets).max())


def _missed(result: Compressed) -> str | None:
    """Say how far a run got that ended short of its target; None if it did not."""
    if result.target is None:
        return None
    size = sum(leaf.size for leaf in result.report.leaves)
    # A ramp is a float32, so its count may be off by rounding.
    if result.report.zeros >= result.target * size * (1 - 1e-6) - 1:
        return None
    reached, steps = result.report.sparsity, result.num_steps
    return (
        f"{reached:.2%} of the weights are zero after {steps:,} steps, short of {result.target:.2%}"
    )


def _tuned(run: _Run, key: PRNGKey) -> float:
    """Find the learning rate that best repairs a pruned copy of the network."""
    # By size, whatever the run ranks by: the Fisher information is not known yet.
    rule = magnitude(TRIAL_SPARSITY, scope=run.scope)
    algorithm = empirical_bayes(
        sghmc(learning_rate=1.0, friction=FRICTION, temperature=0.0),
        gaussian(precision=1.0, where=run.where),
        gain=0.0,
        sparsify=rule,
    )
    start = algorithm.init(run.network.params, run.network.model_state)
    pruned, _, _ = rule.apply(start.position, (), None, (), 0, as_where(run.where))
    kernel = build_kernel(algorithm, run.loss_fn, num_data=run.num_data, has_aux=True)
    low, high = TRIAL_STEPS

    def tuned(lowest: float) -> float:
        return tune(
            kernel,
            start._replace(position=pruned),
            run.train,
            key,
            batch_size=run.batch_size,
            num_steps=min(max(run.num_steps // 20, low), high),
            lowest=lowest,
            highest=HIGHEST,
        )

    for lowest in LOWEST:
        try:
            return tuned(lowest)
        except ValueError as error:
            failed = error
        if not str(failed).startswith("lowest:"):
            break
    raise ValueError(
        f"learning_rate: none from {lowest:g} to {HIGHEST:g} mends a pruned copy ({failed}); see "
        "that the loss is a mean over the batch, and that inputs and targets are about as large as "
        f"1, or pass one.{about(run.network.data)}"
    ) from failed


def _algorithm(run: _Run, learning_rate: float) -> Algorithm:
    """Build the sampler, the prior and the pruning rule of a run."""
    rule = _rule(run.sparsity, run.num_steps, run.scope, run.rank)
    rate = _rate(learning_rate, run.num_steps)
    return empirical_bayes(
        sghmc(learning_rate=rate, friction=FRICTION, temperature=run.temperature),
        spike_slab(where=run.where, precision=run.weight_decay * run.num_data / run.noise),
        sparsify=rule,
    )


def _rule(
    sparsity: float | None, num_steps: int, scope: str, rank: str = "magnitude"
) -> Sparsifier:
    """Build the pruning rule of a run."""
    if sparsity is None:
        return learned(begin=int(PRUNED_AFTER * num_steps))
    ramp = sparsity_ramp(sparsity, num_steps, until=PRUNED_AFTER)
    # BatchNorm divides the gradient of an output channel without weights by the root of epsilon.
    # The weights of the channel would return all at once, and large.
    return RANKS[rank](ramp, scope=scope, of="all", regrow=False)


def _check_reach(
    params: ArrayTree, sparsity: float | None, num_steps: int, where: Where, scope: str
) -> None:
    """Require that the chosen leaves can hold the zeros, before the search for a learning rate."""
    if sparsity is None:
        return
    try:
        _rule(sparsity, num_steps, scope).init(params, None, as_where(where))
    except ValueError as error:
        # The rule calls it the ramp, the caller the sparsity.
        said = str(error).replace("ramp:", "sparsity:", 1)
        if where is None:
            said += (
                ". It is a share of all parameters, those named bias or scale too, which stay "
                "as they are unless where= chooses them"
            )
        raise ValueError(said) from error


def _rate(highest: float, num_steps: int) -> Schedule:
    """Build a schedule: a rise over the first twentieth of a run, then a cosine to 0."""
    rise = max(num_steps // 20, 1)
    schedule: Schedule = optax.schedules.warmup_cosine_decay_schedule(
        # One step longer than the run: a rate of exactly 0 would waste the last step.
        highest / rise,
        highest,
        rise,
        max(num_steps, rise + 1) + 1,
    )
    return schedule


def _train(
    run: _Run,
    algorithm: Algorithm,
    learning_rate: float,
    key: PRNGKey,
    num_draws: int,
    callback: Callable[[Look], Any] | None,
    folder: Path | None,
    limit_seconds: float | None,
    progress: bool,
) -> tuple[State, Any, tuple[Look, ...]]:
    """Run all steps, and score the held-out rows from time to time."""
    kernel = build_kernel(algorithm, run.loss_fn, num_data=run.num_data, has_aux=True)
    # Our own losses are means, and a bare loss was checked before.
    kernel = with_facts(kernel, facts_of(kernel)._replace(loss=None))
    history = _read_history(folder)

    empty = [leaf for leaf, x in select(run.network.params, run.where).items() if not x.any()]

    def look(state: State) -> Any:
        step = int(state.step)
        scores = score(run.network, state.position, state.model_state, run.validation)
        if not math.isfinite(scores.loss):
            raise FloatingPointError(
                f"learning_rate: at {learning_rate:.2g} the loss is {scores.loss} after step "
                f"{step}; pass a lower one"
            )
        report = sparsity_report(state.position)
        for leaf in select(state.position, run.where):
            if run.sparsity is not None and leaf not in empty and _is_gone(report, leaf):
                raise ValueError(
                    f"scope: after step {step} every weight of {leaf} is zero, so nothing passes; "
                    "pass scope='relative', a lower sparsity, or another learning_rate than "
                    f"{learning_rate:.2g}"
                )
        history[step] = Look(step, report.sparsity, *scores)
        if folder is not None:
            write_json(folder / "history.json", [each._asdict() for each in history.values()])
        return None if callback is None else callback(history[step])

    try:
        with _warnings_in_our_words(run):
            state, draws = sample(
                kernel,
                algorithm.init(run.network.params, run.network.model_state),
                run.train,
                key,
                num_steps=run.num_steps,
                batch_size=run.batch_size,
                collect=_position_and_model_state if num_draws else None,
                every=run.num_steps // (2 * num_draws) if num_draws else 1,
                callback=look,
                callback_every=max(run.num_steps // LOOKS, 1),
                checkpoint=None if folder is None else folder / "steps",
                limit_seconds=limit_seconds,
                divergence=run.divergence,
                loss_bound=run.loss_bound,
                missed="ignore",  # `compress` has its own warning
                progress=progress,
            )
    except DivergenceError as error:
        # What to change has another name here.
        raise DivergenceError(_in_our_words(str(error), run)) from error
    if num_draws and draws is not None:
        draws = jax.tree.map(lambda leaf: leaf[-num_draws:], draws)
    return state, draws, tuple(history[step] for step in sorted(history))


@contextlib.contextmanager
def _warnings_in_our_words(run: _Run) -> Iterator[None]:
    """Rewrite the warnings of `aeb.sample`, which come when it ends.

    If it fails they do not come, because its error says what is wrong.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    registry: dict[Any, Any] = {}  # the same warning of the same line once
    for warning in caught:
        said = _in_our_words(str(warning.message), run)
        warnings.warn_explicit(
            said, warning.category, warning.filename, warning.lineno, registry=registry
        )


def _in_our_words(said: str, run: _Run) -> str:
    """Rewrite what `aeb.sample` says: arguments have other names here, rows are permuted there."""
    for advice in (LOST_ADVICE, FORGOT_ADVICE):
        said = said.replace(advice, f'{ADVICE}. To look for nothing, pass divergence="ignore"')
    said = said.replace("loss_bound=inf", 'divergence="ignore"')
    permuted = about(run.train)
    return said.replace(permuted, about(run.network.data)) if permuted else said


def _is_gone(report: SparsityReport, path: str) -> bool:
    """Return whether a leaf of several weights is entirely zero."""
    (leaf,) = (leaf for leaf in report.leaves if leaf.path == path)
    return leaf.zeros == leaf.size > 1


def _position_and_model_state(state: State) -> tuple[ArrayTree, Any]:
    return state.position, state.model_state


def _refreshed(run: _Run, params: ArrayTree, model_state: Any, key: PRNGKey) -> Any:
    """Recompute the running moments, which still remember earlier weights.

    With each minibatch a running mean forgets a share of what it was, and that may be a thousandth.
    So the same minibatches are passed twice, and `_limit` finds where a mean ends that passes them
    for ever.
    """
    forward = jax.jit(run.loss_fn)

    def passed(model_state: Any) -> Any:
        for number in range(REFRESH_BATCHES):
            row_key, loss_key = jax.random.split(jax.random.fold_in(key, number))
            rows = np.asarray(jax.random.permutation(row_key, run.num_data))[: run.batch_size]
            _, model_state = forward(params, _part(run.train, rows), model_state, loss_key)
        return model_state

    once = passed(model_state)
    limits = jax.tree.map(_limit, model_state, once, passed(once))
    # The rounding of small variances after large ones may be larger than they are.
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.abs(leaf) if "var" in path_of(path).split("/") else leaf, limits
    )


def _limit(start: Any, once: Any, twice: Any) -> Any:
    """Return where a running mean ends: a pass takes it from x to r x + c, so at c / (1 - r).

    Args:
        start: the mean before any pass.
        once: after a pass.
        twice: after another pass of the same minibatches.

    Returns:
        The limit; for a leaf that is no such mean, such as a counter, `twice`.
    """
    if not jnp.issubdtype(jnp.asarray(once).dtype, jnp.floating):
        return twice
    exact = working_dtype(once)
    x, y, z = (jnp.asarray(leaf, exact) for leaf in (start, once, twice))
    first, second = y - x, z - y
    moved = jnp.sum(first * first)
    kept = jnp.sum(first * second) / jnp.where(moved > 0, moved, 1)  # r, of all entries
    is_mean = (kept > 0) & (kept < MOST_KEPT)
    limit = y + second / jnp.where(is_mean, 1 - kept, 1)
    return jnp.where(is_mean, limit, z).astype(twice.dtype)


def _hold_out(data: Batch, share: float, key: PRNGKey) -> tuple[Batch, Batch]:
    """Split the rows by a permutation."""
    guards.within("validation", share, "(0, 1)")
    rows = guards.check_data("data", data)
    held_out = max(round(share * rows), 1)
    if held_out >= rows:
        raise ValueError(f"validation: {share} of {rows} rows leaves none to train on")
    order = np.asarray(jax.random.permutation(key, rows))
    return _part(data, order[held_out:]), _part(data, order[:held_out])


def _own_rows(model: Any, variables: Any, rows: Any, preprocess: Any) -> Batch:
    """Read the rows given as `validation`. Errors name that argument."""
    try:
        return as_network(model, variables, rows, preprocess=preprocess).data
    except (TypeError, ValueError) as error:
        if not str(error).startswith("data:"):
            raise
        raise type(error)(str(error).replace("data:", "validation:", 1)) from error


def _part(data: Batch, rows: np.ndarray) -> Batch:
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[rows]), data)


def _length(num_steps: int | None, epochs: float | None, batches: int) -> int:
    """Return the length of the run in steps."""
    if num_steps is not None and epochs is not None:
        raise ValueError(f"epochs: got {epochs!r} beside num_steps={num_steps!r}; give one of them")
    if num_steps is not None:
        guards.whole("num_steps", num_steps, 1)
        return num_steps
    if epochs is not None:
        guards.positive("epochs", epochs)
        return max(round(epochs * batches), 1)
    return max(EPOCHS * batches, LEAST_STEPS)


def _fingerprint(tree: Any) -> int:
    """Return a number that differs between trees with different values."""
    total = 0
    for path, leaf in named_leaves(tree).items():
        total = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), zlib.crc32(path.encode(), total))
    return total


def _resume(folder: Path | None, facts: Mapping[str, Any]) -> float | None:
    """Return the learning rate of the run in a folder; None if there is none yet."""
    if folder is None or not (folder / "settings.json").exists():
        return None
    written = json.loads((folder / "settings.json").read_text())
    # Older runs say nothing of these.
    older = {"rank": "magnitude", "key": facts["key"], "data": facts["data"]}
    begun = older | written["facts"]
    for name, value in facts.items():
        if begun.get(name) != value:
            was = "another" if name in FINGERPRINTS else begun.get(name)
            raise ValueError(
                f"{name}: the run in {folder} was begun with {was}; give the same again to go on "
                "with it, or name another folder as checkpoint"
            )
    return float(written["found"])


def _record(folder: Path | None, facts: Mapping[str, Any], learning_rate: float) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "settings.json", {"facts": dict(facts), "found": learning_rate})


def _read_history(folder: Path | None) -> dict[int, Look]:
    """Read the looks of a resumed run, by step."""
    if folder is None or not (folder / "history.json").exists():
        return {}
    looks = [Look(**each) for each in json.loads((folder / "history.json").read_text())]
    return {each.step: each for each in looks}


@functools.lru_cache(maxsize=8)
def _predictor(kind: str, outputs: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Build the prediction function of one draw. It is cached, so it is compiled only once."""

    def probs(draw: Any, inputs: Any) -> jax.Array:
        predicted = outputs(*draw, inputs)
        return jax.nn.softmax(predicted) if kind == "categorical" else predicted

    return probs
