"""The formula of both selectivity indices: float64 loop, closed forms, invariances, gradient.

They differ only in what a unit without an index gets: 0 (class) or NaN (category).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.metrics import category_selectivity_index, class_selectivity_index

ROUNDING = 2.0**-24  # of one float32 operation, relative
both = pytest.mark.parametrize(
    "index, undefined",
    [(class_selectivity_index, 0.0), (category_selectivity_index, np.nan)],
    ids=["class", "category"],
)
seeds = st.integers(0, 2**32 - 1)


def index_loop(means, undefined):
    """The definition, one unit at a time, in float64."""
    found = []
    for unit in means.T.astype(np.float64):
        *others, best = sorted(unit)
        other = math.fsum(others) / max(len(others), 1)
        defined = others and best + other != 0
        found.append((best - other) / (best + other) if defined else undefined)
    return np.array(found)


def assert_close(found, expected, n_classes):
    """The mean of the others carries n roundings, of which the index sees half at most."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=(n_classes / 2 + 4) * ROUNDING)


def random_means(seed, n_classes, n_units=6):
    """Non-negative, over many magnitudes, a third of them 0; the first unit is silent."""
    rng = np.random.default_rng(seed)
    means = rng.gamma(0.3, size=(n_classes, n_units)) * (rng.random((n_classes, n_units)) < 0.7)
    means[:, 0] = 0
    return means.astype(np.float32)


@both
@given(n_classes=st.sampled_from([1, 2, 3, 10, 100]), seed=seeds)
@settings(max_examples=25, deadline=None)
def test_matches_loop(index, undefined, n_classes, seed):
    means = random_means(seed, n_classes)
    assert_close(index(means), index_loop(means, undefined), n_classes)


@both
@given(
    present=st.lists(st.booleans(), min_size=6, max_size=6).filter(any),
    seed=seeds,
)
@settings(max_examples=25, deadline=None)
def test_masked_is_sliced(index, undefined, present, seed):
    means = random_means(seed, 6)
    found = jax.jit(index)(means, where=np.array(present))
    assert_close(found, index_loop(means[present], undefined), 6)


@both
@pytest.mark.parametrize(
    "means, expected",
    [
        ([5, 0, 0], 1),
        ([2, 2, 2], 0),
        ([3, 1, 1], 1 / 2),
        ([2, 2, 0], 1 / 3),
        ([1, 3], 1 / 2),
        ([3, -1, -1], 2),
        ([-1, -3], -1 / 2),
        ([0, -2], -1),
    ],
    ids=[
        "one class",
        "flat",
        "three to one",
        "two best classes",
        "two classes",
        "negative others: above 1",
        "all negative: below 0",
        "best is 0",
    ],
)
def test_closed_forms(index, undefined, means, expected):
    del undefined
    assert_close(index(jnp.array(means, jnp.float32)[:, None]), [expected], len(means))


@both
@pytest.mark.parametrize(
    "means, where",
    [
        ([0, 0, 0], None),
        ([4], None),
        ([1, -1], None),
        ([3, 1], [True, False]),
        ([3, 1], [False, False]),
    ],
    ids=["silent", "one class", "means add up to 0", "one class present", "none present"],
)
def test_a_unit_without_an_index(index, undefined, means, where):
    where = None if where is None else np.array(where)
    found = index(jnp.array(means, jnp.float32)[:, None], where=where)
    np.testing.assert_array_equal(found, [undefined])


@both
def test_absent_class_does_not_count_though_its_mean_is_the_largest(index, undefined):
    del undefined
    means = jnp.array([[3.0], [1.0], [9.0]])
    assert index(means, where=jnp.array([True, True, False])).tolist() == [0.5]


@both
def test_class_order_is_irrelevant(index, undefined, rng):
    del undefined
    means = random_means(1, 10)
    assert_close(index(means[rng.permutation(10)]), index(means), 10)


@both
@pytest.mark.parametrize("power", [-40, -1, 3, 40])
def test_scale_is_irrelevant(index, undefined, power):
    """Powers of two change no digit: to the last bit."""
    del undefined
    means = random_means(2, 10)
    np.testing.assert_array_equal(index(means * np.float32(2.0**power)), index(means))


@both
def test_an_offset_is_not_irrelevant(index, undefined):
    """3:1:1 is an index of 1/2, 4:2:2 one of 1/3."""
    del undefined
    means = jnp.array([[3.0], [1.0], [1.0]])
    assert_close(index(means + 1), [1 / 3], 3)


def gradient(means, where=None):
    def total(means):
        return class_selectivity_index(means, where=where).sum()

    return np.asarray(jax.jit(jax.grad(total))(jnp.asarray(means, jnp.float32)))


def gradient_loop(means):
    """2 o / T**2 for the best class, -2 b / (T**2 (n - 1)) for another, with T = b + o."""
    expected = np.zeros(means.shape)
    for u, unit in enumerate(means.T.astype(np.float64)):
        n_others = len(unit) - 1
        best, other = unit.max(), (unit.sum() - unit.max()) / n_others
        expected[:, u] = -2 * best / (best + other) ** 2 / n_others
        expected[unit.argmax(), u] = 2 * other / (best + other) ** 2
    return expected


def test_gradient_has_its_closed_form(rng):
    means = rng.gamma(1.0, size=(8, 5)).astype(np.float32)
    # 1/T - (b - o)/T**2: a difference of terms of size 1/T, each with the digits of T.
    bound = (8 + 8) * ROUNDING / means.max(axis=0).min()
    np.testing.assert_allclose(gradient(means), gradient_loop(means), rtol=0, atol=bound)


def test_gradient_of_a_silent_unit_is_zero_and_others_keep_theirs(rng):
    means = rng.gamma(1.0, size=(8, 5)).astype(np.float32)
    expected = gradient(means).copy()
    means[:, 2] = expected[:, 2] = 0
    np.testing.assert_array_equal(gradient(means), expected)


@pytest.mark.parametrize(
    "means, where",
    [([5], None), ([1, -1], None), ([3, 1], [True, False]), ([3, 1], [False, False])],
    ids=["one class", "means add up to 0", "one class present", "none present"],
)
def test_gradient_is_zero_where_there_is_no_index(means, where):
    where = None if where is None else np.array(where)
    assert not gradient(np.array(means)[:, None], where).any()


def test_absent_classes_have_no_gradient():
    where = np.array([True, True, True, False])
    means = np.array([[3.0], [1.0], [2.0], [9.0]])
    found = gradient(means, where)
    bound = (4 + 8) * ROUNDING / 3
    np.testing.assert_allclose(found[:3], gradient_loop(means[:3]), rtol=0, atol=bound)
    assert found[3] == 0


@pytest.mark.parametrize("means", [[2, 2, 2], [2, 2, 0], [4, 0, 0]], ids=str)
def test_gradient_is_finite_at_ties_and_zeros(means):
    assert np.isfinite(gradient(np.array(means)[:, None])).all()


@pytest.mark.parametrize("size", [1e-10, 1e-18, 1e-20, 1e-30])
@pytest.mark.parametrize("means", [[3, 1, 1], [2, 2, 2]], ids=str)
def test_gradient_of_a_nearly_silent_unit_is_finite(means, size):
    """It is of size 1/means, which float32 holds."""
    assert np.isfinite(gradient(np.array(means)[:, None] * size)).all()
