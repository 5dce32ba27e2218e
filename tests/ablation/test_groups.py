"""Groups of units by masks: against float64 loops, and trained networks against a record."""

import csv

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import (
    Dataset,
    ablate_groups,
    ablate_in_order,
    ablate_units,
    ablated,
    evaluate,
    models,
    record,
)
from tests.references import mlp, mnist, parameters

SITES = ("fc1", "fc2")
WIDTHS = (12, 9)


@pytest.fixture(scope="module")
def network():
    """40 inputs, 12 and 9 units, 7 classes."""
    model = models.build("mlp", n_inputs=40, widths=WIDTHS, n_classes=7, seed=2)
    return parameters.with_random_biases(model)


@pytest.fixture(scope="module")
def dataset():
    """37 images; class g is empty."""
    rng = np.random.default_rng(5)
    images = 2 * rng.normal(size=(37, 40)).astype(np.float32)
    return Dataset(images, rng.integers(0, 6, 37), tuple("abcdefg"))


def loop(layers, dataset, keep):
    """Loss, top-1 and top-5 per group and class, one group after the other, in float64."""
    n_groups = len(next(iter(keep.values())))
    found = np.zeros((3, n_groups, 7))
    for group in range(n_groups):
        x = np.float64(dataset.images)
        for site, (weight, bias) in zip(SITES, layers[:-1], strict=True):
            x = np.maximum(x @ np.float64(weight) + bias, 0)
            x[:, ~keep[site][group]] = 0
        logits = x @ np.float64(layers[-1][0]) + layers[-1][1]
        loss, rank = mlp.losses(logits, dataset.labels), mlp.ranks(logits, dataset.labels)
        for kind, values in enumerate((loss, rank < 1, rank < 5)):
            np.add.at(found[kind, group], dataset.labels, values)
    return found


def draw(n_groups, *, whole=()):
    """Random masks; the sites in `whole` keep all units."""
    rng = np.random.default_rng(n_groups)
    return {
        site: np.ones((n_groups, n), bool) if site in whole else rng.random((n_groups, n)) < 0.6
        for site, n in zip(SITES, WIDTHS, strict=True)
    }


@pytest.mark.parametrize("whole", [(), ("fc1",), ("fc2",)], ids=["both sites", "fc2", "fc1"])
@pytest.mark.parametrize("batch_size, chunk", [(256, 16), (10, 3), (1, 1)])
def test_masks_equal_a_loop(network, dataset, whole, batch_size, chunk):
    keep = draw(5, whole=whole)
    named = {site: mask for site, mask in keep.items() if site not in whole}
    effects = ablate_groups(network, dataset, named, batch_size=batch_size, chunk=chunk)
    loss, top1, top5 = loop(parameters.dense_layers(network), dataset, keep)
    # Float32 losses near 2, each off by some roundings of logits near 3; up to 37 of them.
    np.testing.assert_allclose(effects.loss, loss, rtol=2e-6, atol=1e-5)
    np.testing.assert_array_equal(effects.top1, top1)
    np.testing.assert_array_equal(effects.top5, top5)
    np.testing.assert_array_equal(effects.accuracy(), top1.sum(1) / 37)
    np.testing.assert_array_equal(effects.accuracy(5), top5.sum(1) / 37)


@pytest.mark.parametrize("engine", ["masks", "gathered"])
@pytest.mark.parametrize("batch_size, chunk", [(256, 16), (10, 3)])
def test_the_loss_of_every_image_is_kept_if_asked_for(
    network, dataset, engine, batch_size, chunk
):
    keep = draw(5, whole=("fc1",))
    asked = {"batch_size": batch_size, "chunk": chunk, "engine": engine}
    effects = ablate_groups(network, dataset, {"fc2": keep["fc2"]}, keep_losses=True, **asked)
    layers = parameters.dense_layers(network)
    for image, found in enumerate(effects.losses.T):
        one = Dataset(dataset.images[[image]], dataset.labels[[image]], tuple("abcdefg"))
        expected = loop(layers, one, keep)[0].sum(axis=1)
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    plain = ablate_groups(network, dataset, {"fc2": keep["fc2"]}, **asked)
    assert plain.losses is None
    np.testing.assert_array_equal(plain.loss, effects.loss)


def test_kept_losses_survive_an_interrupt(network, dataset, tmp_path):
    keep = {"fc2": draw(5)["fc2"]}
    asked = {"keep_losses": True, "batch_size": 10, "engine": "masks"}

    def stop(done):
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate_groups(network, dataset, keep, resume=tmp_path, progress=stop, **asked)
    seen = []
    found = ablate_groups(
        network, dataset, keep, resume=tmp_path, progress=seen.append, **asked
    )
    assert min(seen) > 50  # it went on
    whole = ablate_groups(network, dataset, keep, **asked)
    np.testing.assert_array_equal(found.losses, whole.losses)


def test_all_units_kept_is_the_intact_network(network, dataset):
    keep = {site: np.ones((2, n), bool) for site, n in zip(SITES, WIDTHS, strict=True)}
    effects = ablate_groups(network, dataset, keep)
    (loss, _), (top1, _), (top5, _) = loop(parameters.dense_layers(network), dataset, keep)
    np.testing.assert_allclose(effects.baseline.loss, loss, rtol=1e-12)  # float64 itself
    np.testing.assert_array_equal(effects.baseline.top1, top1)
    np.testing.assert_array_equal(effects.baseline.top5, top5)
    np.testing.assert_array_equal(
        effects.baseline.images, np.bincount(dataset.labels, minlength=7)
    )
    np.testing.assert_allclose(effects.loss, [loss, loss], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(effects.top1, [top1, top1])
    np.testing.assert_allclose(effects.loss_ratio(), [0, 0], atol=1e-4)  # percent


def test_a_group_of_one_ablated_unit_is_that_unit(network, dataset):
    groups = ablate_groups(network, dataset, {"fc1": ~np.eye(12, dtype=bool)})
    units = ablate_units(network, dataset, "fc1")
    # The groups' losses near 70 nats in float32, subtracted: percent of 1e-6 of them.
    np.testing.assert_allclose(groups.loss_ratio(), units.loss_ratio(), rtol=0, atol=2e-4)
    np.testing.assert_array_equal(groups.top1 - groups.baseline.top1, units.top1_change)


def test_no_unit_kept_leaves_the_biases(network, dataset):
    effects = ablate_groups(network, dataset, {"fc2": np.zeros((1, 9), bool)})
    bias = np.tile(parameters.dense_layers(network)[-1][1].astype(np.float64), (37, 1))
    np.testing.assert_allclose(
        effects.loss.sum(), mlp.losses(bias, dataset.labels).sum(), rtol=1e-6
    )


def test_an_ablated_network_is_a_network(network, dataset):
    """Recorded, evaluated, ablated further: with the numbers of the group that it is."""
    keep = draw(2)
    groups = ablate_groups(network, dataset, keep, keep_losses=True)
    for group in range(2):
        model = ablated(network, {site: mask[group] for site, mask in keep.items()})
        loss = evaluate(model, dataset).loss
        np.testing.assert_allclose(groups.losses[group], loss, rtol=2e-6, atol=1e-6)
        recorded = record(model, dataset, keep_responses=True)
        assert list(recorded) == list(SITES)
        for site, mask in keep.items():
            assert not recorded[site].per_image[:, ~mask[group]].any()
        assert recorded["fc1"].per_image[:, keep["fc1"][group]].any()
        further = ablate_units(model, dataset, "fc1", units=np.flatnonzero(~keep["fc1"][group]))
        assert not further.loss_change.any()


def test_a_model_without_named_sites_is_ablated_and_other_sites_are_refused():
    def model(images, tap):
        return tap("double", 2 * images)

    dataset = Dataset(np.ones((2, 3), np.float32), np.array([0, 1]), tuple("abc"))
    without = ablated(model, {"double": np.array([True, False, True])})
    assert record(without, dataset)["double"].sums.tolist() == [4, 0, 4]
    with pytest.raises(KeyError, match="unknown site half: this network has double"):
        record(ablated(model, {"half": np.ones(3, bool)}), dataset)


@pytest.mark.parametrize("mask", [[False], [True] * 4, [[True] * 3] * 2])
@pytest.mark.usefixtures("unchecked")
def test_a_mask_of_other_units_is_refused(mask):
    def model(images, tap):
        return tap("double", 2 * images)

    with pytest.raises(ValueError, match=r"mask of double must have the shape \(3,\)"):
        ablated(model, {"double": np.array(mask)})(jnp.ones((2, 3)))


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_units_are_no_mask():
    with pytest.raises(ValueError, match="True or False; found int"):
        ablated(lambda images, tap: images, {"double": np.array([0, 2])})


def test_accuracy_by_hand():
    """Logits are the responses: without unit 1 image 1 is a tie, which goes to class 0."""
    dataset = Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ("a", "b"))
    keep = np.array([[True, True], [True, False], [False, True], [False, False]])
    effects = ablate_groups(lambda images, tap: tap("all", images), dataset, {"all": keep})
    np.testing.assert_array_equal(effects.accuracy(), [1, 0.5, 1, 0.5])
    loss, tie = np.log1p(np.exp(-1)), np.log(2)
    expected = np.array([[loss, loss], [loss, tie], [tie, loss], [tie, tie]])
    np.testing.assert_allclose(effects.loss, expected, rtol=1e-6)
    np.testing.assert_allclose(
        effects.loss_ratio(), 100 * (expected.sum(1) / (2 * loss) - 1), atol=1e-4
    )


def test_progress_counts_pairs(network, dataset):
    done = []
    ablate_groups(
        network,
        dataset,
        draw(5),
        batch_size=20,
        chunk=2,
        progress=lambda n: done.append(int(n)),
    )
    assert done == sorted(done)
    assert done[-1] == 37 * 5


@pytest.mark.parametrize(
    "keep, error, message",
    [
        (
            {"fc3": np.ones((2, 9), bool)},
            KeyError,
            "unknown site fc3: this network has fc1, fc2",
        ),
        ({"fc1": np.ones((2, 9), bool)}, ValueError, r"\(groups, 12\); found \(2, 9\)"),
        (
            {"fc1": np.ones((2, 12), bool), "fc2": np.ones((3, 9), bool)},
            ValueError,
            "same number of masks",
        ),
        ({"fc1": np.ones((0, 12), bool)}, ValueError, "at least one"),
        ({}, ValueError, "at least one"),
    ],
    ids=["site", "width", "numbers of masks", "no mask", "no site"],
)
def test_masks_that_do_not_fit_are_refused(network, dataset, keep, error, message):
    with pytest.raises(error, match=message):
        ablate_groups(network, dataset, keep)


def test_labels_beyond_the_classes_of_the_network_are_refused(network, dataset):
    more = Dataset(dataset.images, np.arange(37) % 8, tuple("abcdefgh"))
    with pytest.raises(ValueError, match="labels reach 7, but the network has 7 classes"):
        ablate_groups(network, more, draw(1))


def test_a_group_whose_loss_is_no_number_is_refused():
    """1 / the kept responses: without units it is infinite."""
    dataset = Dataset(np.ones((2, 3), np.float32), np.array([0, 1]), ("a", "b", "c"))

    def model(images, tap):
        return jnp.log(tap("all", images).sum(1, keepdims=True)) * images

    with pytest.raises(FloatingPointError, match="NaN"):
        ablate_groups(model, dataset, {"all": np.zeros((1, 3), bool)})


@pytest.mark.parametrize("every", [1, 2, 5, 12, 100])
def test_units_taken_away_in_order_equal_a_loop(network, dataset, every, rng):
    order = rng.permutation(12)[:11]
    curve = ablate_in_order(network, dataset, "fc1", order, every=every)
    counts = [*range(0, 11, every), 11]
    assert curve.n_ablated.tolist() == counts
    keep = draw(len(counts), whole=SITES)
    for mask, n in zip(keep["fc1"], counts, strict=True):
        mask[order[:n]] = False
    loss, top1, top5 = loop(parameters.dense_layers(network), dataset, keep)
    np.testing.assert_allclose(curve.effects.loss, loss, rtol=1e-5)
    np.testing.assert_array_equal(curve.effects.top1, top1)
    np.testing.assert_array_equal(curve.effects.top5, top5)


BAD_ORDERS = {
    "a unit twice": ({"order": np.array([1, 2, 1])}, "comes twice"),
    "a unit that is not there": ({"order": np.array([1, 12])}, "units 0 to 11; found 1 to 12"),
    "no unit": ({"order": np.array([], int)}, "at least one unit"),
    "no step": ({"order": np.array([1]), "every": 0}, "every must be at least 1; found 0"),
}


@pytest.mark.parametrize("changed, message", BAD_ORDERS.values(), ids=BAD_ORDERS.keys())
def test_orders_that_cannot_be_are_refused(network, dataset, changed, message):
    with pytest.raises(ValueError, match=message):
        ablate_in_order(network, dataset, "fc1", **changed)


@pytest.mark.parametrize("k", [0, 2, 10])
def test_accuracy_is_known_for_one_and_five_only(network, dataset, k):
    with pytest.raises(ValueError, match="k = 1 and k = 5"):
        ablate_groups(network, dataset, draw(1)).accuracy(k)


@pytest.mark.data
@pytest.mark.parametrize(
    "fraction",
    [
        pytest.param("0.0", marks=pytest.mark.slow),
        pytest.param("0.2", marks=pytest.mark.slow),
        pytest.param("1.0", marks=pytest.mark.slow),
    ],
)
def test_random_ablation_of_trained_networks_equals_the_record(data_folder, fraction, rng):
    """The record: ten draws out of both layers together, by the networks' own authors.

    Accuracies on the images and labels that the networks were trained on. The means agree
    within three standard errors of their difference.
    """
    with open(data_folder / "mnist_mlp" / "random_ablation.csv") as file:
        record = [
            (int(row["units ablated"]), float(row["accuracy"]))
            for row in csv.DictReader(file)
            if row["fraction of labels corrupted"] == fraction
            and float(row["dropout fraction"]) == 0
        ]
    model, dataset = (
        mnist.network(data_folder, fraction),
        mnist.training_images(data_folder, fraction),
    )
    keep = np.ones((2, 10, 1024), bool)
    for size, masks in zip((54, 108), keep, strict=True):
        for mask in masks:
            mask[rng.choice(1024, size, replace=False)] = False
    fc1, fc2 = np.split(keep.reshape(20, 1024), 2, axis=1)
    effects = ablate_groups(model, dataset, {"fc1": fc1, "fc2": fc2}, batch_size=1000)
    assert effects.baseline.images.sum() == 60_000
    for size, ours in zip((54, 108), effects.accuracy().reshape(2, 10), strict=True):
        theirs = np.array([accuracy for ablated, accuracy in record if ablated == size])
        assert len(theirs) == 10
        standard_error = np.hypot(ours.std(ddof=1), theirs.std(ddof=1)) / 10**0.5
        print(
            f"{size}: {ours.mean():.4f}, recorded {theirs.mean():.4f} +- {standard_error:.4f}"
        )
        assert abs(ours.mean() - theirs.mean()) <= 3 * standard_error
