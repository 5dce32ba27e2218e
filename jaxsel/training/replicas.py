"""Train many replicas of a network that differ in seed, alpha and slope only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from ..data.dataset import Dataset
from .images import OnDevice, on_device, order
from .indices import Index, class_selectivity
from .layout import Layout, chosen
from .monitor import Sums, look, summary
from .recipe import Recipe, Replica
from .step import Numbers, State, Task, epoch_in_one, initial, network_of, numbers_of, step


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


@dataclass(frozen=True, eq=False)
class Trained:
    """A replica after its last epoch.

    Attributes:
        replica: which.
        network: with the parameters of its best epoch, in evaluation mode.
        best_epoch: epochs after which validation was best, from 1; 0 if it was never finite.
        curves: numbers after every epoch by name, `(epochs,)` or `(epochs, sites)`.
    """

    replica: Replica
    network: nnx.Module
    best_epoch: int
    curves: Mapping[str, np.ndarray]


# What `Trained.curves` has, with its meaning; of sites, where the name says so.
CURVES = {
    "train_loss": "cross-entropy on the training images as they went by, nats",
    "train_accuracy": "share of them that was right",
    "train_index": "mean index of a site's units on the minibatches",
    "validation_loss": "cross-entropy on the validation images, nats",
    "validation_accuracy": "share of the validation images that is right",
    "validation_index": "mean class selectivity index of a site's units on them",
    "validation_dead": "units of a site that are silent for every validation image",
}


class Lane(NamedTuple):
    """Replicas in one call: indices, the last of them maybe several times."""

    is_leaky: bool
    members: list[int]

    @property
    def n_replicas(self) -> int:
        """Copies left out."""
        return len(set(self.members))


class Group:
    """Replicas that are trained together, epoch by epoch.

    Attributes:
        replicas: which.
        epoch: epochs that are done.
        curves: by name, one row per epoch done: `(epochs, replicas, ...)`.
        sites: whose units are regularised and watched.
        layout: where it runs.
    """

    def __init__(
        self,
        build: Callable[[int], nnx.Module],
        train: Dataset,
        validation: Dataset,
        replicas: Sequence[Replica],
        recipe: Recipe,
        *,
        sites: Sequence[str] | None = None,
        index: Index | None = None,
        layout: Layout | None = None,
    ):
        if not replicas:
            raise ValueError("no replica to train")
        self.replicas, self.recipe = tuple(replicas), recipe
        self.layout = chosen() if layout is None else layout
        self.epoch, self.curves = 0, {name: [] for name in CURVES}
        self._validation_labels = validation.labels
        network = build(self.replicas[0].seed)
        self.sites = tuple(getattr(network, "sites", ()) if sites is None else sites)
        index = class_selectivity() if index is None else index
        self._tasks = {
            is_leaky: task_of(
                network, recipe, len(train), self.sites, index, is_leaky, self.layout
            )
            for is_leaky in sorted({replica.slope != 0 for replica in self.replicas})
        }
        self._programs = {
            is_leaky: Programs(task, self.layout) for is_leaky, task in self._tasks.items()
        }
        self._data = self.layout.shared((on_device(train), on_device(validation)))
        self._lanes = [
            Lane(is_leaky, [members[i] for i in lane])
            for is_leaky in self._tasks
            for members in [
                [i for i, r in enumerate(self.replicas) if (r.slope != 0) == is_leaky]
            ]
            for lane in self.layout.lanes(len(members))
        ]
        runs: dict[int, Run] = {}
        for i, replica in enumerate(self.replicas):
            task = self._tasks[replica.slope != 0]
            state = jax.device_get(initial(task, build(replica.seed)))
            runs[i] = Run(state, _no_best(state))
        self.put(runs)

    def put(self, runs: Mapping[int, Run]) -> None:
        """Replace what changes in training, such as by what a checkpoint holds."""
        self._runs = [
            self.layout.placed([runs[i] for i in lane.members]) for lane in self._lanes
        ]
        self._own = [
            self.layout.placed(
                [jax.device_get(numbers_of(self.replicas[i])) for i in lane.members]
            )
            for lane in self._lanes
        ]

    def get(self) -> dict[int, Run]:
        """What changes in training, on the host, by replica."""
        found: dict[int, Run] = {}
        for lane, run in zip(self._lanes, self._runs, strict=True):
            fetched = self.layout.fetched(run, lane.members)
            found |= dict(zip(lane.members, fetched, strict=True))
        return found

    def advance(self, progress: Callable[[int], None] | None = None) -> None:
        """One more epoch of every replica.

        Args:
            progress: called with the images that a step, or an epoch in one program, saw, over
                all replicas of its lane.
        """
        rows: dict[int, dict[str, Any]] = {}
        for k, lane in enumerate(self._lanes):
            self._runs[k], parts, sums = self._programs[lane.is_leaky].epoch(
                self._runs[k], self._own[k], self._data, self.epoch, lane, progress
            )
            for i, part, found in zip(lane.members, parts, sums, strict=True):
                rows[i] = self._row(part, found)
        for name, values in self.curves.items():
            values.append(np.array([rows[i][name] for i in range(len(self.replicas))]))
        self.epoch += 1

    def _row(self, parts, sums: Sums) -> dict[str, Any]:
        n, size = self._n_images, self.recipe.batch_size
        counts = np.minimum(size, n - size * np.arange(self.recipe.steps(n)))
        weighted = jax.tree.map(lambda x: np.tensordot(counts / n, np.float64(x), 1), parts)
        seen = summary(sums, self._validation_labels)
        return {
            "train_loss": weighted.cross_entropy,
            "train_accuracy": weighted.accuracy,
            "train_index": weighted.indices,
            **{f"validation_{name}": value for name, value in seen.items()},
        }

    @property
    def _n_images(self) -> int:
        return next(iter(self._tasks.values())).n_images

    def trained(self) -> list[Trained]:
        """The replicas as they are now."""
        found = []
        for i, run in sorted(self.get().items()):
            replica = self.replicas[i]
            task = self._tasks[replica.slope != 0]
            parameters, statistics = jax.tree.map(
                jnp.asarray, (run.best.parameters, run.best.statistics)
            )
            network = network_of(task, parameters, statistics, replica.slope, None)
            curves = {name: np.array(rows)[:, i] for name, rows in self.curves.items()}
            found.append(Trained(replica, network, int(run.best.epoch), curves))
        return found


class Programs:
    """The compiled programs of a task."""

    def __init__(self, task: Task, layout: Layout):
        self.task, self.layout = task, layout
        axis_name = layout.axis_name
        self._finish = layout.program(partial(_finish, task))
        self._epoch = layout.program(partial(_whole_epoch, task, axis_name))
        self._step = layout.program(partial(_one_step, task, axis_name))
        self._order = layout.program(partial(_order, task))

    def epoch(self, run: Run, numbers, data, epoch: int, lane: Lane, progress):
        """The run after an epoch, and by replica the parts of every step and what was seen."""
        train, validation = data
        if self.layout.stacked:
            state, parts = self._stacked(run.state, numbers, train, epoch, lane, progress)
        else:
            state, parts = self._in_turn(run.state, numbers, train, epoch, lane, progress)
        (state, best), sums = self._finish(
            (state, run.best), numbers, validation, jnp.int32(epoch + 1)
        )
        return Run(state, best), parts, self.layout.fetched(sums, lane.members)

    def _stacked(self, state, numbers, train, epoch, lane, progress):
        state, parts = self._epoch(state, numbers, train, jnp.int32(epoch))
        found = self.layout.fetched(parts, lane.members)
        if progress is not None:
            progress(self.task.n_images * lane.n_replicas)
        return state, found

    def _in_turn(self, state, numbers, train, epoch, lane, progress):
        nothing, size = self.layout.shared(np.zeros(())), self.task.recipe.batch_size
        permuted = self._order(nothing, numbers, train, jnp.int32(epoch))
        each = []
        for i in range(self.task.steps):
            state, parts = self._step(
                state, (permuted, numbers), train, jnp.int32(epoch), jnp.int32(i)
            )
            each.append(parts)
            if progress is not None:
                jax.block_until_ready(parts)
                progress(min(size, self.task.n_images - i * size) * lane.n_replicas)
        by_step = [self.layout.fetched(parts, lane.members) for parts in each]
        stacked = [
            jax.tree.map(lambda *x: np.stack(x), *of) for of in zip(*by_step, strict=True)
        ]
        return state, stacked


def train_replicas(
    build: Callable[[int], nnx.Module],
    train: Dataset,
    validation: Dataset,
    replicas: Sequence[Replica],
    recipe: Recipe,
    *,
    sites: Sequence[str] | None = None,
    index: Index | None = None,
    layout: Layout | None = None,
    on_epoch: Callable[[Group], None] | None = None,
) -> list[Trained]:
    """Train replicas of a network, and keep of each the parameters of its best epoch.

    Args:
        build: from a seed to a new network, in evaluation mode; its only arrays are
            parameters and BatchNorm's statistics.
        train: images to learn from; they are copied to the device once.
        validation: images that say which epoch is best.
        replicas: seeds, alphas and slopes.
        recipe: epochs, batches, optimiser, augmentation.
        sites: whose units the regulariser turns, and which are watched; by default the
            network's.
        index: what the regulariser turns; by default the class selectivity index.
        layout: where it runs; by default what `layout.chosen()` says.
        on_epoch: called after every epoch.

    Returns:
        The replicas, in their order.

    Raises:
        ValueError: no replica; slopes for a network that takes none.

    >>> from .. import data, models
    >>> from ..data import stratified
    >>> learn, validate, _ = stratified(data.digits(), (0.1, 0.1, 0.8), seed=0)
    >>> build = lambda seed: models.build("mlp", seed=seed, n_inputs=64, widths=(8,))
    >>> recipe = Recipe(epochs=1, batch_size=60, augment="none", drops=())
    >>> (one,) = train_replicas(build, learn, validate, [Replica(0, -1.0)], recipe)
    >>> one.best_epoch, one.curves["train_loss"].shape
    (1, (1,))
    """
    group = Group(
        build, train, validation, replicas, recipe, sites=sites, index=index, layout=layout
    )
    while group.epoch < recipe.epochs:
        group.advance()
        if on_epoch is not None:
            on_epoch(group)
    return group.trained()


def task_of(
    network: nnx.Module,
    recipe: Recipe,
    n_images: int,
    sites: Sequence[str],
    index: Index,
    is_leaky: bool,
    layout: Layout,
) -> Task:
    """What replicas of a network have in common."""
    if is_leaky and not hasattr(network, "slope"):
        raise ValueError(
            f"{type(network).__name__} has no slope: its replicas can have slope 0 only"
        )
    network = nnx.clone(network)
    network.train()
    graph, _, _ = nnx.split(network, nnx.Param, nnx.BatchStat)
    on_cpu = layout.devices[0].platform == "cpu"
    chunked = on_cpu and not layout.stacked
    return Task(graph, recipe, n_images, tuple(sites), index, is_leaky, chunked)


def _no_best(state: State) -> Best:
    precision = np.result_type(*jax.tree.leaves(state.parameters))
    nothing: tuple[Any, Any] = np.array(-np.inf, precision), np.array(0, np.int32)
    return Best(state.parameters, state.statistics, *nothing)


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
