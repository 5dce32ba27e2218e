"""PyTorch's `.pth`, `.pt` and `.th` files without PyTorch: the zip and the legacy format.

Both hold a pickle that describes tensors (storage, offset, shape, strides) and the raw numbers
of the storages. Shapes, strides and offsets are checked against the storages, and the storages
against the file, before an array is made; the arrays are views of the file's own bytes.
"""

import io
import math
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from .pickled import Name, Ordered, put, read_pickle, shown

DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
STORAGES = frozenset(f"torch.{name}" for name in DTYPES)
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PROTOCOL = 1001
MOST_MEMBERS = 20_000  # of an archive; each costs some hundred bytes of memory
LARGEST = 2**60  # of any shape, stride or offset; far beyond every file
# Where training scripts keep the weights beside an epoch or an accuracy.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, by the key that the pickle gives it."""

    key: str
    dtype: np.dtype
    n: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, in numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Of its numbers, if they were written out."""
        return math.prod(self.shape) * self.storage.dtype.itemsize


def read_zip(data: memoryview) -> dict[str, np.ndarray]:
    """The tensors of a file that PyTorch 1.6 or newer wrote.

    Raises:
        ValueError: not such a file, torn, damaged, or with anything but tensors in it.
    """
    if data[-22:-18] != b"PK\5\6":
        raise ValueError("the archive is torn, or something follows its end")
    # The list of members is at the end; so many short entries fit into its last megabytes.
    if len(re.findall(b"PK\x01\x02", data[-(2**23) :])) > MOST_MEMBERS:
        raise ValueError(f"the archive has more than {MOST_MEMBERS:,} members")
    try:
        # The file's own bytes: a view of them would be copied.
        with zipfile.ZipFile(io.BytesIO(data.obj)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, struct.error) as error:
        raise ValueError(f"the archive cannot be read: {error}") from error
    members = {entry.filename: entry for entry in entries}
    if len(members) < len(entries):
        raise ValueError("the archive has two members of one name")
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1 or any("/code/" in name for name in members):
        raise ValueError("the archive holds no state_dict of PyTorch's")
    root = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{root}byteorder")
    if order is not None and _member(data, order) != b"little":
        raise ValueError("the numbers are big-endian: possible is little-endian")
    storages: dict[str, Storage] = {}
    found, _ = _read(_member(data, members[pickles[0]]), 0, storages)
    if sum(storage.n * storage.dtype.itemsize for storage in storages.values()) > len(data):
        raise ValueError("the storages have more numbers together than the file has")
    numbers = {}
    for key, storage in storages.items():
        if f"{root}data/{key}" not in members:
            raise ValueError(f"the archive has no storage {shown(key)}")
        numbers[key] = _member(data, members[f"{root}data/{key}"])
        if len(numbers[key]) != storage.n * storage.dtype.itemsize:
            raise ValueError(
                f"storage {shown(key)} has {len(numbers[key])} bytes, not the "
                f"{storage.n * storage.dtype.itemsize} that its tensors need"
            )
    return _arrays(found, numbers, len(data))


def read_legacy(data: memoryview) -> dict[str, np.ndarray]:
    """The tensors of a file that PyTorch before 1.6 wrote: pickles, then raw numbers.

    Raises:
        ValueError: not such a file, torn, damaged, or with anything but tensors in it.
    """
    magic, position = read_pickle(data, 0, {})
    protocol, position = read_pickle(data, position, {})
    system, position = read_pickle(data, position, {})
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL or not isinstance(system, dict):
        raise ValueError("the file has another beginning than PyTorch's")
    if system.get("little_endian") is not True:
        raise ValueError("the numbers are big-endian: possible is little-endian")
    storages: dict[str, Storage] = {}
    found, position = _read(data, position, storages)
    keys, position = read_pickle(data, position, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("the list of storages is damaged")
    if sorted(keys) != sorted(storages):
        raise ValueError("the list of storages is not that of the tensors")
    numbers = {}
    for key in keys:
        storage = storages[key]
        stop = position + 8 + storage.n * storage.dtype.itemsize
        if stop > len(data):
            raise ValueError(f"the file ends within storage {shown(key)}: it is torn")
        (n,) = struct.unpack("<q", data[position : position + 8])
        if n != storage.n:
            raise ValueError(f"storage {shown(key)} has {n} numbers, not {storage.n}")
        numbers[key] = data[position + 8 : stop]
        position = stop
    if position != len(data):
        raise ValueError(f"{len(data) - position} bytes follow the last storage")
    return _arrays(found, numbers, len(data))


def _read(data, start, storages):
    """The pickle with the tensors; notes the storages that they lie in."""

    def persistent(identity):
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise ValueError("a storage is not described as PyTorch does")
        kind, name, key, _, n, *view = identity
        if kind != "storage" or not isinstance(name, Name) or name.full not in STORAGES:
            raise ValueError("a storage is not described as PyTorch does")
        if view not in ([], [None]):
            raise ValueError("a storage is a view of another: that is not supported")
        if not isinstance(key, str) or type(n) is not int or not 0 <= n < LARGEST:
            raise ValueError("a storage is not described as PyTorch does")
        storage = Storage(key, np.dtype(DTYPES[name.full.removeprefix("torch.")]), n)
        if storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {shown(key)} is described in two ways")
        return storage

    return read_pickle(data, start, _CALLS, STORAGES, persistent)


def _tensor(storage, offset, shape, strides, *more):
    """What `torch._utils._rebuild_tensor` stands for, checked."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("a tensor has no shape")
    if any(more[2:]):  # behind requires_grad and hooks
        raise ValueError("a tensor's sign or conjugation is still to be applied")
    if len(shape) > 8 or len(strides) != len(shape):
        raise ValueError("a tensor has more than 8 axes, or other strides than axes")
    numbers = (offset, *shape, *strides)
    if any(type(n) is not int or not 0 <= n < LARGEST for n in numbers):
        raise ValueError("a tensor has an impossible shape, stride or offset")
    size = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # A stride of 0 would let a few numbers pose as any amount of them.
    if size > storage.n or (size and last >= storage.n):
        raise ValueError(
            f"a tensor of shape {str(shape)[:80]} reaches beyond its storage of "
            f"{storage.n} numbers"
        )
    return Tensor(storage, offset, shape, strides)


def _parameter(tensor, *_):
    return tensor


class _NotNeeded:
    """A number that a training script kept, which is left out."""

    def __init__(self, *_):
        pass

    def set_state(self, state):
        """Called where the pickle sets attributes."""


def _ordered(*arguments):
    """Python 2 wrote the items as an argument; they are taken out, so as to be copied once."""
    if len(arguments) > 1 or not all(isinstance(items, list) for items in arguments):
        raise ValueError("an ordered dictionary is not described as Python does")
    ordered = Ordered()
    for items in arguments:
        for item in items:
            if not isinstance(item, list | tuple) or len(item) != 2:
                raise ValueError("an ordered dictionary is not described as Python does")
            put(ordered, *item)
        items.clear()
    return ordered


_CALLS = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    # An accuracy or the like that a training script kept beside the weights.
    "numpy.core.multiarray.scalar": _NotNeeded,
    "numpy._core.multiarray.scalar": _NotNeeded,
    "numpy.dtype": _NotNeeded,
    "_codecs.encode": _NotNeeded,
}


def _member(data, entry):
    """The bytes of one member of an archive, which must be stored as they are."""
    name = entry.filename[:50]
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise ValueError(f"the archive's {shown(name)} is compressed or encrypted")
    header = data[entry.header_offset : entry.header_offset + 30]
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise ValueError(f"the archive's {shown(name)} is not where it should be")
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    content = data[start : start + entry.file_size]
    if len(content) != entry.file_size or entry.compress_size != entry.file_size:
        raise ValueError(f"the archive's {shown(name)} is torn")
    if zlib.crc32(content) != entry.CRC:
        raise ValueError(f"the archive's {shown(name)} is damaged: its checksum does not match")
    return content


def _arrays(found, numbers, n_bytes):
    """The tensors of a state_dict as views of the file."""
    tensors = _state_dict(found)
    if sum(tensor.n_bytes for tensor in tensors.values()) > n_bytes:
        raise ValueError("the tensors have more numbers together than the file has")
    return {
        key: np.ndarray(
            tensor.shape,
            tensor.storage.dtype,
            numbers[tensor.storage.key] if tensor.n_bytes else b"",
            tensor.offset * tensor.storage.dtype.itemsize if tensor.n_bytes else 0,
            [step * tensor.storage.dtype.itemsize for step in tensor.strides],
        )
        for key, tensor in tensors.items()
    }


def _state_dict(found: Any) -> dict[str, Tensor]:
    if isinstance(found, dict):
        wrapped = [key for key in WRAPPERS if isinstance(found.get(key), dict)]
        if len(wrapped) == 1:
            found = found[wrapped[0]]
    if not isinstance(found, dict) or not found:
        raise ValueError("the file holds no dictionary of tensors")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ValueError(f"{shown(key)} in the file is no tensor")
    return found
