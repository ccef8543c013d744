# SPDX-License-Identifier: Apache-2.0
"""Arrays on disk: damage is always a DataError, a write is all or nothing."""

import zipfile

import numpy as np
import pytest

from aeb.data.files import DataError, cache_folder, read_npz, write_npz

ARRAYS = {"x": np.arange(600, dtype=np.uint8), "y": np.array([1.5, 2.5], np.float32)}


def test_round_trip_makes_folders(tmp_path):
    """Fails if `write_npz` does not make folders or `read_npz` loses a name."""
    write_npz(tmp_path / "a" / "b" / "c.npz", ARRAYS)
    read = read_npz(tmp_path / "a" / "b" / "c.npz")
    assert read.keys() == ARRAYS.keys()
    assert all(np.array_equal(read[k], v) and read[k].dtype == v.dtype for k, v in ARRAYS.items())


def test_damage_is_a_data_error_or_harmless(tmp_path):
    """Fails if an entry is left out of `_DAMAGE`, or if the checksums are not checked."""
    path = tmp_path / "a.npz"
    write_npz(path, ARRAYS)
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    flips = [(i, int(rng.integers(1, 256))) for i in range(len(sound))]
    variants = [sound[:i] + bytes([sound[i] ^ bit]) + sound[i + 1 :] for i, bit in flips]
    variants += [sound[:i] for i in range(0, len(sound), 7)]
    refused = 0
    for variant in variants:
        path.write_bytes(variant)
        try:
            read = read_npz(path)
        except DataError as error:
            refused += str(path) in str(error)
        else:  # bytes that carry no data, such as a date
            for name in read.keys() & ARRAYS.keys():
                np.testing.assert_array_equal(read[name], ARRAYS[name])
    assert refused > 0.8 * len(variants)


def test_not_an_archive(tmp_path):
    """Fails if a bare .npy or any other .zip, which numpy would load, is taken for an .npz."""
    np.save(tmp_path / "a.npy", ARRAYS["x"])
    with pytest.raises(DataError, match=r"a\.npy: damaged or not an \.npz"):
        read_npz(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "no array")
    with pytest.raises(DataError, match=r"a\.zip: not an \.npz"):
        read_npz(tmp_path / "a.zip")
    with pytest.raises(DataError, match=r"gone\.npz: no such file"):
        read_npz(tmp_path / "gone.npz")


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    """Fails if the write goes straight to its target, or leaves its temporary file behind."""
    path = tmp_path / "a.npz"
    write_npz(path, ARRAYS)

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_npz(path, {"x": np.zeros(3)})
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    assert np.array_equal(read_npz(path)["x"], ARRAYS["x"])


def test_cache_folder_precedence(tmp_path, monkeypatch):
    """Fails if any two of the four places change rank."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("AEB_CACHE_DIR", raising=False)
    assert cache_folder() == tmp_path / "home" / ".cache" / "aeb"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "aeb"
    monkeypatch.setenv("AEB_CACHE_DIR", str(tmp_path / "aeb"))
    assert cache_folder() == tmp_path / "aeb"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
