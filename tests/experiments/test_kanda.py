"""The analysis of Kanda et al. as a command: presets, readings, other networks' images."""

import json
import re
import sys

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments import cli, evaluate
from experiments.kanda import analysis, rehearsal, selection, settings
from experiments.kanda.measure import measure
from experiments.kanda.reading import Reading
from experiments.kanda.settings import Config
from jaxsel import Dataset, ablate_units, checkpoint, forward, models, record

# A site of maps and one of vectors.
WEIGHTS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)


def network(images, tap):
    maps = tap("maps", images)
    return tap("in", maps.mean(axis=(1, 2)) + maps[:, 0, 0]) @ jnp.asarray(WEIGHTS)


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    images = np.maximum(rng.normal(size=(24, 3, 3, 6)), 0).astype(np.float32)
    return Dataset(images, np.arange(24) % 4, tuple("abcd"))


def measured(dataset, site="maps", **settings):
    silent = lambda text, total: lambda done: None  # noqa: E731
    return measure(network, dataset, ("maps", "in"), progress=silent, **settings)[site]


def test_the_response_of_a_map_is_what_the_reading_says(dataset):
    units = measured(dataset, reading=Reading(reduce="centre"))
    np.testing.assert_array_equal(units.responses.per_image, dataset.images[:, 1, 1])


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_mean_ablation_is_by_the_mean_of_whole_maps(dataset, reduce):
    units = measured(dataset, reading=Reading(replacement="mean", reduce=reduce))
    mean = dataset.images.mean(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(units.effects.replacement, mean, rtol=1e-6)
    plain = ablate_units(network, dataset, "maps", replacement=mean)
    np.testing.assert_allclose(units.effects.total(), plain.total(), rtol=1e-4)
    assert (
        np.abs(units.effects.total() - ablate_units(network, dataset, "maps").total()).max() > 1
    )


def test_a_category_may_be_the_class_with_the_largest_mean(dataset):
    units = measured(dataset, reading=Reading(category="class"))
    means = record(network, dataset, ("maps",))["maps"].class_means
    np.testing.assert_array_equal(units.best_class, means.argmax(axis=0))
    by_image = measured(dataset)
    images = dataset.images.mean(axis=(1, 2)).argmax(axis=0)
    np.testing.assert_array_equal(by_image.best_class, dataset.labels[images])
    assert (units.best_class != by_image.best_class).any()


@pytest.mark.parametrize("index", ["csi", "sparseness"])
@pytest.mark.parametrize("above, n", [(0.5, 3), (0.8, 1), (0.1, 5)])
def test_selective_units_are_above_the_quantile_of_their_index(dataset, index, above, n):
    units = measured(dataset, reading=Reading(index=index, above=above))
    order = np.argsort(getattr(units, index))
    assert set(np.flatnonzero(units.selective)) == set(order[-n:])


def test_some_units_of_a_site_are_those_units(dataset):
    chosen = np.array([1, 4])
    some, whole = measured(dataset, chosen={"maps": chosen}), measured(dataset)
    np.testing.assert_array_equal(some.effects.units, chosen)
    for name in ("csi", "sparseness", "first_order", "best_class", "dead"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[chosen])
    np.testing.assert_allclose(some.effects.total(), whole.effects.total()[chosen], rtol=1e-4)
    assert len(measured(dataset, "in", chosen={"maps": chosen}).csi) == 6


# --- the command -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    """A checkpoint of a small random mlp, and 40 images of ten classes."""
    from ports.__main__ import main

    folder = tmp_path_factory.mktemp("mlp")
    rng = np.random.default_rng(0)
    arrays = {}
    for depth, (n_in, n_out) in enumerate([(784, 24), (24, 16), (16, 10)]):
        weight = rng.normal(size=(n_out, n_in)) / 5
        arrays[f"linears.{depth}.weight"] = weight.astype(np.float32)
        arrays[f"linears.{depth}.bias"] = rng.normal(size=n_out).astype(np.float32) / 5
    np.savez(folder / "mlp.npz", **arrays)
    main(["mlp", "--file", str(folder / "mlp.npz"), "--out", str(folder / "weights")])
    images = rng.integers(0, 256, (40, 28, 28)).astype(np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(40) % 10)
    return {"weights": folder / "weights", "data": f"npz:{folder / 'images.npz'}"}


def call(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["kanda", *map(str, flags)])
    cli.run(analysis.run, Config, "", preset=settings.preset_in)


def test_a_preset_is_set_but_for_what_the_flags_say(monkeypatch):
    asked = []
    monkeypatch.setattr(sys, "argv", ["kanda", "--preset", "vgg19", "--n-best", "3"])
    cli.run(asked.append, Config, "", preset=settings.preset_in)
    assert asked == [Config(preset="vgg19", images="best", sites=("fc6", "fc7"), n_best=3)]
    monkeypatch.setattr(sys, "argv", ["kanda", "--images", "all", "--preset=alexnet"])
    cli.run(asked.append, Config, "", preset=settings.preset_in)
    assert (asked[1].preset, asked[1].images) == ("alexnet", "all")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--preset", "lenet5"], "lenet5 needs --weights"),
        (["--above", "1"], "above must be a share between 0 and 1; found 1.0"),
        (["--n-best", "0"], "n_best must be at least 1; found 0"),
        (["--verify", "-1"], "verify must be 0 or more; found -1"),
        (["--keep", "1"], "keep must be at least 2 units; found 1"),
        (["--fractions", "0", "1"], "with 0, 0.5 and 1 among them; found 0, 1"),
        (["--fractions", "0", "0.5", "1", "2"], "between 0 and 1, .*; found 0, 0.5, 1, 2"),
        (["--networks", "0"], "networks must be at least 1; found 0"),
        (["--networks", "2", "--weights", "x"], "name checkpoints with --replicates"),
        (["--rehearse", "5"], "--rehearse is for alexnet, alexnet_caffe, vgg19; found digits"),
        (["--preset", "alexnet", "--rehearse", "5", "--weights", "x"], "leave out --weights"),
    ],
)
def test_what_cannot_be_is_one_sentence(flags, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message) as found:
        call(monkeypatch, *flags)
    assert str(found.value).startswith("error: ")
    assert not list(tmp_path.rglob("*.json"))


def test_a_preset_of_another_network_is_refused(mlp, monkeypatch, tmp_path):
    flags = [f"--{name}={value}" for name, value in mlp.items()]
    with pytest.raises(
        SystemExit, match=r"the preset lenet5 is for that network; .* is of mlp"
    ):
        call(monkeypatch, "--preset", "lenet5", *flags, "--out", tmp_path / "run")


@pytest.fixture(scope="module")
def table(mlp, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "own.parquet"
    evaluate.main(evaluate.Config(**mlp, table=path))
    return path


def test_another_networks_table_selects_the_best_images(mlp, table, tmp_path, capsys):
    labels = np.arange(40) % 10
    loss = pq.read_table(table)["loss"].to_numpy()
    found = selection.selected_by(table, labels)
    np.testing.assert_array_equal(found.loss, loss)
    asked = {"images": "best", "n_best": 2, "trials": 1, "verify": 3, "controls": False}
    analysis.run(Config(**mlp, **asked, selected_by=table, out=tmp_path / "run"))
    told = capsys.readouterr().out
    assert "6 units again by brute force in float64: the worst error of a loss change" in told
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "another network&#39;s 2 best images of each class, 20 in all" in page
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    best = [np.sort(loss[labels == c])[:2].sum() for c in range(10)]
    assert summary["table_1.best.loss"]["value"] == pytest.approx(sum(best), rel=1e-12)


def test_tables_of_other_images_and_other_files_are_refused(table, tmp_path):
    labels, other = np.arange(40) % 10, tmp_path / "other.parquet"
    whole = pq.read_table(table)
    for changed, message in (
        (whole.slice(0, 39), "is of other images: 39 of them"),
        (whole.drop_columns(["loss"]), "is no table of images: it has no loss"),
    ):
        pq.write_table(changed, other)
        with pytest.raises(ValueError, match=message):
            selection.selected_by(other, labels)
    with pytest.raises(ValueError, match="other labels, than the 40 here"):
        selection.selected_by(table, labels[::-1])
    other.write_text("no table")
    with pytest.raises(ValueError, match="is no table of images"):
        selection.selected_by(other, labels)
    with pytest.raises(FileNotFoundError, match="there is no table"):
        selection.selected_by(tmp_path / "none.parquet", labels)


def test_networks_of_the_same_kind_are_replicates(mlp, monkeypatch, tmp_path):
    """The second is the first once more: it must say the same, and they cannot disagree."""
    flags = {**mlp, "trials": 1, "sites": ("fc2",)}
    analysis.run(Config(**flags, replicates=(mlp["weights"],), out=tmp_path / "run"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for name in ("rho", "p", "n"):
        key = "control_4.fc2.csi.{}." + name
        values = [summary[key.format(which)]["value"] for which in ("same", "network_2")]
        assert values[0] == values[1]
    told = json.loads((tmp_path / "run" / "claims.json").read_text())
    (agree,) = (
        one for one in told if one["claim"].startswith("networks agree: selective units (CSI)")
    )
    assert "over 2 networks" in agree["why"]


def other_checkpoint(mlp, folder):
    """The same network, for images that went through something else."""
    manifest, arrays = checkpoint.read(mlp["weights"])
    checkpoint.write(folder, arrays, manifest | {"preprocess": "lenet5"})
    return folder


def test_a_replicate_of_another_kind_is_refused(mlp, tmp_path):
    for path, message in (
        (tmp_path / "nowhere", "nowhere is no checkpoint"),
        (other_checkpoint(mlp, tmp_path / "other"), "other has the preprocess lenet5: no repl"),
    ):
        config = Config(**mlp, trials=1, replicates=(path,), out=tmp_path / "run")
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            analysis.run(config)
        assert not (tmp_path / "run").exists()


def test_no_more_units_are_kept_than_there_are_of_either_kind(mlp, tmp_path):
    config = Config(**mlp, trials=1, keep=9, controls=False, out=tmp_path / "run")
    analysis.run(config)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "fc1: 9 of 24 units kept" in page
    kept = re.findall(r"fc2(?:, [^:<]*)?: (\d+) of 16 units kept", page)
    # Figure 6, sparseness above the median, CSI above either quartile; silent units in no pool.
    assert len(kept) == 4
    assert all(int(n) <= at for n, at in zip(kept, (8, 8, 4, 4), strict=True))


# --- rehearsals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, side, shape",
    [
        ("alexnet", 63, {"widths": (4,) * 5, "dense_widths": (8, 8)}),
        pytest.param(
            *("vgg19", 32, {"widths": (4,) * 5, "dense_widths": (8, 8)}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_rehearsals_responses_are_above_0_as_often_as_said(name, side, shape):
    model = models.build(name, **shape, n_classes=20)
    images = jnp.asarray(rehearsal.made_up(16, side, 0).inputs(slice(None)))
    rehearsal.tune(model, images)
    _, activations = forward(model, images)
    for site, activation in activations.items():
        active = np.mean(np.asarray(activation) > 0)
        assert abs(active - rehearsal.ACTIVE) < 0.06, site
        # A unit that hardly ever leaves its largest number stays silent.
        assert 0.7 < np.mean(np.square(activation)) < 1.001, site


@pytest.mark.slow
def test_a_rehearsal_goes_through_every_line_of_the_real_run(tmp_path):
    """AlexNet's shape, two of each convolution's channels."""
    analysis.run(
        Config(
            preset="alexnet",
            images="best",
            sites=("fc6", "fc7"),
            rehearse=40,
            n_best=1,
            channels_per_site=2,
            trials=1,
            out=tmp_path / "run",
        )
    )
    table = pq.read_table(tmp_path / "run" / "units.parquet").to_pydict()
    counts = {site: table["site"].count(site) for site in dict.fromkeys(table["site"])}
    convolutions = {f"conv{i}": 2 for i in range(1, 6)}
    assert counts == convolutions | {"fc6": 4096, "fc7": 4096}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["table_1.best.images"]["value"] == 20
