"""What the paper claims, and what networks and spaces say to it."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..verdicts import CANNOT, DOES_NOT, HOLDS, Claim
from ..wording import p_value
from .pruned import Pruned

TENTHS = range(10, 0, -1)  # of the units: the levels of experiment 1
# What the paper says in words, as numbers of ours: "very close to 1", "a sharp drop".
CLOSE, SHARP = 0.95, 2.0
# Zeros in percent; shares of all units; a "substantial drop" of the fit as a share of that of
# all units; what is an improvement.
MANY_ZEROS, FEW, DROP, GAIN, LEVEL = 80, 0.12, 0.10, 0.01, 0.05

JUDGED = (
    "A claim is a statement about the networks or images at hand, in numbers of ours where the "
    "paper has words; it holds or does not as the sentence beside it says. Where chance can "
    "make it, it holds for P < 0.05, corrected for all levels together."
)


def of_networks(table: Mapping[str, np.ndarray]) -> list[Claim]:
    """What the paper says of figure 1, of the mean over networks."""
    fit, zeros, removed, random = (
        table[name].reshape(-1, len(TENTHS))
        for name in ("fit", "largest_zeros", "fewest_zeros_removed", "fit_random")
    )
    at = {tenth: level for level, tenth in enumerate(TENTHS)}
    mean, n = fit.mean(axis=0), len(fit)
    early, late = mean[at[10]] - mean[at[4]], mean[at[4]] - mean[at[1]]
    fifth = removed[:, at[8]]
    found = [
        Claim(
            "the 80 % of units that fire most have nearly the similarities of all",
            "1",
            "R2 very close to 1",
            _so(mean[at[8]] >= CLOSE, mean[at[8]]),
            f"fit {mean[at[8]]:.3f} ({in_networks(fit[:, at[8]] >= CLOSE)} at {CLOSE} or more; "
            f"units kept at random {random.mean(axis=0)[at[8]]:.3f})",
        ),
        Claim(
            "the similarities change sharply only once 30 % of the units or fewer are left",
            "1",
            "a sharp drop at 30 % and less",
            _so(late >= max(SHARP * early, 1 - CLOSE), late + early),
            f"the fit falls by {early:.3f} from all units to 40 %, and by {late:.3f} from 40 % "
            f"to 10 % (sharply: {SHARP:g} times as much, and {1 - CLOSE:.2f} at least)",
        ),
        Claim(
            "the fifth of the units with most zeros responds 0 to more than 60 % of the images",
            "1",
            "PoZ > 60 %",
            _so(fifth.mean() > 60, fifth.mean()),
            f"of these units, the one that fires most has {fifth.mean():.1f} % zeros, mean "
            f"over networks ({in_networks(fifth > 60)} have more than 60)",
        ),
    ]
    without = zeros <= 50
    first = without.argmax(axis=1)  # the most units that all fire to half of the images
    exists = without.any(axis=1) & (first > 0)
    claim = "all units that respond 0 to more than half of the images can go"
    if not exists.all():
        why = (
            f"in {n - int(exists.sum())} of {n} networks there is no tenth without such units, "
            "or no such unit"
        )
        return [*found, Claim(claim, "discussion", "minimal impact", CANNOT, why)]
    of_half = fit[np.arange(n), first]
    kept = float(np.take(table["share"], first).mean())
    why = (
        f"fit {of_half.mean():.3f} with {100 * kept:.0f} % of the units left, at the first "
        f"tenth without such units ({in_networks(of_half >= CLOSE)} at {CLOSE} or more)"
    )
    verdict = _so(of_half.mean() >= CLOSE, of_half.mean())
    return [*found, Claim(claim, "discussion", "minimal impact", verdict, why)]


def _so(holds: bool | np.bool_, value: float) -> str:
    """Of a statement about a number; a number that is not there says nothing."""
    return CANNOT if np.isnan(value) else HOLDS if holds else DOES_NOT


def of_spaces(spaces: Sequence[Pruned], every: str = "in every category") -> list[Claim]:
    """What the paper says of figures 2 and 3, of all spaces.

    Args:
        spaces: all.
        every: what is said of all of them.
    """
    many = np.array([(space.zeros > MANY_ZEROS).mean() for space in spaces])
    found = [
        Claim(
            f"{every}, more than half of the units have over {MANY_ZEROS} % zeros",
            "2",
            "more than 50 % in all six",
            HOLDS if (many > 0.5).all() else DOES_NOT,
            f"{100 * many.min():.0f} to {100 * many.max():.0f} % of the units",
        )
    ]
    fallen = np.array([_falls(space) for space in spaces])
    # Early, or not at all: one space is enough. Of others, levels may be missing.
    fails = (fallen >= FEW) | (fallen == 0)
    unknown = np.isnan(fallen)
    said = DOES_NOT if fails.any() else CANNOT if unknown.any() else HOLDS
    known = fallen[~unknown]
    found.append(
        Claim(
            f"{every}, the fit drops only once less than {100 * FEW:g} % of the units are left",
            "3",
            "a substantial drop below 12 %",
            said,
            (
                f"it is below {100 * (1 - DROP):g} % of that of all units first at "
                f"{100 * known.min():.0f} to {100 * known.max():.0f} % of them (0: nowhere)"
                if len(known)
                else "nothing is known"
            )
            + (
                f"; in {unknown.sum()} of {len(spaces)} the fit of all units is not above 0, "
                "or too few pairs have a similarity where it could drop"
                if unknown.any()
                else ""
            ),
        )
    )
    return [*found, *(_improves(space) for space in spaces)]


def _improves(space: Pruned) -> Claim:
    """That the fit is better by more than a stated amount, and than chance makes it."""
    fit, share = space.curve.fit, space.share
    # A square is as large where people's judgements are opposite.
    better = space.counts & (fit >= fit[0] + GAIN) & (space.signed > 0)
    certain = better & (space.test.corrected < LEVEL)
    which = certain if certain.any() else space.counts
    best = int(np.argmax(np.where(which, fit, -np.inf)))
    return Claim(
        "taking away units that rarely fire improves the fit, beyond as many units at random: "
        f"{space.name}",
        "3",
        "three of six, significant in two (Furniture, Vegetables)",
        HOLDS if certain.any() else CANNOT if better.any() else DOES_NOT,
        f"{fit[0]:.3f} with all, {fit[best]:.3f} with {100 * share[best]:.0f} % "
        f"({p_value(space.test.corrected[best])} against random rankings; an improvement is "
        f"{GAIN:g} or more, of a correlation above 0: here {space.signed[best]:.2f})",
    )


def _falls(space: Pruned) -> float:
    """The largest share of the units at which the fit has dropped; 0 where it never does.

    NaN where there is nothing to fall from, or no level that is judged where it might.
    """
    fit = np.where(space.counts, space.curve.fit, np.nan)
    if not fit[0] > 0:
        return np.nan
    fallen = np.flatnonzero(fit < (1 - DROP) * fit[0])
    if len(fallen):
        return float(space.share[fallen[0]])
    return 0.0 if np.isfinite(fit[space.share < FEW]).all() else np.nan


def in_networks(which: np.ndarray) -> str:
    """How many networks it is so in."""
    return f"{int(which.sum())} of {len(which)} networks"
