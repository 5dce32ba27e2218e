"""`python -m experiments.leavitt`: tables, statistics, distances, resumption, refusals."""

import dataclasses
import importlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats

from experiments import cli
from experiments.leavitt import analysis, settings
from experiments.leavitt.rotated import apart
from experiments.leavitt.settings import PRESETS, Config
from experiments.leavitt.tables import rows
from jaxsel import data, forward, models
from tests.similarity.test_cca import by_definition

ROOT = Path(__file__).parents[2]
FIGURES = [*"12345", *(f"a{n}" for n in range(1, 13))]


def resnet(*, n_classes=10, slope=0.0, rngs):
    """Three sites of four units."""
    return models.ResNetCifar(
        blocks_per_stage=1,
        widths=(4,),
        image=(8, 8, 1),
        n_classes=n_classes,
        slope=slope,
        rngs=rngs,
    )


def dense(*, n_classes=10, rngs):
    """One site of six units."""
    return models.MLP(n_inputs=64, widths=(6,), n_classes=n_classes, rngs=rngs)


@pytest.fixture(autouse=True, scope="module")
def small_networks():
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(models.NETWORKS, "tiny_resnet", resnet)
        patched.setitem(models.NETWORKS, "tiny_dense", dense)
        yield


def tiny(out, **changed):
    """Digits, two epochs, two or three replicas of each alpha."""
    wanted = {
        "network": "tiny_resnet",
        "epochs": 2,
        "batch_size": 128,
        "drops": (),
        "seeds": (0, 1, 2),
        "alphas": (-2.0, -1.0, 0.0, 1.0, 2.0),
        "slopes": (0.5,),
        "leaky_alphas": (0.0, 1.0),
        "leaky_seeds": (0, 1),
        "second": "tiny_dense",
        "second_alphas": (-1.0, 0.0, 1.0),
        "second_seeds": (0, 1),
        "cca_images": 60,
        "causal_seeds": (0, 1),
        "causal_images": 40,
        "out": out,
    }
    return dataclasses.replace(PRESETS["digits"], **(wanted | changed))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("leavitt") / "run"
    analysis.run(tiny(folder))
    return folder


@pytest.fixture(scope="module")
def result(done):
    return done / "result"


@pytest.fixture(scope="module")
def tables(result):
    names = ("units", "sites", "replicas", "distances")
    read = {name: pq.read_table(result / f"{name}.parquet") for name in names}
    return {
        name: {column: table[column].to_numpy() for column in table.column_names}
        for name, table in read.items()
    }


@pytest.fixture(scope="module")
def numbers(result):
    known = json.loads((result / "summary.json").read_text())
    return {key: number["value"] for key, number in known.items()}


@pytest.fixture(scope="module")
def held_out(done):
    images = data.load("digits", preprocess=data.PREPROCESS["sixteenths"])
    return data.stratified(images, (0.75, 0.25), 0)[1]


def test_every_figure_of_the_paper_is_drawn_and_says_what_there_is_less_of(result):
    drawn = {path.stem for path in (result / "figures").glob("*.svg")}
    assert drawn == {f"figure_{name}" for name in (*FIGURES, "causal")}
    page = (result / "report.html").read_text()
    assert "3 seeds (paper 20), 2 epochs (200), 1,078 training images (45,000)" in page
    assert page.count("<h2>Figure ") == 17
    schema = pq.read_schema(result / "units.parquet")
    assert all(field.metadata[b"meaning"] for field in schema)


def test_a_network_read_back_has_the_index_and_dead_units_of_the_table(done, tables, held_out):
    """Class means in float64 by a loop, from the activations of the stored network."""
    model: Any = models.load(done / "training" / "first" / "networks" / "seed1_alpha1")
    _, activations = forward(model, jnp.asarray(held_out.inputs(slice(0, len(held_out)))))
    of = rows(tables["units"], sweep="first", seed=1, alpha=1.0)
    assert list(dict.fromkeys(of["site"])) == list(model.sites)
    for site, maps in activations.items():
        responses = np.asarray(maps, np.float64).mean(axis=(1, 2))
        at = rows(of, site=site)
        for unit, response in enumerate(responses.T):
            means = sorted(response[held_out.labels == c].mean() for c in range(10))
            best, others = means[-1], np.mean(means[:-1])
            expected = (best - others) / (best + others) if best + others else 0.0
            # The run is float64, this forward pass float32.
            assert at["index"][unit] == pytest.approx(expected, abs=1e-5)
            assert at["dead"][unit] == (response == 0).all()


def test_the_tables_of_sites_and_networks_follow_from_that_of_units(tables):
    for i, alpha in enumerate(tables["replicas"]["alpha"]):
        key = {name: tables["replicas"][name][i] for name in ("sweep", "seed", "slope")}
        of = rows(tables["units"], alpha=alpha, **key)
        live = ~of["dead"]
        expected = {
            "units": len(live),
            "index": of["index"].mean(),
            "index_live": of["index"][live].mean() if live.any() else np.nan,
            "precision": np.nanmean(of["precision"]) if live.any() else np.nan,
            "dead": 1 - live.mean(),
        }
        for name, value in expected.items():
            found = tables["replicas"][name][i]
            assert found == pytest.approx(value, nan_ok=True), name
        for site in dict.fromkeys(of["site"]):
            at = rows(tables["sites"], alpha=alpha, site=site, **key)["index"]
            assert at == pytest.approx([of["index"][of["site"] == site].mean()])


def test_accuracies_are_those_of_training(done, tables):
    for sweep in ("first", "leaky", "second"):
        trained = pq.read_table(done / "training" / sweep / "replicas.parquet")
        of = rows(tables["replicas"], sweep=sweep)
        for name in ("seed", "alpha", "slope", "test_accuracy", "best_epoch"):
            np.testing.assert_array_equal(of[name], trained[name].to_numpy())
        # Its index is the mean over sites of means over units: one site, or sites of one size.
        np.testing.assert_allclose(of["index"], trained["index"].to_numpy(), atol=1e-5)


@pytest.mark.parametrize("figure, sweep, alphas", [
    ("figure_2", "first", [-2.0, -1.0]), ("figure_4", "first", [1.0, 2.0]),
    ("figure_a3", "second", [-1.0]), ("figure_a5", "second", [1.0]),
])  # fmt: skip
def test_t_tests_against_alpha_0_are_scipys(tables, numbers, figure, sweep, alphas):
    of = rows(tables["replicas"], sweep=sweep)
    zero = of["test_accuracy"][of["alpha"] == 0]
    for alpha in alphas:
        values = of["test_accuracy"][of["alpha"] == alpha]
        expected: Any = scipy.stats.ttest_ind(values, zero)
        assert numbers[f"{figure}.alpha{alpha:g}.t"] == pytest.approx(expected.statistic)
        assert numbers[f"{figure}.alpha{alpha:g}.p"] == pytest.approx(expected.pvalue)
        corrected = min(1, expected.pvalue * len(alphas))
        assert numbers[f"{figure}.alpha{alpha:g}.p_corrected"] == pytest.approx(corrected)
        assert numbers[f"{figure}.alpha{alpha:g}.mean"] == pytest.approx(values.mean())


def test_rank_sum_tests_of_opposites_are_scipys(tables, numbers):
    of = rows(tables["replicas"], sweep="first")
    for size in (1, 2):
        more, less = (of["test_accuracy"][of["alpha"] == sign * size] for sign in (1, -1))
        # Its exact P, which counts ties by permutations; two sizes are tested together.
        expected = scipy.stats.permutation_test(
            (more, less),
            lambda x, y: scipy.stats.rankdata(np.concatenate([x, y]))[: len(x)].sum(),
            vectorized=False,
            n_resamples=np.inf,
        ).pvalue
        assert numbers[f"figure_5.alpha{size}.p"] == pytest.approx(expected)
        corrected = numbers[f"figure_5.alpha{size}.p_corrected"]
        assert corrected == pytest.approx(min(1, 2 * expected))


def test_distances_are_those_of_the_stored_networks(done, tables, held_out):
    """Projection-weighted CCA by its definition, of positions of maps, in float64."""
    images = jnp.asarray(held_out.inputs(np.arange(60) * len(held_out) // 60))
    folder = done / "training" / "first" / "networks"
    for other, seed in ((0.0, 2), (-1.0, 1)):
        names = ("seed0_alpha-1", f"seed{seed}_alpha{other:g}")
        pair: list[Any] = [models.load(folder / name) for name in names]
        for site in pair[0].sites:
            x, y = (np.asarray(forward(m, images)[1][site]).reshape(-1, 4) for m in pair)
            correlations, weights = by_definition(x, y)
            at = rows(
                tables["distances"],
                alpha=-1.0,
                seed=0,
                other_alpha=other,
                other_seed=seed,
                site=site,
            )
            assert at["samples"].tolist() == [60 * 64]
            # Products in float32, where that is enough, move it by no more than `error`.
            assert at["distance"] == pytest.approx([1 - correlations @ weights], abs=1e-4)
            assert at["mean_distance"] == pytest.approx([1 - correlations.mean()], abs=1e-4)


def test_the_paired_test_of_distances_is_scipys(tables, numbers):
    of = rows(tables["distances"], alpha=-1.0)
    kinds = []
    for other, n in ((0.0, 9), (-1.0, 3)):
        at = rows(of, other_alpha=other)
        sites = dict.fromkeys(at["site"])
        assert len(at["distance"]) == n * len(sites)
        kinds.append([rows(at, site=site)["distance"].mean() for site in sites])
    expected = scipy.stats.ttest_rel(*kinds)
    assert numbers["figure_3.alpha-1.t"] == pytest.approx(expected.statistic)
    assert numbers["figure_3.alpha-1.p"] == pytest.approx(expected.pvalue)
    assert numbers["figure_3.alpha-1.n_across"] == 9
    assert numbers["figure_3.alpha-1.n_within"] == 3
    ratio = np.mean(np.divide(*kinds))
    assert numbers["figure_3.alpha-1.mean"] == pytest.approx(ratio)
    assert numbers["figure_3.other_seeds.alpha-1.n_across"] == 6


def test_twenty_seeds_make_190_and_400_pairs():
    made = [(a, s, o, t) for a, o in ((1.0, 1.0), (1.0, 0.0)) for s in range(20)
            for t in range(20) if o == 0 or s < t]  # fmt: skip
    columns = dict(
        zip(("alpha", "seed", "other_alpha", "other_seed"), np.array(made).T, strict=True)
    )
    columns |= {"site": np.full(len(made), "a"), "distance": np.linspace(0.1, 0.2, len(made))}
    found = apart(columns, 1.0, ["a"])
    assert (found.n_within, found.n_across) == (190, 400)
    assert apart(columns, 1.0, ["a"], same_seed=False).n_across == 380


def test_the_causal_check_is_the_ablation_of_the_stored_networks(done, tables, held_out):
    """Brute force: every unit of one site set to 0, two losses subtracted in float64."""
    some = held_out.take(np.arange(40) * len(held_out) // 40)
    at = rows(tables["units"], sweep="first", seed=0, alpha=0.0, site="block1_conv1")
    model: Any = models.load(done / "training" / "first" / "networks" / "seed0_alpha0")

    def loss(unit):
        def tap(site, x):
            return x.at[..., unit].set(0) if site == "block1_conv1" and unit is not None else x

        logits = np.asarray(model(jnp.asarray(some.inputs(slice(0, 40))), tap), np.float64)
        return -jax.nn.log_softmax(logits)[np.arange(40), some.labels].sum()

    intact = loss(None)
    expected = np.array([loss(unit) - intact for unit in range(4)])
    # Two float32 losses of about 1 each, summed over 40 images.
    np.testing.assert_allclose(at["loss_change"], expected, atol=1e-3)
    np.testing.assert_allclose(at["loss_ratio"], 100 * expected / intact, atol=1e-3)
    assert np.isnan(rows(tables["units"], sweep="first", seed=2)["loss_change"]).all()


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("stage, calls", [
    pytest.param("experiments.training.group.finish", 2, marks=pytest.mark.slow),
    pytest.param("experiments.leavitt.analysis.measured", 5, marks=pytest.mark.slow),
    pytest.param("experiments.leavitt.distances.of_alpha", 2, marks=pytest.mark.slow),
    pytest.param("experiments.leavitt.analysis.write_result", 1, marks=pytest.mark.slow),
])  # fmt: skip
def test_killed_at_any_stage_it_goes_on_to_the_same_result(
    stage, calls, result, tmp_path, monkeypatch
):
    module, _, name = stage.rpartition(".")
    whole, count = getattr(importlib.import_module(module), name), []

    def killed(*arguments, **named):
        count.append(1)
        if len(count) == calls:
            raise Killed
        return whole(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(stage, killed)
        with pytest.raises(Killed):
            analysis.run(tiny(tmp_path / "run"))
    assert not (tmp_path / "run" / "result").exists()
    analysis.run(tiny(tmp_path / "run"))
    for path in sorted(result.rglob("*.*")):
        if path.suffix in (".json", ".svg", ".parquet"):
            again = tmp_path / "run" / "result" / path.relative_to(result)
            assert again.read_bytes() == path.read_bytes(), path.name


FLAGS = (
    *("--epochs", "2", "--seeds", "0", "1", "--alphas", "-1", "0", "1", "--second", "none"),
    *("--leaky-alphas", "0", "5", "--leaky-seeds", "0", "--causal-images", "50"),
)


def started(out, *flags):
    command = [sys.executable, "-m", "experiments.leavitt", "--out", str(out), *flags]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=subprocess.PIPE, text=True)


def finished(process):
    _, said = process.communicate()
    assert process.returncode == 0, said


@pytest.mark.slow
def test_killed_in_training_and_in_measuring_the_command_ends_with_the_same_numbers(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finished(started(whole, *FLAGS))
    for sign in ("training/first/groups/000/curves.jsonl", "units/first/seed1*", "cca/*"):
        process = started(killed, *FLAGS)
        while not any(path.stat().st_size for path in killed.glob(sign)):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        process.kill()
        process.communicate()
        assert not (killed / "result").exists()
    finished(started(killed, *FLAGS))
    names = sorted(path.relative_to(whole) for path in (whole / "result").rglob("*.*"))
    assert len(names) > 30
    for name in names:
        if name.suffix != ".html":
            assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_the_digits_preset_shows_what_a_knob_of_selectivity_does(tmp_path):
    """The whole command as a user runs it; what must come out was seen in earlier runs."""
    finished(started(tmp_path / "run", "--preset", "digits"))
    result = tmp_path / "run" / "result"
    assert len(list((result / "figures").glob("*.svg"))) == 18
    read = pq.read_table(result / "replicas.parquet")
    first = rows({name: read[name].to_numpy() for name in read.column_names}, sweep="first")
    index, accuracy = (
        {alpha: first[name][first["alpha"] == alpha].mean() for alpha in (-30, -1, 0, 1)}
        for name in ("index", "test_accuracy")
    )
    assert accuracy[0] > 0.95
    assert index[-30] < index[-1] < index[0] < index[1]
    told = json.loads((result / "claims.json").read_text())
    assert told[0]["claim"] == "regularising against selectivity lowers it"
    assert told[0]["verdict"] == "holds"


def test_a_finished_run_writes_its_result_again_without_training(done, result, monkeypatch):
    """Half put in its place, too, as a kill leaves it between two renames."""
    before = (result / "summary.json").read_bytes()
    shutil.copytree(result, done / ".result.new")
    result.rename(done / ".result.old")
    for name in ("experiments.training.group.finish", "experiments.leavitt.measure.units_of"):
        monkeypatch.setattr(name, None)
    analysis.run(tiny(done))
    assert (result / "summary.json").read_bytes() == before
    assert not [*done.glob(".result*")]


def test_another_training_in_the_folder_is_refused(done):
    with pytest.raises(ValueError, match="begun with epochs = 2, this run has 3"):
        analysis.run(tiny(done, epochs=3))


@pytest.mark.slow
def test_another_analysis_of_the_same_networks_trains_nothing_and_uses_nothing_stale(
    done, tables, tmp_path, monkeypatch
):
    folder = tmp_path / "copy"
    shutil.copytree(done, folder)
    monkeypatch.setattr("experiments.training.group.finish", None)
    analysis.run(tiny(folder, causal_images=50, cca_reduce="mean"))
    table = pq.read_table(folder / "result" / "distances.parquet")
    assert set(table["samples"].to_pylist()) == {60}
    changed = pq.read_table(folder / "result" / "units.parquet")["loss_change"].to_numpy()
    before = tables["units"]["loss_change"]
    np.testing.assert_array_equal(np.isnan(changed), np.isnan(before))
    live = np.isfinite(before) & (before != 0)
    assert (changed[live] != before[live]).all()


@pytest.mark.parametrize("flags, message", [
    (["--preset", "cifar10"], "unknown preset 'cifar10': possible are digits, cifar10_small"),
    (["--alphas", "1", "2"], "the first sweep needs alpha 0, .*; found 1, 2"),
    (["--leaky-alphas", "1"], "the leaky sweep needs alpha 0"),
    (["--causal-seeds", "7"], "--causal-seeds 7 is not among --seeds 0 1 2"),
    (["--slopes", "0", "0.5"], "0 is trained anyway"),
    (["--negative", "clip"], "class selectivity index as it is"),
    (["--second", "resnet8_digits"], "does not go with --network resnet8_digits"),
    (["--preset", "cifar10_vgg16", "--second", "resnet20"], "stands in VGG16's place"),
    (["--distributed"], "this command is one process"),
    (["--cca-images", "0"], "--cca-images must be at least 1; found 0"),
    (["--second", "resnet9"], "unknown network 'resnet9'"),
    (["--network", "mlp"], "the network does not take the settings {'slope': 0.1}"),
])  # fmt: skip
def test_what_cannot_be_is_one_sentence_before_any_training(
    flags, message, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.training.group.finish", None)
    monkeypatch.setattr(sys, "argv", ["leavitt", *flags])
    with pytest.raises(SystemExit, match=message) as found:
        cli.run(analysis.run, Config, "", preset=settings.preset_in)
    assert str(found.value).startswith("error: ")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_networks_that_there_are(name):
    config = settings.preset_in(["--preset", name])
    config.check()
    for sweep in config.sweeps().values():
        assert sweep.network in models.NETWORKS
        assert sweep.replicas
    assert config.folder.name.startswith(name)


def test_the_papers_preset_is_the_papers_protocol():
    first = PRESETS["cifar10_resnet20"].sweeps()["first"]
    assert (first.epochs, first.batch_size, first.learning_rate) == (200, 256, 0.1)
    assert (first.drops, first.weight_decay, first.momentum) == ((100, 150), 1e-4, 0.9)
    assert len(first.seeds) == 20
    named = {-0.1, -1, -2, -10, -30, 0.1, 0.2, 0.3, 2, 5, 0}
    assert named <= set(first.alphas)
    assert {-alpha for alpha in first.alphas} == set(first.alphas)
    assert PRESETS["cifar10_vgg16"].sweeps()["first"].learning_rate == 0.01
