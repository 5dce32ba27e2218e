"""What a network loses without the more, or the less, selective half of a site's units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxsel import ablate_groups, evaluate
from jaxsel.data import Dataset

from ..told import Progress
from .settings import Config
from .tuning import Tuning

SELECTIVE, UNSELECTIVE = 0, 1  # rows; random halves follow


@dataclass(frozen=True, eq=False)
class Lost:
    """Without halves of the units of one site.

    Attributes:
        site: whose units.
        at: where the zeros are put: the site, or `after_batch_norm`.
        n_ablated: units in each half.
        changes: of the loss of every image, nats, `(halves, images)`: the more selective half,
            the less selective one, random ones.
        accuracy: without each half, 0 to 1.
    """

    site: str
    at: str
    n_ablated: int
    changes: np.ndarray
    accuracy: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Of each half, nats."""
        return self.changes.mean(axis=1)

    @property
    def error(self) -> np.ndarray:
        """Standard error of the mean over images, nats."""
        return self.changes.std(axis=1, ddof=1) / np.sqrt(self.changes.shape[1])


def halves_of(gosi: np.ndarray, n_random: int, rng: np.random.Generator) -> np.ndarray:
    """Which units are kept without the more selective half, the less selective, random ones.

    Units without an index are in no half. Of an odd number, the one in the middle is in neither
    of the first two. Equals are ranked by their number.

    Args:
        gosi: of each unit, NaN where it has none.
        n_random: random halves.
        rng: draws them.

    Returns:
        Masks `(2 + n_random, units)`.

    >>> halves_of(np.array([0.5, np.nan, 0.1]), 0, np.random.default_rng(0)).tolist()
    [[False, True, True], [True, True, False]]
    """
    known = np.flatnonzero(np.isfinite(gosi))
    order = known[np.argsort(gosi[known], kind="stable")]
    n = len(order) // 2
    gone = [order[len(order) - n :], order[:n]]
    gone += [rng.permutation(known)[:n] for _ in range(n_random)]
    keep = np.ones((len(gone), len(gosi)), bool)
    for row, units in enumerate(gone):
        keep[row, units] = False
    return keep


def after_batch_norm(order: Sequence[str], site: str) -> str | None:
    """Where zeros after a site's BatchNorm are something else than zeros at the site.

    In the author's network BatchNorm follows the ReLU, and his ablation writes its zeros behind
    it. In a residual block's second convolution it comes before the addition: there zeros leave
    what goes around the block. Where it comes just before the ReLU, they are those at the site.

    Args:
        order: all sites of the network, in the order of the computation.
        site: one of them.

    Returns:
        The extra site; None where there is none.

    >>> after_batch_norm(["conv1", "conv1_bn"], "conv1")
    'conv1_bn'
    >>> after_batch_norm(["conv1_bn", "conv1"], "conv1") is None
    True
    """
    behind = f"{site}_bn"
    if behind in order and order.index(behind) > order.index(site):
        return behind
    before_addition = site.removesuffix("conv2") + "pre_add"
    return before_addition if site.endswith("conv2") and before_addition in order else None


def all_sites(model: Any, images: Dataset) -> list[str]:
    """In the order of the computation, extra sites too."""
    seen = []

    def tap(site: str, activation: jax.Array) -> jax.Array:
        seen.append(site)
        return activation

    first = jax.ShapeDtypeStruct(images.inputs(slice(0, 1)).shape, np.float32)
    jax.eval_shape(lambda network, batch: network(batch, tap), model, first)
    return seen


def lost(
    config: Config, model: Any, images: Dataset, tuned: Mapping[str, Tuning], progress: Progress
) -> list[Lost]:
    """Ablate halves at every site, and after its BatchNorm.

    Args:
        config: what was asked for.
        model: the network.
        images: test images.
        tuned: the units of its sites.
        progress: makes progress bars.
    """
    rng = np.random.default_rng([config.draws, 2, 1])  # none of the shuffled images' seeds
    order = all_sites(model, images)
    intact = evaluate(model, images).loss
    places = [
        (site, at)
        for site in tuned
        for at in (site, after_batch_norm(order, site))
        if at is not None
    ]
    n_halves = 2 + config.random_halves
    count = progress("halves ablated", len(places) * n_halves * len(images))
    found, masks = [], {}
    for number, (site, at) in enumerate(places):
        if site not in masks:  # the same halves at both places
            masks[site] = halves_of(tuned[site].gosi, config.random_halves, rng)
        keep = masks[site]
        before = number * n_halves * len(images)
        effects = ablate_groups(
            model,
            images,
            {at: keep},
            keep_losses=True,
            progress=lambda done, before=before: count(before + done),
        )
        assert effects.losses is not None
        n_ablated = int((~keep[0]).sum())
        found.append(Lost(site, at, n_ablated, effects.losses - intact, effects.accuracy()))
    return found


def of_sites(
    found: Sequence[Lost], sites: Sequence[str], *, behind: bool = False
) -> list[Lost]:
    """Those at some sites, or behind their BatchNorm."""
    return [one for one in found if one.site in sites and (one.at != one.site) == behind]
