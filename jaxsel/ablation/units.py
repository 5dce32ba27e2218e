"""The exact effect of ablating every unit of a site, one unit at a time.

Batch by batch an engine computes the effects; here they are summed in float64 on the host.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from ..data.dataset import Dataset
from ..intact import full_precision, traceable
from ..sites import Model
from .baseline import BaselineSums
from .checks import activation_shape, check_units, one_per_unit
from .dense import dense_engine
from .effects import UnitEffects
from .generic import generic_pass
from .head import dense_head
from .sums import Sums


def ablate_units(
    model: Model,
    dataset: Dataset,
    site: str,
    *,
    units: Int[np.ndarray, " units"] | None = None,
    replacement: float | Float[np.ndarray, " units"] = 0.0,
    per_image: Path | None = None,
    batch_size: int = 256,
    chunk: int = 32,
    engine: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> UnitEffects:
    """Take away each unit of a site in turn and say what it changes, exactly.

    Ablating a unit sets its response (its whole map, in a convolution) to `replacement` at
    the site, after the ReLU. The change of the loss is propagated (`delta`), not found by
    subtracting two losses, to a few float32 roundings of itself.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        site: where the units are.
        units: which of them; all by default.
        replacement: 0, another number, or one value per unit (mean ablation), in the units
            of the activation.
        per_image: a `.npy` file to write the loss change of every pair to, 4 bytes each.
        batch_size: images at a time.
        chunk: units at a time in the generic engine. Memory grows with `batch_size * chunk`
            times the largest activation after the site.
        engine: `dense` for a site that one or two dense layers follow, `generic` for any;
            by default the fastest that fits.
        progress: called with the number of pairs (image, unit) done.

    Returns:
        Sums per unit and class. Where a response already equals the replacement, the pair
        changes nothing, exactly. Batch size and chunk change the last bits at most.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: a unit that the site does not have, replacements that do not fit, labels
            that the network has no logit for, a network in bfloat16, an operation after the
            site that `delta` has no rule for (the message lists those it has).
        FloatingPointError: a loss change that is NaN or infinite.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("cat", "dog"))
    >>> ablate_units(model, dataset, "all").loss_change[:, 0].round(3).tolist()
    [0.62, -0.38]
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1; found {chunk}")
    if engine not in (None, "dense", "generic"):
        raise ValueError(f"engine must be dense or generic; found {engine!r}")
    activation = activation_shape(model, dataset, site)
    n_units = activation.shape[-1]
    chosen = np.arange(n_units) if units is None else np.asarray(units)
    check_units(chosen, n_units, site)
    values = one_per_unit(replacement, len(chosen))
    network = traceable(model)
    with full_precision():  # a weight may be a product itself
        head = dense_head(model, dataset.inputs(slice(0, 1)), site, activation)
    if engine == "dense" and head is None:
        raise ValueError(
            f"the dense engine is for one or two dense layers with a ReLU between them after "
            f"the site: more or something else follows {site}"
        )
    if head is None or engine == "generic":
        name, chunk = "generic", min(chunk, len(chosen))
        run = partial(
            generic_pass, network, site=site, units=chosen, values=values, chunk=chunk
        )
    else:
        name, run = "dense", dense_engine(network, site, chosen, values, head)
    n_classes = len(dataset.class_names)
    intact, sums = BaselineSums(n_classes), Sums(len(chosen), n_classes)
    precisions = set()
    with _pair_file(per_image, (len(dataset), len(chosen))) as pairs:
        for batch in dataset.batches(batch_size):
            found = run(batch)
            intact.add(found.logits, batch)
            precisions.add(found.precision)
            images = slice(batch.start, batch.start + batch.n_images)
            done = 0
            for block in found.blocks:
                change = block.change[: batch.n_images]
                _refuse_no_number(change, chosen[block.units], site)
                sums.add(block, batch.labels[: batch.n_images])
                if pairs is not None:
                    pairs[images, block.units] = change
                done += len(block.units) * batch.n_images
                if progress is not None:
                    progress(images.start * len(chosen) + done)
    return UnitEffects(
        site=site,
        units=chosen,
        loss_change=sums.loss_change.T,
        top1_change=sums.top1_change.T.astype(np.int64),
        top5_change=sums.top5_change.T.astype(np.int64),
        error=sums.error,
        baseline=intact.finish(),
        per_image=None if per_image is None else np.load(per_image, mmap_mode="r"),
        engine=name,
        precision=" and ".join(sorted(precisions)),
        replacement=replacement,
    )


def _refuse_no_number(change: np.ndarray, units: np.ndarray, site: str) -> None:
    finite = np.isfinite(change).all(axis=0)
    if not finite.all():
        raise FloatingPointError(
            f"the loss change of unit {units[~finite][0]} of {site} is NaN or infinite"
        )


@contextmanager
def _pair_file(path: Path | None, shape: tuple[int, int]) -> Iterator[np.ndarray | None]:
    """A memory-mapped array that gets its name when it is complete."""
    if path is None:
        yield None
        return
    unfinished = Path(path).with_name(f".{Path(path).name}.unfinished")
    try:
        array = np.lib.format.open_memmap(unfinished, "w+", np.float32, shape=shape)
        yield array
        array.flush()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
