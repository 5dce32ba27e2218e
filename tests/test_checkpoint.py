"""Checkpoints come back bit for bit, and what is not what the manifest says is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from jaxsel import checkpoint, models

SETTINGS = {"n_inputs": 4, "widths": [3], "n_classes": 2}
MANIFEST = {"network": "mlp", "settings": SETTINGS, "parameters": 23, "source": "a test"}


def random_parameters(name, settings, seed=0):
    """Arrays of the shapes that a network has, without the seconds of compiling it."""
    network = nnx.eval_shape(lambda: models.build(name, **settings))
    _, state = nnx.split(network)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda a: rng.normal(size=a.shape).astype(np.float32), nnx.to_pure_dict(state)
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    found = tmp_path_factory.mktemp("template") / "checkpoint"
    checkpoint.write(found, random_parameters("mlp", SETTINGS), MANIFEST)
    return found


@pytest.fixture
def path(template, tmp_path):
    """A checkpoint of a network 4-3-2: 4 x 3 + 3 + 3 x 2 + 2 = 23 parameters."""
    return Path(shutil.copytree(template, tmp_path / "checkpoint"))


def edit_manifest(path, **changes):
    """As if it had been written so: its checksum is made anew."""
    write_manifest(path, json.dumps({**checkpoint.read_manifest(path), **changes}))


def write_manifest(path, text):
    (path / "manifest.json").write_text(text)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    (path / "manifest.sha256").write_text(f"{checksum}\n")


# --- what is kept ---


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.0, -0.0, 1e-45, 1e-38, 3.4e38, np.inf, -np.inf, np.nan], np.float32),
        np.array([1 / 3, 5e-324, np.nan]),
        np.array([0.1, 6e-8], np.float16),
        np.array([[-1, 2**31 - 1]], np.int32),
        np.array([0, 255], np.uint8),
        np.array(7.5, np.float32),
        np.arange(60, dtype=np.float32).reshape(3, 4, 5).transpose(2, 0, 1),
    ],
    ids=["float32", "float64", "float16", "int32", "uint8", "scalar", "transposed"],
)
def test_arrays_come_back_bit_for_bit(tmp_path, array):
    checkpoint.write(tmp_path / "c", {"a": {"b": array}}, MANIFEST)
    _, arrays = checkpoint.read(tmp_path / "c")
    found = arrays["a"]["b"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


def test_manifest_comes_back_with_arrays_and_their_shapes(path):
    manifest, arrays = checkpoint.read(path)
    assert manifest.items() >= MANIFEST.items()
    shapes = {name: tuple(entry["shape"]) for name, entry in manifest["arrays"].items()}
    assert shapes == {
        "layers/0/kernel": (4, 3),
        "layers/0/bias": (3,),
        "layers/1/kernel": (3, 2),
        "layers/1/bias": (2,),
    }
    assert {name: a.shape for name, a in checkpoint.named(arrays).items()} == shapes


def test_writing_says_what_was_written(tmp_path):
    written = checkpoint.write(tmp_path / "c", {"a": np.ones(3)}, MANIFEST)
    assert written == checkpoint.read_manifest(tmp_path / "c")


@pytest.mark.parametrize(
    "name, settings",
    [("mlp", SETTINGS), ("mlp", {"n_inputs": 2, "widths": [3] * 12}), ("alexnet_digits", {})],
    ids=["mlp", "mlp of more than ten layers", "alexnet_digits"],
)
def test_a_network_is_loaded_with_its_parameters(tmp_path, name, settings):
    written = random_parameters(name, settings)
    n = sum(array.size for array in jax.tree.leaves(written))
    manifest = {"network": name, "settings": settings, "parameters": n}
    checkpoint.write(tmp_path / "c", written, manifest)
    _, state = nnx.split(models.load(tmp_path / "c"))
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(state), written)


def test_a_loaded_network_runs_as_the_one_that_was_written(tmp_path):
    network = models.build("mlp", seed=3, **SETTINGS)
    _, state = nnx.split(network)
    checkpoint.write(tmp_path / "c", nnx.to_pure_dict(state), MANIFEST)
    images = jax.random.normal(jax.random.key(0), (5, 4))
    np.testing.assert_array_equal(models.load(tmp_path / "c")(images), network(images))


# --- what is refused ---


def test_nothing_is_written_over(path):
    with pytest.raises(FileExistsError, match="there already"):
        checkpoint.write(path, {"a": np.ones(3)}, MANIFEST)
    assert checkpoint.read_manifest(path)["parameters"] == 23


def test_a_manifest_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoint.write(tmp_path / "c", {"a": np.ones(3)}, {**MANIFEST, "source": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reader", [checkpoint.read_manifest, checkpoint.read, models.load])
def test_a_missing_checkpoint_is_named(tmp_path, reader):
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{place} is no checkpoint"):
            reader(place)


@pytest.mark.parametrize("place", [0, 31, 63])
def test_a_changed_checksum_is_refused(path, place):
    listed = checkpoint.read_manifest(path)["arrays"]
    digits = list(listed["layers/1/bias"]["sha256"])
    digits[place] = "0" if digits[place] != "0" else "1"
    listed["layers/1/bias"]["sha256"] = "".join(digits)
    edit_manifest(path, arrays=listed)
    with pytest.raises(ValueError, match="layers/1/bias is not what the manifest says"):
        checkpoint.read(path)


@pytest.mark.parametrize("change", [{"shape": [3, 4]}, {"dtype": "float64"}], ids=str)
def test_another_shape_or_dtype_than_the_manifest_s_is_refused(path, change):
    listed = checkpoint.read_manifest(path)["arrays"]
    listed["layers/0/kernel"] |= change
    edit_manifest(path, arrays=listed)
    with pytest.raises(ValueError, match="layers/0/kernel is not what the manifest says"):
        checkpoint.read(path)


def test_an_array_that_is_missing_or_not_listed_is_refused(path):
    listed = checkpoint.read_manifest(path)["arrays"]
    kernel = listed.pop("layers/0/kernel")
    edit_manifest(path, arrays=listed)
    with pytest.raises(ValueError, match="layers/0/kernel is not what the manifest says"):
        checkpoint.read(path)
    edit_manifest(path, arrays={**listed, "layers/0/kernel": kernel, "layers/9/bias": kernel})
    with pytest.raises(ValueError, match="layers/9/bias is not what the manifest says"):
        checkpoint.read(path)


def test_arrays_of_another_checkpoint_are_refused(path, tmp_path):
    other = random_parameters("mlp", SETTINGS, seed=1)
    checkpoint.write(tmp_path / "other", other, MANIFEST)
    shutil.rmtree(path / "arrays")
    shutil.copytree(tmp_path / "other" / "arrays", path / "arrays")
    with pytest.raises(ValueError, match="files in arrays/ are not those"):
        checkpoint.read(path)
    edit_manifest(path, files=checkpoint.read_manifest(tmp_path / "other")["files"])
    with pytest.raises(ValueError, match="layers/0/bias is not what the manifest says"):
        checkpoint.read(path)


def test_a_checkpoint_without_its_arrays_is_refused(path):
    shutil.rmtree(path / "arrays")
    with pytest.raises(ValueError, match="files in arrays/ are not those"):
        checkpoint.read(path)
    edit_manifest(path, files={})
    with pytest.raises(ValueError, match=r"the arrays of .* cannot be read"):
        checkpoint.read(path)


def test_a_flipped_bit_in_any_file_of_arrays_is_refused(tmp_path):
    path, array = tmp_path / "c", np.arange(50, dtype=np.float32)
    checkpoint.write(path, {"a": array}, MANIFEST)
    for file in sorted(p for p in (path / "arrays").rglob("*") if p.is_file()):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(ValueError, match="files in arrays/ are not those"):
            checkpoint.read(path)
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    np.testing.assert_array_equal(checkpoint.read(path)[1]["a"], array)  # whole again


def test_a_changed_byte_anywhere_in_a_checkpoint_is_refused(path):
    """Of every file: each byte of the short ones, every hundredth of the long ones."""
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        content = file.read_bytes()
        for place in range(0, len(content), max(1, len(content) // 100)):
            changed = bytearray(content)
            changed[place] ^= 1
            file.write_bytes(changed)
            with pytest.raises(ValueError, match="manifest"):
                models.load(path)
        file.write_bytes(content)
    assert models.load(path).sites == ("fc1",)


def test_a_manifest_without_its_checksum_is_refused(path):
    (path / "manifest.sha256").unlink()
    with pytest.raises(ValueError, match="not what was written"):
        models.load(path)


def test_another_number_of_parameters_than_the_manifest_s_is_refused(path):
    edit_manifest(path, parameters=24)
    with pytest.raises(ValueError, match="manifest says 24 parameters, the network has 23"):
        models.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"format": 1',
        "[]",
        "3",
        "null",
        "{}",
        '{"format": 1, "network": "mlp"}',
        "\xff",
    ],
)
def test_a_manifest_that_is_none_is_refused(path, text):
    (path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"manifest\.json (cannot be read|is no manifest)"):
        checkpoint.read(path)


@pytest.mark.parametrize("number", [0, 1, "2", None])
def test_a_manifest_of_another_format_is_refused(path, number):
    edit_manifest(path, format=number)
    with pytest.raises(ValueError, match=r"has format .*; possible is 2"):
        checkpoint.read(path)


@pytest.mark.parametrize("arrays", [[], None, "layers/0/bias"], ids=str)
def test_a_manifest_with_another_kind_of_list_is_refused(path, arrays):
    edit_manifest(path, arrays=arrays)
    with pytest.raises(ValueError, match="manifest"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({**SETTINGS, "n_inputs": 5}, r"layers/0/kernel has shape \(4, 3\), .* needs \(5, 3\)"),
        ({**SETTINGS, "widths": [2]}, r"layers/0/bias has shape \(3,\), .* needs \(2,\)"),
        ({**SETTINGS, "widths": [3, 3]}, "layers/1/bias has shape|layers/2/bias is missing"),
        ({**SETTINGS, "widths": []}, "layers/0/bias has shape|layers/1/bias is not part"),
        ({**SETTINGS, "n_classes": 3}, "layers/1/bias has shape"),
    ],
    ids=["inputs", "width", "a layer more", "a layer less", "classes"],
)
def test_arrays_that_do_not_fit_the_network_are_refused(path, settings, message):
    edit_manifest(path, settings=settings)
    with pytest.raises(ValueError, match=message):
        models.load(path)


def test_an_unknown_network_is_refused(path):
    edit_manifest(path, network="resnet")
    with pytest.raises(ValueError, match="unknown network 'resnet': possible are"):
        models.load(path)


@pytest.mark.parametrize("settings", [None, {"depth": 3}], ids=str)
def test_settings_that_the_network_does_not_take_are_refused(path, settings):
    edit_manifest(path, settings=settings)
    with pytest.raises(ValueError, match="settings"):
        models.load(path)
