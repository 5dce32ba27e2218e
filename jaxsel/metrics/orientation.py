"""Orientation selectivity: how much more a unit responds to one orientation than to others.

Orientations are in degrees, evenly spread over 180. Responses are recorded after a ReLU, to
gratings such as `jaxsel.data.gratings` makes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Real

# Below this gOSI no orientation is preferred, and by this share of the largest response
# responses do not vary: float32 makes so much of a flat curve.
FLAT = 1e-6
PHASES = ("max", "mean")


def tuning_curves(
    responses: Float[ArrayLike, "orientations frequencies phases units"],
    over_phases: str = "max",
) -> tuple[Float[Array, "orientations units"], Int[Array, " units"]]:
    r"""What a unit responds to each orientation, at the spatial frequency that it prefers.

    $$R_k = \max_{\phi} r(\theta_k, f^*, \phi), \qquad
      f^* = \arg\max_f \max_{k, \phi} r(\theta_k, f, \phi)$$

    Args:
        responses: to gratings, in the units of the activation.
        over_phases: what is taken over phases: the `max`, or the `mean`, in which a unit that
            answers to one phase only counts less.

    Returns:
        One curve per unit, and the number of its frequency, the first of equals.

    Raises:
        ValueError: another name or shape.

    Source:
        ukky17/ori_selectivity_CNN (`grating_analysis.py`): the largest response over phases;
        the mean is jaxsel's addition.

    >>> responses = jnp.array([[[1.0], [3.0]], [[2.0], [0.0]]])[..., None]  # of one unit
    >>> curves, frequency = tuning_curves(responses)
    >>> curves[:, 0].tolist(), frequency.tolist()
    ([3.0, 0.0], [1])
    """
    responses = jnp.asarray(responses)
    if over_phases not in PHASES:
        raise ValueError(f"over_phases must be {' or '.join(PHASES)}; found {over_phases!r}")
    _refuse_other_shape(responses)
    by_frequency = responses.max(axis=2) if over_phases == "max" else responses.mean(axis=2)
    frequency = by_frequency.max(axis=0).argmax(axis=0)
    curves = jnp.take_along_axis(by_frequency, frequency[None, None], axis=1)
    return curves[:, 0], frequency


def orientation_selectivity_index(
    curves: Real[ArrayLike, "orientations units"],
    orientations: Real[np.ndarray, " orientations"],
    *,
    silent: float = np.nan,
) -> Float[Array, " units"]:
    r"""How much more a unit responds to its best orientation than at a right angle to it.

    $$\mathrm{OSI} = \frac{R_{pref} - R_{orth}}{R_{pref} + R_{orth}}$$

    Args:
        curves: `tuning_curves`.
        orientations: degrees, an even number of them.
        silent: what a unit gets that responds to none.

    Returns:
        One number per unit, dimensionless: 0 (equal) to 1 (nothing at a right angle). The best
        orientation is the first of equals. NaN where a response is negative, NaN or infinite.

    Raises:
        ValueError: orientations that are not spread evenly over 180 degrees, an odd number.

    Source:
        ukky17/ori_selectivity_CNN; there a silent unit has 0.

    >>> curve = jnp.array([[3.0], [2.0], [1.0], [2.0]])
    >>> orientation_selectivity_index(curve, np.array([0, 45, 90, 135])).tolist()
    [0.5]
    """
    curves = _at_least_float32(curves)
    angles = evenly_spread(orientations, len(curves))
    if len(angles) % 2:
        raise ValueError(f"of {len(angles)} orientations, none is at a right angle to another")
    apart = (angles[:, None] - angles - 90) % 180
    at_right_angle = np.minimum(apart, 180 - apart).argmin(axis=1)
    best = curves.argmax(axis=0)
    preferred = jnp.take_along_axis(curves, best[None], axis=0)[0]
    across = jnp.take_along_axis(curves, jnp.asarray(at_right_angle)[best][None], axis=0)[0]
    total = preferred + across
    index = (preferred - across) / jnp.where(total == 0, 1, total)
    return _defined(index, curves, silent)


def global_orientation_selectivity_index(
    curves: Real[ArrayLike, "orientations units"],
    orientations: Real[np.ndarray, " orientations"],
    *,
    silent: float = np.nan,
) -> Float[Array, " units"]:
    r"""How much a unit's responses gather around one orientation, all orientations counted.

    $$\mathrm{gOSI} = \frac{|\sum_k R_k e^{2 i \theta_k}|}{\sum_k R_k}$$

    which is 1 less the circular variance.

    Args:
        curves: `tuning_curves`.
        orientations: degrees.
        silent: what a unit gets that responds to none.

    Returns:
        One number per unit, dimensionless: 0 (all orientations alike) to 1 (one only); .5 for
        a curve like cos squared. NaN where a response is negative, NaN or infinite.

    Raises:
        ValueError: orientations that are not spread evenly over 180 degrees.

    Source:
        ukky17/ori_selectivity_CNN; there a silent unit has 0, and above .33 a unit counts as
        tuned.

    >>> curves = jnp.array([[1.0, 2.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    >>> index = global_orientation_selectivity_index(curves, np.array([0, 45, 90, 135]))
    >>> index.round(6).tolist()
    [1.0, 0.0]
    """
    curves = _at_least_float32(curves)
    total, along, across = _sums(curves, orientations)
    index = jnp.hypot(along, across) / jnp.where(total == 0, 1, total)
    # One orientation alone has 1, which a rounding must not exceed.
    return _defined(jnp.minimum(index, 1), curves, silent)


def preferred_orientation(
    curves: Real[ArrayLike, "orientations units"],
    orientations: Real[np.ndarray, " orientations"],
) -> Float[Array, " units"]:
    r"""The orientation around which a unit's responses gather: finer than the steps between.

    $$\tfrac{1}{2} \arg \sum_k R_k e^{2 i \theta_k}$$

    Args:
        curves: `tuning_curves`.
        orientations: degrees.

    Returns:
        One orientation per unit, degrees, 0 to below 180. NaN where the gOSI is undefined or
        below 1e-6: a silent unit, or one without preference.

    Raises:
        ValueError: orientations that are not spread evenly over 180 degrees.

    >>> curve = jnp.array([[1.0], [1.0], [0.0], [0.0]])
    >>> preferred_orientation(curve, np.array([0, 45, 90, 135])).tolist()
    [22.5]
    """
    _, along, across = _sums(_at_least_float32(curves), orientations)
    index = global_orientation_selectivity_index(curves, orientations)
    angle = jnp.rad2deg(jnp.arctan2(across, along)) / 2 % 180
    # Just below 0, float32 makes 180 of it.
    return jnp.where(index > FLAT, jnp.where(angle < 180, angle, 0), jnp.nan)


def tuning_reliability(
    responses: Float[ArrayLike, "orientations frequencies phases units"],
    over_phases: str = "max",
) -> Float[Array, " units"]:
    """Whether a unit's tuning curve is the same for other phases.

    Pearson's correlation, over orientations, of the curve from the first, third, ... phase with
    that from the second, fourth, ..., both at the frequency that the unit prefers over all
    phases. jaxsel's definition: neither the paper's abstract nor its code has one.

    Args:
        responses: to gratings, in the units of the activation; an even number of phases.
        over_phases: as in `tuning_curves`.

    Returns:
        One number per unit, -1 to 1. NaN where a half does not vary with the orientation by
        more than roundings (see `correlation`), or has a response that is NaN or infinite.

    Raises:
        ValueError: an odd number of phases, another name or shape.

    >>> curve = jnp.array([1.0, 3.0, 2.0])
    >>> responses = jnp.stack([curve, 2 * curve], axis=-1)[:, None, :, None]
    >>> tuning_reliability(responses).round(6).tolist()
    [1.0]
    """
    responses = jnp.asarray(responses)
    _refuse_other_shape(responses)
    if responses.shape[2] % 2:
        raise ValueError(
            f"{responses.shape[2]} phases do not make two halves: use an even number"
        )
    _, frequency = tuning_curves(responses, over_phases)
    at = jnp.take_along_axis(responses, frequency[None, None, None], axis=1)
    halves = (tuning_curves(at[:, :, first::2], over_phases)[0] for first in (0, 1))
    return correlation(*halves)


def correlation(
    first: Float[Array, "values units"], second: Float[Array, "values units"]
) -> Float[Array, " units"]:
    """Pearson's correlation of each unit's values.

    Args:
        first: of each unit, one column.
        second: the same.

    Returns:
        One number per unit, -1 to 1. NaN where either does not vary by more than float32's
        roundings, a millionth of the largest, or where a value is NaN or infinite.

    >>> correlation(jnp.array([[1.0], [2.0]]), jnp.array([[5.0], [3.0]])).tolist()
    [-1.0]
    """
    # At the order of 1, or squares of small responses are 0 in float32.
    scaled = [
        (x - x.min(axis=0)) / jnp.where(_flat(x), 1, jnp.ptp(x, axis=0))
        for x in (first, second)
    ]
    a, b = (x - x.mean(axis=0) for x in scaled)
    size = jnp.sqrt((a * a).sum(axis=0)) * jnp.sqrt((b * b).sum(axis=0))
    flat = _flat(first) | _flat(second)
    found = jnp.clip((a * b).sum(axis=0) / jnp.where(flat, 1, size), -1, 1)
    return jnp.where(flat, jnp.nan, found)


def evenly_spread(orientations: Real[np.ndarray, " orientations"], n: int) -> np.ndarray:
    """Orientations that flat tuning has no preference among.

    >>> evenly_spread(np.array([0, 60, 120]), 3)
    array([  0.,  60., 120.])
    """
    angles = np.asarray(orientations, np.float64)
    if angles.shape != (n,):
        raise ValueError(f"curves are of {n} orientations, {len(angles)} are named")
    steps = np.diff(np.sort(angles % 180), append=np.sort(angles % 180)[:1] + 180)
    if n < 2 or np.abs(steps - 180 / n).max() > 1e-6:
        raise ValueError(
            "orientations must be spread evenly over 180 degrees, as 0, 45, 90, 135 are; found "
            + ", ".join(f"{angle:g}" for angle in angles)
        )
    return angles


def _refuse_other_shape(responses: Array) -> None:
    if responses.ndim != 4 or 0 in responses.shape[:3]:
        raise ValueError(
            "responses have the shape (orientations, frequencies, phases, units), one or more "
            f"of each; found {responses.shape}"
        )


def _flat(values: Array) -> Array:
    return jnp.ptp(values, axis=0) <= FLAT * jnp.abs(values).max(axis=0)


def _at_least_float32(curves: ArrayLike) -> Array:
    """Whole numbers, too: cosines are none."""
    found = jnp.asarray(curves)
    return found.astype(jnp.promote_types(found.dtype, jnp.float32))


def _sums(curves: Array, orientations: np.ndarray) -> tuple[Array, Array, Array]:
    """Of the responses, and of the responses as vectors at twice their angles."""
    doubled = 2 * np.deg2rad(evenly_spread(orientations, len(curves)))
    ways = jnp.asarray(np.stack([np.ones_like(doubled), np.cos(doubled), np.sin(doubled)]))
    total, along, across = jnp.matmul(
        ways.astype(curves.dtype), curves, precision=jax.lax.Precision.HIGHEST
    )
    return total, along, across


def _defined(index: Array, curves: Array, silent: float) -> Array:
    refused = (curves < 0).any(axis=0) | ~jnp.isfinite(curves).all(axis=0)
    is_silent = (curves == 0).all(axis=0)
    return jnp.where(refused, jnp.nan, jnp.where(is_silent, silent, index))
