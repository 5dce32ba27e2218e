"""Figures of what ablation does (the form of Kanda et al., figures 2 to 6)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .style import BLUE, BOXES, GREY, VERMILLION, axis_range, named_ticks


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
    low, high = axis_range(loss_ratio)
    # 0 is a border between bins: none mixes gains and losses.
    step = (high - low) / 60 or 1.0
    bins = step * np.arange(np.floor(low / step), np.ceil(high / step) + 1)
    axes.hist(np.clip(loss_ratio, bins[0], bins[-1]), bins=bins.tolist(), color=BLUE)
    axes.axvline(0, color=GREY, lw=0.8)
    median = float(np.median(loss_ratio))
    axes.axvline(median, color=VERMILLION, ls="--")
    outside = int(np.sum((loss_ratio < bins[0]) | (loss_ratio > bins[-1])))
    note = f"\n{outside} units beyond are in the end bins" if outside else ""
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
    apart = 0.008 * len(sites)  # so that the two intervals do not hide each other
    largest = 0.0
    for place, ((name, values), drawn) in enumerate(zip(correlations, looks, strict=False)):
        x = np.arange(len(sites)) + apart * (2 * place - 1)
        rho, low, high = values.T
        axes.errorbar(
            x, rho, yerr=[rho - low, high - rho], label=name, capsize=2, elinewidth=0.8, **drawn
        )
        largest = max([largest, *np.abs(values[np.isfinite(values)]).tolist()])
    limit = min(np.ceil(10 * largest + 1) / 10, 1.0) * 1.05
    named_ticks(axes, range(len(sites)), sites)
    axes.set(
        xlabel="site",
        ylabel="Spearman correlation with\nthe loss ratio (-1 to 1)",
        ylim=(-limit, limit),
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def correlations_by_row(
    axes: Axes,
    rows: Sequence[str],
    correlations: Sequence[tuple[str, Float[np.ndarray, "rows 3"]]],
    *,
    title: str,
) -> None:
    """Correlations under several conditions, one row each, with intervals.

    Args:
        axes: where to draw.
        rows: what each row is, from the top.
        correlations: name of a series, and for each row rho and the ends of its interval; NaN
            where there is none. At most two series.
        title: of the panel.
    """
    looks = [
        {"color": VERMILLION, "marker": "o", "markerfacecolor": "white"},
        {"color": BLUE, "marker": "*", "markersize": 8},
    ]
    axes.axvline(0, color=GREY, ls=":")
    for place, ((name, values), drawn) in enumerate(zip(correlations, looks, strict=False)):
        y = np.arange(len(rows)) + 0.24 * place - 0.12 * (len(correlations) - 1)
        rho, low, high = values.T
        bars = np.where(np.isfinite([low, high]), [rho - low, high - rho], 0)
        axes.errorbar(rho, y, xerr=bars, label=name, capsize=2, elinewidth=0.8, ls="", **drawn)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(
        xlabel="Spearman correlation (-1 to 1)",
        xlim=(-1, 1),
        ylim=(len(rows) - 0.5, -0.5),
        title=title,
    )
    axes.label_outer()


def share_grid(
    axes: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    shares: Float[np.ndarray, "rows columns"],
    *,
    starts: Sequence[int] = (),
    name: str,
) -> None:
    """Shares as a grid of percentages, shaded.

    Args:
        axes: where to draw.
        rows: names, from the top.
        columns: names, from the left.
        shares: 0 to 1; NaN is left empty.
        starts: columns that a line sets apart from those before.
        name: of the share, with its unit.
    """
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            colour = "white" if share > 0.6 else "black"
            text = f"{100 * share:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    for start in starts:
        axes.axvline(start - 0.5, color="white", lw=3)
    axes.set_xticks(range(len(columns)), list(columns), fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel=name)


def loss_ratio_box(axes: Axes, loss_ratio: Float[np.ndarray, " units"], *, title: str) -> None:
    """Quartiles of what ablation does to some categories (one half of figure 5).

    The axis goes well beyond the whiskers; where a few units are further away, which would
    flatten the box, it leaves them out and says how many they are.

    Args:
        axes: where to draw.
        loss_ratio: of the categories in percent of their own loss, one per unit.
        title: of the panel.
    """
    axes.axhline(0, color=GREY, ls=":")
    axes.boxplot([loss_ratio], widths=0.4, **BOXES)
    lower, upper = np.quantile(loss_ratio, [0.25, 0.75])
    reach = 4 * (upper - lower)
    low = min(max(loss_ratio.min(), lower - reach), 0)
    high = max(min(loss_ratio.max(), upper + reach), 0)
    margin = 0.05 * (high - low) or 1.0  # all are exactly 0
    n_beyond = int(np.sum((loss_ratio < low) | (loss_ratio > high)))
    axes.set_xticks([])
    axes.set(
        xlabel=f"{n_beyond} dots are beyond the axis" if n_beyond else "",
        ylabel="loss ratio (% of the\ncategories' own intact loss)",
        ylim=(low - margin, high + margin),
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
