"""Figures of orientation selectivity."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import BLUE, BOXES, GREY, VERMILLION, named_ticks

GREEN = "#009E73"  # Okabe and Ito's


def boxes_beside_control(
    axes: Axes,
    values: Mapping[str, Float[np.ndarray, " _"]],
    control: Mapping[str, Float[np.ndarray, " _"]],
    *,
    name: str,
    threshold: float | None = None,
) -> None:
    """Quartiles of an index at every site, and in grey beside them those of its control.

    Args:
        axes: where to draw.
        values: one index per unit by site, in network order, without NaN.
        control: the same.
        name: of the index.
        threshold: where a dashed line stands.
    """
    places = np.arange(len(values))
    grey: dict[str, Any] = {
        "boxprops": {"facecolor": "#E0E0E0", "edgecolor": GREY},
        "whiskerprops": {"color": GREY},
        "capprops": {"color": GREY},
    }
    for offset, of, style in ((-0.2, values, BOXES), (0.2, control, BOXES | grey)):
        axes.boxplot(list(of.values()), positions=places + offset, widths=0.32, **style)
    if threshold is not None:
        axes.axhline(threshold, color="black", lw=0.8, ls="--")
    named_ticks(axes, places.tolist(), list(values))
    axes.set(xlabel="site", ylabel=f"{name} (0 to 1)", ylim=(-0.02, 1.02))


def tuning_curve(
    axes: Axes,
    orientations: Float[np.ndarray, " orientations"],
    curve: Float[np.ndarray, " orientations"],
    *,
    fitted: tuple[Float[np.ndarray, " fine"], Float[np.ndarray, " fine"]] | None = None,
    title: str,
) -> None:
    """What a unit responds to each orientation, in parts of its largest response.

    Args:
        axes: where to draw.
        orientations: degrees.
        curve: responses, some above 0.
        fitted: orientations and values of a fitted curve.
        title: names the unit.
    """
    largest = curve.max()
    if fitted is not None:
        axes.plot(fitted[0], fitted[1] / largest, color=VERMILLION, lw=1)
    axes.plot(orientations, curve / largest, "o", color=BLUE, ms=3)
    axes.set(
        xlabel="orientation, degrees",
        ylabel="response / largest",
        xlim=(-5, 180),
        xticks=[0, 45, 90, 135],
        ylim=(-0.05, 1.3),  # between orientations a fit may be above all responses
        title=title,
    )
    axes.label_outer()


def weights(
    axes: Axes, kernel: Float[np.ndarray, "rows columns channels"], *, title: str
) -> None:
    """The weights of a unit of a first layer, as an image: grey is 0.

    Args:
        axes: where to draw.
        kernel: of one or three channels.
        title: names the unit.
    """
    size = max(float(np.abs(kernel).max()), np.finfo(np.float32).tiny)
    shown = 0.5 + kernel / (2 * size)
    axes.imshow(np.repeat(shown, 3, axis=2) if kernel.shape[2] == 1 else shown)
    axes.set(xticks=[], yticks=[], title=title)


def halves_by_site(
    axes: Axes,
    sites: Sequence[str],
    means: Float[np.ndarray, "halves sites"],
    errors: Float[np.ndarray, "halves sites"],
    *,
    name: str,
) -> None:
    """What a network loses without halves of a site's units, at every site.

    Args:
        axes: where to draw.
        sites: in network order.
        means: without the more selective half, the less selective one, and random ones.
        errors: standard errors of the first two.
        name: of what is lost.
    """
    places = np.arange(len(sites))
    random = means[2:]
    axes.vlines(
        places, random.min(axis=0), random.max(axis=0), color=GREY, alpha=0.4, lw=6,
        label=f"{len(random)} random halves",
    )  # fmt: skip
    for row, offset, marker, colour, label in (
        (0, -0.15, "o", VERMILLION, "more selective half"),
        (1, 0.15, "s", BLUE, "less selective half"),
    ):
        axes.errorbar(
            places + offset,
            means[row],
            errors[row],
            fmt=marker,
            ms=4,
            color=colour,
            label=label,
        )
    axes.axhline(0, color="black", lw=0.5)
    named_ticks(axes, places.tolist(), sites)
    axes.set(xlabel="site of the units ablated", ylabel=name)


def lines_over_epochs(
    axes: Axes,
    epochs: Float[np.ndarray, " epochs"],
    values: Float[np.ndarray, "networks epochs"],
    *,
    name: str,
    colour: str = BLUE,
) -> None:
    """A number of every network over the epochs of its training, and their mean.

    Args:
        axes: where to draw.
        epochs: after which.
        values: NaN where one is not known.
        name: of the number.
        colour: of the lines.
    """
    for of_network in values:
        axes.plot(epochs, of_network, color=colour, lw=0.8, alpha=0.5)
    if len(values) > 1:
        known = np.isfinite(values).all(axis=0)
        axes.plot(epochs[known], values[:, known].mean(axis=0), color=colour, lw=2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epochs", ylabel=name, xlim=(epochs[0] - 0.5, epochs[-1] + 0.5))


def points_of_groups(
    axes: Axes,
    groups: Mapping[str, Float[np.ndarray, "networks 2"]],
    *,
    names: tuple[str, str],
) -> None:
    """Two numbers of every network; another colour and shape for each group.

    Args:
        axes: where to draw.
        groups: pairs by what the networks have in common.
        names: of the numbers.
    """
    shapes = "os^Dv<>P*X"
    colours = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY)
    for number, (label, pairs) in enumerate(groups.items()):
        axes.plot(
            *pairs.T,
            shapes[number % len(shapes)],
            color=colours[number % len(colours)],
            label=label,
            ms=5,
        )
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))  # points may lie anywhere


def halves_by_shift(
    axes: Axes,
    shifts: Sequence[int],
    intact: Float[np.ndarray, " shifts"],
    halves: Float[np.ndarray, "halves shifts"],
    *,
    name: str,
) -> None:
    """Shift invariance with all units, and without halves of lower ones.

    Args:
        axes: where to draw.
        shifts: pixels.
        intact: with all units.
        halves: without the more selective half, the less selective one, random ones.
        name: of the number.
    """
    axes.plot(shifts, intact, color="black", marker=".", label="all units")
    axes.plot(
        shifts,
        halves[0],
        color=VERMILLION,
        marker="o",
        ms=4,
        label="without the more selective half",
    )
    axes.plot(
        shifts,
        halves[1],
        color=BLUE,
        marker="s",
        ms=4,
        ls="--",
        label="without the less selective half",
    )
    random = halves[2:]
    axes.fill_between(
        shifts, random.min(axis=0), random.max(axis=0), color=GREY, alpha=0.3, lw=0,
        label="without random halves",
    )  # fmt: skip
    axes.set(xlabel="shift, pixels", ylabel=name, xticks=list(shifts))
    axes.legend()
