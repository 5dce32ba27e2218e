"""Which pairs are left out, and that batches, chunks and threads change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import Dataset, ablate_units
from jaxsel.ablation import channel
from tests.references import brute_force, mlp

from .networks import (
    N_CLASSES,
    NAMES,
    assert_alike,
    conv,
    dense,
    head,
    numbers,
    some_images,
    truth_of,
)


def test_maps_that_are_the_replacement_already_change_nothing(tmp_path):
    """Unit 0 is silent on all images, 1 on some, 2 is 1 everywhere, and 3 is never either.

    An image of zeros silences all units but 2 and 3.
    """
    rng = np.random.default_rng(2)
    images = rng.uniform(0.1, 1, (7, 4, 4, 1)).astype(np.float32)
    images[[1, 4]] = 0
    images[5] = -images[5]
    images[0, 1:3, 2] = 0  # silent in some places: not a silent map
    dataset = Dataset(images, np.arange(7) % N_CLASSES, NAMES)

    def model(images, tap):
        x = jnp.concatenate([-abs(images), images, images + 5, abs(images) / 4 + 0.25], -1)
        return head(jax.nn.relu(conv(tap("in", jnp.clip(x, 0, 1)), numbers(3, 3, 4, 5)) - 0.1))

    silent = np.zeros((7, 4), bool)
    silent[:, 0] = silent[[1, 4, 5], 1] = True
    ones = np.zeros((7, 4), bool)
    ones[:, 2] = True
    for value, still in ((0.0, silent), (1.0, ones), (0.5, np.zeros((7, 4), bool))):
        file = tmp_path / "pairs.npy"
        effects = ablate_units(model, dataset, "in", replacement=value, per_image=file)
        np.testing.assert_array_equal(np.load(file) == 0, still)
        np.testing.assert_array_equal(effects.error == 0, still.all(0))
        zero = np.array(effects.verdict()) == "zero"
        np.testing.assert_array_equal(zero, still.all(0))
        truth = truth_of(model, dataset, "in", values=value)
        np.testing.assert_array_equal(truth.change[still], 0)
        assert_alike(np.load(file), truth.change, truth)


def test_images_without_any_response_change_nothing(small, tmp_path):
    """With biases below 0, images of zeros: all of them, or all but one of a batch."""
    zeros = Dataset(np.zeros((3, 5, 6, 2), np.float32), np.arange(3), NAMES)
    effects = ablate_units(small, zeros, "first", per_image=tmp_path / "none.npy")
    for effect in (effects.loss_change, effects.error, effects.top5_change, effects.per_image):
        np.testing.assert_array_equal(effect, np.zeros_like(effect))
    assert effects.verdict() == ["zero"] * 5
    logits = np.tile(np.float64(small.last[...]), (3, 1))
    np.testing.assert_allclose(
        effects.baseline.loss[:3], mlp.losses(logits, np.arange(3)), rtol=1e-14
    )
    images = np.array(zeros.images)
    images[1] = some_images(1, 5, 6, 2).images
    one = Dataset(images, np.arange(3), NAMES)
    effects = ablate_units(small, one, "first", per_image=tmp_path / "one.npy")
    np.testing.assert_array_equal((effects.per_image != 0).any(1), [False, True, False])


def test_where_no_image_of_the_first_group_moves_the_later_ones_do(
    small, dataset, truth, monkeypatch
):
    """How many pairs go through a program at a time is decided on the first images."""
    monkeypatch.setattr(channel, "MOST_IMAGES", 2)
    images = np.concatenate([np.zeros((4, 5, 6, 2), np.float32), dataset.images])
    labels = np.concatenate([np.zeros(4, int), dataset.labels])
    effects = ablate_units(small, Dataset(images, labels, NAMES), "first")
    assert_alike(
        effects.total(), truth.change.sum(0), truth._replace(largest=truth.largest.sum(0))
    )


# --- batches, chunks, threads -----------------------------------------------------------


@pytest.mark.parametrize(
    "batch_size, chunk", [(1, None), (5, 1), (256, 3), (6, 1000), (256, 10)]
)
def test_batches_and_chunks_change_the_last_bits_at_most(
    small, dataset, truth, batch_size, chunk, tmp_path, monkeypatch
):
    """Ten pairs are two images of five units: the seven of a group take four programs."""
    monkeypatch.setattr(channel, "n_threads", lambda: 2)
    one, other = (
        ablate_units(small, dataset, "first", per_image=tmp_path / name, **settings)
        for name, settings in (
            ("one.npy", {}),
            ("other.npy", {"batch_size": batch_size, "chunk": chunk}),
        )
    )
    assert_alike(other.per_image, one.per_image, truth)
    assert_alike(other.per_image, truth.change, truth)
    # Where it was measured, roundings are a sixteenth of it: see `condition.py`.
    np.testing.assert_allclose(other.error, one.error, rtol=1 / 8)
    np.testing.assert_array_equal(other.top1_change, one.top1_change)
    np.testing.assert_array_equal(other.top5_change, one.top5_change)
    np.testing.assert_allclose(other.baseline.loss, one.baseline.loss, rtol=1e-13)


def test_every_pair_has_its_place_in_the_file_and_the_sums_are_those_of_the_file(
    small, dataset, truth, tmp_path
):
    effects = ablate_units(
        small, dataset, "first", per_image=tmp_path / "p.npy", batch_size=6, chunk=4
    )
    brute_force.assert_exact(effects, truth, dataset.labels)
    assert_alike(effects.per_image, truth.change, truth)
    members = np.eye(N_CLASSES)[dataset.labels]
    # The same numbers, float32 in both: only the order of a float64 sum may differ.
    np.testing.assert_allclose(
        effects.loss_change, np.float64(effects.per_image).T @ members, rtol=1e-12, atol=1e-16
    )


def test_an_image_alone_has_the_effects_that_it_has_among_others(small, dataset, truth):
    for i in (0, 7, 12):
        alone = ablate_units(small, dataset.take(np.array([i])), "first")
        of_image = truth._replace(largest=truth.largest[i])
        assert_alike(alone.total(), truth.change[i], of_image)


def test_units_may_be_named_in_any_order_and_twice(small, dataset, truth):
    chosen, values = np.array([3, 0, 0, 4, 3]), np.array([0.0, 0.0, 0.5, 0.0, -1.0])
    effects = ablate_units(small, dataset, "first", units=chosen, replacement=values)
    np.testing.assert_array_equal(effects.units, chosen)
    for i, (unit, value) in enumerate(zip(chosen, values, strict=True)):
        mask = np.arange(5)[None] == unit
        one = truth_of(small, dataset, "first", mask, value)
        largest = one.largest.sum(0)
        assert_alike(effects.total()[i], one.change.sum(0), one._replace(largest=largest))


@pytest.mark.parametrize("threads", [1, 5])
def test_the_same_settings_give_the_same_bits(small, dataset, truth, threads, monkeypatch):
    """The order in which groups of images are done changes nothing."""
    monkeypatch.setattr(channel, "n_threads", lambda: threads)
    one, other = (ablate_units(small, dataset, "first", chunk=4) for _ in range(2))
    np.testing.assert_array_equal(one.loss_change, other.loss_change)
    np.testing.assert_array_equal(one.error, other.error)
    brute_force.assert_exact(one, truth, dataset.labels)
    monkeypatch.setattr(channel, "MOST_IMAGES", 1)  # groups that no number of threads changes
    several = ablate_units(small, dataset, "first", chunk=4)
    monkeypatch.setattr(channel, "n_threads", lambda: 1)
    alone = ablate_units(small, dataset, "first", chunk=4)
    np.testing.assert_array_equal(several.loss_change, alone.loss_change)
    np.testing.assert_array_equal(several.error, alone.error)


@pytest.mark.parametrize("batch_size", [256, 5, 1])
def test_progress_counts_all_pairs_once(small, dataset, batch_size, monkeypatch):
    """Also those that do not move."""
    monkeypatch.setattr(channel, "n_threads", lambda: 3)
    done = []
    ablate_units(small, dataset, "first", batch_size=batch_size, progress=done.append)
    assert done == sorted(set(done))
    assert done[-1] == 13 * 5
    assert len(done) == {256: 3, 5: 8, 1: 13}[batch_size]  # groups of 5; of 2; of 1


def test_the_engines_agree_on_vectors_and_on_maps(small, dataset, tmp_path):
    for model, site in ((dense, "vector"), (small, "second")):
        truth = truth_of(model, dataset, site)
        found = {}
        for engine in ("channel", "generic"):
            file = tmp_path / f"{site} {engine}.npy"
            effects = ablate_units(model, dataset, site, engine=engine, per_image=file)
            assert effects.engine == engine
            brute_force.assert_exact(effects, truth, dataset.labels)
            found[engine] = effects
        assert_alike(found["channel"].per_image, found["generic"].per_image, truth)
        np.testing.assert_allclose(found["channel"].error, found["generic"].error, rtol=1e-4)
        silent = found["generic"].error == 0
        np.testing.assert_array_equal(found["channel"].error == 0, silent)
