"""Intervals over images against a slow loop, and their coverage where the truth is known."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.kanda.measure import measure
from experiments.kanda.reading import Reading
from experiments.kanda.resampled import drawn, over_images, weights_drawn
from jaxsel import Dataset, ablate_units, record

WEIGHTS = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)


def network(images, tap):
    return tap("in", images) @ jnp.asarray(WEIGHTS)


def data(n_each, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(4 * n_each) % 4
    images = rng.gamma(1.0, size=(len(labels), 12)) * (
        1 + (labels[:, None] == np.arange(12) % 4)
    )
    images[rng.random(images.shape) < 0.3] = 0
    return Dataset(images.astype(np.float32), labels, tuple("abcd"))


def measured(dataset, folder: Path, **reading):
    def silent(text: str, total: int):
        return lambda done: None

    settings = {"pairs": folder, "reading": Reading(**reading), "progress": silent}
    return measure(network, dataset, ("in",), **settings)["in"]


def test_each_class_counts_as_many_images_as_it_has(rng):
    labels = np.array([2, 0, 0, 2, 0])
    weights = np.stack([weights_drawn(labels, rng) for _ in range(2000)])
    for label, n in ((0, 3), (2, 2)):
        np.testing.assert_allclose(weights[:, labels == label].sum(axis=1), n)
    # Variances are 1 for two images and for three: four standard errors of 2,000.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=4 / np.sqrt(2000))


def test_a_sum_over_five_images_varies_as_their_unbiased_variance_says(rng):
    labels, values = np.zeros(5, int), np.array([1.0, 4, 2, 8, 5])
    sums = [weights_drawn(labels, rng) @ values for _ in range(20_000)]
    # A variance of 20,000 is known to one percent; drawing all five would give 20 % less.
    assert np.var(sums) == pytest.approx(5 * values.var(ddof=1), rel=0.05)


def test_a_draw_is_the_analysis_of_the_images_drawn(tmp_path):
    dataset = data(6)
    units = measured(dataset, tmp_path)
    (draw,) = drawn(units, np.random.default_rng(3), 1)
    weights = weights_drawn(dataset.labels, np.random.default_rng(3))
    rows = np.repeat(np.arange(24), (weights * 5 / 6).round().astype(int))  # five of six each
    again = dataset.take(rows)
    effects, responses = ablate_units(network, again, "in"), record(network, again)["in"]
    means = np.sort(responses.class_means, axis=0)
    best, others = means[-1], means[:-1].mean(axis=0)
    # Loss changes of pairs are kept as float32.
    np.testing.assert_allclose(draw["loss_ratio"], effects.loss_ratio(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(draw["csi"], (best - others) / (best + others), atol=1e-6)
    r = again.inputs(slice(None)).astype(np.float64)
    sparse = (1 - r.sum(0) ** 2 / (20 * (r**2).sum(0))) / (1 - 1 / 24)
    np.testing.assert_allclose(draw["sparseness"], sparse, atol=1e-6)


def test_the_interval_lies_around_the_number_and_narrows_with_more_images(tmp_path):
    width = []
    for n_each in (5, 80):
        (folder := tmp_path / str(n_each)).mkdir()
        units = measured(data(n_each), folder)
        found = over_images(units, np.random.default_rng(0))
        low, high = found.median["csi"]
        assert low < np.median(units.csi) < high
        assert (low + high) / 2 == pytest.approx(np.median(units.csi))
        assert all(-1 <= end <= 1 for ends in found.rho.values() for end in ends)
        width.append(high - low)
    # By the root of 16, were it a mean; a median of 12 units jumps.
    assert width[0] / width[1] > 1.5


@pytest.mark.slow
@pytest.mark.parametrize("n_each", [5, 25])
def test_intervals_of_the_median_loss_ratio_cover_the_truth(n_each, tmp_path):
    """The truth: all of many images, of whose classes so many each are drawn."""
    population = data(2000, seed=7)
    truth = np.median(ablate_units(network, population, "in").loss_ratio())
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([4 * rng.choice(2000, n_each, False) + c for c in range(4)])
        (folder := tmp_path / str(seed)).mkdir()
        units = measured(population.take(np.sort(rows)), folder)
        low, high = over_images(units, rng).median["loss_ratio"]
        covered.append(low <= truth <= high)
    # 95 % of 60 is 57; below 51 once in some 500 times (binomial).
    assert sum(covered) >= 51


def test_single_images_say_nothing(tmp_path):
    found = over_images(measured(data(1), tmp_path), np.random.default_rng(0))
    assert np.isnan([*found.median["csi"], *found.rho["csi"]]).all()


def test_silent_units_take_part_where_that_is_asked_for(tmp_path):
    dataset = data(6)
    dataset.images[:, 3] = 0
    for silent, n in (("out", 11), ("zero", 12)):
        (folder := tmp_path / silent).mkdir()
        units = measured(dataset, folder, silent=silent)
        assert units.live.sum() == n
        (draw,) = drawn(units, np.random.default_rng(0), 1)
        assert np.isfinite(draw["csi"]).sum() == n
        assert (units.csi[3] == 0) == (silent == "zero")
