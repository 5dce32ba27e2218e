"""More replicas than fit into memory: groups of them, each of which can be gone on with."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from .. import memory
from ..locks import locked
from .curves import append_curves, write_curves
from .group import Group, Standing, advance, beginning, fetched
from .layout import Layout
from .programs import compiled
from .recipe import Replica
from .replicas import Trained, trained_replicas
from .saved import resume, save
from .step import initial, numbers_of

# Of a run's time, at most about this share goes into checkpoints.
SHARE = 0.02


def in_groups(replicas: Sequence[Replica], size: int) -> list[tuple[Replica, ...]]:
    """The replicas in their order, `size` at a time.

    >>> [len(group) for group in in_groups([Replica(seed) for seed in range(5)], 2)]
    [2, 2, 1]
    """
    if size < 1:
        raise ValueError(f"a group needs at least 1 replica; found {size}")
    return [tuple(replicas[i : i + size]) for i in range(0, len(replicas), size)]


def replicas_that_fit(
    group: Group, build: Callable[[int], nnx.Module], limit: int | None = None
) -> int:
    """How many replicas of a group a machine has memory for, all of them at most.

    Args:
        group: all replicas; nothing of it is run, but its program is compiled for some of
            them.
        build: as in `train_replicas`.
        limit: bytes on each device; by default half of what is free.

    Raises:
        LimitError: not even one; a `MemoryError`.
    """
    allowed, layout = memory.check_limit(limit), group.layout
    width = len(layout.devices) if layout.over == "replicas" else 1
    replica = group.replicas[0]
    state = jax.eval_shape(lambda: initial(group.task(replica), build(replica.seed)))
    # Besides the state, parameters and statistics of the best epoch.
    of_replica = _bytes((state, state.parameters, state.statistics))
    shared = _bytes((group.train, group.validation)) // len(layout.devices)

    def needs(n: int) -> int:
        return shared + n * of_replica + _working(group, replica, state, n)

    most = -(-len(group.replicas) // width)
    fitting = memory.fitting(needs, most, allowed, "replicas of a device")
    return min(fitting * width, len(group.replicas))


def agreed(decision: int) -> int:
    """What the first of several processes decides, a number or truth value; each must ask.

    >>> agreed(3)
    3
    """
    if jax.process_count() == 1:
        return decision
    return int(multihost_utils.broadcast_one_to_all(np.int32(decision)))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder while it lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lock").touch()
    lock = locked(folder / "lock", without_locks=True)
    if lock is None:
        raise RuntimeError(f"another run is at work in {folder}")
    with lock:
        yield


def _working(group: Group, replica: Replica, state: Any, n: int) -> int:
    """Bytes that the program of n replicas on one device needs on its way."""
    layout = Layout(group.layout.stacked, group.layout.devices[:1])
    programs = compiled(group.task(replica), layout)
    number = jax.ShapeDtypeStruct((), np.int32)
    train = jax.tree.map(_shape, group.train)
    if len(group.layout.devices) > 1:
        train = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), train)
    own = jax.tree.map(_shape, numbers_of(replica))
    if layout.stacked:
        state, own = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((n, *x.shape), x.dtype), (state, own)
        )
        return memory.program_bytes(programs.epoch, state, own, train, number)
    permuted = jax.ShapeDtypeStruct(train.labels.shape, np.int32)
    return memory.program_bytes(programs.step, state, (permuted, own), train, number, number)


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def finish(
    group: Group,
    build: Callable[[int], nnx.Module],
    folder: Path,
    settings: Mapping[str, Any],
    *,
    share: float = SHARE,
    on_epoch: Callable[[Standing], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Trained]:
    """Train a group to its last epoch, going on from its folder's checkpoint if there is one.

    Killed at any moment and called again, it ends with the same bits, on the CPU.

    Args:
        group: what to train.
        build: as in `train_replicas`.
        folder: of this group alone: checkpoints and `curves.jsonl`.
        settings: what the run is, as JSON has it; it does not go on from others.
        share: of its time that checkpoints may take. There is one after the first epoch, then
            as often as that allows, and one after the last.
        on_epoch: called after every epoch, and when it goes on, with where the group stands.
        progress: called with images as they are trained on, times replicas.

    Raises:
        ValueError: the folder is of another run, or all its checkpoints are damaged.
        RuntimeError: another run is at work in the folder.
        OSError: a checkpoint cannot be written; those before it are whole.

    Warns:
        UserWarning: a checkpoint is damaged; the one before it is used.
    """
    # Of several processes that train together, one writes.
    is_writer = jax.process_index() == 0
    with _alone(folder) if is_writer else nullcontext():
        standing = beginning(group, build)
        standing = resume(folder, group, settings, fetched(group, standing)[0]) or standing
        if is_writer:
            write_curves(folder, group, standing)
        if on_epoch is not None:
            on_epoch(standing)
        cost, since = 0.0, time.monotonic()
        while standing.epoch < group.recipe.epochs:
            standing = advance(group, standing, progress)
            if is_writer:
                append_curves(folder, group, standing)
            if on_epoch is not None:
                on_epoch(standing)
            now = time.monotonic()
            is_last = standing.epoch == group.recipe.epochs
            if agreed(is_last or now - since >= cost / share):
                save(folder, group, standing, settings)
                since = time.monotonic()
                cost = since - now
        return trained_replicas(group, standing)
