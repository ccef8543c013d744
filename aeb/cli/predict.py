# SPDX-License-Identifier: Apache-2.0
"""`aeb predict`: run the network of a sparse file on rows, and write its predictions.

`aeb.load` rebuilds the network. It imports the package of the network's class and calls nothing
else. A file without its module needs `--model`, and one that was made with `--preprocess` needs
that function again. The targets of the rows decide what is written. Without targets, several
outputs count as the logits of classes:

    classes      `label` i32[n, ...], the likeliest, and `probability` f32[n, ..., classes]
    regression   `prediction` f32[n, ...]
    --raw        `output`, as the network gives it
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import aeb
from aeb import guards
from aeb.cli.named import described, find, find_network, use_current_folder
from aeb.cli.output import AsJson, Outcome, Switch
from aeb.cli.rows import INPUTS, SETS, TARGETS, read_rows
from aeb.cli.weights import fill, read_weights
from aeb.data.files import read_npz, write_npz
from aeb.evaluation.diagnostics import accuracy, negative_log_likelihood
from aeb.files import inspect_sparse
from aeb.files.atomic import replacing
from aeb.guards import some
from aeb.network import serving
from aeb.usage import UsageError

__all__ = ["Predict"]

ENDINGS = (".npz", ".csv")


@dataclasses.dataclass(frozen=True)
class Predict:
    """Run the network of a sparse file on rows, and write its predictions.

    aeb predict aeb-demo/model.safetensors --data digits --out predictions.csv
    """

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A sparse file that names its module, from aeb demo, aeb compress or Compressed.save."""
    data: str
    """digits, mnist, fashion_mnist, cifar10 (their test rows), or an npz of image, maybe label."""
    out: Path = Path("predictions.npz")
    """The file to write, .npz or .csv."""
    model: str | None = None
    """package.module:name of the network, for a file that does not say it, as of an NNX factory."""
    preprocess: str | None = None
    """package.module:function, applied to the inputs, or none. A named data set brings its own."""
    batch_size: int = 512
    """Number of rows to predict at a time."""
    raw: Switch = False
    """Write the raw outputs instead of probabilities."""
    as_json: AsJson = False
    """Print one JSON object to stdout. Everything else goes to stderr."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        guards.whole("batch_size", self.batch_size, 1)
        if self.out.suffix not in ENDINGS:
            raise ValueError(f"--out: got {self.out}; needs to end in {' or '.join(ENDINGS)}")

    def __call__(self) -> Outcome:
        """Run it."""
        network = _read(self.file, self.model)
        inputs, targets = _rows(self.data)
        outputs = _run(network, inputs, self._preprocess(), self.batch_size)
        is_class = outputs.ndim > 1 and outputs.shape[-1] > 1
        if targets is not None:
            is_class = targets.dtype.kind in "iub"
            _check_fit(outputs, targets, is_class)
        if self.raw:
            written = {"output": outputs}
        elif is_class:
            probs = np.asarray(jax.nn.softmax(outputs))
            written = {"label": outputs.argmax(axis=-1).astype(np.int32), "probability": probs}
        else:
            written = {"prediction": outputs}
        _write(self.out, written)
        scores = {} if targets is None else _scores(outputs, targets, is_class)
        lines = [f"{name}: {value:.4f}" for name, value in scores.items()]
        lines.append(f"{self.out}: {', '.join(written)} of {len(outputs):,} rows")
        facts = {"file": str(self.file), "out": str(self.out), "rows": len(outputs)}
        return Outcome("\n".join(lines), facts | scores)

    def _preprocess(self) -> Callable[[Any], Any]:
        trained = inspect_sparse(self.file).metadata.get("preprocess")
        if self.preprocess is None and trained is not None:
            # A file should not be able to have a function of its choice called.
            raise UsageError(
                f"--preprocess: the network was trained on inputs that {trained} had changed; pass "
                f"--preprocess {trained}, or --preprocess none for inputs that are changed already"
            )
        if self.preprocess == "none":
            return lambda inputs: inputs
        if self.preprocess is not None:
            function: Callable[[Any], Any] = find("preprocess", self.preprocess)
            if not callable(function):
                raise UsageError(f"--preprocess: {self.preprocess} is no function")
            return function
        if self.data in SETS and not Path(self.data).exists():
            return aeb.data.normalizer(self.data)
        return lambda inputs: inputs


def _read(path: Path, name: str | None) -> Callable[[Any], Any]:
    """Rebuild the network of a file, as `inputs -> outputs`."""
    use_current_folder()
    try:
        if name is not None:
            return _named(path, name)
        model = aeb.load(path)
        if not hasattr(model.module, "apply"):  # an NNX module, which holds its weights
            return lambda inputs: model(inputs)
        apply = serving(model.module)
    except (ValueError, TypeError, ImportError, OSError) as error:
        about = inspect_sparse(path) if path.is_file() and "which module" in str(error) else None
        if about is not None and "model" in about.metadata:
            raise UsageError(
                f"{path} holds weights but no module; add --model {about.metadata['model']}"
            ) from error
        # What is `path` in Python is FILE in the command.
        raise UsageError(re.sub("^path: ", "FILE: ", str(error))) from error
    return lambda inputs: apply(model.variables, inputs)


def _named(path: Path, name: str) -> Callable[[Any], Any]:
    """Put the weights of a file into a network that is named, as `inputs -> outputs`."""
    module = find_network(name, 0).module
    if hasattr(module, "apply"):
        tree = aeb.load_sparse(path)[0]
        variables = tree if "params" in tree else {"params": tree}
        apply = serving(module)
        return lambda inputs: apply(variables, inputs)
    fill(module, read_weights(path, "FILE"), f"FILE: {path}")
    module.eval()
    return lambda inputs: module(inputs)


def _rows(place: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Read inputs, and targets if there are any."""
    if Path(place).is_file():
        arrays = read_npz(place)
        if not set(TARGETS) & set(arrays):
            names = [name for name in INPUTS if name in arrays]
            if len(names) != 1 or not arrays[names[0]].ndim or not len(arrays[names[0]]):
                raise UsageError(
                    f"--data: {place} has {some(sorted(arrays), 6)}; needs rows in one of "
                    f"{', '.join(INPUTS)}"
                )
            return arrays[names[0]], None
    return read_rows("data", place, "test")[:2]


def _run(
    network: Callable[[Any], Any],
    inputs: np.ndarray,
    preprocess: Callable[[Any], Any],
    batch_size: int,
) -> np.ndarray:
    """Apply the network to all rows, a few at a time."""
    program = jax.jit(lambda batch: network(preprocess(batch)))
    parts = []
    try:
        with guards.taking("--data", inputs):
            for at in range(0, len(inputs), batch_size):
                outputs = program(jnp.asarray(inputs[at : at + batch_size]))
                parts.append(np.asarray(outputs.astype(jnp.float32)))
    except Exception as error:  # the user's own code, which may raise anything: told in a line
        if str(error).startswith("--data: "):
            raise UsageError(str(error)) from error
        row = f"{inputs.dtype}{list(inputs.shape[1:])}"
        raise UsageError(
            f"--data: on rows of {row} the network raised {described(error)}"
        ) from error
    outputs = np.concatenate(parts)
    if outputs.shape[:1] != inputs.shape[:1]:
        raise UsageError(
            f"--data: for {len(inputs)} rows the network gave {list(outputs.shape)}; needs one each"
        )
    return outputs


def _check_fit(outputs: np.ndarray, targets: np.ndarray, is_class: bool) -> None:
    """Check that targets and outputs can be compared."""
    wanted = outputs.shape[:-1] if is_class else outputs.shape
    if targets.shape != wanted and not (not is_class and outputs.size == targets.size):
        raise UsageError(
            f"--data: targets {targets.dtype}{list(targets.shape)} do not fit the outputs "
            f"{list(outputs.shape)} of the network"
        )
    if is_class and not 0 <= targets.min() <= targets.max() < outputs.shape[-1]:
        raise UsageError(
            f"--data: the classes run from {targets.min()} to {targets.max()}, and the network "
            f"knows 0 to {outputs.shape[-1] - 1}"
        )


def _scores(outputs: np.ndarray, targets: np.ndarray, is_class: bool) -> dict[str, float]:
    if is_class:
        probs = jax.nn.softmax(outputs).reshape(-1, outputs.shape[-1])
        labels = targets.ravel().astype(np.int32)
        nll = float(negative_log_likelihood(probs, labels))
        return {"accuracy": float(accuracy(probs, labels)), "nll": nll}
    gap = outputs.ravel() - targets.ravel()
    return {"rmse": float(np.sqrt(np.mean(np.square(gap))))}


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays. A csv file has one line per row and one column per entry."""
    if path.suffix == ".npz":
        write_npz(path, arrays)
        return
    names, columns = [], []
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1)
        alone = flat.shape[1] == 1
        names += [name if alone else f"{name}_{number}" for number in range(flat.shape[1])]
        columns += list(flat.T)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(names)
    lines.writerows(zip(*(column.tolist() for column in columns), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.getvalue().encode())
