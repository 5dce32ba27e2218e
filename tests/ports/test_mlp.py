"""Ported MLPs: every key once, every error a sentence, PyTorch and recorded numbers."""

import hashlib
import itertools

import jax
import numpy as np
import pytest
import torch

from jaxsel import checkpoint, models
from jaxsel.data import Dataset, unit_range
from jaxsel.evaluation import evaluate
from jaxsel.intact import intact_pass
from jaxsel.recording import record
from ports.__main__ import main
from ports.convert import convert

# Networks of the data folder by the fraction of training labels that were shuffled, with
# the test accuracy that was computed outside jaxsel.
REAL = {"0.0": 0.982, "0.2": 0.8361, "1.0": 0.0991}


def fabricated(widths=(5, 4, 3, 2), seed=0):
    """A file's arrays as PyTorch names and lays them out; no two numbers are equal."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for depth, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        arrays[f"linears.{depth}.weight"] = rng.normal(size=(n_out, n_in)).astype(np.float32)
        arrays[f"linears.{depth}.bias"] = rng.normal(size=n_out).astype(np.float32)
    return arrays


def torch_forward(arrays, images):
    """Logits and the activations after each ReLU, in PyTorch float64."""
    x = torch.from_numpy(images.reshape(len(images), -1).astype(np.float64))
    n_layers = sum(key.endswith("weight") for key in arrays)
    hidden = []
    for depth in range(n_layers):
        weight, bias = (
            torch.from_numpy(arrays[f"linears.{depth}.{kind}"]).double()
            for kind in ("weight", "bias")
        )
        x = torch.nn.functional.linear(x, weight, bias)
        if depth < n_layers - 1:
            x = torch.relu(x)
            hidden.append(x.numpy())
    return x.numpy(), hidden


def assert_every_site_agrees(network, arrays, images):
    """Float64 against float64: sums of 784 terms leave 1e-13 of the largest number."""
    logits, activations = intact_pass(network, images)
    expected_logits, expected = torch_forward(arrays, images)
    assert list(activations) == [f"fc{i + 1}" for i in range(len(expected))]
    for found, reference in zip(
        [*activations.values(), logits], [*expected, expected_logits], strict=True
    ):
        scale = np.abs(reference).max()
        np.testing.assert_allclose(found, reference, rtol=0, atol=1e-12 * scale)


def port(file, out):
    main(["mlp", "--file", str(file), "--out", str(out)])


# --- the conversion ---


def test_every_number_of_the_file_is_used_exactly_once():
    arrays = fabricated()
    converted, _ = convert("mlp", arrays)
    used = np.concatenate([a.ravel() for a in jax.tree.leaves(converted)])
    given = np.concatenate([a.ravel() for a in arrays.values()])
    assert len(np.unique(given)) == len(given)
    np.testing.assert_array_equal(np.sort(used), np.sort(given))


def test_every_parameter_of_the_network_is_filled():
    converted, settings = convert("mlp", fabricated())
    assert settings == {"n_inputs": 5, "widths": [4, 3], "n_classes": 2}
    layers = models.build("mlp", **settings).layers
    assert list(converted["layers"]) == list(range(len(layers)))
    for layer, found in zip(layers, converted["layers"].values(), strict=True):
        assert found.keys() == {"kernel", "bias"}
        assert found["kernel"].shape == layer.kernel.shape
        assert found["bias"].shape == layer.bias.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_are_kept_to_the_bit(dtype):
    arrays = {key: array.astype(dtype) / 3 for key, array in fabricated().items()}
    kernel = convert("mlp", arrays)[0]["layers"][1]["kernel"]
    assert kernel.dtype == dtype
    np.testing.assert_array_equal(kernel, arrays["linears.1.weight"].T)


def test_what_an_experiment_kept_beside_the_weights_is_left_out():
    beside = {"train_targets": np.arange(9), "unit_sd": np.ones((2, 4))}
    plain, more = convert("mlp", fabricated()), convert("mlp", {**fabricated(), **beside})
    assert plain[1] == more[1]
    jax.tree.map(np.testing.assert_array_equal, plain[0], more[0])


def without(*keys):
    return {key: array for key, array in fabricated().items() if key not in keys}


def changed(**arrays):
    """`linears_0_bias=...` stands for the key `linears.0.bias`."""
    return {**fabricated(), **{key.replace("_", "."): array for key, array in arrays.items()}}


BAD = {
    "nothing": ({}, "missing linears.0.bias, linears.0.weight, linears.1.bias"),
    "key missing": (without("linears.1.bias"), "missing linears.1.bias; unknown none"),
    "first layer missing": (
        without("linears.0.bias", "linears.0.weight"),
        "missing linears.0.bias, linears.0.weight; unknown linears.2.bias, linears.2.weight",
    ),
    "key unknown": (changed(scale=np.ones(2)), "missing none; unknown scale"),
    "beside only": ({"unit_sd": np.ones(3)}, "missing linears.0.bias"),
    "bias too long": (
        changed(linears_0_bias=np.ones(5)),
        r"linears.0.weight has the shape \(4, 5\); the network needs \(5, 5\)",
    ),
    "weight transposed": (
        changed(linears_0_weight=np.ones((5, 4))),
        r"linears.0.weight has the shape \(5, 4\); the network needs \(4, 4\)",
    ),
    "inner weight transposed": (
        changed(linears_1_weight=np.ones((4, 3))),
        r"linears.1.weight has the shape \(4, 3\); the network needs \(3, 4\)",
    ),
    "weight of one axis": (
        changed(linears_0_weight=np.ones(4)),
        r"linears.0.weight has the shape \(4,\)",
    ),
    "bias of no axis": (
        changed(linears_0_bias=np.float32(1)),
        r"linears.0.bias has the shape \(\); possible is \(units,\)",
    ),
    "no hidden layer": (
        without(*(f"linears.{d}.{k}" for d in (1, 2) for k in ("weight", "bias"))),
        "no hidden layer",
    ),
    "no units": (
        changed(linears_2_weight=np.ones((0, 3)), linears_2_bias=np.ones(0)),
        r"linears.2.bias has the shape \(0,\)",
    ),
    "NaN": (changed(linears_2_bias=np.array([1, np.nan])), "linears.2.bias has numbers that"),
    "infinite": (changed(linears_2_bias=np.array([1, np.inf])), "NaN or infinite"),
    "integers": (changed(linears_2_bias=np.array([1, 2])), "linears.2.bias holds int64"),
    "text": (changed(linears_2_bias=np.array(["a", "b"])), "linears.2.bias holds <U1"),
}
bad_files = pytest.mark.parametrize("arrays, message", BAD.values(), ids=BAD)


@bad_files
def test_arrays_that_are_no_network_are_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        convert("mlp", arrays)


# --- the command line ---


def assert_fails_with_one_sentence(capsys, file, out, message):
    with pytest.raises(SystemExit, match=message) as stop:
        port(file, out)
    assert str(stop.value).startswith("ports: ")
    assert "\n" not in str(stop.value)
    assert capsys.readouterr().out == ""


@bad_files
def test_bad_arrays_end_in_one_sentence_and_leave_no_folder(tmp_path, capsys, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert_fails_with_one_sentence(capsys, tmp_path / "bad.npz", tmp_path / "out", message)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.parametrize(
    "content, message",
    [(None, "there is no file"), (b"", "is no .npz file"), (b"PK\x03\x04", "is no .npz file")],
    ids=["missing", "empty", "torn"],
)
def test_a_bad_file_ends_in_one_sentence_and_leaves_no_folder(
    tmp_path, capsys, content, message
):
    if content is not None:
        (tmp_path / "bad.npz").write_bytes(content)
    assert_fails_with_one_sentence(capsys, tmp_path / "bad.npz", tmp_path / "out", message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", [".", "good.npz", "good.npz/below"])
def test_an_output_that_cannot_be_made_ends_in_one_sentence(tmp_path, capsys, out):
    np.savez(tmp_path / "good.npz", **fabricated())
    assert_fails_with_one_sentence(
        capsys, tmp_path / "good.npz", tmp_path / out, "good|not empty"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["good.npz"]


@pytest.mark.parametrize(
    "arguments", [[], ["mlp"], ["mlp", "--file", "x"], ["vgg99", "--file", "x", "--out", "y"]]
)
def test_a_wrong_command_line_explains_the_right_one(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m ports" in capsys.readouterr().err


def test_a_ported_network_agrees_with_pytorch_at_every_site(tmp_path, capsys, rng):
    file, out = tmp_path / "good.npz", tmp_path / "out"
    np.savez(file, **fabricated())
    port(file, out)
    assert "47 parameters" in capsys.readouterr().out  # 5*4+4 + 4*3+3 + 3*2+2
    images = rng.normal(size=(6, 5)).astype(np.float32)
    assert_every_site_agrees(models.load(out), fabricated(), images)


def test_the_manifest_says_where_the_weights_come_from(tmp_path):
    file, out = tmp_path / "good.npz", tmp_path / "out"
    np.savez(file, **fabricated())
    port(file, out)
    manifest = checkpoint.read_manifest(out)
    assert manifest["network"] == "mlp"
    assert manifest["source"] == "good.npz"
    assert manifest["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert manifest["preprocess"] == "unit_range"
    assert "do not redistribute" in manifest["licence"]


# --- the real networks ---


@pytest.fixture(scope="module")
def ported(data_folder, tmp_path_factory):
    """The three real networks, ported on the command line and loaded."""
    folder = tmp_path_factory.mktemp("ported")
    for name in REAL:
        port(data_folder / f"mnist_mlp/shuff{name}.npz", folder / name)
    return {name: models.load(folder / name) for name in REAL}


@pytest.fixture(scope="module")
def mnist(data_folder):
    with np.load(data_folder / "mnist/mnist.npz", allow_pickle=False) as file:
        return {
            split: Dataset(
                file[f"{split}_images"],
                file[f"{split}_labels"],
                tuple("0123456789"),
                unit_range,
            )
            for split in ("train", "test")
        }


@pytest.fixture
def arrays(data_folder):
    """Reads a real network's file."""

    def read(name):
        with np.load(data_folder / f"mnist_mlp/shuff{name}.npz", allow_pickle=False) as file:
            return dict(file)

    return read


@pytest.mark.data
@pytest.mark.parametrize("name, accuracy", REAL.items())
def test_real_test_accuracy_is_the_recorded_one(ported, mnist, name, accuracy):
    assert evaluate(ported[name], mnist["test"], batch_size=1000).accuracy() == accuracy


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_unit_standard_deviations_are_the_recorded_ones(ported, mnist, arrays, name):
    """Those of the file were computed in float32, which left 6e-7 of them."""
    recorded = record(ported[name], mnist["train"], batch_size=2000)
    found = np.stack([recorded[site].standard_deviation for site in ("fc1", "fc2")])
    expected = arrays(name)["unit_sd"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    silent = np.stack([recorded[site].zeros == 60_000 for site in ("fc1", "fc2")])
    np.testing.assert_array_equal(silent, expected == 0)
    assert silent.sum() == (2 if name == "0.0" else 0)


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_networks_agree_with_pytorch_at_every_site(ported, mnist, arrays, name):
    assert_every_site_agrees(ported[name], arrays(name), mnist["test"].inputs(slice(0, 300)))
