"""Orientation selectivity against closed forms, integrals, loops, and known filters."""

import cmath
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsel import record
from jaxsel.data import Dataset, gratings
from jaxsel.metrics import (
    fit_tuning,
    global_orientation_selectivity_index,
    orientation_selectivity_index,
    preferred_orientation,
    tuning_curves,
    tuning_reliability,
)
from jaxsel.metrics.orientation import evenly_spread

TWELVE = np.arange(12) * 15.0
ROUNDING = 1e-6  # sums of some ten float32 numbers


def gosi(curve, orientations=TWELVE, **silent):
    curve = jnp.asarray(curve, jnp.float32).reshape(len(orientations), -1)
    return np.asarray(global_orientation_selectivity_index(curve, orientations, **silent))


def osi(curve, orientations=TWELVE, **silent):
    curve = jnp.asarray(curve, jnp.float32).reshape(len(orientations), -1)
    return np.asarray(orientation_selectivity_index(curve, orientations, **silent))


def gosi_loop(curve, orientations):
    """As the formula is written, in Python's complex numbers."""
    around = sum(
        r * cmath.exp(2j * math.radians(angle))
        for r, angle in zip(curve, orientations, strict=True)
    )
    return abs(around) / sum(curve)


@given(
    curve=st.lists(st.floats(0, 100, width=32), min_size=8, max_size=8),
    start=st.floats(0, 180),
)
@settings(max_examples=60, deadline=None)
def test_gosi_is_its_formula(curve, start):
    angles = start + np.arange(8) * 22.5
    total = sum(curve)
    if total < 1e-30:  # of numbers that float32 takes for 0
        return
    assert gosi(curve, angles)[0] == pytest.approx(gosi_loop(curve, angles), abs=ROUNDING)


@given(curve=st.lists(st.floats(0, 100, width=32), min_size=12, max_size=12))
@settings(max_examples=60, deadline=None)
def test_osi_is_its_formula(curve):
    best = curve.index(max(curve))
    total = curve[best] + curve[(best + 6) % 12]
    expected = (curve[best] - curve[(best + 6) % 12]) / total if total else np.nan
    assert osi(curve)[0] == pytest.approx(expected, abs=ROUNDING, nan_ok=True)


@pytest.mark.parametrize("peak", [0, 7.5, 37, 100, 179])
def test_cos_squared_has_a_gosi_of_one_half(peak):
    curve = np.cos(np.deg2rad(TWELVE - peak)) ** 2
    assert gosi(curve)[0] == pytest.approx(0.5, abs=ROUNDING)
    found = preferred_orientation(jnp.asarray(curve, jnp.float32)[:, None], TWELVE)
    assert float(found[0]) == pytest.approx(peak, abs=1e-4)  # radians in float32, doubled


def test_one_orientation_alone_has_1_and_all_alike_have_0():
    one = np.eye(12)[3] * 7.3
    assert osi(one).tolist() == [1]
    assert gosi(one)[0] == pytest.approx(1, abs=ROUNDING)
    flat = np.full(12, 7.3)
    assert osi(flat).tolist() == [0]
    assert gosi(flat)[0] == pytest.approx(0, abs=ROUNDING)
    assert np.isnan(preferred_orientation(jnp.asarray(flat, jnp.float32)[:, None], TWELVE))


def test_silent_units_are_undefined_or_what_is_asked_for():
    silent = np.zeros(12)
    assert np.isnan([gosi(silent), osi(silent)]).all()
    assert gosi(silent, silent=0.0).tolist() == osi(silent, silent=0.0).tolist() == [0]
    assert np.isnan(preferred_orientation(jnp.zeros((12, 1)), TWELVE)).all()


@pytest.mark.parametrize("kind", [np.int32, np.float16])
def test_whole_numbers_and_half_precision_have_the_same_index(kind):
    """Of a curve 0 to 11: no cosine is cut to a whole number."""
    curve = np.arange(12, dtype=kind)[:, None]
    doubled = np.exp(2j * np.deg2rad(TWELVE))
    expected = abs((np.arange(12) * doubled).sum()) / 66
    found = global_orientation_selectivity_index(curve, TWELVE)
    assert float(found[0]) == pytest.approx(expected, abs=ROUNDING)
    angle = np.rad2deg(np.angle((np.arange(12) * doubled).sum())) / 2 % 180
    assert float(preferred_orientation(curve, TWELVE)[0]) == pytest.approx(angle, abs=1e-3)
    assert orientation_selectivity_index(curve, TWELVE).tolist() == pytest.approx([6 / 16])


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_negative_and_missing_responses_are_undefined(value):
    curve = np.ones(12)
    curve[5] = value
    assert np.isnan([gosi(curve, silent=0.0), osi(curve, silent=0.0)]).all()
    assert np.isnan(preferred_orientation(jnp.asarray(curve)[:, None], TWELVE)).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_size_of_responses_is_irrelevant(scale):
    curve = np.float32(np.cos(np.deg2rad(TWELVE - 40)) ** 4)
    for index in (gosi, osi):
        assert index(curve * np.float32(scale))[0] == pytest.approx(index(curve)[0], rel=1e-5)


def test_the_order_of_orientations_is_irrelevant(rng):
    curve = rng.uniform(size=12)
    order = rng.permutation(12)
    assert osi(curve[order], TWELVE[order])[0] == osi(curve)[0]
    assert gosi(curve[order], TWELVE[order])[0] == pytest.approx(gosi(curve)[0], abs=ROUNDING)


@pytest.mark.parametrize(
    "orientations, sentence",
    [
        ([0, 30, 60], "spread evenly over 180 degrees"),
        ([0, 0, 90], "spread evenly"),
        ([0, 60, 120], "none is at a right angle"),
    ],
)
def test_other_orientations_are_refused(orientations, sentence):
    with pytest.raises(ValueError, match=sentence):
        orientation_selectivity_index(jnp.ones((3, 1)), np.array(orientations))
    with pytest.raises(ValueError, match="curves are of 3 orientations, 2 are named"):
        evenly_spread(np.array([0, 90]), 3)


def test_curves_are_at_the_frequency_with_the_largest_response(rng):
    responses = rng.uniform(size=(6, 5, 4, 30)).astype(np.float32)
    curves, frequency = tuning_curves(responses)
    averaged, of_mean = tuning_curves(responses, "mean")
    for unit in range(30):
        one = responses[..., unit]
        best = np.unravel_index(one.argmax(), one.shape)[1]
        assert frequency[unit] == best
        np.testing.assert_array_equal(curves[:, unit], one[:, best].max(axis=1))
        mean = one.mean(axis=2)
        assert of_mean[unit] == np.unravel_index(mean.argmax(), mean.shape)[1]
        np.testing.assert_allclose(averaged[:, unit], mean[:, of_mean[unit]], rtol=1e-6)
    with pytest.raises(ValueError, match="max or mean; found 'median'"):
        tuning_curves(responses, "median")


def test_reliability_is_the_correlation_of_both_halves_of_the_phases(rng):
    responses = rng.uniform(size=(12, 3, 4, 10)).astype(np.float32)
    _, frequency = tuning_curves(responses)
    for unit, found in enumerate(tuning_reliability(responses)):
        at = responses[:, int(frequency[unit]), :, unit]
        halves = at[:, [0, 2]].max(axis=1), at[:, [1, 3]].max(axis=1)
        assert float(found) == pytest.approx(scipy.stats.pearsonr(*halves)[0], abs=ROUNDING)


def test_reliability_is_1_for_twice_the_same_and_undefined_where_nothing_varies():
    curve = np.cos(np.deg2rad(TWELVE)) ** 2
    same = np.broadcast_to(curve[:, None, None, None], (12, 1, 2, 1))
    assert float(tuning_reliability(same)[0]) == pytest.approx(1, abs=ROUNDING)
    for flat in (same * 0, same * 0 + 1.7, same * np.array([1, 0])[:, None]):
        assert np.isnan(tuning_reliability(flat)).all()
    with pytest.raises(ValueError, match="3 phases do not make two halves"):
        tuning_reliability(np.ones((4, 1, 3, 1)))


# A bank of Gabor filters in quadrature: a Gaussian of this size around waves of 3 or 6 cycles.
SIDE, SIZE = 65, 0.09
PREFERRED = np.array([0.0, 11.0, 37.5, 64.0, 90.0, 122.0, 176.0])
CYCLES = np.array([6.0, 6.0, 3.0, 6.0, 6.0, 3.0, 6.0])


def gabor_bank():
    """Complex weights `(pixels, units)`, of places and waves written out here."""
    y, x = np.mgrid[SIDE // 2 : -SIDE // 2 : -1, -(SIDE // 2) : SIDE // 2 + 1] / SIDE
    across = y[..., None] * np.cos(np.deg2rad(PREFERRED)) - x[..., None] * np.sin(
        np.deg2rad(PREFERRED)
    )
    envelope = np.exp(-(x**2 + y**2) / (2 * SIZE**2))[..., None]
    bank = envelope * np.exp(2j * np.pi * CYCLES * across)
    bank -= envelope * bank.sum(axis=(0, 1)) / envelope.sum()  # blind to the mean
    return bank.reshape(-1, len(PREFERRED))


def gabor_response(orientation, frequency, unit):
    """The integral of Gabor times grating, in closed form: two Gaussians of frequency."""

    def gaussian(distance_squared):
        return math.exp(-2 * math.pi**2 * SIZE**2 * distance_squared)

    def wave(angle, cycles):
        return cycles * cmath.exp(1j * math.radians(angle))

    own, other = wave(PREFERRED[unit], CYCLES[unit]), wave(orientation, frequency)
    mean = gaussian(abs(own) ** 2) * gaussian(abs(other) ** 2)
    # Over phases, the amplitude of the sum of both; the second is 1e-5 of the first or less.
    return abs(gaussian(abs(own - other) ** 2) - mean) + abs(
        gaussian(abs(own + other) ** 2) - mean
    )


def energy(images, tap):
    """A network of complex cells: the length of what both phases of a filter respond."""
    bank = gabor_bank()
    flat = images.reshape(len(images), -1) - 0.5
    parts = [flat @ jnp.asarray(part, images.dtype) for part in (bank.real, bank.imag)]
    return tap("energy", jnp.hypot(*parts))


def simple(images, tap):
    """Simple cells: one phase, and a ReLU."""
    flat = images.reshape(len(images), -1) - 0.5
    return tap("simple", jax.nn.relu(flat @ jnp.asarray(gabor_bank().real, images.dtype)))


def recorded(network, site, dataset):
    found = record(network, dataset, [site], keep_responses=True)[site].per_image
    return found.reshape(*dataset.images.shape, -1)


@pytest.fixture(scope="module")
def to_gratings():
    """Of the bank of complex cells: at 24 orientations, 3 frequencies and 4 phases."""
    dataset = gratings(
        np.arange(24) * 7.5, [1.5, 3, 6], [0, 90, 180, 270], image=(SIDE, SIDE, 1)
    )
    return {
        name: recorded(network, name, dataset)
        for name, network in (("energy", energy), ("simple", simple))
    }


def test_gabor_filters_have_their_orientation_and_frequency(to_gratings):
    angles, step = np.arange(24) * 7.5, 7.5
    for responses in to_gratings.values():
        curves, frequency = tuning_curves(responses)
        assert np.array([1.5, 3, 6])[frequency].tolist() == CYCLES.tolist()
        off = np.asarray(preferred_orientation(curves, angles)) - PREFERRED
        assert np.abs((off + 90) % 180 - 90).max() < step / 2
        # Of complex cells, whose curve is the same on both sides, far less.
    curves, _ = tuning_curves(to_gratings["energy"])
    off = np.asarray(preferred_orientation(curves, angles)) - PREFERRED
    assert np.abs((off + 90) % 180 - 90).max() < 0.05


def test_gabor_filters_have_the_gosi_that_integration_gives(to_gratings):
    curves, _ = tuning_curves(to_gratings["energy"])
    found = np.asarray(global_orientation_selectivity_index(curves, np.arange(24) * 7.5))
    for unit, index in enumerate(found):

        def around(angle, way, unit=unit):
            response = gabor_response(angle, CYCLES[unit], unit)
            return response * way(2 * math.radians(angle - PREFERRED[unit]))

        ends = PREFERRED[unit] - 90, PREFERRED[unit] + 90
        total = scipy.integrate.quad(around, *ends, args=(lambda _: 1.0,), limit=200)[0]
        along = scipy.integrate.quad(around, *ends, args=(math.cos,), limit=200)[0]
        assert index == pytest.approx(along / total, abs=1e-3)


def test_gabor_filters_have_the_half_width_of_their_curve(to_gratings):
    """Half-way down between 0 and the peak, by the closed form; a bell is not a Gaussian."""
    curves, _ = tuning_curves(to_gratings["energy"])
    fit = fit_tuning(curves, np.arange(24) * 7.5)
    for unit, width in enumerate(fit.half_width):
        angles = np.linspace(0, 90, 9001)
        response = [gabor_response(PREFERRED[unit] + a, CYCLES[unit], unit) for a in angles]
        half = (response[0] + response[-1]) / 2
        expected = angles[np.argmin(np.abs(np.array(response) - half))]
        assert width == pytest.approx(expected, abs=1.5)
    assert fit.r_squared.min() > 0.99


@pytest.mark.parametrize("network, site", [(energy, "energy"), (simple, "simple")])
def test_rotated_stimuli_rotate_preferences(network, site, to_gratings):
    angles = np.arange(24) * 7.5
    plain = gratings(angles, [1.5, 3, 6], [0, 90, 180, 270], image=(SIDE, SIDE, 1))
    turned = np.rot90(plain.inputs(slice(None)), axes=(1, 2))  # anticlockwise
    rotated = Dataset(np.ascontiguousarray(turned), plain.labels, plain.class_names)
    found = record(network, rotated, [site], keep_responses=True)[site].per_image
    curves, _ = tuning_curves(found.reshape(*plain.images.shape, -1))
    before, _ = tuning_curves(to_gratings[site])
    # What is shown as 20 degrees is now at 110: what preferred 110 prefers 20.
    off = np.asarray(preferred_orientation(before, angles)) - np.asarray(
        preferred_orientation(curves, angles)
    )
    np.testing.assert_allclose(off % 180, 90, rtol=0, atol=0.01)
    for index in (gosi, osi):
        np.testing.assert_allclose(index(curves, angles), index(before, angles), atol=1e-5)


def bell(angles, preferred, k):
    """Von Mises between 0 and 1, as the docstring has it."""
    around = np.exp(k * np.cos(2 * np.deg2rad(angles - preferred)))
    return (around - np.exp(-k)) / (np.exp(k) - np.exp(-k))


@given(
    preferred=st.floats(0, 180, exclude_max=True),
    k=st.floats(0.1, 15),
    lowest=st.floats(-5, 5),
    height=st.floats(0.01, 100),
)
@settings(max_examples=30, deadline=None)
def test_a_fit_finds_the_curve_it_is_given(preferred, k, lowest, height):
    curve = lowest + height * bell(TWELVE, preferred, k)
    fit = fit_tuning(curve[:, None], TWELVE)
    fine = np.linspace(0, 90, 200_001)
    half = fine[np.argmin(np.abs(bell(fine, 0, k) - 0.5))]
    assert fit.r_squared[0] == pytest.approx(1, abs=1e-9)
    assert (fit.preferred[0] - preferred + 90) % 180 - 90 == pytest.approx(0, abs=0.01)
    assert fit.half_width[0] == pytest.approx(half, abs=0.02)
    assert fit.peak[0] == pytest.approx(lowest + height, abs=1e-3 * height)
    assert fit.lowest[0] == pytest.approx(lowest, abs=1e-3 * height)


@pytest.mark.parametrize("n, k", [(60, 500.0), (180, 4000.0), (2000, 60.0)])
def test_narrow_curves_among_many_orientations_are_fitted_without_overflow(n, k):
    """Where e to the k is more than a float holds, the lower end of the bell is 0."""
    angles = np.arange(n) * 180 / n
    curve = 3 + 2 * np.exp(k * (np.cos(2 * np.deg2rad(angles - 77.3)) - 1))
    fit = fit_tuning(curve[:, None], angles)
    half = np.rad2deg(np.arccos(1 - np.log(2) / k)) / 2
    assert fit.half_width[0] == pytest.approx(half, rel=1e-4)
    assert fit.preferred[0] == pytest.approx(77.3, abs=1e-3)
    assert fit.peak[0] == pytest.approx(5, abs=1e-3)


def test_no_fit_is_narrower_than_the_orientations_tell():
    fit = fit_tuning(np.eye(12)[:, :1], TWELVE)
    assert fit.half_width[0] == pytest.approx(7.5, abs=1e-3)
    assert fit.preferred[0] % 180 == pytest.approx(0, abs=0.01)


def test_flat_units_have_no_fit_and_two_peaks_a_poor_one():
    fit = fit_tuning(np.stack([np.full(12, 3.0), np.tile([1.0, 0, 0], 4)], axis=1), TWELVE)
    assert np.isnan([getattr(fit, name)[0] for name in vars(fit)]).all()
    assert fit.r_squared[1] < 0.3


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(12, 4, 5), (0, 2, 2, 3), (12, 2, 0, 3)])
def test_responses_of_another_shape_are_refused(shape):
    for function in (tuning_curves, tuning_reliability):
        with pytest.raises(ValueError, match="orientations, frequencies, phases, units"):
            function(np.ones(shape, np.float32))


@pytest.mark.usefixtures("unchecked")
def test_impossible_fits_are_refused():
    with pytest.raises(ValueError, match=r"take curve\[:, None\]"):
        fit_tuning(np.arange(12.0), TWELVE)
    with pytest.raises(ValueError, match="5 orientations or more; found 4"):
        fit_tuning(np.ones((4, 1)), np.arange(4) * 45)
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit_tuning(np.full((12, 1), np.nan), TWELVE)


def test_indices_are_differentiable_and_compile(rng):
    """For those who train with them: no NaN in a gradient, silent units included."""
    curves = jnp.asarray(rng.uniform(size=(12, 3)), jnp.float32).at[:, 1].set(0)

    @jax.jit
    @jax.grad
    def slope(curves):
        return global_orientation_selectivity_index(curves, TWELVE, silent=0.0).sum()

    assert np.isfinite(slope(curves)).all()
    assert (slope(curves)[:, 1] == 0).all()
