"""Figure 1: how selective the units are."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxsel import plotting, statistics
from jaxsel.report import Drawing, Number

from .measure import SiteUnits
from .wording import number, p_value

PAPER_MEDIAN = {"csi": (".90", ".91"), "sparseness": (".90", ".90")}
NAMES = {"csi": "category selectivity index", "sparseness": "sparseness"}


def figure_1a(site: SiteUnits, folder: Path) -> tuple[list[Number], Drawing]:
    """Ranked responses of a selective and a non-selective unit.

    The examples are the live units whose index is nearest to the 90th and to the 10th
    percentile: neither the extremes nor picked by eye.
    """
    figure, axes = plotting.panels(2)
    live = np.flatnonzero(site.live)
    numbers, parts = [], []
    assert site.responses.per_image is not None
    papers = {"selective": (".96", ".95", "-.051"), "non-selective": (".71", ".76", ".293")}
    for ax, (kind, percentile) in zip(
        axes[0], (("selective", 90), ("non-selective", 10)), strict=True
    ):
        goal = np.percentile(site.csi[live], percentile)
        unit = int(live[np.argmin(np.abs(site.csi[live] - goal))])
        csi, sparseness = float(site.csi[unit]), float(site.sparseness[unit])
        ratio = float(site.loss_ratio[unit])
        plotting.rank_curve(
            ax, site.responses.per_image[:, unit], title=f"{kind}: {site.site} unit {unit}"
        )
        fires = 100 - float(site.percentage_of_zeros[unit])
        parts.append(
            f"unit {unit} ({kind}) has CSI {csi:.2f} and sparseness {sparseness:.2f}, responds "
            f"to {fires:.0f} % of the images and has a loss ratio of {ratio:.3g} %"
        )
        where, paper = f"figure_1a.{kind.replace('-', '_')}", papers[kind]
        text = f"of the example of a {kind} unit, {site.site} unit {unit}"
        numbers += [
            number(f"{where}.unit", "Figure 1A", f"number {text}", unit, "1"),
            number(f"{where}.csi", "Figure 1A", f"CSI {text}", csi, "1", paper[0]),
            number(
                f"{where}.sparseness",
                "Figure 1A",
                f"sparseness {text}",
                sparseness,
                "1",
                paper[1],
            ),
            number(
                f"{where}.loss_ratio", "Figure 1A", f"loss ratio {text}", ratio, "%", paper[2]
            ),
        ]
    plotting.save(figure, folder / "figure_1a")
    sentence = (
        f"Responses of two units of {site.site} to every image, strongest first: "
        + "; ".join(parts)
        + ". They are the units nearest to the 90th and the 10th percentile of CSI. The "
        "paper's examples have CSI .96 and .71, sparseness .95 and .76, and loss ratios of "
        "-.051 % and .293 %."
    )
    return numbers, Drawing(
        "figure_1a", "Figure 1A. A selective and a non-selective unit", sentence
    )


def figure_1bc(
    measured: Mapping[str, SiteUnits],
    metric: str,
    letter: str,
    folder: Path,
    rng: np.random.Generator,
) -> tuple[list[Number], Drawing]:
    """How many units have which index, at the sites in focus."""
    figure, axes = plotting.panels(len(measured))
    numbers, parts = [], []
    for place, (ax, site) in enumerate(zip(axes[0], measured.values(), strict=True)):
        values = getattr(site, metric)[site.live].astype(np.float64)
        median = float(np.median(values))
        low, high = statistics.bootstrap_interval(np.median, values, rng=rng)
        n_silent = int(np.sum(~site.live))
        plotting.index_histogram(ax, values, name=NAMES[metric], title=site.site)
        parts.append(
            f"{site.site}: median {median:.2f} (95 % interval {low:.2f} to {high:.2f} over "
            f"{len(values)} units, {n_silent} silent ones left out)"
        )
        where, text = f"figure_1{letter}.{site.site}", f"{NAMES[metric]} of {site.site}"
        paper = PAPER_MEDIAN[metric][place] if place < 2 else ""
        label = f"Figure 1{letter.upper()}"
        numbers += [
            number(f"{where}.median", label, f"median {text}", median, "1", paper),
            number(
                f"{where}.median_low", label, f"its 95 % interval, lower end; {text}", low, "1"
            ),
            number(
                f"{where}.median_high",
                label,
                f"its 95 % interval, upper end; {text}",
                high,
                "1",
            ),
            number(
                f"{where}.n_silent", label, f"silent units of {site.site}", n_silent, "units"
            ),
            number(f"{where}.n", label, f"units of {site.site} counted", len(values), "units"),
        ]
    plotting.save(figure, folder / f"figure_1{letter}")
    sentence = (
        f"Distribution of the {NAMES[metric]} over units. "
        + "; ".join(parts)
        + f". The paper's medians for AlexNet's fc6 and fc7 are "
        f"{' and '.join(PAPER_MEDIAN[metric])}, with 1,000 classes instead of "
        f"{len(next(iter(measured.values())).responses.class_counts)}."
    )
    title = f"Figure 1{letter.upper()}. {NAMES[metric].capitalize()}"
    return numbers, Drawing(f"figure_1{letter}", title, sentence)


def figure_1d(
    measured: Mapping[str, SiteUnits], focus: tuple[str, ...], folder: Path
) -> tuple[list[Number], Drawing]:
    """Selectivity by site, and whether the sites in focus lie above the earlier ones."""
    width = max(0.6 * len(measured), 2.8)
    figure, axes = plotting.panels(2, width=width)
    numbers, parts = [], []
    earlier = [site for site in measured if site not in focus]
    for ax, metric in zip(axes[0], NAMES, strict=True):
        values = {s.site: getattr(s, metric)[s.live] for s in measured.values() if s.live.any()}
        plotting.boxes_by_site(ax, values, name=NAMES[metric])
        numbers += [
            number(
                f"figure_1d.{site}.{metric}",
                "Figure 1D",
                f"median {NAMES[metric]} of {site}",
                float(np.median(of_site)),
                "1",
            )
            for site, of_site in values.items()
        ]
        late = [values[site] for site in focus if site in values]
        early = [values[site] for site in earlier if site in values]
        if not (late and early):
            continue
        test = statistics.rank_sum(np.concatenate(late), np.concatenate(early))
        direction = "higher" if test.z > 0 else "lower"
        parts.append(
            f"{NAMES[metric]} is {direction} in {' and '.join(focus)} than in earlier sites "
            f"(rank sum, z = {test.z:.1f}, {p_value(test.p)})"
        )
        numbers += [
            number(
                f"figure_1d.{metric}.z",
                "Figure 1D",
                f"rank-sum z, {NAMES[metric]} of "
                f"{' and '.join(focus)} against the earlier sites",
                test.z,
                "1",
            ),
            number(f"figure_1d.{metric}.p", "Figure 1D", "its P, two-sided", test.p, "1"),
        ]
    plotting.save(figure, folder / "figure_1d")
    compared = (
        ": " + "; ".join(parts) + ". In the paper, conv1 to conv4 lie much below fc6 and fc7."
        if parts
        else ". There are no earlier sites to compare with."
    )
    sentence = (
        "Boxes from the lower to the upper quartile with the median, whiskers to the outermost "
        "units within 1.5 times the box's height, dots beyond. Silent units are left out"
        + compared
    )
    return numbers, Drawing("figure_1d", "Figure 1D. Selectivity across sites", sentence)
