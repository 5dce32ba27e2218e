"""Weight files of every format give the tensors that the program which wrote them reads."""

import pickle
import struct

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from ports.reading import read
from tests.references import weight_files as made

both_formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def as_numpy(tensor):
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


def assert_same(found, expected):
    """The same names in the same order, and every array to the bit."""
    assert list(found) == list(expected)
    for key, value in expected.items():
        value = np.asarray(value)
        assert isinstance(found[key], np.ndarray)
        assert found[key].dtype == value.dtype, key
        assert found[key].shape == value.shape, key
        assert found[key].tobytes() == value.tobytes(), key


def written(folder, content, zipped, name="file.pth"):
    torch.save(content, folder / name, _use_new_zipfile_serialization=zipped)
    return folder / name


def assert_read_as_torch_does(path, wrapper=None):
    expected = torch.load(path, "cpu", weights_only=wrapper is None)
    expected = expected if wrapper is None else expected[wrapper]
    assert_same(read(path), {key: as_numpy(value) for key, value in expected.items()})


base = torch.arange(60.0).reshape(3, 4, 5) / 7
STATES = {
    **{
        str(dtype): {"w": (base * 3 - 20).to(dtype), "b": torch.zeros(2, dtype=dtype)}
        for dtype in (
            *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool),
            *(torch.int64, torch.int32, torch.int16, torch.int8),
        )
    },
    "uint8": {"w": torch.arange(250, 256, dtype=torch.uint8)},
    "one number without axes": {"n": torch.tensor(3.5), "m": torch.tensor(7)},
    "empty": {"a": torch.zeros(0), "b": torch.zeros(3, 0, 2), "c": torch.ones(1)},
    "transposed": {"w": base.permute(2, 0, 1), "v": base[0].T},
    "sliced": {"w": base[1:, ::2, 3:], "v": base[2, 1]},
    "one storage": {"whole": base, "part": base[1], "column": base[:, 0, 0]},
    "channels last": {"w": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)},
    "odd strides": {"w": torch.as_strided(base, (2, 3), (7, 11), 4)},
    "not finite": {"w": torch.tensor([np.nan, np.inf, -np.inf, -0.0, 1e-45])},
    "a long name": {"module." * 30 + "ü": torch.ones(2)},
    "many": {f"layer{i}.weight": torch.full((2, 2), float(i)) for i in range(300)},
    "parameters": {"w": torch.nn.Parameter(base), "b": torch.nn.Parameter(base[0, 0])},
}


@both_formats
@pytest.mark.parametrize("name", STATES)
def test_a_state_dict_has_the_tensors_that_pytorch_reads(tmp_path, name, zipped):
    assert_read_as_torch_does(written(tmp_path, STATES[name], zipped))


def network():
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(5, 2))
    return torch.nn.Sequential(*layers)


@both_formats
def test_a_networks_own_state_dict_is_read_with_its_batch_norm(tmp_path, zipped):
    state = network().state_dict()
    assert "_metadata" in vars(state)
    found = read(written(tmp_path, state, zipped))
    assert found["1.num_batches_tracked"].shape == ()
    assert_same(found, {key: as_numpy(value) for key, value in state.items()})


@both_formats
def test_parameters_may_stay_parameters(tmp_path, zipped):
    state = network().state_dict(keep_vars=True)
    assert isinstance(state["0.weight"], torch.nn.Parameter)
    assert_same(
        read(written(tmp_path, state, zipped)),
        {key: as_numpy(value) for key, value in state.items()},
    )


@both_formats
@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
def test_weights_beside_what_training_left_are_found(tmp_path, wrapper, zipped):
    model = network()
    trainer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3, 5, 7)).sum().backward()
    trainer.step()  # so that the optimiser has tensors of its own
    content = {
        "epoch": 3,
        "best": np.float64(0.5),
        wrapper: model.state_dict(),
        "optimizer": trainer.state_dict(),
        "arch": "resnet20",
    }
    assert_read_as_torch_does(written(tmp_path, content, zipped), wrapper)


@both_formats
def test_an_accuracy_may_bear_any_name(tmp_path, zipped):
    content = {"state_dict": {"w": base}, "model": np.float64(0.5)}
    assert_read_as_torch_does(written(tmp_path, content, zipped), "state_dict")


@both_formats
def test_the_prefix_of_data_parallel_stays(tmp_path, zipped):
    state = torch.nn.DataParallel(network()).state_dict()
    found = read(written(tmp_path, {"state_dict": state}, zipped))
    assert list(found)[:2] == ["module.0.weight", "module.0.bias"]


@both_formats
def test_numbers_with_a_pending_sign_are_not_read_with_the_wrong_one(tmp_path, zipped):
    negative = torch.complex(base, base).conj().imag
    assert negative.is_neg()
    path = written(tmp_path, {"w": negative}, zipped)
    try:
        found = read(path)
    except ValueError:
        return  # refusing is as good
    np.testing.assert_array_equal(found["w"], negative.resolve_neg().numpy())


# --- safetensors ---


def test_safetensors_of_pytorch_in_every_dtype(tmp_path):
    state = {key: value["w"].contiguous() for key, value in STATES.items() if "torch" in key}
    assert len(state) == 9
    state |= {"none": torch.zeros(0, 3), "one": torch.tensor(2.5)}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors", {"format": "pt"})
    found = read(tmp_path / "a.safetensors")
    expected = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert_same(found, {key: as_numpy(expected[key]) for key in found})
    assert found.keys() == state.keys()


# --- NumPy ---


def layers_of_floats():
    rng = np.random.default_rng(0)
    return {
        "conv1": [rng.normal(size=(3, 3, 2, 4)).astype("f4"), np.zeros(4, "f4")],
        "fc6": [np.asfortranarray(rng.normal(size=(300, 3))), rng.normal(size=3)],
        "fc7": [rng.normal(size=(2, 3)).astype("f2"), np.ones(3, ">f4")],
    }


def flat(layers):
    pairs = ((k, v.values() if isinstance(v, dict) else v) for k, v in layers.items())
    return {
        f"{layer}/{part}": value
        for layer, values in pairs
        for part, value in zip(("weights", "biases"), values, strict=True)
    }


def as_dictionaries(layers):
    return {k: dict(zip(("weights", "biases"), v, strict=True)) for k, v in layers.items()}


@pytest.mark.parametrize("arrange", [dict, as_dictionaries])
def test_npy_dictionaries_are_read(tmp_path, arrange):
    layers = arrange(layers_of_floats())
    np.save(tmp_path / "a.npy", layers, allow_pickle=True)
    assert_same(read(tmp_path / "a.npy"), flat(layers))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_npy_dictionaries_of_every_protocol_and_numpy_are_read(tmp_path, protocol, module):
    layers = layers_of_floats()
    content = pickle.dumps(np.array(layers, object), protocol=protocol)
    if protocol == 2 or module == b"numpy._core.multiarray":  # lengths are not written there
        content = content.replace(b"numpy._core.multiarray\n", module + b"\n")
    start = made.npy_header("()", "'|O'")
    (tmp_path / "a.npy").write_bytes(start + content)
    assert_same(read(tmp_path / "a.npy"), flat(layers))


def old_text(value):
    return b"U" + bytes([len(value)]) + value


def old_array(value, order):
    """As NumPy 1 under Python 2 wrote it: all text and numbers as byte strings."""
    content = value.tobytes("F" if order == b"\x88" else "C")
    size = bytes([len(content)]) if len(content) < 256 else struct.pack("<I", len(content))
    opcode = b"U" if len(content) < 256 else b"T"
    name = value.dtype.str.encode()  # such as <f4
    none = b"NNN" + 2 * (b"J" + b"\xff" * 4) + b"K\0"
    dtype = made.named("numpy", "dtype") + old_text(name[1:]) + b"K\0K\1\x87R"
    dtype += made.group(b"K\3", old_text(name[:1]), none) + b"b"
    shape = made.group(*(b"M" + struct.pack("<H", n) for n in value.shape))
    start = made.named("numpy.core.multiarray", "_reconstruct")
    start += made.named("numpy", "ndarray") + b"K\0\x85" + old_text(b"b") + b"\x87R"
    return start + made.group(b"K\1", shape, dtype, order, opcode + size + content) + b"b"


@pytest.mark.parametrize("order", [b"\x88", b"\x89"], ids=["Fortran", "C"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_npy_dictionaries_of_python_2_are_read(tmp_path, order, dtype):
    rng = np.random.default_rng(0)
    shapes = {"conv1": ((3, 4), (4,)), "fc6": ((30, 41), (41,)), "fc8": ((7, 20), (1,))}
    layers = {k: [rng.normal(size=n).astype(dtype) for n in two] for k, two in shapes.items()}
    body = b"}("
    for key, values in layers.items():
        body += old_text(key.encode()) + b"]" + b"("
        body += b"".join(old_array(value, order) for value in values) + b"e"
    (tmp_path / "a.npy").write_bytes(made.npy(body + b"u"))
    assert_same(read(tmp_path / "a.npy"), flat(layers))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_files_are_read(tmp_path, save):
    expected = {"a": np.ones((2, 3)), "b.weight": np.arange(5), "c": np.array(2.5, "f4")}
    save(tmp_path / "a.npz", **expected)
    assert_same(read(tmp_path / "a.npz"), expected)


# --- ONNX ---


def onnx_file(folder, *tensors):
    graph = helper.make_graph([], "graph", [], [], initializer=tensors)
    (folder / "a.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    return folder / "a.onnx"


@pytest.mark.parametrize("raw", [True, False], ids=["raw_data", "typed data"])
def test_onnx_initialisers_are_read_and_shapes_left_out(tmp_path, raw):
    kinds = {"f4": TensorProto.FLOAT, "f8": TensorProto.DOUBLE, "f2": TensorProto.FLOAT16}
    expected = {f"w_{kind}": (np.arange(6) / 7 - 0.3).astype(kind) for kind in kinds}
    expected = {key: value.reshape(2, 3) for key, value in expected.items()}
    expected["bias"] = np.array(2.5, "f4")
    tensors = [
        helper.make_tensor(
            key, kinds[v.dtype.str[1:]], v.shape, v.tobytes() if raw else v.ravel(), raw
        )
        for key, v in expected.items()
    ]
    shape = numpy_helper.from_array(np.array([1, -1]), "shape")
    assert_same(read(onnx_file(tmp_path, shape, *tensors)), expected)


def test_onnx_numbers_in_another_file_are_refused(tmp_path):
    tensor = numpy_helper.from_array(np.ones(3, "f4"), "w")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(ValueError, match="another file"):
        read(onnx_file(tmp_path, tensor))


# --- real files ---


@pytest.mark.data
def test_resnet20_for_cifar10_has_97_tensors(data_folder):
    (path,) = (data_folder / "resnet20_cifar10").glob("*.th")
    expected = torch.load(path, "cpu", weights_only=False)["state_dict"]
    assert len(expected) == 97
    assert_same(read(path), {key: as_numpy(value) for key, value in expected.items()})


@pytest.mark.data
def test_both_lenets_are_read_as_pytorch_does(data_folder):
    paths = sorted((data_folder / "lenet5_cifar10").glob("*.pth"))
    assert len(paths) == 2
    for path in paths:
        assert_read_as_torch_does(path)


@pytest.mark.data
def test_the_mlp_is_the_same_from_pt_and_npz(data_folder):
    path = data_folder / "mnist_mlp/shuff0.2_model.pt"
    assert_read_as_torch_does(path)
    expected = np.load(data_folder / "mnist_mlp/shuff0.2.npz")
    assert_same(read(data_folder / "mnist_mlp/shuff0.2.npz"), dict(expected.items()))
