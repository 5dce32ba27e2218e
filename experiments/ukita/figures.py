"""The figures, with the numbers that belong to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsel import plotting
from jaxsel.metrics.von_mises import bell
from jaxsel.report import Drawing, Number

from ..wording import numbers
from .followed import Compared, Followed
from .halves import SELECTIVE, UNSELECTIVE, Lost, of_sites
from .invariance import Invariance
from .tuning import TUNED, Tuning

Found = tuple[Drawing, list[Number]]
OWN = "jaxsel's definition"
SHOWN = 6  # units of a site


def by_site(tuned: Mapping[str, Tuning], figures: Path, where: str) -> Found:
    """Figure 1: gOSI at every site, beside shuffled pixels."""
    figure, axes = plotting.panels(1, width=max(4.5, 0.42 * len(tuned)), height=3.2)
    values, control = (
        {site: (x := getattr(of, kind))[np.isfinite(x)] for site, of in tuned.items()}
        for kind in ("gosi", "control")
    )
    plotting.boxes_beside_control(axes[0, 0], values, control, name="gOSI", threshold=TUNED)
    figure.supxlabel(
        f"blue: gratings; grey: shuffled pixels; dashed: {TUNED}; {where}", fontsize=7
    )
    plotting.save(figure, figures / "figure_1")
    found = []
    for site, of in tuned.items():
        known = np.isfinite(of.gosi)
        if not known.any():
            continue
        mixed = of.control[np.isfinite(of.control)]
        found += numbers(
            "Figure 1",
            site,
            site,
            [
                ("units", "units", len(of.gosi), "units"),
                ("silent", "units that respond to no grating", int(of.silent.sum()), "units"),
                ("gosi", "mean gOSI", float(of.gosi[known].mean())),
                ("gosi_median", "median gOSI", float(np.median(of.gosi[known]))),
                ("osi", "mean OSI", float(of.osi[np.isfinite(of.osi)].mean())),
                ("tuned", f"share with a gOSI above {TUNED}",
                 float((of.gosi[known] > TUNED).mean()), "fraction"),
                ("control", "mean gOSI, shuffled pixels",
                 float(mixed.mean()) if len(mixed) else np.nan),
                ("half_width", "median half width of tuned units",
                 _median(of.fit.half_width[known & (of.gosi > TUNED)]), "degrees"),
                ("reliability", f"median reliability ({OWN})", _median(of.reliability)),
            ],
        )  # fmt: skip
    silent = sum(int(of.silent.sum()) for of in tuned.values())
    counted = any(np.isfinite(of.gosi[of.silent]).any() for of in tuned.values())
    details = [
        f"{silent} of {sum(len(of.gosi) for of in tuned.values())} units respond to no "
        f"grating: they have {'an index of 0' if counted else 'no index'}, and are counted in "
        "the table."
    ]
    sentence = (
        "Global orientation selectivity index of the units of every site, for gratings (blue) "
        "and for the same images with their pixels in another order each (grey). Boxes are "
        "quartiles, whiskers 1.5 times their range. The response of a map is its mean over "
        "positions."
    )
    return Drawing(
        "figure_1", "Figure 1: orientation selectivity by site", sentence, details
    ), found


def of_units(model: Any, tuned: Mapping[str, Tuning], figures: Path) -> Found:
    """Figure 2: the most selective units of the first, a middle and the last site."""
    sites = list(tuned)
    chosen = list(dict.fromkeys([sites[0], sites[len(sites) // 2], sites[-1]]))
    kernel = first_kernel(model, len(tuned[sites[0]].gosi))
    figure, axes = plotting.panels(
        SHOWN, len(chosen) + (kernel is not None), width=1.5, height=1.5
    )
    for ax in axes.flat:
        ax.set_visible(False)
    rows = list(axes)
    if kernel is not None:  # above the curves, whose axis is at the bottom
        top, *rows = rows
        for ax, unit in zip(top, most_selective(tuned[sites[0]].gosi), strict=False):
            ax.set_visible(True)
            plotting.weights(ax, kernel[..., unit], title=f"{sites[0]}, {unit}")
            ax.title.set_fontsize(7)
    for row, site in zip(rows, chosen, strict=True):
        of = tuned[site]
        for ax, unit in zip(row, most_selective(of.gosi), strict=False):
            ax.set_visible(True)
            fine = np.linspace(0, 180, 181)
            plotting.tuning_curve(
                ax,
                of.orientations,
                of.curves[:, unit],
                fitted=(fine, bell_of(of, unit, fine)),
                title=f"{site}, {unit}: {of.gosi[unit]:.2f}",
            )
            ax.title.set_fontsize(7)
    plotting.save(figure, figures / "figure_2")
    sentence = (
        "The units with the largest gOSI (in the titles) of the first, a middle and the last "
        "site: responses to orientations at the preferred spatial frequency, in parts of the "
        "largest, with the fitted von Mises curve."
        + (" First row: the weights of those of the first site; grey is 0."
           if kernel is not None else "")
    )  # fmt: skip
    return Drawing("figure_2", "Figure 2: the most selective units", sentence), []


def over_epochs(found: Sequence[Followed], figures: Path, lower: Sequence[str]) -> Found:
    """Figure 5: selectivity of lower sites in the course of training."""
    figure, axes = plotting.panels(2, width=3.6, height=2.8)
    epochs = found[0].epochs.astype(np.float64)
    plotting.lines_over_epochs(
        axes[0, 0],
        epochs,
        np.stack([one.lower for one in found]),
        name="mean gOSI, lower sites",
    )
    plotting.lines_over_epochs(
        axes[0, 1],
        epochs,
        np.stack([one.accuracy for one in found]),
        name="validation accuracy",
        colour=plotting.VERMILLION,
    )
    figure.supxlabel(
        f"lower sites: {lower[0]} to {lower[-1]}; n = {len(found)} networks", fontsize=7
    )
    plotting.save(figure, figures / "figure_5")
    entries = []
    for one in found:
        for at, epoch in ((0, "first"), (-1, "last")):
            entries.append(
                (f"seed{one.seed}.{epoch}", f"mean gOSI of lower sites after epoch "
                 f"{one.epochs[at]}, seed {one.seed}", float(one.lower[at]))
            )  # fmt: skip
    sentence = (
        "Mean gOSI of the units of lower sites, and validation accuracy, after the epochs of "
        "training; 0 is before the first. Thin lines are networks, the thick one their mean. "
        f"Which sites are lower, and the mean over them, are {OWN}."
    )
    title = "Figure 5: selectivity in the course of training"
    return Drawing("figure_5", title, sentence), numbers("Figure 5", "", "training", entries)


def across_networks(found: Sequence[Compared], figures: Path) -> Found:
    """Figure 6: networks that generalise better and worse."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        groups.setdefault(learnt_from(one), []).append((one.lower, one.accuracy))
    figure, axes = plotting.panels(1, width=5.6, height=3.0)
    plotting.points_of_groups(
        axes[0, 0],
        {name: np.array(pairs) for name, pairs in groups.items()},
        names=("mean gOSI, lower sites", "test accuracy"),
    )
    plotting.save(figure, figures / "figure_6")
    entries = []
    for one in found:
        key = f"{one.condition.name}.seed{one.seed}"
        about = f"{learnt_from(one)}, seed {one.seed}"
        entries += [
            (f"{key}.gosi", f"mean gOSI of lower sites; {about}", one.lower),
            (f"{key}.accuracy", f"test accuracy; {about}", one.accuracy, "fraction"),
            (f"{key}.train_accuracy", f"accuracy on what it learnt from, last epoch; {about}",
             one.train_accuracy, "fraction"),
        ]  # fmt: skip
    sentence = (
        "Each point is a network after its best epoch. Groups differ in what they learnt from, "
        f"which makes them generalise better or worse ({OWN} of this comparison)."
    )
    title = "Figure 6: networks that generalise better and worse"
    return Drawing("figure_6", title, sentence), numbers("Figure 6", "", "networks", entries)


def without_halves(found: Sequence[Lost], figures: Path, n_images: int) -> Found:
    """Figure 3: the loss without halves of every site's units."""
    sites = list(dict.fromkeys(one.site for one in found))
    behind = {one.site: one for one in of_sites(found, sites, behind=True)}
    here = {one.site: one for one in of_sites(found, sites)}
    kinds = [("zero at the site", here)]
    if behind:
        kinds.append(("zero after BatchNorm", behind))
    figure, axes = plotting.panels(
        1, len(kinds), width=max(5.0, 0.42 * len(sites)), height=3.2, sharey=True
    )
    entries = []
    for ax, (title, of) in zip(axes[:, 0], kinds, strict=True):
        plotting.halves_by_site(
            ax,
            list(of),
            np.stack([one.mean for one in of.values()], axis=1),
            np.stack([one.error for one in of.values()], axis=1),
            name="change of the loss, nats",
        )
        ax.set_title(title)
        for one in of.values():
            entries += _of_half(one)
    axes[0, 0].legend()
    plotting.save(figure, figures / "figure_3")
    sentence = (
        f"Mean change of the loss of {n_images} test images without half of a site's units: "
        "the half with larger gOSI, that with smaller, random halves (grey: from the smallest "
        "to the largest change). Bars are standard errors over images. "
        + ("Below: zeros after BatchNorm, as in the author's code, where they are not a silent "
           "unit's." if behind else "")
    )  # fmt: skip
    title = "Figure 3: what is lost without selective units"
    return Drawing("figure_3", title, sentence.strip()), numbers(
        "Figure 3", "", "test images", entries
    )


def _of_half(one: Lost) -> list[tuple]:
    entries: list[tuple] = [(f"{one.at}.units", f"units in a half of {one.site}",
                             one.n_ablated, "units")]  # fmt: skip
    for row, name, words in (
        (SELECTIVE, "selective", "the more selective half"),
        (UNSELECTIVE, "unselective", "the less selective half"),
    ):
        about = f"without {words} of {one.site}, zeros at {one.at}"
        entries += [
            (f"{one.at}.{name}.loss", f"change of the loss {about}", float(one.mean[row]),
             "nats"),
            (f"{one.at}.{name}.error", f"its standard error over images {about}",
             float(one.error[row]), "nats"),
            (f"{one.at}.{name}.accuracy", f"accuracy {about}", float(one.accuracy[row]),
             "fraction"),
        ]  # fmt: skip
    random = one.mean[2:]
    about = f"without random halves of {one.site}, zeros at {one.at}"
    for name, words, value in (
        ("mean", "mean", random.mean()),
        ("smallest", "smallest", random.min()),
        ("largest", "largest", random.max()),
    ):
        meaning = f"{words} change of the loss {about}"
        entries.append((f"{one.at}.random.{name}", meaning, float(value), "nats"))
    return entries


def shifts(found: Invariance, figures: Path, n_images: int) -> Found:
    """Figure 4: shift invariance of higher sites."""
    known = found.known
    if not known.any():
        sentence = "No unit of higher sites has a correlation everywhere."
        return Drawing(None, "Figure 4: shift invariance of higher sites", sentence), []
    intact = found.intact[:, known].mean(axis=1)
    halves = found.without[..., known].mean(axis=(0, 3))
    figure, axes = plotting.panels(1, width=4.4, height=3.2)
    plotting.halves_by_shift(
        axes[0, 0], found.shifts, intact, halves, name="correlation with the shifted image's"
    )
    figure.supxlabel(f"higher sites: {found.sites[0]} to {found.sites[-1]}", fontsize=7)
    plotting.save(figure, figures / "figure_4")
    entries = []
    for i, pixels in enumerate(found.shifts):
        for name, words, value in (
            ("intact", "all units", intact[i]),
            ("selective", "without the more selective half", halves[SELECTIVE, i]),
            ("unselective", "without the less selective half", halves[UNSELECTIVE, i]),
            ("random", "without random halves, mean", halves[2:, i].mean()),
        ):
            meaning = f"shift invariance of higher sites, {pixels} pixels, {words}"
            entries.append((f"{pixels}.{name}", meaning, float(value)))
    left_out = known.size - int(known.sum())
    sentence = (
        "Correlation, over images, of a unit's responses to images and to the same images "
        f"shifted to the right or down, mean over the units of higher sites ({n_images} test "
        "images), with all units and without halves of the units of one lower site, mean over "
        f"these ({found.lower[0]} to {found.lower[-1]}). Neither the abstract nor the author's "
        f"code defines shift invariance: this is {OWN}."
    )
    details = [
        f"{left_out} of {known.size} units have no correlation (silent ones) and are left out."
    ]
    title = "Figure 4: shift invariance of higher sites"
    return Drawing("figure_4", title, sentence, details), numbers("Figure 4", "", OWN, entries)


def most_selective(gosi: np.ndarray) -> np.ndarray:
    """The units with the largest index, the first of equals."""
    order = np.argsort(-np.nan_to_num(gosi, nan=-1), kind="stable")[:SHOWN]
    return order[np.isfinite(gosi[order]) & (gosi[order] > 0)]


def bell_of(of: Tuning, unit: int, angles: np.ndarray) -> np.ndarray:
    """The fitted curve of a unit."""
    fit = of.fit
    height = fit.peak[unit] - fit.lowest[unit]
    return fit.lowest[unit] + height * bell(angles, fit.preferred[unit], fit.half_width[unit])


def first_kernel(model: Any, n_units: int) -> np.ndarray | None:
    """Weights of the first convolution, if it sees pixels and makes as many units."""
    for _, module in nnx.iter_modules(model) if isinstance(model, nnx.Module) else ():
        if isinstance(module, nnx.Conv):
            kernel = np.asarray(jnp.asarray(module.kernel[...]), np.float64)
            if kernel.ndim == 4 and kernel.shape[2] in (1, 3) and kernel.shape[3] == n_units:
                return kernel
    return None


def learnt_from(one: Compared) -> str:
    """In words."""
    condition = one.condition
    if condition.label_noise:
        return f"{100 * condition.label_noise:g} % of the labels drawn anew"
    if condition.share < 1:
        return f"{100 * condition.share:g} % of the images"
    return "all images and labels"


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
