"""Ways to spoil the files of a recording, as accidents and attackers do.

`spoil(generator, files)` changes one thing in a dict of path to content and says what. Content is
bytes, or a `Link`, a `Pipe` or a `Folder` in place of a file. A way is a function of the same
arguments that returns None where it does not apply; more of them are a line in `WAYS`.
"""

import io
import os
import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.io
from PIL import Image

CANARY = "canary"  # a file that only code from a spoiled file, or a write, would make
BOMB = 160 * 2**20  # bytes that a bomb unpacks to
HUGE = 2**40


class Link(NamedTuple):
    target: str


class Pipe(NamedTuple):
    pass


class Folder(NamedTuple):
    pass


def spoil(rng, files):
    while True:
        way = WAYS[rng.integers(len(WAYS))]
        done = way(rng, files)
        if done is not None:
            return f"{way.__name__}: {done}"


def write_files(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.target)
        elif isinstance(content, Pipe):
            os.mkfifo(path)
        elif isinstance(content, Folder):
            path.mkdir()
        else:
            path.write_bytes(content)


def pick(rng, files, *endings):
    names = sorted(name for name in files if name.endswith(endings or ("",)))
    return names[rng.integers(len(names))] if names else None


# ---------------------------------------------------------------------- any file


def flip_bits(rng, files):
    name = pick(rng, files)
    content = bytearray(files[name])
    if not content:
        return None
    reach = len(content) if rng.random() < 0.5 else min(len(content), 256)  # headers are short
    for place in rng.integers(reach, size=rng.integers(1, 9)):
        content[place] ^= 1 << rng.integers(8)
    files[name] = bytes(content)
    return name


def truncate(rng, files):
    name = pick(rng, files)
    files[name] = files[name][: rng.integers(len(files[name]) + 1)]
    return name


def insert_junk(rng, files):
    name = pick(rng, files)
    place = rng.integers(len(files[name]) + 1)
    files[name] = files[name][:place] + rng.bytes(rng.integers(1, 64)) + files[name][place:]
    return name


def replace_by_junk(rng, files):
    name = pick(rng, files)
    files[name] = rng.bytes(rng.integers(0, 4096))
    return name


def remove_file(rng, files):
    name = pick(rng, files)
    del files[name]
    return name


def remove_folder(rng, files):
    folder = os.path.dirname(pick(rng, files))
    for name in [name for name in files if name.startswith(f"{folder}/")]:
        del files[name]
    return folder or None


def swap_files(rng, files):
    one, other = pick(rng, files), pick(rng, files)
    files[one], files[other] = files[other], files[one]
    return f"{one}, {other}"


def put_something_else(rng, files):
    """Links to nowhere, to itself, to an endless device, out of the recording; pipes; folders."""
    name = pick(rng, files)
    others = [
        Link("/nowhere/at/all"),
        Link(os.path.basename(name)),
        Link("/dev/zero"),
        Link("/etc/hostname"),
        Link("."),
        Link("../" * 12),
        Pipe(),
        Folder(),
    ]
    files[name] = others[rng.integers(len(others))]
    return f"{name} {files[name]}"


def link_folder_to_itself(rng, files):
    name = pick(rng, files)
    files[f"{os.path.dirname(name) or '.'}/again"] = Link(".")
    return name


def name_without_utf8(rng, files):
    name = pick(rng, files)
    odd = os.fsdecode(b"\xff\xfe-\x80" + os.fsencode(os.path.basename(name)))
    target = os.path.join(os.path.dirname(name), odd)
    content = files.pop(name) if rng.random() < 0.5 else files[name]
    files[target] = content
    return name


# ---------------------------------------------------------------------- arrays


def npy(values, version=None):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version=version, allow_pickle=True)
    return stream.getvalue()


class Evil:
    """Runs a command when it is unpickled, by any of the usual ways."""

    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


def spoil_values(rng, values):
    """Give an array another type, shape or content."""
    ways = {
        "an object array with a gadget": lambda: np.array([Evil()] * max(1, values.size), object),
        "words": lambda: np.full(values.shape, "a"),
        "complex": lambda: np.zeros(values.shape, complex),
        "structured": lambda: np.zeros(values.shape, [("a", "i4")]),
        "dates": lambda: np.zeros(values.shape, "M8[s]"),
        "transposed": lambda: values.T,
        "one axis more": lambda: values[None],
        "flat": lambda: values.ravel(),
        "one row less": lambda: values[1:] if values.ndim else values,
        "rows twice": lambda: np.concatenate([values, values]) if values.ndim else values,
        "empty": lambda: values[:0] if values.ndim else values,
        "a scalar": lambda: np.array(3.0),
        "nan": lambda: np.full(values.shape, np.nan),
        "infinite": lambda: np.full(values.shape, np.inf),
        "huge numbers": lambda: np.full(values.shape, 1e300),
        "huge integers": lambda: np.full(values.shape, 2**62),
        "negative": lambda: np.full(values.shape, -1),
        "all the same": lambda: np.ones_like(values),
        "longdouble": lambda: np.zeros(values.shape, np.longdouble),
        "big-endian half": lambda: np.zeros(values.shape, ">f2"),
        "bytes": lambda: np.full(values.shape, b"\xff"),
    }
    name = list(ways)[rng.integers(len(ways))]
    return name, ways[name]()


def spoil_npy(rng, content):
    """Spoil a .npy file: its values, or what its header declares."""
    if rng.random() < 0.6:
        try:
            name, values = spoil_values(rng, np.load(io.BytesIO(content), allow_pickle=False))
            return name, npy(values)
        except ValueError:
            return None
    headers = {
        "a huge shape": f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({HUGE}, 2), }}",
        "a negative shape": "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2), }",
        "too large a shape": f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**63}, 4)}}",
        "a wide word": "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (9,), }",
        "an expression": "__import__('os').system('touch canary')",
        "a deep header": "-" * 9000 + "1",
        "many brackets": "(" * 150 + ")" * 150,
        "no keys": "{}",
        "an object type": "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "many axes": f"{{'descr': '<f8', 'fortran_order': False, 'shape': {(1,) * 70}, }}",
        "no bytes at all": "{'descr': '|V0', 'fortran_order': False, 'shape': (9,), }",
    }
    name = list(headers)[rng.integers(len(headers))]
    header = headers[name].encode() + b"\n"
    return name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[128:]


def spoil_array_file(rng, files):
    name = pick(rng, files, ".npy")
    spoiled = name and spoil_npy(rng, files[name])
    if not spoiled:
        return None
    files[name] = spoiled[1]
    return f"{name}, {spoiled[0]}"


def spoil_matlab(rng, files):
    name = pick(rng, files, ".mat")
    if name is None:
        return None
    content = {
        key: value
        for key, value in scipy.io.loadmat(io.BytesIO(files[name])).items()
        if not key.startswith("__")
    }
    key = sorted(content)[rng.integers(len(content))]
    target, place = content, key
    if content[key].dtype.names and rng.random() < 0.8:
        place = content[key].dtype.names[rng.integers(len(content[key].dtype.names))]
        target = content[key] = {it: content[key][it][0, 0] for it in content[key].dtype.names}
    others = ["gone", "text", "a cell", "a struct", "values"]
    what = others[min(rng.integers(8), 4)]
    if what == "gone":
        del target[place]
    elif what == "values":
        what, target[place] = spoil_values(rng, np.asarray(target[place]))
        if target[place].dtype.kind in "OMgV":
            return None
    else:
        made = {"text": "text", "a cell": np.array([1, "a"], object), "a struct": {"a": 1}}
        target[place] = made[what]
    stream = io.BytesIO()
    try:
        scipy.io.savemat(stream, content, do_compression=bool(rng.random() < 0.5))
    except Exception:  # what MATLAB's format has no place for
        return None
    files[name] = stream.getvalue()
    return f"{name}, {key}.{place}, {what}"


def bomb_matlab(rng, files):
    name = pick(rng, files, ".mat")
    if name is None:
        return None
    head = struct.pack("<2I", 14, BOMB)  # one matrix of zeros
    body = io.BytesIO()
    scipy.io.savemat(body, {["stim", "img", "imgs"][rng.integers(3)]: np.zeros((1, 1, 2))})
    deflate = zlib.compressobj(1)
    packed = deflate.compress(head + body.getvalue()[136:])
    packed += b"".join(deflate.compress(bytes(2**20)) for _ in range(BOMB // 2**20))
    packed += deflate.flush()
    files[name] = files[name][:128] + struct.pack("<2I", 15, len(packed)) + packed
    return name


# ---------------------------------------------------------------------- pickles


def pickled_attacks():
    """Pickles that would run code, or ask for memory, if anything obeyed them."""
    touch = f"touch {CANARY}".encode()
    nested = b")\x94" + b"".join(b"h%ch%c\x86\x94" % (it, it) for it in range(100))
    return {
        "os.system": pickle.dumps(Evil(), 2),
        "builtins.eval": b"\x80\x02cbuiltins\neval\nX\x04\x00\x00\x001+11\x85R.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncos\npath\nX\x02\x00\x00\x00os\x86R.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0fcore.os.system.\x93.",
        "through numpy": b"\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x01a\x85R.",
        "in a dict": pickle.dumps({"images": Evil()}, 4),
        "in an object array": pickle.dumps({"images": np.array([Evil()], object)}, 5),
        "in a state": b"\x80\x02cos\nsystem\n(U" + bytes([len(touch)]) + touch + b"tb.",
        "setstate": b"\x80\x02cnumpy\nndarray\n}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb.",
        "inst": b"\x80\x02(U" + bytes([len(touch)]) + touch + b"ios\nsystem\n.",
        "obj": b"\x80\x02(cos\nsystem\nU" + bytes([len(touch)]) + touch + b"o.",
        "newobj": b"\x80\x02cos\nsystem\n)\x81.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x02K\x01Q.",
        "huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b"a.",
        "huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", HUGE) + b"a.",
        "huge memo": b"\x80\x02}r\xff\xff\xff\x7f.",
        "huge number": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"a.",
        "hash bomb": b"\x80\x04" + nested + b"}h\x64K\x01s.",
        "huge array": b"\x80\x02cnumpy\nndarray\n\x8a\x05\x00\x00\x00\x00\x40\x85\x85R.",
        "huge buffer": b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x40\x85R.",
        "many lists": b"\x80\x02" + b"]" * 300_000 + b".",
        "deep list": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        "buffers": b"\x80\x05\x97.",
        "nothing": b"\x80\x04.",
        "one number": b"\x80\x04K\x01.",
    }


def replace_by_attack(rng, files):
    name = pick(rng, files, ".pkl", ".npy")
    attacks = pickled_attacks()
    attack = list(attacks)[rng.integers(len(attacks))]
    if name is None:
        return None
    files[name] = attacks[attack]
    if name.endswith(".npy"):  # as the pickle of an object array
        files[name] = npy(np.array([Evil()], object))[:128] + attacks[attack]
    return f"{name}, {attack}"


def spoil_pickle(rng, files):
    name = pick(rng, files, ".pkl")
    if name is None:
        return None
    if rng.random() < 0.4:
        return replace_by_attack(rng, files)
    content = pickle.loads(files[name])
    key = sorted(content)[rng.integers(len(content))]
    if rng.random() < 0.2:
        del content[key]
        what = "gone"
    elif rng.random() < 0.2:
        what = content[key] = ["text", None, [1, 2], {"a": 1}, (), b"a"][rng.integers(6)]
    else:
        what, content[key] = spoil_values(rng, np.asarray(content[key]))
    files[name] = pickle.dumps(content, rng.integers(2, 6))
    return f"{name}, {key}, {what}"


# ---------------------------------------------------------------------- zips


def repack(members):
    """Zip of a list of (name or ZipInfo, content)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def bomb_content():
    """Bytes that deflate packs some hundredfold, with a .npy header that fits them."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({BOMB // 4}, 4), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(BOMB)


def as_link(name, _):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info, "/dev/zero"


ZIP_WAYS = {
    "gone": lambda name, content: None,
    "empty": lambda name, content: (name, b""),
    "truncated": lambda name, content: (name, content[: len(content) // 2]),
    "junk": lambda name, content: (name, bytes(range(256))),
    "a bomb": lambda name, content: (name, bomb_content()),
    "a link": as_link,
    "up and out": lambda name, content: (f"../../../{CANARY}", content),
    "an absolute path": lambda name, content: (f"/tmp/{CANARY}/{name}", content),
    "up in the middle": lambda name, content: (f"data/../../{name}", content),
    "a backslash": lambda name, content: (f"..\\..\\{name}", content),
    "a folder": lambda name, content: (f"{name}/", b""),
    "a number in words": lambda name, content: (name.replace("1", "¹"), content),
    "very long": lambda name, content: (name + "x" * 60_000, content),
    "spoiled": None,  # as an array or a photograph
}


def jpeg_of(rng):
    """A photograph that is another than expected."""
    stream = io.BytesIO()
    size, mode, kind = [
        ((112, 111), "RGB", "JPEG"),
        ((112, 112), "L", "JPEG"),
        ((112, 112), "CMYK", "JPEG"),
        ((112, 112), "RGB", "PNG"),
        ((112, 112), "P", "GIF"),
        ((1, 1), "RGB", "JPEG"),
        ((3000, 3000), "RGB", "JPEG"),
    ][rng.integers(7)]
    Image.new(mode, size).save(stream, kind)
    content = bytearray(stream.getvalue())
    frame = content.find(b"\xff\xc0")
    if kind == "JPEG" and rng.random() < 0.4:  # a picture of 65,500 x 65,500 pixels
        content[frame + 5 : frame + 9] = struct.pack(">2H", 65500, 65500)
    return bytes(content)


def spoil_member(rng, name, content):
    if name.endswith(".jpg"):
        return jpeg_of(rng)
    spoiled = spoil_npy(rng, content)
    return spoiled[1] if spoiled else content[:-1]


def spoil_zip(rng, files):
    name = pick(rng, files, ".zip", ".npz")
    if name is None:
        return None
    with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
        members = [(it, archive.read(it)) for it in archive.namelist()]
    place = rng.integers(len(members))
    way = list(ZIP_WAYS)[rng.integers(len(ZIP_WAYS))]
    member, content = members[place]
    if ZIP_WAYS[way] is None:
        changed = member, spoil_member(rng, member, content)
    else:
        changed = ZIP_WAYS[way](member, content)
    kept = members[:place] + members[place + 1 :]
    if rng.random() < 0.2:
        kept = members  # the spoiled one beside the whole one
    files[name] = repack([*kept, *([changed] if changed else [])])
    return f"{name}, {member}, {way}"


def spoil_directory(rng, files):
    """Lie in the headers of a zip: sizes, checksums, methods, flags, names without UTF-8."""
    name = pick(rng, files, ".zip", ".npz")
    if name is None:
        return None
    content = bytearray(files[name])
    starts = [found.start() for found in re.finditer(b"PK\1\2", content)]
    place = starts[rng.integers(len(starts))]
    what, offset, value = [
        ("method", 10, struct.pack("<H", rng.choice([1, 9, 12, 14, 93, 99]))),
        ("encrypted", 8, struct.pack("<H", 1)),
        ("size", 24, struct.pack("<I", 2**32 - 2)),
        ("packed size", 20, struct.pack("<I", 2**31)),
        ("small size", 24, struct.pack("<I", 3)),
        ("checksum", 16, rng.bytes(4)),
        ("offset", 42, struct.pack("<I", 2**30)),
        ("name", 46, b"\xff\xfe"),
        ("version", 6, struct.pack("<H", 99)),
    ][rng.integers(9)]
    content[place + offset : place + offset + len(value)] = value
    if what == "name":
        content[place + 8 : place + 10] = struct.pack("<H", 0x800)  # said to be UTF-8
    files[name] = bytes(content)
    return f"{name}, {what}"


def pack_all(rng, files):
    """Put everything into one zip and spoil that: some layouts are read from zips."""
    packed = repack(sorted(files.items()))
    files.clear()
    files["packed.zip"] = packed
    return (spoil_zip if rng.random() < 0.6 else spoil_directory)(rng, files)


WAYS = [
    *(flip_bits, flip_bits, truncate, truncate, insert_junk, replace_by_junk),
    *(remove_file, remove_folder, swap_files),
    *(put_something_else, link_folder_to_itself, name_without_utf8),
    *(spoil_array_file, spoil_array_file, spoil_array_file),
    *(spoil_matlab, spoil_matlab, spoil_matlab, bomb_matlab),
    *(spoil_pickle, spoil_pickle, spoil_pickle, replace_by_attack),
    *(spoil_zip, spoil_zip, spoil_zip, spoil_directory, pack_all),
]


def read_files(folder: Path):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
