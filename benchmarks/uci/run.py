# SPDX-License-Identifier: Apache-2.0
"""UCI regressions by a small network: the six arms of the paper's poster and ours, 20 splits.

Beside them stands the setting that we recommend, one for all sets, chosen by validation inside
training parts of other splits (`recommended`, docs/lab-notes.md).

    SGHMC      an L2 penalty on all weights, the gain 0
    SGHMC-EM   spike and slab on both weight matrices, the gain 1
    SGHMC-SA   the same by stochastic approximation, gain (100 + k)^-0.7
    A-         the inverse temperature rises by 0.3 % with each minibatch
    aeb        the recommended setting, its noise learned, several chains averaged

The network, the splits and the hyper-parameters of the arms are those of the authors' code, whose
energy has the noise of the likelihood fixed (`arms`). Two things differ from it: the
densities in rho depend on sigma, as the paper writes and the library has it (their code leaves
sigma out of them), and sigma itself is averaged, not its square. The sixth set, power, is ours; it
has the hyper-parameters of concrete.

The authors report the error of the last draw; here the average over the draws of the second half
of the epochs stands beside it, and the density that it predicts. Their arms have no noise level
that could serve for that, so the same arm is run once more without a fifth of the training rows,
and the noise is the one at which these rows are likeliest. The recommended setting needs no such
run: each draw brings its sigma.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aeb.data import train_test_split
from benchmarks import harness
from benchmarks.uci import arms, chains, recommended, scores, splits
from benchmarks.uci.chains import Shape
from benchmarks.uci.recipe import ARMS, ArmName, Poster, temper
from benchmarks.uci.recommended import Recommended
from benchmarks.uci.splits import SEEDS, SETS, Set

__all__ = ["NAME", "PRESETS", "Uci", "main"]

NAME = "uci"

DESCRIPTION = "UCI regressions by a small network: the six arms of the paper's poster, and ours."


@dataclasses.dataclass(frozen=True)
class Uci(harness.Settings):
    """The settings of this script; `seed` is that of the chains, the splits have the authors'."""

    sets: tuple[Set, ...] = SETS
    """Sets, read from AEB_DATA_DIR/uci."""
    arms: tuple[ArmName, ...] = (*ARMS, "aeb")
    """Samplers to compare."""
    splits: int = 20
    """Splits of each set, of the authors' 20."""
    poster: Poster = dataclasses.field(default_factory=Poster)
    """How the authors' arms are set."""
    recommended: Recommended = dataclasses.field(default_factory=Recommended)
    """How the recommended arm is set."""

    def check(self) -> None:
        """Raise a ValueError that names the first setting out of its range."""
        super().check()
        self.poster.check()
        self.recommended.check()
        harness.check(
            self,
            some="sets arms",
            whole={1: "splits"},
            within={f"[1, {len(SEEDS)}]": "splits"},
        )

    def cells(self) -> list[tuple[Set, ArmName]]:
        """List the sets, each with its arms."""
        arms = dict.fromkeys(self.arms)
        return [(name, arm) for name in dict.fromkeys(self.sets) for arm in arms]

    def config(self, name: Set, arm: ArmName) -> dict[str, Any]:
        """Tell all that fixes the row of a cell but the seed of its split."""
        cell = {"set": name, "arm": arm, "chain_seed": self.seed}
        if arm == "aeb":
            return cell | {"recipe": dataclasses.asdict(self.recommended)}
        inverse_temperature, v0 = temper(name)
        return cell | {
            "inverse_temperature": inverse_temperature,
            "v0": v0,
            "recipe": dataclasses.asdict(self.poster),
        }

    def shape(self) -> Shape:
        """Tell how long the chains of the authors' arms are."""
        recipe = self.poster
        burn_in = min(round(recipe.burn_in * recipe.epochs), recipe.epochs - 1)
        return Shape(recipe.hidden, recipe.batch_size, 1, 1, recipe.epochs, burn_in)

    def units(self) -> list[harness.Unit]:
        """List the cells, all splits of one in one unit."""
        return [
            harness.Unit(
                name=f"{name}, {arm}",
                configs=(self.config(name, arm),),
                seeds=SEEDS[: self.splits],
                size=self.recommended.draws if arm == "aeb" else 2 * self.shape().draws,
                run=functools.partial(self._run_recommended, name)
                if arm == "aeb"
                else functools.partial(self._run, name, arm),
            )
            for name, arm in self.cells()
        ]

    def _run(
        self, name: Set, arm: ArmName, folder: Path, report: Any
    ) -> tuple[float, list[dict[str, Any]]]:
        """Run the chains of an arm on the splits of a set, and score them."""
        seeds, keys = self._keys()
        shape, cell = self.shape(), arms.cell_of(name, arm, self.poster)
        programs = chains.build(arms.poster_model(self.poster), shape)
        seconds, predicted, carry = 0.0, [], None
        table, share = splits.load(name), self.poster.hold_out
        for part, pairs in (
            ("held_out", [splits.hold_out(name, seed, share) for seed in seeds]),
            ("test", [train_test_split(table, seed=seed) for seed in seeds]),
        ):
            stacked = splits.stack([splits.split(*pair, target_scale=None) for pair in pairs])
            own, carry = chains.run(
                *(programs, shape, cell, stacked, keys, folder / part),
                *(self.checkpoint_every, report),
            )
            seconds += own
            predicted.append((np.asarray(carry.predictions, float)[:, :, 0], stacked.y_new))
        assert carry is not None
        (held_out, y_held_out), (new, y_new) = predicted
        latent = jax.device_get(carry.state.latent)
        rows = []
        for place in range(len(seeds)):
            noise = scores.best_noise(held_out[:, place], y_held_out[place])
            metrics = scores.score(new[:, place], np.full(len(new), noise), y_new[place])
            if ARMS[arm].learns:
                rho = np.concatenate([leaf[place, 0].ravel() for leaf in latent.rho.values()])
                metrics |= {
                    "sigma": latent.sigma[place, 0],
                    "delta": {path: rate[place, 0] for path, rate in latent.delta.items()},
                    "share_out": np.mean(rho < 0.5),
                }
            rows.append(metrics)
        return seconds, rows

    def _run_recommended(
        self, name: Set, folder: Path, report: Any
    ) -> tuple[float, list[dict[str, Any]]]:
        """Run the chains of the recommended arm on the splits of a set, and score them."""
        recipe = self.recommended
        seeds, keys = self._keys()
        table = splits.load(name)
        stacked = splits.stack(
            [
                splits.split(*train_test_split(table, seed=seed), target_scale=recipe.target_scale)
                for seed in seeds
            ]
        )
        shape = recipe.shape(stacked.x.shape[1])
        programs = chains.build(recommended.recommended_model(recipe), shape)
        seconds, carry = chains.run(
            *(programs, shape, recommended.setting_of(recipe), stacked, keys, folder),
            *(self.checkpoint_every, report),
        )
        latent = jax.device_get(carry.state.latent)
        rows = []
        for place in range(len(seeds)):
            unit, y = stacked.scale[place], stacked.y_new[place]
            each = np.asarray(carry.predictions[:, place], float) * unit + stacked.centre[place]
            noise = np.asarray(carry.sigma[:, place], float) * unit
            metrics = scores.score(each.reshape(-1, len(y)), noise.reshape(-1), y)
            rho = np.concatenate([leaf[place].ravel() for leaf in latent.rho.values()])
            metrics |= {
                "rmse_one_chain": scores.score(each[:, 0], noise[:, 0], y)["rmse_average"],
                "sigma": latent.sigma[place].mean(),
                "delta": {path: rate[place].mean() for path, rate in latent.delta.items()},
                "share_out": np.mean(rho < 0.5),
            }
            rows.append(metrics)
        return seconds, rows

    def _keys(self) -> tuple[tuple[int, ...], jax.Array]:
        """List the seeds of the splits, and a key for each."""
        seeds = SEEDS[: self.splits]
        fold = functools.partial(jax.random.fold_in, jax.random.key(self.seed))
        return seeds, jax.vmap(fold)(jnp.asarray(seeds))


PRESETS = {
    "smoke": Uci(
        preset="smoke",
        sets=("yacht",),
        splits=2,
        poster=Poster(epochs=6),
        recommended=Recommended(chains=2, draws=6),
        checkpoint_every=5.0,
    ),
    "cpu": Uci(
        preset="cpu",
        sets=("boston", "yacht", "energy", "wine", "concrete"),
        splits=5,
        poster=Poster(epochs=101),
        recommended=Recommended(chains=4),
    ),
    "paper": Uci(preset="paper"),
}


def main(args: list[str] | None = None) -> int:
    """Run the script; returns its exit code."""
    return harness.main(NAME, PRESETS, args, description=DESCRIPTION)
