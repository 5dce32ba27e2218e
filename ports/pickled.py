"""Pickles read by a closed list of opcodes and names; nothing in them is ever executed.

Python's own unpickler imports what a file names and calls it. This one knows the opcodes that
weight files use, builds lists, dictionaries, numbers and strings from them, and hands every
name to a table: a name that is not in it is refused. Strings and bytes are slices of the data,
so that nothing larger than the file is ever allocated.
"""

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_OPCODES = 200_000  # a tensor takes some fifty; each may cost a hundred bytes of memory
LONGEST_LINE = 512  # of text opcodes; names and numbers are far shorter
LONGEST_NUMBER = 64  # characters of one number
LARGEST_INDEX = 2**32  # of the memo, and of dictionary keys; larger ones can share one hash
BEYOND_LATIN_1 = re.compile(rb"[\xc4-\xff]")  # in UTF-8


def shown(value: object) -> str:
    """A text or number of the file, short and printable enough for a message."""
    return ascii(str(value)[:25])


def put(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Fill a dictionary of the pickle; a key may come once."""
    # Other keys do not occur, and hashing a deep tuple would exhaust the C stack.
    if not isinstance(key, str) and not (type(key) is int and abs(key) < LARGEST_INDEX):
        raise ValueError("the pickle has a dictionary key that is no text or small number")
    if key in target:
        raise ValueError(f"the pickle has the key {shown(key)} twice")
    target[key] = value


@dataclass(frozen=True)
class Name:
    """A module's member that the pickle mentions, such as `torch.FloatStorage`."""

    full: str


class Ordered(dict):
    """An ordered dictionary; whatever attributes the pickle gives it are left out."""

    def set_state(self, state: Any) -> None:
        """Called where the pickle sets attributes."""


def read_pickle(
    data: memoryview,
    start: int,
    calls: Mapping[str, Callable[..., Any]],
    names: frozenset[str] = frozenset(),
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """The object of one pickle, and where the next one begins.

    Args:
        data: the file.
        start: where the pickle begins.
        calls: what stands for each callable that the pickle may name; called with the
            arguments that the pickle gives.
        names: what else it may mention, without calling it.
        persistent: what stands for a persistent id; without it, there may be none.

    Returns:
        The object, made of dictionaries, lists, tuples, numbers, strings, `memoryview`s for
        bytes, and what `calls` and `persistent` returned; and the position behind it.

    Raises:
        ValueError: an opcode or a name that is not on the list, or a damaged pickle.

    >>> import pickle
    >>> read_pickle(memoryview(pickle.dumps({"a": [1, 2.5]}, 2)), 0, {})
    ({'a': [1, 2.5]}, 31)
    """
    machine = _Machine(data, start, calls, names, persistent)
    try:
        return machine.run()
    except (IndexError, struct.error) as error:
        raise ValueError(f"the pickle is damaged near byte {machine.position}") from error


class _Machine:
    """The stack, the memo and the place in the file of one pickle."""

    def __init__(self, data, start, calls, names, persistent):
        self.data, self.position = data, start
        self.calls, self.names, self.persistent = calls, names, persistent
        self.stack, self.marks, self.memo = [], [], {}

    def run(self):
        for _ in range(MOST_OPCODES):
            opcode = self.take(1)[0]
            if opcode == ord("."):
                return self.pop(), self.position
            if opcode not in _OPCODES:
                raise ValueError(f"the pickle has the opcode {opcode:#04x}, which is refused")
            _OPCODES[opcode](self)
        raise ValueError(f"the pickle has more than {MOST_OPCODES:,} opcodes: no weights have")

    # --- the data ---

    def take(self, n):
        if not 0 <= n <= len(self.data) - self.position:
            raise ValueError(f"the pickle ends too early, at byte {self.position}")
        self.position += n
        return self.data[self.position - n : self.position]

    def unpack(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self):
        window = bytes(self.data[self.position : self.position + LONGEST_LINE])
        length = window.find(b"\n")
        if length < 0:
            raise ValueError(f"the pickle has a torn line at byte {self.position}")
        self.position += length + 1
        return window[:length].decode("latin-1")

    # --- the stack ---

    def push(self, value):
        self.stack.append(value)

    def pop(self):
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise IndexError("nothing above the mark")
        return self.stack.pop()

    def above_mark(self):
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def top(self, kind):
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise ValueError(f"the pickle is damaged near byte {self.position}")
        return self.stack[-1]

    # --- opcodes that are more than a push ---

    def number(self, kind):
        digits = self.line()
        if kind is int and digits in ("00", "01"):  # how the oldest protocol writes booleans
            return digits == "01"
        try:
            return kind(digits[:LONGEST_NUMBER].removesuffix("L"))
        except ValueError as error:
            raise ValueError(f"the pickle has the number {shown(digits)}") from error

    def members(self, values):
        self.top(list).extend(values)

    def items(self, values):
        target = self.top(dict)
        if len(values) % 2:
            raise IndexError("a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            put(target, key, value)

    def new_dictionary(self, values):
        self.push({})
        self.items(values)

    def name(self, module, member):
        if not isinstance(module, str) or not isinstance(member, str):
            raise ValueError("the pickle names something by no text")
        full = f"{module}.{member}"
        if full not in self.calls and full not in self.names:
            raise ValueError(
                f"the file names {full[:70]!a}, which is refused: only dictionaries of arrays "
                "are read, in PyTorch what torch.save(model.state_dict(), FILE) writes"
            )
        self.push(Name(full))

    def call(self):
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Name) or function.full not in self.calls:
            raise ValueError("the pickle calls what may not be called")
        if not isinstance(arguments, tuple):
            raise ValueError("the pickle is damaged: a call without arguments")
        try:
            self.push(self.calls[function.full](*arguments))
        except TypeError as error:
            raise ValueError(f"the pickle calls {function.full} with odd arguments") from error

    def set_state(self):
        state = self.pop()
        target = self.stack[-1]
        if not hasattr(target, "set_state"):
            raise ValueError("the pickle sets attributes of what has none")
        target.set_state(state)

    def persistent_id(self):
        if self.persistent is None:
            raise ValueError("the pickle has a persistent id where there is none")
        self.push(self.persistent(self.pop()))

    def remember(self, index):
        if not 0 <= index < LARGEST_INDEX:
            raise ValueError("the pickle has an unlikely memo")
        self.memo[index] = self.stack[-1]

    def recall(self, index):
        if index not in self.memo:
            raise ValueError("the pickle refers to what it has not said")
        self.push(self.memo[index])

    def text(self, n, encoding="utf-8"):
        content = self.take(n)
        # One wide character would make all the others take four bytes.
        if n > LONGEST_LINE and BEYOND_LATIN_1.search(content):
            raise ValueError("the pickle has a long text that is neither a name nor numbers")
        return str(content, encoding)

    def raw(self, n):
        """A view of a few bytes takes more memory than they do."""
        return bytes(self.take(n)) if n <= LONGEST_LINE else self.take(n)

    def old_string(self, n):
        """Python 2 wrote names and raw numbers alike: short ones are taken as text."""
        return self.text(n, "latin-1") if n <= LONGEST_LINE else self.take(n)


def _tuple(n):
    def opcode(machine):
        machine.push(tuple(machine.pop() for _ in range(n))[::-1])

    return opcode


_OPCODES: dict[int, Callable[[_Machine], Any]] = {
    # protocol and frames say nothing that is needed
    0x80: lambda m: m.take(1),
    0x95: lambda m: m.take(8),
    # constants and numbers
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("J"): lambda m: m.push(m.unpack("<i")),
    ord("K"): lambda m: m.push(m.unpack("<B")),
    ord("M"): lambda m: m.push(m.unpack("<H")),
    0x8A: lambda m: m.push(int.from_bytes(m.take(m.unpack("<B")), "little", signed=True)),
    ord("I"): lambda m: m.push(m.number(int)),
    ord("L"): lambda m: m.push(m.number(int)),
    ord("G"): lambda m: m.push(m.unpack(">d")),
    ord("F"): lambda m: m.push(m.number(float)),
    # text and bytes
    ord("X"): lambda m: m.push(m.text(m.unpack("<I"))),
    0x8C: lambda m: m.push(m.text(m.unpack("<B"))),
    0x8D: lambda m: m.push(m.text(m.unpack("<Q"))),
    ord("V"): lambda m: m.push(m.line().encode("latin-1").decode("raw-unicode-escape")),
    ord("S"): lambda m: m.push(m.line().strip("'\"")),
    ord("T"): lambda m: m.push(m.old_string(m.unpack("<I"))),
    ord("U"): lambda m: m.push(m.old_string(m.unpack("<B"))),
    ord("B"): lambda m: m.push(m.raw(m.unpack("<I"))),
    ord("C"): lambda m: m.push(m.raw(m.unpack("<B"))),
    0x8E: lambda m: m.push(m.raw(m.unpack("<Q"))),
    # containers
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord(")"): lambda m: m.push(()),
    ord("]"): lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord("t"): lambda m: m.push(tuple(m.above_mark())),
    ord("l"): lambda m: m.push(m.above_mark()),
    ord("d"): lambda m: m.new_dictionary(m.above_mark()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("a"): lambda m: m.members([m.pop()]),
    ord("e"): lambda m: m.members(m.above_mark()),
    ord("s"): lambda m: m.items([m.pop(), m.pop()][::-1]),
    ord("u"): lambda m: m.items(m.above_mark()),
    # the memo
    ord("p"): lambda m: m.remember(m.number(int)),
    ord("q"): lambda m: m.remember(m.unpack("<B")),
    ord("r"): lambda m: m.remember(m.unpack("<I")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.recall(m.number(int)),
    ord("h"): lambda m: m.recall(m.unpack("<B")),
    ord("j"): lambda m: m.recall(m.unpack("<I")),
    # names, and what is made with them
    ord("c"): lambda m: m.name(m.line(), m.line()),
    0x93: lambda m: m.name(*[m.pop(), m.pop()][::-1]),
    ord("R"): lambda m: m.call(),
    ord("b"): lambda m: m.set_state(),
    ord("Q"): lambda m: m.persistent_id(),
}
