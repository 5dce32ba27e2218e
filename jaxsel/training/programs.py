"""An epoch of the replicas of a lane, and what is kept of it, as compiled programs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .images import OnDevice, order
from .layout import Layout
from .monitor import look
from .step import Numbers, State, Task, epoch_in_one, step


class Best(NamedTuple):
    """The parameters of the best epoch so far, by validation.

    Attributes:
        parameters: of the network.
        statistics: running statistics of BatchNorm.
        value: accuracy, or minus the loss; larger is better.
        epoch: epochs after which it was reached; 0 before the first.
    """

    parameters: Any
    statistics: Any
    value: Float[Array, "..."]
    epoch: Int[Array, "..."]


class Run(NamedTuple):
    """All that changes while a replica is trained."""

    state: State
    best: Best


class Lane(NamedTuple):
    """Replicas in one call: indices, the last of them maybe several times."""

    is_leaky: bool
    members: list[int]

    @property
    def n_replicas(self) -> int:
        """Copies left out."""
        return len(set(self.members))


def begun(state: State) -> Run:
    """A replica before its first epoch, on the host."""
    precision = np.result_type(*jax.tree.leaves(state.parameters))
    nothing: tuple[Any, Any] = np.array(-np.inf, precision), np.array(0, np.int32)
    return Run(state, Best(state.parameters, state.statistics, *nothing))


@dataclass(frozen=True, eq=False)
class Programs:
    """The compiled programs of a task on a layout, each of a whole lane."""

    task: Task
    layout: Layout
    order: Callable[..., Any]
    step: Callable[..., Any]
    epoch: Callable[..., Any]
    finish: Callable[..., Any]


def compiled(task: Task, layout: Layout) -> Programs:
    """The programs; each is compiled when it is first called."""
    axis_name = layout.axis_name
    return Programs(
        task,
        layout,
        layout.program(partial(_order, task)),
        layout.program(partial(_one_step, task, axis_name)),
        layout.program(partial(_whole_epoch, task, axis_name)),
        layout.program(partial(_finish, task)),
    )


def one_epoch(
    programs: Programs,
    run: Run,
    numbers: Any,
    data: tuple[OnDevice, OnDevice],
    epoch: int,
    lane: Lane,
    progress: Callable[[int], None] | None,
) -> tuple[Run, list[Any], list[Any]]:
    """The run after an epoch, and by replica the parts of every step and what was seen."""
    train, validation = data
    in_one = _in_one if programs.layout.stacked else _step_by_step
    state, parts = in_one(programs, run.state, numbers, train, epoch, lane, progress)
    (state, best), sums = programs.finish(
        (state, run.best), numbers, validation, jnp.int32(epoch + 1)
    )
    return Run(state, best), parts, programs.layout.fetched(sums, lane.members)


def _in_one(programs, state, numbers, train, epoch, lane, progress):
    state, parts = programs.epoch(state, numbers, train, jnp.int32(epoch))
    found = programs.layout.fetched(parts, lane.members)
    if progress is not None:
        progress(programs.task.n_images * lane.n_replicas)
    return state, found


def _step_by_step(programs, state, numbers, train, epoch, lane, progress):
    task, layout, epoch = programs.task, programs.layout, jnp.int32(epoch)
    nothing, size = layout.shared(np.zeros(())), task.recipe.batch_size
    permuted = programs.order(nothing, numbers, train, epoch)
    each = []
    for i in range(task.steps):
        state, parts = programs.step(state, (permuted, numbers), train, epoch, jnp.int32(i))
        each.append(parts)
        if progress is not None:
            jax.block_until_ready(parts)
            progress(min(size, task.n_images - i * size) * lane.n_replicas)
    by_step = [layout.fetched(parts, lane.members) for parts in each]
    return state, [
        jax.tree.map(lambda *x: np.stack(x), *of) for of in zip(*by_step, strict=True)
    ]


# The programs, of one replica: `(state, own, shared, *scalars)`, as `Layout.program` has them.
def _order(task, nothing, numbers: Numbers, data, epoch):
    del nothing, data
    return order(numbers.seed, epoch, task.n_images)


def _one_step(task, axis_name, state, own, data: OnDevice, epoch, number):
    permuted, numbers = own
    return step(task, state, data, permuted, numbers, epoch, number, axis_name)


def _whole_epoch(task, axis_name, state, numbers, data: OnDevice, epoch):
    return epoch_in_one(task, state, data, numbers, epoch, axis_name)


def _finish(task, kept, numbers, validation: OnDevice, epoch):
    """Look at the validation images; keep the parameters if they are the best."""
    state, best = kept
    sums = look(task, state.parameters, state.statistics, numbers, validation)
    by_loss = task.recipe.best_by == "loss"
    value = jnp.asarray(-sums.loss if by_loss else sums.right, best.value.dtype)
    # Logits that are NaN count as guesses, some of them right.
    better = (value > best.value) & jnp.isfinite(sums.loss)
    new = Best(state.parameters, state.statistics, value, epoch)
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), new, best)
    return (state, best), sums
