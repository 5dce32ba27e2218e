"""Analyses on cached activations give what they give on images, and nothing stale is used."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsel
from jaxsel import adapters, cache, cached, models
from jaxsel.data import PREPROCESS, Dataset, unit_range
from ports.convert import convert
from ports.reading import read

from .data.test_dataset import Lazy
from .test_fingerprint import encoded
from .test_suffix import IMAGE, convolved, network, weights

relu = jax.nn.relu
NAMES = ("cat", "dog", "cow")
ROOT = Path(__file__).parent.parent


def with_gelu(w, images, tap):
    """What no dense engine fits."""
    x = tap("conv1", relu(convolved(images, w["conv1"])))
    x = tap("fc", jax.nn.gelu(relu(convolved(x, w["conv2"])).reshape(len(x), -1) @ w["fc"]))
    return jax.nn.softmax(x) @ w["head"]


def as_model(apply, **changed):
    return adapters.with_parameters(apply, weights() | changed)


@pytest.fixture
def dataset(rng):
    images = rng.integers(0, 256, (11, *IMAGE)).astype(np.uint8)
    return Dataset(images, rng.integers(0, 3, 11), NAMES, unit_range)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "activations"


def refuse(*_, **__):
    raise AssertionError("activations are computed again")


@pytest.fixture
def only_read(monkeypatch):
    """From then on nothing may be computed."""
    return lambda: monkeypatch.setattr(cache, "intact_activations", refuse)


# --- the same results ---


@pytest.mark.parametrize(
    "apply, start, site, engine",
    [
        (network, "fc", "fc", "dense"),
        (network, "conv2", "fc", "dense"),
        (network, "conv1", "conv2", "channel"),
        (network, "conv2", "conv2", "generic"),
        (with_gelu, "fc", "fc", "generic"),
    ],
)
def test_ablation_gives_the_same(apply, start, site, engine, dataset, folder):
    """To the bit, as measured on CPU; where other programs are compiled, to a rounding.

    The intact values may differ by some 1e-16, and so a float32 change by its last bit.
    """
    model = as_model(apply)
    rest, activations = cached(model, dataset, start, folder, batch_size=4)
    settings = {"batch_size": 4, "engine": engine}
    direct = jaxsel.ablate_units(model, dataset, site, **settings)
    found = jaxsel.ablate_units(rest, activations, site, **settings)
    assert found.engine == direct.engine == engine
    assert found.precision == direct.precision
    scale = np.abs(direct.loss_change).max()
    np.testing.assert_allclose(found.loss_change, direct.loss_change, atol=2e-7 * scale)
    np.testing.assert_allclose(found.error, direct.error, rtol=1e-5)
    np.testing.assert_array_equal(found.top1_change, direct.top1_change)
    np.testing.assert_allclose(found.baseline.loss, direct.baseline.loss, rtol=1e-13)


def test_recording_and_evaluation_give_the_same_to_float64(dataset, folder):
    model = as_model(network)
    rest, activations = cached(model, dataset, "conv2", folder)
    direct = jaxsel.record(model, dataset, ("conv2", "fc"))
    found = jaxsel.record(rest, activations)
    assert list(found) == ["conv2", "fc"]
    for site, responses in found.items():
        # Sums of 180 and fewer terms of either sign.
        np.testing.assert_allclose(
            responses.class_sums, direct[site].class_sums, rtol=1e-12, atol=1e-14
        )
        np.testing.assert_array_equal(responses.zeros, direct[site].zeros)
    losses = [jaxsel.evaluate(*pair).loss for pair in ((model, dataset), (rest, activations))]
    np.testing.assert_allclose(*losses, rtol=1e-12)


def test_what_is_float32_throughout_gives_the_same_to_float32(dataset, folder, rng):
    """Its activations are rounded once here, and after every layer there."""
    model = as_model(network)
    rest, activations = cached(model, dataset, "conv2", folder)
    keep = {"fc": rng.random((4, 7)) < 0.5}
    order = np.array([3, 1, 4])
    for run in (
        lambda *pair: jaxsel.ablate_groups(*pair, keep).loss,
        lambda *pair: jaxsel.ablate_in_order(*pair, "conv2", order).effects.loss,
        lambda *pair: jaxsel.first_order(*pair, "conv2"),
        lambda *pair: jaxsel.ablate_by_masks(*pair, "fc"),
    ):
        np.testing.assert_allclose(
            run(rest, activations), run(model, dataset), rtol=1e-5, atol=1e-5
        )


def test_activations_are_those_of_the_intact_pass(dataset, folder):
    """Float64, as float64 NumPy finds them from float32 images."""
    w = weights()
    model = adapters.with_parameters(
        lambda w, x, tap: tap("fc", relu(x.reshape(len(x), -1) @ w["first"])) @ w["head"],
        {"first": w["fc"][:72], "head": w["head"]},
    )
    _, activations = cached(model, dataset, "fc", folder, batch_size=4)
    x = dataset.inputs(slice(None)).astype(np.float64).reshape(11, -1)
    found = activations.inputs(slice(None))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.maximum(x @ w["fc"][:72], 0), rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(activations.labels, dataset.labels)
    assert activations.class_names == dataset.class_names


def test_some_of_the_images_keep_their_precision(dataset, folder):
    _, activations = cached(as_model(network), dataset, "fc", folder)
    some = activations.take(np.array([3, 8])).take(np.array([1]))
    assert some.inputs(slice(None)).tolist() == activations.inputs(slice(8, 9)).tolist()
    assert {b.images.dtype for b in some.batches(1)} == {np.dtype(np.float64)}


def test_a_cache_of_a_cache_gives_the_same(dataset, folder):
    model = as_model(network)
    first = cached(model, dataset, "conv1", folder)
    rest, activations = cached(*first, "fc", folder)
    found = jaxsel.evaluate(rest, activations)
    np.testing.assert_allclose(found.loss, jaxsel.evaluate(model, dataset).loss, rtol=1e-12)


def breaks_float64(images, tap):
    start = jnp.zeros(images.shape, jnp.float32)
    x = tap("x", jax.lax.fori_loop(0, 2, lambda i, x: x + images, start))
    return x.reshape(len(x), -1)[:, :3] * 1.1


def bfloat16(images, tap):
    return tap("x", images.astype(jnp.bfloat16)).reshape(len(images), -1)[:, :3] * 1.1


@pytest.mark.parametrize("model", [breaks_float64, bfloat16])
def test_a_network_that_is_no_float64_is_kept_in_float32(model, dataset, folder):
    rest, activations = cached(model, dataset, "x", folder)
    assert activations.inputs(slice(0, 1)).dtype == np.float32
    pairs = (model, dataset), (rest, activations)
    np.testing.assert_array_equal(*(jaxsel.evaluate(*pair).loss for pair in pairs))


# --- the key ---


def test_the_second_time_nothing_is_computed(dataset, folder, only_read):
    model = as_model(network)
    made = cached(model, dataset, "fc", folder)[1].inputs(slice(None))
    only_read()
    found = cached(model, dataset, "fc", folder, batch_size=3)[1].inputs(slice(None))
    assert found.tobytes() == made.tobytes()


def test_weights_after_the_site_and_labels_are_of_no_account(dataset, folder, only_read):
    cached(as_model(network), dataset, "fc", folder)
    only_read()
    relabelled = Dataset(dataset.images, 2 - dataset.labels, NAMES, dataset.preprocess)
    other = as_model(network, head=np.ones((7, 3), np.float32))
    rest, activations = cached(other, relabelled, "fc", folder)
    np.testing.assert_array_equal(rest(jnp.ones((1, 7))), [[7, 7, 7]])
    np.testing.assert_array_equal(activations.labels, relabelled.labels)


def nearly(array):
    changed = array.copy()
    changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(9))
    return changed


def test_anything_before_the_site_makes_others(dataset, folder):
    """A weight's last bit, a pixel, the preprocessing, the number of images, the site."""
    pixels = dataset.images.copy()
    pixels[5, 2, 2, 1] ^= 1

    def with_images(images, preprocess=unit_range):
        return Dataset(images, dataset.labels[: len(images)], NAMES, preprocess)

    model = as_model(network)
    pairs = [
        (model, dataset, "fc"),
        (as_model(network, conv1=nearly(weights()["conv1"])), dataset, "fc"),
        (model, with_images(pixels), "fc"),
        (model, with_images(dataset.images, lambda x: x / np.float32(255.1)), "fc"),
        (model, with_images(dataset.images[:10]), "fc"),
        (model, dataset, "conv2"),
    ]
    for number, pair in enumerate(pairs, 1):
        cached(*pair, folder)
        assert len(list(folder.iterdir())) == number


def test_what_another_network_wrote_is_not_taken(dataset, folder):
    """As if somebody had renamed it."""
    model, other = as_model(network), as_model(network, conv1=-weights()["conv1"])
    expected = cached(model, dataset, "fc", folder / "one")[1].inputs(slice(None))
    cached(other, dataset, "fc", folder / "two")
    (mine,), (foreign,) = ((folder / name).iterdir() for name in ("one", "two"))
    shutil.rmtree(mine)
    shutil.copytree(foreign, mine)
    with pytest.warns(UserWarning, match="is made again: its manifest says network"):
        found = cached(model, dataset, "fc", folder / "one")[1].inputs(slice(None))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("damage", ["torn", "a bit"])
def test_what_is_damaged_is_made_again(damage, dataset, folder):
    model = as_model(network)
    expected = cached(model, dataset, "fc", folder)[1].inputs(slice(None))
    (file,) = folder.glob("*/array.npy")
    if damage == "torn":
        os.truncate(file, file.stat().st_size - 8)
    else:
        content = bytearray(file.read_bytes())
        content[-9] ^= 64
        file.write_bytes(content)
    with pytest.warns(UserWarning, match="is made again"):
        found = cached(model, dataset, "fc", folder)[1].inputs(slice(None))
    np.testing.assert_array_equal(found, expected)


# --- on the way ---


def test_a_run_that_was_interrupted_is_gone_on_with(dataset, folder):
    """The last batch is filled up as before, so that the bits are the same."""
    model = as_model(network)
    expected = cached(model, dataset, "fc", folder / "whole", batch_size=4)[1]

    def interrupt(n_done):
        if n_done == 8:
            raise KeyboardInterrupt

    settings = {"batch_size": 4}
    with pytest.raises(KeyboardInterrupt):
        cached(model, dataset, "fc", folder / "half", progress=interrupt, **settings)
    done = []
    _, found = cached(model, dataset, "fc", folder / "half", progress=done.append, **settings)
    assert done == [4, 8, 11]
    assert found.inputs(slice(None)).tobytes() == expected.inputs(slice(None)).tobytes()


def test_images_that_were_done_are_not_prepared_again(folder):
    source = Lazy(9)
    dataset = Dataset(source, np.zeros(9, int), NAMES)

    def interrupt(n_done):
        if n_done == 6:
            raise KeyboardInterrupt

    settings = {"batch_size": 3}

    def model(images, tap):
        return tap("x", images * 2).reshape(len(images), -1)[:, :3]

    with pytest.raises(KeyboardInterrupt):
        cached(model, dataset, "x", folder, progress=interrupt, **settings)
    source.asked_for.clear()
    cached(model, dataset, "x", folder, **settings)
    # One for its shape, all for the key, first and last as they are prepared; then the rest.
    assert source.asked_for == [0, 0, *range(9), 0, 8, 6, 7, 8]


def test_encoded_images_are_cached_too(rng, folder):
    images = rng.integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)
    labels = np.zeros(7, int)

    def model(images, tap):
        return tap("x", images[:, ::2, ::2].reshape(len(images), -1) / 3)[:, :3]

    of_png, of_array = (
        cached(model, Dataset(source, labels, NAMES, unit_range), "x", folder, batch_size=3)[1]
        for source in (encoded(images), images)
    )
    assert of_png.inputs(slice(None)).tobytes() == of_array.inputs(slice(None)).tobytes()


def test_an_activation_that_is_no_number_is_refused_and_not_kept(folder):
    dataset = Dataset(np.arange(5, dtype=np.float32)[:, None], np.zeros(5, int), NAMES)

    def model(images, tap):
        return tap("log", jnp.log(images - 3)) * jnp.ones(3)

    with pytest.raises(ValueError, match="the activation of image 0 at log is NaN"):
        cached(model, dataset, "log", folder, batch_size=2)
    assert list(folder.iterdir()) == []


def test_a_network_in_training_mode_is_refused(dataset, folder):
    """Before the site; what comes after it is of no account here."""

    def model(images, tap):
        x = tap("before", images * 2)
        x = tap("after", x - x.mean(axis=0))
        return x.reshape(len(x), -1)[:, :3]

    cached(model, dataset, "before", folder)
    with pytest.raises(ValueError, match="put the network into evaluation mode"):
        cached(model, dataset, "after", folder)


def test_what_cannot_be_cached_is_refused_before_anything_is_read(dataset, folder):

    def shortcut(images, tap):
        return (tap("x", images * 2) + images).reshape(len(images), -1)

    model = as_model(network)
    with pytest.raises(KeyError, match="unknown site fc9"):
        cached(model, dataset, "fc9", folder)
    with pytest.raises(ValueError, match="by another way than through x"):
        cached(shortcut, dataset, "x", folder)
    with pytest.raises(ValueError, match="batch_size must be at least 1; found 0"):
        cached(model, dataset, "fc", folder, batch_size=0)
    assert not folder.exists()


def test_a_site_with_signs_in_its_name_has_a_folder(dataset, folder):
    def model(images, tap):
        return tap("Block_2/Norm#2", images * 2).reshape(len(images), -1)[:, :3]

    cached(model, dataset, "Block_2/Norm#2", folder)
    (made,) = folder.iterdir()
    assert made.name.startswith("Block_2_Norm_2-")


# --- whole processes and real networks ---

CHILD = """
import hashlib, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from jaxsel import Dataset, cached
from tests.test_cache import as_model, network, IMAGE, NAMES, unit_range

images = np.random.default_rng(0).integers(0, 256, (400, *IMAGE)).astype(np.uint8)
dataset = Dataset(images, np.zeros(400, int), NAMES, unit_range)
print("ready", flush=True)
progress = lambda done: time.sleep(float(sys.argv[3]))
_, found = cached(as_model(network), dataset, "fc", Path(sys.argv[2]), batch_size=4,
                  progress=progress)
print(hashlib.sha256(found.inputs(slice(None))).hexdigest())
"""


def child(folder, pause=0.0):
    arguments = [str(argument) for argument in (ROOT, folder, pause)]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_killed_at_random_moments_the_next_process_ends_with_the_same(tmp_path, rng):
    """Two processes at once in the end."""
    expected = child(tmp_path / "undisturbed").communicate()[0].split()[-1]
    killed = tmp_path / "killed"
    for wait in rng.uniform(0.5, 2.5, 20):
        process = child(killed, 0.2)
        assert process.stdout.readline() == "ready\n"
        time.sleep(wait)
        process.kill()
        process.communicate()
    assert list(killed.glob(".*/manifest"))
    both = [child(killed) for _ in range(2)]
    assert [process.communicate()[0].split()[-1] for process in both] == [expected] * 2
    assert len(list(killed.iterdir())) == 1
    arrays = [next((tmp_path / name).glob("*/array.npy")) for name in ("undisturbed", "killed")]
    assert arrays[0].read_bytes() == arrays[1].read_bytes()


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(
    "start, site, engine",
    [
        ("block7_conv2", "block8_conv1", "channel"),
        ("block9_conv2", "block9_conv2", "channel"),
        ("block8_conv2", "block9_conv1", "generic"),
    ],
)
def test_the_trained_resnet20_gives_the_same(start, site, engine, data_folder, folder):
    arrays = read(data_folder / "resnet20_cifar10/resnet20-12fca82f.th")
    tree, settings = convert("resnet20", arrays)
    model = models.assemble("resnet20", settings, tree)
    with np.load(data_folder / "cifar10/lossless_subset.npz") as file:
        images, labels = file["test_images"][:40], file["test_labels"][:40].astype(int)
    dataset = Dataset(images, labels, tuple("0123456789"), PREPROCESS["cifar10_resnet"])
    rest, activations = cached(model, dataset, start, folder, batch_size=16)
    settings = {"units": np.arange(6), "batch_size": 16, "engine": engine}
    direct = jaxsel.ablate_units(model, dataset, site, **settings)
    found = jaxsel.ablate_units(rest, activations, site, **settings)
    scale = np.abs(direct.loss_change).max()
    np.testing.assert_allclose(found.loss_change, direct.loss_change, atol=2e-7 * scale)
    np.testing.assert_array_equal(found.top1_change, direct.top1_change)
