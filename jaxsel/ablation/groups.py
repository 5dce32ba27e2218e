"""Ablate many units at once: how the network does with each group of kept units."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from ..data.dataset import Batch, Dataset
from ..delta.loss import cross_entropy, label_rank
from ..forward import forward
from ..intact import full_precision, intact_pass, traceable
from ..memory import check_limit, fitting, program_bytes
from ..sites import Model, masked
from .baseline import BaselineSums
from .effects import GroupEffects
from .gathered import gathered_blocks
from .head import Dense, dense_head
from .sums import GroupBlock, GroupSums

ENGINES = ("gathered", "masks")


def ablate_groups(
    model: Model,
    dataset: Dataset,
    keep: Mapping[str, Bool[np.ndarray, "groups _"]],
    *,
    batch_size: int = 256,
    chunk: int = 16,
    engine: str | None = None,
    memory: int | None = None,
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
        chunk: groups at a time, or fewer. Memory grows with `batch_size * chunk`.
        engine: `gathered` for one site that one or two dense layers follow: only units that
            are kept, or only those that respond, are computed, and several batches are taken
            together. `masks` for anything: all of the rest of the network runs. By default
            `gathered` where it fits.
        memory: bytes that one program may use; by default half of what its device has free.
            The compiler's own account of the program decides how many groups go through it.
        progress: called with the number of pairs (image, group) done.

    Returns:
        Loss and correct images of every group, per class, beside the intact network. Engine,
        batch size and chunk change the last bits of the losses at most.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: masks that do not fit the site or each other, an engine that there is not
            or that does not fit.
        FloatingPointError: a loss that is NaN or infinite.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ("cat", "dog"))
    >>> keep = {"all": np.array([[True, True], [True, False]])}
    >>> ablate_groups(model, dataset, keep).accuracy().tolist()
    [1.0, 0.5]
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1; found {chunk}")
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
    n_classes, network = len(dataset.class_names), traceable(model)
    intact, sums = BaselineSums(n_classes), GroupSums(n_groups, n_classes)
    batches, done = dataset.batches(batch_size), 0
    with full_precision():
        if head is None:
            most = min(chunk, n_groups)
            blocks = _masked_blocks(network, masks, batches, intact, most, limit)
        else:
            ((site, mask),) = masks.items()
            blocks = gathered_blocks(network, site, mask, head, batches, intact, chunk)
        for block in blocks:
            sums.add(block)
            done += block.loss.size
            if progress is not None:
                progress(done)
    if not np.isfinite(sums.loss).all():
        raise FloatingPointError("the loss of a group is NaN or infinite")
    return GroupEffects(
        loss=sums.loss,
        top1=sums.top1.astype(np.int64),
        top5=sums.top5.astype(np.int64),
        baseline=intact.finish(),
        engine="masks" if head is None else "gathered",
    )


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


def _masked_blocks(
    network: Model,
    masks: Mapping[str, np.ndarray],
    batches: Iterable[Batch],
    intact: BaselineSums,
    most: int,
    memory: int,
) -> Iterator[GroupBlock]:
    """Loss and rank of every image and group, by running the network with masks."""
    n_groups, chunk = len(next(iter(masks.values()))), None
    for batch in batches:
        if chunk is None:
            known = network, batch.images, batch.labels

            def needs(n: int, known: tuple = known) -> int:
                some = {site: mask[:n] for site, mask in masks.items()}
                return program_bytes(_masked, *known, some)

            chunk = fitting(needs, most, memory, "groups")
        intact.add(np.asarray(intact_pass(network, batch.images, ())[0]), batch)
        labels = batch.labels[: batch.n_images]
        for start in range(0, n_groups, chunk):
            rows = np.arange(start, min(start + chunk, n_groups))
            chosen = {site: mask[np.resize(rows, chunk)] for site, mask in masks.items()}
            found = _masked(network, batch.images, batch.labels, chosen)
            loss, rank = (np.asarray(a)[: len(rows), : len(labels)].T for a in found)
            yield GroupBlock(labels, rows, loss, rank)


@jax.jit
def _masked(model, images, labels, masks):
    """Loss and rank of the label, `(groups, images)`; what is before the sites runs once."""

    def of_group(keep):
        logits = model(images, masked(keep))
        return cross_entropy(logits, labels), label_rank(logits, labels)

    return jax.vmap(of_group)(jax.tree.map(jnp.asarray, masks))
