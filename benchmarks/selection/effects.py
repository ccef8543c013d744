# SPDX-License-Identifier: Apache-2.0
"""Effects at real genotypes, and the credible sets that are to hold them.

    y = X beta + noise,    k of beta not 0, drawn from N(0, 1) and scaled:
    Var(X beta) / (Var(X beta) + 1) = share

X are the genotypes of `designs`, 574 people by 1,001 variants that are correlated as neighbours in
a genome are; many are the same in all people. Draw number 0, 1, 2, ... has k = 1, 2, 3, 4, 5 in
turn, and after five draws the next share of the variance. As in Wang et al. (JRSSB 2020), with
whose package the genotypes come:

    coverage   share of the sets that hold an effect, to be as stated
    power      share of the effects that are in a set

susie's level is conditional on there being an effect. Ours is not, unless `existence` is given; so
both kinds of our sets are scored, of the same fit.
"""

import zlib
from typing import Any, NamedTuple

import jax
import numpy as np

import aeb
from benchmarks.selection.designs import genotypes

TASK = "credible sets"

COUNTS = (1, 2, 3, 4, 5)

SHARES = (0.05, 0.1, 0.2, 0.4)

LEVEL = 0.95

EXISTENCE = 0.5
"""Where our conditional sets begin. Chosen on draws 0 to 59; the others judge it."""

CHOSEN_ON = 60
"""The number of draws that `EXISTENCE` was chosen on."""


class Effects(NamedTuple):
    """A draw of effects and of y."""

    x: np.ndarray  # f64[574, 1001]
    y: np.ndarray  # f64[574]
    columns: np.ndarray  # i64[k]: where the effects are
    share: float  # of the variance of y


def draw(number: int) -> Effects:
    """Draw effects and y; each number has its own."""
    rng = np.random.default_rng([zlib.crc32(TASK.encode()), number])
    x = genotypes()
    count = COUNTS[number % len(COUNTS)]
    share = SHARES[number // len(COUNTS) % len(SHARES)]
    columns = rng.choice(x.shape[1], size=count, replace=False)
    signal = x[:, columns] @ rng.normal(size=count)
    signal *= (share / (1.0 - share)) ** 0.5 / signal.std()
    return Effects(x, signal + rng.normal(size=len(x)), columns, share)


def sets_of(method: str, effects: Effects) -> dict[str, list[np.ndarray]]:
    """Return the columns of each credible set of "aeb" or "susie", by the kind of the level.

    The level is 0.95 and the purity 0.5, the defaults of both.

    Returns:
        The sets as "stated": by the level of the method's own default. For "aeb" also those as
        "conditional", by a level like susie's.
    """
    if method == "aeb":
        fit = aeb.regression(effects.x, effects.y, key=jax.random.key(0))
        kinds = {"stated": None, "conditional": EXISTENCE}
        return {
            kind: [own.columns for own in fit.credible_sets(level=LEVEL, existence=existence)]
            for kind, existence in kinds.items()
        }
    import pysusie

    fit = pysusie.susie(effects.x, effects.y)
    return {"stated": [np.asarray(found) for found in fit["sets"]["cs"] or []]}


def score(effects: Effects, sets: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Say which sets hold an effect, and how many effects are in one."""
    of_kind = {kind: _score(effects, found) for kind, found in sets.items()}
    return {
        "effects": len(effects.columns),
        "share": effects.share,
        **of_kind.pop("stated"),
        **of_kind,
    }


def _score(effects: Effects, sets: list[np.ndarray]) -> dict[str, Any]:
    held = [bool(np.isin(effects.columns, found).any()) for found in sets]
    inside = np.isin(effects.columns, np.concatenate(sets)) if sets else np.zeros(0, bool)
    return {
        "sizes": [len(found) for found in sets],
        "holds_an_effect": held,
        "effects_in_sets": int(inside.sum()),
    }
