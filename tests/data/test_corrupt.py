"""Images that cannot be decoded are left out, and named."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.data import PREPROCESS, Dataset, corrupt, without_corrupt
from tests.references.numbered_images import (
    Source,
    coloured,
    dataset_of,
    seen,
)


@given(data=st.data(), n_images=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_exactly_the_corrupt_images_are_left_out_and_named_in_order(data, n_images):
    torn = data.draw(st.sets(st.integers(0, n_images - 1), max_size=n_images - 1))
    source = Source(torn)
    dataset = dataset_of(source, n_images, PREPROCESS["unit_range"])
    whole, names = without_corrupt(dataset)
    assert sorted(source.reads) == list(range(n_images))
    kept = [i for i in range(n_images) if i not in torn]
    assert names == tuple(f"cat{i}.png" for i in sorted(torn))
    assert whole.images.indices.tolist() == kept
    assert whole.labels.tolist() == [i % 3 for i in kept]
    assert whole.class_names == dataset.class_names
    assert whole.preprocess is dataset.preprocess
    assert sum(batch.n_images for batch in whole.batches(4)) == len(kept)


def test_parts_of_the_search_fit_together(monkeypatch):
    """Corrupt images at both ends of every part."""
    torn = (0, 499, 500, 999, 1000, 1002)
    assert corrupt.STEP == 500
    whole, names = without_corrupt(dataset_of(Source(torn), 1003))
    assert names == tuple(f"cat{i}.png" for i in torn)
    assert whole.images.indices.tolist() == sorted(set(range(1003)) - set(torn))


def test_a_data_set_without_corrupt_images_is_as_it_was():
    dataset = dataset_of(coloured, 9)
    found, names = without_corrupt(dataset)
    assert found is dataset
    assert names == ()


def test_only_the_images_that_were_taken_are_looked_at():
    source = Source(torn={2, 5, 8})
    chosen = dataset_of(source, 9).take(np.array([8, 1, 5, 4]))
    whole, names = without_corrupt(chosen)
    assert names == ("cat8.png", "cat5.png")
    assert seen(whole, 2) == [1, 4]
    assert set(source.reads) == {8, 1, 5, 4}


def test_grey_images_are_looked_at_as_they_will_be_decoded():
    whole, names = without_corrupt(dataset_of(Source(torn={1}), 3, mode="L"))
    assert names == ("cat1.png",)
    assert whole.inputs(slice(None)).shape == (2, 2, 3, 1)


def test_images_in_memory_are_as_they_are():
    in_memory = Dataset(np.zeros((3, 2, 2, 3), np.uint8), np.zeros(3, int), ("a",))
    assert without_corrupt(in_memory) == (in_memory, ())


def test_a_source_that_is_not_encoded_is_not_read():
    class Other:
        def __len__(self):
            return 3

        def __getitem__(self, which):
            pytest.fail("it was read")

    dataset = Dataset(Other(), np.zeros(3, int), ("a",))
    assert without_corrupt(dataset) == (dataset, ())


@pytest.mark.parametrize(
    "n_images, named",
    [
        (1, r"none of the 1 images can be decoded: cat0\.png$"),
        (3, r"none of the 3 images can be decoded: cat0\.png, cat1\.png, cat2\.png$"),
        (1200, r"none of the 1,200 images .*: cat0\.png, cat1\.png, cat2\.png, \.\.\.$"),
    ],
)
def test_a_data_set_of_corrupt_images_only_is_refused(n_images, named):
    with pytest.raises(ValueError, match=named):
        without_corrupt(dataset_of(Source(torn=range(n_images)), n_images))


def test_an_image_that_cannot_be_read_is_not_called_corrupt():
    def read(number):
        if number == 1:
            raise PermissionError(13, "Permission denied", "cat1.png")
        return coloured(number)[:20]

    before = set(threading.enumerate())
    with pytest.raises(PermissionError, match=r"cat1\.png"):
        without_corrupt(dataset_of(read, 4))
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(
    "n_images, expected",
    [
        (1, [(1, 1)]),
        (499, [(499, 499)]),
        (500, [(500, 500)]),
        (501, [(500, 501), (501, 501)]),
        (1003, [(500, 1003), (1000, 1003), (1003, 1003)]),
    ],
)
def test_progress_is_reported_up_to_the_number_of_images(n_images, expected):
    content, reports = coloured(0), []
    dataset = dataset_of(lambda number: content, n_images)
    without_corrupt(dataset, lambda done, total: reports.append((done, total)))
    assert reports == expected
