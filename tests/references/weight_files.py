"""Weight files put together byte by byte, and a reader of them in a process of its own.

The builders follow the formats' own documents: Python's `pickletools`, PKWARE's APPNOTE for
zip, `numpy.lib.format`, and the safetensors readme. None of them calls what is tested.

A hostile file may crash or hang whoever reads it. `Apart` therefore reads in a child process
that may allocate no more than the file's size and `SPARE` bytes, compute no longer than
`SECONDS`, and treats warnings as errors; a crash is then an outcome like any other.
"""

import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import time
import warnings
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

# Python objects cost some hundred bytes per opcode, entry or number that the file spends a few
# bytes on; the readers bound how many of them there may be, and this is what they then need.
SPARE = 20 * 2**20
SECONDS = 2

# --- pickles ---


def text(value):
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def whole(n):
    content = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def raw(content):
    return b"B" + struct.pack("<I", len(content)) + content


def group(*items):
    return b"(" + b"".join(items) + b"t"


def listing(*items):
    return b"](" + b"".join(items) + b"e"


def dictionary(*keys_and_values):
    return b"}(" + b"".join(keys_and_values) + b"u"


def named(module, member):
    return b"c" + module.encode() + b"\n" + member.encode() + b"\n"


def call(module, member, *arguments):
    return named(module, member) + group(*arguments) + b"R"


def repeated(item, n):
    """A tuple of n times one item, which costs two bytes a time: it is in the memo."""
    return b"(" + item + b"q\xf0" + b"h\xf0" * (n - 1) + b"t"


def storage(n=4, key="0", kind="FloatStorage"):
    place = group(text("storage"), named("torch", kind), text(key), text("cpu"), whole(n), b"N")
    return place + b"Q"


def tensor(shape=(4,), strides=(1,), offset=0, place=None):
    shape = shape if isinstance(shape, bytes) else group(*map(whole, shape))
    strides = strides if isinstance(strides, bytes) else group(*map(whole, strides))
    place = storage() if place is None else place
    rest = (whole(offset), shape, strides, b"\x89", call("collections", "OrderedDict"))
    return call("torch._utils", "_rebuild_tensor_v2", place, *rest)


# --- PyTorch ---

FOUR = struct.pack("<4f", 1, 2, 3, 4)  # the numbers of `storage()`


def legacy(body, storages=(("0", 4, FOUR),), keys=None):
    """The format before PyTorch 1.6, around the opcodes of a state_dict."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [b"\x80\x02" + body + b"."]
    parts += [pickle.dumps([key for key, *_ in storages], 2) if keys is None else keys]
    parts += [struct.pack("<q", n) + content for _, n, content in storages]
    return b"".join(parts)


def zipped(body, storages=(("0", FOUR),), **changes):
    """The format since PyTorch 1.6; changes are of the pickle's entry in the archive."""
    members = [Member("archive/data.pkl", b"\x80\x02" + body + b".", **changes)]
    members += [Member("archive/byteorder", b"little"), Member("archive/version", b"3\n")]
    members += [Member(f"archive/data/{key}", content) for key, content in storages]
    return archive(*members)


# --- zip ---


@dataclass(frozen=True)
class Member:
    """One file of an archive; what is None is told truly."""

    name: str
    content: bytes
    method: int = 0
    size: int | None = None
    packed: int | None = None
    crc: int | None = None
    place: int | None = None
    unpacked: bytes | None = None  # where the content is compressed already


def archive(*members, before=None):
    """A zip file; `before` stands for the members themselves, where they are made already."""
    local, central = b"", b""
    for member in members:
        unpacked = member.content if member.unpacked is None else member.unpacked
        name = member.name.encode()
        size = len(unpacked) if member.size is None else member.size
        packed = len(member.content) if member.packed is None else member.packed
        crc = zlib.crc32(unpacked) if member.crc is None else member.crc
        place = len(local) if member.place is None else member.place
        wide = b""
        if max(size, packed, place) >= 2**32:
            wide = struct.pack("<HHQQQ", 1, 24, size, packed, place)
            size = packed = place = 2**32 - 1
        common = struct.pack("<HHHHIII", 0, member.method, 0, 0x21, crc, packed, size)
        local += b"PK\3\4\x2d\0" + common + struct.pack("<HH", len(name), 0)
        local += name + member.content
        central += b"PK\1\2\x2d\0\x2d\0" + common
        central += struct.pack("<HHHHHII", len(name), len(wide), 0, 0, 0, 0, place)
        central += name + wide
    local = local if before is None else before
    counts = (len(members) % 2**16,) * 2
    end = struct.pack("<HHHHIIH", 0, 0, *counts, len(central), len(local), 0)
    return local + central + b"PK\5\6" + end


def deflated(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


# --- NumPy ---


def npy_header(shape="(1,)", descr="'<f4'", entries=None, version=1):
    entries = entries or f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    content = entries.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(content))
    return b"\x93NUMPY" + bytes([version, 0]) + size + content


def array(shape=(1,), content=b"\0\0\x80?", code=None, order="<"):
    """The opcodes of an array of float32; contents are bytes, or opcodes in a list."""
    code = text("f4") if code is None else code
    content = content[0] if isinstance(content, list) else raw(content)
    dtype = call("numpy", "dtype", code, b"K\0", b"K\1")
    dtype += group(b"K\3", text(order), b"N", b"N", b"N", whole(-1), whole(-1), b"K\0") + b"b"
    state = group(b"K\1", group(*map(whole, shape)), dtype, b"\x89", content)
    empty = (named("numpy", "ndarray"), group(b"K\0"), raw(b"b"))
    return call("numpy.core.multiarray", "_reconstruct", *empty) + state + b"b"


def npy(body):
    """A `.npy` file of one object, by its opcodes."""
    held = array((), [b"](" + body + b"e"], text("O8"), "|")
    start = npy_header("()", "'|O'")
    return start + b"\x80\x02" + held + b"."


# --- safetensors ---


def safetensors(table, numbers=b""):
    table = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(table)) + table + numbers


# --- reading in a process of its own ---


@dataclass(frozen=True)
class Outcome:
    """What became of a file: 'arrays', the name of an exception, or how the child died."""

    kind: str
    message: str = ""
    n_bytes: int = 0  # of all arrays together
    seconds: float = 0.0  # of processor time

    @property
    def refused(self):
        """In one sentence that a person can read."""
        sentence = self.message.isprintable() and 10 < len(self.message) < 400
        return self.kind == "ValueError" and sentence and self.seconds < SECONDS


class Apart:
    """A process that reads files, each in a child of it."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self, path):
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _outcome(read, path):
    """Of reading in this very process, once it is bounded."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    most = now + Path(path).stat().st_size + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)  # ends the process
    start = time.process_time()
    try:
        arrays = read(path)
        odd = [key for key, value in arrays.items() if type(value).__name__ != "ndarray"]
        if odd:
            return Outcome("arrays and others", str(odd)[:100])
        total = sum(value.nbytes for value in arrays.values())
        return Outcome("arrays", "", total, time.process_time() - start)
    except Exception as error:
        seconds = time.process_time() - start
        return Outcome(type(error).__name__, str(error).replace(path, "FILE"), 0, seconds)


def _in_child(read, path):
    ours, theirs = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # JAX warns of forks; it is not used here
        child = os.fork()
    if not child:
        with os.fdopen(theirs, "w") as file:
            json.dump(asdict(_outcome(read, path)), file)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as file:
        answer = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return asdict(Outcome("too slow" if name == "SIGPROF" else f"crash by {name}"))
    return json.loads(answer) if answer else asdict(Outcome("crash"))


if __name__ == "__main__":
    import onnx.numpy_helper  # noqa: F401  (so that no child has to)

    from ports.reading import read

    warnings.simplefilter("error")
    for line in sys.stdin:
        print(json.dumps(_in_child(read, line.rstrip("\n"))), flush=True)
