"""Figures 5 and 6, of networks trained here, with the numbers that belong to them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxsel import plotting
from jaxsel.report import Drawing

from ..wording import numbers
from .figures_of_units import OWN, Found
from .followed import Compared, Followed


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


def learnt_from(one: Compared) -> str:
    """In words."""
    condition = one.condition
    if condition.label_noise:
        return f"{100 * condition.label_noise:g} % of the labels drawn anew"
    if condition.share < 1:
        return f"{100 * condition.share:g} % of the images"
    return "all images and labels"
