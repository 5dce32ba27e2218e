"""A network from one of its sites on, called with activations in place of images."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr
from jax.interpreters import partial_eval
from jaxtyping import Array, Float

from .forward import forward
from .intact import named_sites, traceable
from .sites import Activation, Model, Tap, replaced, untouched

STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Suffix:
    """What follows a site: a model of activations, made by `starting_at`.

    A tree of the network's arrays, like the network itself.

    Attributes:
        network: the whole of it.
        site: where it starts.
        image_shape: the shape of one image.
        sites: those of the network's own sites that are left.
        extra_sites: what else it names from there on.
    """

    network: Model
    site: str = field(metadata=STATIC)
    image_shape: tuple[int, ...] = field(metadata=STATIC)
    sites: tuple[str, ...] = field(metadata=STATIC)
    extra_sites: tuple[str, ...] = field(metadata=STATIC)

    def __call__(
        self, activations: Activation, tap: Tap = untouched
    ) -> Float[Array, "images classes"]:
        """Logits. Compiled, nothing before the site is computed; otherwise all of it is."""

        def from_here(name: str, x: Activation) -> Activation:
            if name == self.site:
                # A network that computes in another type than its input's goes on in it.
                x = activations.astype(x.dtype)
            return tap(name, x) if name in (*self.sites, *self.extra_sites) else x

        # Of images, what follows the site needs the number only.
        images = jnp.zeros((len(activations), *self.image_shape), activations.dtype)
        return self.network(images, from_here)


def starting_at(model: Model, site: str, image_shape: tuple[int, ...]) -> Suffix:
    """The same network from the activation at a site on.

    Args:
        model: called as `model(images, tap)`.
        site: where it is to start; its units can still be read and ablated.
        image_shape: the shape of one image.

    Returns:
        A model that is called with activations at the site, in place of images. Its taps see
        that site and those that follow. Its arrays are those of now. Call it inside
        `jax.jit`, as all of jaxsel does: only so is nothing before the site computed.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: the logits depend on the images by another way than through the site,
            such as a shortcut around it.

    >>> model = lambda images, tap: tap("double", 2 * tap("plus one", images + 1))
    >>> rest = starting_at(model, "plus one", (3,))
    >>> rest(jnp.ones((1, 3))).tolist(), rest.sites
    ([[2.0, 2.0, 2.0]], ('plus one', 'double'))
    """
    network, order = traceable(model), []

    def noted(name: str, x: Activation) -> Activation:
        order.append(name)
        return x

    images = jax.ShapeDtypeStruct((2, *image_shape), np.float32)
    activation = jax.eval_shape(
        lambda images: forward(network, images, noted, sites=(site,))[1][site], images
    )
    later = order[order.index(site) :]

    def rest(images: Array, activation: Array) -> list[Array]:
        logits, seen = forward(network, images, replaced(site, activation), sites=later)
        return [logits, *seen.values()]

    jaxpr = jax.make_jaxpr(rest)(images, activation).jaxpr
    around, *seen_around = (_needs_first(jaxpr, output) for output in range(1 + len(later)))
    if around:
        raise ValueError(
            f"the logits depend on the images by another way than through {site}, such as a "
            f"shortcut around it: a network can only start where everything passes through"
        )
    left = [name for name, around in zip(later, seen_around, strict=True) if not around]
    own = named_sites(model, None)
    sites = tuple(left if own is None else (name for name in own if name in left))
    extra = tuple(name for name in left if name not in sites)
    # A network that is trained on in its place must not move away from its activations.
    frozen = jax.tree.map(lambda array: array, network)
    return Suffix(frozen, site, tuple(image_shape), sites, extra)


def _needs_first(jaxpr: Jaxpr, output: int) -> bool:
    """Whether an output depends on the first input."""
    wanted = [place == output for place in range(len(jaxpr.outvars))]
    _, needed = partial_eval.dce_jaxpr(jaxpr, wanted)
    return needed[0]
