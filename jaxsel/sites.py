"""Sites: the named points of a network where units are read and edited.

A model is any callable `model(images, tap) -> logits`. At each site it says
`x = tap("fc6", x)` and goes on with what comes back. Reading, masking and replacing are
all taps; nothing else is needed.
"""

from collections.abc import Callable, Mapping

import jax
from jaxtyping import Array, Bool, Float

Activation = Float[Array, "images ..."]
Tap = Callable[[str, jax.Array], jax.Array]
Model = Callable[[jax.Array, Tap], jax.Array]


def untouched(site: str, activation: Activation) -> Activation:
    """The tap that leaves every activation as it is.

    >>> untouched("fc6", jax.numpy.ones((2, 3))).shape
    (2, 3)
    """
    del site
    return activation


def replaced(site: str, activation: Activation) -> Tap:
    """The tap that puts a given activation at one site.

    Everything before the site becomes dead code, which the compiler drops, unless another
    path around the site still needs it: what is left is exactly what follows the site.

    >>> tap = replaced("fc6", jax.numpy.zeros((1, 2)))
    >>> tap("fc6", jax.numpy.ones((1, 2))).tolist(), tap("fc7", jax.numpy.ones((1, 2))).tolist()
    ([[0.0, 0.0]], [[1.0, 1.0]])
    """

    def tap(name: str, seen: Activation) -> Activation:
        return activation if name == site else seen

    return tap


def masked(keep: Mapping[str, Bool[Array, " _"]]) -> Tap:
    """The tap that silences whole units: those whose mask is False respond 0.

    Args:
        keep: one mask per site, shape `(units,)`; sites that are left out keep all units.

    >>> tap = masked({"fc6": jax.numpy.array([True, False])})
    >>> tap("fc6", jax.numpy.ones((1, 2))).tolist()
    [[1.0, 0.0]]
    """

    def tap(name: str, seen: Activation) -> Activation:
        return jax.numpy.where(keep[name], seen, 0) if name in keep else seen

    return tap
