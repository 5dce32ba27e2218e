"""What ends a run: interrupts, numbers that are none, and that nothing goes on then."""

import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import Dataset, ablate_units
from jaxsel.ablation import channel

from .networks import N_CLASSES, NAMES, conv, head, numbers, some_images


def workers():
    return [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


@pytest.fixture
def many():
    """25 images in batches of 12, groups of 2, three threads."""
    return some_images(25, 5, 6, 2)


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(channel, "n_threads", lambda: 3)
    monkeypatch.setattr(channel, "MOST_IMAGES", 2)


def interrupted(small, many, after, error, tmp_path, held):
    """How many calls of `progress` there were, and that nothing is left."""
    calls = []

    def progress(done):
        calls.append(done)
        if len(calls) == after:
            held.append(sys._getframe(1))
            raise error("enough")

    before = workers()
    with pytest.raises(error, match="enough"):
        ablate_units(
            small, many, "first", batch_size=12, per_image=tmp_path / "p", progress=progress
        )
    assert len(calls) == after
    assert list(tmp_path.iterdir()) == []
    return [thread for thread in workers() if thread not in before]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("after", [1, 2, 9])
def test_a_run_that_is_interrupted_ends(small, many, after, error, tmp_path):
    class Nothing:
        append = staticmethod(lambda frame: None)

    assert interrupted(small, many, after, error, tmp_path, Nothing()) == []


@pytest.mark.usefixtures("three_threads")
def test_a_run_that_is_interrupted_ends_although_its_traceback_is_kept(small, many, tmp_path):
    """A debugger, a notebook or a log keeps the frames: the threads must not go on for them."""
    assert interrupted(small, many, 9, KeyboardInterrupt, tmp_path, []) == []


@pytest.mark.usefixtures("three_threads")
def test_an_error_inside_a_thread_ends_the_run(small, many, tmp_path, monkeypatch):
    effects_of, rows_seen = channel._effects, []

    def fails_at_image_8(programs, known, kept, moves, pairs, rows):
        rows_seen.append(rows[0])
        if rows[0] == 8:
            raise ArithmeticError("image 8 is odd")
        return effects_of(programs, known, kept, moves, pairs, rows)

    monkeypatch.setattr(channel, "_effects", fails_at_image_8)
    before = workers()
    with pytest.raises(ArithmeticError, match="image 8"):
        ablate_units(small, many, "first", batch_size=12, per_image=tmp_path / "p")
    assert max(rows_seen) <= 10  # the batch of the error is the last
    assert list(tmp_path.iterdir()) == []
    assert workers() == before


def nan_where_a_pixel_is_50(images, tap):
    x = tap("in", jax.nn.relu(images))
    return head(jax.nn.relu(conv(x, numbers(3, 3, 2, 4)))) + jnp.where(
        images[:, :1, 0, 0] == 50, jnp.nan, 0
    )


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    "at, silent",
    [
        (19, False),
        (24, False),
        (0, False),
        (19, True),
        (24, True),
    ],
)
def test_logits_that_are_no_numbers_are_refused_by_the_number_of_the_image(
    many, at, silent, tmp_path
):
    """Silent: with a replacement that the image's maps already are."""
    images = np.array(many.images)
    if silent:
        images[at] = 50
    images[at, 0, 0, 0] = 50
    broken = Dataset(images, many.labels, NAMES)
    before = workers()
    with pytest.raises(ValueError, match=rf"logits of image {at} are NaN"):
        ablate_units(
            nan_where_a_pixel_is_50,
            broken,
            "in",
            replacement=50.0 if silent else 0.0,
            batch_size=12,
            per_image=tmp_path / "p",
        )
    assert list(tmp_path.iterdir()) == []
    assert workers() == before


def test_an_effect_that_is_no_number_is_refused_by_the_unit_and_the_site(dataset):
    """Float32 ends at 3.4e38: a change by 9 times 3e38 is none of its numbers."""
    weight = np.zeros((2, N_CLASSES), np.float32)
    weight[1] = 5e37 * np.arange(N_CLASSES)

    def model(images, tap):
        return tap("in", jax.nn.relu(images)).mean((1, 2)) @ jnp.asarray(weight, images.dtype)

    with pytest.raises(FloatingPointError, match="of unit 1 of in is NaN or infinite"):
        ablate_units(model, dataset, "in", units=np.array([1, 0]), replacement=-9.0)


def test_labels_beyond_the_classes_of_the_network_are_refused(small, dataset):
    more = Dataset(dataset.images, np.arange(13) % 8, tuple("abcdefgh"))
    with pytest.raises(ValueError, match="labels reach 7, but the network has 7 classes"):
        ablate_units(small, more, "first")
