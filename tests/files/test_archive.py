# SPDX-License-Identifier: Apache-2.0
"""Files of ours: whole or not there, and every damage found."""

import errno
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from aeb.files.archive import DTYPES, DamagedFileError, host_array, read_archive, write_archive


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "file.safetensors"
    write_archive(file, "sparse", {"a": np.arange(5.0), "b": np.zeros((0, 3), np.int8)}, {"x": "é"})
    return file


def rewrite(path, change):
    """Write the same arrays under changed metadata, `change(checksum, about) -> metadata`."""
    with safetensors.safe_open(path, "numpy") as file:
        checksum, text = file.metadata()["aeb"].split(" ", 1)
        # An open safetensors file has keys() but is not iterable.
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path.write_bytes(safetensors.numpy.save(arrays, change(checksum, json.loads(text))))


def test_arrays_and_header_come_back(path):
    """Fails if an array of size 0 is dropped, or the header is read in another encoding."""
    arrays, header = read_archive(path, "sparse")
    np.testing.assert_array_equal(arrays["a"], np.arange(5.0))
    assert (arrays["b"].shape, arrays["b"].dtype) == ((0, 3), np.int8)
    assert header == {"x": "é"}


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_every_dtype_comes_back(tmp_path, dtype):
    """Fails if a code of safetensors is paired with the wrong dtype."""
    array = np.frombuffer(bytes(range(1, 65)), np.dtype(dtype)).reshape(2, -1)
    write_archive(tmp_path / "f", "sparse", {"a": host_array("x", "a", array)}, {})
    found = read_archive(tmp_path / "f", "sparse")[0]["a"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.arange(6.0)[::-2],
        np.arange(6, dtype=">f4"),
        np.float32(3),
        np.array(1, ">i2"),
    ],
)
def test_memory_layout_does_not_matter(tmp_path, array):
    """Fails if strides or byte order are not undone: safetensors writes the buffer as it lies."""
    write_archive(tmp_path / "f", "sparse", {"a": host_array("x", "a", array)}, {})
    found = read_archive(tmp_path / "f", "sparse")[0]["a"]
    assert found.shape == np.shape(array)
    np.testing.assert_array_equal(found, array)


@pytest.mark.slow
def test_every_flipped_bit_is_found(path):
    """Fails if the checksum leaves out the header, a name, a shape, or the bytes.

    A flip in the metadata's own words may make the file one of another kind or version: any
    ValueError will do, but none may pass.
    """
    good = path.read_bytes()
    passed = []
    for position in range(8 * len(good)):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        path.write_bytes(bad)
        try:
            read_archive(path, "sparse")
        except ValueError:
            continue
        passed.append(position)
    assert passed == []


def test_every_cut_is_found(path):
    """Fails if a short file raises what safetensors or json raise."""
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(DamagedFileError, match=r"file\.safetensors is damaged"):
            read_archive(path, "sparse")


def entry(checksum, about, **changes):
    return {"aeb": f"{checksum} {json.dumps({**about, **changes}, sort_keys=True)}"}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c, a: {"b": "c"}, ValueError, "is not from aeb; this function reads"),
        (
            lambda c, a: entry(c, a, kind="checkpoint"),
            ValueError,
            "is an aeb file of kind 'checkpoint'",
        ),
        (
            lambda c, a: entry(c, a, version=3),
            ValueError,
            "has format version 3; this aeb reads up to 2: upgrade",
        ),
        (lambda c, a: entry(c, a, version="x"), DamagedFileError, "its header does not read"),
        (lambda c, a: entry(c, a, version=None), DamagedFileError, "its header does not read"),
        (lambda c, a: {"aeb": c}, DamagedFileError, "its header does not read"),
        (lambda c, a: {"aeb": c + " {"}, DamagedFileError, "its header does not read"),
        (lambda c, a: {"aeb": c + " 3"}, DamagedFileError, "its header does not read"),
        (lambda c, a: entry(c, a, header={"x": "e"}), DamagedFileError, "match its checksum"),
        (lambda c, a: entry("", a), DamagedFileError, "does not match its checksum"),
        (
            lambda c, a: {"aeb": "sparse", "version": "1", "header": "{}", "sha256": c},
            DamagedFileError,
            "does not match its checksum",
        ),
        (
            lambda c, a: {"aeb": "sparse", "version": "1", "header": "{}"},
            DamagedFileError,
            "its header does not read",
        ),
    ],
)
def test_metadata_that_does_not_fit_is_told(path, change, error, message):
    """Fails if a check is dropped, or if a later version counts as damage and is passed over."""
    rewrite(path, change)
    with pytest.raises(error, match=message) as caught:
        read_archive(path, "sparse")
    assert type(caught.value) is error
    assert str(path) in str(caught.value)


def test_equal_content_is_equal_bytes(written_twice):
    """Fails if the header is written in the order of its dict, or the metadata has two entries.

    safetensors orders the entries anew in each process, so that only a second process can tell.
    """
    one, two = written_twice(
        "import numpy, pathlib; from aeb.files.archive import write_archive;"
        "arrays = {name: numpy.arange(3.0) for name in names};"
        "write_archive(pathlib.Path(sys.argv[1]), 'sparse', arrays, dict.fromkeys(names))",
        "a b c",
        "c a b",
    )
    assert one == two


def test_a_missing_file_or_folder_is_told(tmp_path):
    """Fails if the path is not named."""
    with pytest.raises(FileNotFoundError, match=r"path: there is no file .*nothing"):
        read_archive(tmp_path / "nothing", "sparse")
    with pytest.raises(IsADirectoryError, match=r"is a folder, and no \.safetensors file is in it"):
        read_archive(tmp_path, "sparse")
    for number in range(4):
        (tmp_path / f"{number}.safetensors").touch()
    with pytest.raises(IsADirectoryError, match=r"it holds '0\.safe.* and 1 more; name one file"):
        read_archive(tmp_path, "sparse")
    with pytest.raises(FileNotFoundError, match=r"path: there is no folder .*nothing"):
        write_archive(tmp_path / "nothing" / "file", "sparse", {}, {})


def test_a_failed_write_leaves_the_old_file_alone(path, monkeypatch):
    """Fails if the target is written in place, the temporary file stays, or no file is named."""
    good = path.read_bytes()

    def disk_full(descriptor):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match=f"no space left on device: '{path}'"):
        write_archive(path, "sparse", {"a": np.zeros(3)}, {})
    assert path.read_bytes() == good
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_flushed_before_it_is_moved(path, monkeypatch):
    """Fails if fsync is dropped, or comes after the move: a crash could leave an empty file."""
    good, seen = path.read_bytes(), []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(path.read_bytes()))
    write_archive(path, "sparse", {"a": np.zeros(3)}, {})
    assert seen == [good]


def test_a_new_file_has_the_usual_permissions(path):
    """Fails if the file is made by `tempfile`, which lets nobody else read it."""
    other = path.with_name("other")
    other.write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode


def test_what_is_no_array_of_numbers_is_refused():
    """Fails if a dtype that safetensors cannot hold gets through to it."""
    with pytest.raises(TypeError, match="state: leaf 'w' has dtype int4, which a file cannot hold"):
        host_array("state", "w", jnp.zeros(3, jnp.int4))
