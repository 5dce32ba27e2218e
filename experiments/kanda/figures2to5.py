"""Figures 2 to 5: what the ablation of single units does, and to whom."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxsel import plotting, statistics
from jaxsel.ablation import related_loss_ratios
from jaxsel.report import Drawing, Number

from .figure1 import NAMES
from .measure import SiteUnits
from .wording import compared, number, p_value

FEWEST = 10  # units that a test in figure 5 needs
PAPER_LOSS_RATIO = ((".053", "41.4"), (".064", "54.9"))
PAPER_RHO = {"csi": ("-.43", "-.09"), "sparseness": ("-.51", "-.08")}


def figure_2(
    measured: Mapping[str, SiteUnits], folder: Path, rng: np.random.Generator
) -> tuple[list[Number], Drawing]:
    """Loss ratios of all live units, and whether they lean above 0."""
    figure, axes = plotting.panels(len(measured))
    numbers, parts = [], []
    for place, (ax, site) in enumerate(zip(axes[0], measured.values(), strict=True)):
        ratios = site.loss_ratio[site.live]
        test = statistics.signed_rank(ratios)
        low, high = statistics.bootstrap_interval(np.median, ratios, rng=rng)
        improved = int(np.sum(ratios < 0))
        plotting.loss_ratio_histogram(ax, ratios, title=site.site)
        parts.append(
            f"{site.site}: median {test.median:.3g} % (95 % interval {low:.3g} to {high:.3g}), "
            f"signed rank z = {test.z:.1f}, {p_value(test.p)}, n = {test.n}: "
            f"{compared(test.z, test.p, 1)}; {improved} of {len(ratios)} units improve the "
            "network when they are ablated"
        )
        where, of_site = f"figure_2.{site.site}", f"loss ratio of {site.site}"
        verdicts = site.effects.verdict()
        median, z = PAPER_LOSS_RATIO[place] if place < 2 else ("", "")
        numbers += [
            number(
                f"{where}.median", "Figure 2", f"median {of_site}", test.median, "%", median
            ),
            number(
                f"{where}.median_low",
                "Figure 2",
                f"95 % interval, lower end; {of_site}",
                low,
                "%",
            ),
            number(
                f"{where}.median_high",
                "Figure 2",
                f"95 % interval, upper end; {of_site}",
                high,
                "%",
            ),
            number(
                f"{where}.z", "Figure 2", f"signed-rank z against 0, {of_site}", test.z, "1", z
            ),
            number(f"{where}.p", "Figure 2", "its P, two-sided", test.p, "1", "< .001"),
            number(
                f"{where}.n",
                "Figure 2",
                f"units in the test, {site.site}",
                test.n,
                "units",
                "4,096",
            ),
            number(
                f"{where}.n_zeros",
                "Figure 2",
                f"live units of {site.site} without any effect, left out of the test",
                test.n_zeros,
                "units",
            ),
            number(
                f"{where}.n_improve",
                "Figure 2",
                f"units of {site.site} whose ablation lowers the loss",
                improved,
                "units",
            ),
            number(
                f"{where}.n_undecided",
                "Figure 2",
                f"units of {site.site} whose effect may be smaller than its error",
                verdicts.count("undecided"),
                "units",
            ),
        ]
    plotting.save(figure, folder / "figure_2")
    sentence = (
        "Distribution of the loss ratio, the change of the summed loss in percent when one "
        "unit is ablated. Above 0 the network needed the unit. "
        + "; ".join(parts)
        + ". The paper's medians are .053 % (z = 41.4) and .064 % (z = 54.9)."
    )
    return numbers, Drawing("figure_2", "Figure 2. Ablating one unit", sentence)


def figure_3(measured: Mapping[str, SiteUnits], folder: Path) -> tuple[list[Number], Drawing]:
    """Selectivity against loss ratio, one dot per live unit."""
    figure, axes = plotting.panels(len(measured), 2)
    numbers, parts = [], []
    for row, metric in enumerate(NAMES):
        for place, (ax, site) in enumerate(zip(axes[row], measured.values(), strict=True)):
            index, ratios = getattr(site, metric)[site.live], site.loss_ratio[site.live]
            found = statistics.spearman(index, ratios)
            plotting.selectivity_scatter(
                ax,
                index,
                ratios,
                name=NAMES[metric],
                title=f"{site.site}: Spearman {found.rho:.2f}",
            )
            paper = PAPER_RHO[metric][place] if place < 2 else ""
            parts.append(
                f"{NAMES[metric]} in {site.site}: {found.rho:.2f} (95 % interval "
                f"{found.low:.2f} to {found.high:.2f}, {p_value(found.p)}, n = {found.n}; "
                f"paper {paper or 'none'}): {compared(found.rho, found.p, -1)}"
            )
            where = f"figure_3.{site.site}.{metric}"
            text = f"{NAMES[metric]} and loss ratio of {site.site}"
            numbers += [
                number(
                    f"{where}.rho",
                    "Figure 3",
                    f"Spearman correlation of {text}",
                    found.rho,
                    "1",
                    paper,
                ),
                number(
                    f"{where}.low",
                    "Figure 3",
                    f"95 % interval, lower end; {text}",
                    found.low,
                    "1",
                ),
                number(
                    f"{where}.high",
                    "Figure 3",
                    f"95 % interval, upper end; {text}",
                    found.high,
                    "1",
                ),
                number(
                    f"{where}.p",
                    "Figure 3",
                    "P of the correlation, two-sided",
                    found.p,
                    "1",
                    "< .001",
                ),
                number(
                    f"{where}.n",
                    "Figure 3",
                    f"units of {site.site} in it",
                    found.n,
                    "units",
                    "4,096",
                ),
            ]
    plotting.save(figure, folder / "figure_3")
    sentence = (
        "Each dot is a unit: its selectivity, and what its ablation does to the loss. "
        "Spearman correlations: " + "; ".join(parts) + ". Silent units are left out."
    )
    return numbers, Drawing("figure_3", "Figure 3. Selectivity and loss ratio", sentence)


def figure_4(measured: Mapping[str, SiteUnits], folder: Path) -> tuple[list[Number], Drawing]:
    """The correlation of figure 3 at every site."""
    figure, axes = plotting.panels(1, width=max(1.0 * len(measured), 4.0), height=3.0)
    numbers, lines, below = [], [], {}
    for metric, name in NAMES.items():
        found = [
            statistics.spearman(getattr(s, metric)[s.live], s.loss_ratio[s.live])
            for s in measured.values()
        ]
        corrected = statistics.bonferroni([correlation.p for correlation in found])
        lines.append((name, np.array([[c.rho, c.low, c.high] for c in found])))
        below[name] = [
            site
            for site, c, p in zip(measured, found, corrected, strict=True)
            if c.rho < 0 and p < 0.01
        ]
        for site, correlation, p in zip(measured, found, corrected, strict=True):
            where, text = f"figure_4.{site}.{metric}", f"{name} and loss ratio of {site}"
            numbers += [
                number(
                    f"{where}.rho",
                    "Figure 4",
                    f"Spearman correlation of {text}",
                    correlation.rho,
                    "1",
                ),
                number(
                    f"{where}.p_bonferroni",
                    "Figure 4",
                    f"its P times the {len(measured)} sites, at most 1; {text}",
                    float(p),
                    "1",
                ),
            ]
    plotting.correlations_by_site(axes[0, 0], list(measured), lines)
    plotting.save(figure, folder / "figure_4")
    found_below = "; ".join(
        f"with the {name} at {', '.join(sites) or 'no site'}" for name, sites in below.items()
    )
    sentence = (
        "Spearman correlation of selectivity and loss ratio at every site, all units ablated "
        "one by one, with 95 % intervals. Negative means that ablating selective units costs "
        f"less. It is below 0 (P < .01, Bonferroni over {len(measured)} sites) {found_below}. "
        "In the paper it is below 0 in every AlexNet layer but conv5."
    )
    return numbers, Drawing("figure_4", "Figure 4. The correlation across sites", sentence)


def figure_5(site: SiteUnits, folder: Path) -> tuple[list[Number], Drawing]:
    """Whether harmful selective units serve their own category.

    With fewer than `FEWEST` units their number is stated instead of a test.
    """
    chosen = site.selective & (site.loss_ratio < 0)
    count = int(chosen.sum())
    label = "Figure 5"
    numbers = [
        number(
            "figure_5.n",
            label,
            f"units of {site.site} with CSI above the median and a loss ratio below 0",
            count,
            "units",
            "597",
        ),
    ]
    title = "Figure 5. The related category and the others"
    who = (
        f"units of {site.site} with a CSI above the median and a loss ratio below 0 "
        f"(n = {count}; paper 597)"
    )
    if count < FEWEST:
        sentence = f"There are too few {who} for a test: at least {FEWEST} are needed."
        return numbers, Drawing(None, title, sentence)
    related, others = related_loss_ratios(site.effects, site.best_class)
    figure, axes = plotting.panels(1, width=4.2, height=3.0)
    plotting.related_and_others(axes[0, 0], related[chosen], others[chosen], title=site.site)
    plotting.save(figure, folder / "figure_5")
    parts = []
    for name, values, paper, z, sign in (
        ("related category", related, "1.96e-4", "16.6", 1),
        ("other categories", others, "-1.38e-4", "21.2 (printed without sign)", -1),
    ):
        test = statistics.signed_rank(values[chosen])
        parts.append(
            f"the {name}: median {test.median:.3g} % ({test.median / 100:.2g} as a fraction; "
            f"paper {paper}), signed rank z = {test.z:.1f}, {p_value(test.p)}: "
            f"{compared(test.z, test.p, sign)}"
        )
        where = f"figure_5.{name.split()[0]}"
        numbers += [
            number(
                f"{where}.median", label, f"median loss ratio of the {name}", test.median, "%"
            ),
            number(
                f"{where}.median_fraction",
                label,
                f"the same as a fraction; {name}",
                test.median / 100,
                "1",
                paper,
            ),
            number(f"{where}.z", label, f"signed-rank z against 0, {name}", test.z, "1", z),
            number(f"{where}.p", label, f"its P, two-sided; {name}", test.p, "1", "< .001"),
        ]
    sentence = (
        f"What ablation does to the category of a unit's optimal image and to the others, for "
        f"{who}. Loss ratios are in percent of the categories' own intact loss. For "
        + "; for ".join(parts)
        + "."
    )
    return numbers, Drawing("figure_5", title, sentence)
