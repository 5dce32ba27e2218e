"""Figures of what ablation does (the form of Kanda et al., figures 2 to 6)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .style import BLUE, BOXES, GREY, VERMILLION, axis_range


def loss_ratio_histogram(
    axes: Axes, loss_ratio: Float[np.ndarray, " units"], *, title: str
) -> None:
    """How many units change the loss by how much (figure 2).

    Units beyond the axis, where a few are far away, are counted in the outermost bins.

    Args:
        axes: where to draw.
        loss_ratio: percent of the intact network's loss, one per unit.
        title: of the panel.
    """
    reach = max(abs(edge) for edge in axis_range(loss_ratio)) or 1.0
    # An even number of bins, so that 0 is a border: no bin mixes gains and losses.
    bins = np.linspace(-reach, reach, 61)
    axes.hist(np.clip(loss_ratio, -reach, reach), bins=bins.tolist(), color=BLUE)
    axes.axvline(0, color=GREY, lw=0.8)
    median = float(np.median(loss_ratio))
    axes.axvline(median, color=VERMILLION, ls="--")
    outside = int(np.sum(np.abs(loss_ratio) > reach))
    note = f"\n{outside} units beyond the axis are in the outermost bins" if outside else ""
    axes.set(
        xlabel=f"loss ratio (% of the intact loss){note}",
        ylabel="units",
        title=f"{title} (dashed: median {median:.2g} %)",
    )


def selectivity_scatter(
    axes: Axes,
    index: Float[np.ndarray, " units"],
    loss_ratio: Float[np.ndarray, " units"],
    *,
    name: str,
    title: str,
) -> None:
    """Each unit's selectivity against what its ablation does (figure 3).

    Units beyond the axis, where a few are far away, are triangles at its border.

    Args:
        axes: where to draw.
        index: one per unit.
        loss_ratio: percent of the intact network's loss, one per unit.
        name: of the index.
        title: of the panel.
    """
    axes.axhline(0, color=GREY, lw=0.8)
    low, high = axis_range(loss_ratio)
    inside = (loss_ratio >= low) & (loss_ratio <= high)
    axes.scatter(index[inside], loss_ratio[inside], s=7, color=BLUE, alpha=0.5, lw=0)
    for marker, edge, beyond in (("^", high, loss_ratio > high), ("v", low, loss_ratio < low)):
        axes.scatter(
            index[beyond],
            np.full(beyond.sum(), edge),
            s=18,
            color=VERMILLION,
            marker=marker,
            lw=0,
            clip_on=False,
        )
    n_beyond = int(np.sum(~inside))
    note = f"\ntriangles: {n_beyond} units beyond the axis" if n_beyond else ""
    axes.set(
        xlabel=f"{name} (0 to 1){note}",
        ylabel="loss ratio (% of the intact loss)",
        xlim=(-0.02, 1.02),
        ylim=(low, high),
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

    Where a few units are far away, the axis leaves them out and says how many they are.

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
    # The axis goes well beyond the whiskers; what is further away would flatten the boxes.
    ends = []
    for ratios in (related, others):
        lower, upper = np.quantile(ratios, [0.25, 0.75])
        reach = 4 * (upper - lower)
        ends += [max(ratios.min(), lower - reach), min(ratios.max(), upper + reach)]
    margin = 0.05 * (max(ends) - min(ends))
    low, high = min(ends) - margin, max(ends) + margin
    both = np.concatenate([related, others])
    n_beyond = int(np.sum((both < low) | (both > high)))
    axes.set_xticks([1, 2], ["related category", "other categories"])
    axes.set(
        xlabel=f"{n_beyond} dots are beyond the axis" if n_beyond else "",
        ylabel="loss ratio (% of the\ncategories' own intact loss)",
        ylim=(low, high),
        title=title,
    )


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
    axes.label_outer()
    axes.legend(loc="lower center")
