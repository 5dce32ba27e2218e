"""The small network, its images and what is right, made once per module."""

import pytest

from .networks import Small, some_images, truth_of


@pytest.fixture(scope="module")
def small():
    return Small()


@pytest.fixture(scope="module")
def dataset():
    """13 images: no batch but 1 and 13 goes into that."""
    return some_images(13, 5, 6, 2)


@pytest.fixture(scope="module")
def truth(small, dataset):
    return truth_of(small, dataset, "first")
