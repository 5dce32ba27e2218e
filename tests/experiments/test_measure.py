"""The columns of the table of units against their definitions, written out in float64."""

import numpy as np
import pytest

from experiments.kanda.measure import measure, unit_table
from jaxsel import Dataset
from tests.references import mlp

N_CLASSES = 4


@pytest.fixture(scope="module")
def planted():
    """Twelve images, three of each class; unit 4 is silent, unit 0 fires for one image."""
    rng = np.random.default_rng(0)
    responses = np.round(rng.gamma(1.0, size=(12, 5)), 2).astype(np.float32)
    responses[rng.random((12, 5)) < 0.3] = 0
    responses[:, 4] = 0
    responses[:, 0] = np.eye(12)[7]
    labels = np.repeat(np.arange(N_CLASSES), 3)
    weight = rng.normal(size=(5, N_CLASSES)).astype(np.float32)

    def model(images, tap):
        return tap("in", images) @ weight

    dataset = Dataset(responses, labels, tuple("abcd"))
    units = measure(model, dataset, ("in",), progress=lambda text, total: lambda done: None)
    layers = [(np.eye(5), np.zeros(5)), (weight, np.zeros(N_CLASSES))]
    return units, unit_table(units), responses.astype(np.float64), labels, layers


def test_indices_follow_their_definitions(planted):
    _, table, responses, labels, _ = planted
    for unit in range(4):
        r = responses[:, unit]
        means = sorted(r[labels == c].mean() for c in range(N_CLASSES))
        best, others = means[-1], np.mean(means[:-1])
        index = (best - others) / (best + others)
        sparse = (1 - r.sum() ** 2 / (12 * (r**2).sum())) / (1 - 1 / 12)
        # Float32 formulas of float64 sums: a few units in the last place of numbers up to 1.
        assert table["csi"][unit] == pytest.approx(index, abs=5e-7)
        assert table["class_selectivity_index"][unit] == pytest.approx(index, abs=5e-7)
        assert table["sparseness"][unit] == pytest.approx(sparse, abs=5e-7)
        assert table["percentage_of_zeros"][unit] == pytest.approx(100 * np.mean(r == 0))
        assert table["best_class"][unit] == labels[np.argmax(r)]


def test_precision_uses_as_many_images_as_a_class_has(planted):
    _, table, *_ = planted
    # One image fires: it has one of three places, eleven tied ones share the other two.
    assert table["precision"][0] == pytest.approx((1 + 2 * 2 / 11) / 3, abs=1e-6)


def test_silent_units_have_no_index_and_are_counted_as_dead(planted):
    units, table, *_ = planted
    assert table["dead"].tolist() == [False] * 4 + [True]
    for column in ("csi", "sparseness", "precision"):
        assert np.isnan(table[column]).tolist() == [False] * 4 + [True]
    assert units["in"].live.tolist() == [True] * 4 + [False]


def test_half_of_the_live_units_are_selective(planted):
    units, table, *_ = planted
    order = np.argsort(table["csi"][:4])
    assert set(np.flatnonzero(units["in"].selective)) == set(order[2:])


def test_effects_are_those_of_brute_force(planted):
    _, table, responses, labels, layers = planted
    change, before, after = mlp.ablate(layers, responses, labels, 0, range(5))
    intact = mlp.losses(mlp.forward(layers, responses)[0], labels).sum()
    np.testing.assert_allclose(table["loss_change"], change.sum(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        table["loss_ratio"], 100 * change.sum(0) / intact, rtol=1e-5, atol=1e-5
    )
    gained = ((after < 1).astype(int) - (before < 1)[:, None]).sum(0)
    np.testing.assert_array_equal(table["top1_change"], gained)
    assert table["verdict"][4] == "zero"
