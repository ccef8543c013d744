# SPDX-License-Identifier: Apache-2.0
"""Image sets: the digits against scikit-learn's copy, and prepared sets that the tests write.

The tiny sets are written as TFDS would, as array_record files of PNG images, so that finding,
decoding, caching and every kind of damage run without the real data and without TensorFlow.
"""

import io
import json
import os
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from aeb.data import DataError, load, normalizer, prepared
from aeb.data.files import read_npz, write_npz

COUNTS = {"train": 7, "test": 4}


def write_prepared(root, seed=0, version="3.0.1", file_format="array_record"):
    """Write a tiny `mnist` and return its images and labels by split."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    rng = np.random.default_rng(seed)
    folder = root / "mnist" / version
    folder.mkdir(parents=True)
    truth = {}
    for split, count in COUNTS.items():
        images = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        labels = rng.integers(0, 10, count)
        writer = ArrayRecordWriter(
            str(folder / f"mnist-{split}.array_record-00000-of-00001"), "group_size:1"
        )
        for image, label in zip(images, labels, strict=True):
            png = io.BytesIO()
            Image.fromarray(image[..., 0]).save(png, "PNG")
            example = tf_example_pb2.Example()
            example.features.feature["image"].bytes_list.value.append(png.getvalue())
            example.features.feature["label"].int64_list.value.append(int(label))
            writer.write(example.SerializeToString())
        writer.close()
        truth[split] = {"image": images, "label": labels}
    package = "tensorflow_datasets.core.features"
    shape = {"dimensions": ["28", "28", "1"]}
    features = {
        "image": {
            "image": {"dtype": "uint8", "shape": shape},
            "pythonClassName": f"{package}.image_feature.Image",
        },
        "label": {
            "classLabel": {"numClasses": "10"},
            "pythonClassName": f"{package}.class_label_feature.ClassLabel",
        },
    }
    splits = [
        {
            "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            "name": split,
            "numBytes": str(1000 + seed),
            "shardLengths": [str(count)],
        }
        for split, count in COUNTS.items()
    ]
    (folder / "features.json").write_text(
        json.dumps(
            {
                "featuresDict": {"features": features},
                "pythonClassName": f"{package}.features_dict.FeaturesDict",
            }
        )
    )
    (folder / "dataset_info.json").write_text(
        json.dumps(
            {"fileFormat": file_format, "name": "mnist", "splits": splits, "version": version}
        )
    )
    return truth


def assert_same(dataset, truth):
    for split, expected in truth.items():
        batch = getattr(dataset, split)
        assert batch.keys() == {"image", "label"}
        assert (batch["image"].dtype, batch["label"].dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(batch["image"], expected["image"])
        np.testing.assert_array_equal(batch["label"], expected["label"])


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Empty data, cache and home folders, and no TensorFlow to be found."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setattr(prepared.importlib.util, "find_spec", lambda name: None)
    data, cache = tmp_path / "data", tmp_path / "cache"
    return SimpleNamespace(data=data, cache=cache, options={"data_dir": data, "cache_dir": cache})


def test_digits_are_the_published_ones_with_the_stated_split():
    """Fails if the pixels are transposed, or the first 36 of a class are held out."""
    from sklearn.datasets import load_digits

    image, label = load_digits(return_X_y=True)
    image = image.reshape(-1, 8, 8, 1)
    test = np.zeros(1797, bool)
    seen = dict.fromkeys(range(10), 0)
    for i in reversed(range(1797)):
        test[i] = seen[label[i]] < 36
        seen[label[i]] += 1
    digits = load("digits")
    assert (digits.name, digits.num_classes) == ("digits", 10)
    assert_same(
        digits,
        {
            "train": {"image": image[~test], "label": label[~test]},
            "test": {"image": image[test], "label": label[test]},
        },
    )


def test_unknown_name_lists_the_known():
    """Fails if the name is not checked, or a set is left out of the message."""
    with pytest.raises(ValueError, match="digits, mnist, fashion_mnist, cifar10"):
        load("imagenet")


@pytest.mark.parametrize("how", ["argument", "variable", "home"])
def test_prepared_set_is_found_and_decoded(places, monkeypatch, how):
    """Fails if a place is not looked at, or its rank is changed."""
    roots = {
        "argument": places.data,
        "variable": places.data.with_name("variable"),
        "home": places.data.with_name("home") / "tensorflow_datasets",
    }
    order = list(roots)
    truths = {n: write_prepared(roots[n], seed=i) for i, n in enumerate(order[order.index(how) :])}
    if how != "home":
        monkeypatch.setenv("TFDS_DATA_DIR", str(roots["variable"]))
    given = {"data_dir": places.data} if how == "argument" else {}
    assert_same(load("mnist", cache_dir=places.cache, **given), truths[how])


def test_newest_version_is_taken(places):
    """Fails if versions are compared as text, where 3.0.9 > 3.0.10."""
    write_prepared(places.data, seed=0, version="3.0.9")
    truth = write_prepared(places.data, seed=1, version="3.0.10")
    assert_same(load("mnist", **places.options), truth)


def test_second_load_reads_the_cache(places):
    """Fails if the cache is not written or not read: the records are gone by then."""
    truth = write_prepared(places.data)
    load("mnist", **places.options)
    for record in places.data.rglob("*.array_record*"):
        record.unlink()
    assert_same(load("mnist", **places.options), truth)


def test_cache_of_another_set_is_not_used(places):
    """Fails if the fingerprint is not compared."""
    write_prepared(places.data, seed=0)
    load("mnist", **places.options)
    shutil.rmtree(places.data)
    truth = write_prepared(places.data, seed=1)
    assert_same(load("mnist", **places.options), truth)


def test_cache_stands_in_only_where_no_folder_is_named(places, monkeypatch):
    """Fails if the cache needs the folder, or hides that a named folder lacks the set."""
    truth = write_prepared(places.data)
    load("mnist", **places.options)
    assert_same(load("mnist", cache_dir=places.cache), truth)
    empty = places.data.with_name("empty")
    with pytest.raises(DataError, match="empty"):
        load("mnist", data_dir=empty, cache_dir=places.cache)
    monkeypatch.setenv("TFDS_DATA_DIR", str(empty))
    with pytest.raises(DataError, match="empty"):
        load("mnist", cache_dir=places.cache)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "garbage", "array"])
def test_damaged_cache_is_rebuilt_with_a_warning(places, damage):
    """Fails if damage is raised, passed on silently, or left in place."""
    truth = write_prepared(places.data)
    load("mnist", **places.options)
    cache = places.cache / "mnist.npz"
    sound = cache.read_bytes()
    middle = len(sound) // 2
    if damage == "array":
        arrays = read_npz(cache)
        del arrays["test_label"]
        write_npz(cache, arrays)
    else:
        flipped = sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :]
        cache.write_bytes({"truncated": sound[:middle], "flipped": flipped}.get(damage, b"no zip"))
    with pytest.warns(RuntimeWarning, match=r"mnist\.npz.* made anew"):
        assert_same(load("mnist", **places.options), truth)
    assert_same(load("mnist", **places.options), truth)


def test_unwritable_cache_costs_a_warning_only(places):
    """Fails if the error is raised, or swallowed without a word."""
    truth = write_prepared(places.data)
    places.cache.write_text("a file where a folder should be")
    with pytest.warns(RuntimeWarning, match="cannot be written.*AEB_CACHE_DIR"):
        assert_same(load("mnist", **places.options), truth)


def test_unprepared_without_tensorflow_says_what_to_do(places):
    """Fails if the message leaves out the folder looked at or one of the remedies."""
    with pytest.raises(DataError) as caught:
        load("mnist", **places.options)
    for word in (str(places.data / "mnist"), "TFDS_DATA_DIR", "data_dir", "install tensorflow"):
        assert word in str(caught.value)


def test_unprepared_with_tensorflow_is_prepared(places, monkeypatch):
    """Fails if TFDS is asked for another format or folder, or its result is not read."""
    monkeypatch.setattr(prepared.importlib.util, "find_spec", lambda name: object())
    truth = {}

    def builder(name, data_dir, file_format):
        assert (name, data_dir, file_format) == ("mnist", str(places.data), "array_record")
        folder = places.data / "mnist" / "3.0.1"
        return SimpleNamespace(
            data_dir=str(folder),
            download_and_prepare=lambda: truth.update(write_prepared(places.data)),
        )

    monkeypatch.setattr(tfds, "builder", builder)
    assert_same(load("mnist", **places.options), truth)
    assert truth


@pytest.mark.parametrize("error", [OSError, ImportError, tfds.download.DownloadError])
def test_failed_preparation_is_a_data_error(places, monkeypatch, error):
    """Fails if one of these is left out of the failures that are translated."""
    monkeypatch.setattr(prepared.importlib.util, "find_spec", lambda name: object())

    def fail(*args, **kwargs):
        raise error("no route to host")

    monkeypatch.setattr(tfds, "builder", fail)
    with pytest.raises(DataError, match="no route to host") as caught:
        load("mnist", **places.options)
    assert isinstance(caught.value.__cause__, error)


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "json", "split", "format"])
def test_damaged_prepared_set_names_its_folder(places, damage):
    """Fails if an exception of the readers is left out of those that are translated."""
    folder = places.data / "mnist" / "3.0.1"
    write_prepared(places.data, file_format="tfrecord" if damage == "format" else "array_record")
    record, info = folder / "mnist-test.array_record-00000-of-00001", folder / "dataset_info.json"
    content = record.read_bytes()
    if damage == "missing":
        record.unlink()
    elif damage == "truncated":
        record.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        record.write_bytes(content[:300] + bytes([content[300] ^ 255]) + content[301:])
    elif damage == "json":
        info.write_text(info.read_text()[:50])
    elif damage == "split":
        info.write_text(info.read_text().replace('"test"', '"validation"'))
    with pytest.raises(DataError, match=r"3\.0\.1: cannot be read"):
        load("mnist", **places.options)


@pytest.mark.parametrize(
    ("name", "white", "mean", "sd"),
    [
        ("digits", 16, [0.3053], [0.3755]),
        ("mnist", 255, [0.1307], [0.3081]),
        ("fashion_mnist", 255, [0.2860], [0.3530]),
        ("cifar10", 255, [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    ],
)
def test_normalizer(name, white, mean, sd):
    """Fails if a constant changes or channels are swapped."""
    pixels = np.random.default_rng(0).integers(0, white + 1, (5, 3, 2, len(mean)), dtype=np.uint8)
    expected = (pixels / white - np.array(mean)) / np.array(sd)
    found = jax.jit(normalizer(name))(pixels)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert normalizer(name, dtype=jnp.bfloat16)(pixels).dtype == jnp.bfloat16


def test_normalizer_standardises_the_digits():
    """Fails if the digits' moments are not those of their training images."""
    x = normalizer("digits")(load("digits").train["image"])
    assert abs(float(x.mean())) < 1e-3
    assert abs(float(x.std()) - 1) < 1e-3


def test_normalizer_refuses_what_it_cannot_mean():
    """Fails if pixels may be standardised twice, or with the moments of another set."""
    with pytest.raises(ValueError, match="name"):
        normalizer("imagenet")
    with pytest.raises(TypeError, match="uint8"):
        normalizer("mnist")(jnp.ones((1, 28, 28, 1)))
    with pytest.raises(ValueError, match="3 channels"):
        normalizer("cifar10")(jnp.ones((1, 28, 28, 1), jnp.uint8))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape"),
    [("mnist", (28, 28, 1)), ("fashion_mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))],
)
def test_real_sets_read(name, shape, tmp_path, monkeypatch):
    """Fails if the layout that is looked for is not the one that TFDS writes."""
    root = os.environ.get("TFDS_DATA_DIR")
    if not root:
        pytest.skip("TFDS_DATA_DIR is not set")
    open_builder = tfds.builder_from_directory

    def ends_only(folder):
        """Read the first and the last three images of each split, to save time."""
        builder = open_builder(folder)
        counts = {split: builder.info.splits[split].num_examples for split in COUNTS}
        assert counts == {"train": 50_000 if name == "cifar10" else 60_000, "test": 10_000}
        parts = {split: f"{split}[:3]+{split}[-3:]" for split in counts}
        return SimpleNamespace(
            name=name, as_data_source=lambda split: builder.as_data_source(parts[split])
        )

    monkeypatch.setattr(tfds, "builder_from_directory", ends_only)
    dataset = load(name, cache_dir=tmp_path)
    assert dataset.train["image"].shape == dataset.test["image"].shape == (6, *shape)
    assert set(dataset.train["label"]) <= set(range(10))
    assert len(np.unique(dataset.train["image"])) > 50


def test_a_set_is_short_in_a_session():
    """Mutation: the repr of a NamedTuple, with arrays in it."""
    assert repr(load("digits")) == "Dataset('digits': 1,437 + 360 images of 8x8x1, 10 classes)"
