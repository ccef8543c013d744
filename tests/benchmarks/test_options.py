# SPDX-License-Identifier: Apache-2.0
"""What each script says of options that make no sense: one line, exit code 2, and no rows.

Mutations that fail here: a range that stands in a type passed over; a setting inside another one
not checked; a traceback in the place of the line.
"""

import pytest

from benchmarks.compression import run as compression
from benchmarks.convergence import run as convergence
from benchmarks.images.adversarial import run as adversarial
from benchmarks.images.classification import run as classification
from benchmarks.regression import run as regression
from benchmarks.simulation import run as simulation
from benchmarks.speed import run as speed
from benchmarks.uci import run as uci

WRONG = {
    simulation: {
        "--preset huge": "--preset", "--preset gpu": "preset", "--preset": "--preset",
        "--preset=huge": "--preset", "--colour red": "--colour", "--arms hmc": "--arms",
        "--arms": "arms", "--seed -1": "seed", "--data-sets 0": "data_sets",
        "--data-sets many": "--data-sets", "--v0 -1": "v0", "--sigma nan": "sigma",
        "--checkpoint-every -1": "checkpoint_every", "--design.correlation 1": "correlation",
        "--design.signals": "signals", "--recipe.thinning 0": "thinning",
        "--recipe.thinning 3": "multiple", "--recipe.burn-in 1": "burn_in",
        "--recipe.interval-draws 1000": "interval_draws",
        "--recipe.gain-exponent 0.5": "gain_exponent",
    },
    regression: {
        "--data-sets 0": "data_sets: got 0", "--folds 1": "folds: got 1",
        "--level 1": "level: got 1", "--mcp.gamma 1": "gamma: got 1.0, needs to be in (1, inf)",
        "--horseshoe.draws 2": "draws: got 2", "--keys": "keys: name at least one",
        "--methods ridge": "methods: got 'ridge'",
    },
    convergence: {
        "--exponents 0.4 --coefficients 1": "exponents",
        "--exponents 1 --coefficients 1 2": "coefficients: got 2",
        "--coefficients 0": "coefficients", "--ladder -1": "ladder",
        "--step-size 5": "step_size: got 5.0, needs to be below", "--offset 0": "offset",
        "--step-size 0": "step_size", "--chains 1": "chains", "--num-steps 10": "num_steps",
        "--tail 0.9": "tail", "--problem.means 1": "means: got 1", "--problem.num-rows 3": "even",
        "--problem.a 1": "a: got 1.0", "--problem.threshold 0": "threshold",
    },
    uci: {
        "--sets iris": "--sets", "--arms adam": "--arms", "--arms": "arms", "--splits 21": "splits",
        "--splits 0": "splits", "--poster.epochs 0": "epochs", "--poster.step-size -1": "step_size",
        "--poster.anneal 0.9": "anneal", "--poster.burn-in 1": "burn_in",
        "--poster.hold-out 1": "hold_out", "--poster.gain-exponent 0.4": "gain_exponent",
        "--recommended.chains 0": "chains", "--recommended.v0 0": "v0",
        "--recommended.target-scale 0": "target_scale", "--sets energy": "AEB_DATA_DIR",
    },
    adversarial: {
        "--levels 0": "levels", "--pgd-levels 1.5": "pgd_levels", "--rows 0": "rows",
        "--recipe.burn-in 0.75": "burn_in", "--tune": "tune: step sizes are tried by",
    },
    classification: {
        "--sets cifar10": "--sets", "--arms": "arms", "--seeds 0": "seeds",
        "--num-scored 0": "num_scored", "--recipe.thinning 7": "thinning",
        "--recipe.batch-size 301": "batch_size", "--recipe.stretch 0.5": "stretch",
        "--recipe.counted 0": "counted", "--recipe.gain-exponent 0.4": "gain_exponent",
        "--recipe.num-train 3000": "num_train",
    },
    compression: {
        "--arms adam": "arms: got 'adam'", "--arms control": "arms", "--max-seeds 0": "max_seeds",
        "--size.batch-size 0": "batch_size", "--size.num-images 5": "num_images",
        "--size.num-images 5000": "num_images", "--rewound.cycles 9": "cycles",
        "--rewound.ramp 1": "ramp", "--rewound.v0 0": "v0", "--released.step-size 0": "step_size",
        "--limit-seconds 0": "limit_seconds",
        "--preset paper --size.depth 8 --starts authors": "authors",
    },
    speed: {
        "--preset paper": "--preset", "--backend gpu": "backend", "--sections walk": "sections",
        "--clock.repeats 0": "repeats", "--step.nets lenet": "nets", "--loop.steps 3 4": "one each",
        "--epoch.net mlp": "net",
    },
}  # fmt: skip
"""Options to what the complaint says of them."""


@pytest.mark.parametrize(
    ("script", "words", "says"),
    [
        pytest.param(script, words.split(), says, id=f"{script.NAME} {words}")
        for script, complaints in WRONG.items()
        for words, says in complaints.items()
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(
    script, words, says, small_sets, tmp_path, complaint
):
    rows, work = tmp_path / "rows", tmp_path / "work"
    shared = ["--preset", "smoke", "--no-progress", "--results", str(rows), "--work", str(work)]
    assert script.main([*shared, *words]) == 2
    said = complaint()
    assert says in said
    assert said.startswith(f"{script.NAME}: ")
    assert not any(file.read_text() for file in rows.glob("*"))
