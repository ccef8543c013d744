# SPDX-License-Identifier: Apache-2.0
"""Save the checkpoints of a run, and decide which run may resume from them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb.files import checkpoint as files
from aeb.files.archive import DamagedFileError
from aeb.sampling.programs import steps_taken
from aeb.types import PRNGKey

__all__ = ["Keeper"]

SAVE_EVERY = 60.0
"""The number of seconds between two checkpoints."""


class Keeper:
    """The checkpoints of one run, and the clock that ends it."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        key: PRNGKey,
        watch: Callable[[Any], Any],
        due: range,
        facts: dict[str, int],
        limit_seconds: float | None,
    ) -> None:
        self._folder, self._key, self._watch, self._due = folder, key, watch, due
        self._facts = {name: np.asarray(value) for name, value in facts.items()}
        self._limit, self._began = limit_seconds, time.monotonic()
        self._saved = self._began

    def restore(self, state: Any, stop: int) -> tuple[Any, list[Any]]:
        """Read the newest state and the draws before it. Without a save, return `state` itself."""
        if files.latest_step(self._folder) is None:
            return state, []

        def like(step: int) -> Any:
            rows = sum(1 for count in self._due if count <= step)
            return self._tree(state, [self._rows(state, rows)] if rows else [])

        try:
            last, tree = files.restore(self._folder, like)
        except DamagedFileError:
            raise
        except ValueError as error:
            raise ValueError(
                f"checkpoint: what is in {self._folder} is of another run, or of other draws "
                f"({error}); name another folder"
            ) from error
        for name, value in self._facts.items():
            if int(tree["facts"][name]) != int(value):
                raise ValueError(
                    f"{name}: the run in {self._folder} was begun with {int(tree['facts'][name])}, "
                    f"this one is with {int(value)}; name another folder as checkpoint"
                )
        key = jax.random.key_data(tree["key"]), jax.random.key_data(self._key)
        if key[0].shape != key[1].shape or bool((key[0] != key[1]).any()):
            raise ValueError(
                f"key: the run in {self._folder} was begun with another; pass that one, or name "
                "another folder as checkpoint"
            )
        if last > stop:
            raise ValueError(
                f"checkpoint: {self._folder} holds step {last}, and this run ends at {stop}; ask "
                "for more steps, or name another folder"
            )
        # Later files were damaged. New ones will replace them.
        files.discard_after(self._folder, last)
        return tree["state"], [tree["draws"]] if "draws" in tree else []

    def save_if_due(self, state: Any, draws: list[Any]) -> None:
        """Save if the last save was long enough ago."""
        if time.monotonic() - self._saved >= SAVE_EVERY:
            self.save(state, draws)

    def end_if_over(self, state: Any, draws: list[Any], done: int, stop: int) -> None:
        """Save and end the run if its time is over and steps are left."""
        if self._limit is None or time.monotonic() - self._began < self._limit or done == stop:
            return
        self.save(state, draws)
        raise TimeoutError(
            f"limit_seconds: {self._limit:g} s are over at step {done} of {stop}; all is "
            f"saved in {self._folder}, and the same call goes on"
        )

    def save(self, state: Any, draws: list[Any]) -> None:
        """Write a checkpoint. This also concatenates the draws."""
        if len(draws) > 1:
            draws[:] = [jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *draws)]
        step = int(jax.device_get(steps_taken(state)))
        files.save(self._folder, step, self._tree(state, draws))
        self._saved = time.monotonic()

    def _tree(self, state: Any, draws: list[Any]) -> dict[str, Any]:
        tree = {"key": self._key, "state": state, "facts": self._facts}
        return tree | {"draws": draws[0]} if draws else tree

    def _rows(self, state: Any, count: int) -> Any:
        shapes = jax.eval_shape(self._watch, state)
        return jax.tree.map(lambda s: jnp.zeros((count, *s.shape[1:]), s.dtype), shapes)
