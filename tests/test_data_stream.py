# SPDX-License-Identifier: Apache-2.0
"""Each process reads its rows of the same global batches, and the position is the step.

Mutations that fail here, each tried: one order for all epochs; the order of a process from its own
shuffle; `start` counted in rows; batches that end with an epoch; the seed left
out.
"""

import json
import os
from pathlib import Path

import chex
import grain
import jax
import numpy as np
import pytest

import aeb
from aeb.data import prepared, stream

ROWS, BATCH = 10, 4


def rows(count=ROWS):
    return [{"x": np.full(2, i, np.float32), "label": i} for i in range(count)]


def labels(batches, count):
    return [batches[k]["label"].tolist() for k in range(count)]


def test_an_epoch_holds_each_row_once_and_the_next_is_in_another_order():
    seen = np.concatenate(labels(stream(rows(), BATCH, seed=3), 5))
    first, second = seen[:ROWS], seen[ROWS:]
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first.tolist() != second.tolist()
    assert first.tolist() != list(range(ROWS))
    batch = stream(rows(), BATCH, seed=3)[0]
    assert batch["x"].shape == (BATCH, 2)
    np.testing.assert_array_equal(batch["x"][:, 0], batch["label"])


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_global_batches(count):
    whole = labels(stream(rows(), BATCH, seed=3, process_index=0, process_count=1), 7)
    parts = [
        labels(stream(rows(), BATCH, seed=3, process_index=i, process_count=count), 7)
        for i in range(count)
    ]
    for k in range(7):
        assert all(len(part[k]) == BATCH // count for part in parts)
        assert sorted(np.concatenate([part[k] for part in parts])) == sorted(whole[k])


def test_the_position_is_the_step():
    straight = labels(stream(rows(), BATCH, seed=3), 9)
    later = stream(rows(), BATCH, seed=3, start=jax.numpy.int32(4))
    assert labels(later, 5) == straight[4:]
    assert labels(stream(rows(), BATCH, seed=4), 9) != straight
    again = stream(rows(), BATCH, seed=0, shuffle=False)
    assert labels(again, 3) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_a_reader_goes_on_from_the_state_that_it_told():
    """As grain's own checkpoints have it: a small dict, through JSON."""
    straight = labels(stream(rows(), BATCH, seed=3), 6)
    reader = iter(stream(rows(), BATCH, seed=3).to_iter_dataset())
    assert [next(reader)["label"].tolist() for _ in range(3)] == straight[:3]
    told = json.dumps(reader.get_state())
    other = iter(stream(rows(), BATCH, seed=3).to_iter_dataset())
    other.set_state(json.loads(told))
    assert [next(other)["label"].tolist() for _ in range(3)] == straight[3:]


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_in_the_same_bits(tmp_path):
    algorithm = aeb.empirical_bayes(aeb.sghmc(1e-3), aeb.gaussian())
    kernel = aeb.build_kernel(
        algorithm,
        lambda w, batch: jax.numpy.mean((batch["x"] @ w - 1.0) ** 2),
        num_data=ROWS,
    )
    step, key = jax.jit(kernel), jax.random.key(0)

    def go_on(state, until):
        first = int(state.step)
        reader = iter(stream(rows(), BATCH, seed=3, start=first).to_iter_dataset())
        for k in range(first, until):
            state = step(state, next(reader), jax.random.fold_in(key, k))
        return state

    fresh = algorithm.init(jax.numpy.ones(2))
    straight = go_on(fresh, 7)
    aeb.checkpoint.save(tmp_path, 4, go_on(fresh, 4))
    _, state = aeb.checkpoint.restore(tmp_path, fresh)
    chex.assert_trees_all_equal(straight, go_on(state, 7))


def test_transformations_of_a_grain_data_set_come_before_the_batches():
    source = grain.MapDataset.source(rows()).map(lambda row: row["label"] * 10)
    assert stream(source, BATCH, shuffle=False)[0].tolist() == [0, 10, 20, 30]


@pytest.mark.data
def test_array_records_of_a_prepared_set_are_read_as_they_lie():
    root = os.environ.get("TFDS_DATA_DIR")
    folder = prepared.find(Path(root), "mnist") if root else None
    if folder is None:
        pytest.skip("MNIST is not prepared: set TFDS_DATA_DIR")
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(str(folder)).as_data_source("train")
    reader = iter(stream(source, 64, seed=1, process_index=1, process_count=2).to_iter_dataset())
    batch = next(reader)
    assert batch["image"].shape == (32, 28, 28, 1)
    assert batch["image"].dtype == np.uint8
    later = stream(source, 64, seed=1, start=1, process_index=1, process_count=2)[0]
    np.testing.assert_array_equal(next(reader)["image"], later["image"])


def test_arguments_out_of_range_are_named():
    for options, message in (
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"batch_size": 3, "process_index": 0, "process_count": 2}, "multiple of the 2 processes"),
        ({"batch_size": 4, "process_index": 2, "process_count": 2}, "process_index: got 2"),
        ({"batch_size": 4, "seed": 2**32}, "seed: got 4294967296"),
        ({"batch_size": 4, "start": -1}, "start: got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            stream(rows(), **options)
    with pytest.raises(ValueError, match="source: there is no row in it"):
        stream([], 4)
