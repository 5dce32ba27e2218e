r"""Groups of units where dense layers follow: only the kept units that respond are computed.

What a group keeps of an image's responses is `where(keep, h, 0)`, in which images and groups
play the same part. So either stands still while all of the other are computed at once, in one
product over the rows of the weight that it needs:

- a group and many images: the rows of the units that the group keeps;
- an image and many groups: the rows of the units that respond to the image.

Whichever costs less is taken: the first where few units are kept, the second where few
respond. The rows left out are those that masks multiply by 0, so that nothing cancels and the
logits are those of masks but for the order of a float32 sum.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ..data.dataset import Batch
from ..delta.loss import cross_entropy, label_rank
from ..intact import intact_pass
from ..sites import Model
from .baseline import BaselineSums
from .head import Dense
from .sizes import size_for, sizes_for
from .sums import GroupBlock

# So many images (or groups) are worth gathering rows for; more only need more memory.
MANY = 1024
# Gathering a row takes as long as using it for so many images (or groups), about: as measured
# for 4,096 x 4,096 and 512 x 512 on a CPU.
GATHERING = 128
# Sizes that numbers of rows are padded to; each compiles a program.
N_SIZES = 4
# With fewer outputs than this, products are up to twice as fast with the units first.
FEW_OUTPUTS = 64


class _Lines(NamedTuple):
    """What stands still, one line after the other, and what all of them meet at once.

    Attributes:
        of_lines: responses of images, or masks of groups.
        of_many: the other.
    """

    of_lines: Float[np.ndarray, "lines units"] | Bool[np.ndarray, "lines units"]
    of_many: Float[np.ndarray, "many units"] | Bool[np.ndarray, "many units"]

    def needed(self) -> Bool[np.ndarray, "lines units"]:
        """The rows of each line; what is no number is needed, so that it is not passed over."""
        return (self.of_lines != 0) & (self.of_many != 0).any(axis=0)

    def cost(self) -> float:
        """Rows to gather and rows to multiply, in units of the latter."""
        return float(self.needed().sum()) * (len(self.of_many) + GATHERING)


def gathered_blocks(
    network: Model,
    site: str,
    keep: Bool[np.ndarray, "groups units"],
    head: tuple[Dense, ...],
    batches: Iterable[Batch],
    intact: BaselineSums,
    chunk: int,
) -> Iterator[GroupBlock]:
    """Loss and rank of every image and group, each once, in no particular order.

    Args:
        network: as `traceable` gives it.
        site: where the units are.
        keep: the masks.
        head: the layers after the site, as `dense_head` finds them.
        batches: of images, which the intact network sees one at a time.
        intact: counts its logits.
        chunk: so many batches' worth of pairs (image, group) are in memory at a time.
    """
    sizes: list[int] = []  # from the first lines, so that few programs are compiled
    by_image = None
    for h, labels, pairs in _responses(network, site, batches, intact, chunk):
        parts = _parts(len(keep), min(MANY, pairs))
        if by_image is None:
            some = keep[parts[0]]
            by_image = len(parts) * _Lines(h, some).cost() < _Lines(keep, h).cost()
        if not by_image:
            own = np.broadcast_to(labels, (len(keep), len(h)))
            for groups, loss, rank in _run(_Lines(keep, h), own, head, pairs, sizes):
                yield GroupBlock(labels, groups, loss.T, rank.T)
            continue
        for groups in parts:
            n, padded = len(groups), np.resize(groups, len(parts[0]))
            lines = _Lines(h, keep[padded])
            for images, loss, rank in _run(lines, labels[:, None], head, pairs, sizes):
                yield GroupBlock(labels[images], groups, loss[:, :n], rank[:, :n])


def _responses(
    network: Model, site: str, batches: Iterable[Batch], intact: BaselineSums, chunk: int
) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Responses and labels of some batches together, and the pairs to have in memory."""
    batches = iter(batches)
    while found := list(itertools.islice(batches, 1)):
        size = len(found[0].labels)
        found += itertools.islice(batches, max(min(chunk, MANY // size), 1) - 1)
        responses = []
        for batch in found:
            logits, activations = intact_pass(network, batch.images, (site,))
            intact.add(np.asarray(logits), batch)
            responses.append(np.asarray(activations[site].astype(np.float32))[batch.where])
        labels = np.concatenate([batch.labels[batch.where] for batch in found])
        yield np.concatenate(responses), labels, size * chunk


def _parts(n: int, most: int) -> list[np.ndarray]:
    """The numbers below n in parts of one size, the last of them perhaps shorter."""
    size = -(-n // -(-n // most))
    return [np.arange(start, min(start + size, n)) for start in range(0, n, size)]


def _run(
    lines: _Lines, labels: np.ndarray, head: tuple[Dense, ...], pairs: int, sizes: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Which lines, and loss and rank of each of them with each of the many."""
    jobs = itertools.chain(_jobs(lines, labels, head, pairs, sizes), [None])
    # One is started before the one before it is awaited.
    for job, _ in itertools.pairwise(jobs):
        assert job is not None
        some, loss, rank = job
        yield some, np.asarray(loss)[: len(some)], np.asarray(rank)[: len(some)]


def _jobs(
    lines: _Lines, labels: np.ndarray, head: tuple[Dense, ...], pairs: int, sizes: list[int]
) -> Iterator[tuple[np.ndarray, Array, Array]]:
    """Some lines at a time, with those that need as many rows, and what comes of them."""
    needed, many = lines.needed(), jnp.asarray(lines.of_many.T)
    counts = needed.sum(axis=1)
    if not sizes:
        sizes += sizes_for(counts.tolist(), needed.shape[1], N_SIZES)
    order = np.argsort(counts, kind="stable")
    n = min(max(pairs // many.shape[1], 1), len(order))
    for start in range(0, len(order), n):
        some = order[start : start + n]
        size = size_for(int(counts[some[-1]]), sizes)
        rows, values = np.zeros((n, size), np.int32), np.zeros((n, size), lines.of_lines.dtype)
        for i, line in enumerate(padded := np.resize(some, n)):
            found = np.flatnonzero(needed[line])
            rows[i, : len(found)], values[i, : len(found)] = found, lines.of_lines[line, found]
        yield some, *_judged(many, rows, values, labels[padded], head)


@jax.jit
def _judged(many, rows, values, labels, head):
    """Loss and rank of the label, `(lines, many)`; one line after the other."""

    def line(at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        rows, values, label = at
        gathered = many.at[rows].get(mode="promise_in_bounds")
        weight = head[0].weight.at[rows].get(mode="promise_in_bounds")
        pair = (gathered, values[:, None])
        keep, h = pair if many.dtype == bool else pair[::-1]
        # Apart from the product, both loops are faster on CPU.
        x, weight = lax.optimization_barrier((jnp.where(keep, h, 0), weight))
        logits = _logits(x, (Dense(weight, head[0].bias), *head[1:]))
        label = jnp.broadcast_to(label, logits.shape[:1])
        return cross_entropy(logits, label), label_rank(logits, label)

    return lax.map(line, (rows, values, labels))


def _logits(x: Array, layers: tuple[Dense, ...]) -> Array:
    """From what goes into the layers, `(inputs, many)`."""
    if layers[-1].weight.shape[1] < FEW_OUTPUTS:
        for depth, (weight, bias) in enumerate(layers):
            x = weight.T @ (jax.nn.relu(x) if depth else x) + bias[:, None]
        return x.T  # after the bias: or else the compiler turns the last product round
    x = x.T
    for depth, (weight, bias) in enumerate(layers):
        x = (jax.nn.relu(x) if depth else x) @ weight + bias
    return x
