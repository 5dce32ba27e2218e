"""What a neuroscientist asks first, as a page of its own.

A unit that rarely responds has a high index and little to lose, and an index that is the
largest of many class means is high by chance: is there more to the paper's correlation?
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel import plotting, report
from jaxsel.report import Number

from . import claims
from .analysed import Analysed, Progress
from .claims import Claim
from .confounds import MEANINGS, Confounds, confounds
from .control_claims import of_controls, over_networks
from .control_figures import activity, chance, elsewhere, other_indices
from .elsewhere import conditions
from .settings import Config


def controls(
    config: Config,
    found: Analysed,
    facts: Mapping[str, Any],
    folder: Path,
    settings: Sequence[tuple[str, str]],
    progress: Progress,
) -> tuple[list[Number], list[Claim]]:
    """Measure, draw, and write `controls.html` and `controls.parquet`.

    Args:
        config: what is asked for.
        found: the analysis.
        facts: of the network.
        folder: of the result; its figures are in a folder there.
        settings: for the end of the page.
        progress: called with a description and a total; returns what takes the count.

    Returns:
        The numbers, and the claims that the controls bear on.
    """
    count, behind = progress("controls", len(found.focus)), {}
    for number, (site, units) in enumerate(found.in_focus.items()):
        rng = np.random.default_rng([config.seed, 7, number])
        behind[site] = confounds(found.model, found.images, units, rng)
        count(number + 1)
    listed = conditions(config, found, facts, progress)
    figures = folder / "figures"
    with plotting.look():
        drawn = [
            activity(behind, figures),
            chance(behind, listed, figures),
            other_indices(behind, figures),
            elsewhere(listed, found.focus, figures),
        ]
    of_all = [number for of_one, _ in drawn for number in of_one]
    told = [*of_controls(behind, listed, found.focus), *over_networks(listed, found.focus)]
    report.write_parquet(folder / "controls.parquet", _table(behind), MEANINGS)
    report.write_page(
        folder / "controls.html",
        title="What a neuroscientist asks first",
        introduction=[
            "In the paper the more selective units are those that the network needs less: a "
            "negative Spearman correlation of selectivity and loss ratio (figure 3). A unit "
            "that rarely responds has both a high index and little to lose, so activity alone "
            "could make that correlation; and an index that is the largest of many class means "
            "is high by chance. Here the correlation is looked at with activity held constant, "
            "with indices that chance does not raise, on other images and in other networks.",
            "Intervals are 95 % over units, whose P is therefore how certain a correlation is "
            "for these units. Units of one network are not independent: what holds for "
            "networks of this kind only several networks can say.",
        ],
        tables=[claims.table(told, "What the controls say to the claim of figure 3")],
        drawings=[drawing for _, drawing in drawn],
        figures=figures,
        numbers=of_all,
        note="",
        settings=settings,
    )
    return of_all, told


def _table(behind: Mapping[str, Confounds]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "site": [site for site, one in behind.items() for _ in one.units.csi],
        "unit": np.concatenate([one.units.effects.units for one in behind.values()]),
    }
    names = [name for name in MEANINGS if name not in columns]
    return columns | {
        name: np.concatenate([one.of[name] for one in behind.values()]) for name in names
    }
