"""One batch through a network, reading and editing its units on the way."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .sites import Activation, Model, Tap, untouched

# What the response of a feature map can be.
REDUCTIONS = ("mean", "max", "centre")


def forward(
    model: Model,
    images: Float[Array, "images ..."],
    tap: Tap = untouched,
    *,
    sites: Sequence[str] | None = None,
) -> tuple[Float[Array, "images classes"], dict[str, Activation]]:
    """Logits, and the activation that left the tap at every site.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        images: preprocessed as the network was trained.
        tap: reads or edits activations on their way.
        sites: which to return; by default `model.sites` or, for a model without that
            attribute, every site it names.

    Returns:
        Logits, and activations by site, shape `(images, height, width, channels)` or
        `(images, units)`.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: the network names a site twice.

    >>> import jax.numpy as jnp
    >>> def model(images, tap):
    ...     return tap("half", images / 2) @ jnp.ones((2, 3))
    >>> logits, activations = forward(model, jnp.ones((1, 2)))
    >>> logits.tolist(), activations["half"].tolist()
    ([[1.0, 1.0, 1.0]], [[0.5, 0.5]])
    """
    seen: dict[str, Activation] = {}

    def reading(site: str, activation: Activation) -> Activation:
        if site in seen:
            raise ValueError(f"this network names the site {site!r} twice in one pass")
        seen[site] = tap(site, activation)
        return seen[site]

    logits = model(images, reading)
    wanted = tuple(getattr(model, "sites", seen)) if sites is None else tuple(sites)
    if unknown := [site for site in wanted if site not in seen]:
        raise KeyError(f"unknown site {', '.join(unknown)}: this network has {', '.join(seen)}")
    return logits, {site: seen[site] for site in wanted}


def unit_responses(
    activation: Float[ArrayLike, "images ..."], reduce: str = "mean"
) -> Float[Array, "images units"]:
    """One response per image and unit: of a feature map its spatial mean, as a rule.

    Args:
        activation: `(images, units)`, or `(images, ..., units)` with space in between.
        reduce: what a map counts by: its `mean`, its `max`, or its `centre`, the place in the
            middle (of an even number of places, the later one).

    Returns:
        Responses in the units of the activation. After a ReLU the mean and the largest
        number of a map are 0 exactly when the whole map is 0.

    Raises:
        ValueError: another name.

    >>> unit_responses(jnp.arange(8.0).reshape(1, 2, 2, 2)).tolist()
    [[3.0, 4.0]]
    >>> unit_responses(jnp.arange(8.0).reshape(1, 2, 2, 2), "max").tolist()
    [[6.0, 7.0]]
    """
    maps = jnp.asarray(activation)
    if reduce == "centre":
        return maps[:, *(size // 2 for size in maps.shape[1:-1])]
    places = maps.reshape(maps.shape[0], -1, maps.shape[-1])
    if reduce == "max":
        return places.max(axis=1)
    if reduce != "mean":
        raise ValueError(f"reduce must be {', '.join(REDUCTIONS)}; found {reduce!r}")
    return places.mean(axis=1)
