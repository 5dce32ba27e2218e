"""Groups of units in any network: all of what follows their sites runs, with masks."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from ..data.dataset import Batch
from ..delta.loss import cross_entropy, label_rank
from ..intact import intact_pass
from ..memory import fitting, program_bytes
from ..sites import Model, masked
from .sizes import Sizes
from .sums import GroupBlock, GroupPass


def masked_engine(
    network: Model,
    keep: Mapping[str, Bool[np.ndarray, "groups _"]],
    sizes: Sizes,
    memory: int,
) -> Callable[[Sequence[Batch]], GroupPass]:
    """A function from batches to loss and rank of every image and group.

    Args:
        network: as `traceable` gives it.
        keep: the masks.
        sizes: `chunk`, groups at a time.
        memory: bytes that a program may use.
    """
    n_groups = len(next(iter(keep.values())))

    def of_batch(batch: Batch) -> Iterator[GroupBlock]:
        known = network, batch.images, batch.labels

        def needs(n: int) -> int:
            return program_bytes(_masked, *known, {site: m[:n] for site, m in keep.items()})

        if "bytes" not in sizes:
            most = fitting(needs, min(sizes["chunk"], n_groups), memory, "groups")
            n_parts = -(-n_groups // most)
            sizes["chunk"] = -(-n_groups // n_parts)  # 22 as 11 and 11, not 16 and 6 of 16
            sizes["bytes"] = needs(sizes["chunk"])
        chunk, labels = sizes["chunk"], batch.labels[: batch.n_images]
        images = batch.start + np.arange(batch.n_images)
        for start in range(0, n_groups, chunk):
            rows = np.arange(start, min(start + chunk, n_groups))
            chosen = {site: mask[np.resize(rows, chunk)] for site, mask in keep.items()}
            found = _masked(*known, chosen)
            loss, rank = (np.asarray(array)[: len(rows), : len(labels)].T for array in found)
            yield GroupBlock(images, labels, rows, loss, rank)

    def run(batches: Sequence[Batch]) -> GroupPass:
        passes = (intact_pass(network, batch.images, (), memory=memory) for batch in batches)
        logits = [np.asarray(found) for found, _ in passes]
        return GroupPass(logits, (block for batch in batches for block in of_batch(batch)))

    return run


@jax.jit
def _masked(model, images, labels, masks):
    """Loss and rank of the label, `(groups, images)`; what is before the sites runs once."""

    def of_group(keep):
        logits = model(images, masked(keep))
        return cross_entropy(logits, labels), label_rank(logits, labels)

    return jax.vmap(of_group)(jax.tree.map(jnp.asarray, masks))
