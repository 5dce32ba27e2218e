"""The engine for maps: the change that one unit makes in one image, for all pairs that move.

Pairs whose map already is the replacement are left out: exactly 0. The others go through the
programs of `programs.py`, a few images and some ablations of each at a time.

On CPU several groups of images are worked on at once: a convolution of XLA's does not keep all
cores busy, and the intact pass in float64 only one.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from ..data.dataset import Batch
from ..data.encoded import n_processors
from ..intact import full_precision
from ..memory import fitting, program_bytes
from ..sites import Model
from .ablations import Ablations
from .condition import DRAWS, shifted, spread
from .programs import Programs, programs_for, runs_in_float64
from .sizes import Sizes
from .sums import Block, Pass, with_spread

# Convolutions use several cores themselves: these fill the gaps.
MOST_THREADS = 4
# Images whose intact pass is one program, and what it may leave behind for their pairs.
MOST_IMAGES = 16
MOST_BYTES = 2**28
# The largest activation of the pairs of one program: on CPU what stays near the processor.
CHUNK_BYTES, CHUNK_BYTES_ELSEWHERE = 2**21, 2**28
MOST_PAIRS = 512
# Of so many images in a row the first few are computed again with shifted numbers: as many as
# one program takes at most, so that it does few other images besides.
CHECKED, CHECKED_OF = 16, 512


def channel_engine(
    model: Model,
    site: str,
    ablations: Ablations,
    image: tuple[int, ...],
    products: str,
    sizes: Sizes,
    memory: int,
    *,
    careful: bool,
) -> Callable[[Batch], Pass]:
    """The engine for one site: a function from a batch to the effects of its ablations.

    Args:
        model: as `traceable` gives it; what it makes of an image must not depend on the
            others of its batch.
        site: where the units are, on the last axis.
        ablations: units or groups of them.
        image: the shape of one.
        products: precision of the products of changes.
        sizes: `chunk`, pairs (image, ablation) at a time, by default what caches hold;
            `images` at a time; `program`, images and ablations of each at a time.
        memory: bytes that a program may use.
        careful: whether all pairs are computed with shifted numbers as well, several times.
    """
    exact = runs_in_float64(model, site, image)
    programs, known = programs_for(model, site, ablations, image, products, exact=exact)
    most = CHUNK_BYTES if jax.default_backend() == "cpu" else CHUNK_BYTES_ELSEWHERE
    most_images = int(np.clip(MOST_BYTES // max(programs.image_bytes, 1), 1, MOST_IMAGES))
    memory //= n_threads()  # each has programs of its own
    sizes.setdefault("chunk", int(np.clip(most // programs.pair_bytes, 1, MOST_PAIRS)))

    def run(batch: Batch) -> Pass:
        logits = np.zeros((batch.n_images, *programs.logits.shape), programs.logits.dtype)
        if "images" not in sizes:
            sizes["images"] = fitting(
                partial(_bytes_of_images, programs, known, batch, exact),
                min(most_images, -(-len(batch.images) // n_threads())),
                memory,
                "images",
            )
        n = min(sizes["images"], len(batch.images))
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
            number = batch.start + np.arange(rows[0], rows[0] + len(moves))
            tried = careful | (number % CHECKED_OF < CHECKED)
            draws = range((DRAWS if careful else 1) if tried[: len(rows)].any() else 0)
            height, width = sizes["program"]
            with full_precision(), jax.enable_x64(exact):
                block = _effects(programs, known, kept, moves, (height, width), rows)
                moved, some = [], moves & tried[:, None]
                for draw in draws:
                    now, then = shifted((known, kept), products, draw)
                    again = _effects(programs, now, then, some, (height, width), rows)
                    moved.append(spread(block.change, again.change))
            return with_spread(block, moved, tried[: len(rows)], careful=careful)

        def blocks() -> Generator[Block, None, None]:
            rest = groups
            if "program" not in sizes:
                found = intact(groups[0])
                needs = partial(_bytes_of_pairs, programs, known, *found, exact)
                sizes["chunk"] = fitting(needs, sizes["chunk"], memory, "pairs")
                sizes["program"] = list(_size(found[1], sizes["chunk"]))
                sizes["bytes"] = needs(sizes["chunk"])
                # A program that is there already need not be waited for.
                if (n, *sizes["program"]) not in programs.ready:
                    yield of_group(groups[0], found)
                    programs.ready.add((n, *sizes["program"]))
                    rest = groups[1:]
            yield from _in_parallel(of_group, rest)

        precision = f"{products} changes of {programs.logits.dtype} values"
        return Pass(logits, precision, blocks())

    return run


def n_threads() -> int:
    """Groups of images that are worked on at a time."""
    return min(n_processors(), MOST_THREADS) if jax.default_backend() == "cpu" else 1


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


def _intact(
    programs: Programs, known: list[Array], batch: Batch, rows: np.ndarray, n: int
) -> tuple[list[Array], np.ndarray, np.ndarray]:
    """What the pairs of some images need; their logits, and which ablations move them."""
    padded = np.resize(rows, n)
    images = batch.images[padded][:, None].astype(programs.logits.dtype)
    labels = batch.labels[padded][:, None]
    kept, (logits, moves) = programs.of_images(known, (images, labels))
    counts = (np.arange(n) < len(rows))[:, None]
    return kept, np.asarray(logits)[: len(rows)], np.asarray(moves) & counts


def _effects(
    programs: Programs, known: Any, kept: Any, moves: np.ndarray, size: Any, rows: np.ndarray
) -> Block:
    """Effects on the images of some rows of a batch."""
    found = [np.zeros(moves.shape, kind) for kind in (np.float64, np.float64, np.int8, np.int8)]
    started = [
        (image, at, programs.of_pairs(known, kept, image[0, 0], at))
        for image, at in _rectangles(moves, *size)
    ]
    for image, at, effects in started:
        for total, values in zip(found, effects, strict=True):
            total[image, at] = values
    where, units = slice(int(rows[0]), int(rows[-1]) + 1), np.arange(moves.shape[1])
    return Block(where, units, *(total[: len(rows)] for total in found))


def _bytes_of_images(
    programs: Programs, known: list[Array], batch: Batch, exact: bool, n: int
) -> int:
    """What the intact pass of some images needs."""
    images = batch.images[:n, None].astype(programs.logits.dtype)
    with full_precision(), jax.enable_x64(exact):
        return program_bytes(programs.of_images, known, (images, batch.labels[:n, None]))


def _bytes_of_pairs(
    programs: Programs,
    known: list[Array],
    kept: list[Array],
    moves: np.ndarray,
    exact: bool,
    chunk: int,
) -> int:
    """What a program of so many pairs needs."""
    at = np.zeros(_size(moves, chunk), np.int32)
    with full_precision(), jax.enable_x64(exact):
        return program_bytes(programs.of_pairs, known, kept, at[0, 0], at)


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
