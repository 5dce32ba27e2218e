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
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from ..data.dataset import Batch
from ..delta.loss import cross_entropy, label_rank
from ..intact import intact_pass
from ..memory import fitting, program_bytes
from ..sites import Model
from .head import Dense
from .sizes import Sizes, size_for, sizes_for
from .sums import GroupBlock, GroupPass

# So many images (or groups) are worth gathering rows for; more only need more memory.
MANY = 1024
# Gathering a row takes as long as using it for so many images (or groups), about: as measured
# for 4,096 x 4,096 and 512 x 512 on a CPU.
GATHERING = 128
# Sizes that numbers of rows are padded to; each compiles a program.
N_SIZES = 4
# With fewer outputs than this, products are up to twice as fast with the units first.
FEW_OUTPUTS = 64

Job = tuple[np.ndarray, Array, Array]  # lines, and their loss and rank with each of the many


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


def batches_at_once(batch_size: int, chunk: int) -> int:
    """How many batches are worth taking together."""
    return max(min(chunk, MANY // batch_size), 1)


def gathered_engine(
    network: Model,
    site: str,
    keep: Bool[np.ndarray, "groups units"],
    head: tuple[Dense, ...],
    sizes: Sizes,
    memory: int,
) -> Callable[[Sequence[Batch]], GroupPass]:
    """A function from some batches to loss and rank of every image and group.

    Args:
        network: as `traceable` gives it; it sees one batch at a time.
        site: where the units are.
        keep: the masks.
        head: the layers after the site, as `dense_head` finds them.
        sizes: `chunk`, batches' worth of pairs (image, group) at a time; `by_image`, which
            stands still; `rows`, what its numbers are padded to.
        memory: bytes that a program may use.
    """

    def run(batches: Sequence[Batch]) -> GroupPass:
        logits, responses = [], []
        for batch in batches:
            found, at = intact_pass(network, batch.images, (site,), memory=memory)
            logits.append(np.asarray(found))
            responses.append(np.asarray(at[site].astype(np.float32))[batch.where])
        labels = np.concatenate([batch.labels[batch.where] for batch in batches])
        batch_size = len(batches[0].labels)
        seen = np.concatenate(responses)
        return GroupPass(logits, blocks(seen, labels, batches[0].start, batch_size))

    def blocks(
        h: np.ndarray, labels: np.ndarray, start: int, batch_size: int
    ) -> Iterator[GroupBlock]:
        """Each image and group once, in no particular order."""
        if "rows" not in sizes:
            _choose(sizes, keep, h, batch_size, head, memory)
        by_image, pairs = sizes["by_image"], batch_size * sizes["chunk"]
        lines, many = (h, keep) if by_image else (keep, h)
        parts = _parts(len(many), min(MANY, pairs))
        for part in parts:
            padded = np.resize(part, len(parts[0]))
            own = labels[:, None] if by_image else labels[None, padded]
            jobs = _jobs(_Lines(lines, many[padded]), own, head, pairs, sizes["rows"])
            for some, *found in _ahead(jobs):
                loss, rank = (np.asarray(array)[: len(some), : len(part)] for array in found)
                if by_image:
                    yield GroupBlock(start + some, labels[some], part, loss, rank)
                else:
                    yield GroupBlock(start + part, labels[part], some, loss.T, rank.T)

    return run


def _choose(
    sizes: Sizes,
    keep: np.ndarray,
    h: np.ndarray,
    batch_size: int,
    head: tuple[Dense, ...],
    memory: int,
) -> None:
    """What stands still, rows to pad to, and what fits, from the first images."""
    pairs = batch_size * sizes["chunk"]
    parts = _parts(len(keep), min(MANY, pairs))
    images, groups = _Lines(h, keep[parts[0]]), _Lines(keep, h)
    by_image = len(parts) * images.cost() < groups.cost()
    lines = images if by_image else groups
    needed = lines.needed()
    rows = sizes_for(needed.sum(axis=1).tolist(), needed.shape[1], N_SIZES)
    n_lines, n_many = len(needed), len(keep) if by_image else len(h)

    def needs(chunk: int) -> int:
        pairs = batch_size * chunk
        many = min(n_many, MANY, pairs)
        n = min(max(pairs // many, 1), n_lines)
        return program_bytes(
            _judged,
            jax.ShapeDtypeStruct((needed.shape[1], many), lines.of_many.dtype),
            jax.ShapeDtypeStruct((n, rows[-1]), np.int32),
            jax.ShapeDtypeStruct((n, rows[-1]), lines.of_lines.dtype),
            jax.ShapeDtypeStruct((n, 1 if by_image else many), np.int32),
            head,
        )

    chunk = fitting(needs, sizes["chunk"], memory, "groups")
    sizes |= {"chunk": chunk, "by_image": bool(by_image), "rows": rows}


def _parts(n: int, most: int) -> list[np.ndarray]:
    """The numbers below n in parts of one size, the last of them perhaps shorter."""
    size = -(-n // -(-n // most))
    return [np.arange(start, min(start + size, n)) for start in range(0, n, size)]


def _ahead(jobs: Iterator[Job]) -> Iterator[Job]:
    """Each is started before the one before it is awaited."""
    for job, _ in itertools.pairwise(itertools.chain(jobs, [None])):
        assert job is not None
        yield job


def _jobs(
    lines: _Lines, labels: np.ndarray, head: tuple[Dense, ...], pairs: int, sizes: list[int]
) -> Iterator[Job]:
    """Some lines at a time, with those that need as many rows, and what comes of them."""
    needed, many = lines.needed(), jnp.asarray(lines.of_many.T)
    labels = np.broadcast_to(labels, (len(needed), labels.shape[1]))
    counts = needed.sum(axis=1)
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
