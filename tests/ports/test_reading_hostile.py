"""Hostile weight files are refused in a sentence; nothing of theirs runs, and nothing grows.

Every file is read in a process of its own with bounded memory and time: see `Apart`.
"""

import os
import pickle

import numpy as np
import pytest
import torch

from tests.references import weight_files as made
from tests.references.weight_files import (
    Member,
    archive,
    call,
    dictionary,
    group,
    legacy,
    listing,
    named,
    npy,
    tensor,
    text,
    zipped,
)


def in_every_format(body):
    """Files that hold an object, by its opcodes, where their tensors should be."""
    return {".th": legacy(body), ".pth": zipped(body), ".npy": npy(body)}


# --- code ---


def payloads(sentinel):
    """Opcodes that make the file `sentinel` where a pickle is executed."""
    command = text(f"touch {sentinel}")
    code = text(f"open({str(sentinel)!r}, 'w').close()")
    touch = f"S'touch {sentinel}'\n".encode()
    system = named("os", "system")
    call_it = b"(" + command + b"tR"
    lazy = named("builtins", "map") + group(system, listing(command)) + b"\x81"
    return {
        "os.system": system + call_it,
        "posix.system": named("posix", "system") + call_it,
        "eval": call("builtins", "eval", code),
        "exec": call("builtins", "exec", code),
        "__builtin__.exec": call("builtins", "exec", code, dictionary()),
        "getattr": call("builtins", "getattr", call("builtins", "__import__", text("os")),
                        text("system")) + call_it,
        "stack global": text("os") + text("system") + b"\x93" + call_it,
        "names by the memo": text("os") + b"q\1" + text("system") + b"q\2" + b"00h\1h\2\x93"
        + call_it,
        "function by the memo": system + b"q\x070h\7" + call_it,
        "new object": named("builtins", "bytes") + group(lazy) + b"\x81",
        "new object with keywords": named("builtins", "bytes") + group(lazy) + b"}\x92",
        "INST": b"(" + touch + b"ios\nsystem\n",
        "OBJ": b"(" + system + command + b"o",
        "functools.partial": call("functools", "partial", system) + call_it,
        "copyreg": call("copyreg", "__newobj__", named("builtins", "bytes"), lazy),
    }  # fmt: skip


# Names that only a loose look-up would let through: no control is possible.
LOOSE = {
    "allowed name, other member": call("torch._utils", "os.system", text("true")),
    "dotted name": text("torch") + text("os.system") + b"\x93(" + text("true") + b"tR",
    "torch.load": call("torch", "load", text("other.pth")),
    "numpy.load": call("numpy", "load", text("other.npy")),
    "class instead of an instance": named("collections", "OrderedDict") + b"}b",
    "line within a name": named("torch.FloatStorage\nos", "system")
    + b"("
    + text("true")
    + b"tR",
}
PLACES = {
    "alone": lambda bad: bad,
    "as a tensor": lambda bad: dictionary(text("w"), tensor(), text("b"), bad),
    "as a key": lambda bad: dictionary(bad, tensor()),
    "in a layer": lambda bad: dictionary(text("l"), listing(bad, bad)),
    "beside the weights": lambda bad: dictionary(
        text("best"), bad, text("state_dict"), dictionary(text("w"), tensor())
    ),
    "as an argument": lambda bad: dictionary(
        text("w"), tensor() + b"0" + call("torch._utils", "_rebuild_parameter", bad)
    ),
    "as a shape": lambda bad: dictionary(text("w"), tensor(bad, bad)),
    "as a storage": lambda bad: dictionary(text("w"), tensor(place=bad)),
    "as a persistent id": lambda bad: bad + b"Q",
}


@pytest.mark.parametrize("name", payloads("x"))
def test_python_would_execute_each_payload(tmp_path, name):
    """The control: without it, the tests below could pass with payloads that do nothing."""
    sentinel = tmp_path / "executed"
    try:
        pickle.loads(b"\x80\x04" + payloads(sentinel)[name] + b".")
    except Exception as error:
        if not sentinel.exists():
            pytest.fail(f"this payload does nothing: {error!r}")
    assert sentinel.exists()


@pytest.mark.parametrize("place", PLACES)
def test_code_is_refused_and_not_executed(outcome, tmp_path, place):
    sentinel = tmp_path / "executed"
    for name, bad in (payloads(sentinel) | LOOSE).items():
        for suffix, content in in_every_format(PLACES[place](bad)).items():
            found = outcome(content, suffix)
            assert found.refused, (name, suffix, found)
            assert not sentinel.exists(), (name, suffix)


def test_code_in_the_other_pickles_of_a_legacy_file_is_refused(outcome, tmp_path):
    sentinel = tmp_path / "executed"
    good = legacy(dictionary(text("w"), tensor()))
    start = len(pickle.dumps(0x1950A86A20F9469CFC6C, 2))
    for name, bad in (payloads(sentinel) | LOOSE).items():
        stream = b"\x80\x02" + bad + b"."
        files = (
            legacy(dictionary(text("w"), tensor()), keys=stream),
            legacy(dictionary(text("w"), tensor()), keys=b"\x80\x02" + listing(bad) + b"."),
            good[:start] + stream + good[start:],
        )
        for content in files:
            assert outcome(content, ".th").refused, name
            assert not sentinel.exists(), name


def test_the_extension_registry_and_foreign_opcodes_are_refused(outcome):
    used = pickle._Unpickler.dispatch
    refused = [ord("P"), ord("i"), ord("o"), 0x81, 0x82, 0x83, 0x84, 0x92, 0x96, 0x97, 0x98]
    assert set(refused) <= set(used)
    for opcode in refused:
        for suffix, content in in_every_format(
            b"(" + text("a") + bytes([opcode]) + b"\1" * 8 + b"\nos\nsystem\n"
        ).items():
            found = outcome(content, suffix)
            assert found.refused, (hex(opcode), suffix)
            assert "opcode" in found.message


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_whole_network_is_refused_for_it_names_its_class(outcome, tmp_path, zipped):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    torch.save(model, tmp_path / "whole", _use_new_zipfile_serialization=zipped)
    found = outcome((tmp_path / "whole").read_bytes(), ".pth")
    assert found.refused
    assert "torch.nn" in found.message


def test_an_npy_file_of_any_objects_is_refused(outcome, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    np.save(tmp_path / "a", np.array([Evil(), {}], object), allow_pickle=True)
    np.savez(tmp_path / "b", w=np.array([Evil()], object))
    assert outcome((tmp_path / "a.npy").read_bytes(), ".npy").refused
    assert outcome((tmp_path / "b.npz").read_bytes(), ".npz").refused
    assert not (tmp_path / "executed").exists()


def test_a_torchscript_archive_is_refused(outcome):
    code = Member("archive/code/__torch__.py", b"import os\nos.system('true')\n")
    names = (Member("archive/data.pkl", b"\x80\x02" + dictionary(text("w"), tensor()) + b"."),)
    content = archive(*names, Member("archive/data/0", made.FOUR), code)
    assert outcome(archive(*names, Member("archive/data/0", made.FOUR)), ".pt").kind == "arrays"
    assert outcome(content, ".pt").refused
