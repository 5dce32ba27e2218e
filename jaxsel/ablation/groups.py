"""Ablate many units at once, by plain masks: one forward pass per group of kept units."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from ..data.dataset import Dataset
from ..delta.loss import cross_entropy, label_rank
from ..forward import forward
from ..intact import full_precision, intact_pass, traceable
from ..sites import Model, masked
from .baseline import BaselineSums
from .effects import GroupEffects
from .sums import class_sums


def ablate_groups(
    model: Model,
    dataset: Dataset,
    keep: Mapping[str, Bool[np.ndarray, "groups _"]],
    *,
    batch_size: int = 256,
    chunk: int = 16,
    progress: Callable[[int], None] | None = None,
) -> GroupEffects:
    """Run the network with only some of its units and say how it does.

    The effects are large (tens of percent of the loss), so plain masks are exact enough:
    responses outside the mask are set to 0 and the rest of the network runs.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        keep: per site, one mask per group, shape `(groups, units)`: True keeps a unit. The
            masks of several sites are applied together, group by group.
        batch_size: images at a time.
        chunk: groups at a time. Memory grows with `batch_size * chunk`.
        progress: called with the number of pairs (image, group) done.

    Returns:
        Loss and correct images of every group, per class, beside the intact network.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: masks that do not fit the site or each other.
        FloatingPointError: a loss that is NaN or infinite.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ("cat", "dog"))
    >>> keep = {"all": np.array([[True, True], [True, False]])}
    >>> ablate_groups(model, dataset, keep).accuracy().tolist()
    [1.0, 0.5]
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1; found {chunk}")
    masks = {site: np.asarray(mask, bool) for site, mask in keep.items()}
    n_groups = _check_masks(model, dataset, masks)
    intact = BaselineSums(n_classes := len(dataset.class_names))
    loss, top1, top5 = (np.zeros((n_groups, n_classes)) for _ in range(3))
    network, chunk = traceable(model), min(chunk, n_groups)
    with full_precision():
        for batch in dataset.batches(batch_size):
            intact.add(np.asarray(intact_pass(network, batch.images, ())[0]), batch)
            labels = batch.labels[: batch.n_images]
            for start in range(0, n_groups, chunk):
                rows = np.arange(start, min(start + chunk, n_groups))
                padded = np.resize(rows, chunk)
                chosen = {site: mask[padded] for site, mask in masks.items()}
                found = _masked(network, batch.images, batch.labels, chosen)
                losses, rank = (np.asarray(a)[: len(rows), : len(labels)].T for a in found)
                for total, values in ((loss, losses), (top1, rank < 1), (top5, rank < 5)):
                    present, sums = class_sums(values, labels)
                    total[np.ix_(rows, present)] += sums.T
                if progress is not None:
                    progress(batch.start * n_groups + (rows[-1] + 1) * batch.n_images)
    if not np.isfinite(loss).all():
        raise FloatingPointError("the loss of a group is NaN or infinite")
    return GroupEffects(loss, top1.astype(np.int64), top5.astype(np.int64), intact.finish())


def _check_masks(model: Model, dataset: Dataset, masks: Mapping[str, np.ndarray]) -> int:
    image = jax.ShapeDtypeStruct(dataset.inputs(slice(0, 1)).shape, np.float32)
    _, activations = jax.eval_shape(
        lambda images: forward(model, images, sites=tuple(masks)), image
    )
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


@jax.jit
def _masked(model, images, labels, masks):
    """Loss and rank of the label, `(groups, images)`; what is before the sites runs once."""

    def of_group(keep):
        logits = model(images, masked(keep))
        return cross_entropy(logits, labels), label_rank(logits, labels)

    return jax.vmap(of_group)(jax.tree.map(jnp.asarray, masks))
