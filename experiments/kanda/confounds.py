"""What else could make selective units matter less: their activity, and noise in the index."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxsel import metrics, outgoing_norm, statistics
from jaxsel.data import Dataset

from .measure import SiteUnits

N_SHUFFLES, N_SPLITS = 100, 20
INDICES = {
    "csi": "CSI",
    "sparseness": "sparseness",
    "csi_cross_validated": "CSI, cross-validated",
    "csi_above_chance": "CSI less that of shuffled labels",
    "d_prime": "d-prime",
    "mutual_information": "mutual information",
}
HELD = {
    "mean_response": "mean response",
    "percentage_of_zeros": "percentage of zeros",
    "outgoing_norm": "norm of outgoing weights",
}
# Column of controls.parquet: what it is, with its unit.
MEANINGS = {
    "site": "where the unit is",
    "unit": "number of the unit at its site, from 0",
    "csi": "category selectivity index, 0 to 1; of a silent unit as in units.parquet",
    "sparseness": "sparseness over images, 0 to 1; of a silent unit as in units.parquet",
    "csi_cross_validated": "CSI with the best class chosen on other images, -1 to 1 or "
    "a little beyond; NaN where a class has a single image",
    "csi_above_chance": f"CSI less its mean over {N_SHUFFLES} shuffles of the labels",
    "csi_shuffled_95": "95 % quantile of the CSI with shuffled labels",
    "d_prime": "d-prime of the best class, in standard deviations",
    "mutual_information": "what a response says about the class, bits, bias taken off",
    "mean_response": "over images, in the units of the activation",
    "percentage_of_zeros": "percent of the images to which the unit responds 0",
    "outgoing_norm": "norm of the unit's weights in the layer that follows; NaN if unknown",
    "loss_ratio": "change of the summed loss without the unit, percent of the intact loss",
}


@dataclass(frozen=True, eq=False)
class Confounds:
    """Every index of the units of a site, and what may stand behind it.

    Attributes:
        units: the site.
        of: the columns of `MEANINGS` but for site and unit.
        why_no_norm: why there are no norms of outgoing weights; empty where there are.
    """

    units: SiteUnits
    of: Mapping[str, Float[np.ndarray, " units"]]
    why_no_norm: str = ""

    def correlation(self, index: str, *held: str) -> statistics.Correlation:
        """Spearman's, of an index and the loss ratio, with others held constant."""
        columns = [self.of[name] for name in (index, "loss_ratio", *held)]
        both = self.units.live & np.isfinite(columns).all(axis=0)
        return statistics.partial_spearman(*(column[both] for column in columns))

    @property
    def held(self) -> tuple[str, ...]:
        """What can be held constant."""
        return tuple(name for name in HELD if np.isfinite(self.of[name]).any())


def confounds(
    model: Any, images: Dataset, units: SiteUnits, rng: np.random.Generator
) -> Confounds:
    """Compute all of them.

    Args:
        model: the network.
        images: those analysed.
        units: a site, with its responses.
        rng: divides the images and shuffles the labels.
    """
    responses, labels = units.responses.per_image, units.responses.labels
    assert responses is not None
    n_classes = len(images.class_names)
    nothing, why = np.full(len(units.csi), np.nan), ""
    counts = units.responses.class_counts
    cross_validated = nothing
    if counts[counts > 0].min() > 1:
        cross_validated = metrics.cross_validated_csi(
            responses, labels, n_classes, rng=rng, n_splits=N_SPLITS
        )
    shuffled = metrics.shuffled_csi(
        responses, labels, n_classes, rng=rng, n_shuffles=N_SHUFFLES
    )
    try:
        norms = outgoing_norm(model, images, units.site)[units.effects.units]
    except ValueError as error:  # of a network of others
        norms, why = nothing, str(error)
    found = {
        "csi": units.csi,
        "sparseness": units.sparseness,
        "csi_cross_validated": cross_validated,
        "csi_above_chance": units.csi - shuffled.mean(axis=0),
        "csi_shuffled_95": np.quantile(shuffled, 0.95, axis=0),
        "d_prime": metrics.d_prime(responses, labels, n_classes),
        "mutual_information": metrics.mutual_information(responses, labels, n_classes),
        "mean_response": units.responses.sums / len(labels),
        "percentage_of_zeros": units.percentage_of_zeros,
        "outgoing_norm": norms,
        "loss_ratio": units.loss_ratio,
    }
    columns = {name: np.asarray(values, np.float64) for name, values in found.items()}
    return Confounds(units, columns, why)
