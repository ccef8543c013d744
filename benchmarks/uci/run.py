# SPDX-License-Identifier: Apache-2.0
"""UCI regressions by a small network: the six arms of the paper's poster, and ours.

Each is run on 20 splits. Beside them stands the setting that we recommend, one for all sets,
chosen by validation inside training parts of other splits (docs/lab-notes.md).

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
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aeb.data import Table, train_test_split
from benchmarks import harness
from benchmarks.harness.ranges import Some, whole, within
from benchmarks.uci import arms, sampler, scores, splits
from benchmarks.uci.recipe import ARMS, TEMPERS, ArmName, Poster, Recommended
from benchmarks.uci.splits import SEEDS, SETS, Set


@dataclasses.dataclass(frozen=True)
class Uci(harness.Settings):
    """The settings of this script; `seed` is that of the chains, the splits have the authors'."""

    sets: Some[Set] = SETS  # sets, read from AEB_DATA_DIR/uci
    arms: Some[ArmName] = (*ARMS, "aeb")  # samplers to compare
    # Splits of each set, of the authors' 20.
    splits: Annotated[int, whole(1), within(f"[1, {len(SEEDS)}]")] = 20
    poster: Poster = dataclasses.field(default_factory=Poster)  # how the authors' arms are set
    # How the recommended arm is set.
    recommended: Recommended = dataclasses.field(default_factory=Recommended)

    def cells(self) -> list[tuple[Set, ArmName]]:
        arms = dict.fromkeys(self.arms)
        return [(name, arm) for name in dict.fromkeys(self.sets) for arm in arms]

    def seeds_of(self, cell: tuple[Set, ArmName]) -> tuple[int, ...]:
        return SEEDS[: self.splits]

    def config(self, cell: tuple[Set, ArmName]) -> dict[str, Any]:
        name, arm = cell
        shared = {"set": name, "arm": arm, "chain_seed": self.seed}
        if arm == "aeb":
            return shared | {"recipe": dataclasses.asdict(self.recommended)}
        inverse_temperature, v0 = TEMPERS[name]
        return shared | {
            "inverse_temperature": inverse_temperature,
            "v0": v0,
            "recipe": dataclasses.asdict(self.poster),
        }

    def units(self) -> list[harness.Unit]:
        """List the cells, all splits of one in one unit."""
        return [
            harness.Unit(
                name=", ".join(cell),
                configs=(self.config(cell),),
                seeds=self.seeds_of(cell),
                # The authors' arms run twice.
                size=self.recommended.draws if cell[1] == "aeb" else 2 * self.poster.epochs,
                run=functools.partial(self._run, *cell),
            )
            for cell in self.cells()
        ]

    def _run(self, name: Set, arm: ArmName, folder: Path, report: Any) -> harness.Measured:
        seeds, table = SEEDS[: self.splits], splits.load(name)
        test = [train_test_split(table, seed=seed) for seed in seeds]
        if arm == "aeb":
            ended = self._chains(name, arm, test, folder, report)
            seconds, noise = ended.seconds, ended.noise
        else:
            held_out = [splits.hold_out(name, seed, self.poster.hold_out) for seed in seeds]
            before = self._chains(name, arm, held_out, folder / "held_out", report)
            ended = self._chains(name, arm, test, folder / "test", report)
            seconds = before.seconds + ended.seconds
            noise = [
                np.full(of_draws.shape, scores.best_noise(predicted[:, 0], y))
                for predicted, of_draws, y in zip(
                    before.predictions, ended.noise, before.y, strict=True
                )
            ]
        rows = []
        for place, (predicted, of_draws, y) in enumerate(
            zip(ended.predictions, noise, ended.y, strict=True)
        ):
            metrics = scores.score(predicted.reshape(-1, len(y)), of_draws.reshape(-1), y)
            if arm == "aeb":
                one_chain = scores.score(predicted[:, 0], of_draws[:, 0], y)
                metrics["rmse_one_chain"] = one_chain["rmse_average"]
            if arm == "aeb" or ARMS[arm].learns:
                metrics |= _latents(ended.latent, place)
            rows.append(metrics)
        return seconds, rows

    def _chains(
        self, name: Set, arm: ArmName, pairs: Sequence[Pair], folder: Path, report: Any
    ) -> Ended:
        """Run the chains of an arm on pairs of rows to fit and rows to predict."""
        scale = self.recommended.target_scale if arm == "aeb" else None
        stacked = splits.stack([splits.split(*pair, target_scale=scale) for pair in pairs])
        one_chain: sampler.OneChain
        if arm == "aeb":
            one_chain = arms.recommended_chain(self.recommended)
            numbers: Any = arms.setting_of(self.recommended)
            shape = self.recommended.shape(stacked.x.shape[1])
        else:
            one_chain = arms.poster_chain(self.poster)
            numbers, shape = arms.numbers_of(name, arm, self.poster), self.poster.shape()
        fold = functools.partial(jax.random.fold_in, jax.random.key(self.seed))
        keys = jax.vmap(fold)(jnp.asarray(SEEDS[: self.splits]))
        start, advance = sampler.build(one_chain, shape)
        rows = sampler.Rows(*map(jnp.asarray, (stacked.x, stacked.y, stacked.x_new)))
        # Compiled before the clock starts.
        carry = advance(numbers, start(numbers, rows, keys), rows, keys, 0)
        checkpoints = harness.Checkpoints(folder, self.checkpoint_every)
        carry = harness.run_in_slices(
            lambda carry, draws: advance(numbers, carry, rows, keys, draws),
            carry,
            lambda carry: int(carry.draws),
            shape.draws,
            checkpoints,
            report,
        )
        seconds = checkpoints.seconds
        predictions, sigma = (np.asarray(part, float) for part in (carry.predictions, carry.sigma))
        units = list(zip(stacked.scale, stacked.centre, strict=True))
        return Ended(
            seconds,
            [predictions[:, place] * unit + centre for place, (unit, centre) in enumerate(units)],
            [sigma[:, place] * unit for place, (unit, _) in enumerate(units)],
            stacked.y_new,
            jax.device_get(carry.state.latent),
        )


Pair = tuple[Table, Table]
"""Rows to fit and rows to predict."""


class Ended(NamedTuple):
    """What the chains of S splits leave, K draws of C chains each, in the unit of the target."""

    seconds: float
    predictions: list[np.ndarray]  # S of f64[K, C, M]
    noise: list[np.ndarray]  # S of f64[K, C]: sigma
    y: np.ndarray  # f64[S, M]
    latent: Any  # at the end; leads with S, C


def _latents(latent: Any, place: int) -> dict[str, Any]:
    """Read the last latents of a split, the mean over its chains."""
    rho = np.concatenate([leaf[place].ravel() for leaf in latent.rho.values()])
    return {
        "sigma": latent.sigma[place].mean(),
        "delta": {path: rate[place].mean() for path, rate in latent.delta.items()},
        "share_out": np.mean(rho < 0.5),
    }


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

NAME, main = harness.script(__name__, __doc__, PRESETS)
