"""Thousands of damaged weight files: a clear error or the right arrays, never anything else.

Every file follows from its number alone: `damaged(1234)` makes the 1,234th again.
"""

import functools
import io
import pickle
import random
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
import safetensors.numpy
import torch
from onnx import helper, numpy_helper

from ports.reading import read
from tests.references import damage
from tests.references import weight_files as made

N = 4000  # of files
N_MEASURED = 400  # of them, for their memory: measuring makes reading slower


@dataclass(frozen=True)
class Base:
    """An undamaged file; its keys begin with its format, so that no two files share any."""

    suffix: str
    content: bytes
    arrays: dict[str, np.ndarray]


def _torch(arrays, zipped):
    stream = io.BytesIO()
    state = {key: torch.from_numpy(value) for key, value in arrays.items()}
    state |= {f"{key}.T": value.mT for key, value in state.items() if value.ndim > 1}
    content = {"state_dict": state, "epoch": 3, "best": np.float64(0.5)}
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue(), {key: value.numpy() for key, value in state.items()}


def _saved(save, *arguments, **keywords):
    stream = io.BytesIO()
    save(stream, *arguments, **keywords)
    return stream.getvalue()


def _npy(arrays, protocol):
    layers = dict.fromkeys(key.partition("/")[0] for key in arrays)
    parts = [list(arrays.values())[i : i + 2] for i in range(0, len(arrays), 2)]
    layers = np.array(dict(zip(layers, parts, strict=True)), object)
    return made.npy_header("()", "'|O'") + pickle.dumps(layers, protocol)


def _onnx(arrays):
    tensors = [numpy_helper.from_array(value, key) for key, value in arrays.items()]
    floats = np.arange(3, dtype="f4")
    tensors.append(helper.make_tensor("typed", 1, (3,), floats))
    model = helper.make_model(helper.make_graph([], "g", [], [], initializer=tensors))
    return model.SerializeToString(), arrays | {"typed": floats}


@functools.cache
def bases():
    rng = np.random.default_rng(0)

    names = ("a/weights", "a/biases", "b/weights", "b/biases")

    def arrays(name):
        shapes = zip(names, ((4, 3), (3,), (2, 3, 5), (2,)), strict=True)
        return {f"{name}_{k}": rng.normal(size=n).astype("f4") for k, n in shapes}

    found = {}
    for name, is_zip in (("zip", True), ("legacy", False)):
        found[name] = Base(".pth", *_torch(arrays(name), is_zip))
    for protocol in (2, 4):
        values = arrays(f"npy{protocol}")
        found[f"npy{protocol}"] = Base(".npy", _npy(values, protocol), values)
    for name, save in (("npz", np.savez), ("packed", np.savez_compressed)):
        values = {key.replace("/", "."): value for key, value in arrays(name).items()}
        found[name] = Base(".npz", _saved(save, **values), values)
    values = arrays("safetensors")
    found["safetensors"] = Base(".safetensors", safetensors.numpy.save(values), values)
    found["onnx"] = Base(".onnx", *_onnx(arrays("onnx")))
    return found


def damaged(i):
    """The i-th damaged file: its format, what was done, and its content."""
    rng = random.Random(i)
    name = list(bases())[i % len(bases())]
    content = bases()[name].content
    if rng.random() < 0.35:
        return name, "structural", damage.structural(rng, content, name)
    if name in ("zip", "npz", "packed") and rng.random() < 0.3:
        return name, "field", damage.field_of_zip(rng, content)
    if rng.random() < 0.1:
        other = rng.choice(list(bases().values())).content
        return name, "spliced", damage.spliced(rng, content, other)
    way = rng.choice(damage.ANYWHERE)
    return name, way.__name__, way(rng, content)


# --- what may come of it ---


def fault(i, path):
    """What is wrong with how the i-th file is read; None if nothing is."""
    name, way, content = damaged(i)
    path = path.with_suffix(bases()[name].suffix)
    path.write_bytes(content)
    start = time.process_time()
    try:
        found = read(path)
    except (ValueError, OSError) as error:
        message = str(error).replace(str(path), "")
        if not (10 < len(message) < 400 and message.isprintable()):
            return f"{name} {way}: the message is no sentence: {message[:100]!r}"
        found = {}
    except Exception as error:
        return f"{name} {way}: {type(error).__name__}: {str(error)[:100]}"
    if time.process_time() - start > 1:
        return f"{name} {way}: slow"
    if not all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in found.items()):
        return f"{name} {way}: something else than arrays by name"
    if name != "packed" and sum(v.nbytes for v in found.values()) > len(content):
        return f"{name} {way}: more numbers than the file has"
    whole = way in ("torn", "followed")
    if whole or (name in ("zip", "npz", "packed") and way != "structural"):
        for key, value in bases()[name].arrays.items():
            if key in found and (
                (found[key].dtype, found[key].shape) != (value.dtype, value.shape)
                or found[key].tobytes() != value.tobytes()
            ):
                return f"{name} {way}: {key} has other numbers"
    return None


def test_the_undamaged_files_are_read(tmp_path):
    for name, base in bases().items():
        path = tmp_path / f"file{base.suffix}"
        path.write_bytes(base.content)
        found = read(path)
        assert found.keys() == base.arrays.keys(), name
        for key, value in base.arrays.items():
            np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize("part", range(8))
def test_damaged_files_give_an_error_or_the_right_arrays(tmp_path, part):
    numbers = range(part * N // 8, (part + 1) * N // 8)
    faults = {i: found for i in numbers if (found := fault(i, tmp_path / "file"))}
    assert not faults


def test_damaged_files_take_no_more_memory_than_their_size_allows(tmp_path):
    tracemalloc.start()
    try:
        for i in range(N_MEASURED):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            fault(i, tmp_path / "file")
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 100_000 + made.SPARE, damaged(i)[:2]  # files of some kB
    finally:
        tracemalloc.stop()


def test_the_damage_is_of_every_kind_and_seldom_without_effect():
    files = [damaged(i) for i in range(N)]
    assert len({(name, way) for name, way, _ in files}) >= 8 * (len(damage.ANYWHERE) + 2)
    unchanged = sum(content == bases()[name].content for name, _, content in files)
    assert unchanged < N / 20
