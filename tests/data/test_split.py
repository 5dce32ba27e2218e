"""Stratified parts: sizes, that nothing is lost or doubled, proportions, seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.data import Dataset, digits, stratified


def numbered(class_counts):
    """Image i is the number i; class c has as many images as it is told, in a row."""
    labels = np.repeat(np.arange(len(class_counts)), class_counts)
    names = tuple(str(c) for c in range(len(class_counts)))
    return Dataset(np.arange(len(labels), dtype=np.float32)[:, None], labels, names)


def members(part):
    """Which images of `numbered` a part holds."""
    return part.inputs(slice(None)).ravel().astype(int)


@pytest.mark.parametrize(
    "fractions, sizes",
    [
        ((0.6, 0.15, 0.25), [1078, 270, 449]),  # borders at 1078.2 and 1347.75
        ((0.5, 0.5), [898, 899]),  # 898.5 is rounded to even
        ((0.9, 0.1), [1617, 180]),
        ((1.0,), [1797]),
    ],
    ids=str,
)
def test_sizes_of_the_digits(fractions, sizes):
    assert [len(part) for part in stratified(digits(), fractions, seed=0)] == sizes


@given(
    class_counts=st.lists(st.integers(12, 60), min_size=2, max_size=5),
    weights=st.lists(st.integers(2, 6), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_parts_are_disjoint_complete_and_in_proportion(class_counts, weights, seed):
    fractions = np.array(weights) / sum(weights)
    dataset = numbered(class_counts)
    parts = stratified(dataset, fractions.tolist(), seed)
    everyone = np.concatenate([members(part) for part in parts])
    assert sorted(everyone.tolist()) == list(range(len(dataset)))
    for part, fraction in zip(parts, fractions, strict=True):
        np.testing.assert_array_equal(part.labels, dataset.labels[members(part)])
        assert abs(len(part) - fraction * len(dataset)) <= 1
        # A division moves a class by less than one image, and its parts' sizes by rounding
        # of one more, shared among the classes; a third part has seen two divisions.
        found = np.bincount(part.labels, minlength=len(class_counts))
        assert np.abs(found - fraction * np.array(class_counts)).max() < 3


def test_a_part_keeps_the_order_of_the_images():
    for part in stratified(numbered([20, 30]), (0.4, 0.6), seed=0):
        assert (np.diff(members(part)) > 0).all()


def test_the_seed_decides():
    first, again, other = (
        [members(part).tolist() for part in stratified(numbered([30, 30]), (0.5, 0.5), seed)]
        for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (0.6, 0.6), (), (2.0,)], ids=str)
def test_fractions_that_are_not_the_whole_are_refused(fractions):
    with pytest.raises(ValueError, match="must add up to 1; found"):
        stratified(numbered([5, 5]), fractions, seed=0)


@pytest.mark.parametrize(
    "class_counts, fractions, message",
    [
        ([5, 1], (0.5, 0.5), "least populated class"),
        ([5, 5, 5], (0.1, 0.9), "number of classes"),
        ([5, 5], (1.5, -0.5), "train_size"),
        ([5, 5], (0.0, 1.0), "train_size"),
    ],
    ids=["class of one image", "part smaller than the classes", "negative", "empty part"],
)
def test_what_cannot_be_divided_is_refused(class_counts, fractions, message):
    """In scikit-learn's words."""
    with pytest.raises(ValueError, match=message):
        stratified(numbered(class_counts), fractions, seed=0)
