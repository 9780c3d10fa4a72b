"""MATLAB files are read as scipy reads them, but no more than was asked for."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
import scipy.io

from twinlab.recordings.matlab import read_matlab
from twinlab.schema import InputError

CONTENT = {
    "stim": {
        "resp": np.arange(35, dtype=np.float32).reshape(7, 5) - 3.5,
        "istim": np.arange(1, 8, dtype=np.uint16)[:, None],
        "spont": np.random.default_rng(0).normal(size=(3, 5)),
        "name": "natimg2800",
    },
    "med": np.random.default_rng(1).normal(size=(5, 3)),
    "stat": np.array([{"npix": 3}, {"npix": 4}], object),
    "imgs": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "whole": np.arange(300.0),  # doubles
    "empty": np.zeros((0, 3)),
    "flag": np.array([[True]]),
    "single": np.array([[7]], np.int8),
    "words": "text",
    "complex": np.array([[1j]]),
}
NAMES = (
    "stim.resp",
    "stim.istim",
    "stim.spont",
    "med",
    "imgs",
    "whole",
    "empty",
    "flag",
    "single",
)


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def path(request, tmp_path):
    scipy.io.savemat(tmp_path / "it.mat", CONTENT, do_compression=request.param)
    return tmp_path / "it.mat"


def test_numbers_are_as_scipy_reads_them(path):
    found = read_matlab(path, [*NAMES, "stim.none", "none"])
    assert set(found) == set(NAMES)
    known = scipy.io.loadmat(path)
    for name, values in found.items():
        variable, _, field = name.partition(".")
        expected = known[variable][field][0, 0] if field else known[variable]
        np.testing.assert_array_equal(values, expected)
        assert values.shape == expected.shape


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("words", "`words` is not of real numbers"),
        ("complex", "`complex` is not of real numbers"),
        ("stim", "`stim` is not of real numbers"),
        ("stim.name", "`stim.name` is not of real numbers"),
        ("stat", "`stat` is not of real numbers"),
        ("stat.npix", "`stat` is not one struct"),
        ("med.x", "`med` is not one struct"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(path, name, fault):
    with pytest.raises(InputError, match=fault):
        read_matlab(path, [name])


def test_files_of_other_machines_are_read(path):
    """Big-endian, made by hand: one 2 x 1 double named `x`."""
    body = struct.pack(">4I", 6, 8, 6, 0) + struct.pack(">2I2i", 5, 8, 2, 1)
    body += struct.pack(">2H", 1, 1) + b"x\0\0\0" + struct.pack(">2I2d", 9, 16, 1.5, -2)
    header = b"MATLAB 5.0".ljust(124) + b"\1\0MI"
    path.write_bytes(header + struct.pack(">2I", 14, len(body)) + body)
    np.testing.assert_array_equal(read_matlab(path, ["x"])["x"], [[1.5], [-2]])
    np.testing.assert_array_equal(scipy.io.loadmat(path)["x"], [[1.5], [-2]])


def test_newer_files_and_others_are_told(path):
    content = path.read_bytes()
    path.write_bytes(b"MATLAB 7.3 MAT-file" + content[19:])
    with pytest.raises(InputError, match="saved with -v7.3; save it again with -v7"):
        read_matlab(path, ["med"])
    path.write_bytes(b"words")
    with pytest.raises(InputError, match="no such header"):
        read_matlab(path, ["med"])
    with pytest.raises(InputError, match="no such file"):
        read_matlab(path.with_name("none.mat"), ["med"])


def test_a_bomb_is_refused_before_it_is_unpacked(path):
    small = scipy_variable("med", np.zeros((1, 1)))
    declared = 2**30
    packed = zlib.compress(struct.pack("<2I", 14, declared) + small)
    path.write_bytes(path.read_bytes()[:128] + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(InputError, match=f"a variable of {declared} bytes in {len(packed)}"):
        read_matlab(path, ["med"])


def test_a_wrong_value_in_packed_content_is_noticed(tmp_path):
    path = tmp_path / "it.mat"
    scipy.io.savemat(path, {"med": CONTENT["med"]}, do_compression=True)
    content = path.read_bytes()
    for place in range(200, len(content) - 4, 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match="not a whole MATLAB file"):
            read_matlab(path, ["med"])


def scipy_variable(name, values):
    """What stands after the tag of one variable."""
    stream = io.BytesIO()
    scipy.io.savemat(stream, {name: values})
    return stream.getvalue()[136:]


def test_a_cut_file_is_refused(path):
    content = path.read_bytes()
    whole = 0
    for length in range(0, len(content), 13):
        path.write_bytes(content[:length])
        with suppress(InputError):
            whole += "med" in read_matlab(path, ["med"])
    assert 0 < whole < length / 13 / 2  # where the cut is behind it
