"""Figures 1 and 2, of how units are tuned, with the numbers that belong to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsel import plotting
from jaxsel.metrics.orientation import FLAT
from jaxsel.metrics.von_mises import bell
from jaxsel.report import Drawing, Number

from ..wording import numbers
from .tuning import TUNED, Tuning

Found = tuple[Drawing, list[Number]]
OWN = "jaxsel's definition"
SHOWN = 6  # units of a site


def by_site(tuned: Mapping[str, Tuning], figures: Path) -> Found:
    """Figure 1: gOSI at every site, beside shuffled pixels."""
    figure, axes = plotting.panels(1, width=max(4.5, 0.42 * len(tuned)), height=3.2)
    values, control = (
        {site: (x := getattr(of, kind))[np.isfinite(x)] for site, of in tuned.items()}
        for kind in ("gosi", "control")
    )
    plotting.boxes_beside_control(axes[0, 0], values, control, name="gOSI", threshold=TUNED)
    shown = sum(map(len, values.values()))
    figure.supxlabel(
        f"blue: gratings ({shown:,} units); grey: shuffled pixels "
        f"({sum(map(len, control.values())):,} units); dashed: {TUNED}",
        fontsize=7,
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
    silent, gosi = (
        np.concatenate([getattr(of, name) for of in tuned.values()])
        for name in ("silent", "gosi")
    )
    index = "an index of 0" if np.isfinite(gosi[silent]).any() else "no index"
    details = [
        f"{silent.sum()} of {len(silent)} units respond to no grating: they have {index}, and "
        "are counted in the table."
    ]
    if negative := int(np.isnan(gosi[~silent]).sum()):
        details.append(f"{negative} more have no index, as they respond below 0.")
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


def most_selective(gosi: np.ndarray) -> np.ndarray:
    """The units with the largest index, the first of equals."""
    order = np.argsort(-np.nan_to_num(gosi, nan=-1), kind="stable")[:SHOWN]
    return order[np.isfinite(gosi[order]) & (gosi[order] > FLAT)]


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


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
