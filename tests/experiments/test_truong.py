"""`python -m experiments.truong`: recomputed from the networks, and from files as they come."""

import csv
import dataclasses
import json
import sys
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.io
import scipy.stats
from PIL import Image

from experiments import cli
from experiments.truong import analysis, human, initialisations, objects, rehearsal
from experiments.truong.claims import TENTHS, of_networks, of_spaces
from experiments.truong.pruned import Pruned, pruned
from experiments.truong.settings import PRESETS, Categories, preset_in
from experiments.verdicts import CANNOT, DOES_NOT, HOLDS
from jaxsel import checkpoint, data, forward, models
from jaxsel.data import Dataset
from jaxsel.similarity import PruningCurve, rsm, upper_triangle
from ports.__main__ import main as port


def files(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def columns(folder):
    table = pq.read_table(folder / "curves.parquet")
    assert all(field.metadata[b"meaning"] for field in table.schema)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def responses_of(model, images, site) -> Any:
    return np.float64(forward(model, jnp.asarray(images), sites=(site,))[1][site])


def tiny(out, **changed):
    """Three dense networks on the digits."""
    wanted = {
        "network": "mlp",
        "data": "digits",
        "preprocess": "sixteenths",
        "epochs": 2,
        "drops": (),
        "seeds": (0, 1, 2),
        "rankings": 10,
        "out": out,
    }
    return dataclasses.replace(PRESETS["exp1_lenet5"], **(wanted | changed))


def small_mlp(*, n_classes=10, rngs):
    return models.MLP(n_inputs=64, widths=(40,), n_classes=n_classes, rngs=rngs)


@pytest.fixture(autouse=True, scope="module")
def small_network():
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(models.NETWORKS, "mlp", small_mlp)
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Experiment 1, finished."""
    folder = tmp_path_factory.mktemp("truong") / "run"
    analysis.run(tiny(folder))
    return folder


def by_hand(responses, labels, fewest_zeros_last):
    """Fit at every tenth, each similarity matrix computed anew by NumPy."""
    means = np.array([responses[labels == k].mean(axis=0) for k in range(10)])
    upper = np.triu_indices(10, 1)
    whole = np.corrcoef(means)[upper] ** 2
    n_units, fits = responses.shape[1], []
    for tenth in TENTHS:
        kept = fewest_zeros_last[n_units - n_units * tenth // 10 :]
        fits.append(np.corrcoef(np.corrcoef(means[:, kept])[upper] ** 2, whole)[0, 1] ** 2)
    return fits


def test_the_curve_of_every_network_is_that_of_a_plain_loop(first):
    images = data.load("digits", preprocess=data.PREPROCESS["sixteenths"])
    _, test = data.stratified(images, (0.75, 0.25), 0)
    found = columns(first / "result")
    networks = sorted((first / "training" / "networks").iterdir())
    assert len(networks) == 3
    for place in networks:
        model = models.load(place)
        pixels = test.inputs(slice(None))
        responses = responses_of(model, pixels, "fc1")
        zeros = (responses == 0).mean(axis=0)
        order = sorted(range(40), key=lambda unit: (-zeros[unit], unit))
        of = found["network"] == place.name.removeprefix("seed").partition("_")[0]
        assert of.sum() == 10
        # Float64 sums of float32 responses against float64 passes rounded to float32.
        np.testing.assert_allclose(
            found["fit"][of], by_hand(responses, test.labels, order), atol=1e-5
        )
        kept = [zeros[order[40 - n :]].max() for n in found["kept"][of]]
        # Percentages are float32.
        np.testing.assert_allclose(found["largest_zeros"][of], 100 * np.array(kept), rtol=1e-6)


def test_the_numbers_of_the_figure_are_means_and_deviations_of_the_table(first):
    summary = json.loads((first / "result" / "summary.json").read_text())
    found = columns(first / "result")
    for tenth, share in zip(TENTHS, found["kept"][:10] / 40, strict=True):
        values = found["fit"][found["share"] == share]
        of = {
            name: summary[f"figure_1.fit.{tenth}0.{name}"]["value"] for name in ("mean", "sd")
        }
        assert of["mean"] == pytest.approx(values.mean(), abs=1e-12)
        assert of["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)


def test_a_finished_run_trains_nothing_again_and_writes_the_same(first, monkeypatch):
    before = files(first / "result")
    monkeypatch.setattr("experiments.training.group.finish", None)
    analysis.run(tiny(first))
    assert files(first / "result") == before


def test_given_networks_are_those_trained(first, tmp_path):
    places = tuple(sorted((first / "training" / "networks").iterdir()))
    analysis.run(tiny(tmp_path / "run", weights=places))
    again, before = columns(tmp_path / "run" / "result"), columns(first / "result")
    for name in ("fit", "fit_random", "fit_reversed", "largest_zeros"):
        np.testing.assert_array_equal(again[name], before[name])


def test_networks_made_for_other_images_are_refused(first, tmp_path):
    places = tuple((first / "training" / "networks").iterdir())
    config = tiny(tmp_path / "run", weights=places, preprocess="unit_range")
    with pytest.raises(ValueError, match="say --preprocess sixteenths, instead of unit_range"):
        analysis.run(config)


def as_table(fits, zeros):
    zeros = np.array(zeros)
    return {
        "fit": np.concatenate(fits),
        "fit_random": np.concatenate(fits),
        "largest_zeros": zeros.ravel(),
        # The next unit to go is the one that was left with most zeros.
        "fewest_zeros_removed": np.roll(zeros, 1, axis=1).ravel(),
        "share": np.tile(np.arange(1, 0, -0.1), len(fits)),
    }


AS_IN_PAPER = np.array([1, 1, 1, 0.99, 0.99, 0.98, 0.97, 0.9, 0.7, 0.4])
STRAIGHT = np.linspace(1, 0.1, 10)
ZEROS = np.array([99.0, 80, 60, 55, 50, 45, 40, 30, 20, 10])


@pytest.mark.parametrize(
    "fit, zeros, verdicts",
    [
        (AS_IN_PAPER, ZEROS, [HOLDS, HOLDS, HOLDS, HOLDS]),
        (STRAIGHT, ZEROS, [DOES_NOT, DOES_NOT, HOLDS, DOES_NOT]),
        (np.ones(10), ZEROS, [HOLDS, DOES_NOT, HOLDS, HOLDS]),  # flat: nothing is sharp
        (AS_IN_PAPER, 0.75 * ZEROS, [HOLDS, HOLDS, DOES_NOT, HOLDS]),  # 60 % is not more
        (AS_IN_PAPER, 50 + ZEROS / 2, [HOLDS, HOLDS, HOLDS, CANNOT]),  # no tenth without
        (AS_IN_PAPER, ZEROS / 2, [HOLDS, HOLDS, DOES_NOT, CANNOT]),  # no such unit
        (np.full(10, np.nan), ZEROS, [CANNOT, CANNOT, HOLDS, CANNOT]),
    ],
)
def test_claims_of_the_first_experiment_follow_the_curve(fit, zeros, verdicts):
    found = of_networks(as_table([fit] * 2, [zeros] * 2))
    assert [one.verdict for one in found] == verdicts


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network of 24 units for images of 8x8 pixels in colour."""
    path = tmp_path_factory.mktemp("weights") / "net"
    settings_of = {"n_inputs": 192, "widths": (24,), "n_classes": 10}
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(models.NETWORKS, "mlp", models.MLP)
        network = models.build("mlp", seed=3, **settings_of)
    manifest = {
        "network": "mlp",
        "settings": {**settings_of, "widths": [24]},
        "parameters": models.n_parameters(network),
        "preprocess": "unit_range",
    }
    checkpoint.write(path, models.arrays_of(network), manifest)
    return path


@pytest.fixture(autouse=True)
def whole_mlp(monkeypatch, request):
    if "weights" in request.fixturenames:
        monkeypatch.setitem(models.NETWORKS, "mlp", models.MLP)


@pytest.fixture
def images(tmp_path, rng):
    """Two categories of ten images."""
    for name in ("birds", "boats"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(256, size=(8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def judged(tmp_path, rng):
    """People's matrices of these."""
    found = {}
    for name in ("birds", "boats"):
        triangle = np.triu(rng.uniform(size=(10, 10)), 1)
        found[name] = triangle + triangle.T + np.eye(10)
    np.savez(tmp_path / "human.npz", **found)
    return found


def second(images, weights, out, **changed):
    wanted = {
        "weights": weights,
        "images": images,
        "human": images.parent / "human.npz",
        "rankings": 20,
        "folds": 2,
        "out": out,
    }
    return Categories(**(wanted | changed))


def test_every_category_has_the_curve_of_its_own_images(images, judged, weights, tmp_path):
    analysis.run(second(images, weights, tmp_path / "run"))
    found = columns(tmp_path / "run" / "result")
    model = models.load(weights)
    upper = np.triu_indices(10, 1)
    for name, matrix in judged.items():
        pixels = np.stack(
            [np.asarray(Image.open(images / name / f"{k}.png")) for k in range(10)]
        )
        responses = responses_of(model, np.float32(pixels / 255.0), "fc1")
        zeros = (responses == 0).mean(axis=0)
        order = sorted(range(24), key=lambda unit: (-zeros[unit], unit))
        of = found["space"] == name
        assert found["kept"][of].tolist() == list(range(24, 2, -1))
        for n, fit in zip(found["kept"][of], found["fit"][of], strict=True):
            with np.errstate(invalid="ignore"):
                correlations: Any = np.corrcoef(responses.take(order[24 - n :], axis=1))
            pruned = correlations[upper] ** 2
            there = np.isfinite(pruned)
            plain = np.corrcoef(pruned[there], matrix[upper][there])[0, 1] ** 2
            assert fit == pytest.approx(plain, abs=1e-5)
    summary = json.loads((tmp_path / "run" / "result" / "summary.json").read_text())
    fits = found["fit"][found["space"] == "birds"]
    assert summary["figure_3.birds.best"]["value"] == pytest.approx(np.nanmax(fits))
    told = {p.name for p in (tmp_path / "run" / "result" / "figures").iterdir()}
    assert told == {f"figure_{n}.{kind}" for n in ("2", "3", "s1") for kind in ("svg", "png")}


def test_a_rehearsal_needs_nothing_and_says_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "NETWORK", "mlp")
    monkeypatch.setattr(rehearsal, "SIDE", 6)
    monkeypatch.setattr(rehearsal, "tune", lambda model, images: None)  # it knows AlexNet, VGG
    build = lambda *, rngs: models.MLP(n_inputs=108, widths=(60,), rngs=rngs)  # noqa: E731
    monkeypatch.setitem(models.NETWORKS, "mlp", build)
    config = Categories(rehearse=12, rankings=10, folds=2, out=tmp_path / "run")
    analysis.run(config)
    page = (tmp_path / "run" / "result" / "report.html").read_text()
    assert "No number here says anything" in page
    assert set(columns(tmp_path / "run" / "result")["space"]) == {"first", "second", "third"}


def test_the_same_settings_give_the_same_bytes(images, judged, weights, tmp_path):
    for name in ("a", "b"):
        analysis.run(second(images, weights, tmp_path / name))
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_matrices_are_the_same_from_every_kind_of_file(images, judged, tmp_path):
    names, stems = list(judged), [[f"{name}/{k}.png" for k in range(10)] for name in judged]
    expected = human.matrices(tmp_path / "human.npz", names, stems)
    scipy.io.savemat(tmp_path / "human.mat", judged)
    (tmp_path / "plain").mkdir()
    (tmp_path / "named").mkdir()
    order = np.random.default_rng(0).permutation(10)
    for name, matrix in judged.items():
        with (tmp_path / "plain" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(matrix.tolist())
        with (tmp_path / "named" / f"{name}.csv").open("w", newline="") as file:
            named = [["", *(f"{k}.png" for k in order)]]  # with a suffix, and without
            rows = matrix[np.ix_(order, order)].tolist()
            named += [[str(k), *row] for k, row in zip(order, rows, strict=True)]
            csv.writer(file).writerows(named)
    for source in ("human.mat", "plain", "named"):
        found = human.matrices(tmp_path / source, names, stems)
        for name in names:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-15)


def test_several_subjects_are_averaged_and_missing_judgements_left_out(tmp_path):
    several = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)])
    several[0, 0, 1] = several[0, 1, 0] = np.nan
    several[:, 2, 3] = several[:, 3, 2] = np.nan
    np.savez(tmp_path / "h.npz", a=several)
    found = human.matrices(tmp_path / "h.npz", ["a"], [["1", "2", "3", "4"]])["a"]
    np.testing.assert_array_equal(found, [3, 2, 2, 2, 2, np.nan])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: m["birds"][:9, :9], r"birds: people's matrix has shape \(9, 9\), but there"),
        (lambda m: np.triu(m["birds"]), "birds: a similarity matrix is symmetric, this has"),
        (lambda m: np.full((10, 10), np.inf), "birds: people's matrix has infinite values"),
        (lambda m: np.full((10, 10), np.nan), "the target has 0 pairs of images"),
        (lambda m: np.ones((10, 10)), "the target is the same for all pairs"),
        (lambda m: None, "has no array 'birds' for the category: it has boats"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(
    images, judged, weights, tmp_path, change, message
):
    changed = {**judged, "birds": change(judged)}
    np.savez(tmp_path / "human.npz", **{k: v for k, v in changed.items() if v is not None})
    with pytest.raises((ValueError, KeyError), match=message):
        analysis.run(second(images, weights, tmp_path / "run"))
    assert not (tmp_path / "run" / "result").exists()


@pytest.mark.parametrize(
    "rows, message",
    [
        ([["", "a", "b"], ["b", "1", "2"], ["a", "2", "1"]], "other images in its first row"),
        (
            [["", "a", "c"], ["a", "1", "2"], ["c", "2", "1"]],
            "other images than the folder: b, c",
        ),
        ([["1", "x"], ["2", "1"]], "is no matrix of numbers"),
        ([["1"], ["2", "1"]], "is no square table"),
        ([["", "a", "b"], ["a", "1", "2"], ["b", "2"]], "is no square table"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, rows, message):
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(ValueError, match=message):
        human.matrices(tmp_path, ["x"], [["a.png", "b.png"]])


def test_an_order_that_could_be_another_is_refused(tmp_path):
    """Rows without names of images 1, 2, 10: by name, 10 comes before 2."""
    np.savez(tmp_path / "h.npz", a=np.eye(3))
    with pytest.raises(ValueError, match=r"a: is image 1 of people's matrix 10 .* or 2 "):
        human.matrices(tmp_path / "h.npz", ["a"], [["a/1.png", "a/10.png", "a/2.png"]])


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((0, 2, 2)), r"a: people's matrix has shape \(0, 2, 2\)"),
        (np.eye(2) * 1j, "a: people's matrix is of complex128"),
        (np.array([["1", "2"], ["2", "1"]]), "a: people's matrix is of <U1"),
    ],
)
def test_arrays_that_are_no_matrices_are_refused(tmp_path, array, message):
    np.savez(tmp_path / "h.npz", a=array)
    with pytest.raises(ValueError, match=message):
        human.matrices(tmp_path / "h.npz", ["a"], [["1", "2"]])


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "h.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"h\.npz cannot be read"):
        human.matrices(tmp_path / "h.npz", ["a"], [["1", "2"]])


def test_a_site_without_zeros_is_refused(rng):
    """As one before a ReLU: no unit fires more rarely than another."""
    responses, target = rng.normal(size=(8, 9)), rng.uniform(size=28)
    with pytest.raises(ValueError, match="all units respond 0 to 0 % of the images"):
        pruned("boats", responses, target, Categories(), rng, lambda text, n: lambda done: None)


def test_distances_agree_with_similarities_as_they_should(rng):
    """Images that are near each other are alike: the fit of their own space is 1, not -1."""
    responses = np.maximum(rng.normal(size=(12, 30)) + 0.3, 0)
    config = Categories(rsm="euclidean", fit="pearson", rankings=5, folds=0)
    target = -upper_triangle(rsm(responses, "euclidean"))
    found = pruned("x", responses, target, config, rng, lambda text, n: lambda done: None)
    assert found.curve.fit[0] == pytest.approx(1)


def test_a_category_of_two_images_is_refused(images, judged, weights, tmp_path):
    """One pair has no correlation with anything."""
    for number in range(2, 10):
        (images / "birds" / f"{number}.png").unlink()
    judged["birds"] = judged["birds"][:2, :2]
    np.savez(tmp_path / "human.npz", **judged)
    config = second(images, weights, tmp_path / "run")
    with pytest.raises(ValueError, match="birds: 2 images are too few for 2 folds"):
        analysis.run(config)
    with pytest.raises(ValueError, match=r"birds: .* 1 pairs of images"):
        analysis.run(dataclasses.replace(config, folds=0))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--preset", "exp3"], "possible are exp1_lenet5, exp2_vgg16, human92"),
        (["--preset", "exp2_vgg16"], "--weights DIR, a checkpoint"),
        (["--preset", "exp2_vgg16", "--weights", "x"], "needs --images, .* and --human"),
        (["--preset", "human92", "--weights", "x"], "needs --objects"),
        (["--preset", "human92", "--weights", "x", "--folds", "1"], "--folds must be 0, or"),
        (["--preset", "exp2_vgg16", "--rehearse", "9", "--human", "x"], "leave out --weights"),
        (["--alphas", "1"], "without a regulariser"),
        (["--rankings", "0"], "--rankings must be at least 1; found 0"),
        (["--distributed"], "this command is one process"),
    ],
)
def test_what_cannot_be_is_one_sentence(flags, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["truong", *flags])

    def command():
        preset = preset_in(flags)
        cli.run(analysis.run, type(preset), "", preset=lambda _: preset)

    with pytest.raises(SystemExit, match=message):
        command()
    assert list(tmp_path.iterdir()) == []


def space(fit, zeros, random=0.0, undefined=0, signed=1.0):
    """A curve beside random rankings that fit so well, give or take a hundredth."""
    spread = 0.01 * np.random.default_rng(0).uniform(size=(99, 100))
    missing = np.broadcast_to(undefined, 100)
    curve = PruningCurve(np.arange(100, 0, -1), np.array(fit), missing)
    beside = PruningCurve(curve.keep, random + spread, np.zeros((99, 100), int))
    return Pruned("x", 9, 36, np.array(zeros), curve, np.full(100, signed), beside, None)


MANY, FEW = np.full(100, 90.0), np.full(100, 80.0)
LEVELS = np.arange(100)
FLAT = np.where(LEVELS < 95, 0.3, 0.1)
FALLING = np.linspace(0.3, 0, 100)
RISING = np.where(LEVELS < 95, np.linspace(0.3, 0.5, 100), 0.1)


@pytest.mark.parametrize(
    "spaces, verdicts",
    [
        ([space(RISING, MANY)], [HOLDS, HOLDS, HOLDS]),
        ([space(RISING, FEW)], [DOES_NOT, HOLDS, HOLDS]),  # 80 % is not more
        ([space(RISING, MANY, random=0.6)], [HOLDS, HOLDS, CANNOT]),  # random ones do, too
        ([space(FLAT + 1e-4 * (LEVELS == 9), MANY)], [HOLDS, HOLDS, DOES_NOT]),
        ([space(FLAT, MANY), space(FALLING, MANY)], [HOLDS, DOES_NOT, DOES_NOT, DOES_NOT]),
        ([space(-RISING, MANY)], [HOLDS, CANNOT, CANNOT]),  # nothing to fall from
        ([space(RISING, MANY, signed=-1.0)], [HOLDS, HOLDS, DOES_NOT]),  # people's opposite
        # It never drops, or might where nothing is judged.
        ([space(np.full(100, 0.3), MANY)], [HOLDS, DOES_NOT, DOES_NOT]),
        (
            [space(np.full(100, 0.3), MANY, undefined=36 * (LEVELS > 60))],
            [HOLDS, CANNOT, DOES_NOT],
        ),
    ],
)
def test_claims_of_the_second_experiment_follow_the_curves(spaces, verdicts):
    assert [one.verdict for one in of_spaces(spaces)] == verdicts


def test_levels_at_which_too_many_pairs_have_no_similarity_are_not_judged():
    of = space(RISING, MANY)
    left_out = np.where(LEVELS >= 60, 2, 0)  # of 36 pairs: more than 5 %
    curve = dataclasses.replace(of.curve, undefined=left_out)
    found = dataclasses.replace(of, curve=curve)
    assert found.best == 59
    assert np.isnan(found.test.p[60:]).all()
    assert np.isfinite(found.test.p[:60]).all()


@pytest.fixture(scope="module")
def lenets(data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lenets")
    for name in ("cifar_net", "cifar_net_30ep"):
        file = data_folder / "lenet5_cifar10" / f"{name}.pth"
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["ports", "lenet5", "--file", str(file), "--out",
                                          str(folder / name)])  # fmt: skip
            port()
    return folder


def test_real_lenets_lose_their_space_sooner_than_the_papers(lenets, data_folder, tmp_path):
    """The direction of figure 1, on 932 real images: what was found, and a plain loop's."""
    images = f"npz:{data_folder / 'cifar10' / 'lossless_subset.npz'}"
    wanted = dataclasses.replace(
        PRESETS["exp1_lenet5"],
        data=images,
        weights=(lenets / "cifar_net", lenets / "cifar_net_30ep"),
        rankings=10,
        out=tmp_path / "run",
    )
    analysis.run(wanted)
    found = columns(tmp_path / "run" / "result")
    assert found["accuracy"].reshape(2, 10)[:, 0] * 932 == pytest.approx([534, 527])
    assert found["kept"][:10].tolist() == [84, 75, 67, 58, 50, 42, 33, 25, 16, 8]
    test = data.load(images, split="test", preprocess=data.PREPROCESS["lenet5"])
    for place, of in (
        (lenets / "cifar_net", slice(10)),
        (lenets / "cifar_net_30ep", slice(10, 20)),
    ):
        model = models.load(place)
        responses = responses_of(model, test.inputs(slice(None)), "fc2")
        zeros = (responses == 0).mean(axis=0)
        order = sorted(range(84), key=lambda unit: (-zeros[unit], unit))
        plain = by_hand(responses, test.labels, order)
        np.testing.assert_allclose(found["fit"][of], plain, atol=1e-5)
    told = json.loads((tmp_path / "run" / "result" / "claims.json").read_text())
    assert [one["verdict"] for one in told] == [DOES_NOT, DOES_NOT, HOLDS, CANNOT]


@pytest.fixture(scope="module")
def of_objects(lenets, data_folder, tmp_path_factory):
    """human92 with LeNet5 and few draws."""
    out = tmp_path_factory.mktemp("objects") / "run"
    analysis.run(dataclasses.replace(
        PRESETS["human92"],
        weights=lenets / "cifar_net",
        objects=data_folder / "human_similarity_92" / "rsa92.npz",
        rankings=5,
        resamples=20,
        folds=2,
        step=8,
        out=out,
    ))  # fmt: skip
    return out / "result"


def test_agreement_with_subjects_and_brains_is_scipys(of_objects, lenets, data_folder):
    summary = json.loads((of_objects / "summary.json").read_text())
    file = data_folder / "human_similarity_92" / "rsa92.npz"
    pixels, targets = objects.read(file)
    shown = objects.shown(pixels, "lenet5", 32).inputs(slice(None))
    responses = responses_of(models.load(lenets / "cifar_net"), shown, "fc2")
    upper = np.triu_indices(92, 1)
    space_of = np.array(np.corrcoef(responses))[upper]
    raw = np.load(file)
    recordings = np.mean([one[upper] for one in raw["brain_rdms"].astype(np.float64)], axis=0)
    expected = {
        "judgements": [one[upper] for one in raw["behav_rdms"]],
        "human_it_(fmri)": [recordings],
        "monkey_it": [raw["mIT_hIT_condensed"][0]],
    }
    assert [len(target.subjects) for target in targets] == [16, 1, 1]
    for name, subjects in expected.items():
        ranks: list[Any] = [scipy.stats.spearmanr(space_of, one) for one in subjects]
        fits = [-rank.statistic for rank in ranks]
        found = summary[f"figure_s1.{name}.fc2.fit"]["value"]
        # Ranks of similarities that differ by float32's roundings of the responses.
        assert found == pytest.approx(np.mean(fits), abs=1e-4)


def test_subjects_ceiling_lies_above_the_network(of_objects):
    summary = json.loads((of_objects / "summary.json").read_text())
    low, high = (
        summary[f"figure_s1.judgements.ceiling_{end}"]["value"] for end in ("low", "high")
    )
    assert 0 < low < high < 1
    assert summary["figure_s1.judgements.fc2.fit"]["value"] < low


def test_objects_without_an_array_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(
        KeyError, match="has no array 'behav_rdms': it needs images, behav_rdms"
    ):
        objects.read(tmp_path / "x.npz")


def test_the_level_of_a_share_is_there_or_none():
    """Of 24 units, the fewest that are kept may be more than the share."""
    curve = PruningCurve(np.array([24, 12, 6]), np.zeros(3), np.zeros(3, int))
    few = Pruned("x", 9, 36, np.zeros(24), curve, np.zeros(3), curve, None)
    assert few.at(0.5) == 1
    assert few.at(0.3) == 2
    assert few.at(0.12) is None


def test_too_few_images_for_taught_pruning_are_refused_before_anything_is_drawn(rng):
    responses, target = np.maximum(rng.normal(size=(9, 30)), 0), rng.uniform(size=36)
    with pytest.raises(ValueError, match="9 images are too few for 5 folds of 4 or more"):
        pruned("x", responses, target, Categories(), rng, None)


def test_the_first_experiment_refuses_units_that_all_fire(tmp_path, weights, monkeypatch):
    """As the second does: no unit fires more rarely than another."""
    config = PRESETS["exp1_lenet5"]
    images = Dataset(
        np.random.default_rng(0).normal(size=(20, 40)).astype(np.float32),
        np.arange(20) % 10,
        tuple("abcdefghij"),
    )
    with pytest.raises(ValueError, match="all units respond 0 to 0 % of the images"):
        initialisations.measure(config, lambda x, tap: tap("all", x), "all", images)


def test_names_may_have_dots_and_capitals_are_unclear(tmp_path):
    names = ["dog.1.jpg", "dog.2.jpg"]
    (tmp_path / "dogs.csv").write_text(",dog.2,dog.1\ndog.2,1,.5\ndog.1,.5,1\n")
    assert human.matrices(tmp_path, ["dogs"], [names])["dogs"].tolist() == [0.5]
    np.savez(tmp_path / "x.npz", x=np.eye(3))
    with pytest.raises(ValueError, match=r"Zebra \(capital letters first\) or apple"):
        human.matrices(tmp_path / "x.npz", ["x"], [["Zebra.png", "apple.png", "bear.png"]])


def test_nothing_but_a_result_of_the_same_command_is_replaced(
    images, judged, weights, tmp_path
):
    np.savez(tmp_path / "human.npz", **judged)
    (tmp_path / "run/result").mkdir(parents=True)
    (tmp_path / "run/result/thesis.txt").write_text("mine")
    config = second(images, weights, tmp_path / "run")
    with pytest.raises(FileExistsError, match="is no result of this command"):
        analysis.run(config)
    assert (tmp_path / "run/result/thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["x.npz", "x.mat"])
def test_an_empty_file_is_said_to_be_one(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{name} cannot be read"):
        human.matrices(tmp_path / name, ["x"], [["a.png"]])


def test_an_unknown_site_is_refused_before_any_training(tmp_path):
    config = dataclasses.replace(PRESETS["exp1_lenet5"], site="fc9", out=tmp_path / "run")
    with pytest.raises(KeyError, match="unknown site fc9: lenet5 has conv1"):
        analysis.run(config)
    assert not (tmp_path / "run").exists()
