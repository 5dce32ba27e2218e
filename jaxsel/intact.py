"""The pass of the intact network: once per image, and therefore in float64.

A response near a ReLU's threshold is a small difference of large terms: in float32 a unit that
hardly ever fires would be known to four digits only. The pass costs next to nothing beside an
ablation, whose work per unit is float32.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from weakref import WeakSet

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, Float

from .adapters import apart
from .forward import forward
from .memory import (
    LimitError,
    default_limit,
    fitting,
    in_words,
    is_out_of_memory,
    program_bytes,
)
from .mixing import mixes_images
from .sites import Activation, Model, Tap
from .stages import evaluated


def whole(activation: Activation) -> Activation:
    """The activation as it is."""
    return activation


def intact_pass(
    model: Model,
    images: Float[np.ndarray, "images ..."],
    sites: Sequence[str] | None = None,
    *,
    read: Callable[[Activation], Array] = whole,
    memory: int | None = None,
) -> tuple[Float[Array, "images classes"], dict[str, Array]]:
    """`forward` of the untouched network in float64, compiled.

    A network that casts to a lower precision itself stays in it, and one that mixes its
    own float32 arrays with its input in ways that float64 input breaks runs in full
    float32: the dtype of the logits says which it was.

    Args:
        model: called as `model(images, tap)`.
        images: a batch.
        sites: as in `forward`.
        read: what to return of each activation, such as `unit_responses`; all by default.
        memory: bytes that it may use; by default half of what is free. With less than the
            batch needs, its images go through in parts.

    Returns:
        Logits, and what was read by site.

    >>> logits, _ = intact_pass(lambda images, tap: images / 3, np.ones((1, 2), np.float32))
    >>> str(logits.dtype)
    'float64'
    """
    rest = named_sites(model, sites), read
    run64, run32 = (partial(_in_parts, run, rest, memory) for run in (_forward64, _forward32))
    return _in_float64_if_it_can(run64, run32, traceable(model), images)


def intact_activations(
    model: Model,
    images: Float[np.ndarray, "images ..."],
    sites: Sequence[str],
    *,
    memory: int | None = None,
) -> dict[str, Array]:
    """The activations alone: what follows the last of the sites is not computed.

    Args:
        model: as in `intact_pass`.
        images: a batch.
        sites: where.
        memory: as in `intact_pass`.

    >>> model = lambda images, tap: tap("half", images / 2)
    >>> intact_activations(model, np.ones((1, 2), np.float32), ("half",))["half"].tolist()
    [[0.5, 0.5]]
    """
    rest = (named_sites(model, sites),)
    both = (_activations64, _activations32)
    run64, run32 = (partial(_in_parts, run, rest, memory) for run in both)
    return _in_float64_if_it_can(run64, run32, traceable(model), images)


def intact_jaxpr(model: Model, image_shape: tuple[int, ...], site: str | None) -> ClosedJaxpr:
    """What the pass computes up to a site, or to the logits, for two images; nothing is run.

    Args:
        model: what `traceable` makes of it has the leaves that are the first inputs; the
            images are the last.
        image_shape: the shape of one.
        site: where it ends; None for the logits.

    >>> (half,) = intact_jaxpr(lambda images, tap: tap("half", images), (3,), "half").out_avals
    >>> half.shape, str(half.dtype)
    ((2, 3), 'float64')
    """

    def read(model: Model, images: Array) -> Array:
        logits, activations = forward(model, images, sites=() if site is None else (site,))
        return logits if site is None else activations[site]

    def traced64(model, images):
        return jax.make_jaxpr(lambda model, x: read(in_float64(model), x))(model, images)

    two = np.broadcast_to(np.float32(0), (2, *image_shape))
    return _in_float64_if_it_can(traced64, jax.make_jaxpr(read), traceable(model), two)


def _in_float64_if_it_can(run64, run32, network, images):
    """The pass in float64, or in float32 for a network that float64 input breaks."""
    with full_precision():
        try:
            with jax.enable_x64(True):
                return run64(network, np.asarray(images, np.float64))
        except TypeError:
            return run32(network, np.asarray(images, np.float32))


def _in_parts(run, rest, memory, network, images):
    """All images at once or, where memory is short, some after the other."""
    limit = memory or default_limit()
    size = fitting(
        lambda n: program_bytes(run, network, images[:n], *rest), len(images), limit, "images"
    )
    while True:
        if size < len(images) and mixes_images(network, images.shape[1:]):
            raise LimitError(
                f"{len(images)} images need more memory at once than the "
                f"{in_words(limit)} that are allowed, and this network cannot take them in "
                "parts, as it mixes the images of a batch: ask for smaller batches"
            )
        try:
            return jax.block_until_ready(_split(run, network, images, rest, size))
        except Exception as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2


def _split(run, network, images, rest, size):
    """Parts of one size, the last filled up, put together again."""
    if size == len(images):
        return run(network, images, *rest)
    parts, structure = [], None
    for start in range(0, len(images), size):
        rows = np.arange(start, min(start + size, len(images)))
        found = run(network, images[np.resize(rows, size)], *rest)
        arrays, structure = jax.tree.flatten(found)
        parts.append([np.asarray(array)[: len(rows)] for array in arrays])
    whole = [jnp.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    assert structure is not None
    return jax.tree.unflatten(structure, whole)


def full_precision() -> AbstractContextManager:
    """Products in full float32, on devices too that would round them to TF32 or bfloat16."""
    return jax.default_matmul_precision("float32")


def traceable(model: Model) -> Model:
    """The model as `jax.jit` takes it as an argument.

    A network that is a tree of arrays is one already: its weights are arguments of the
    compiled program. The arrays of a plain function or object become constants of it: each
    call here makes a new program, so that weights changed in between are never old ones.
    """
    if isinstance(model, jax.tree_util.Partial) and model.func in _WRAPPED:
        return model
    is_tree = not jax.tree_util.all_leaves([model])
    if is_tree and jax.tree.leaves(model) and all(map(_is_number, jax.tree.leaves(model))):
        return model
    # A tree may hold functions as well: only its arrays are arguments.
    arrays, together = apart(model) if is_tree else ([], lambda _: model)

    def run(arrays: list, images: Array, tap: Tap) -> Array:
        return together(arrays)(images, tap)

    _WRAPPED.add(run)
    return jax.tree_util.Partial(run, arrays)


def _is_number(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") or isinstance(leaf, bool | int | float)


# Functions that stand for a model already: a batch must not make another program.
_WRAPPED: WeakSet[Callable] = WeakSet()


def named_sites(model: Model, sites: Sequence[str] | None) -> tuple[str, ...] | None:
    """The sites asked for, or the model's own; None for all of a model without any."""
    if sites is not None:
        return (sites,) if isinstance(sites, str) else tuple(sites)
    own = getattr(model, "sites", None)
    return None if own is None else tuple(own)


def in_float64(model: Model) -> Model:
    """The model with its floating-point arrays in float64; inside `jax.enable_x64(True)`."""

    def widened(array):
        floating = jnp.issubdtype(jnp.result_type(array), jnp.floating)
        return jnp.asarray(array, jnp.float64) if floating else array

    return jax.tree.map(widened, model)


@partial(jax.jit, static_argnames=("sites", "read"))
def _forward32(model, images, sites, read):
    logits, activations = forward(model, images, sites=sites)
    # An ordinary dictionary would come back from `jit` in alphabetical order.
    return logits, OrderedDict((site, read(found)) for site, found in activations.items())


@partial(jax.jit, static_argnames=("sites", "read"))
def _forward64(model, images, sites, read):
    def run(model, images):
        return _forward32(in_float64(model), images, sites, read)

    return evaluated(run)(model, images)


@partial(jax.jit, static_argnames="sites")
def _activations32(model, images, sites):
    return forward(model, images, sites=sites)[1]


@partial(jax.jit, static_argnames="sites")
def _activations64(model, images, sites):
    def run(model, images):
        return _activations32(in_float64(model), images, sites)

    return evaluated(run)(model, images)
