"""A pickle gives its arrays or is refused; nothing it names is ever run."""

import io
import pickle
import sys

import numpy as np
import pytest
from spoiling import CANARY, pickled_attacks

from twinlab.recordings.archives import DamagedError
from twinlab.recordings.unpickling import load_pickle, unpickle
from twinlab.schema import InputError

ARRAYS = {
    "float": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "words": np.array(["conv1", "x"]),
    "bytes": np.array([b"a", b"bc"]),
    "objects": np.array([["original"], ["conv1"]], object),
    "empty": np.zeros((0, 3)),
    "of no axis": np.array(3.0),
}
OTHERS = {
    "scalar": np.float32(3),
    "integer": np.int64(-4),
    "word": np.str_("hi"),
    "text": "ä",
    "bytes": b"\xff\x00",
    "no bytes": b"",
    "bytearray": bytearray(b"a"),
    "large": 10**40,
    "negative": -5,
    "fraction": 0.1,
    "complex": 1 + 2j,
    "set": {1, "a"},
    "empty set": set(),
    "frozenset": frozenset([1]),
    "tuple": (1, (2, 3), 4, 5),
    "nothing": None,
    "true": True,
    "list": [1, [2, "b"], {"c": 3}],
}


def read(content):
    return unpickle(io.BytesIO(content), len(content))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_are_read_as_they_were_written(protocol):
    content = {"arrays": ARRAYS, "others": OTHERS, "again": ARRAYS["float"]}
    found = read(pickle.dumps(content, protocol))
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(found["arrays"][name], expected)
        assert found["arrays"][name].dtype == expected.dtype
        assert found["arrays"][name].shape == expected.shape
    expected = OTHERS | {"bytearray": b"a"} if protocol < 5 else OTHERS
    assert found["others"] == expected
    assert {name: type(it) for name, it in found["others"].items() if name != "bytearray"} == {
        name: type(it) for name, it in OTHERS.items() if name != "bytearray"
    }
    assert found["again"] is found["arrays"]["float"]


@pytest.mark.parametrize("old", [b"numpy._core", b"numpy.core"])
def test_both_names_of_numpy_are_known(old):
    other = {b"numpy._core": b"numpy.core", b"numpy.core": b"numpy._core"}[old]
    content = pickle.dumps(ARRAYS["float"], 2)
    assert b"numpy._core" in content or b"numpy.core" in content
    np.testing.assert_array_equal(read(content.replace(other, old)), ARRAYS["float"])


def test_python_2_is_read_as_latin_1():
    # {'a': numpy.array([1, 258], '<i2'), 'b': 'caf\xe9'} as Python 2.7 writes it, protocol 2
    content = (
        b"\x80\x02}q\x00(U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
        b"q\x03K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\t"
        b"U\x02i2q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tq\x0eb\x89U\x04\x01\x00\x02\x01q\x0ftq\x10bU\x01bq\x11U\x04caf\xe9q\x12u."
    )
    expected = pickle.loads(content, encoding="latin1")
    found = read(content)
    assert found["b"] == expected["b"] == "café"
    np.testing.assert_array_equal(found["a"], expected["a"])
    np.testing.assert_array_equal(found["a"], [1, 258])


@pytest.fixture
def heard():
    """Every audit event of this process while a test runs."""
    events = []
    listening = [True]

    def listen(event, arguments):
        if listening:
            events.append((event, arguments))

    sys.addaudithook(listen)
    yield events
    listening.clear()


HARMLESS = ("deep list", "huge memo", "one number")  # plain data, if odd


@pytest.mark.parametrize("attack", pickled_attacks())
def test_an_attack_is_refused_and_nothing_is_run(attack, tmp_path, monkeypatch, heard):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "it.pkl"
    path.write_bytes(pickled_attacks()[attack])
    heard.clear()
    if attack in HARMLESS:
        load_pickle(path)
    else:
        with pytest.raises(InputError) as caught:
            load_pickle(path)
        assert len(str(caught.value).splitlines()) == 1
        assert str(caught.value).startswith(f"{path}: ")
    run = {event for event, _ in heard} & {"os.system", "pickle.find_class", "exec", "import"}
    assert not run
    assert not (tmp_path / CANARY).exists()


def test_the_listener_hears_a_pickle_that_is_run(tmp_path, monkeypatch, heard):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickled_attacks()["os.system"])
    assert {"os.system", "pickle.find_class"} <= {event for event, _ in heard}
    assert (tmp_path / CANARY).exists()


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        ("os.system", "names posix.system"),
        ("builtins.eval", "names builtins.eval"),
        ("getattr", "names builtins.getattr"),
        ("dotted name", "names numpy.core.os.system"),
        ("through numpy", "names numpy.load"),
        ("in an object array", "names posix.system"),
        ("newobj", "names os.system"),
        ("inst", "the pickle operation INST"),
        ("extension", "the pickle operation EXT1"),
        ("persistent", "the pickle operation BINPERSID"),
        ("buffers", "the pickle operation NEXT_BUFFER"),
        ("huge bytes", f"{2**40} bytes are declared where 2 are left"),
        ("hash bomb", "tuple where str belongs"),
    ],
)
def test_what_is_refused_is_named(attack, named):
    with pytest.raises(DamagedError, match=named):
        read(pickled_attacks()[attack])


def test_an_array_larger_than_its_bytes_is_refused():
    content = pickle.dumps(np.zeros(3), 2)
    larger = content.replace(b"K\x03\x85", b"K\x04\x85")
    assert larger != content
    with pytest.raises(DamagedError, match="3 values for an array of shape"):
        read(larger)


def test_making_much_of_little_is_refused():
    # a list of 1,000 numbers, and a set made of it again and again
    numbers = b"".join(b"M" + bytes([number % 256, number // 256]) for number in range(1000))
    content = b"\x80\x02cbuiltins\nset\nq\x00](" + numbers + b"eq\x01"
    content += b"h\x00h\x01\x85R" * 2000 + b"."
    with pytest.raises(DamagedError, match="makes far more than its"):
        read(content)


def test_a_cut_file_is_refused_at_every_length():
    content = pickle.dumps({"images": ARRAYS["float"], "types": ARRAYS["objects"]}, 4)
    for length in range(len(content)):
        with pytest.raises(DamagedError):
            read(content[:length])


def test_protocols_of_text_are_refused():
    with pytest.raises(DamagedError, match="pickle operation"):
        read(pickle.dumps({"a": 1}, 0))


def test_no_file_and_no_array(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_pickle(tmp_path / "none.pkl")
