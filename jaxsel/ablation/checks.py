"""What an ablation is asked for, checked before anything is computed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..data.dataset import Dataset
from ..delta.transform import dependents
from ..forward import forward
from ..sites import Model, replaced, untouched
from .ablations import Ablations


def activation_shape(model: Model, dataset: Dataset, site: str) -> jax.ShapeDtypeStruct:
    """Shape and type of the activation at a site, for two images."""
    two = jax.ShapeDtypeStruct((2, *dataset.inputs(slice(0, 1)).shape[1:]), np.float32)
    logits, activations = jax.eval_shape(
        lambda images: forward(model, images, sites=(site,)), two
    )
    for name, array in (("logits", logits), (site, activations[site])):
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"{name} of this network is {array.dtype}: ablation needs float32, as its "
                "changes are far below the resolution of anything shorter"
            )
    return activations[site]


def refuse_short_numbers(
    model: Model, image: tuple[int, ...], site: str, activation: jax.ShapeDtypeStruct
) -> None:
    """Raise `ValueError` where what follows a site computes in less than float32.

    Args:
        model: as `traceable` gives it.
        image: the shape of one.
        site: where the units are.
        activation: shape and type of it.
    """
    images = jax.ShapeDtypeStruct((activation.shape[0], *image), np.float32)

    def after(images: jax.Array, activation: jax.Array) -> jax.Array:
        return model(images, replaced(site, activation))

    jaxpr = jax.make_jaxpr(after)(images, activation).jaxpr
    for eqn, _ in dependents(jaxpr, jaxpr.invars[-1:]):
        for var in eqn.outvars:
            aval: Any = var.aval
            if jnp.issubdtype(aval.dtype, jnp.floating) and aval.dtype.itemsize < 4:
                raise ValueError(
                    f"what follows {site} computes in {aval.dtype}: ablation needs float32, as "
                    "its changes are far below the resolution of anything shorter"
                )


def takes_one_image(model: Model, image: tuple[int, ...]) -> bool:
    """Whether a batch of one image gives one row of logits.

    Not so where a network drops all axes of size 1 at once.
    """
    one = jax.ShapeDtypeStruct((1, *image), np.float32)
    logits = jax.eval_shape(lambda images: model(images, untouched), one)
    return len(logits.shape) == 2 and logits.shape[0] == 1


def check_units(units: np.ndarray, n_units: int, site: str) -> None:
    """Whether these are numbers of units that the site has."""
    if units.ndim != 1 or not len(units) or units.dtype.kind not in "iu":
        raise ValueError(
            "units must be numbers of at least one unit (np.flatnonzero gives those of a "
            f"mask); found {units.dtype} of shape {units.shape}"
        )
    if units.min() < 0 or units.max() >= n_units:
        raise ValueError(
            f"{site} has the units 0 to {n_units - 1}; found {units.min()} to {units.max()}"
        )


def one_per_unit(replacement: float | np.ndarray, n_units: int) -> np.ndarray:
    """The replacement of every unit, finite, in float64."""
    values = np.asarray(replacement, np.float64)
    if values.ndim and values.shape != (n_units,):
        raise ValueError(
            f"replacement must be one number or one per unit, {n_units} here; found "
            f"shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("a replacement is NaN or infinite")
    return np.broadcast_to(values, (n_units,))


def asked_for(
    units: np.ndarray | None,
    groups: np.ndarray | None,
    replacement: float | np.ndarray,
    n_units: int,
    site: str,
) -> Ablations:
    """The ablations of units or of groups of them, of all units if neither is named."""
    if groups is None:
        chosen = np.arange(n_units) if units is None else np.asarray(units)
        check_units(chosen, n_units, site)
        return Ablations(chosen, one_per_unit(replacement, len(chosen)))
    if units is not None:
        raise ValueError("units and groups cannot both be asked for")
    masks = np.asarray(groups)
    if masks.ndim != 2 or masks.dtype != bool or not len(masks) or masks.shape[1] != n_units:
        raise ValueError(
            f"groups of {site} must be at least one mask of truth values, shape (groups, "
            f"{n_units}); found {masks.dtype} of shape {masks.shape}"
        )
    return Ablations(masks, one_per_unit(replacement, n_units))
