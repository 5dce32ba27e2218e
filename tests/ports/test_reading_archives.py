"""Archives and tables that lie are refused for a few bytes' worth.

Each file is read in a process that may allocate the file's size and `SPARE` bytes, and compute
`SECONDS`, before it counts as a crash: see `Apart`.
"""

import bz2
import functools
import lzma
import struct

import numpy as np
import pytest
import safetensors.numpy
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.references.weight_files import (
    FOUR,
    Member,
    archive,
    deflated,
    dictionary,
    npy,
    npy_header,
    tensor,
    text,
)
from tests.references.weight_files import safetensors as table_and_numbers

# --- archives ---


def pth(*members):
    good = Member("archive/data.pkl", b"\x80\x02" + dictionary(text("w"), tensor()) + b".")
    names = {member.name for member in members}
    rest = (good, Member("archive/data/0", FOUR))
    return archive(*[m for m in rest if m.name not in names], *members)


def ones(n):
    return npy_header(f"({n},)") + FOUR * (n // 4)


@functools.cache
def zip_bomb():
    content = npy_header(f"({2**24},)") + b"\0" * 2**26
    return deflated(content), content


def nested():
    """Arrays that each hold all that follow: every one is whole, checksum and all."""
    inner, lengths, contents = b"", [], []
    for i in range(600):
        contents.append(npy_header(f"({len(inner)},)", "'|u1'") + inner)
        inner = archive(Member(f"{i}.npy", contents[-1])).partition(b"PK\1\2")[0]
        lengths.append(len(inner))
    members = [
        Member(f"{i}.npy", contents[i], place=len(inner) - lengths[i]) for i in range(600)
    ]
    return archive(*members, before=inner)


def many_entries(n=500_000):
    start, _, entry = archive(Member("", b"")).partition(b"PK\1\2")
    central = (b"PK\1\2" + entry[:-22]) * n
    return start + central + struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, 1, 1, len(central), 30, 0)


@functools.cache
def archives():
    packed, unpacked = zip_bomb()
    lie = npy_header(f"({2**28},)")
    bz2_bomb = bz2.compress(b"\0" * 90_000_000)
    torn = lzma.compress(ones(4), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1}])
    broken = b"\x09\x04\x05\0\x5d\0\0\x80\0" + torn[:3] + b"\xff" * 90
    return {
        "compressed.pth": pth(Member("archive/data/0", packed, 8, unpacked=unpacked)),
        "another method.pth": pth(Member("archive/data/0", FOUR, 99)),
        "too large.pth": pth(Member("archive/data/0", FOUR, size=2**40, packed=2**40)),
        "beyond the end.pth": pth(Member("archive/data/0", FOUR, place=2**40)),
        "far beyond the end.pth": pth(Member("archive/data/0", FOUR, place=2**63)),
        "at another place.pth": pth(Member("archive/data/0", FOUR, place=0)),
        "another checksum.pth": pth(Member("archive/data/0", FOUR, crc=1)),
        "one name twice.pth": pth(
            Member("archive/data/0", FOUR), Member("archive/data/0", FOUR)
        ),
        "two pickles.pth": pth(Member("other/data.pkl", b"}.")),
        "a storage too many bytes.pth": pth(Member("archive/data/0", FOUR + b"\0")),
        "no storage.pth": pth(Member("archive/data/0", b"")),
        "big-endian.pth": pth(Member("archive/byteorder", b"big")),
        "entries.pth": many_entries(),
        "something behind.pth": pth() + b"\0",
        "entries.npz": many_entries(),
        "nested.npz": nested(),
        "deflate bomb.npz": archive(Member("a.npy", packed, 8, unpacked=unpacked)),
        "bzip2 bomb.npz": archive(Member("a.npy", bz2_bomb, 12, unpacked=ones(4))),
        "broken lzma.npz": archive(Member("a.npy", broken, 14, unpacked=ones(4))),
        "too large.npz": archive(
            Member("a.npy", lie + b"\0" * 10**5, size=len(lie) + 2**30, packed=len(lie) + 2**30)
        ),
        "text.npz": archive(Member("a.txt", b"text")),
        "one name with and without suffix.npz": archive(
            Member("a", ones(4)), Member("a.npy", ones(8))
        ),
        "one name twice.npz": archive(Member("a.npy", ones(4)), Member("a.npy", ones(4))),
    }


HEADERS = {
    "10^12 numbers": npy_header("(1000000000000,)"),
    "2^70 numbers": npy_header(f"({2**70},)"),
    "0 times 2^70": npy_header(f"(0, {2**70})"),
    "below 0": npy_header("(-1, -1)"),
    "objects": npy_header(descr="'|O'"),
    "truth values": npy_header("(True,)"),
    "of Python 2": npy_header("(1L,)"),
    "letter of NumPy 1": npy_header(descr="'|a4'"),
    "text of 2^31": npy_header("(1,)", f"'<U{2**29}'"),
    "parentheses": npy_header(entries="(" * 9000),
    "signs": npy_header("(" + "-" * 9000 + "1,)"),
    "sums": npy_header("(" + "1+" * 4000 + "1,)"),
    "torn": npy_header(entries="{'descr': '<f4"),
    "torn within parentheses": npy_header(entries="{'descr': (((\n"),
    "too long": npy_header(entries=" " * 60_000),
    "unknown version": npy_header(version=9),
}


@pytest.mark.parametrize("name", archives())
def test_an_archive_that_lies_is_refused(outcome, name):
    assert outcome(pth(), ".pth").kind == "arrays"
    found = outcome(archives()[name], name[-4:])
    assert found.refused, found


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_refused(outcome, name):
    numbers = b"" if name.startswith("0") else b"\0" * 4
    assert outcome(archive(Member("a.npy", npy_header() + b"\0" * 4)), ".npz").kind == "arrays"
    found = outcome(archive(Member("a.npy", HEADERS[name] + numbers)), ".npz")
    assert found.refused, found


@pytest.mark.parametrize("n", [6, 7, 8, 9, 10, 60])
def test_a_torn_npy_file_is_refused(outcome, n):
    assert outcome(npy(b"}")[:n], ".npy").refused


def test_honest_files_need_no_more_room_than_they_have_themselves(outcome, tmp_path):
    arrays = {f"w{i}": np.arange(10**6, dtype="f4") for i in range(20)}
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    layers = {key: [value, value[:10].copy()] for key, value in arrays.items()}
    torch.save(tensors, tmp_path / "zip.pth")
    torch.save(tensors, tmp_path / "legacy.th", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "a.npz", **arrays)
    np.save(tmp_path / "a.npy", layers, allow_pickle=True)
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    for path in tmp_path.iterdir():
        found = outcome(path.read_bytes(), path.suffix)
        assert found.kind == "arrays", (path.name, found)


# --- safetensors ---


def table(*entries, numbers=FOUR):
    """Entries are (name, shape, start, stop) of float32."""
    named = [
        (name, {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]})
        for name, shape, start, stop in entries
    ]
    return table_and_numbers(dict(named), numbers)


TABLES = {
    "no length": b"\0" * 7,
    "length of 2^63": struct.pack("<Q", 2**63) + b"{}",
    "length below 0": struct.pack("<q", -1) + b"{}",
    "length beyond the end": struct.pack("<Q", 3) + b"{}",
    "no table": table_and_numbers([]),
    "not UTF-8": table_and_numbers(b'{"\xff\xff": 1}'),
    "nested lists": table_and_numbers(b"[" * 100_000),
    "nested lists in an entry": table_and_numbers(b'{"a": ' + b"[" * 100_000),
    "nested names": table_and_numbers(b'{"a": ' * 100_000),
    "many objects": table_and_numbers(b'{"a":[' + b",".join([b'{"":0}'] * 70_000) + b"]}"),
    "many empty objects": table_and_numbers(b'{"a":[' + b",".join([b"{}"] * 166_000) + b"]}"),
    "long number": table_and_numbers(b'{"a": ' + b"9" * 450_000 + b"}"),
    "no number": table_and_numbers(b'{"a": NaN}'),
    "long name": table(("a" * 450_000, [3], 0, 16)),
    "unprintable name": table(("\1" * 900, [3], 0, 16)),
    "surrogate": table(("\ud800", [3], 0, 16)),
    "name twice": table_and_numbers(
        b'{"a": %b, "a": %b}' % ((b'{"dtype":"F32","shape":[4],"data_offsets":[0,16]}',) * 2),
        FOUR,
    ),
    "key twice": table_and_numbers(
        b'{"a": {"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}}', FOUR
    ),
    "another dtype": table_and_numbers(
        {"a": {"dtype": ["F" * 900], "shape": [4], "data_offsets": [0, 16]}}, FOUR
    ),
    "overlap": table(("a", [4], 0, 16), ("b", [1], 12, 16)),
    "the same place": table(("a", [4], 0, 16), ("b", [4], 0, 16)),
    "gap": table(("a", [1], 0, 4), ("b", [1], 12, 16)),
    "gap in front": table(("a", [3], 4, 16)),
    "something behind": table(("a", [3], 0, 12)),
    "beyond the end": table(("a", [5], 0, 20)),
    "far beyond the end": table(("a", [2**61], 0, 2**63)),
    "below 0": table(("a", [4], -16, 0)),
    "backwards": table(("a", [4], 16, 0)),
    "shape below 0": table(("a", [-2, -2], 0, 16)),
    "shape of truth values": table(("a", [True, 4], 0, 16)),
    "shape of fractions": table(("a", [4.0], 0, 16)),
    "0 times 2^70": table(("a", [0, 2**70], 0, 0), ("b", [4], 0, 16)),
    "long shape": table(("a", [1] * 300_000, 0, 16)),
    "three offsets": table_and_numbers(
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16, 16]}}, FOUR
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_lies_is_refused(outcome, name):
    assert outcome(table(("a", [4], 0, 16)), ".safetensors").kind == "arrays"
    found = outcome(TABLES[name], ".safetensors")
    assert found.refused, found


# --- ONNX ---


def onnx_tensor(kind=TensorProto.FLOAT, shape=(4,), **changes):
    given = TensorProto(name="w", data_type=kind, dims=shape)
    given.MergeFrom(TensorProto(**changes))
    return given


def onnx_model(*tensors):
    graph = helper.make_graph([], "graph", [], [], initializer=tensors)
    return helper.make_model(graph).SerializeToString()


def empty_messages(field, n):
    size, content = b"", bytes([field << 3 | 2, 0]) * n
    left = len(content)
    while left > 127:
        size, left = size + bytes([left & 127 | 128]), left >> 7
    return b"\x3a" + size + bytes([left]) + content


MODELS = {
    "numbers missing": onnx_model(onnx_tensor(raw_data=FOUR[:-4])),
    "part of a number": onnx_model(onnx_tensor(raw_data=FOUR + b"\0")),
    "numbers of another kind": onnx_model(onnx_tensor(int32_data=[1, 2, 3, 4])),
    "float16 above 2^16": onnx_model(onnx_tensor(10, int32_data=[2**16] * 4)),
    "float16 below 0": onnx_model(onnx_tensor(10, int32_data=[-1] * 4)),
    "shape below 0": onnx_model(onnx_tensor(shape=(-2, -2), raw_data=FOUR)),
    "shape of 2^63 - 1": onnx_model(onnx_tensor(shape=(2**63 - 1,), raw_data=FOUR)),
    "0 times 2^62": onnx_model(onnx_tensor(shape=(0, 2**62, 2**62))),
    "long shape": onnx_model(onnx_tensor(shape=[1] * 200_000, raw_data=FOUR[:4])),
    "numbers elsewhere": onnx_model(onnx_tensor(data_location=TensorProto.EXTERNAL)),
    "in parts": onnx_model(onnx_tensor(raw_data=FOUR, segment=TensorProto.Segment(begin=0))),
    "name twice": onnx_model(*[onnx_tensor(raw_data=FOUR)] * 2),
    "name not UTF-8": onnx_model(onnx_tensor(name="mark", raw_data=FOUR)).replace(
        b"mark", b"\xff\xfe\xfd\xfc"
    ),
    "no weights": onnx_model(numpy_helper.from_array(np.ones(3, "i8"), "shape")),
    "a million empty tensors": empty_messages(5, 10**6),
    "a million empty nodes": empty_messages(1, 10**6),
}


@pytest.mark.parametrize("name", MODELS)
def test_an_onnx_model_that_lies_is_refused(outcome, name):
    assert outcome(onnx_model(onnx_tensor(raw_data=FOUR)), ".onnx").kind == "arrays"
    found = outcome(MODELS[name], ".onnx")
    assert found.refused, found
