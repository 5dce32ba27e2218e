"""Data sets of encoded images: read once, one batch ahead, in order."""

import io
import threading
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxsel.data import PREPROCESS, encoded, without_corrupt
from tests.references.numbered_images import (
    PATIENCE,
    Source,
    coloured,
    dataset_of,
    numbers,
    seen,
    stored,
)

# --- what arrives ---

NOISE = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)


def photograph(number):
    """Of sizes, formats and modes of their own."""
    image = Image.fromarray(NOISE[: 150 + 10 * number, number : 290 - 5 * number])
    if number == 0:  # its alpha is noise too
        image.putalpha(Image.fromarray(NOISE[: image.height, : image.width, 1]))
        return stored(image, "PNG")
    if number == 1:
        return stored(image, "PNG", transparency=tuple(NOISE[0, 1].tolist()))
    kinds = {2: ("L", "JPEG"), 3: ("RGB", "JPEG"), 4: ("P", "GIF"), 5: ("CMYK", "JPEG")}
    mode, kind = kinds.get(number, ("1", "BMP"))
    return stored(image.convert(mode), kind)


def nothing_but_turned(images):
    return images[:, ::-1]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7, 8, 20])
@pytest.mark.parametrize("name", ["caffe", "torchvision", "warp", "warp_torchvision"])
def test_images_of_many_sizes_arrive_as_they_are_one_by_one(batch_size, name):
    dataset = dataset_of(photograph, 7, PREPROCESS[name])
    images = np.concatenate([b.images[b.where] for b in dataset.batches(batch_size)])
    assert images.dtype == np.float32
    for number, found in enumerate(images):
        plain = Image.open(io.BytesIO(photograph(number))).convert("RGB")
        expected = PREPROCESS[name](np.array(plain)[None])[0]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode, channels", [("RGB", 3), ("L", 1)])
@pytest.mark.parametrize("preprocess", [None, nothing_but_turned, PREPROCESS["unit_range"]])
def test_images_of_one_size_need_no_preprocessing(mode, channels, preprocess):
    def make(number):
        return stored(Image.fromarray(NOISE[number : number + 6, :5]))

    dataset = dataset_of(make, 9, preprocess, mode=mode)
    plain = [Image.open(io.BytesIO(make(i))).convert(mode) for i in range(9)]
    pixels = np.array(plain).reshape(9, 6, 5, channels)
    expected = pixels if preprocess is None else preprocess(pixels)
    found = dataset.inputs(slice(None))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(dataset.inputs(np.array([8, 0, 0])), expected[[8, 0, 0]])


@pytest.mark.parametrize("name", ["caffe", "torchvision", "warp", "warp_torchvision"])
def test_grey_input_for_a_network_of_colours_is_refused(name):
    dataset = dataset_of(coloured, 3, PREPROCESS[name], mode="L")
    with pytest.raises(ValueError, match="takes colour images, uint8"):
        next(dataset.batches(2))


@given(n_images=st.integers(1, 40), batch_size=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_each_image_is_read_once_and_arrives_in_order(n_images, batch_size):
    source = Source()
    dataset = dataset_of(source, n_images)
    batches = list(dataset.batches(batch_size))
    assert [i for b in batches for i in numbers(b.images[b.where])] == list(range(n_images))
    assert sorted(source.reads) == list(range(n_images))
    size = min(batch_size, n_images)
    assert [b.start for b in batches] == list(range(0, n_images, size))
    assert {len(b.images) for b in batches} == {size}
    labels = np.concatenate([b.labels[b.where] for b in batches])
    np.testing.assert_array_equal(labels, np.arange(n_images) % 3)


def test_every_pass_reads_each_image_again():
    source = Source()
    dataset = dataset_of(source, 7)
    for n_passes in (1, 2, 3):
        assert seen(dataset, 3) == list(range(7))
        assert Counter(source.reads) == dict.fromkeys(range(7), n_passes)


def test_the_last_batch_is_filled_up_with_its_first_image_which_is_read_once():
    source = Source()
    *_, last = dataset_of(source, 6).batches(4)
    assert numbers(last.images) == [4, 5, 4, 4]
    assert last.labels.tolist() == [1, 2, 1, 1]
    assert last.where.tolist() == [True, True, False, False]
    assert sorted(source.reads) == list(range(6))


@pytest.mark.parametrize("n_processors", [1, 2, 8])
def test_the_number_of_processors_changes_nothing(monkeypatch, n_processors):
    monkeypatch.setattr(encoded, "n_processors", lambda: n_processors)
    assert seen(dataset_of(coloured, 40), 16) == list(range(40))


def test_several_images_of_a_batch_are_read_at_once(monkeypatch):
    """Two meet while they are read: a reader alone would wait in vain."""
    monkeypatch.setattr(encoded, "n_processors", lambda: 2)
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def read(number):
        if number in (1, 2):
            meeting.wait()
        return coloured(number)

    assert seen(dataset_of(read, 4), 4) == list(range(4))


# --- one batch ahead ---


def test_nothing_is_read_before_the_first_batch_is_asked_for():
    source = Source()
    dataset = dataset_of(source, 9)
    dataset.batches(3)
    assert len(dataset.take(np.array([4, 5]))) == 2
    assert source.reads == []


def test_one_batch_is_read_ahead_and_no_more():
    source = Source()
    batches = dataset_of(source, 40).batches(4)
    for done in range(1, 5):
        assert numbers(next(batches).images)[0] == 4 * (done - 1)
        # The consumer holds this batch; the next one is read all the same ...
        assert source.wait_for(4 * (done + 1)), f"only {source.reads} were read"
        # ... and no image of the one after it.
        assert not source.wait_for(4 * (done + 1) + 1, seconds=0.1), source.reads
    batches.close()
    assert sorted(source.reads) == list(range(20))


def test_a_batch_arrives_while_the_next_one_is_still_being_read():
    source = Source()
    source.locked = lambda number: number >= 3
    batches = dataset_of(source, 6).batches(3)
    assert numbers(next(batches).images) == [0, 1, 2]
    source.unlock.set()
    assert numbers(next(batches).images) == [3, 4, 5]


def test_the_batches_are_the_consumers_own():
    """What is written into one is not seen in another."""
    found = []
    for batch in dataset_of(coloured, 6).batches(2):
        found += numbers(batch.images)
        batch.images[...] = 200
    assert found == list(range(6))


# --- abandoned, or interrupted by an error ---


def close(batches):
    next(batches)
    batches.close()


def forget(batches):
    next(batches)


def leave(batches):
    for batch in batches:
        if batch.start == 3:
            break


def fail(batches):
    try:
        for batch in batches:
            batch.start / 0
    except ZeroDivisionError:
        return


def exhaust(batches):
    assert sum(batch.n_images for batch in batches) == 12


def never_begin(batches):
    del batches


@pytest.mark.parametrize("abandon", [close, forget, leave, fail, exhaust, never_begin])
def test_an_abandoned_iterator_leaves_no_thread(abandon):
    before = set(threading.enumerate())
    abandon(dataset_of(coloured, 12).batches(3))
    assert set(threading.enumerate()) <= before


def test_an_abandoned_iterator_reads_no_further():
    source = Source()
    batches = dataset_of(source, 1000).batches(3)
    next(batches)
    batches.close()
    n_reads = len(source.reads)
    assert n_reads <= 6
    assert not source.wait_for(n_reads + 1, seconds=0.1)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("torn", [0, 1, 4, 6])
def test_the_batches_before_a_corrupt_image_arrive_and_it_is_named(batch_size, torn):
    before = set(threading.enumerate())
    batches = dataset_of(Source(torn={torn}), 7).batches(batch_size)
    found = []
    first = torn - torn % min(batch_size, 7)  # of its batch
    for _ in range(first // min(batch_size, 7)):
        found += numbers(next(batches).images)
    with pytest.raises(ValueError, match=rf"^cat{torn}\.png cannot be decoded: "):
        next(batches)
    assert found == list(range(first))
    assert next(batches, None) is None
    assert set(threading.enumerate()) <= before


def test_what_cannot_be_read_is_the_error_of_reading():
    def read(number):
        if number == 4:
            raise FileNotFoundError(2, "No such file or directory", "cat4.png")
        return coloured(number)

    batches = dataset_of(read, 7).batches(2)
    assert [next(batches).start, next(batches).start] == [0, 2]
    with pytest.raises(FileNotFoundError, match=r"cat4\.png"):
        next(batches)


def test_the_first_corrupt_image_in_order_is_named_whoever_is_first(monkeypatch):
    """Image 2 is kept waiting until the other thread has failed on 5 and begun with 6."""
    monkeypatch.setattr(encoded, "n_processors", lambda: 2)
    source = Source(torn={2, 5})
    source.locked = lambda number: number == 2

    def read(number):
        if number == 6:
            source.unlock.set()
        return source(number)

    with pytest.raises(ValueError, match=r"^cat2\.png cannot be decoded"):
        next(dataset_of(read, 9).batches(9))
    assert source.reads.index(5) < source.reads.index(6)


def test_of_two_corrupt_batches_the_first_is_named():
    with pytest.raises(ValueError, match=r"^cat1\.png cannot be decoded"):
        list(dataset_of(Source(torn={1, 2, 3}), 6).batches(2))


def test_input_that_overflows_is_refused_without_a_warning():
    """Warnings are errors in these tests."""
    dataset = dataset_of(coloured, 6, lambda images: images * 1e300)
    with pytest.raises(ValueError, match=r"cat0\.png has pixels that are NaN or infinite"):
        dataset.inputs(slice(None))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_images_of_different_sizes_are_refused_across_batches(batch_size):
    def make(number):
        return coloured(number, (5, 4) if number == 3 else (3, 2))

    with pytest.raises(ValueError, match=r"^cat3\.png is 4x5x3, cat0\.png is 2x3x3"):
        list(dataset_of(make, 4).batches(batch_size))


def test_pixels_that_are_no_numbers_are_refused_and_the_image_named():
    def log_of_five_less(images):
        return np.where(images[..., :1] < 5, images, np.nan)

    batches = dataset_of(coloured, 9, log_of_five_less).batches(3)
    assert next(batches).start == 0
    with pytest.raises(ValueError, match=r"cat5\.png has pixels that are NaN"):
        next(batches)


# --- of different sizes ---


@pytest.mark.parametrize("preprocess", [None, PREPROCESS["unit_range"]], ids=["none", "scaled"])
@pytest.mark.parametrize(
    "odd, batch_size, message",
    [
        (1, 9, r"^cat1\.png is 4x5x3, cat0\.png is 2x3x3: images of different sizes need"),
        (7, 9, r"^cat7\.png is 4x5x3, cat0\.png is 2x3x3: images of different sizes need"),
        (0, 9, r"^cat1\.png is 2x3x3, cat0\.png is 4x5x3: images of different sizes need"),
        (5, 2, r"^cat5\.png is 4x5x3, cat4\.png is 2x3x3: images of different sizes need"),
        (4, 2, r"^cat5\.png is 2x3x3, cat4\.png is 4x5x3: images of different sizes need"),
    ],
)
def test_images_of_different_sizes_are_refused_and_both_are_named(
    odd, batch_size, message, preprocess
):
    def make(number):
        return coloured(number, (5, 4) if number == odd else (3, 2))

    with pytest.raises(ValueError, match=message):
        list(dataset_of(make, 9, preprocess).batches(batch_size))


def test_a_wide_image_does_not_fit_among_high_ones():
    """As many pixels, and still of another size."""

    def make(number):
        return coloured(number, (2, 3) if number == 2 else (3, 2))

    with pytest.raises(ValueError, match=r"^cat2\.png is 3x2x3, cat0\.png is 2x3x3: "):
        next(dataset_of(make, 4).batches(4))


# --- take ---


@given(data=st.data(), n_images=st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_taking_reads_the_chosen_images_only(data, n_images):
    source = Source()
    first = data.draw(st.lists(st.integers(0, n_images - 1), min_size=1, max_size=20))
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=20))
    chosen = dataset_of(source, n_images).take(np.array(first)).take(np.array(second))
    expected = [first[i] for i in second]
    assert seen(chosen, 4) == expected
    assert Counter(source.reads) == Counter(expected)
    assert chosen.labels.tolist() == [i % 3 for i in expected]


def test_a_corrupt_image_keeps_its_name_when_it_is_taken():
    chosen = dataset_of(Source(torn={7}), 9).take(np.array([8, 7, 2]))
    with pytest.raises(ValueError, match=r"^cat7\.png cannot be decoded"):
        next(chosen.batches(3))


# --- memory ---


def peak_of(action):
    """Bytes that Python and NumPy held at most."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def passing(n_images):
    """A pass over images of 20 kB each as they are stored, and 12 kB each as input."""
    content = coloured(0, (32, 32))
    dataset = dataset_of(lambda number: content + bytes(20_000), n_images)
    for _ in dataset.batches(20):
        pass


def searching(n_images):
    """A search among images of 20 kB each."""
    content = coloured(0, (32, 32))
    without_corrupt(dataset_of(lambda number: content + bytes(20_000), n_images))


@pytest.mark.parametrize("action", [passing, searching])
def test_memory_does_not_grow_with_the_number_of_images(action):
    """1,350 images more, if kept, would be 16 MB as input and 27 MB as they are stored."""
    action(50)  # what is loaded once
    few, many = peak_of(lambda: action(150)), peak_of(lambda: action(1500))
    # A batch more or less is in use (250 kB), as the threads happen to meet; labels are 12 kB.
    assert many < few + 1_000_000
