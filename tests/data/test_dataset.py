"""Data sets: what is refused, and that batches hold every image once, in order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.data import Dataset, unit_range


class Lazy:
    """A source that makes image i, whose every pixel is i, only when it is asked for."""

    def __init__(self, n_images, broken=None):
        self.n_images, self.broken, self.asked_for = n_images, broken, []

    def __len__(self):
        return self.n_images

    def __getitem__(self, which):
        indices = np.arange(self.n_images)[which]
        self.asked_for += indices.tolist()
        images = np.repeat(indices.astype(np.float32), 4).reshape(-1, 2, 2, 1)
        images[indices == self.broken, 1, 1] = np.nan
        return images


def numbered(n_images, n_classes=3, **settings):
    """Image i is the number i, its class i modulo the classes."""
    images = np.arange(n_images, dtype=np.float32)[:, None]
    names = tuple("abcdefg"[:n_classes])
    return Dataset(images, np.arange(n_images) % n_classes, names, **settings)


def seen(dataset, batch_size=4):
    """The numbers of all images that count, in the order of the batches."""
    batches = list(dataset.batches(batch_size))
    return [int(image.flat[0]) for b in batches for image in b.images[b.where]]


# --- what is refused ---

TWO = np.zeros((2, 4), np.float32)


@pytest.mark.parametrize(
    "images, labels, names, error, message",
    [
        (TWO, np.array([0, 1, 0]), "ab", ValueError, "2 images but 3 labels"),
        (TWO[:0], np.array([], int), "ab", ValueError, "empty: it has no images"),
        (TWO, np.array([0.0, 1.0]), "ab", TypeError, r"one integer .* float64 of shape \(2,\)"),
        (TWO, np.array([True, False]), "ab", TypeError, "one integer per image; found bool"),
        (TWO, np.array(["a", "b"]), "ab", TypeError, "one integer per image; found <U1"),
        (TWO, np.array([[0], [1]]), "ab", TypeError, r"int64 of shape \(2, 1\)"),
        (TWO, np.array([0, 2]), "ab", ValueError, "found 0 to 2, possible are 0 to 1"),
        (TWO, np.array([-1, 1]), "ab", ValueError, "found -1 to 1, possible are 0 to 1"),
        (TWO, np.array([0, 2**63], np.uint64), "ab", ValueError, "labels outside the classes"),
        (
            TWO.astype(str),
            np.array([0, 1]),
            "ab",
            TypeError,
            "images must be numbers; found <U",
        ),
        (TWO.astype(object), np.array([0, 1]), "ab", TypeError, "numbers; found object"),
    ],
    ids=[
        "lengths",
        "empty",
        "float labels",
        "truth labels",
        "text labels",
        "two axes of labels",
        "label too large",
        "label negative",
        "label beyond int32",
        "text images",
        "object images",
    ],
)
def test_no_data_set(images, labels, names, error, message):
    with pytest.raises(error, match=message):
        Dataset(images, labels, tuple(names))


@pytest.mark.parametrize("pixel", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_pixel_that_is_no_number_is_refused_and_its_image_named(pixel, dtype):
    images = np.zeros((5, 2, 2, 1), dtype)
    images[3, 1, 0] = pixel
    with pytest.raises(ValueError, match="image 3 has pixels that are NaN or infinite"):
        Dataset(images, np.zeros(5, int), ("a",))


def test_infinite_pixels_of_both_signs_do_not_hide_each_other():
    with pytest.raises(ValueError, match="image 0"):
        Dataset(np.array([[np.inf, -np.inf]]), np.array([0]), ("a",))


def test_large_pixels_whose_sum_overflows_are_accepted():
    images = np.full((2, 8), 3e38, np.float32)
    (batch,) = Dataset(images, np.array([0, 0]), ("a",)).batches(2)
    np.testing.assert_array_equal(batch.images, images)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_of_no_images_are_refused(batch_size):
    with pytest.raises(ValueError, match=f"at least 1; found {batch_size}"):
        next(numbered(3).batches(batch_size))


# --- what is kept ---


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64])
def test_labels_are_kept_as_int32(dtype):
    dataset = Dataset(TWO, np.array([1, 0], dtype), ["a", "b"])
    assert dataset.labels.dtype == np.int32
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.class_names == ("a", "b")


def test_images_are_neither_copied_nor_changed():
    images = np.arange(6, dtype=np.uint8).reshape(3, 2)
    dataset = Dataset(images, np.zeros(3, int), ("a",), unit_range)
    list(dataset.batches(2))
    assert dataset.images is images
    assert images.tolist() == [[0, 1], [2, 3], [4, 5]]


# --- batches ---


@given(n_images=st.integers(1, 40), batch_size=st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_batches_hold_every_image_once_in_order(n_images, batch_size):
    dataset = numbered(n_images)
    batches = list(dataset.batches(batch_size))
    size = min(batch_size, n_images)
    assert all(b.images.shape == (size, 1) for b in batches)
    assert all(b.labels.shape == b.where.shape == (size,) for b in batches)
    assert seen(dataset, batch_size) == list(range(n_images))
    labels = np.concatenate([b.labels[b.where] for b in batches])
    np.testing.assert_array_equal(labels, np.arange(n_images) % 3)
    assert [b.start for b in batches] == list(range(0, n_images, size))
    assert [b.n_images for b in batches] == [min(size, n_images - b.start) for b in batches]


def test_the_last_batch_is_filled_up_with_its_first_image():
    *_, last = numbered(6).batches(4)
    assert last.images.ravel().tolist() == [4, 5, 4, 4]
    assert last.labels.tolist() == [1, 2, 1, 1]
    assert last.where.tolist() == [True, True, False, False]


@pytest.mark.parametrize("start", [0, 4, 8])
def test_batches_may_begin_later_and_are_the_same_from_there_on(start):
    """The last one too: filled up to the full size, though fewer images are left."""
    whole, later = numbered(10).batches(4), numbered(10).batches(4, start)
    for one, other in zip(list(whole)[start // 4 :], later, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64, bool])
def test_input_is_float32_without_preprocessing(dtype):
    images = np.array([[0, 1], [1, 0]], dtype)
    (batch,) = Dataset(images, np.array([0, 0]), ("a",)).batches(2)
    assert batch.images.dtype == np.float32
    assert batch.images.tolist() == [[0, 1], [1, 0]]


class Precise(Lazy):
    """A source of numbers that float32 does not hold."""

    precision = np.float64

    def __getitem__(self, which):
        return super().__getitem__(which) + np.float64(2.0**-40)


def test_a_source_names_the_precision_of_its_input_and_some_of_it_keeps_it():
    dataset = Dataset(Precise(3), np.zeros(3, int), ("a",))
    one = dataset.take(np.arange(3))
    for taken in (dataset, one, one.take(np.arange(3))):
        (batch,) = taken.batches(3)
        assert batch.images.dtype == np.float64
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], np.arange(3) + 2.0**-40)


def test_preprocessing_sees_the_stored_numbers():
    images = np.array([[0, 51], [255, 102]], np.uint8)
    (batch,) = Dataset(images, np.array([0, 0]), ("a",), unit_range).batches(2)
    np.testing.assert_array_equal(batch.images, np.float32([[0, 0.2], [1, 0.4]]))


def test_preprocessing_that_makes_nan_is_refused_and_the_image_named():
    def log_of_five_less(images):
        return np.where(images < 5, images, np.nan)

    batches = numbered(7, preprocess=log_of_five_less).batches(2)
    assert [next(batches).start, next(batches).start] == [0, 2]
    with pytest.raises(ValueError, match="image 5 has pixels that are NaN or infinite"):
        next(batches)


@pytest.mark.parametrize("which", [slice(1, 3), np.array([1, 2])], ids=["slice", "indices"])
def test_inputs_are_those_of_the_images_asked_for(which):
    assert numbered(5).inputs(which).ravel().tolist() == [1, 2]


# --- sources that are read when they are needed ---


@pytest.mark.parametrize("batch_size", [1, 4, 7, 10])
def test_a_lazy_source_is_asked_for_each_image_once(batch_size):
    source = Lazy(7)
    dataset = Dataset(source, np.zeros(7, int), ("a",))
    assert source.asked_for == []
    assert seen(dataset, batch_size) == list(range(7))
    assert source.asked_for == list(range(7))


def test_a_lazy_source_is_asked_for_the_chosen_images_only():
    source = Lazy(9)
    chosen = Dataset(source, np.arange(9), tuple("abcdefghi")).take(np.array([8, 2, 5]))
    assert seen(chosen, 2) == [8, 2, 5]
    assert source.asked_for == [8, 2, 5]


def test_a_lazy_source_is_checked_when_it_is_read():
    dataset = Dataset(Lazy(7, broken=4), np.zeros(7, int), ("a",))
    batches = dataset.batches(3)
    next(batches)
    with pytest.raises(ValueError, match="image 4 has pixels"):
        next(batches)


# --- take ---


@given(data=st.data(), n_images=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_taking_twice_is_taking_the_composed_indices(data, n_images):
    first = data.draw(st.lists(st.integers(0, n_images - 1), min_size=1, max_size=30))
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=30))
    taken = numbered(n_images).take(np.array(first)).take(np.array(second))
    expected = [first[i] for i in second]
    assert len(taken) == len(expected)
    assert seen(taken) == expected
    assert taken.labels.tolist() == [i % 3 for i in expected]


def test_taking_copies_no_image_and_keeps_names_and_preprocessing():
    dataset = numbered(5, preprocess=unit_range)
    taken = dataset.take(np.array([3, 1]))
    assert taken.images.source is dataset.images
    assert taken.class_names == dataset.class_names
    assert taken.preprocess is dataset.preprocess


def test_taking_no_image_is_refused():
    with pytest.raises(ValueError, match="empty: it has no images"):
        numbered(5).take(np.array([], int))


def test_taking_an_image_that_is_not_there_is_refused():
    with pytest.raises(IndexError):
        numbered(5).take(np.array([5]))
