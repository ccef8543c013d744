# SPDX-License-Identifier: Apache-2.0
"""Arrays on disk: damage is always a DataError, a write is all or nothing."""

import io
import struct
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


@pytest.mark.slow
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_is_a_data_error_or_harmless(tmp_path, save):
    """Fails if an entry is left out of `_DAMAGE`, or if the checksums are not checked."""
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    sound = path.read_bytes()

    def refused(content):
        path.write_bytes(content)
        try:
            read = read_npz(path)
        except DataError as error:
            return str(path) in str(error)
        for name in read.keys() & ARRAYS.keys():
            np.testing.assert_array_equal(read[name], ARRAYS[name])
        return False

    assert all(refused(sound[:size]) for size in range(0, len(sound), 7))
    bits = np.random.default_rng(0).integers(1, 256, len(sound))
    flips = [sound[:i] + bytes([sound[i] ^ bit]) + sound[i + 1 :] for i, bit in enumerate(bits)]
    hit = [refused(content) for content in flips]
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        for member in archive.infolist():
            name_size, extra_size = struct.unpack_from("<HH", sound, member.header_offset + 26)
            start = member.header_offset + 30 + name_size + extra_size
            # Deflate has bits that change nothing: there, what is accepted must be equal.
            stored = member.compress_type == zipfile.ZIP_STORED
            assert not stored or all(hit[start : start + member.compress_size])


def test_a_shortened_shape_is_not_believed(tmp_path):
    """Fails without the checksum pass: numpy would read 200 of 600 and never reach the checksum."""
    write_npz(tmp_path / "a.npz", ARRAYS)
    sound = (tmp_path / "a.npz").read_bytes()
    assert sound.count(b"(600,)") == 1
    (tmp_path / "a.npz").write_bytes(sound.replace(b"(600,)", b"(200,)"))
    with pytest.raises(DataError, match=r"x\.npy does not match its checksum"):
        read_npz(tmp_path / "a.npz")


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


def test_a_reader_keeps_the_file_it_opened(tmp_path):
    """Fails if the old file is written over: a reader would meet a mixture of both."""
    path = tmp_path / "a.npz"
    write_npz(path, ARRAYS)
    old = path.read_bytes()
    with path.open("rb") as reader:
        write_npz(path, {"x": np.zeros(3)})
        assert reader.read() == old
    assert np.array_equal(read_npz(path)["x"], np.zeros(3))


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
