"""The exact effect of ablating every unit of a site, one unit at a time.

Batch by batch an engine computes the effects; here they are summed in float64 on the host.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from ..data.dataset import Batch, Dataset
from ..delta.products import check_precision
from ..evaluation import judge
from ..intact import full_precision, traceable
from ..sites import Model
from .ablations import Ablations
from .baseline import BaselineSums
from .channel import channel_engine
from .checks import activation_shape, asked_for, refuse_short_numbers, takes_one_image
from .dense import dense_engine
from .effects import UnitEffects
from .generic import generic_pass
from .head import dense_head
from .mixing import mixes_images
from .sums import Pass, Sums

ENGINES = ("dense", "channel", "generic")


def ablate_units(
    model: Model,
    dataset: Dataset,
    site: str,
    *,
    units: Int[np.ndarray, " units"] | None = None,
    groups: Bool[np.ndarray, "groups units"] | None = None,
    replacement: float | Float[np.ndarray, " units"] = 0.0,
    precision: str = "float32",
    per_image: Path | None = None,
    batch_size: int = 256,
    chunk: int | None = None,
    engine: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> UnitEffects:
    """Take away each unit of a site in turn, or each group of units, and say what it changes.

    Ablating a unit sets its response (its whole map, in a convolution) to `replacement` at
    the site, after the ReLU. The change of the loss is propagated (`delta`), not found by
    subtracting two losses, to a few float32 roundings of itself.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        site: where the units are.
        units: which of them; all by default.
        groups: instead, units that are taken away together: one mask per group, True is
            ablated.
        replacement: 0, another number, or one value per unit (mean ablation), in the units
            of the activation: one for each of `units`; for groups one for each of the site.
        precision: of the products that the *changes* are made of: `float32`, or for speed
            `tensorfloat32` or `bfloat16` (on CPU as exact as these, but no faster). The
            intact network stays as exact as it is; the error that this causes is part of
            `error` in what is returned.
        per_image: a `.npy` file to write the loss change of every pair to, 4 bytes each.
        batch_size: images at a time.
        chunk: in the channel engine pairs (image, unit) at a time, by default what fits the
            processor's caches; in the generic engine units at a time, 32 by default, and
            memory grows with `batch_size * chunk` times the largest activation.
        engine: `dense` where one or two dense layers follow, `channel` and `generic`
            anywhere. By default `dense` where it fits, otherwise `channel` for maps and
            `generic` for vectors and for networks that cannot take a batch of one image.
            `channel` works image by image and refuses a network that mixes the images of a
            batch.
        progress: called with the number of pairs (image, unit) done.

    Returns:
        Sums per unit (or group) and class. Where a response already equals the replacement,
        the pair changes nothing, exactly. Batch size and chunk change the last bits at most.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: a unit that the site does not have, units and groups at once,
            replacements that do not fit, a precision or an engine that there is not, labels
            that the network has no logit for, a network in training mode, numbers shorter
            than float32 at the site or after it, an operation after the site that `delta`
            has no rule for (the message lists those it has).
        FloatingPointError: a loss change that is NaN or infinite.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("cat", "dog"))
    >>> ablate_units(model, dataset, "all").loss_change[:, 0].round(3).tolist()
    [0.62, -0.38]
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1; found {chunk}")
    if engine not in (None, *ENGINES):
        raise ValueError(f"engine must be {', '.join(ENGINES)} or None; found {engine!r}")
    check_precision(precision)
    activation = activation_shape(model, dataset, site)
    ablations = asked_for(units, groups, replacement, activation.shape[-1], site)
    n = len(ablations.units)
    engine, run = _engine(
        model, dataset, site, activation, ablations, chunk, precision, asked=engine
    )
    names = np.arange(n) if groups is not None else np.asarray(ablations.units)
    n_classes = len(dataset.class_names)
    intact, sums = BaselineSums(n_classes), Sums(n, n_classes)
    precisions = set()
    with _pair_file(per_image, (len(dataset), n)) as pairs:
        for batch in dataset.batches(batch_size):
            found = run(batch)
            precisions.add(found.precision)
            done = 0
            with closing(found.blocks) as blocks:
                for block in blocks:
                    labels = batch.labels[: batch.n_images][block.images]
                    if not np.isfinite(block.change).all():
                        first = batch.start + block.images.start
                        judge(found.logits[block.images], labels, first)
                        _refuse_no_number(block.change, names[block.units], site)
                    sums.add(block, labels)
                    if pairs is not None:
                        at = slice(batch.start, batch.start + batch.n_images)
                        pairs[at][block.images, block.units] = block.change
                    done += block.change.size
                    if progress is not None:
                        progress(batch.start * n + done)
            intact.add(found.logits, batch)
    return UnitEffects(
        site=site,
        units=names,
        groups=groups,
        loss_change=sums.loss_change.T,
        top1_change=sums.top1_change.T.astype(np.int64),
        top5_change=sums.top5_change.T.astype(np.int64),
        error=sums.error,
        baseline=intact.finish(),
        per_image=None if per_image is None else np.load(per_image, mmap_mode="r"),
        engine=engine,
        precision=" and ".join(sorted(precisions)),
        replacement=replacement,
    )


def _engine(
    model: Model,
    dataset: Dataset,
    site: str,
    activation: jax.ShapeDtypeStruct,
    ablations: Ablations,
    chunk: int | None,
    precision: str,
    *,
    asked: str | None,
) -> tuple[str, Callable[[Batch], Pass]]:
    """The engine asked for, or the fastest that fits what follows the site."""
    image = dataset.inputs(slice(0, 1))
    network, head = traceable(model), None
    if ablations.units.ndim == 1:  # not groups
        with full_precision():  # a weight may be a product itself
            head = dense_head(model, image, site, activation)
    if asked == "dense" and head is None:
        raise ValueError(
            f"the dense engine is for one or two dense layers with a ReLU between them after "
            f"the site, and single units: more or something else follows {site}"
        )
    shape = image.shape[1:]
    refuse_short_numbers(network, shape, site, activation)
    alone = takes_one_image(network, shape)
    maps = len(activation.shape) > 2 and alone
    engine = asked or ("dense" if head is not None else "channel" if maps else "generic")
    if engine == "channel":
        if mixes_images(network, shape):
            raise ValueError(
                "what this network makes of an image depends on the others of its batch, as "
                "BatchNorm in training mode does: put it into evaluation mode, or ask for "
                "engine='generic'"
            )
        if not alone:
            raise ValueError(
                "the channel engine takes image by image, but of a single one this network "
                "makes no batch of one: engine='generic' takes batches"
            )
        return engine, channel_engine(network, site, ablations, shape, chunk, precision)
    if engine == "generic":
        most = min(chunk or 32, len(ablations.units))
        settings = {"chunk": most, "products": precision}
        return engine, partial(
            generic_pass, network, site=site, ablations=ablations, **settings
        )
    assert head is not None
    return engine, dense_engine(network, site, ablations, head, precision)


def _refuse_no_number(change: np.ndarray, units: np.ndarray, site: str) -> None:
    finite = np.isfinite(change).all(axis=0)
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
