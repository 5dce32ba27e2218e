"""Files that are larger, deeper or slower than they look are refused for a few bytes' worth.

Each is read in a process that may allocate the file's size and `SPARE` bytes, and compute
`SECONDS`, before it counts as a crash: see `Apart`.
"""

import functools
import struct

import pytest

from tests.references import weight_files as made
from tests.references.weight_files import (
    array,
    call,
    dictionary,
    group,
    legacy,
    listing,
    named,
    npy,
    repeated,
    storage,
    tensor,
    text,
    whole,
    zipped,
)

DEEP = b")" + b"\x85" * 150_000
WIDE = b")q\1" + b"h\1\x86q\1" * 60  # 2^60 tuples, to whoever walks through them
HUGE = 2**2000
CYCLE = b"]q\1h\1a"
# Python's hash of an integer is its remainder by this prime: all of them fall together.
PRIME = 2**61 - 1


def state(*items):
    return dictionary(text("w"), *items)


def ordered(*arguments):
    return call("collections", "OrderedDict", *arguments)


def dtype(code):
    return dictionary(text("l"), listing(array(code=code), array()))


@functools.cache
def pickles():
    """By name, the opcodes that stand where the tensors of any format should be."""
    colliding = range(PRIME, 90_000 * PRIME, PRIME)
    entries = b"".join(whole(n) + b"N" for n in range(60_000))
    long_tuple = repeated(whole(HUGE), 190_000)
    return {
        "bytes of 2^62": state(b"\x8e" + struct.pack("<Q", 2**62)),
        "text of 2^62": state(b"\x8d" + struct.pack("<Q", 2**62)),
        "text of 2^63 + 1": state(b"\x8d" + struct.pack("<Q", 2**63 + 1)),
        "bytes of 2^32 - 1": state(b"B" + b"\xff" * 4),
        "memo at 2^31 - 1": b"}r" + struct.pack("<I", 2**31 - 1),
        "memo at a long number": b"}p" + b"9" * 60 + b"\n",
        "long decimal": state(b"L" + b"9" * 5_000_000 + b"L\n"),
        "long decimal without end": state(b"I" + b"9" * 5_000_000),
        "long decimal of a float": state(b"F" + b"9" * 500 + b"x\n"),
        "unprintable number": state(b"F" + b"\1" * 500 + b"\n"),
        "unprintable name": named("a", "\1" * 400),
        "unprintable text": dictionary(text("\1" * 5000), b"N"),
        "not UTF-8": state(b"X" + struct.pack("<I", 3) + b"\xff\xfe\xfd"),
        "surrogates": dictionary(text("\ud800"), b"N"),
        "torn escape": state(b"V\\u12\n"),
        "deep value": state(DEEP),
        "deep list": state(b"]" * 150_000 + b"a" * 149_999),
        "deep key": dictionary(DEEP, b"N"),
        "deep layer": dictionary(text("l"), listing(DEEP, DEEP)),
        "deep key in a list of items": ordered(listing(DEEP + b"N\x86")),
        "deep shape": state(tensor(DEEP, DEEP)),
        "deep storage": state(DEEP + b"Q"),
        "deep dtype": dtype(DEEP),
        "wide dtype": dtype(WIDE),
        "wide value": state(WIDE),
        "wide storage": state(WIDE + b"Q"),
        "huge dtype": dtype(whole(HUGE)),
        "cycle": CYCLE,
        "cycle as a value": state(CYCLE),
        "cycle as a dtype": dtype(CYCLE),
        "cycle through a dictionary": b"}q\1" + text("a") + b"h\1s",
        "millions of opcodes": b"N0" * 2_000_000,
        "millions of marks": b"(" * 4_000_000,
        "many byte strings": listing(b"C\0" * 190_000),
        "many lists in the memo": listing(*[b"]r" + struct.pack("<I", n) for n in range(9**5)]),
        "colliding keys": dictionary(*(whole(n) + b"N" for n in colliding)),
        "colliding memo": b"}" + b"".join(b"p%d\n" % n for n in colliding),
        "copies of a dictionary": named("collections", "OrderedDict") + b"q\2"
        + b"}(" + entries + b"u\x85q\3" + b"h\2h\3R" * 20_000,
        "copies of bytes": named("_codecs", "encode") + b"q\2" + text("a" * 2**20)
        + text("latin1") + b"\x86q\3" + b"h\2h\3R" * 500,
        "wide characters": dictionary(text("\U0001f600" + "a" * 2**25), b"N"),
        "key twice": dictionary(text("w"), tensor(), text("w"), tensor()),
        "long key twice": dictionary(text("w\0" * 5000), b"q\1N", b"h\1N"),
        "key twice in a list of items": ordered(
            listing(*(group(text("w"), tensor()) for _ in range(2)))
        ),
        "huge shape": state(tensor((HUGE,), (1,))),
        "huge shape in a huge storage": state(tensor((HUGE,), (1,), 0, storage(HUGE // 2))),
        "huge storage": state(tensor(place=storage(HUGE))),
        "storage of 2^60": state(tensor(place=storage(2**60))),
        "huge stride": state(tensor((2,), (2**70,))),
        "huge stride of one": state(tensor((1,), (2**70,))),
        "huge empty shape": state(tensor((0, 2**70), (1, 1))),
        "empty shape just too large": state(tensor((0, 2**62, 4), (1, 1, 1))),
        "huge offset": state(tensor(offset=2**64)),
        "huge offset of nothing": state(tensor((0,), (1,), HUGE)) + b"0" + DEEP,
        "long shape": state(tensor(long_tuple + b"q\2", b"h\2")),
        "long shape of ones": state(tensor(repeated(b"K\1", 190_000) + b"q\2", b"h\2")),
        "stride 0": state(tensor((10**6,), (0,))),
        "stride 0 of two": state(tensor((8,), (0,))),
        "negative stride": state(tensor((4,), (-1,), 3)),
        "negative offset": state(tensor(offset=-1)),
        "negative shape": state(tensor((-2, -2), (1, 1))),
        "one beyond": state(tensor(offset=1)),
        "one beyond by strides": state(tensor((2, 2), (3, 1))),
        "shape of truth values": state(tensor(group(b"\x88"), group(b"\x88"))),
        "shape of fractions": state(tensor(group(b"G" + struct.pack(">d", 4)), group(b"K\1"))),
        "storage in two ways": dictionary(
            text("a"), tensor(), text("b"), tensor(place=storage(2, "0", "DoubleStorage"))
        ),
        "one storage many times": dictionary(
            text("w"), tensor() + b"q\5", *(text(f"w{i}") + b"h\5" for i in range(5000))
        ),
        "long layer many times": dictionary(text("l" * 2**20), dictionary(
            text("w"), array((0,), b"") + b"q\5", *(whole(i) + b"h\5" for i in range(500))
        )),
        "one layer by two names": dictionary(
            text("a/b"), dictionary(text("c"), array()),
            text("a"), dictionary(text("b/c"), array()),
        ),
        "huge empty array": dictionary(text("l"), dictionary(
            text("w"), array((0, 2**70), b""))),
        "array of too few bytes": dictionary(text("l"), dictionary(text("w"), array((2,)))),
        "array of 2^62": dictionary(text("l"), dictionary(text("w"), array((2**62,)))),
    }  # fmt: skip


@pytest.mark.parametrize("name", pickles())
@pytest.mark.parametrize("kind", [legacy, zipped, npy])
def test_a_pickle_cannot_grow_or_stall(outcome, kind, name):
    suffix = ".npy" if kind is npy else ".pth"
    found = outcome(kind(pickles()[name]), suffix)
    assert found.refused, found


@pytest.mark.parametrize("kind", [legacy, zipped])
def test_false_lengths_of_frames_are_of_no_effect(outcome, kind):
    body = b"\x95" + struct.pack("<Q", 2**62) + state(tensor())
    assert outcome(kind(body), ".pth") == made.Outcome(
        "arrays", "", 16, pytest.approx(0, abs=1)
    )
