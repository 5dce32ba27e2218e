"""The dense engine on networks set by hand, whose effects are known in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel import ablate_units
from tests.references import heads


@pytest.fixture(autouse=True)
def products_in_float32(request, monkeypatch):
    """As with many classes; the trained networks have few, and float64."""
    if "data" not in request.keywords:
        monkeypatch.setattr("jaxsel.ablation.dense.FEW_OUTPUTS", 0)


# A float32 product, a few roundings of the change of the loss.
SIX_DIGITS = 1e-6
LAYERS = pytest.mark.parametrize("n_layers", [1, 2])
# The response itself through a ReLU layer: relu(x) - relu(-x).
SPLIT, JOIN = np.array([[1.0, -1.0]]), np.array([[1.0], [-1.0]])


def lead_network(n_layers):
    """The label 0 of two leads by the sum of two responses of either sign."""
    if n_layers == 1:
        return heads.head([[1, 0], [1, 0]], None)
    return heads.head(np.tile(SPLIT, (2, 1)), None, JOIN * [1, 0], None)


def column_network(bias=0.0):
    """One hidden column, the sum of two responses; behind its ReLU it is the lead of 0."""
    return heads.head([[1], [1]], [bias], [[1, 0]], None)


def loss(lead):
    """Two classes, of which the label's logit is larger by `lead`."""
    lead = np.float64(lead)
    return np.where(lead > 0, np.log1p(np.exp(-abs(lead))), -lead + np.log1p(np.exp(lead)))


def ablate_second(network, before, after, folder, **settings):
    """Pairs of unit 1, without which the sum of both responses goes from one to the other."""
    before, after = np.float64(before), np.float64(after)
    data = heads.dataset(np.stack([after, before - after], 1), [0] * len(before), 2)
    effects = ablate_units(
        network, data, "site", units=np.array([1]), engine="dense",
        per_image=folder / "pairs.npy", **settings,
    )  # fmt: skip
    return effects, np.array(effects.per_image[:, 0], np.float64)


# --- the loss -----------------------------------------------------------------------------


@LAYERS
@pytest.mark.parametrize(
    "before, after",
    [(0, 1), (200, 50), (-200, -50), (0, 150), (0, -150), (100, -100), (-50, -32), (-18, 0),
     (-18, -2.0**-6), (27.5, 26.5), (27.5, 28.5), (69, 68), (69, 69.0 - 2.0**-10),
     (69, 69.0 + 2.0**-10), (40, -40), (-50, 50), (1, 1 - 2.0**-12), (-50, -50 + 2.0**-12)],
)  # fmt: skip
def test_changes_keep_six_digits(n_layers, before, after, tmp_path):
    """Losses from 1e-87 to 200 nats: sure, wrong, underflowing, and the way between them.

    The label leads by `before`, and by `after` without the unit.
    """
    effects, (pair,) = ablate_second(lead_network(n_layers), [before], [after], tmp_path)
    if abs(before - after) < 0.01:  # the difference of the two losses loses digits
        expected = np.log1p(np.expm1(before - after) / (1 + np.exp(np.float64(before))))
    else:
        expected = loss(after) - loss(before)
    np.testing.assert_allclose(effects.total(), expected, rtol=SIX_DIGITS)
    np.testing.assert_allclose(pair, expected, rtol=SIX_DIGITS)
    np.testing.assert_array_equal(effects.top1_change[0], [(after >= 0) * 1 - (before >= 0), 0])
    assert effects.baseline.loss[0] == pytest.approx(loss(before), rel=1e-12)


@LAYERS
def test_a_probability_that_underflows_and_comes_back_counts(n_layers):
    """Logits 0, -200, -1, -300: without the unit the second is -50, the label's loss 1e-22.

    The third class is what is lost otherwise: it holds a loss of its own that stays.
    """
    rows = [[0, -150, 0, 0]]
    layers = [rows] if n_layers == 1 else [np.ones((1, 1)), None, rows]
    network = heads.head(*layers, [0, -50, -60, -300])
    data = heads.dataset([[1], [1]], [0, 1], 4)
    effects = ablate_units(network, data, "site", engine="dense")
    assert effects.loss_change[0, 0] == pytest.approx(np.exp(-50), rel=SIX_DIGITS)
    assert effects.loss_change[0, 1] == pytest.approx(-150, rel=SIX_DIGITS)


@LAYERS
@pytest.mark.parametrize("change", [-150.0, 150.0])
def test_a_large_change_among_very_many_classes_keeps_six_digits(n_layers, change):
    """600 classes, of which the label's logit alone is not 0: from +-100 it goes to -+50."""
    rows = np.zeros((1, 600))
    rows[0, 599] = -change
    layers = [rows] if n_layers == 1 else [np.ones((1, 1)), None, rows]
    bias = np.zeros(600)
    bias[599] = np.sign(change) * 50
    data = heads.dataset([[1]], [599], 600)
    effects = ablate_units(heads.head(*layers, bias), data, "site", engine="dense")

    def of(logit):
        return np.logaddexp(0, np.log(599) - logit)

    expected = of(bias[599]) - of(bias[599] - change)
    assert effects.total()[0] == pytest.approx(expected, rel=SIX_DIGITS)


@LAYERS
def test_a_unit_by_hand(n_layers):
    """Logits (ln 3, 0) become (0, 0): a loss of ln 4/3 becomes ln 2; then the other way."""
    network = lead_network(n_layers)
    data = heads.dataset([[np.log(3), 0], [0, -np.log(3)]], [0, 0], 2)
    effects = ablate_units(network, data, "site", engine="dense")
    # ln 3 is rounded to float32 in the responses.
    expected = [np.log(2) - np.log(4 / 3), np.log(2) - np.log(4)]
    np.testing.assert_allclose(effects.total(), expected, rtol=SIX_DIGITS)
    np.testing.assert_array_equal(effects.top1_change, [[0, 0], [1, 0]])
    assert effects.verdict() == ["harms", "improves"]


@LAYERS
def test_silent_and_unread_units_are_exactly_zero_and_say_so(n_layers, tmp_path):
    """Units: needed, in the way, silent, read with weights of 0, and seen only where off."""
    rows = np.array([[1, 0], [0, 1], [5, 1], [0, 0], [0, 0]])
    if n_layers == 1:
        network = heads.head(rows, None)
    else:
        off = np.array([[0], [0], [0], [0], [1]])  # a column at -3 and, without unit 4, -4
        weight = np.concatenate([rows, off], 1)
        network = heads.head(weight, [0, 0, -4], [[1, 0], [0, 1], [7, 3]], None)
    data = heads.dataset(np.tile([[3, 1, 0, 1, 1]], (3, 1)), [0, 0, 0], 2)
    effects = ablate_units(
        network, data, "site", engine="dense", batch_size=2, per_image=tmp_path / "pairs.npy"
    )
    assert effects.verdict() == ["harms", "improves", "zero", "zero", "zero"]
    expected = 3 * np.array([loss(-1) - loss(2), loss(3) - loss(2)])
    np.testing.assert_allclose(effects.total()[:2], expected, rtol=SIX_DIGITS)
    for found in (effects.loss_change, effects.top1_change, effects.top5_change, effects.error):
        np.testing.assert_array_equal(found[2:], 0)
    np.testing.assert_array_equal(effects.per_image[:, 2:], 0)
    np.testing.assert_array_equal(effects.baseline.images, [3, 0])


@LAYERS
@pytest.mark.parametrize("k, above", [(5, 10.0), (1, -10.0)])
def test_a_tie_counts_for_the_lower_class(n_layers, k, above):
    """Four classes lie above both of two (or below); the ablation makes the two equal.

    Units raise class 4, raise 5, lower 4, lower 5: each is alone in an image of the label
    that it moves. Nothing is a round number in binary, so that rounding could decide.
    """
    bias = [above] * 4 + [0.1, 0.1, -20.0]
    rows = np.zeros((4, 7))
    rows[[0, 1, 2, 3], [4, 5, 4, 5]] = [0.3, 0.3, -0.3, -0.3]
    layers = [rows] if n_layers == 1 else [0.7 * np.eye(4), None, rows]
    data = heads.dataset(0.77 * np.eye(4), [4, 5, 4, 5], 7)
    effects = ablate_units(heads.head(*layers, bias), data, "site", engine="dense")
    found = {1: effects.top1_change, 5: effects.top5_change}
    np.testing.assert_array_equal(found[k].sum(1), [0, -1, 1, 0])
    np.testing.assert_array_equal(found[6 - k], np.zeros((4, 7)))


# --- hidden columns -----------------------------------------------------------------------

STAYS_OFF = [(-1, -(2.0**-20)), (-1, 0), (-1, -1.5), (0, -1), (-(2.0**-20), 0), (-1e-30, -3)]
SWITCHES = [(-1, 1), (-1, 2.0**-20), (0, 1), (0, 2.0**-20), (1, -1), (1, 0), (2.0**-20, -5),
            (1, 2.0**-20), (-1000, 1), (1, -1000)]  # fmt: skip


def test_a_column_that_stays_off_changes_nothing_exactly(tmp_path):
    """At 0 it is off, too, before and after."""
    effects, pairs = ablate_second(column_network(), *zip(*STAYS_OFF, strict=True), tmp_path)
    np.testing.assert_array_equal(pairs, 0)
    assert (effects.total(), effects.error, effects.verdict()) == (0, 0, ["zero"])


@pytest.mark.parametrize("before, after", SWITCHES)
def test_a_column_that_is_switched_on_or_off_counts(before, after, tmp_path):
    effects, (pair,) = ablate_second(column_network(), [before], [after], tmp_path)
    expected = loss(max(after, 0)) - loss(max(before, 0))
    assert pair == pytest.approx(expected, rel=SIX_DIGITS)
    assert effects.verdict() == ["harms" if expected > 0 else "improves"]


@pytest.mark.parametrize("value", [0.0, 0.375])
def test_negative_responses_move_up_to_the_replacement(value, tmp_path):
    """Behind a leaky ReLU of slope 1/8: -2 is -0.25, and the mean of -0.25 and 1 is 0.375."""
    network = heads.head([[1]], None, [[1, 0]], None, slope=0.125)
    data = heads.dataset([[-2], [1]], [0, 0], 2)
    effects = ablate_units(
        network, data, "site", replacement=value, per_image=tmp_path / "pairs.npy"
    )
    expected = loss(value) - loss([0, 1])
    assert (expected[0] == 0) == (value == 0)
    np.testing.assert_allclose(effects.per_image[:, 0], expected, rtol=SIX_DIGITS)


def test_no_possible_column_is_left_out_of_matrices_of_any_scale(rng):
    """Columns from 1e-30 to 1e6, some with a single weight of 1e6 on a silent unit.

    In image 0 each column is as far below its threshold as 3/4 of what the unit that moves
    it most can do, and the second layer makes all columns equally important.
    """
    n_units, n_hidden = 300, 150
    scale = 10.0 ** rng.uniform(-30, 6, n_hidden)
    responses = np.abs(rng.normal(size=(4, n_units))).astype(np.float32)
    responses[:, 0] = 0
    first = (scale * rng.normal(size=(n_units, n_hidden))).astype(np.float32)
    first[0, ::3] = 1e6
    terms = np.float64(responses[0])[:, None] * first
    bias = -terms.sum(0) - 0.75 * (-terms).max(0)
    second = np.sign(rng.normal(size=(n_hidden, 2))) / scale[:, None]
    network = heads.head(first, bias, second, None)
    data = heads.dataset(responses, [0, 1, 0, 1], 2)
    truth = heads.ablate(network, data, range(n_units))
    assert (truth.change[0] != 0).sum() >= 60  # a unit may move several of the columns most
    effects = ablate_units(network, data, "site", engine="dense")
    error = np.abs(effects.total() - truth.change.sum(0)) - truth.rounding.sum(0)
    # A column's change may be a tenth of its distance from the threshold, or less.
    assert (error <= 10 * SIX_DIGITS * truth.size.sum(0)).all()
    assert (effects.error[~truth.unchanged.all(0)] > 0).all()


# --- what cannot be computed --------------------------------------------------------------


@pytest.mark.parametrize("network, response, value", [
    ([[100.0]], 0.5, 1e38),  # the change of a column
    ([[3e38]], 100.0, 0.0),  # the column itself
], ids=["change", "column"])  # fmt: skip
def test_an_effect_beyond_float32_is_refused(network, response, value):
    data = heads.dataset([[response]], [0], 2)
    with pytest.raises(FloatingPointError, match="unit 0 of site is NaN or infinite"):
        ablate_units(
            heads.head(network, None, [[1, 0]], None), data, "site", replacement=value,
            engine="dense",
        )  # fmt: skip


def test_a_replacement_beyond_float32_is_not_taken_for_no_effect():
    """The column is off, and so far on with the replacement that float32 ends before."""
    data = heads.dataset([[0.5]], [0], 2)
    network = heads.head([[1]], [-1], [[1, 0]], None)
    with pytest.raises((FloatingPointError, ValueError)):
        ablate_units(network, data, "site", replacement=1e39, engine="dense")


# --- the estimate of the error ------------------------------------------------------------


def assert_within_estimate(network, data):
    truth = heads.ablate(network, data, range(data.images.shape[1]))
    effects = ablate_units(network, data, "site", engine="dense")
    error = np.abs(effects.total() - truth.change.sum(0)) - truth.rounding.sum(0)
    assert (error <= effects.error).all(), (error, effects.error)


@pytest.mark.parametrize("margin", [1e-2, 1e-3, 1e-5])
def test_error_estimate_holds_for_a_column_that_is_just_switched_on(margin):
    """The column goes from -0.7 to the margin: its change is a difference of products."""
    network = heads.head([[-1.0]], [margin], [[1, 0]], None)
    assert_within_estimate(network, heads.dataset([[0.7]], [0], 2))


def test_an_effect_below_the_rounding_of_its_column_is_not_called_zero():
    """The truth is -5e-10 nats; what is certain is that the logits do change."""
    network = heads.head([[-1.0]], [1e-9], [[1, 0]], None)
    effects = ablate_units(network, heads.dataset([[0.7]], [0], 2), "site", engine="dense")
    assert effects.verdict() in (["improves"], ["undecided"])


def test_a_column_brought_to_exactly_0_stays_off(rng):
    """Without biases and without the only active unit: all columns were off and are at 0."""
    weight = np.abs(rng.normal(size=(1, 30)))
    network = heads.head(-weight, None, rng.normal(size=(30, 3)), None)
    data = heads.dataset(np.abs(rng.normal(size=(20, 1))), np.arange(20) % 3, 3)
    effects = ablate_units(network, data, "site", engine="dense")
    np.testing.assert_array_equal(effects.loss_change, 0)
    np.testing.assert_array_equal(effects.top1_change, 0)
    assert effects.verdict() == ["zero"]


def test_error_estimate_holds_for_columns_that_cancel():
    """Two columns with nearly opposite weights behind: each sum is rounded to their size."""
    network = heads.head([[0.3, 0.7]], None, [[1, 0], [-3 / 7, 0]], None)
    assert_within_estimate(network, heads.dataset([[0.77]], [0], 2))


@LAYERS
def test_a_sure_effect_of_a_sure_image_is_decided(n_layers, tmp_path):
    """The label leads by 69, then by 20: a loss of 1e-30 becomes one of 2e-9."""
    effects, _ = ablate_second(lead_network(n_layers), [69], [20], tmp_path)
    assert effects.verdict() == ["harms"]


def test_responses_cast_to_float32_are_known_to_their_rounding():
    """The estimate grows with the response's own error; the effect is of the cast one."""
    network = column_network()

    def model(images, tap):
        return network(images, lambda site, x: tap(site, (x / 3).astype(jnp.float32)))

    data = heads.dataset([[1, 1]], [0], 2)
    cast = ablate_units(model, data, "site", engine="dense")
    expected = loss(1 / 3) - loss(2 / 3)
    assert cast.precision == "float32 changes of float32 values"
    assert (np.abs(cast.total() - expected) <= cast.error).all()
    assert (cast.error > 2.0**-22 * expected).all()
