"""`python -m experiments.train`: replicas in groups, tables, networks, refusals."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from experiments import train
from experiments.training.images import divided
from experiments.training.settings import PRESETS, Config, preset_in
from jaxsel import checkpoint, data, models
from jaxsel.evaluation import evaluate

ROOT = Path(__file__).parents[2]


def tiny(out, **settings):
    """Four replicas of a small network on a part of the digits, two epochs."""
    wanted = {
        "network": "mlp_tiny",
        "epochs": 2,
        "drops": (1,),
        "seeds": (0, 1),
        "alphas": (-1.0, 0.5),
        "out": out,
    }
    return dataclasses.replace(PRESETS["digits"], **(wanted | settings))


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    def network(*, n_classes=10, rngs):
        return models.MLP(n_inputs=64, widths=(12,), n_classes=n_classes, rngs=rngs)

    monkeypatch.setitem(models.NETWORKS, "mlp_tiny", network)


@pytest.fixture
def run(tmp_path, capsys):
    def go(name, **settings):
        train.main(tiny(tmp_path / name, **settings))
        return tmp_path / name, capsys.readouterr().out

    return go


def test_a_run_leaves_networks_a_table_curves_and_settings(run):
    folder, said = run("run")
    table = pq.read_table(folder / "replicas.parquet").to_pydict()
    assert table["seed"] == [0, 1, 0, 1]
    assert table["alpha"] == [-1.0, -1.0, 0.5, 0.5]
    lines = (folder / "curves.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1] * 4 + [2] * 4
    about = json.loads((folder / "config.json").read_text())
    assert about["layout"] == "replicas one after another on one device"
    assert about["settings"]["epochs"] == 2
    assert "alpha  slope  replicas" in said
    assert str(folder) in said
    schema = pq.read_schema(folder / "replicas.parquet")
    assert all(field.metadata[b"meaning"] for field in schema)


def test_the_table_says_what_the_written_networks_do(run):
    """Each network is read back and evaluated on the test images by other code."""
    folder, _ = run("run")
    config = tiny(folder)
    images = data.load("digits", preprocess=data.PREPROCESS["sixteenths"])
    _, test = data.stratified(images, (0.75, 0.25), config.division)
    for row in pq.read_table(folder / "replicas.parquet").to_pylist():
        place = folder / "networks" / f"seed{row['seed']}_alpha{row['alpha']:g}"
        found = evaluate(models.load(place), test)
        assert found.accuracy() == row["test_accuracy"]
        assert found.loss.mean() == pytest.approx(row["test_loss"], rel=1e-5)


def test_networks_of_epochs_are_kept_if_asked_for(run):
    """That of the best epoch is the best network; before the first they are as built."""
    folder, _ = run("run", epochs=3, keep_every=1, seeds=(0,), alphas=(0.0,))
    kept = sorted(path.name for path in (folder / "epochs" / "seed0_alpha0").iterdir())
    assert kept == ["00000", "00001", "00002", "00003"]
    (row,) = pq.read_table(folder / "replicas.parquet").to_pylist()
    best = checkpoint.read(folder / "networks" / "seed0_alpha0")[1]
    at_best = checkpoint.read(folder / "epochs" / "seed0_alpha0" / f"{row['best_epoch']:05d}")[
        1
    ]
    assert same_arrays(best, at_best)
    untrained = models.arrays_of(models.build("mlp_tiny", seed=0, n_classes=10))
    start = models.arrays_of(models.load(folder / "epochs" / "seed0_alpha0" / "00000"))
    assert same_arrays(untrained, start)
    every, _ = run("every", epochs=3, keep_every=2, seeds=(0,), alphas=(0.0,))
    kept = sorted(path.name for path in (every / "epochs" / "seed0_alpha0").iterdir())
    assert kept == ["00000", "00002"]


def same_arrays(first, second):
    first, second = (jax.tree.leaves(tree) for tree in (first, second))
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_some_labels_are_drawn_anew_and_only_of_what_is_learnt_from(tmp_path):
    clean = divided(tiny(tmp_path))
    noisy = divided(tiny(tmp_path, label_noise=0.5))
    for part in (1, 2):
        np.testing.assert_array_equal(clean[part].labels, noisy[part].labels)
    changed = np.mean(clean[0].labels != noisy[0].labels)
    # Half of 1,078 labels, of which a tenth is drawn as it was: 0.45, give or take 0.013.
    assert abs(changed - 0.45) < 0.04
    np.testing.assert_array_equal(clean[0].inputs(slice(9)), noisy[0].inputs(slice(9)))
    again = divided(tiny(tmp_path, label_noise=0.5))[0]
    np.testing.assert_array_equal(again.labels, noisy[0].labels)


def test_a_share_of_every_class_is_learnt_from(tmp_path):
    clean = divided(tiny(tmp_path))
    few = divided(tiny(tmp_path, share=0.25))
    assert len(few[0]) == round(len(clean[0]) / 4)
    counts = [np.bincount(part.labels, minlength=10) for part in (clean[0], few[0])]
    assert np.abs(counts[0] / 4 - counts[1]).max() <= 1
    assert [len(part) for part in few[1:]] == [len(part) for part in clean[1:]]


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"share": 0.0}, "--share is of the training images"),
        ({"share": 1.5}, "--share is of the training images"),
        ({"label_noise": -0.1}, "--label-noise is a share"),
    ],
)
def test_shares_that_are_none_are_refused(tmp_path, wrong, told):
    with pytest.raises(ValueError, match=told):
        divided(tiny(tmp_path, **wrong))


def test_the_table_does_not_depend_on_how_it_was_cut(run):
    whole, _ = run("whole")
    cut, _ = run("cut", group=3)
    assert len(list((cut / "groups").iterdir())) == 2
    for name in ("replicas.parquet", "curves.jsonl"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()


def test_a_finished_run_is_read_not_trained_again(run, monkeypatch):
    folder, said = run("run")
    before = (folder / "replicas.parquet").read_bytes()
    monkeypatch.setattr("experiments.training.group.finish", None)
    assert run("run") == (folder, said)
    assert (folder / "replicas.parquet").read_bytes() == before


@pytest.mark.parametrize("changed, told", [
    ({"epochs": 3}, "was begun with epochs = 2, this run has 3"),
    ({"alphas": (7.0,)}, "is of other replicas"),
])  # fmt: skip
def test_another_run_in_the_folder_is_refused(run, changed, told):
    run("run")
    with pytest.raises(ValueError, match=told):
        run("run", **changed)


@pytest.mark.parametrize("changed, told", [
    ({"network": "resnet21"}, "unknown network 'resnet21'"),
    ({"preprocess": "none"}, "unknown preprocessing 'none'"),
    ({"validation": 1.5}, "between 0 and 1; found 1.5"),
    ({"data": "npz:nowhere.npz"}, "nowhere.npz"),
    ({"sites": ("fc9",)}, "unknown site fc9"),
    ({"slopes": (0.1,)}, "MLP has no slope"),
    ({"sites": ()}, "at least one site"),
    ({"launcher": "slurm", "group": 1, "slurm": ("gpus",)}, "NAME=VALUE"),
    ({"launcher": "slurm"}, "needs --group"),
    ({"launcher": "slurm", "distributed": True}, "leave out --distributed"),
    ({"process": 1, "processes": 2}, "go with --coordinator"),
])  # fmt: skip
def test_bad_input_is_said_before_anything_is_trained(run, tmp_path, changed, told):
    with pytest.raises((ValueError, KeyError, FileNotFoundError), match=told):
        run("run", **changed)
    assert not list(tmp_path.rglob("epoch*"))


QUEUE = """
import sys
from pathlib import Path
from experiments import train
from tests.experiments.test_train import tiny

config = tiny(Path(sys.argv[1]), network="alexnet_digits", seeds=(0,), epochs=1, group=1)
groups = train.cut(config, config.folder)
places = [config.folder / "groups" / f"{i:03d}" for i in range(len(groups))]
train.gathered(config, train.submitted(config, groups, places, "local"), places)
"""


def test_a_diverging_run_leaves_json_and_a_table_with_nan(run):
    with pytest.warns(UserWarning, match="became NaN or infinite"):
        folder, said = run("run", learning_rate=1e7, seeds=(0,), alphas=(0.0,))
    for text in (folder / "curves.jsonl").read_text().splitlines():
        json.loads(text, parse_constant=pytest.fail)
    (row,) = pq.read_table(folder / "replicas.parquet").to_pylist()
    assert not row["finite"]
    assert "in 1 of 1 replicas the training loss was NaN or infinite" in said
    assert run("run", learning_rate=1e7, seeds=(0,), alphas=(0.0,))[1] == said


def test_networks_that_were_removed_are_written_again(run):
    folder, _ = run("run")
    network = folder / "networks/seed1_alpha0.5"
    before = checkpoint.read_manifest(network)["arrays"]
    shutil.rmtree(network)
    run("run")
    assert checkpoint.read_manifest(network)["arrays"] == before


def test_classes_that_are_not_the_same_in_training_and_test_are_refused(run, tmp_path):
    rng = np.random.default_rng(0)
    for place in ("train/a", "train/b", "train/c", "test/a", "test/c"):
        (tmp_path / "data" / place).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / place / f"{i}.png")
    with pytest.raises(ValueError, match=r"other classes in train \(3\) than in test \(2\)"):
        run("run", data=f"folder:{tmp_path / 'data'}", preprocess="unit_range")


def test_other_images_under_the_same_name_are_noticed(run, tmp_path, monkeypatch):
    """A run that was stopped does not go on with them."""
    rng = np.random.default_rng(0)

    def write(seed):
        images = rng.integers(0, 17, (60, 8, 8, 1), dtype=np.uint8)
        labels = np.random.default_rng(seed).integers(0, 3, 60)
        parts = {f"{split}_images": images for split in ("train", "test")}
        parts |= {f"{split}_labels": labels for split in ("train", "test")}
        np.savez(tmp_path / "images.npz", **parts, class_names=np.array(list("abc")))

    settings = {"data": f"npz:{tmp_path / 'images.npz'}", "batch_size": 16}
    write(0)
    folder, _ = run("run", **settings)
    (folder / "groups/000/result.json").unlink()
    write(1)
    with pytest.raises(ValueError, match="was written with"):
        run("run", **settings)


def test_groups_go_through_a_queue(run, tmp_path):
    """Submitit's executor for this machine stands in for the cluster's: jobs are pickled, run
    in processes of their own, and waited for. Importing it closes all handlers of logging,
    pytest's among them: so this has a process of its own, too."""
    here, _ = run("here", network="alexnet_digits", seeds=(0,), epochs=1)
    command = [sys.executable, "-c", QUEUE, str(tmp_path / "queue")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert len(list((tmp_path / "queue/groups").iterdir())) == 2
    expected = pq.read_table(here / "replicas.parquet")
    assert pq.read_table(tmp_path / "queue/replicas.parquet").equals(expected)


def test_two_processes_train_as_one_with_two_devices(tmp_path):
    """The images of every batch are spread over both; to the last bits of sums over devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = ["--epochs", "1", "--alphas", "-1", "--over", "batch", "--batch-size", "100"]

    def start(out, n_devices, *more):
        command = [sys.executable, "-m", "experiments.train", *flags, "--out", str(out), *more]
        count = f"--xla_force_host_platform_device_count={n_devices}"
        env = os.environ | {"XLA_FLAGS": count}
        return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)

    shared = ["--coordinator", f"localhost:{port}", "--processes", "2"]
    runs = [start(tmp_path / "two", 1, *shared, "--process", str(i)) for i in range(2)]
    runs.append(start(tmp_path / "one", 2))
    told = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], told
    found, expected = (
        checkpoint.named(checkpoint.read(tmp_path / name / "networks/seed0_alpha-1")[1])
        for name in ("two", "one")
    )
    for name, array in expected.items():
        # Eleven steps; sums of two numbers do not depend on their order.
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6 * np.abs(array).max())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_recipe_for_a_network_that_there_is(name):
    config = preset_in(["--preset", name])
    assert isinstance(config, Config)
    assert config.preset == name
    network = models.outline(config.network, {"n_classes": 10})
    assert models.n_parameters(network) > 0
    assert config.preprocess in data.PREPROCESS
