"""Figures, numbers and claims of spaces that units were taken away from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxsel import plotting
from jaxsel.report import Drawing, Number

from ..wording import numbers, p_value
from .claims import FEW, MANY_ZEROS
from .pruned import LEFT_OUT, TAUGHT_BY, Pruned
from .settings import Categories, Objects

COLUMNS = 3  # panels side by side
MEANINGS = {
    "space": "category of images, or target",
    "kept": "units kept",
    "share": "of all units, 0 to 1",
    "fit": "agreement with the target, units with most zeros taken away first",
    "p": "share of rankings, this one among them, that fit as well or better at this level",
    "p_corrected": "the same for all levels together",
    "random_low": "2.5 % of random rankings fit less well",
    "random_high": "2.5 % of random rankings fit better",
    "undefined": "pairs of images without a similarity, left out",
    "undefined_random": "the same, median over random rankings",
    "judged": "whether the level is judged: of the others, more than 5 % of the pairs have no "
    "similarity, or of half of the random rankings",
    "largest_zeros": "largest percentage of zeros among the units kept, percent",
    "taught_train": "mean fit on the images that taught which units to keep",
    "taught_test": "mean fit on the images held out, with the same units",
}


def rows(spaces: Sequence[Pruned]) -> dict[str, np.ndarray]:
    """Columns of curves.parquet."""
    parts = []
    for space in spaces:
        n, zeros = len(space.curve.keep), np.sort(space.zeros)
        low, high = space.random_ends
        taught = [np.full(n, np.nan)] * 2
        if space.taught is not None:
            taught = [space.taught.train.mean(axis=0), space.taught.test.mean(axis=0)]
        parts.append({
            "space": np.full(n, space.name),
            "kept": space.curve.keep,
            "share": space.share,
            "fit": space.curve.fit,
            "p": space.test.p,
            "p_corrected": space.test.corrected,
            "random_low": low,
            "random_high": high,
            "undefined": space.curve.undefined,
            "undefined_random": np.median(space.random.undefined, axis=0),
            "judged": space.counts,
            "largest_zeros": zeros[space.curve.keep - 1],
            "taught_train": taught[0],
            "taught_test": taught[1],
        })  # fmt: skip
    return {name: np.concatenate([part[name] for part in parts]) for name in MEANINGS}


def drawn(
    spaces: Sequence[Pruned],
    config: Categories | Objects,
    figures: Path,
    site: str,
    named: tuple[str, str, str],
) -> tuple[list[Drawing], list[Number]]:
    """Percentages of zeros, fits, and what teaching adds.

    Args:
        spaces: in order.
        config: what was asked for.
        figures: folder for the drawings.
        site: whose units are taken away.
        named: the figures' names, such as `2`, `3` and `T`.
    """
    zeros, fits, taught = (f"figure_{name.lower()}" for name in named)
    figure, axes = plotting.panels(1, width=5.2, height=3.2)
    same = all(np.array_equal(space.zeros, spaces[0].zeros) for space in spaces)
    of = {"all images": spaces[0].zeros} if same else {s.name: s.zeros for s in spaces}
    plotting.cumulative_zeros(axes[0, 0], of)
    figure.supxlabel(f"site {site}", fontsize=7)
    plotting.save(figure, figures / zeros)
    _fits(spaces, config, figures / fits, site)
    found = [n for name, zeros_of in of.items() for n in _of_zeros(name, zeros_of, named[0])]
    found += [number for space in spaces for number in _numbers(space, named)]
    drawings = [
        Drawing(
            zeros,
            f"Figure {named[0]}: how rarely units fire",
            "Share of the units whose percentage of zeros over the images is so large or "
            "smaller. The response of a map is its mean over positions, which is 0 only where "
            "all of them are.",
        ),
        Drawing(
            fits,
            f"Figure {named[1]}: the fit as units are taken away",
            f"Agreement ({config.fit}) of similarities ({config.rsm}) of the units kept with "
            "the target; units with most zeros go first. The point is the best level. Grey: "
            f"the middle 95 % of {config.rankings:,} random rankings. Short lines: where the "
            "units left respond 0 to at most so many percent of the images; the paper marks "
            "quantiles without saying which.",
            [_sentence(space) for space in spaces],
        ),
    ]
    if config.folds:
        _taught(spaces, figures / taught, config)
        drawings.append(
            Drawing(
                taught,
                f"Figure {named[2]}: pruning taught by the target, judged on other images",
                "Units are ranked by how much worse the fit is without each (Tarigopula et "
                f"al. 2023), in {config.folds} folds of the images. Orange, dashed: fit "
                f"({TAUGHT_BY}) on the images that taught it; blue: on those held out, "
                "means over folds. What is gained on the first is no evidence.",
                [_gain(space) for space in spaces],
            )
        )
    return drawings, found


def _fits(
    spaces: Sequence[Pruned], config: Categories | Objects, stem: Path, site: str
) -> None:
    figure, places = _panels(len(spaces))
    for place, space in zip(places, spaces, strict=True):
        plotting.fit_by_share(
            place,
            space.share,
            np.where(space.counts, space.curve.fit, np.nan),
            space.random_ends,
            marks=space.marks,
            name=f"fit ({config.fit})",
            title=space.name,
        )
    places[0].legend()
    figure.supxlabel(f"site {site}", fontsize=7)
    plotting.save(figure, stem)


def _taught(spaces: Sequence[Pruned], stem: Path, config: Categories | Objects) -> None:
    figure, places = _panels(len(spaces))
    name = f"fit ({TAUGHT_BY})"
    for place, space in zip(places, spaces, strict=True):
        assert space.taught is not None
        for values, colour, dashes, label in (
            (space.taught.train, plotting.VERMILLION, "--", "images that taught"),
            (space.taught.test, plotting.BLUE, "-", "images held out"),
        ):
            style = {"colour": colour, "dashes": dashes, "label": label}
            plotting.mean_and_spread(place, space.share, values, name=name, **style)
        place.set_title(space.name)
    places[0].legend()
    figure.supxlabel("shades: standard deviation over folds", fontsize=7)
    plotting.save(figure, stem)


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    """So many panels in rows."""
    n_columns = min(COLUMNS, n)
    figure, axes = plotting.panels(n_columns, -(-n // n_columns), width=3.4, height=2.8)
    for place in axes.flat[n:]:
        place.set_visible(False)
    return figure, list(axes.flat[:n])


def _sentence(space: Pruned) -> str:
    best, fit = space.best, space.curve.fit
    said = (
        f"{space.name}: {fit[0]:.3f} with all units, best {fit[best]:.3f} with "
        f"{100 * space.share[best]:.0f} % of them ({p_value(space.test.corrected[best])} "
        f"against random rankings, all levels together)"
    )
    tied = len(space.zeros) - len(np.unique(space.zeros))
    if tied > len(space.zeros) / 2:
        said += (
            f"; only {len(space.zeros) - tied} of {len(space.zeros)} percentages of zeros "
            "differ: most of the order is that of unit numbers"
        )
    if not space.counts.all():
        least = space.curve.keep[space.counts].min()
        said += (
            f"; with fewer than {least} units, more than {100 * LEFT_OUT:g} % of the pairs "
            "have no similarity, to these or to units kept at random, and nothing is judged"
        )
    return said + "."


def _gain(space: Pruned) -> str:
    assert space.taught is not None
    gains, shares = space.taught.gain, space.share[space.taught.chosen]
    there = gains[np.isfinite(gains)]
    said = (
        f"{space.name}: on images held out, the units chosen "
        f"({100 * shares.min():.0f} to {100 * shares.max():.0f} % of all) "
    )
    if not len(there):
        return f"{said}leave too many images without a similarity to say anything."
    said += (
        f"change the fit by {there.mean():+.3f} ({there.min():+.3f} to {there.max():+.3f} over "
        "folds)"
    )
    n_without = len(gains) - len(there)
    return said + (f"; {n_without} folds have no fit." if n_without else ".")


def _numbers(space: Pruned, named: tuple[str, str, str]) -> list[Number]:
    best, fit, where = space.best, space.curve.fit, space.name.lower().replace(" ", "_")
    found: list[Number] = []
    few = space.at(FEW)
    found += numbers(f"Figure {named[1]}", where, space.name, [
        ("images", "images", space.n_images, "images"),
        ("pairs", "pairs of images with a judgement", space.n_judged, "pairs"),
        ("full", "fit of all units", float(fit[0])),
        ("best", "largest fit", float(fit[best])),
        ("best_share", "share of the units kept there", float(space.share[best]), "fraction"),
        ("best_p", "P against random rankings, at this level", float(space.test.p[best])),
        ("best_p_corrected", "the same for all levels together",
         float(space.test.corrected[best])),
        ("full_signed", "Pearson's correlation, all units", float(space.signed[0])),
        ("best_signed", "the same where the fit is largest", float(space.signed[best])),
        ("few", f"fit with {100 * FEW:g} % of the units, or the next level below",
         np.nan if few is None else float(fit[few])),
        ("left_out", "most pairs left out at a level", int(space.curve.undefined.max()),
         "pairs"),
    ])  # fmt: skip
    if space.taught is not None:
        gains = space.taught.gain
        gains = gains[np.isfinite(gains)] if np.isfinite(gains).any() else gains
        found += numbers(f"Figure {named[2]}", where, space.name, [
            ("gain", "change of the fit by taught pruning on images held out, mean over folds",
             float(gains.mean())),
            ("gain_low", "smallest over folds", float(gains.min())),
            ("gain_high", "largest over folds", float(gains.max())),
            ("full", "fit of all units on images held out, mean over folds",
             float(space.taught.test_full.mean())),
        ])  # fmt: skip
    return found


def introduced(spaces: Sequence[Pruned], config: Categories | Objects) -> list[str]:
    """What is compared with what."""
    n_levels = len(spaces[0].curve.keep)
    return [
        f"Similarities are {config.rsm}, their agreement with the target is {config.fit}, at "
        f"{n_levels} levels from all units to {spaces[0].curve.keep[-1]}. Ties in the "
        "percentage of zeros are broken by unit number. P is the share of rankings, the random "
        "ones and this one, that do as well; corrected, it is for all levels together (largest "
        "standardised fit, single step), not for all spaces. "
        "Images are given: nothing is said here of other images of the category, but where "
        "images are held out."
    ]


def _of_zeros(name: str, zeros: np.ndarray, figure: str) -> list[Number]:
    many = float((zeros > MANY_ZEROS).mean())
    return numbers(f"Figure {figure}", name.lower().replace(" ", "_"), name, [
        ("many_zeros", f"units with more than {MANY_ZEROS} % zeros", many, "fraction",
         "more than 0.5"),
        ("silent", "units silent for all images", int((zeros == 100).sum()), "units"),
        ("median", "median percentage of zeros", float(np.median(zeros)), "%"),
    ])  # fmt: skip
