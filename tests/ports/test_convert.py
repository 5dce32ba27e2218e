"""Conversion: every array once, in its place, and whatever does not fit refused by name."""

import functools

import jax
import numpy as np
import pytest

from jaxsel import checkpoint, models
from ports.convert import PORTS, convert
from ports.layout import CONV, DENSE, flattened

# Small networks of every port, by the settings that make them small.
SMALL = {
    "alexnet": {"widths": [2, 3, 4, 5, 6], "dense_widths": [7, 8], "n_classes": 9},
    "alexnet_caffe": {"widths": [2, 4, 6, 8, 10], "dense_widths": [7, 8], "n_classes": 9},
    "caffenet": {"widths": [2, 4, 6, 8, 10], "dense_widths": [7, 8], "n_classes": 9},
    "cnn7": {"widths": [2, 3, 4, 5, 6, 7], "dense_width": 8, "n_classes": 9},
    "lenet5": {"n_channels": 3, "n_classes": 7},
    "mlp": {"n_inputs": 5, "widths": [4, 3], "n_classes": 2},
    "resnet20": {"widths": [2, 4, 8], "n_classes": 3},
    "resnet32": {"widths": [2, 4, 8], "n_classes": 3},
    "resnet44": {"widths": [2, 4, 8], "n_classes": 3},
    "resnet56": {"widths": [2, 4, 8], "n_classes": 3},
    "vgg16": {"widths": [2, 3, 4, 5, 6], "dense_widths": [7, 8], "n_classes": 9},
    "vgg16_cifar": {"widths": [2, 3, 4, 5, 6], "dense_widths": [7], "n_classes": 8},
    "vgg19": {"widths": [2, 3, 4, 5, 6], "dense_widths": [7, 8], "n_classes": 9},
}
# Names of the dense layers that a table cannot know without seeing the file.
HINTS = {
    "mlp": [f"linears.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")],
    "vgg16_cifar": ["classifier.0.weight", "classifier.3.weight"],
}


@functools.cache
def fabricated_once(name):
    table = PORTS[name].table(dict.fromkeys(HINTS.get(name, ()), np.zeros(())))
    shapes = models.shapes(name, SMALL[name])
    arrays, start = {}, 1
    for path, (key, layout) in table.items():
        shape = layout.shape_in_file(shapes[path])
        size = int(np.prod(shape))
        arrays[key] = np.arange(start, start + size, dtype=np.float64).reshape(shape)
        start += size
    return arrays


def fabricated(name):
    """A file's arrays for the small network; no two numbers are equal, all above 0."""
    return dict(fabricated_once(name))


every_port = pytest.mark.parametrize("name", PORTS)


@every_port
def test_every_parameter_is_filled_and_every_number_used_exactly_once(name):
    arrays = fabricated(name)
    tree, settings = convert(name, arrays)
    assert settings == SMALL[name]
    assert checkpoint.named(tree).keys() == models.shapes(name, settings).keys()
    used = np.sort(np.concatenate([a.ravel() for a in jax.tree.leaves(tree)]))
    np.testing.assert_array_equal(used, 1 + np.arange(len(used)))
    assert len(used) == sum(a.size for a in arrays.values())


@every_port
def test_the_order_of_the_file_is_irrelevant(name):
    arrays = fabricated(name)
    backwards = dict(reversed(arrays.items()))
    found, expected = convert(name, backwards), convert(name, arrays)
    assert found[1] == expected[1]
    jax.tree.map(np.testing.assert_array_equal, found[0], expected[0])


@every_port
def test_a_missing_array_is_refused_by_name(name):
    arrays = fabricated(name)
    # Without its first array a VGG's or MLP's dense layer cannot be told from no layer.
    for key in [k for k in arrays if not k.startswith(("linears", "classifier"))] or arrays:
        rest = {k: a for k, a in arrays.items() if k != key}
        with pytest.raises(ValueError, match="missing") as error:
            convert(name, rest)
        assert key in str(error.value)


@every_port
def test_an_unexpected_array_is_refused_by_name(name):
    with pytest.raises(ValueError, match=r"missing none; unknown conv99\.weight"):
        convert(name, {**fabricated(name), "conv99.weight": np.ones(2)})


@every_port
def test_an_array_doubled_under_a_prefix_is_refused_by_name(name):
    arrays = fabricated(name)
    key = next(iter(arrays))
    with pytest.raises(ValueError, match=f"missing none; unknown module.{key}"):
        convert(name, {**arrays, f"module.{key}": arrays[key]})


@every_port
def test_a_transposed_array_is_refused_by_name(name):
    arrays = fabricated(name)
    oblong = [k for k, a in arrays.items() if a.ndim > 1 and a.shape != a.shape[::-1]]
    for key in (oblong[1], oblong[-1]):
        with pytest.raises(ValueError, match="has the shape") as error:
            convert(name, {**arrays, key: arrays[key].T})
        assert str(error.value) == (
            f"{key} has the shape {arrays[key].shape[::-1]}; "
            f"the network needs {arrays[key].shape}"
        )


@pytest.mark.parametrize("name", ["alexnet", "cnn7", "resnet20"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(name, value):
    arrays = fabricated(name)
    key = list(arrays)[-1]
    bad = arrays[key].copy()
    bad.flat[0] = value
    with pytest.raises(ValueError, match=f"{key} has numbers that are NaN or infinite"):
        convert(name, {**arrays, key: bad})


def test_a_negative_variance_is_refused_by_name():
    arrays = fabricated("resnet20")
    arrays["layer2.1.bn1.running_var"] = -arrays["layer2.1.bn1.running_var"]
    with pytest.raises(ValueError, match=r"layer2.1.bn1.running_var holds variances"):
        convert("resnet20", arrays)


def test_counters_of_batches_are_left_out():
    arrays = fabricated("resnet20")
    more = {**arrays, "bn1.num_batches_tracked": np.array(7)}
    jax.tree.map(
        np.testing.assert_array_equal,
        convert("resnet20", more)[0],
        convert("resnet20", arrays)[0],
    )


@pytest.mark.parametrize("key", ["fc.num_batches_tracked", "num_batches_tracked"])
def test_counters_of_no_batch_norm_are_refused_by_name(key):
    with pytest.raises(ValueError, match=f"missing none; unknown {key}$"):
        convert("resnet20", {**fabricated("resnet20"), key: np.array(7)})


def test_a_number_too_large_for_float32_is_refused_by_name():
    arrays = fabricated("lenet5")
    arrays["fc3.bias"] = np.full(7, 1e300)
    with pytest.raises(
        ValueError, match=r"fc3\.bias has numbers that .* too large for float32"
    ):
        convert("lenet5", arrays)


def test_a_message_names_a_few_arrays_and_counts_the_others():
    bad = {f"\x1b[31m{i}": np.ones(1) for i in range(30)}
    with pytest.raises(ValueError, match=r"and 22 more$") as error:
        convert("lenet5", {**fabricated("lenet5"), **bad})
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_several_devices_and_compilation_are_left_out(prefix):
    arrays = fabricated("resnet20")
    prefixed = {f"{prefix}{key}": array for key, array in arrays.items()}
    jax.tree.map(
        np.testing.assert_array_equal,
        convert("resnet20", prefixed)[0],
        convert("resnet20", arrays)[0],
    )


@pytest.mark.parametrize(
    "stored, found",
    [("<f2", "f4"), ("<f4", "f4"), (">f4", "f4"), ("<f8", "f8"), (">f8", "f8")],
)
def test_numbers_keep_their_precision_at_least(stored, found):
    arrays = {k: (a % 7).astype(stored) for k, a in fabricated("lenet5").items()}
    kernel = convert("lenet5", arrays)[0]["fc2"]["kernel"]
    assert kernel.dtype == np.dtype(found)
    np.testing.assert_array_equal(kernel, arrays["fc2.weight"].astype("f8").T)


@pytest.mark.parametrize(
    "names, widths",
    [(["classifier"], []), (["classifier.1", "classifier.4", "classifier.6"], [7, 9])],
    ids=["no hidden dense layer", "two of them, between dropouts"],
)
def test_vggs_for_cifar_are_read_with_any_number_of_dense_layers(names, widths):
    arrays = {k: a for k, a in fabricated("vgg16_cifar").items() if k[:4] == "feat"}
    n_in = 6
    for key, n_out in zip(names, [*widths, 8], strict=True):
        arrays |= {f"{key}.weight": np.ones((n_out, n_in)), f"{key}.bias": np.ones(n_out)}
        n_in = n_out
    tree, settings = convert("vgg16_cifar", arrays)
    assert settings["dense_widths"] == widths
    assert [tree["dense"][i]["kernel"].shape[1] for i in range(len(names))] == [*widths, 8]


def test_rows_after_a_flatten_follow_height_width_channels():
    """The dense layer sees the same maps, flattened PyTorch's way and Flax's way."""
    rng = np.random.default_rng(0)
    maps, weight = rng.normal(size=(4, 3, 3)), rng.normal(size=(5, 4 * 3 * 3))
    theirs = weight @ maps.ravel()  # channels, height, width
    ours = maps.transpose(1, 2, 0).ravel() @ flattened(3).turn(weight)
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)  # 36 terms of float64


@pytest.mark.parametrize("layout", [CONV, DENSE, flattened(2)], ids=["conv", "dense", "flat"])
def test_a_layout_knows_the_shape_of_its_array_in_the_file(layout):
    shape = (2, 3, 5, 7) if layout is CONV else (6, 20)
    turned = layout.turn(np.zeros(shape))
    assert layout.shape_in_file(turned.shape) == shape
