"""Ablate many units at once: how the network does with each group of kept units."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool

from ..data.dataset import Batch, Dataset
from ..forward import forward
from ..intact import full_precision, traceable
from ..memory import check_limit
from ..sites import Model
from .baseline import BaselineSums
from .effects import GroupEffects
from .gathered import batches_at_once, gathered_engine
from .head import Dense, dense_head
from .kept import kept_in, run_key
from .masked import masked_engine
from .passes import in_memory
from .sizes import Sizes
from .sums import GroupBlock, GroupPass, GroupSums

ENGINES = ("gathered", "masks")


def ablate_groups(
    model: Model,
    dataset: Dataset,
    keep: Mapping[str, Bool[np.ndarray, "groups _"]],
    *,
    batch_size: int = 256,
    chunk: int = 16,
    keep_losses: bool = False,
    engine: str | None = None,
    memory: int | None = None,
    resume: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> GroupEffects:
    """Run the network with only some of its units and say how it does.

    The effects are large (tens of percent of the loss), so float32 losses are exact enough:
    responses outside the mask are set to 0 and the rest of the network runs.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        keep: per site, one mask per group, shape `(groups, units)`: True keeps a unit. The
            masks of several sites are applied together, group by group.
        batch_size: images at a time.
        chunk: groups at a time, or fewer. Memory grows with `batch_size * chunk`; loss and
            rank of every group, 8 bytes for each of up to 1,024 images, come on top.
        keep_losses: also keep the loss of every group on every image, 4 bytes each.
        engine: `gathered` for one site that one or two dense layers follow: only units that
            are kept, or only those that respond, are computed, and several batches are taken
            together. `masks` for anything: all of the rest of the network runs. By default
            `gathered` where it fits.
        memory: bytes that one program may use; by default half of what its device has free.
            The compiler's own account of the program decides how many groups go through it;
            where memory runs out all the same, half of them.
        resume: a folder to keep the sums in, as in `ablate_units`: the same call goes on
            where a run that was killed had come to, and ends with the same bits.
        progress: called with the number of pairs (image, group) done.

    Returns:
        Loss and correct images of every group, per class, beside the intact network. Engine,
        batch size and chunk change the last bits of the losses at most.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: masks that do not fit the site or each other, an engine that there is not
            or that does not fit.
        FloatingPointError: a loss that is NaN or infinite.
        MemoryError: a limit that not even one group at a time keeps to.
        OSError: a file that cannot be written.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ("cat", "dog"))
    >>> keep = {"all": np.array([[True, True], [True, False]])}
    >>> ablate_groups(model, dataset, keep).accuracy().tolist()
    [1.0, 0.5]
    """
    for name, number in (("batch_size", batch_size), ("chunk", chunk)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1; found {number}")
    limit = check_limit(memory)
    if engine not in (None, *ENGINES):
        raise ValueError(f"engine must be {', '.join(ENGINES)} or None; found {engine!r}")
    masks = {site: np.asarray(mask, bool) for site, mask in keep.items()}
    shapes = _activation_shapes(model, dataset, tuple(masks))
    n_groups = _check_masks(masks, shapes)
    head = None if engine == "masks" else _head_after(model, dataset, shapes)
    if engine == "gathered" and head is None:
        found = ", ".join(masks)
        raise ValueError(
            "the gathered engine is for one site that one or two dense layers follow, with a "
            "ReLU between them: "
            + (f"found {found}" if len(masks) > 1 else f"something else follows {found}")
        )
    network, name = traceable(model), "masks" if head is None else "gathered"
    kept = None
    if resume is not None:
        asked = [masks, batch_size, chunk, keep_losses]
        kept = kept_in(Path(resume), run_key(name, network, [*masks], dataset, asked)).first
    n_classes = len(dataset.class_names)
    intact, sums = (
        BaselineSums(n_classes),
        GroupSums(n_groups, n_classes, len(dataset) if keep_losses else 0),
    )
    sizes: Sizes = {"chunk": chunk}
    start = 0
    if kept is not None and (said := kept.restore(sums, intact)) is not None:
        start = said["start"]
        if memory in (None, said["memory"]):
            # As before, whatever is free today: with other sizes come other last bits.
            limit, sizes = said["memory"], said["sizes"]
    together = 1
    if head is None:
        run = masked_engine(network, masks, sizes, limit)
    else:
        ((site, mask),) = masks.items()
        run = gathered_engine(network, site, mask, head, sizes, limit)
        together = batches_at_once(min(batch_size, len(dataset)), chunk)
    whole = partial(_whole, run, n_groups, progress)
    coming = dataset.batches(batch_size, start)
    with full_precision():
        while batches := list(itertools.islice(coming, together)):
            logits, blocks = in_memory(partial(whole, batches), sizes)
            for of_batch, batch in zip(logits, batches, strict=True):
                intact.add(of_batch, batch)
            for block in blocks:
                sums.add(block)
            if kept is not None:
                done = batches[-1].start + batches[-1].n_images
                kept.keep(sums, intact, {"start": done, "sizes": sizes, "memory": limit})
    if not np.isfinite(sums.loss).all():
        raise FloatingPointError("the loss of a group is NaN or infinite")
    return GroupEffects(
        loss=sums.loss,
        top1=sums.top1.astype(np.int64),
        top5=sums.top5.astype(np.int64),
        baseline=intact.finish(),
        engine=name,
        losses=sums.losses if keep_losses else None,
    )


def _whole(
    run: Callable[[Sequence[Batch]], GroupPass],
    n_groups: int,
    progress: Callable[[int], None] | None,
    batches: Sequence[Batch],
) -> tuple[Sequence[np.ndarray], list[GroupBlock]]:
    """Some batches with all their blocks: they count once it is certain none is missing."""
    found = run(batches)
    blocks, done = [], batches[0].start * n_groups
    for block in found.blocks:
        blocks.append(block)
        done += block.loss.size
        if progress is not None:
            progress(done)
    return found.logits, blocks


def _activation_shapes(
    model: Model, dataset: Dataset, sites: tuple[str, ...]
) -> dict[str, jax.ShapeDtypeStruct]:
    image = jax.ShapeDtypeStruct(dataset.inputs(slice(0, 1)).shape, np.float32)
    return jax.eval_shape(lambda images: forward(model, images, sites=sites)[1], image)


def _check_masks(
    masks: Mapping[str, np.ndarray], activations: Mapping[str, jax.ShapeDtypeStruct]
) -> int:
    """The number of groups."""
    counts = {len(mask) for mask in masks.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"all sites need the same number of masks, at least one: {counts}")
    for site, mask in masks.items():
        if mask.ndim != 2 or mask.shape[1] != activations[site].shape[-1]:
            raise ValueError(
                f"masks of {site} must have the shape (groups, "
                f"{activations[site].shape[-1]}); found {mask.shape}"
            )
    return counts.pop()


def _head_after(
    model: Model, dataset: Dataset, activations: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[Dense, ...] | None:
    """The layers after the only site, where they are what the gathered engine is for."""
    if len(activations) > 1:
        return None
    ((site, activation),) = activations.items()
    with full_precision():  # a weight may be a product itself
        return dense_head(model, dataset.inputs(slice(0, 1)), site, activation)
