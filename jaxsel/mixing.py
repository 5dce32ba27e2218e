"""Whether what a network makes of an image depends on the others of its batch.

So it is in training: BatchNorm normalises by the batch. An engine that takes image by image
would then compute something else than the network does.
"""

from typing import Any

import jax
import numpy as np
from jax.interpreters import partial_eval

from .delta.transform import dependents
from .sites import Model, untouched

# Only shapes are computed with: an axis whose size is a multiple of this prime holds images.
MANY = 7919


def mixes_images(model: Model, image: tuple[int, ...]) -> bool:
    """Whether a sum, a maximum or a product over images goes into the logits.

    Args:
        model: as `traceable` gives it.
        image: the shape of one.

    >>> mixes_images(lambda images, tap: images - images.mean(), (3,))
    True
    >>> mixes_images(lambda images, tap: images - images.mean(1, keepdims=True), (3,))
    False
    """
    images = jax.ShapeDtypeStruct((MANY, *image), np.float32)
    jaxpr = jax.make_jaxpr(lambda images: model(images, untouched))(images).jaxpr
    # What is computed for nothing, such as new running statistics, does not count.
    jaxpr, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    return any(
        eqn.invars[side].aval.shape[axis] % MANY == 0
        for eqn, depends in dependents(jaxpr, jaxpr.invars)
        for side in np.flatnonzero(depends)
        for axis in _summed(eqn, side)
    )


def _summed(eqn: Any, side: Any) -> list[Any]:
    """The axes of an operand whose numbers are put together."""
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        return [*params["dimension_numbers"][0][side]]
    if name == "conv_general_dilated" and side == 0:
        return [*params["dimension_numbers"].lhs_spec[1:]]
    if name.startswith("reduce_window"):
        window = params["window_dimensions"]
        return [axis for axis, width in enumerate(window) if width > 1]
    if name.startswith(("reduce_", "arg")) and "axes" in params:
        return [*params["axes"]]
    if name.startswith("cum") or name == "sort":
        return [params.get("axis", params.get("dimension"))]
    return []
