"""Signs that are stated are right, errors hold, and float64 decides what float32 cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import signs
from jaxsel import Dataset, ablate_units, adapters
from jaxsel.ablation import Verification


def with_weights(*weights):
    arrays = [jnp.asarray(np.float32(weight)) for weight in weights]
    return adapters.with_parameters(signs.network, arrays)


# --- random networks with planted units, against 80-bit brute force -----------------------


@pytest.mark.parametrize(
    "kind", ["dense", "generic", pytest.param("channel", marks=pytest.mark.slow)]
)
def test_no_sign_is_wrong_and_errors_hold_on_random_networks(kind):
    """A few networks of each kind; a hundred thousand units are in BENCHMARKS.md."""
    total = dict.fromkeys(signs.COUNTS, 0)
    for i in range(2 if kind == "channel" else 6):
        found = signs.compared(signs.drawn(kind, 24, np.random.default_rng([7, i])))
        total = {key: count + found[key] for key, count in total.items()}
    assert total["wrong"] == total["beyond_error"] == 0
    assert total["worth_deciding"] > 0.8 * total["units"]
    assert total["undecided"] <= 0.01 * total["worth_deciding"]


# --- units that cancel ----------------------------------------------------------------------

KINDS = ["generic", "channel"]  # the dense engine knows each term of its last sum


def cancelling(kind, last_digits):
    """Two columns with the same input and opposite output, but for the last digits.

    What the first unit adds to the logits is its response times `last_digits`, through two
    terms of the size of the response; the second unit is an ordinary one.
    """
    x = np.abs(np.random.default_rng(0).normal(size=(20, 2))).astype(np.float32)
    first = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    second = np.array([[1.0, 0.0], [-1.0 + last_digits, 0.0], [0.3, 0.7]])
    if kind == "generic":
        weights = first, np.eye(3), second
        return with_weights(*weights), x
    kernel = np.zeros((3, 3, 2, 3))
    kernel[1, 1] = first
    maps = np.broadcast_to(x[:, None, None], (20, signs.SIDE, signs.SIDE, 2))
    return with_weights(kernel, second), np.ascontiguousarray(maps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [6, 18])
def test_errors_of_units_that_nearly_cancel_hold(kind, bits):
    """The change is 2**-bits of its terms: so much of its digits is lost.

    For labels of class 0 the loss is log(1 + exp(b - a)), a the first logit: exactly
    computed in float64 below, without any cancellation.
    """
    model, x = cancelling(kind, 2.0**-bits)
    responses = x if x.ndim == 2 else x[:, 0, 0]
    dataset = Dataset(x, np.zeros(20, int), ("a", "b"))
    small = np.float64(responses[:, 0]) * 2.0**-bits
    lead = small + np.float64(responses[:, 1]) * (np.float64(np.float32(0.3)) - np.float32(0.7))
    # log(1 + exp(-(lead - small))) - log(1 + exp(-lead)), by the change of the exponent.
    truth = np.log1p(np.expm1(small) / (1 + np.exp(lead))).sum()
    effects = ablate_units(model, dataset, "in", engine=kind, recompute=False)
    assert abs(effects.total()[0] - truth) <= effects.error[0]
    again = ablate_units(model, dataset, "in", engine=kind)
    assert again.verdict()[0] == "harms"
    assert abs(again.total()[0] - truth) <= again.error[0]


@pytest.mark.parametrize("kind", KINDS)
def test_units_that_cancel_exactly_get_no_sign(kind):
    rng = np.random.default_rng(0)
    model, x = cancelling(kind, 0.0)
    dataset = Dataset(x, rng.integers(0, 2, 20), ("a", "b"))
    effects = ablate_units(model, dataset, "in", engine=kind)
    assert effects.verdict()[0] in ("zero", "undecided")
    assert effects.verdict()[1] in ("harms", "improves")
    np.testing.assert_array_equal(effects.recomputed, [0])


def test_a_unit_that_is_silent_where_numbers_were_shifted_is_computed_in_float64():
    """Sorted by class, as images often are: the first ones say nothing of this unit."""
    model, x = cancelling("channel", 2.0**-20)
    x = np.concatenate([np.where(np.arange(2) == 0, 0, x), x])
    dataset = Dataset(x, np.zeros(40, int), ("a", "b"))
    effects = ablate_units(model, dataset, "in", engine="channel", units=np.array([0]))
    np.testing.assert_array_equal(effects.recomputed, [0])
    assert effects.verdict() == ["harms"]
    assert effects.error[0] < 1e-6 * effects.total()[0]


def test_responses_that_are_next_to_nothing_leave_no_error_that_is_no_number():
    """exp(-150) is no float32: known to an infinite relative error, of a change of 0."""

    def network(images, tap):
        x = tap("in", jnp.concatenate([jnp.exp(-150 * images), images], axis=1))
        return jax.nn.tanh(x @ jnp.array([[1, 0], [0, 1]], jnp.float32))

    dataset = Dataset(np.ones((3, 1), np.float32), np.array([0, 1, 0]), ("a", "b"))
    effects = ablate_units(network, dataset, "in", engine="generic")
    assert np.isfinite(effects.error).all()
    np.testing.assert_array_equal(effects.recomputed, [0])
    assert effects.verdict()[1] in ("harms", "improves")


# --- once more in float64 ---------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["dense", "generic"])
@pytest.mark.parametrize("precision", ["tensorfloat32", "bfloat16"])
def test_what_a_short_precision_leaves_undecided_is_decided(engine, precision, tmp_path):
    """The same image with either label: the losses change by +-w x, and by -(w x)**2 in all."""
    w, x = np.float32(1 / 3), 2.0**-10
    dataset = Dataset(np.full((2, 1), x, np.float32), np.array([0, 1]), ("a", "b"))
    model = with_weights(np.ones((1, 1)), [[w, -w]])
    lead = 2 * np.float64(w) * x
    pair = np.log1p(np.exp(-lead)) - np.log(2), np.log1p(np.exp(lead)) - np.log(2)
    total = -2 * np.log1p(2 * np.sinh(lead / 4) ** 2)
    settings = {"precision": precision, "engine": engine, "per_image": tmp_path / "pairs.npy"}
    effects = ablate_units(model, dataset, "in", **settings)
    assert effects.verdict() == ["improves"]
    np.testing.assert_array_equal(effects.recomputed, [0])
    assert effects.total()[0] == pytest.approx(total, rel=1e-9)
    # What is kept of each pair is the better number as well.
    np.testing.assert_allclose(effects.per_image[:, 0], -np.array(pair), rtol=1e-6)


@pytest.mark.parametrize("kind", signs.KINDS)
def test_changes_in_float64_have_the_digits_of_float64(kind):
    case = signs.drawn(kind, 12, np.random.default_rng(5))
    model = with_weights(*case.weights)
    effects = ablate_units(model, case.dataset, "in", engine=kind, precision="float64")
    assert effects.precision == "float64 changes of float64 values"
    x, labels = case.dataset.images.astype(np.longdouble), case.dataset.labels
    before = signs.losses(case.weights, x, labels)
    known_to = 1e-17 * before.sum()
    relative = []
    for unit in effects.units:
        ablated = np.where(np.arange(x.shape[-1]) == unit, 0, x)
        change = signs.losses(case.weights, ablated, labels) - before
        assert abs(effects.total()[unit] - change.sum()) <= effects.error[unit] + known_to
        if size := np.abs(change).sum():
            relative.append(effects.error[unit] / size)
    assert np.median(relative) < 1e-11


def test_a_network_that_casts_to_float32_stays_undecided_and_says_so_when_asked_for_more():
    def network(images, tap):
        return tap("in", images).astype(jnp.float32) @ jnp.array([[1, -1]], jnp.float32)

    dataset = Dataset(np.full((2, 1), 1e-9, np.float32), np.array([0, 1]), ("a", "b"))
    effects = ablate_units(network, dataset, "in", engine="generic")
    assert effects.verdict() == ["undecided"]
    assert len(effects.recomputed) == 0
    with pytest.raises(ValueError, match="casts to float32 itself: its changes cannot"):
        ablate_units(network, dataset, "in", engine="generic", precision="float64")
    with pytest.raises(ValueError, match="casts to float32 itself: it cannot be verified"):
        ablate_units(network, dataset, "in", engine="generic", verify=1)


# --- brute force --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "generic"])
def test_verification_is_brute_force_on_some_units(kind):
    case = signs.drawn(kind, 10, np.random.default_rng(3))
    model = with_weights(*case.weights)
    effects = ablate_units(model, case.dataset, "in", engine=kind, verify=9)
    found = effects.verification
    assert found is not None
    assert len(set(found.units)) == 9
    x, labels = case.dataset.images.astype(np.longdouble), case.dataset.labels
    before = signs.losses(case.weights, x, labels)
    for at, unit in enumerate(found.units):
        ablated = np.where(np.arange(x.shape[-1]) == unit, 0, x)
        change = signs.losses(case.weights, ablated, labels) - before
        assert abs(found.loss_change[at] - change.sum()) <= found.resolution[at]
        assert abs(found.size[at] - np.abs(change).sum()) <= found.resolution[at]
    off = np.abs(effects.total()[found.units] - found.loss_change)
    np.testing.assert_allclose(found.error, off, atol=1e-300)
    assert (found.error <= effects.error[found.units] + found.resolution).all()


def test_verification_finds_an_ablation_that_is_wrong(monkeypatch):
    """Off by one part in a thousand, which nothing else would notice."""
    case = signs.drawn("dense", 10, np.random.default_rng(3))
    model = with_weights(*case.weights)
    from jaxsel.ablation import sums

    add = sums.Sums.add

    def wrong(self, block, labels):
        add(self, block._replace(change=block.change * 1.001), labels)

    plain = ablate_units(model, case.dataset, "in", verify=20).verification
    monkeypatch.setattr(sums.Sums, "add", wrong)
    found = ablate_units(model, case.dataset, "in", verify=20).verification
    assert plain is not None
    assert found is not None
    assert plain.worst() < 1e-6
    assert found.worst() > 1e-5


def test_a_verification_of_nothing_does_not_hide_an_error():
    none = np.zeros(2)
    numbers = np.array([0, 1]), none, none, np.array([0.0, 5.0]), np.full(2, 1e-15)
    assert Verification(*numbers).worst() == pytest.approx(5e15)
    unknown = np.array([np.nan, 1.0])
    assert np.isnan(Verification(numbers[0], unknown, unknown, unknown, none + 1).worst())


def test_a_network_that_casts_inside_its_dense_layers_is_not_verified():
    def network(images, tap):
        x = tap("in", images.astype(jnp.float32))
        return x @ jnp.ones((2, 2), jnp.float32)

    dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("a", "b"))
    assert ablate_units(network, dataset, "in").engine == "dense"
    with pytest.raises(ValueError, match="it cannot be verified"):
        ablate_units(network, dataset, "in", verify=1)


def test_groups_are_verified_as_groups():
    case = signs.drawn("generic", 10, np.random.default_rng(3))
    masks = np.random.default_rng(0).random((4, 64)) < 0.3
    model = with_weights(*case.weights)
    found = ablate_units(model, case.dataset, "in", groups=masks, verify=4).verification
    assert found is not None
    assert (found.error <= 1e-5 * found.size + found.resolution).all()


@pytest.mark.parametrize("n", [-1, 3])
def test_more_verifications_than_units_are_refused(n):
    dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("a", "b"))
    with pytest.raises(ValueError, match=f"verify must be 0 to 2, .*; found {n}"):
        ablate_units(lambda images, tap: tap("in", images), dataset, "in", verify=n)


def test_the_global_precision_is_left_alone():
    case = signs.drawn("dense", 4, np.random.default_rng(1))
    ablate_units(with_weights(*case.weights), case.dataset, "in", precision="float64", verify=1)
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == np.float32
