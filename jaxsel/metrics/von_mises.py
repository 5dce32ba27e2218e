"""How wide a unit's orientation tuning is, from a fitted curve."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Real
from scipy.optimize import least_squares, root_scalar

from .orientation import evenly_spread

FEWEST = 5  # orientations: one more than the curve has numbers
WIDEST = 1e-4  # concentration: below it curves are a cosine to four digits


@dataclass(frozen=True, eq=False)
class TuningFit:
    """One fitted curve per unit; NaN for a unit that responds to all orientations alike.

    Attributes:
        preferred: orientation at its peak, degrees, 0 to below 180.
        half_width: from the peak to where the curve is half-way down, degrees: at most 45 (a
            cosine), at least half a step between orientations.
        lowest: smallest value of the curve, in the units of the activation.
        peak: largest value.
        r_squared: share of the variance over orientations that the curve explains, 0 to 1.
    """

    preferred: Float[np.ndarray, " units"]
    half_width: Float[np.ndarray, " units"]
    lowest: Float[np.ndarray, " units"]
    peak: Float[np.ndarray, " units"]
    r_squared: Float[np.ndarray, " units"]


def fit_tuning(
    curves: Float[ArrayLike, "orientations units"],
    orientations: Real[np.ndarray, " orientations"],
    on_progress: Callable[[int], None] | None = None,
) -> TuningFit:
    r"""Fit a circular bell to each unit's tuning curve, by least squares.

    $$R(\theta) = l + (p - l)\,
      \frac{e^{\kappa \cos 2(\theta - \theta_0)} - e^{-\kappa}}{e^{\kappa} - e^{-\kappa}}$$

    (a von Mises curve between its lowest value $l$ and its peak $p$). It is half-way down where
    $\cos 2(\theta - \theta_0) = \ln(\cosh \kappa) / \kappa$. No curve is narrower than half a
    step between orientations: what is, cannot be told from it.

    Args:
        curves: `tuning_curves`, of any sign.
        orientations: degrees, five or more.
        on_progress: called with the number of units done.

    Returns:
        What describes the curves. A unit with several peaks has a poor `r_squared`.

    Raises:
        ValueError: another shape, fewer than five orientations, or some that are not spread
            evenly over 180 degrees; responses that are NaN or infinite.

    >>> angles = np.arange(0, 180, 15)
    >>> fit = fit_tuning(np.cos(np.deg2rad(angles - 40))[:, None] ** 2, angles)
    >>> fit.preferred.round(3).tolist(), fit.half_width.round(1).tolist()
    ([40.0], [45.0])
    """
    curves = np.asarray(curves, np.float64)
    if curves.ndim != 2:
        raise ValueError(
            f"curves have the shape (orientations, units); found {curves.shape}: of one unit, "
            "take curve[:, None]"
        )
    angles = 2 * np.deg2rad(evenly_spread(orientations, len(curves)))
    if len(angles) < FEWEST:
        raise ValueError(f"a curve needs {FEWEST} orientations or more; found {len(angles)}")
    if not np.isfinite(curves).all():
        raise ValueError("responses are NaN or infinite")
    narrowest = concentration(90 / len(angles))
    rows = []
    for done, curve in enumerate(curves.T):
        rows.append(_fitted(curve, angles, narrowest))
        if on_progress is not None:
            on_progress(done + 1)
    return TuningFit(*np.reshape(rows, (-1, 5)).T)


def half_width(concentration: float) -> float:
    """Degrees from a peak to half-way down.

    >>> round(half_width(1e-6), 3), round(half_width(2.0), 3)
    (45.0, 24.255)
    """
    # ln cosh k = k - ln 2 + ln(1 + e^-2k): no overflow.
    k = concentration
    return float(np.rad2deg(np.arccos(1 + (np.log1p(np.exp(-2 * k)) - np.log(2)) / k)) / 2)


def concentration(width: float) -> float:
    """The other way; there is no formula.

    >>> round(concentration(half_width(2.0)), 6)
    2.0
    """
    return root_scalar(lambda k: half_width(k) - width, bracket=(1e-6, 1e9)).root


def bell(
    angles: Float[np.ndarray, " angles"], preferred: float, width: float
) -> Float[np.ndarray, " angles"]:
    """The fitted curve, from 0 to 1.

    Args:
        angles: where, degrees.
        preferred: orientation at its peak, degrees.
        width: half width, degrees, 45 at most.

    >>> bell(np.array([40.0, 60.0]), 40.0, 20.0).round(6).tolist()
    [1.0, 0.5]
    """
    widest = half_width(WIDEST)
    k = WIDEST if width >= widest else concentration(width)
    return _bell(2 * np.deg2rad(angles), 2 * np.deg2rad(preferred), k)


def _bell(angles: np.ndarray, preferred: float, k: float) -> np.ndarray:
    """From 0 to 1; `angles` are doubled."""
    # Neither overflows for narrow curves nor cancels for wide ones.
    cosine = np.cos(angles - preferred)
    return np.exp(k * (cosine - 1)) * np.expm1(-k * (cosine + 1)) / np.expm1(-2 * k)


def _fitted(curve: np.ndarray, angles: np.ndarray, narrowest: float) -> list[float]:
    size = np.ptp(curve)
    if size == 0:
        return [np.nan] * 5
    y = (curve - curve.min()) / size

    def line(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best line through values over bell, and what it leaves."""
        bell = np.stack([np.ones_like(y), _bell(angles, p[0], np.exp(p[1]))], axis=1)
        best = np.linalg.lstsq(bell, y, rcond=None)[0]
        best = best if best[1] > 0 else np.array([y.mean(), 0.0])  # a peak, not a hole
        return best, bell @ best - y

    widths = np.log(np.geomspace(WIDEST, narrowest, 8))
    # The largest response, too: a narrow curve may lie between the others.
    peaks = [*(angles[0] + np.arange(0, 2 * np.pi, np.pi / 12)), angles[y.argmax()]]
    starts = [(at, k) for at in peaks for k in widths]
    start = min(starts, key=lambda p: float(np.square(line(np.array(p))[1]).sum()))
    bounds = ([-np.inf, np.log(WIDEST)], [np.inf, np.log(narrowest)])
    first = np.clip(start, bounds[0], np.array(bounds[1]) - 1e-9)
    found = least_squares(lambda p: line(p)[1], first, bounds=bounds, xtol=1e-12, ftol=1e-12)
    (lowest, height), rest = line(found.x)
    explained = 1 - np.square(rest).sum() / np.square(y - y.mean()).sum()
    lowest, peak = (curve.min() + size * x for x in (lowest, lowest + height))
    preferred = np.rad2deg(found.x[0]) / 2 % 180
    return [preferred % 180, half_width(np.exp(found.x[1])), lowest, peak, explained]
