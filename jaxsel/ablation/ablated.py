"""A network with some of its units silenced, called like the network itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..intact import traceable
from ..sites import Activation, Model, Tap, masked, untouched


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Ablated:
    """A network without some units, made by `ablated`.

    A tree of arrays, like the network itself: one compiled program serves all masks.

    Attributes:
        network: the whole of it.
        keep: by site, which units are kept.
        named: the network's own sites; None where it does not name them.
        extra_sites: what else it names, where it says so.
    """

    network: Model
    keep: dict[str, Any]  # masks; JAX puts other things in their place
    named: tuple[str, ...] | None = field(metadata={"static": True})
    extra_sites: tuple[str, ...] = field(metadata={"static": True})

    @property
    def sites(self) -> tuple[str, ...]:
        """The network's own, where it has them."""
        if self.named is None:
            raise AttributeError("the network does not name its sites")
        return self.named

    def __call__(
        self, images: Float[Array, "images ..."], tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits; a tap sees the units after they are silenced.

        Raises:
            KeyError: a site that the network does not have.
            ValueError: a mask of another number of units than the site's.
        """
        silence, seen = masked(self.keep), []

        def then(site: str, activation: Activation) -> Activation:
            seen.append(site)
            if site in self.keep and self.keep[site].shape != activation.shape[-1:]:
                raise ValueError(
                    f"the mask of {site} must have the shape ({activation.shape[-1]},); found "
                    f"{self.keep[site].shape}"
                )
            return tap(site, silence(site, activation))

        logits = self.network(images, then)
        if unknown := sorted(self.keep.keys() - set(seen)):
            raise KeyError(
                f"unknown site {', '.join(unknown)}: this network has {', '.join(seen)}"
            )
        return logits


def ablated(model: Model, keep: Mapping[str, Bool[np.ndarray, " _"]]) -> Ablated:
    """The same network, with units silenced: for `record`, `evaluate` and all else.

    For the effects of many groups use `ablate_groups`, which is faster.

    Args:
        model: called as `model(images, tap)`.
        keep: by site, one mask over its units: those that are False respond 0. Sites that are
            left out keep all.

    Returns:
        A model. Its arrays are those of now. Called, it raises a `KeyError` for a site that
        the network does not have, a `ValueError` for a mask of another size.

    Raises:
        ValueError: a mask that is not of booleans, such as numbers of units.

    >>> model = lambda images, tap: tap("double", 2 * images)
    >>> ablated(model, {"double": np.array([True, False])})(jnp.ones((1, 2))).tolist()
    [[2.0, 0.0]]
    """
    for site, mask in keep.items():
        found = jnp.asarray(mask).dtype
        if not jnp.issubdtype(found, jnp.bool_):
            raise ValueError(
                f"the mask of {site} says of each unit whether it is kept, True or False; "
                f"found {found}"
            )
    own = getattr(model, "sites", None)
    return Ablated(
        jax.tree.map(lambda array: array, traceable(model)),
        {site: jnp.asarray(mask) for site, mask in keep.items()},
        None if own is None else tuple(own),
        tuple(getattr(model, "extra_sites", ())),
    )
