"""Figures of how selective units are (the form of Kanda et al., figure 1)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .style import BLUE, BOXES, VERMILLION, named_ticks


def rank_curve(axes: Axes, responses: Float[np.ndarray, " images"], *, title: str) -> None:
    """A unit's responses, the largest first, in parts of the largest (figure 1A).

    Args:
        axes: where to draw.
        responses: of one unit to every image, not all 0.
        title: names the unit.
    """
    ranked = np.sort(responses)[::-1] / responses.max()
    axes.fill_between(np.arange(1, len(ranked) + 1), ranked, step="mid", color=BLUE, lw=0)
    axes.set(
        xlabel="images, strongest response first (rank)",
        ylabel="response / largest response",
        xlim=(0.5, len(ranked) + 0.5),
        ylim=(0, 1.05),
        title=title,
    )
    axes.label_outer()


def index_histogram(
    axes: Axes, values: Float[np.ndarray, " units"], *, name: str, title: str
) -> None:
    """How many units have which index, from 0 to 1, with the median (figures 1B and 1C).

    Args:
        axes: where to draw.
        values: one index per unit, without NaN.
        name: of the index.
        title: of the panel.
    """
    axes.hist(values, bins=np.linspace(0, 1, 41).tolist(), color=BLUE)
    median = float(np.median(values))
    axes.axvline(median, color=VERMILLION, ls="--")
    axes.set(
        xlabel=f"{name} (0 to 1)",
        ylabel="units",
        xlim=(0, 1),
        title=f"{title} (dashed: median {median:.2f})",
    )


def boxes_by_site(
    axes: Axes, values: Mapping[str, Float[np.ndarray, " _"]], *, name: str, by: str = "site"
) -> None:
    """Quartiles of an index at every site, whiskers to 1.5 times their range (figure 1D).

    Args:
        axes: where to draw.
        values: one index per unit by site, in network order, without NaN.
        name: of the index.
        by: what tells the boxes apart, where it is not the site.
    """
    axes.boxplot(
        list(values.values()),
        widths=0.6,
        **BOXES,
    )
    named_ticks(axes, range(1, len(values) + 1), list(values))
    axes.set(xlabel=by, ylabel=f"{name} (0 to 1)", ylim=(-0.02, 1.02))
    axes.label_outer()
