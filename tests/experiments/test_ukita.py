"""`python -m experiments.ukita`: tuning, halves, shifts, claims, refusals, and whole runs."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
from flax import nnx

from experiments import cli
from experiments.asked import asked
from experiments.ukita import analysis, claims, figures_of_units, followed
from experiments.ukita.followed import Compared, Condition, Followed
from experiments.ukita.halves import Lost, after_batch_norm, all_sites, halves_of, lost
from experiments.ukita.invariance import Invariance, invariance
from experiments.ukita.settings import PRESETS, Given, Trained, preset_in
from experiments.ukita.tuning import lower_and_higher, mean_of, stimuli, tuning
from experiments.verdicts import CANNOT, DOES_NOT, HOLDS
from jaxsel import ablated, checkpoint, data, evaluate, models, record
from jaxsel.data import PREPROCESS, sixteenths
from jaxsel.metrics import TuningFit


def quiet(text, total):
    """Progress that nobody sees."""
    return lambda done: None


class Tiny(nnx.Module):
    """Three sites on 8x8 grey images: two convolutions, BatchNorm after each, a dense layer."""

    sites = ("conv1", "conv2", "fc3")
    extra_sites = ("conv1_bn", "conv2_bn")

    def __init__(self, *, n_classes=10, rngs):
        self.conv1 = nnx.Conv(1, 6, (3, 3), rngs=rngs)
        self.bn1 = models.BatchNorm(6, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.conv2 = nnx.Conv(6, 8, (3, 3), rngs=rngs)
        self.bn2 = models.BatchNorm(8, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.fc3 = nnx.Linear(8, 12, rngs=rngs)
        self.fc4 = nnx.Linear(12, n_classes, rngs=rngs)

    def __call__(self, images, tap=lambda site, x: x):
        """Logits."""
        x = tap("conv1_bn", self.bn1(tap("conv1", nnx.relu(self.conv1(images)))))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = tap("conv2_bn", self.bn2(tap("conv2", nnx.relu(self.conv2(x)))))
        x = tap("fc3", nnx.relu(self.fc3(x.mean(axis=(1, 2)))))
        return self.fc4(x)


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(models.NETWORKS, "tiny", Tiny)


@pytest.fixture(scope="module")
def model():
    network = nnx.jit(lambda: Tiny(rngs=nnx.Rngs(0)))()
    network.eval()
    return network


@pytest.fixture(scope="module")
def images():
    whole = data.digits()
    return whole.take(np.arange(60))


CONFIG = Given(
    orientations=8, frequencies=3, phases=4, random_halves=3, shift_halves=2, shifts=(1,)
)


@pytest.fixture(scope="module")
def tuned(model):
    shown, control = (
        stimuli(CONFIG, (8, 8, 1), sixteenths, 16, shuffle=shuffle) for shuffle in (False, True)
    )
    return tuning(CONFIG, model, Tiny.sites, shown, control, quiet)


def test_gratings_are_those_of_the_authors_code():
    """9 for CIFAR, to pi (s + 1) / (32 / 2 + 4) per pixel; 57 for ImageNet; 12 and 4."""
    for side, n in ((32, 9), (224, 57)):
        shown = stimuli(Given(), (side, side, 3), None, 255)
        angular = np.pi / (side / 2 + 4) * np.arange(1, n + 1)  # radians per pixel
        np.testing.assert_allclose(
            shown.images.frequencies, angular * side / (2 * np.pi), rtol=1e-12
        )
        assert shown.images.shape == (12, n, 4)
    assert shown.images.orientations.tolist() == [15.0 * k for k in range(12)]
    assert shown.images.phases.tolist() == [0, 90, 180, 270]


def test_tuning_is_measured_on_what_the_network_responds(model, tuned):
    """By hand: the network called with each grating, its maps averaged."""
    shown = stimuli(CONFIG, (8, 8, 1), sixteenths, 16)
    pixels = jnp.asarray(shown.inputs(slice(None)))
    maps = nnx.relu(model.conv1(pixels)).mean(axis=(1, 2)).reshape(8, 3, 4, 6)
    best = np.asarray(maps.max(axis=2))
    angles = np.deg2rad(np.arange(8) * 22.5)
    for unit in range(6):
        curve = best[:, best[..., unit].max(axis=0).argmax(), unit]
        np.testing.assert_allclose(tuned["conv1"].curves[:, unit], curve, rtol=1e-4, atol=1e-6)
        expected = abs((curve * np.exp(2j * angles)).sum()) / curve.sum()
        assert tuned["conv1"].gosi[unit] == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_silent_units_are_left_out_or_zero(model, monkeypatch):
    """A unit with a bias far below all it sees responds to nothing."""
    silenced = nnx.clone(model)
    silenced.conv1.bias[...] = silenced.conv1.bias[...].at[2].set(-100.0)
    shown = stimuli(CONFIG, (8, 8, 1), sixteenths, 16)
    for silent, expected in (("left_out", np.nan), ("zero", 0.0)):
        config = dataclasses.replace(CONFIG, silent=silent)
        found = tuning(config, silenced, ("conv1",), shown, shown, quiet)["conv1"]
        assert found.silent.tolist() == [k == 2 for k in range(6)]
        np.testing.assert_equal(found.gosi[2], expected)
        np.testing.assert_equal(found.osi[2], expected)
        others = np.delete(found.gosi, 2)
        mean = mean_of({"conv1": found.gosi}, ["conv1"])
        total = others.sum() / (5 if silent == "left_out" else 6)
        assert mean == pytest.approx(total)


def test_lower_and_higher_are_thirds():
    assert lower_and_higher("abcdefg") == (tuple("abc"), tuple("efg"))
    assert lower_and_higher("ab") == (("a",), ("b",))


def test_halves_are_by_rank_and_leave_units_without_an_index_alone(rng):
    gosi = np.array([0.3, np.nan, 0.9, 0.1, 0.5, 0.2])
    keep = halves_of(gosi, 50, rng)
    assert np.flatnonzero(~keep[0]).tolist() == [2, 4]
    assert np.flatnonzero(~keep[1]).tolist() == [3, 5]
    random = ~keep[2:]
    assert (random.sum(axis=1) == 2).all()
    assert not random[:, 1].any()
    assert (random.sum(axis=0)[[0, 2, 3, 4, 5]] > 8).all()  # 20 of 50 each, on average


def test_changes_are_those_of_the_ablated_networks(model, images, tuned):
    """Each half by the network itself, one image after the other; zeros at both places."""
    found = lost(CONFIG, model, images, tuned, quiet)
    assert [(one.site, one.at) for one in found] == [
        ("conv1", "conv1"), ("conv1", "conv1_bn"), ("conv2", "conv2"), ("conv2", "conv2_bn"),
        ("fc3", "fc3"),
    ]  # fmt: skip
    intact = evaluate(model, images).loss
    masks, rng = {}, np.random.default_rng([0, 2, 1])
    for one in found:
        if one.site not in masks:  # zeros after BatchNorm are of the same halves
            masks[one.site] = halves_of(tuned[one.site].gosi, 3, rng)
        keep = masks[one.site]
        for row in range(5):
            without = evaluate(ablated(model, {one.at: keep[row]}), images)
            change = without.loss - intact
            np.testing.assert_allclose(one.changes[row], change, rtol=0, atol=1e-5)
            assert one.mean[row] == pytest.approx(change.mean(), abs=1e-5)
            assert one.error[row] == pytest.approx(scipy.stats.sem(change), rel=1e-3, abs=1e-6)
            assert one.accuracy[row] == pytest.approx(without.accuracy())
        assert one.n_ablated == (~keep[0]).sum()


def test_zeros_after_batch_norm_are_put_where_the_network_has_one():
    def orders(name, side):
        seen = data.Dataset(np.zeros((1, side, side, 3), np.float32), np.zeros(1, int), ("a",))
        return all_sites(models.outline(name, {}), seen)

    assert after_batch_norm(orders("cnn7", 32), "fc7") == "fc7_bn"
    resnet = orders("resnet20", 32)
    assert resnet[:4] == ["conv1_bn", "conv1", "block1_conv1_bn", "block1_conv1"]
    # Before a ReLU: what the site has, too.
    assert after_batch_norm(resnet, "block3_conv1") is None
    assert after_batch_norm(resnet, "block3_conv2") == "block3_pre_add"
    assert after_batch_norm(orders("vgg16_cifar", 32), "conv1_1") is None


def test_shift_invariance_is_of_shifted_images(model, images, tuned):
    found = invariance(CONFIG, model, images, tuned, (("conv1",), ("fc3",)), quiet)
    assert found.without.shape == (1, 4, 1, 12)
    keep = halves_of(tuned["conv1"].gosi, 0, np.random.default_rng(0))[0]
    pixels = images.inputs(slice(None))
    ways = [np.roll(pixels, 1, axis=2), np.roll(pixels, 1, axis=1)]
    ways[0][:, :, 0], ways[1][:, 0] = pixels[:, :, 0], pixels[:, 0]
    for network, values in (
        (model, found.intact),
        (ablated(model, {"conv1": keep}), found.without[0, 0]),
    ):
        still, *moved = (
            record(network, dataclasses.replace(images, images=x, preprocess=None), ["fc3"],
                   keep_responses=True)["fc3"].per_image
            for x in (pixels, *ways)
        )  # fmt: skip
        live = np.flatnonzero(np.ptp(still, axis=0))
        assert len(live) > 4
        for unit in live:
            expected = np.mean([np.corrcoef(still[:, unit], x[:, unit])[0, 1] for x in moved])
            assert values[0, unit] == pytest.approx(expected, abs=1e-4, nan_ok=True)


def invariant(intact, selective, other, random):
    """So invariant with all units, and without each of the halves, give or take little.

    Of 30 units at two lower sites, for shifts by 1, 2 and 3 pixels.
    """
    without = np.array([selective, other, *random])
    spread = 0.01 * np.random.default_rng(0).normal(size=(2, 1, 3, 30))
    halves = without[:, None, None] + spread * np.arange(1, 1 + len(without))[:, None, None]
    return Invariance((1, 2, 3), ("c",), ("a", "b"), intact + np.zeros((3, 30)), halves)


def loop(found, half):
    """How much less, unit by unit."""
    falls = []
    for unit in range(found.intact.shape[1]):
        of_sites = []
        for site in range(len(found.lower)):
            values = found.without[site, :, :, unit]
            if np.isfinite(values).all() and np.isfinite(found.intact[:, unit]).all():
                of_sites.append(np.mean(found.intact[:, unit] - values[half]))
        if of_sites:
            falls.append(np.mean(of_sites))
    return falls


def test_units_are_compared_where_no_half_silences_them(rng):
    intact, without = rng.uniform(size=(3, 7)), rng.uniform(size=(2, 4, 3, 7))
    intact[1, 0] = np.nan  # silent in the whole network
    without[0, 0, 2, 1] = np.nan  # without the selective half of one site
    without[:, 3, :, 2] = np.nan  # without a random half of either
    found = Invariance((1, 2, 3), ("c",), ("a", "b"), intact, without)
    for half in range(4):
        np.testing.assert_allclose(found.drop()[half], loop(found, half), rtol=1e-12)
    assert found.drop().shape == (4, 5)
    assert found.compared.sum(axis=1).tolist() == [4, 5]
    np.testing.assert_allclose(found.silenced, [1 / 12, 0, 0, 2 / 12])
    pairs = [(0, u) for u in (3, 4, 5, 6)] + [(1, u) for u in (1, 3, 4, 5, 6)]
    whole, halves = found.means
    np.testing.assert_allclose(whole, np.mean([intact[:, u] for _, u in pairs], axis=0))
    expected = np.mean([without[s, :, :, u] for s, u in pairs], axis=0)
    np.testing.assert_allclose(halves, expected)


@pytest.mark.parametrize(
    "selective, other, random, verdict",
    [
        (0.6, 0.8, np.linspace(0.7, 0.75, 20), HOLDS),
        (0.8, 0.6, np.linspace(0.7, 0.75, 20), DOES_NOT),
        (0.7, 0.8, np.linspace(0.6, 0.75, 20), CANNOT),  # a random half does as much
        (0.92, 0.95, np.linspace(0.95, 0.97, 20), DOES_NOT),  # nothing falls
        (0.8, 0.8, np.linspace(0.85, 0.9, 20), CANNOT),
        (0.6, 0.8, np.linspace(0.7, 0.75, 19), CANNOT),  # of so few halves one is the largest
    ],
)
def test_shift_invariance_is_disrupted_if_it_falls_more_than_without_others(
    selective, other, random, verdict
):
    assert claims.disrupted(invariant(0.9, selective, other, random)).verdict == verdict


def test_nothing_is_said_of_shift_invariance_if_many_units_are_silenced():
    """Those that are may be those that were disrupted most."""
    found = invariant(0.9, 0.6, 0.8, np.linspace(0.7, 0.75, 20))
    found.without[:, 0, :, :10] = np.nan
    claim = claims.disrupted(found)
    assert claim.verdict == CANNOT
    assert "33 % and 0 % of the units do not respond any more" in claim.why


@pytest.mark.parametrize(
    "selective, other, random, verdict",
    [
        (0.5, 0.1, np.linspace(0.1, 0.4, 20), HOLDS),
        (0.1, 0.5, np.linspace(0.2, 0.4, 20), DOES_NOT),
        (0.5, 0.1, np.linspace(0.1, 0.6, 20), CANNOT),
        (0.3, 0.3, np.linspace(0.1, 0.2, 20), CANNOT),
        (0.5, 0.1, np.linspace(0.1, 0.4, 19), CANNOT),  # of so few halves one is the largest
        (-0.1, -0.5, np.linspace(-0.4, -0.2, 20), DOES_NOT),  # nothing is lost
    ],
)
def test_units_are_needed_if_less_is_lost_without_others(selective, other, random, verdict):
    noise = np.random.default_rng(0).normal(size=(2 + len(random), 200))
    noise -= noise.mean(axis=1, keepdims=True)
    changes = np.array([selective, other, *random])[:, None] + 0.3 * noise
    found = [
        Lost("a", "a", 5, changes, np.array([1.0] + [0.5] * (1 + len(random)))),
        Lost("a", "a_bn", 5, -changes, np.ones(len(changes))),
    ]
    claim = claims.needed(found, ["a"])
    assert claim.verdict == verdict
    assert "100 %, 50 % and 50 % are still right" in claim.why
    assert f"with zeros after BatchNorm {-selective:+.3g} and {-other:+.3g}" in claim.why
    assert ("none is rare enough" in claim.why) == (len(random) < 20)


def course(seed, lower, accuracy):
    accuracy = np.array([np.nan, *accuracy])
    lower = np.array([0.1, *lower])
    return Followed(seed, np.arange(len(lower)), accuracy, lower[:, None], lower)


def test_selectivity_grows_with_generalisation_if_it_does_in_most_networks():
    rises, falls = np.linspace(0.2, 0.5, 9), np.linspace(0.5, 0.2, 9)
    accuracy = np.linspace(0.3, 0.9, 9)
    wobbly = np.array([0.2, 0.3, 0.25, 0.35, 0.3, 0.4, 0.45, 0.42, 0.5])
    up = [
        course(0, rises, accuracy),
        course(1, wobbly, accuracy),
        course(2, rises, accuracy[::-1] * -1),
    ]
    assert claims.during(up).verdict == HOLDS
    down = [
        course(0, falls, accuracy),
        course(1, wobbly[::-1], accuracy),
        course(2, falls, accuracy),
    ]
    assert claims.during(down).verdict == DOES_NOT
    assert claims.during([up[0], down[0]]).verdict == CANNOT
    assert claims.during(up[:1]).verdict == CANNOT
    alike = [course(seed, rises, accuracy) for seed in range(3)]
    assert claims.during(alike).verdict == HOLDS  # and no t-test divides by a spread of 0
    short = claims.during([course(seed, rises[:2], accuracy[:2]) for seed in range(3)])
    assert short.verdict == CANNOT
    assert "two networks or more are needed: of 3," in short.why
    assert claims.during([course(0, np.full(9, np.nan), accuracy)]).verdict == CANNOT


def test_kinds_of_networks_are_compared_by_rank():
    def networks(means):
        """Three seeds of each kind, whose gOSI differ."""
        return [
            Compared(Condition(f"noise{kind}", label_noise=0.1 * kind), seed, a, 1.0, g + s)
            for kind, (g, a) in enumerate(means)
            for seed, s in enumerate((-0.3, 0.1, 0.2))
        ]

    rising = [(0.1 * k, 0.5 + 0.05 * k) for k in range(5)]
    assert claims.across(networks(rising)).verdict == HOLDS
    assert "P = 0.017" in claims.across(networks(rising)).why  # 2 of 120 orders
    assert claims.across(networks([(-g, a) for g, a in rising])).verdict == DOES_NOT
    few = claims.across(networks(rising[:4]))  # twelve networks of four kinds
    assert few.verdict == CANNOT
    assert "of fewer than 5 kinds no order is rare enough" in few.why
    many = [(0.1 * k, 0.5 + 0.05 * k) for k in range(9)]
    assert claims.across(networks(many)).verdict == HOLDS
    assert claims.across([]).verdict == CANNOT


def with_indices(gosi, control):
    empty = np.full(len(gosi), np.nan)
    fit = TuningFit(*[empty] * 5)
    return analysis.Tuning(
        np.arange(2.0), np.zeros((2, len(gosi))), empty, np.array(gosi), empty, empty,
        np.linspace(0, 1, len(gosi)),
        fit, np.array(control), np.isnan(gosi),
    )  # fmt: skip


@pytest.mark.parametrize(
    "lower, higher, verdict",
    [
        (np.linspace(0.1, 0.8, 30), np.linspace(0.2, 0.9, 30), HOLDS),
        (np.linspace(0.1, 0.8, 30), np.full(30, 0.04), DOES_NOT),  # less than its control
        (np.linspace(0.1, 0.3, 30), np.linspace(0.2, 0.9, 30), DOES_NOT),  # none above .33
        (np.linspace(0.1, 0.8, 30), np.full(30, np.nan), CANNOT),
        # A fifth is selective, and the others are less so than for shuffled pixels.
        (np.array([0.6] * 6 + [0.04] * 24), np.linspace(0.2, 0.9, 30), HOLDS),
        # Nearly all are more so than for shuffled pixels, but one alone is selective.
        (np.array([0.6] + [0.1] * 29), np.linspace(0.2, 0.9, 30), CANNOT),
    ],
)
def test_units_exist_if_more_are_selective_than_for_shuffled_pixels(lower, higher, verdict):
    control = np.linspace(0.05, 0.06, 30)
    found = {"a": with_indices(lower, control), "b": with_indices(higher, control)}
    claim = claims.exist(found, ["a"], ["b"])
    assert claim.verdict == verdict
    selective = lower > 0.33
    if selective.any():
        median = np.median(np.linspace(0, 1, 30)[selective])
        said = claim.why.partition("higher:")[0]
        assert f"the median reliability of the former is {median:.2f}" in said


@pytest.fixture
def weights(model, tmp_path):
    manifest = {
        "network": "tiny",
        "settings": {},
        "parameters": models.n_parameters(model),
        "preprocess": "sixteenths",
        "source": "made up",
    }
    checkpoint.write(tmp_path / "weights", models.arrays_of(model), manifest)
    return tmp_path / "weights"


def test_a_given_network_has_its_page(weights, tmp_path):
    config = dataclasses.replace(
        CONFIG, weights=weights, data="digits", out=tmp_path / "run", images=50, shift_images=20
    )
    analysis.run(config)
    result = tmp_path / "run/result"
    page = (result / "report.html").read_text()
    assert "jaxsel&#39;s definition" in page
    assert "jaxsel&#39;s own" in page
    units = pq.read_table(result / "units.parquet").to_pydict()
    assert len(units["unit"]) == 6 + 8 + 12
    halves = pq.read_table(result / "halves.parquet").to_pydict()
    assert halves["half"][:5] == ["selective", "unselective", "random0", "random1", "random2"]
    summary = json.loads((result / "summary.json").read_text())
    assert summary["figure_1.conv1.units"]["value"] == 6
    assert len(json.loads((result / "claims.json").read_text())) == 3
    assert not (result / "epochs.parquet").exists()
    with pytest.raises(ValueError, match="has a result with images = 50, this run has 40"):
        analysis.run(dataclasses.replace(config, images=40))
    before = {path.name: path.read_bytes() for path in result.rglob("*") if path.is_file()}
    analysis.run(config)
    after = {path.name: path.read_bytes() for path in result.rglob("*") if path.is_file()}
    assert before == after


def test_a_page_names_no_folder_of_the_machine_and_tells_checkpoints_apart(weights, tmp_path):
    digest = (weights / "manifest.sha256").read_text()[:8]
    for data_source, said in (
        (f"npz:{tmp_path}/pixels.npz", "npz:pixels.npz"),
        ("tfds:imagenette/160px", "tfds:imagenette/160px"),
        ("digits", "digits"),
    ):
        settings = asked(Given(weights=weights, data=data_source))
        assert settings["data"] == said
        assert settings["weights"] == f"weights ({digest})"
    assert asked(Given())["data"] is None


@pytest.fixture
def small(tmp_path):
    return dataclasses.replace(
        PRESETS["digits"],
        network="tiny",
        epochs=2,
        drops=(1,),
        seeds=(0, 1),
        label_noises=(0.5,),
        shares=(0.3,),
        orientations=8,
        frequencies=3,
        random_halves=2,
        images=50,
        shift_images=20,
        shift_halves=2,
        shifts=(1,),
        out=tmp_path / "run",
    )


def test_trained_networks_are_followed_and_compared(small, tmp_path):
    analysis.run(small)
    result = tmp_path / "run/result"
    epochs = pq.read_table(result / "epochs.parquet").to_pydict()
    assert len(epochs["epoch"]) == 2 * 3 * 3  # seeds, epochs with that before the first, sites
    assert sorted(set(epochs["epoch"])) == [0, 1, 2]
    accuracy = np.array(epochs["validation_accuracy"], float)
    assert (np.isnan(accuracy) == (np.array(epochs["epoch"]) == 0)).all()
    networks = pq.read_table(result / "networks.parquet").to_pydict()
    columns = (networks[name] for name in ("label_noise", "share", "seed"))
    assert list(zip(*columns, strict=True)) == [
        (0, 1, 0), (0, 1, 1), (0.5, 1, 0), (0.5, 1, 1), (0, 0.3, 0), (0, 0.3, 1),
    ]  # fmt: skip
    assert len(json.loads((result / "claims.json").read_text())) == 5
    # The network that is ablated is the first seed's best.
    place = tmp_path / "run/training/all/networks/seed0_alpha0"
    shown = stimuli(small, (8, 8, 1), PREPROCESS["sixteenths"], 16)
    values = followed._selectivity(small, place, shown)
    units = pq.read_table(result / "units.parquet").to_pydict()
    np.testing.assert_array_equal(np.concatenate(list(values.values())), units["gosi"])
    assert figures_of_units.first_kernel(models.load(place), 6).shape == (3, 3, 1, 6)


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"orientations": 7}, "--orientations must be an even number; found 7"),
        ({"orientations": 4}, "--orientations: a tuning curve is fitted to 6 or more; found 4"),
        ({"frequencies": 9}, "8x8 pixels show 4 cycles, 9 go up to 4.5: 8 are possible"),
        ({"shifts": (1, 8)}, "by 8 pixels, nothing is left of images of 8x8"),
        ({"draws": -1}, "--draws is a seed, 0 or more; found -1"),
        ({"phases": 3}, "--phases must be an even number"),
        ({"frequencies": 0}, "--frequencies must be at least 1"),
        ({"images": 1}, "--images: a standard error is of 2 images or more; found 1"),
        ({"shift_images": 2}, "--shift-images: a correlation is of 3 images or more"),
        ({"shifts": (0,)}, "--shifts are pixels, 1 or more"),
        ({"random_halves": 0}, "--random-halves must be at least 1"),
        ({"alphas": (1.0,)}, "leave out --alphas"),
        ({"label_noise": 0.2}, "name --label-noises"),
        ({"label_noises": (1.2,)}, "--label-noises are shares"),
        ({"shares": (1.0,)}, "--shares are between 0 and 1"),
        ({"keep_every": 0}, "--keep-every is a number of epochs, 1 to 20; found 0"),
        ({"keep_every": 50}, "--keep-every is a number of epochs, 1 to 20; found 50"),
        ({"seeds": ()}, "name --seeds"),
        ({"distributed": True}, "one process"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(changed, told, tmp_path):
    config = dataclasses.replace(PRESETS["digits"], out=tmp_path / "run", **changed)
    with pytest.raises(ValueError, match=told):
        analysis.run(config)
    assert not (tmp_path / "run").exists()


def test_a_given_network_needs_weights_and_images(tmp_path):
    for preset in ("resnet20", "vgg16"):
        with pytest.raises(ValueError, match=f"{preset} is of a network that is given"):
            analysis.run(preset_in(["--preset", preset]))


def test_a_network_given_to_a_preset_that_trains_its_own_is_refused():
    with pytest.raises(SystemExit, match="one are resnet20, vgg16"):
        preset_in(["--weights=somewhere"])
    assert preset_in(["--preset", "vgg16", "--weights", "somewhere"]).preset == "vgg16"


def test_a_file_in_the_place_of_the_results_is_refused_before_training(small):
    small.out.write_text("mine")
    with pytest.raises(FileExistsError, match="run is a file: name a folder by --out"):
        analysis.run(small)
    assert small.out.read_text() == "mine"


def test_presets_are_those_of_the_command_line(monkeypatch, capsys):
    assert isinstance(preset_in(["--preset", "cifar10_cnn7"]), Trained)
    assert preset_in(["--preset", "cifar10_cnn7"]).epochs == 200
    monkeypatch.setattr("sys.argv", ["ukita", "--preset", "resnet20"])
    preset = preset_in(["--preset", "resnet20"])
    with pytest.raises(SystemExit, match="error: the preset resnet20 is of a network"):
        cli.run(analysis.run, type(preset), "", preset=lambda _: preset)


@pytest.mark.data
def test_the_real_resnet20_is_tuned_at_every_site(data_folder, tmp_path):
    """More than for shuffled pixels: here at three of its sites, the first among them."""
    from ports.__main__ import main as port  # reads weights without PyTorch

    file = data_folder / "resnet20_cifar10/resnet20-12fca82f.th"
    port(["resnet20", "--file", str(file), "--out", str(tmp_path / "resnet20")])
    model = models.load(tmp_path / "resnet20")
    preprocess = PREPROCESS["cifar10_resnet"]
    config = Given(frequencies=5)
    shown, control = (
        stimuli(config, (32, 32, 3), preprocess, 255, shuffle=shuffle)
        for shuffle in (False, True)
    )
    found = tuning(config, model, model.sites[:7:3], shown, control, quiet)
    for site, of in found.items():
        known = np.isfinite(of.gosi)
        assert of.gosi[known].mean() > 2 * np.nanmean(of.control), site


def test_images_of_any_kind_are_shifted_as_the_network_sees_them(model, tuned):
    """Those whose preprocessing would not take its own output again."""
    images = data.digits().take(np.arange(12))
    seen = dataclasses.replace(images, images=images.inputs(slice(None)), preprocess=None)
    moved, expected = (
        invariance(CONFIG, model, x, tuned, (("conv1",), ("fc3",)), quiet)
        for x in (images, seen)
    )
    assert moved.alive.sum() > 4
    np.testing.assert_array_equal(moved.intact, expected.intact)
    np.testing.assert_array_equal(moved.without, expected.without)


def test_images_are_taken_from_all_classes_where_these_come_in_order():
    images = data.digits()
    images = images.take(np.argsort(images.labels, kind="stable"))
    assert sorted(set(analysis.spread(images, 20).labels.tolist())) == list(range(10))
    assert analysis.spread(images, 10_000).labels.tolist() == images.labels.tolist()
