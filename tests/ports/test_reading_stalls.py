"""Sizes are compared with the file before anything is computed from them."""

import io
import zipfile

import numpy as np
from onnx import TensorProto, helper

from tests.references.weight_files import dictionary, storage, tensor, text


def test_an_onnx_array_of_many_axes_is_refused_at_once(outcome):
    initialiser = TensorProto(name="a", data_type=1, dims=[2**40] * 300_000, raw_data=b"\0" * 4)
    graph = helper.make_graph([], "g", [], [], initializer=[initialiser])
    found = outcome(helper.make_model(graph).SerializeToString(), ".onnx")
    assert found.refused, found


def test_storages_in_one_place_are_not_all_checked_for_damage(outcome):
    """An archive whose members share their bytes: 2,000 checksums of 2 MB would be 4 GB."""
    n, shared = 2000, np.zeros(500_000, "f4").tobytes()
    items = []
    for i in range(n):
        place = storage(500_000, str(i), "FloatStorage")
        items += [text(f"w{i}"), tensor((1,), (1,), 0, place)]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a/data.pkl", b"\x80\2" + dictionary(*items) + b".")
        file.writestr("a/data/0", shared)
        entry = file.getinfo("a/data/0")
        for i in range(1, n):
            alias = zipfile.ZipInfo(f"a/data/{i}")
            alias.header_offset, alias.CRC = entry.header_offset, entry.CRC
            alias.file_size = alias.compress_size = len(shared)
            file.filelist.append(alias)
    found = outcome(stream.getvalue(), ".pth")
    assert found.refused, found
    assert "more numbers together" in found.message
