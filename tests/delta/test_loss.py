"""Cross-entropy, its change and the label's rank against 60-digit and float64 arithmetic."""

from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel.delta import (
    cross_entropy,
    cross_entropy_change,
    cross_entropy_change_error,
    label_rank,
)
from tests.references import mlp

# A result is built of a dozen float32 operations on numbers no larger than itself.
FEW_ROUNDINGS = 2e-6
# Float32 ends here; what is below is flushed to 0.
SMALLEST = np.finfo(np.float32).tiny


def exact_loss(logits, label):
    """-log P(label) from the definition, in 120 digits."""
    with localcontext() as context:
        context.prec = 120
        terms = [Decimal(float(logit)).exp() for logit in logits]
        return (sum(terms) / terms[label]).ln()


def exact_change(logits, label, change):
    """The loss of l + d, with a sum that is not rounded, less the loss of l."""
    with localcontext() as context:
        context.prec = 120
        moved = [
            Decimal(float(x)) + Decimal(float(d)) for x, d in zip(logits, change, strict=True)
        ]
        terms = [x.exp() for x in moved]
        return float((sum(terms) / terms[label]).ln() - exact_loss(logits, label))


def assert_close(found, expected, atol=0.0):
    np.testing.assert_allclose(found, expected, rtol=FEW_ROUNDINGS, atol=atol)


def row(*numbers):
    return jnp.array(numbers, jnp.float32)


@pytest.mark.parametrize(
    "logits, label",
    [
        ([27.6, 0, 0], 0),  # 2e-12 nats
        ([80, 0], 0),  # 2e-35 nats
        ([0, 54, 3], 0),
        ([0, 200, 199], 0),
        ([2, 2, 2, 2], 1),
        ([1e-3, -1e-3], 1),
        ([5, 5, -100], 0),
        ([-300, -300.5, -301], 2),
    ],
)
def test_loss_keeps_its_digits(logits, label):
    assert_close(cross_entropy(row(*logits), label), float(exact_loss(row(*logits), label)))


@pytest.mark.parametrize(
    "logits, change",
    [
        ([40, 0], [-1, 0]),  # the label leads by 40 nats: 7e-18
        ([40, 0], [1e-3, 0]),  # ... and the loss falls: -4e-21
        ([18, 0, -1], [0, 1e-4, 0]),
        ([3, 1, 0], [-18, 0, 0]),  # the top logit falls by 18
        ([3, 1, 0], [18, 0, 0]),
        ([0, 18, 0], [0, -18, 0]),
        ([0, 0, 0], [1e-6, 0, 0]),
        ([0, 1, 2], [-1e-7, 1e-7, 0]),
        ([0, 1, 2], [300, 0, 0]),
        ([0, 1, 2], [-300, 0, 0]),
        ([100, -50, 0], [0, 250, 0]),  # e**-150 underflows and its change overflows
        ([0, -300, 1], [0, 300, 0]),
        ([0, -104, 1], [0, 0.5, 0]),  # an underflowing class that stays small
        ([1, 2, 3], [5, 5, 5 + 1e-6]),
        ([50, 0, 50], [0, 3, 0]),
    ],
    ids=str,
)
def test_change_keeps_sign_and_digits(logits, change):
    logits, change = row(*logits), row(*change)
    expected = exact_change(logits, 0, change)
    found = float(cross_entropy_change(logits, 0, change))
    assert np.sign(found) == np.sign(expected) or abs(expected) < SMALLEST
    assert_close(found, expected, atol=SMALLEST)


@pytest.mark.parametrize("target", [-0.5, 1.0])
@pytest.mark.parametrize("offset", [-1e-2, -1e-6, 0, 1e-6, 1e-2])
def test_formulas_meet_where_one_takes_over_from_the_other(target, offset):
    """Two classes with P(other) = 3/4: s = 3/4 (e**d - 1) is steered by d."""
    logits = row(0, np.log(3))
    change = row(0, np.log1p((target + offset) / 0.75))
    assert_close(
        cross_entropy_change(logits, 0, change),
        exact_change(logits, 0, change),
    )


@pytest.mark.parametrize("shift", [0, 1, -3.7, 1e-20, 1e6])
def test_equal_changes_change_nothing_exactly(rng, shift):
    logits = 10 * rng.normal(size=(50, 7)).astype(np.float32)
    labels = rng.integers(0, 7, 50)
    change = np.full((50, 7), shift, np.float32)
    np.testing.assert_array_equal(cross_entropy_change(logits, labels, change), np.zeros(50))


@given(
    n_classes=st.integers(2, 12),
    spread=st.sampled_from([0.1, 1, 10, 60]),
    size=st.sampled_from([1e-6, 1e-3, 1, 20, 300]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=30, deadline=None)
def test_change_is_right_for_any_logits(n_classes, spread, size, seed):
    """To some roundings of sum over c of |q_c - p_c| times what may cancel in a logit."""
    rng = np.random.default_rng(seed)
    logits = (spread * rng.normal(size=n_classes)).astype(np.float32)
    change = (size * rng.normal(size=n_classes)).astype(np.float32)
    label = int(rng.integers(n_classes))
    found = cross_entropy_change(logits, label, change)
    bound = cross_entropy_change_error(logits, label, change)
    assert abs(float(found) - exact_change(logits, label, change)) <= bound + SMALLEST


@pytest.mark.parametrize("spread", [0.3, 3, 30], ids="logits {}".format)
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1, 30], ids="changes {}".format)
def test_error_estimate_bounds_the_error_of_rounded_logits(rng, spread, size):
    """It always held: 12 x 4,000 rows with the errors that the estimate is made for.

    A float32 network knows a logit only to some roundings of the largest. Here every logit
    and every change is off by up to 4 units of 2**-24 of the largest, half of what the
    estimate allows for; the rest is for the rounding of the formula itself.
    """
    shape, unit = (4000, 10), 2.0**-24
    logits, change = spread * rng.normal(size=shape), size * rng.normal(size=shape)
    labels = rng.integers(0, 10, len(logits))
    near_logits, near_change = (
        (a + 4 * unit * np.abs(a).max(1, keepdims=True) * rng.uniform(-1, 1, shape)).astype(
            "f4"
        )
        for a in (logits, change)
    )
    # Float64 keeps 1e-16 of the loss; the estimate is at least 1e-12 of it here.
    truth = mlp.losses(logits + change, labels) - mlp.losses(logits, labels)
    found = np.asarray(cross_entropy_change(near_logits, labels, near_change))
    estimate = np.asarray(cross_entropy_change_error(near_logits, labels, near_change))
    assert (np.abs(found - truth) <= estimate + SMALLEST).all()
    # An estimate that is never near the error would be no estimate.
    assert (np.abs(found - truth) > 0.1 * estimate).any()


def test_error_estimate_is_zero_only_where_no_logit_changes():
    logits = row(3, 1, 0)
    assert cross_entropy_change_error(logits, 0, row(0, 0, 0)) == 0
    assert cross_entropy_change_error(logits, 0, row(1, 1, 1)) > 0


@pytest.mark.parametrize("function", [cross_entropy_change, cross_entropy_change_error])
def test_one_row_of_logits_meets_the_changes_of_many_units(rng, function):
    logits, labels = rng.normal(size=(4, 5)).astype("f4"), np.array([0, 3, 4, 1])
    change = rng.normal(size=(3, 4, 5)).astype("f4")
    one_by_one = [[function(x, int(y), d) for x, y, d in zip(logits, labels, unit, strict=True)]
                  for unit in change]  # fmt: skip
    # The compiler may order a sum of five differently: some last bits of a change near 1.
    np.testing.assert_allclose(function(logits, labels, change), one_by_one, atol=1e-6)


def test_float64_logits_give_float64_digits(rng):

    logits, change = 5 * rng.normal(size=6), 1e-9 * rng.normal(size=6)
    with jax.enable_x64(True):
        found = cross_entropy_change(jnp.asarray(logits), 2, jnp.asarray(change))
        assert found.dtype == np.float64
    np.testing.assert_allclose(found, exact_change(logits, 2, change), rtol=1e-13)


@pytest.mark.parametrize(
    "logits, label, rank",
    [
        ([3, 2, 1], 0, 0),
        ([3, 2, 1], 2, 2),
        ([2, 2, 2], 0, 0),
        ([2, 2, 2], 2, 2),
        ([1, 1, 1, 1, 1, 1], 4, 4),  # five equal classes and the label is the fifth of them
        ([1, 1, 1, 1, 1, 1], 5, 5),  # ... the sixth: not in the top five
        ([0, 9, 9, 9, 9, 0], 0, 4),  # tied with class 5 for the last place
        ([0, 9, 9, 9, 9, 0], 5, 5),
        ([0.0, -0.0], 1, 1),
    ],
)
def test_lower_class_wins_a_tie(logits, label, rank):
    assert label_rank(row(*logits), jnp.array(label)) == rank


@pytest.mark.parametrize(
    "change, rank",
    [
        ([0, 0, 0], 1),
        ([0, 2, 0], 1),  # a tie with class 0, which comes first
        ([0, 2.5, 0], 0),
        ([0, -1, 0], 2 - 1),  # a tie with class 2, which comes after
        ([0, -1.5, 0], 2),
        ([1e-6, 1e-6, 1e-6], 1),
        ([0, 0, 1], 1),
        ([0, 0, 1.0001], 2),
    ],
    ids=str,
)
def test_rank_after_a_change(change, rank):
    """Logits 3, 1, 0 with label 1."""
    assert label_rank(row(3, 1, 0), jnp.array(1), row(*change)) == rank


def test_a_change_too_small_for_float32_logits_breaks_a_tie():
    logits, change = row(1000, 1000), row(0, 1e-6)
    assert (logits + change)[1] == 1000  # what is compared is not l + d
    assert label_rank(logits, jnp.array(1), change) == 0


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_rank_counts_the_classes_before_the_label(n_classes, seed):
    """Whole numbers: many ties, no rounding."""
    rng = np.random.default_rng(seed)
    logits, change = rng.integers(-2, 3, size=(2, 20, n_classes)).astype(np.float32)
    labels = rng.integers(0, n_classes, 20)
    np.testing.assert_array_equal(label_rank(logits, labels), mlp.ranks(logits, labels))
    np.testing.assert_array_equal(
        label_rank(logits, labels, change), mlp.ranks(logits + change, labels)
    )


@pytest.mark.parametrize(
    "row", [[1.0, 1, 0], [1.0, 1, 1], [0.0, 2, 2], [30.0, 0, 0], [0.0, 30, 0]], ids=str
)
@pytest.mark.parametrize("label", [0, 1])
def test_gradient_of_the_loss_is_the_softmax_less_the_label_at_ties_too(row, label):
    found = jax.grad(lambda logits: cross_entropy(logits, label))(jnp.array(row))
    expected = np.exp(row) / np.exp(row).sum() - (np.arange(3) == label)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-13)
