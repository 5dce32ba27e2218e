"""The engine for maps: the change that one unit makes in one image, for all pairs that move.

The network is cut in three (`stages.py`). What its weights decide is computed once; what the
image decides (the intact network, and all that the rules of `delta` compare a change with) once
per image, in float64; only the change itself per pair, in float32. Pairs whose map already is
the replacement are left out: exactly 0. Until something mixes channels, the change is one of a
single channel.

On CPU one group of images per core is worked on, because a convolution of XLA's keeps one core
busy, not two.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from ..data.dataset import Batch
from ..delta.channel import OneChannel
from ..delta.transform import change_at
from ..intact import full_precision, in_float64
from ..sites import Model
from ..stages import largest_array, stages
from .ablations import Ablations, change_by, moved_by
from .judged import judged
from .sums import Block, Pass

# Images whose intact pass is one program, and what it may leave behind for their pairs.
MOST_IMAGES = 16
MOST_BYTES = 2**28
# The largest activation of the pairs of one program: on CPU what stays near the processor.
CHUNK_BYTES, CHUNK_BYTES_ELSEWHERE = 2**21, 2**28
MOST_PAIRS = 512
F32 = np.float32
NAME = "jaxsel: what is ablated"


class _Programs(NamedTuple):
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


def channel_engine(
    model: Model,
    site: str,
    ablations: Ablations,
    image: tuple[int, ...],
    chunk: int | None,
    products: str,
) -> Callable[[Batch], Pass]:
    """The engine for one site: a function from a batch to the effects of its ablations.

    Args:
        model: as `traceable` gives it; what it makes of an image must not depend on the
            others of its batch.
        site: where the units are, on the last axis.
        ablations: units or groups of them.
        image: the shape of one.
        chunk: pairs (image, ablation) at a time; by default what caches hold.
        products: precision of the products of changes.
    """
    asked = (model, site, ablations, image, products)
    try:
        exact, (programs, known) = True, _started(*asked, exact=True)
    except TypeError:  # a network that float64 input breaks
        exact, (programs, known) = False, _started(*asked, exact=False)
    most = CHUNK_BYTES if jax.default_backend() == "cpu" else CHUNK_BYTES_ELSEWHERE
    chunk = chunk or int(np.clip(most // programs.pair_bytes, 1, MOST_PAIRS))
    most_images = int(np.clip(MOST_BYTES // max(programs.image_bytes, 1), 1, MOST_IMAGES))
    size: list[tuple[int, int]] = []  # from the first images

    def run(batch: Batch) -> Pass:
        logits = np.zeros((batch.n_images, *programs.logits.shape), programs.logits.dtype)
        n = min(most_images, -(-len(batch.images) // n_threads()))
        groups = [
            np.arange(start, min(start + n, batch.n_images))
            for start in range(0, batch.n_images, n)
        ]

        def intact(rows: np.ndarray) -> tuple[list[Array], np.ndarray]:
            with full_precision(), jax.enable_x64(exact):
                kept, logits[rows], moves = _intact(programs, known, batch, rows, n)
            return kept, moves

        def of_group(rows: np.ndarray, found: tuple | None = None) -> Block:
            kept, moves = found or intact(rows)
            with full_precision(), jax.enable_x64(exact):
                pairs = _rectangles(moves, *size[0])
                return _effects(programs, known, kept, moves, pairs, rows)

        def blocks() -> Iterator[Block]:
            rest = groups
            if not size:
                found = intact(groups[0])
                size.append(_size(found[1], chunk))
                # A program that is there already need not be waited for.
                if (n, *size[0]) not in programs.ready:
                    yield of_group(groups[0], found)
                    programs.ready.add((n, *size[0]))
                    rest = groups[1:]
            yield from _in_parallel(of_group, rest)

        precision = f"{products} changes of {programs.logits.dtype} values"
        return Pass(logits, precision, blocks())

    return run


def n_threads() -> int:
    """Groups of images that are worked on at a time."""
    return (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1


def _in_parallel(function: Callable[[Any], Block], items: Sequence[Any]) -> Iterator[Block]:
    """The results in order; when nobody wants the rest, what has not begun is dropped."""
    if n_threads() == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(n_threads())
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _started(
    model: Model,
    site: str,
    ablations: Ablations,
    image: tuple[int, ...],
    products: str,
    *,
    exact: bool,
) -> tuple[_Programs, list[Array]]:
    """The programs, and what the network gives them; an earlier call's if it was alike."""
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
) -> _Programs:
    """The network cut in three, for one image and one ablation at a time."""

    def everything(weights: tuple[Model, Ablations], of_image: tuple[Array, Array], at: Array):
        network, ablations = weights
        images, labels = of_image
        network = in_float64(network) if exact else network
        found: list[Array] = []

        def ablated(activation: Array) -> Array | OneChannel:
            change = change_by(ablations, at, activation)
            one = isinstance(change, OneChannel)
            exactly = change.change if one else change
            found.extend((activation, exactly))
            # Here the change becomes float32, and with it all that follows of it.
            return change.with_change(exactly.astype(F32)) if one else exactly.astype(F32)

        def marked(images: Array) -> Array:
            def tap(name: str, x: Array) -> Array:
                return checkpoint_name(x, NAME) if name == site else x

            return network(images, tap)

        walk = change_at(NAME, ablated, marked, strict=True, products=products)
        logits, change = walk(images)
        activation, exactly = found
        if logits.dtype != activation.dtype:
            raise TypeError("the network changes its precision after the site")
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

    return _Programs(
        jax.jit(of_network),
        jax.jit(jax.vmap(of_image, in_axes=(None, 0))),
        jax.jit(of_pairs, compiler_options=_options()),
        logits,
        sum(array.size * array.dtype.itemsize for array in kept),
        largest_array(of_pair, known, kept, at),
        set(),
    )


def _intact(
    programs: _Programs, known: list[Array], batch: Batch, rows: np.ndarray, n: int
) -> tuple[list[Array], np.ndarray, np.ndarray]:
    """What the pairs of some images need; their logits, and which ablations move them."""
    padded = np.resize(rows, n)
    images = batch.images[padded][:, None].astype(programs.logits.dtype)
    labels = batch.labels[padded][:, None]
    kept, (logits, moves) = programs.of_images(known, (images, labels))
    counts = (np.arange(n) < len(rows))[:, None]
    return kept, np.asarray(logits)[: len(rows)], np.asarray(moves) & counts


def _effects(programs, known, kept, moves, pairs, rows) -> Block:
    """Effects on the images of some rows of a batch."""
    found = [np.zeros(moves.shape, kind) for kind in (np.float64, np.float64, np.int8, np.int8)]
    started = [
        (image, at, programs.of_pairs(known, kept, image[0, 0], at)) for image, at in pairs
    ]
    for image, at, effects in started:
        for total, values in zip(found, effects, strict=True):
            total[image, at] = values
    where, units = slice(rows[0], rows[-1] + 1), np.arange(moves.shape[1])
    return Block(where, units, *(total[: len(rows)] for total in found))


def _size(moves: np.ndarray, chunk: int) -> tuple[int, int]:
    """Images and ablations of each that go through one program, so that little is padding."""
    most = max(int(moves.sum(axis=1).max()), 1)
    width = -(-most // -(-most // chunk))
    return min(max(chunk // width, 1), len(moves)), width


def _rectangles(
    moves: np.ndarray, height: int, width: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs that move, as neighbouring images times as many ablations of each.

    Where an image has fewer, others stand in, which are as right.
    """
    for start in range(0, len(moves), height):
        first = min(start, len(moves) - height)
        rows = [np.flatnonzero(row) for row in moves[first : first + height]]
        for done in range(0, max(map(len, rows)), width):
            at = np.stack([np.resize(row[done : done + width], width) for row in rows])
            image = np.broadcast_to(first + np.arange(height)[:, None], at.shape)
            yield image.astype(np.int32), at.astype(np.int32)


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
