"""The network after a site, cut into what is computed once, per image and per ablation.

What its weights decide is computed once; what the image decides (the intact network, and all
that the rules of `delta` compare a change with) once per image, in float64; only the change
itself per pair of image and ablation, in float32. Until something mixes channels, it is the
change of a single one.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from ..delta.channel import OneChannel
from ..delta.transform import change_at
from ..forward import forward
from ..intact import full_precision, in_float64
from ..sites import Model
from ..stages import largest_array, stages
from .ablations import Ablations, change_by, moved_by
from .judged import judged

NAME = "jaxsel: what is ablated"


class Programs(NamedTuple):
    """The three parts of an ablation, each compiled when it is first called.

    Attributes:
        of_network: from the network and the ablations: what the others need of them.
        of_images: from that, images and labels: what their pairs need; logits, and which
            ablations move each image.
        of_pairs: from both, and the numbers of image and ablation: the effects.
        logits: shape and type of an image's.
        image_bytes: what an image leaves behind for its pairs.
        pair_bytes: largest activation of a pair.
        ready: sizes of what has been through, and so is compiled.
    """

    of_network: Callable
    of_images: Callable
    of_pairs: Callable
    logits: jax.ShapeDtypeStruct
    image_bytes: int
    pair_bytes: int
    ready: set[tuple[int, ...]]


def runs_in_float64(model: Model, site: str, image: tuple[int, ...]) -> bool:
    """Whether float64 input goes through to the logits, and breaks nothing on its way."""
    with jax.enable_x64(True):
        images = jax.ShapeDtypeStruct((2, *image), np.float64)
        try:
            logits, seen = jax.eval_shape(
                lambda model, images: forward(in_float64(model), images, sites=(site,)),
                model,
                images,
            )
        except TypeError:
            return False
    return logits.dtype == seen[site].dtype == np.float64


def programs_for(
    model: Model,
    site: str,
    ablations: Ablations,
    image: tuple[int, ...],
    products: str,
    *,
    exact: bool,
) -> tuple[Programs, list[Array]]:
    """The programs, and what the network gives them; an earlier call's if it was alike.

    Args:
        model: as `traceable` gives it.
        site: where the units are.
        ablations: units or groups of them.
        image: the shape of one.
        products: precision of the products of changes.
        exact: whether the intact network runs in float64.
    """
    units = np.asarray(ablations.units)
    units = units if units.dtype == bool else units.astype(np.int32)
    values = np.asarray(ablations.values, np.float64 if exact else np.float32)
    weights, structure = jax.tree.flatten((model, Ablations(units, values)))
    # A plain function is no tree: its arrays are constants of the programs.
    make = _programs if jax.tree.leaves(model) else _programs.__wrapped__
    with full_precision(), jax.enable_x64(exact):
        shapes = tuple((np.shape(array), jnp.result_type(array)) for array in weights)
        programs = make(structure, shapes, site, image, products, exact)
        known, _ = programs.of_network(jax.tree.unflatten(structure, weights))
    return programs, known


@lru_cache(maxsize=128)
def _programs(
    structure: Any, shapes: Any, site: str, image: Any, products: str, exact: bool
) -> Programs:
    """The network cut in three, for one image and one ablation at a time."""

    def everything(weights: tuple[Model, Ablations], of_image: tuple[Array, Array], at: Array):
        network, ablations = weights
        images, labels = of_image
        network = in_float64(network) if exact else network
        found: list[Array] = []

        def ablated(activation: Array) -> Array | OneChannel:
            exactly, change = change_by(ablations, at, activation, products)
            found.extend((activation, exactly))
            return change

        def marked(images: Array) -> Array:
            def tap(name: str, x: Array) -> Array:
                return checkpoint_name(x, NAME) if name == site else x

            return network(images, tap)

        walk = change_at(NAME, ablated, marked, strict=True, products=products)
        logits, change = walk(images)
        activation, exactly = found
        # Fused with what reads them, products at the end of the network would count unrounded.
        logits, change = map(lax.optimization_barrier, (logits, change))
        effects = judged(logits, labels, activation, exactly, change, products)
        return (
            None,
            (logits[0], moved_by(ablations, activation)[0]),
            [effect[0] for effect in effects],
        )

    weights = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*one) for one in shapes])
    kind = np.float64 if exact else np.float32
    one = jax.ShapeDtypeStruct((1, *image), kind), jax.ShapeDtypeStruct((1,), np.int32)
    at = jax.ShapeDtypeStruct((), np.int32)
    of_network, of_image, of_pair = stages(everything, weights, one, at)
    known, _ = jax.eval_shape(of_network, weights)
    kept, (logits, _) = jax.eval_shape(of_image, known, one)

    def of_pairs(known: list[Array], kept: list[Array], start: Array, at: Array) -> list[Array]:
        some = [lax.dynamic_slice_in_dim(array, start, len(at)) for array in kept]
        of_one_image = jax.vmap(of_pair, in_axes=(None, None, 0))
        return jax.vmap(of_one_image, in_axes=(None, 0, 0))(known, some, at)

    return Programs(
        jax.jit(of_network),
        jax.jit(jax.vmap(of_image, in_axes=(None, 0))),
        jax.jit(of_pairs, compiler_options=_options()),
        logits,
        sum(array.size * array.dtype.itemsize for array in kept),
        largest_array(of_pair, known, kept, at),
        set(),
    )


@cache
def _options() -> dict[str, str]:
    """XLA's settings for the programs of pairs, where it knows them.

    On CPU its library YNNPACK is slower here than what it replaces: four times in a sum over
    a map, a third in small convolutions (jax 0.10).
    """
    options = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"}
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(jnp.negative, compiler_options=options)(0.0)
    except jax.errors.JaxRuntimeError:
        return {}
    return options
