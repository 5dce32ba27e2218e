"""Figures 3 and 4, of what is lost without halves, with the numbers that belong to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxsel import plotting
from jaxsel.report import Drawing

from ..wording import numbers
from .figures_of_units import OWN, Found
from .halves import SELECTIVE, UNSELECTIVE, Lost, of_sites
from .invariance import Invariance


def without_halves(found: Sequence[Lost], figures: Path, n_images: int) -> Found:
    """Figure 3: the loss without halves of every site's units."""
    sites = list(dict.fromkeys(one.site for one in found))
    behind = {one.site: one for one in of_sites(found, sites, behind=True)}
    here = {one.site: one for one in of_sites(found, sites)}
    kinds = [("zero at the site", here)]
    if behind:
        kinds.append(("zero after BatchNorm", behind))
    figure, axes = plotting.panels(1, len(kinds), width=max(5.0, 0.42 * len(sites)), height=3.2)
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
        + (below(behind) if behind else "")
    )  # fmt: skip
    title = "Figure 3: what is lost without selective units"
    return Drawing("figure_3", title, sentence.strip()), numbers(
        "Figure 3", "", "test images", entries
    )


def below(behind: Mapping[str, Lost]) -> str:
    """What zeros after BatchNorm are."""
    if all(one.at.endswith("pre_add") for one in behind.values()):
        return (
            "Below: zeros after BatchNorm, as in the author's code; in a residual block that "
            "is before the addition, and what goes around the block is left. (Where BatchNorm "
            "comes just before a ReLU, zeros there are those at the site.)"
        )
    return (
        "Below: zeros after BatchNorm, as in the author's code, where they are not what a "
        "silent unit gives."
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
            (f"{one.at}.{name}.error", f"standard error of that change over images {about}",
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
    if not found.compared.any():
        sentence = "No unit of higher sites has a correlation everywhere."
        return Drawing(None, "Figure 4: shift invariance of higher sites", sentence), []
    intact, halves = found.means
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
    silenced = found.silenced
    for row, name, words in (
        (SELECTIVE, "selective", "more selective"),
        (UNSELECTIVE, "unselective", "less selective"),
    ):
        meaning = f"share of the units of higher sites silenced without the {words} half"
        entries.append((f"silenced.{name}", meaning, float(silenced[row]), "fraction"))
    silent = int((~found.alive).sum())
    sentence = (
        "Correlation, over images, of a unit's responses to images and to the same images "
        f"shifted to the right or down, mean over the units of higher sites ({n_images} test "
        "images), with all units and without halves of the units of one lower site, mean over "
        f"these ({found.lower[0]} to {found.lower[-1]}). Neither the abstract nor the author's "
        f"code defines shift invariance: this is {OWN}."
    )
    details = [
        f"{silent} of {found.alive.size} units of higher sites are silent in the whole network "
        f"and have no correlation. Of the others, {100 * silenced[SELECTIVE]:.1f} % are "
        "silenced where the more selective half of a lower site is ablated, "
        f"{100 * silenced[UNSELECTIVE]:.1f} % where the less selective half is, "
        f"{100 * silenced[2:].mean():.1f} % where random halves are: a unit that is, by any "
        "half of a site, is left out of that site's comparison."
    ]
    title = "Figure 4: shift invariance of higher sites"
    return Drawing("figure_4", title, sentence, details), numbers("Figure 4", "", OWN, entries)
