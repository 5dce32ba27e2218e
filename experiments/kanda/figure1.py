"""Figure 1: how selective the units are."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxsel import plotting, statistics
from jaxsel.report import Drawing, Number

from .measure import SiteUnits
from .wording import numbers, p_value

NAMES = {"csi": "category selectivity index", "sparseness": "sparseness"}
PAPER_MEDIAN = {"csi": (".90", ".91"), "sparseness": (".90", ".90")}  # fc6, fc7
PAPER_EXAMPLE = {"selective": (".96", ".95", "-.051"), "non-selective": (".71", ".76", ".293")}


def figure_1a(site: SiteUnits, folder: Path) -> tuple[list[Number], Drawing]:
    """Ranked responses of a selective and a non-selective unit.

    The examples are the live units whose index is nearest to the 90th and to the 10th
    percentile: neither the extremes nor picked by eye.
    """
    figure, axes = plotting.panels(2)
    live = np.flatnonzero(site.live)
    found, details, shares = [], [], []
    assert site.responses.per_image is not None
    for ax, kind, percentile in zip(axes[0], PAPER_EXAMPLE, (90, 10), strict=True):
        goal = np.percentile(site.csi[live], percentile)
        unit = int(live[np.argmin(np.abs(site.csi[live] - goal))])
        csi, sparseness = float(site.csi[unit]), float(site.sparseness[unit])
        ratio, fires = float(site.loss_ratio[unit]), 100 - site.percentage_of_zeros[unit]
        plotting.rank_curve(
            ax, site.responses.per_image[:, unit], title=f"{kind}: {site.site} unit {unit}"
        )
        shares.append(float(fires))
        p_csi, p_sparseness, p_ratio = PAPER_EXAMPLE[kind]
        details.append(
            f"Unit {unit} ({kind}) has CSI {csi:.2f} and sparseness {sparseness:.2f}, responds "
            f"to {fires:.0f} % of the images and has a loss ratio of {ratio:.2g} %. In the "
            f"paper's example these are {p_csi}, {p_sparseness} and, for the loss ratio, "
            f"{p_ratio} %."
        )
        found += numbers(
            "Figure 1A",
            kind.replace("-", "_"),
            f"example of a {kind} unit of {site.site}",
            [
                ("unit", "number of the unit", unit),
                ("csi", NAMES["csi"], csi, "1", p_csi),
                ("sparseness", "sparseness", sparseness, "1", p_sparseness),
                ("loss_ratio", "loss ratio", ratio, "%", p_ratio),
            ],
        )
    plotting.save(figure, folder / "figure_1a")
    fewer = "fewer" if shares[0] < shares[1] else "no fewer"
    sentence = (
        f"Responses of two units of {site.site} to every image, strongest first. They are the "
        "units nearest to the 90th and to the 10th percentile of the category selectivity "
        f"index (CSI). The selective one responds to {fewer} images; in the paper it is fewer."
    )
    title = "Figure 1A. A selective and a non-selective unit"
    return found, Drawing("figure_1a", title, sentence, details)


def figure_1bc(
    measured: Mapping[str, SiteUnits],
    metric: str,
    letter: str,
    folder: Path,
    rng: np.random.Generator,
) -> tuple[list[Number], Drawing]:
    """How many units have which index, at the sites in focus."""
    figure, axes = plotting.panels(len(measured))
    found, details = [], []
    label, name = f"Figure 1{letter.upper()}", NAMES[metric]
    n_classes = 0
    for place, (ax, site) in enumerate(zip(axes[0], measured.values(), strict=True)):
        values = getattr(site, metric)[site.live].astype(np.float64)
        median = float(np.median(values))
        low, high = statistics.bootstrap_interval(np.median, values, rng=rng)
        n_silent = int(np.sum(~site.live))
        n_classes = len(site.responses.class_counts)
        plotting.index_histogram(ax, values, name=name, title=site.site)
        paper = PAPER_MEDIAN[metric][place] if place < 2 else ""
        details.append(
            f"{site.site}: median {median:.2f} (95 % interval {low:.2f} to {high:.2f}) over "
            f"{len(values)} units; {n_silent} silent ones are left out."
        )
        found += numbers(
            label,
            site.site,
            f"{name} of {site.site}",
            [
                ("median", "median", median, "1", paper),
                ("median_low", "median, 95 % interval over units, lower end", low),
                ("median_high", "median, 95 % interval over units, upper end", high),
                ("n", "units counted", len(values), "units"),
                ("n_silent", "silent units, left out", n_silent, "units"),
            ],
        )
    plotting.save(figure, folder / f"figure_1{letter}")
    sentence = (
        f"How many units have which {name}. The paper's medians for AlexNet's fc6 and fc7 are "
        f"{' and '.join(PAPER_MEDIAN[metric])}, with 1,000 classes instead of {n_classes}."
    )
    title = f"{label}. {name.capitalize()}"
    return found, Drawing(f"figure_1{letter}", title, sentence, details)


def figure_1d(
    measured: Mapping[str, SiteUnits], focus: tuple[str, ...], folder: Path
) -> tuple[list[Number], Drawing]:
    """Selectivity by site, and whether the sites in focus differ from the others."""
    figure, axes = plotting.panels(2, width=max(0.6 * len(measured), 2.8))
    found, details = [], []
    for ax, (metric, name) in zip(axes[0], NAMES.items(), strict=True):
        values = {s.site: getattr(s, metric)[s.live] for s in measured.values() if s.live.any()}
        plotting.boxes_by_site(ax, values, name=name)
        for site, of_site in values.items():
            entry = (metric, "median", float(np.median(of_site)))
            found += numbers("Figure 1D", site, f"{name} of {site}", [entry])
        others = [of_site for site, of_site in values.items() if site not in focus]
        if not others:
            continue
        in_focus = [of_site for site, of_site in values.items() if site in focus]
        test = statistics.rank_sum(np.concatenate(in_focus), np.concatenate(others))
        sites = " and ".join(focus)
        details.append(
            f"The {name} is {'higher' if test.z > 0 else 'lower'} in {sites} than at the other "
            f"sites: rank sum, z = {test.z:.1f}, {p_value(test.p)}."
        )
        found += numbers(
            "Figure 1D",
            metric,
            f"{name}, {sites} against the other sites",
            [("z", "rank-sum z", test.z), ("p", "P of the rank sum, two-sided", test.p)],
        )
    plotting.save(figure, folder / "figure_1d")
    sentence = (
        "Boxes from the lower to the upper quartile with the median, whiskers to the outermost "
        "units within 1.5 times the box's height, dots beyond. Silent units are left out. In "
        "the paper, units of conv1 to conv4 are much less selective than those of fc6 and fc7."
    )
    title = "Figure 1D. Selectivity across sites"
    return found, Drawing("figure_1d", title, sentence, details)
