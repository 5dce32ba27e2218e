"""Figures of what ablation does (the form of Kanda et al., figures 2 to 6)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .style import BLUE, BOXES, GREY, VERMILLION


def loss_ratio_histogram(
    axes: Axes, loss_ratio: Float[np.ndarray, " units"], *, title: str
) -> None:
    """How many units change the loss by how much (figure 2).

    The axis spans the middle 98 % of the units; the outermost bins hold the rest.

    Args:
        axes: where to draw.
        loss_ratio: percent of the intact network's loss, one per unit.
        title: of the panel.
    """
    low, high = np.quantile(loss_ratio, [0.01, 0.99])
    reach = max(abs(low), abs(high)) or 1.0
    # An even number of bins, so that 0 is a border: no bin mixes gains and losses.
    bins = np.linspace(-reach, reach, 61)
    axes.hist(np.clip(loss_ratio, bins[0], bins[-1]), bins=bins.tolist(), color=BLUE)
    median = float(np.median(loss_ratio))
    axes.axvline(0, color=GREY, lw=0.8)
    axes.axvline(median, color=VERMILLION, ls="--")
    outside = int(np.sum((loss_ratio < bins[0]) | (loss_ratio > bins[-1])))
    label = "loss ratio (% of the intact loss)"
    if outside:
        label += f"\noutermost bins: with {outside} units beyond them"
    axes.set(xlabel=label, ylabel="units", title=f"{title} (dashed: median {median:.3g} %)")


def selectivity_scatter(
    axes: Axes,
    index: Float[np.ndarray, " units"],
    loss_ratio: Float[np.ndarray, " units"],
    *,
    name: str,
    title: str,
) -> None:
    """Each unit's selectivity against what its ablation does (figure 3).

    Args:
        axes: where to draw.
        index: one per unit.
        loss_ratio: percent of the intact network's loss, one per unit.
        name: of the index.
        title: of the panel.
    """
    axes.axhline(0, color=GREY, lw=0.8)
    axes.scatter(index, loss_ratio, s=7, color=BLUE, alpha=0.5, lw=0)
    axes.set(
        xlabel=f"{name} (0 to 1)",
        ylabel="loss ratio (% of the intact loss)",
        xlim=(-0.02, 1.02),
        title=title,
    )


def correlations_by_site(
    axes: Axes,
    sites: Sequence[str],
    correlations: Sequence[tuple[str, Float[np.ndarray, "sites 3"]]],
) -> None:
    """Correlation of selectivity and loss ratio at every site (figure 4).

    Args:
        axes: where to draw.
        sites: in network order.
        correlations: name of an index, and for each site rho and the ends of its
            interval; NaN where there is none. At most two indices.
    """
    looks = [
        {"color": VERMILLION, "ls": "-", "marker": "o", "markerfacecolor": "white"},
        {"color": BLUE, "ls": "--", "marker": "*", "markersize": 8},
    ]
    axes.axhline(0, color=GREY, ls=":")
    for place, ((name, values), drawn) in enumerate(zip(correlations, looks, strict=False)):
        x = np.arange(len(sites)) + 0.06 * (2 * place - 1)
        rho, low, high = values.T
        axes.errorbar(
            x, rho, yerr=[rho - low, high - rho], label=name, capsize=2, elinewidth=0.8, **drawn
        )
    axes.set_xticks(range(len(sites)), list(sites))
    axes.set(
        xlabel="site",
        ylabel="Spearman correlation with\nthe loss ratio (-1 to 1)",
        ylim=(-1.05, 1.05),
    )
    axes.legend(loc="upper right")


def related_and_others(
    axes: Axes,
    related: Float[np.ndarray, " units"],
    others: Float[np.ndarray, " units"],
    *,
    title: str,
) -> None:
    """What ablation does to a unit's related category and to the others (figure 5).

    Args:
        axes: where to draw.
        related: loss ratio of the related category in percent of its own loss, per unit.
        others: loss ratio of all other categories together, in percent of theirs.
        title: of the panel.
    """
    axes.axhline(0, color=GREY, ls=":")
    axes.boxplot(
        [related, others],
        widths=0.5,
        **BOXES,
    )
    axes.set_xticks([1, 2], ["related category", "other categories"])
    axes.set(ylabel="loss ratio (% of the\ncategories' own intact loss)", title=title)


def mixture_lines(
    axes: Axes,
    share: Float[np.ndarray, " points"],
    accuracy: Float[np.ndarray, "trials points"],
    *,
    intact: float,
    k: int,
    title: str,
) -> None:
    """Accuracy of networks with few units, by the share of non-selective ones (figure 6).

    Args:
        axes: where to draw.
        share: non-selective units among those kept, 0 to 1.
        accuracy: fraction of images right, one line per trial.
        intact: accuracy of the whole network.
        k: the accuracy is top-k.
        title: of the panel.
    """
    axes.plot(share, accuracy.T, color=BLUE, lw=0.6, alpha=0.35)
    axes.plot(share, accuracy.mean(axis=0), color="black", lw=2, label="mean of the trials")
    axes.axhline(intact, color=VERMILLION, ls="--", label="intact network")
    axes.set(
        xlabel="share of non-selective units (0 to 1)",
        ylabel=f"top-{k} accuracy (fraction of images)",
        title=title,
    )
    axes.legend(loc="lower center")
