"""`python -m experiments.evaluate`: known counts of real networks, closed forms, bad input."""

import io
import json
import os
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate as command
from experiments.evaluate import Config, main
from jaxsel import checkpoint, models
from jaxsel.data import digits, imagenet_classes, prepare_cifar10
from ports.__main__ import main as port

KEYS = {"images", "correct", "top1", "top5", "loss", "p_correct_mean", "p_correct_std"}

# Networks of the data folder and how many of the 932 CIFAR-10 test images they get right,
# counted outside jaxsel.
REAL = {
    "resnet20_cifar10/resnet20-12fca82f.th": ("resnet20", 854),
    "lenet5_cifar10/cifar_net.pth": ("lenet5", 534),
    "lenet5_cifar10/cifar_net_30ep.pth": ("lenet5", 527),
}


def write_network(path, n_inputs, bias, preprocess):
    """A checkpoint whose parameters are all 0 but the last bias: the logits of any image."""
    bias = np.asarray(bias, "f4")
    settings = {"n_inputs": n_inputs, "widths": [3], "n_classes": len(bias)}
    arrays = {
        "layers": {
            0: {"kernel": np.zeros((n_inputs, 3), "f4"), "bias": np.zeros(3, "f4")},
            1: {"kernel": np.zeros((3, len(bias)), "f4"), "bias": bias},
        }
    }
    manifest = {
        "network": "mlp",
        "settings": settings,
        "parameters": models.n_parameters(models.assemble("mlp", settings, arrays)),
        "preprocess": preprocess,
    }
    checkpoint.write(path, arrays, manifest)
    return path


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A checkpoint of a network for the digits whose parameters are all 0."""
    path = tmp_path_factory.mktemp("evaluate") / "untrained"
    return write_network(path, 64, np.zeros(10), "sixteenths")


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
    config = Config(tmp_path / "net", f"npz:{images}", split="test", out=tmp_path / "out.json")
    main(config)
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["images"], found["correct"]) == (932, correct)


# --- images of folders, tars and tensorflow-datasets ---

SNAKE, ALP, SHEEPDOG = "n01751748", "n09193705", "n02105855"  # classes 65, 970, 230


def put(file, grey):
    """A picture of 4 x 4 pixels of one grey level."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (grey,) * 3).save(file)


@pytest.fixture
def pictures(tmp_path):
    """Two classes: two and three images, of which one of each cannot be decoded."""
    for number, name in enumerate(["ant/1", "ant/2", "bee/1", "bee/2", "bee/3"]):
        put(tmp_path / "pictures" / f"{name}.png", 10 * number)
    for name in ("ant/2", "bee/1"):
        (tmp_path / "pictures" / f"{name}.png").write_bytes(b"torn")
    return tmp_path / "pictures"


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """A network that says class 1 with the probability 3 / 4."""
    path = tmp_path_factory.mktemp("evaluate") / "two"
    return write_network(path, 48, [0, np.log(3)], "unit_range")


@pytest.fixture(scope="module")
def of_a_thousand(tmp_path_factory):
    """A network for ImageNet that says class 65 with the probability 1 / 2."""
    path = tmp_path_factory.mktemp("evaluate") / "thousand"
    logits = np.where(np.arange(1000) == 65, np.log(999), 0)
    return write_network(path, 48, logits, "unit_range")


def test_images_that_cannot_be_decoded_are_left_out_counted_and_named(
    of_two, pictures, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out.json"
    arguments = ["--weights", of_two, "--data", f"folder:{pictures}", "--skip-corrupt"]
    run([*arguments, "--out", out], monkeypatch)
    found = json.loads(out.read_text())
    assert found["corrupt"] == ["ant/2.png", "bee/1.png"]
    assert (found["images"], found["correct"]) == (3, 2)
    assert (found["data"], found["split"]) == ("folder", None)
    # One image with probability 1/4, two with 3/4. float32 logits: 1e-6 is ten roundings.
    np.testing.assert_allclose(found["p_correct_mean"], 7 / 12, rtol=1e-6)
    np.testing.assert_allclose(found["loss"], (np.log(4) + 2 * np.log(4 / 3)) / 3, rtol=1e-6)
    printed = capsys.readouterr().out
    assert "images 3, left out 2 that cannot be decoded: ant/2.png, bee/1.png\n" in printed


def test_a_name_that_is_no_text_does_not_cost_the_result(
    of_two, pictures, tmp_path, monkeypatch, capsys
):
    name = os.fsdecode(b"bee/\xff.png")
    (pictures / name).write_bytes(b"torn")
    out = tmp_path / "out.json"
    arguments = ["--weights", of_two, "--data", f"folder:{pictures}", "--skip-corrupt"]
    run([*arguments, "--out", out], monkeypatch)
    assert json.loads(out.read_text())["corrupt"] == ["ant/2.png", "bee/1.png", name]
    assert "bee/\\udcff.png" in capsys.readouterr().out


def test_many_names_are_in_the_file_and_five_on_the_screen(
    of_two, pictures, tmp_path, monkeypatch, capsys
):
    names = [f"bee/x{number}.png" for number in range(6)]
    for name in names:
        (pictures / name).write_bytes(b"torn")
    out = tmp_path / "out.json"
    arguments = ["--weights", of_two, "--data", f"folder:{pictures}", "--skip-corrupt"]
    run([*arguments, "--out", out], monkeypatch)
    every = ["ant/2.png", "bee/1.png", *names]
    assert json.loads(out.read_text())["corrupt"] == every
    shown = f"left out 8 that cannot be decoded: {', '.join(every[:5])}, ...\n"
    assert shown in capsys.readouterr().out


def test_nothing_is_left_out_where_everything_can_be_decoded(
    of_two, pictures, tmp_path, monkeypatch, capsys
):
    for name in ("ant/2", "bee/1"):
        (pictures / f"{name}.png").unlink()
    for flags in ([], ["--skip-corrupt"]):
        out = tmp_path / f"{len(flags)}.json"
        arguments = ["--weights", of_two, "--data", f"folder:{pictures}", "--out", out]
        run([*arguments, *flags], monkeypatch)
        assert json.loads(out.read_text())["corrupt"] == []
        assert "images 3\n" in capsys.readouterr().out


def stopped(arguments, monkeypatch, capsys, tmp_path):
    """The one sentence that a run ends in; nothing is printed or written beside it."""
    with pytest.raises(SystemExit) as stop:
        run([*arguments, "--out", tmp_path / "out.json"], monkeypatch)
    assert "\n" not in str(stop.value)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out.json").exists()
    return str(stop.value)


@pytest.mark.parametrize("torn", ["ant/1", "bee/3"], ids=["the first image", "the last"])
def test_an_image_that_cannot_be_decoded_ends_the_run_in_one_sentence(
    of_two, pictures, tmp_path, monkeypatch, capsys, torn
):
    for name in ("ant/2", "bee/1"):
        put(pictures / f"{name}.png", 0)
    (pictures / f"{torn}.png").write_bytes(b"torn")
    arguments = ["--weights", of_two, "--data", f"folder:{pictures}", "--batch-size", 2]
    message = stopped(arguments, monkeypatch, capsys, tmp_path)
    assert message.startswith(f"error: {torn}.png cannot be decoded")


def test_a_folder_of_nothing_but_torn_images_is_refused(
    of_two, pictures, tmp_path, monkeypatch, capsys
):
    for file in pictures.rglob("*.png"):
        file.write_bytes(b"torn")
    arguments = ["--weights", of_two, "--data", f"folder:{pictures}", "--skip-corrupt"]
    message = stopped(arguments, monkeypatch, capsys, tmp_path)
    assert (
        "none of the 5 images can be decoded: ant/1.png, ant/2.png, bee/1.png, ..." in message
    )


def test_a_folder_of_another_number_of_classes_is_refused(
    of_two, pictures, tmp_path, monkeypatch, capsys
):
    put(pictures / "cat" / "1.png", 0)
    arguments = ["--weights", of_two, "--data", f"folder:{pictures}", "--skip-corrupt"]
    message = stopped(arguments, monkeypatch, capsys, tmp_path)
    assert "has 3 classes, but the network 2: their numbers would not mean the same" in message


def test_class_folders_named_by_synsets_get_the_numbers_of_imagenet(
    of_a_thousand, tmp_path, monkeypatch
):
    """Two of five images are of class 65, the folder of which is the first of three."""
    for number, synset in enumerate([SNAKE, SNAKE, ALP, SHEEPDOG, SHEEPDOG]):
        put(tmp_path / "some" / synset / f"{number}.png", number)
    arguments = ["--weights", of_a_thousand, "--data", f"folder:{tmp_path / 'some'}"]
    run([*arguments, "--out", tmp_path / "out.json"], monkeypatch)
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["images"], found["correct"]) == (5, 2)
    # Of the others the network says 1 / 1998.
    np.testing.assert_allclose(found["p_correct_mean"], (2 / 2 + 3 / 1998) / 5, rtol=1e-5)


@pytest.mark.parametrize("other", ["cat", "n00000000"])
def test_a_folder_that_is_no_synset_of_imagenet_is_refused(
    of_a_thousand, tmp_path, monkeypatch, capsys, other
):
    for name in (SNAKE, other):
        put(tmp_path / "some" / name / "1.png", 0)
    arguments = ["--weights", of_a_thousand, "--data", f"folder:{tmp_path / 'some'}"]
    message = stopped(arguments, monkeypatch, capsys, tmp_path)
    assert "has 2 classes, but the network 1,000" in message


def test_a_network_of_some_classes_does_not_get_the_numbers_of_imagenet(
    of_two, tmp_path, monkeypatch
):
    """Two synsets, two classes: the folders' own order is the network's."""
    for number, synset in enumerate([SNAKE, ALP, ALP]):
        put(tmp_path / "some" / synset / f"{number}.png", number)
    arguments = ["--weights", of_two, "--data", f"folder:{tmp_path / 'some'}"]
    run([*arguments, "--out", tmp_path / "out.json"], monkeypatch)
    assert json.loads((tmp_path / "out.json").read_text())["correct"] == 2


@pytest.fixture
def validation(tmp_path):
    """A tar of four small validation images, and the list of their synsets."""
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        for number in (2, 1, 4, 3):
            stream = io.BytesIO()
            Image.new("RGB", (4, 4), (number,) * 3).save(stream, "JPEG")
            info = tarfile.TarInfo(f"ILSVRC2012_val_{number:08}.JPEG")
            info.size = stream.tell()
            tar.addfile(info, io.BytesIO(stream.getvalue()))
    (tmp_path / "labels.txt").write_text(f"{SNAKE}\n{ALP}\n{SNAKE}\n{SNAKE}\n")
    return [f"imagenet-val:{tmp_path / 'val.tar'}", "--labels", tmp_path / "labels.txt"]


def test_a_validation_tar_is_evaluated_with_a_label_list(
    of_a_thousand, validation, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out.json"
    run(["--weights", of_a_thousand, "--data", *validation, "--out", out], monkeypatch)
    found = json.loads(out.read_text())
    assert (found["images"], found["correct"], found["top1"]) == (4, 3, 0.75)
    assert (found["data"], found["preprocess"]) == ("imagenet-val", "unit_range")
    assert str(tmp_path) not in out.read_text()
    assert "right 3\ntop-1 75.000 %" in capsys.readouterr().out


def test_a_validation_tar_is_not_for_a_network_of_other_classes(
    of_two, validation, tmp_path, monkeypatch, capsys
):
    arguments = ["--weights", of_two, "--data", *validation]
    message = stopped(arguments, monkeypatch, capsys, tmp_path)
    assert "has 1,000 classes, but the network 2" in message


@pytest.mark.parametrize("source", ["digits", "folder:x", "npz:x.npz", "tfds:cifar10"])
def test_a_label_list_of_another_source_is_refused(
    untrained, validation, tmp_path, monkeypatch, capsys, source
):
    arguments = ["--weights", untrained, "--data", source, *validation[1:]]
    message = stopped(arguments, monkeypatch, capsys, tmp_path)
    assert message == f"error: a label list goes with imagenet-val:PATH, not with {source}"


def test_the_folders_of_all_synsets_are_the_classes_of_imagenet(
    of_a_thousand, tmp_path, monkeypatch
):
    """One image of every class, and another one of class 65."""
    for synset in imagenet_classes():
        put(tmp_path / "all" / synset / "1.png", 0)
    put(tmp_path / "all" / SNAKE / "2.png", 0)
    arguments = ["--weights", of_a_thousand, "--data", f"folder:{tmp_path / 'all'}"]
    run([*arguments, "--out", tmp_path / "out.json"], monkeypatch)
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["images"], found["correct"]) == (1001, 2)


@pytest.mark.parametrize("asked", [None, "sixteenths", "lenet5"])
def test_every_result_says_its_preprocessing(of_two, tmp_path, monkeypatch, capsys, asked):
    for name in ("ant", "bee"):
        put(tmp_path / "some" / name / "1.png", 9)
    flags = [] if asked is None else ["--preprocess", asked]
    arguments = ["--weights", of_two, "--data", f"folder:{tmp_path / 'some'}", *flags]
    run([*arguments, "--out", tmp_path / "out.json"], monkeypatch)
    used = asked or "unit_range"  # the checkpoint's own
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["preprocess"], found["preprocess_recorded"]) == (used, "unit_range")
    says = f"{asked}, asked for; the checkpoint records unit_range" if asked else used
    assert f"network mlp, preprocessing {says}\n" in capsys.readouterr().out


# --- the same real images from every source ---


@pytest.fixture(scope="module")
def real_images(data_folder):
    with np.load(data_folder / "cifar10/lossless_subset.npz") as arrays:
        return arrays["test_images"], arrays["test_labels"]


def as_folder(place, images, labels):
    """PNGs; the folders' names sort as the classes, the files' names backwards."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = place / "test" / f"class {label}" / f"{9999 - number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return f"folder:{place}"


def as_prepared(place, images, labels):
    """The published archive, with these test images, prepared."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    content = np.column_stack([labels.astype("u1"), rows])
    with tarfile.open(place / "cifar.tar", "w") as tar:
        for title in [
            *(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test_batch.bin",
        ]:
            part = (content if title == "test_batch.bin" else content[:1]).tobytes()
            info = tarfile.TarInfo(title)
            info.size = len(part)
            tar.addfile(info, io.BytesIO(part))
    prepare_cifar10(place / "cifar.tar", place)
    return "tfds:cifar10"


@pytest.mark.data
@pytest.mark.parametrize("store", [as_folder, as_prepared], ids=["folder", "tfds"])
@pytest.mark.parametrize(
    "file",
    ["lenet5_cifar10/cifar_net.pth", pytest.param(next(iter(REAL)), marks=pytest.mark.slow)],
    ids=["lenet5", "resnet20"],
)
def test_a_real_network_gets_as_many_images_right_from_every_source(
    data_folder, real_images, tmp_path, monkeypatch, store, file
):
    """As many as from the arrays themselves."""
    name, correct = REAL[file]
    port([name, "--file", str(data_folder / file), "--out", str(tmp_path / "net")])
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    source = store(tmp_path, *real_images)
    main(Config(tmp_path / "net", source, split="test", out=tmp_path / "out.json"))
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["images"], found["correct"]) == (932, correct)
    assert found["data"] == source.removesuffix(f":{tmp_path}")


# --- plans ------------------------------------------------------------------------------


def test_a_plan_evaluates_a_few_images_and_writes_nothing(
    untrained, tmp_path, capsys, monkeypatch
):
    seen, evaluate = [], command.evaluate

    def counting(model, images, **settings):
        seen.append(len(images))
        return evaluate(model, images, **settings)

    monkeypatch.setattr(command, "evaluate", counting)
    main(Config(untrained, "digits", plan=True, out=tmp_path / "out.json"))
    assert seen == [64, 64]
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out.splitlines()[1].startswith("evaluating ")
