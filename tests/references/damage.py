"""Ways to damage a weight file, each by a generator of random numbers.

Some know nothing of the format, as a failing disk does; others keep it whole, checksums and
all, and change what it says.
"""

import io
import json
import pickletools
import struct
import zipfile

from tests.references import weight_files as made

INTERESTING = (
    *(0, 1, -1, 2, 3, 4, 5, 7, 8, 12, 24, 127, 128, 255, 256, 65535, 65536, 10**6),
    *(
        2**31 - 1,
        2**31,
        2**32 - 1,
        2**32,
        2**61,
        2**62,
        2**63 - 1,
        2**63,
        2**64,
        2**70,
        -(2**63),
    ),
)


# --- damage that knows nothing of the format ---


def torn(rng, content):
    return content[: rng.randrange(len(content))]


def flipped(rng, content):
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def burst(rng, content):
    start, n = rng.randrange(len(content)), rng.choice((1, 2, 4, 8, 40))
    new = rng.choice((rng.randbytes(n), b"\0" * n, b"\xff" * n))
    return content[:start] + new + content[start + n :]


def inserted(rng, content):
    start, n = rng.randrange(len(content)), rng.choice((1, 2, 4, 8, 64))
    return content[:start] + rng.choice((rng.randbytes(n), b"\0" * n)) + content[start:]


def deleted(rng, content):
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.choice((1, 2, 4, 8, 64)) :]


def followed(rng, content):
    return content + rng.choice((b"\0", b".", rng.randbytes(rng.randrange(1, 50)), content))


def spliced(rng, content, other):
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def repeated(rng, content):
    start = rng.randrange(len(content))
    return content[:start] + content[max(0, start - rng.choice((8, 64, 512))) :]


def number(rng, content):
    start, size = rng.randrange(len(content)), rng.choice((2, 4, 8))
    value = rng.choice(INTERESTING) % 2 ** (8 * size)
    return content[:start] + value.to_bytes(size, "little") + content[start + size :]


ANYWHERE = (torn, flipped, burst, inserted, deleted, followed, repeated, number)


# --- damage that keeps the format whole, checksums and all ---


def _opcodes(content, start):
    """(opcode, its argument, where it begins, where it ends) of a pickle."""
    places = [(op, value, start + at) for op, value, at in pickletools.genops(content[start:])]
    ends = [place for *_, place in places[1:]] + [places[-1][2] + 1]
    return [(*place, end) for place, end in zip(places, ends, strict=True)]


def other_opcode(rng, content, start):
    """One number or opcode of a pickle replaced, removed, repeated, or moved."""
    opcodes = _opcodes(content, start)
    numbers = [op for op in opcodes if type(op[1]) is int and "PUT" not in op[0].name]
    kind = rng.choice(("number", "number", "number", "opcode", "remove", "repeat", "swap"))
    op, value, begin, end = rng.choice(numbers if kind == "number" else opcodes)
    old = content[begin:end]
    if kind == "number" and "GET" in op.name:
        new = old[:1] + bytes([rng.randrange(64)]) + old[2:]
    elif kind == "number":
        new = made.whole(rng.choice((*INTERESTING, value + 1, value - 1)))
    elif kind == "opcode":
        new = bytes([rng.choice(pickletools.opcodes).code.encode("latin-1")[0]]) + old[1:]
    elif kind == "swap":
        _, _, other, stop = rng.choice(opcodes)
        new = content[other:stop]
    else:
        new = b"" if kind == "remove" else old * 2
    return content[:begin] + new + content[end:]


def _rewritten(rng, content, change):
    """An archive with one member changed, and the checksums that then hold."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(rng, members)
    return made.archive(*(made.Member(name, value) for name, value in members.items()))


def _other_pickle(rng, members):
    (name,) = (name for name in members if name.endswith("data.pkl"))
    members[name] = other_opcode(rng, members[name], 0)


def _other_header(rng, members):
    name = rng.choice(list(members))
    start, end = 10, 10 + int.from_bytes(members[name][8:10], "little")
    header = members[name][start:end].decode("latin-1")
    for digit in rng.sample("1234f<,(' }", 2):
        new = rng.choice((str(rng.choice(INTERESTING)), digit * 2, "", "(", "-", "O", "L"))
        header = header.replace(digit, new, 1)
    header = header.encode("latin-1")[:9000]
    size = struct.pack("<H", len(header))
    members[name] = members[name][:8] + size + header + members[name][end:]


def other_table(rng, content):
    size = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + size])
    entry = table[rng.choice(list(table))]
    field = rng.choice(list(entry))
    odd = (None, "", "F64", "BOOL", [], {}, 1.5, True, -1, [2**70, 0], [0, 0, 0], 10**400)
    if field == "dtype" or rng.random() < 0.3:
        entry[field] = rng.choice(odd)
    elif entry[field]:
        entry[field][rng.randrange(len(entry[field]))] = rng.choice((*INTERESTING, *odd))
    return made.safetensors(table, content[8 + size :])


def structural(rng, content, name):
    """Damage within the format `name`."""
    if name == "zip":
        return _rewritten(rng, content, _other_pickle)
    if name in ("npz", "packed"):
        return _rewritten(rng, content, _other_header)
    if name == "safetensors":
        return other_table(rng, content)
    if name == "onnx":
        return number(rng, content)
    starts = [content.index(b"\x80", 8)] if name != "legacy" else [0]
    if name == "legacy":
        for _ in range(4):
            starts.append(_opcodes(content, starts[-1])[-1][3])
        starts = [starts[3]] * 6 + starts  # the tensors are in the fourth pickle
    return other_opcode(rng, content, rng.choice(starts))


def field_of_zip(rng, content):
    """One number in the archive's own tables replaced."""
    places = [
        at
        for at in range(len(content) - 22)
        if content[at : at + 4] in (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7")
    ]
    start, size = rng.choice(places) + rng.randrange(4, 46), rng.choice((2, 4))
    value = rng.choice(INTERESTING) % 2 ** (8 * size)
    return content[:start] + value.to_bytes(size, "little") + content[start + size :]
