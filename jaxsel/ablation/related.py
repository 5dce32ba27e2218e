"""Whether a unit serves its own category at the cost of the others (Kanda, figure 5)."""

import numpy as np
from jaxtyping import Float, Int

from .effects import UnitEffects


def related_loss_ratios(
    effects: UnitEffects, related: Int[np.ndarray, " units"]
) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
    """Loss ratio of each unit's related category, and of all other categories together.

    Each is the change of the summed loss of those images in percent of their own loss in
    the intact network.

    Args:
        effects: of the ablation of every unit.
        related: the related category of each unit: the class of its optimal image, as a
            rule.

    Returns:
        Percent for the related category, and for the others.

    Raises:
        ZeroDivisionError: the intact loss of a category, or of the others, is exactly 0.

    Source:
        Kanda et al. (2020), arXiv:2001.07811, figure 5. The paper's values of 1e-4 are
        fractions, not percent: with percent, a category's own loss would hardly move.

    >>> from .units import ablate_units
    >>> from ..data.dataset import Dataset
    >>> dataset = Dataset(np.eye(2, dtype=np.float32), np.arange(2), ("cat", "dog"))
    >>> effects = ablate_units(lambda images, tap: tap("all", images), dataset, "all")
    >>> related_loss_ratios(effects, np.array([0, 1]))[0].round().tolist()
    [121.0, 121.0]
    """
    own = effects.loss_change[np.arange(len(related)), related]
    own_intact = effects.baseline.loss[related]
    others_intact = effects.baseline.loss.sum() - own_intact
    if not (own_intact > 0).all() or not (others_intact > 0).all():
        raise ZeroDivisionError("the intact loss of a category is exactly 0: no ratio")
    return 100 * own / own_intact, 100 * (effects.total() - own) / others_intact
