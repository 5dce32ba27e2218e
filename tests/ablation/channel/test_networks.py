"""The channel engine on every map of every network, against float64 brute force in PyTorch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from jaxsel import Dataset, ablate_units, models
from jaxsel.data import PREPROCESS
from ports.convert import convert
from ports.reading import read
from tests.references import brute_force, published_names
from tests.references import torch_networks as reference

N_CLASSES = 7  # more than five: or else nothing enters or leaves the top five
SMALL = {"dense": (9, 8), "n_classes": N_CLASSES}
WIDTHS = (4, 5, 6, 7, 8)
CAFFE = SMALL | {"widths": (6, 8, 10, 6, 8)}


class Case(NamedTuple):
    """A network of PyTorch's with random arrays, and what its images are like."""

    name: str  # in jaxsel.models.NETWORKS
    network: Callable[[], Any]
    quick: tuple[str, ...]  # sites that are tried in the quick tests
    side: int = 32
    arrays: Callable = published_names.pytorch
    scale: float = 1.0


def caffe(*, pool_first, quick):
    name = "caffenet" if pool_first else "alexnet_caffe"
    network = functools.partial(reference.AlexNetCaffe, pool_first=pool_first, **CAFFE)
    # Pixels as large as bytes: the response normalisation is felt.
    return Case(name, network, quick, 227, published_names.onnx, 100.0)


CASES = {
    "resnet20": Case(
        "resnet20",
        lambda: reference.ResNetCifar(widths=(4, 8, 16), n_classes=N_CLASSES),
        # Inside a block that halves the maps.
        ("block4_conv1",),
    ),
    "lenet5": Case("lenet5", lambda: reference.LeNet5(n_classes=N_CLASSES), ("conv1",)),
    "alexnet": Case("alexnet", lambda: reference.AlexNet(widths=WIDTHS, **SMALL), (), 96),
    "alexnet_caffe": caffe(pool_first=False, quick=("conv2",)),
    "caffenet": caffe(pool_first=True, quick=()),
    "vgg16": Case("vgg16", lambda: reference.VGG(reference.VGG16, WIDTHS, **SMALL), (), 48),
    "vgg16_cifar": Case(
        "vgg16_cifar",
        lambda: reference.VGGCifar(WIDTHS, (9,), N_CLASSES),
        (),
    ),
    "cnn7": Case(
        "cnn7",
        lambda: reference.CNN7((4, 5, 6, 7, 8, 9), 10, N_CLASSES),
        (),
        arrays=published_names.keras,
    ),
}
N_IMAGES = 4


class Both(NamedTuple):
    """A network here and in PyTorch, and images."""

    network: Any
    run: Callable
    dataset: Dataset
    activations: dict[str, np.ndarray]


@functools.cache
def both(name):
    case = CASES[name]
    net = reference.randomised(case.network())
    tree, settings = convert(case.name, case.arrays(net, "float32"))
    rng = np.random.default_rng(1)
    images = case.scale * rng.normal(size=(N_IMAGES, case.side, case.side, 3))
    images = images.astype(np.float32)
    run = brute_force.of_torch(net)
    logits, seen = brute_force.activations(run, images)
    # One image right, one wrong by much, two in between: losses of all sizes.
    order = np.argsort(-logits, axis=1)
    labels = order[np.arange(N_IMAGES), [0, N_CLASSES - 1, 1, 4]]
    dataset = Dataset(images, labels, tuple("abcdefg"))
    return Both(models.assemble(case.name, settings, tree), run, dataset, seen)


def sites_of(name):
    """All sites of a network in its order; their names need no image."""
    small = both(name).network
    return (*small.sites, *small.extra_sites)


def assert_site_is_exact(name, site):
    """All channels become 0, and then their mean responses; the relative errors."""
    network, run, dataset, seen = both(name)
    n_units, maps = seen[site].shape[-1], seen[site].ndim == 4
    errors = []
    for replacement in (0.0, brute_force.means(seen[site])):
        effects = ablate_units(
            network,
            dataset,
            site,
            replacement=replacement,
            engine=None if maps else "channel",
        )
        assert effects.engine == "channel"
        assert effects.precision == "float32 changes of float64 values"
        truth = brute_force.ablate(
            run, dataset.images, dataset.labels, site, np.eye(n_units, dtype=bool), replacement
        )
        assert np.abs(truth.change).max() > 1e-3, "no unit matters"
        errors.append(brute_force.assert_exact(effects, truth, dataset.labels))
    return np.concatenate(errors, axis=1)


@pytest.mark.parametrize(
    "name, site", [(name, site) for name, case in CASES.items() for site in case.quick]
)
def test_every_channel_equals_brute_force(name, site):
    assert_site_is_exact(name, site)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_channel_of_every_site_equals_brute_force(name):
    """Maps by default; the vectors of the dense layers because the engine is asked for."""
    sites = sites_of(name)
    relative, of_size = np.concatenate([assert_site_is_exact(name, s) for s in sites], axis=1)
    print(
        f"{name}: median {np.median(relative):.1e} of the change, worst {of_size.max():.1e} of "
        f"the absolute changes"
    )
    assert np.median(relative) <= 1e-6


@pytest.mark.slow
@pytest.mark.data
def test_channels_of_the_trained_resnet20_equal_brute_force_on_real_images(data_folder):
    """200 random channels of the 19 sites, by 8 of the test images, all together.

    Measured: a median of 2e-7; nine of ten right to 1.5e-6 of their absolute changes, as
    `brute_force.assert_exact` derives; the worst to 3e-5, where an image's logits move by 1.3
    and its loss by 4e-5 only.
    """
    rng = np.random.default_rng(7)
    arrays = read(data_folder / "resnet20_cifar10/resnet20-12fca82f.th")
    tree, settings = convert("resnet20", arrays)
    network = models.assemble("resnet20", settings, tree)
    net = reference.ResNetCifar().double()
    net.load_state_dict(
        {
            key.removeprefix("module."): torch.from_numpy(np.array(a))
            for key, a in arrays.items()
        }
    )
    run = brute_force.of_torch(net)
    with np.load(data_folder / "cifar10/lossless_subset.npz") as file:
        chosen = rng.choice(len(file["test_labels"]), 8, replace=False)
        images, labels = file["test_images"][chosen], file["test_labels"][chosen]
    labels = labels.astype(int)
    dataset = Dataset(images, labels, tuple("0123456789"), PREPROCESS["cifar10_resnet"])
    inputs = dataset.inputs(slice(None))
    width = {site: a.shape[-1] for site, a in brute_force.activations(run, inputs)[1].items()}
    assert len(network.sites) == 19
    every = [(site, unit) for site in network.sites for unit in range(width[site])]
    pairs = [every[i] for i in rng.choice(len(every), 200, replace=False)]
    relative, of_size, of_room, of_estimate = [], [], [], []
    for site in network.sites:
        units = np.array([unit for where, unit in pairs if where == site])
        effects = ablate_units(network, dataset, site, units=units)
        masks = np.eye(width[site], dtype=bool)[units]
        truth = brute_force.ablate(run, inputs, labels, site, masks)
        size, moved = np.abs(truth.change).sum(0), truth.largest.sum(0) > 0
        total = truth.change.sum(0)
        error = np.maximum(np.abs(effects.total() - total) - 1e-14 * len(labels), 0)[moved]
        relative += list(error / np.abs(total)[moved])
        of_size += list(error / size[moved])
        of_room += list(error / (2e-6 * (truth.largest * truth.doubt).sum(0)[moved]))
        of_estimate += list(error / effects.error[moved])
        np.testing.assert_array_equal(effects.error[~moved], 0)
        before, after = truth.before[:, None], truth.after
        for k, found in ((1, effects.top1_change), (5, effects.top5_change)):
            changed = (after < k).astype(int) - (before < k)
            np.testing.assert_array_equal(found.sum(1), changed.sum(0))
    print(
        f"{len(relative)} channels move: median {np.median(relative):.1e}, worst "
        f"{max(of_size):.1e} of the absolute changes, {max(of_estimate):.2f} of the estimate"
    )
    assert len(relative) > 150
    assert np.median(relative) <= 1e-6
    assert np.quantile(of_size, 0.9) <= 2e-6
    assert max(of_room) <= 1
    assert max(of_estimate) <= 1
