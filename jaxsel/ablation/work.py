"""How many operations an ablation is, done the plain way."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..delta.transform import dependents
from ..forward import forward
from ..intact import traceable


def flop_after(network: Any, image: tuple[int, ...], site: str) -> float:
    """Multiplications and additions in the products that follow a site, for one image.

    Args:
        network: called as `network(images, tap)`; its arrays may be shapes alone.
        image: the shape of one.
        site: where.

    >>> network = lambda images, tap: tap("in", images) @ jnp.ones((3, 4))
    >>> flop_after(network, (3,), "in")
    24.0
    """
    network, x = traceable(network), jax.ShapeDtypeStruct((1, *image), np.float32)
    activation = activation_of(network, x, site)

    def after(network: Any, activation: jax.Array) -> jax.Array:
        return network(
            jnp.zeros(x.shape), lambda name, seen: activation if name == site else seen
        )

    closed = jax.make_jaxpr(after)(network, activation)
    total = 0.0
    for eqn, _ in dependents(closed.jaxpr, closed.jaxpr.invars[-1:]):
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            kernel, out = eqn.invars[1].aval, eqn.outvars[0].aval
            total += 2.0 * out.size * kernel.size / out.shape[-1]
    return total


def activation_of(network: Any, images: jax.ShapeDtypeStruct, site: str) -> Any:
    """Shape and type of the activation at a site; the network may be shapes itself."""
    _, found = jax.eval_shape(
        lambda network, x: forward(network, x, sites=(site,)), network, images
    )
    return found[site]
