"""One pass of an engine over a data set, summed in float64 on the host.

Batch by batch; where a place to keep them is given, the sums are written down after each, so
that a run which was killed goes on with the next. Where memory runs out, a batch is done once
more with programs of half the size.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from ..data.dataset import Batch, Dataset
from ..evaluation import judge
from ..memory import is_out_of_memory
from .ablations import Ablations
from .baseline import BaselineSums
from .engines import Engine, started
from .kept import Kept
from .sizes import Sizes
from .sums import Block, Pass, Sums

Report = Callable[[int], None]
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Summed:
    """What a pass found.

    Attributes:
        sums: per class and ablation.
        intact: the intact network.
        precision: of the changes and of what they are changes of.
    """

    sums: Sums
    intact: BaselineSums
    precision: str


def summed(
    engine: Engine,
    ablations: Ablations,
    precision: str,
    dataset: Dataset,
    names: np.ndarray,
    *,
    careful: bool = False,
    chunk: int | None,
    batch_size: int,
    asked: int | None,
    pairs: np.ndarray | None,
    kept: Kept | None,
    progress: Report | None,
) -> Summed:
    """All ablations on all images.

    Args:
        engine: which.
        ablations: units or groups of them.
        precision: of the products of changes.
        dataset: images and labels.
        names: numbers of the ablated units or groups.
        careful: as in `started`.
        chunk: how much goes through one program, if that was asked for.
        batch_size: images at a time.
        asked: the limit of memory that was asked for; the engine's may be below it, where its
            device has less.
        pairs: filled with the loss change of every pair.
        kept: where to go on, and to write down how far it is.
        progress: called with the number of pairs done.

    Raises:
        FloatingPointError: a loss change that is NaN or infinite.
        MemoryError: not even one pair at a time fits.
    """
    n, n_classes = len(names), len(dataset.class_names)
    intact, sums = BaselineSums(n_classes), Sums(n, n_classes)
    precisions: set[str] = set()
    sizes: Sizes = {} if chunk is None else {"chunk": chunk}
    start = 0
    if kept is not None and (said := kept.restore(sums, intact)) is not None:
        start, precisions = said["start"], set(said["precisions"])
        if asked in (None, said["asked"]):
            # As before, whatever is free today: with other sizes come other last bits.
            sizes |= said["sizes"]
            engine, asked = replace(engine, memory=said["memory"]), said["asked"]

    def report(batch: Batch, done: int) -> None:
        if progress is not None:
            progress(batch.start * n + done)

    run = started(engine, ablations, precision, sizes, careful=careful)
    for batch in dataset.batches(batch_size, start):
        found, blocks = in_memory(partial(_whole, run, batch, report), sizes)
        precisions.add(found.precision)
        for block in blocks:
            labels = batch.labels[: batch.n_images][block.images]
            if not np.isfinite(block.change).all():
                judge(found.logits[block.images], labels, batch.start + block.images.start)
                _refuse_no_number(block.change, names[block.units], engine.site)
            sums.add(block, labels)
            if pairs is not None:
                rows = np.arange(batch.start, batch.start + batch.n_images)[block.images]
                pairs[np.ix_(rows, block.units)] = block.change
        intact.add(found.logits, batch)
        if kept is not None:
            done = batch.start + batch.n_images
            said = {"start": done, "precisions": sorted(precisions), "sizes": sizes}
            said |= {"memory": engine.memory, "asked": asked}
            kept.keep(sums, intact, said)
    return Summed(sums, intact, " and ".join(sorted(precisions)))


def in_memory(attempt: Callable[[], Result], sizes: Sizes) -> Result:
    """What an attempt gives; where memory runs out, what one more gives with half the sizes.

    Args:
        attempt: reads the sizes anew each time.
        sizes: of its programs.

    Raises:
        MemoryError, JaxRuntimeError: not even the smallest fit.
    """
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_out_of_memory(error) or not _halved(sizes):
                raise


def _whole(
    run: Callable[[Batch], Pass], batch: Batch, report: Callable[[Batch, int], None]
) -> tuple[Pass, list[Block]]:
    """A batch with all its blocks: they count only once it is certain that none is missing."""
    found = run(batch)
    blocks, done = [], 0
    with closing(found.blocks) as coming:
        for block in coming:
            blocks.append(block)
            done += block.change.size
            report(batch, done)
    return found, blocks


def _halved(sizes: Sizes) -> bool:
    """Half of what is done at a time, and nothing else decided; False where that is one."""
    halves = {name: sizes[name] // 2 for name in ("chunk", "images") if name in sizes}
    if not any(halves.values()):
        return False
    sizes.clear()
    sizes |= {name: max(half, 1) for name, half in halves.items()}
    return True


def _refuse_no_number(change: np.ndarray, names: np.ndarray, site: str) -> None:
    finite = np.isfinite(change).all(axis=0)
    raise FloatingPointError(
        f"the loss change of unit {names[~finite][0]} of {site} is NaN or infinite"
    )
