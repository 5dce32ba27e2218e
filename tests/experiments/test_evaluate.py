"""`python -m experiments.evaluate`: known counts of real networks, closed forms, bad input."""

import json
import sys

import numpy as np
import pytest

from experiments import evaluate as command
from experiments.evaluate import Config, main
from jaxsel import checkpoint, models
from jaxsel.data import digits
from ports.__main__ import main as port

KEYS = {"images", "correct", "top1", "top5", "loss", "p_correct_mean", "p_correct_std"}

# Networks of the data folder and how many of the 932 CIFAR-10 test images they get right,
# counted outside jaxsel.
REAL = {
    "resnet20_cifar10/resnet20-12fca82f.th": ("resnet20", 854),
    "lenet5_cifar10/cifar_net.pth": ("lenet5", 534),
    "lenet5_cifar10/cifar_net_30ep.pth": ("lenet5", 527),
}


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A checkpoint of a network for the digits whose parameters are all 0."""
    settings = {"n_inputs": 64, "widths": [3]}
    arrays = {
        "layers": {
            0: {"kernel": np.zeros((64, 3), "f4"), "bias": np.zeros(3, "f4")},
            1: {"kernel": np.zeros((3, 10), "f4"), "bias": np.zeros(10, "f4")},
        }
    }
    manifest = {
        "network": "mlp",
        "settings": settings,
        "parameters": models.n_parameters(models.assemble("mlp", settings, arrays)),
        "preprocess": "sixteenths",
    }
    path = tmp_path_factory.mktemp("evaluate") / "untrained"
    checkpoint.write(path, arrays, manifest)
    return path


def run(arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, arguments)])
    command.cli.run(main, Config, "evaluate")


def test_a_network_that_knows_nothing_gives_every_class_a_tenth(untrained, tmp_path, capsys):
    """Equal logits: the class of the smallest number wins, the loss is log 10."""
    main(Config(untrained, "digits", out=tmp_path / "out.json"))
    found = json.loads((tmp_path / "out.json").read_text())
    labels = digits().labels
    assert found.keys() >= KEYS
    assert found["images"] == 1797
    assert found["correct"] == np.sum(labels == 0)
    assert found["top1"] == np.mean(labels == 0)
    assert found["top5"] == np.mean(labels < 5)
    np.testing.assert_allclose(found["loss"], np.log(10), rtol=1e-14)
    np.testing.assert_allclose(found["p_correct_mean"], 0.1, rtol=1e-14)
    np.testing.assert_allclose(found["p_correct_std"], 0, atol=1e-14)
    assert found["preprocess"] == "sixteenths"
    printed = capsys.readouterr().out
    assert "images 1,797" in printed
    assert f"right {np.sum(labels == 0)}" in printed
    assert "preprocessing sixteenths" in printed


def test_another_preprocessing_is_used_and_named_when_asked_for(untrained, tmp_path):
    main(Config(untrained, "digits", preprocess="unit_range", out=tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["preprocess"] == "unit_range"


def test_one_image_has_no_standard_deviation(untrained, tmp_path):
    np.savez(tmp_path / "one.npz", images=np.ones((1, 64), "u1"), labels=np.array([0]))
    main(Config(untrained, f"npz:{tmp_path / 'one.npz'}", out=tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["p_correct_std"] is None


def test_the_same_command_gives_the_same_bytes(untrained, tmp_path):
    for name in ("a", "b"):
        main(Config(untrained, "digits", out=tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data", "digits", "--preprocess", "none"], "preprocessing 'none': possible are"),
        (["--data", "digits", "--split", "test"], "digits has no split"),
        (["--data", "cifar"], "unknown data source 'cifar'"),
        (["--data", "npz:nowhere.npz"], "there is no file"),
        (["--data", "digits", "--out", "nowhere/out.json"], "there is no folder nowhere"),
        (["--data", "digits", "--out", "."], "is a folder: --out takes the name of a file"),
        (["--data", "digits", "--batch-size", "0"], "batch_size must be at least 1"),
        (["--data", "digits", "--preprocess", "torchvision"], "takes colour images"),
    ],
)
def test_bad_input_ends_in_one_sentence(untrained, monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit, match=message) as stop:
        run(["--weights", untrained, *arguments], monkeypatch)
    assert "\n" not in str(stop.value)
    assert capsys.readouterr().out == ""


def test_a_folder_that_is_no_checkpoint_ends_in_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="is no checkpoint"):
        run(["--weights", tmp_path, "--data", "digits"], monkeypatch)


def test_images_that_the_network_cannot_see_end_in_one_sentence(
    untrained, tmp_path, monkeypatch
):
    np.savez(tmp_path / "x.npz", images=np.ones((2, 5), "u1"), labels=np.array([0, 1]))
    with pytest.raises(SystemExit, match="takes images of 64 numbers; found 5"):
        run(["--weights", untrained, "--data", f"npz:{tmp_path / 'x.npz'}"], monkeypatch)


@pytest.mark.data
@pytest.mark.parametrize("file", REAL)
def test_real_networks_get_as_many_images_right_as_was_counted(data_folder, tmp_path, file):
    name, correct = REAL[file]
    port([name, "--file", str(data_folder / file), "--out", str(tmp_path / "net")])
    images = data_folder / "cifar10/lossless_subset.npz"
    config = Config(tmp_path / "net", f"npz:{images}", "test", out=tmp_path / "out.json")
    main(config)
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["images"], found["correct"]) == (932, correct)
