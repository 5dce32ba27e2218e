"""The channel benchmark on tiny networks: peers, suffixes and counted operations are right."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from experiments import cli
from experiments.benchmarks import channels, suffixes
from experiments.benchmarks.peers import exact_loss
from jaxsel import Dataset, forward, models
from jaxsel.ablation.work import flop_after
from jaxsel.models.resnet_cifar import ResNetCifar
from jaxsel.models.vgg_cifar import VGGCifar
from tests.references import brute_force

RESNET_SITES = ("conv1", "block2_conv1", "block2_conv2", "block3_conv2")
VGG_SITES = ("conv3_1", "conv5_3")


def images(n=3):
    rng = np.random.default_rng(1)
    pixels = rng.standard_normal((n, 32, 32, 3), np.float32)
    return Dataset(pixels, rng.integers(10, size=n), tuple("0123456789"))


def network(kind):
    """With statistics of its own in every BatchNorm: none is an identity."""
    rngs = nnx.Rngs(0)
    if kind == "resnet":
        made = ResNetCifar(blocks_per_stage=1, widths=(2, 4, 6), rngs=rngs)
    else:
        made = VGGCifar(widths=(2, 3, 4, 4, 5), dense_widths=(6,), rngs=rngs)
    rng = np.random.default_rng(2)
    for _, module in nnx.iter_modules(made):
        if isinstance(module, nnx.BatchNorm):
            n = module.num_features
            module.mean[...] = rng.normal(size=n).astype(np.float32) / 5
            module.var[...] = rng.uniform(0.5, 2, n).astype(np.float32)
            module.bias[...] = rng.normal(size=n).astype(np.float32) / 5
    return made


CASES = [("resnet", site) for site in RESNET_SITES] + [("vgg", site) for site in VGG_SITES]


@pytest.mark.parametrize("kind, site", CASES)
def test_what_follows_a_site_gives_the_networks_own_logits(kind, site):
    made, dataset = network(kind), images()
    run = jax.jit(forward, static_argnames="sites")
    logits = np.asarray(run(made, jnp.asarray(dataset.images), sites=())[0])
    what = suffixes.suffix(made, dataset, site)
    # Two float32 passes through at most fourteen layers.
    settings = {"rtol": 0, "atol": 1e-5 * np.abs(logits).max()}
    cached = jnp.asarray(what.dataset.images)
    found, seen = run(what.model, cached, sites=(site,))
    np.testing.assert_allclose(found, logits, **settings)
    np.testing.assert_array_equal(seen[site], what.activation)
    rest = what.network(torch.float32)
    past = None if what.around is None else torch.tensor(what.around).permute(0, 3, 1, 2)
    found = rest(torch.tensor(what.activation).permute(0, 3, 1, 2), past)
    np.testing.assert_allclose(found.numpy(), logits, **settings)


@pytest.mark.parametrize("kind, site", [("resnet", "block2_conv1"), ("vgg", "conv3_1")])
def test_every_peer_finds_what_brute_force_finds(kind, site):
    made, dataset = network(kind), images()
    run = brute_force.of_jax(made)
    n = brute_force.activations(run, dataset.images)[1][site].shape[-1]
    truth = brute_force.ablate(
        run, dataset.images, dataset.labels, site, np.eye(n, dtype=bool), 0.0
    )
    what = suffixes.suffix(made, dataset, site)
    expected = truth.change.T
    # The activations are float32: a few roundings of logits of size 1.
    exact = channels.masked_loop(what, "contiguous", 2, 2, torch.float64, exact_loss)
    np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-5)
    for layout in channels.LAYOUTS:
        plain = channels.masked_loop(what, layout, 2, 3, torch.float32, channels.usual_loss)
        np.testing.assert_allclose(plain, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        channels.captum_ablation(what), expected.sum(axis=1), rtol=0, atol=3e-5
    )


@pytest.mark.slow
def test_every_method_gets_its_place_and_jaxsel_is_right(capsys):
    config = channels.Config(repeats=1)
    row = channels.measure(network("resnet"), images(), "block3_conv1", config)
    assert row["channels"] == 6
    assert row["best"].keys() == {
        *("jaxsel", "from the images", "masks in JAX", "PyTorch", "captum")
    }
    assert all(len(times) == 1 and times[0] > 0 for times in row["seconds"].values())
    errors = {name: error["of_sum"] for name, error in row["errors"].items()}
    assert errors["jaxsel"] < 2e-6
    assert errors["from the images"] < 2e-5  # its activations are not rounded to float32
    assert errors["jaxsel"] < errors["tensorfloat32"] < errors["bfloat16"] < 0.1
    json.dumps(row)
    printed = capsys.readouterr().out
    assert printed.startswith("| block3_conv1 | 6 |")
    assert printed.count("|") == 15


def test_operations_are_those_of_the_layers_that_follow():
    made = network("vgg")
    # What follows conv5_1, on maps of 2x2: two convolutions of 5 to 5 channels and two layers.
    by_hand = 2 * (2 * 2 * 2 * 9 * 5 * 5) + 2 * (5 * 6 + 6 * 10)
    assert flop_after(made, (32, 32, 3), "conv5_1") == by_hand
    # The same from another place: all that a convolution more costs.
    assert flop_after(made, (32, 32, 3), "conv4_3") == by_hand + 2 * 2 * 2 * 9 * 4 * 5


def test_vgg19_is_counted_and_not_run(capsys):
    channels.main(channels.Config(vgg19=True))
    assert capsys.readouterr().out.startswith("VGG19: 5504 channels, ")


def test_the_whole_network_is_about_its_published_cost():
    """19.6 G pairs of multiplication and addition (He et al. 2016, arXiv:1512.03385)."""
    vgg19 = nnx.eval_shape(lambda: models.NETWORKS["vgg19"](rngs=nnx.Rngs(0)))
    after = flop_after(vgg19, (224, 224, 3), "conv1_1")
    first = 2 * 224 * 224 * 27 * 64
    assert (after + first) / 2 == pytest.approx(19.6e9, rel=0.01)


def test_nothing_to_measure_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["channels"])
    with pytest.raises(SystemExit) as stop:
        cli.run(channels.main, channels.Config, "")
    assert stop.value.code == "error: --weights and --data are needed, or --vgg or --vgg19"


def test_a_site_where_nothing_changes_has_no_errors():
    nothing = np.zeros((3, 2))
    assert set(channels.errors(nothing.sum(axis=1), nothing).values()) == {0.0}
