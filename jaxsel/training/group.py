"""Replicas that are trained together, epoch by epoch."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Int

from ..data.dataset import Dataset
from ..forward import forward
from ..models.batch_norm import BatchNorm
from .images import OnDevice, for_device
from .indices import Index, class_selectivity
from .layout import Layout, chosen
from .monitor import Sums, summary
from .programs import Lane, Programs, Run, begun, compiled, one_epoch
from .recipe import Recipe, Replica
from .step import Task, initial, numbers_of

# The numbers after every epoch, with their meaning.
CURVES = {
    "train_loss": "cross-entropy on the training images as they went by, nats",
    "train_accuracy": "share of them that was right",
    "train_index": "mean index of a site's units on the minibatches",
    "validation_loss": "cross-entropy on the validation images, nats",
    "validation_accuracy": "share of the validation images that is right",
    "validation_index": "mean class selectivity index of a site's units on them",
    "validation_dead": "units of a site that are silent for every validation image",
}


@dataclass(frozen=True, eq=False)
class Group:
    """Replicas that are trained together: what does not change while they are.

    Attributes:
        replicas: which.
        recipe: how they are trained.
        sites: whose units are regularised and watched.
        layout: where they are computed.
        tasks: by whether their ReLU is leaky.
        programs: the same.
        lanes: the replicas that run in one call.
        own: the numbers of the replicas of each lane, on the devices.
        train: training images, on the devices.
        validation: validation images, on the devices.
        validation_labels: on the host.
    """

    replicas: tuple[Replica, ...]
    recipe: Recipe
    sites: tuple[str, ...]
    layout: Layout
    tasks: Mapping[bool, Task]
    programs: Mapping[bool, Programs]
    lanes: tuple[Lane, ...]
    own: tuple[Any, ...]
    train: OnDevice
    validation: OnDevice
    validation_labels: Int[np.ndarray, " images"]

    def task(self, replica: Replica) -> Task:
        """What a replica has in common with others."""
        return self.tasks[replica.slope != 0]


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a group stands: what an epoch changes.

    Attributes:
        epoch: epochs that are done.
        runs: of each lane, on the devices. The next epoch uses their memory again.
        curves: by name (`CURVES`), one row per epoch done, `(replicas, ...)`.
    """

    epoch: int
    runs: tuple[Any, ...]
    curves: Mapping[str, tuple[np.ndarray, ...]]


def group_of(
    build: Callable[[int], nnx.Module],
    train: Dataset,
    validation: Dataset,
    replicas: Sequence[Replica],
    recipe: Recipe,
    *,
    sites: Sequence[str] | None = None,
    index: Index | None = None,
    layout: Layout | None = None,
) -> Group:
    """A group; its arguments are those of `train_replicas`."""
    if not replicas:
        raise ValueError("no replica to train")
    layout = _needed(chosen() if layout is None else layout, len(replicas))
    network = nnx.clone(build(replicas[0].seed))
    _refuse_other_layers(network)
    network.eval()
    watched, n_logits = outputs_of(network, train, sites)
    if (largest := max(train.labels.max(), validation.labels.max())) >= n_logits:
        raise ValueError(f"there are labels up to {largest}, but {n_logits} logits")
    if not watched and any(replica.alpha for replica in replicas):
        raise ValueError(
            "a network without sites has no units to regularise: let it say "
            'x = tap("name", x) where they are'
        )
    index = class_selectivity() if index is None else index
    kinds = sorted({replica.slope != 0 for replica in replicas})
    tasks = {
        kind: task_of(network, recipe, len(train), watched, index, kind, layout)
        for kind in kinds
    }
    lanes = []
    for kind in kinds:
        members = [i for i, replica in enumerate(replicas) if (replica.slope != 0) == kind]
        lanes += [Lane(kind, [members[k] for k in lane]) for lane in layout.lanes(len(members))]
    numbers = [jax.device_get(numbers_of(replica)) for replica in replicas]
    return Group(
        tuple(replicas),
        recipe,
        watched,
        layout,
        tasks,
        {kind: compiled(task, layout) for kind, task in tasks.items()},
        tuple(lanes),
        tuple(layout.placed([numbers[i] for i in lane.members]) for lane in lanes),
        layout.shared(for_device(train)),
        layout.shared(for_device(validation)),
        validation.labels,
    )


def beginning(group: Group, build: Callable[[int], nnx.Module]) -> Standing:
    """Before the first epoch: every replica with the parameters of its seed."""
    runs = {
        i: begun(jax.device_get(initial(group.task(replica), build(replica.seed))))
        for i, replica in enumerate(group.replicas)
    }
    return Standing(0, placed(group, runs), dict.fromkeys(CURVES, ()))


def placed(group: Group, runs: Mapping[int, Run]) -> tuple[Any, ...]:
    """Runs on the host, by replica, as `Standing.runs` has them."""
    return tuple(group.layout.placed([runs[i] for i in lane.members]) for lane in group.lanes)


def fetched(group: Group, standing: Standing) -> dict[int, Run]:
    """The other way: runs on the host, by replica."""
    found: dict[int, Run] = {}
    for lane, runs in zip(group.lanes, standing.runs, strict=True):
        of_lane = group.layout.fetched(runs, lane.members)
        found |= dict(zip(lane.members, of_lane, strict=True))
    return dict(sorted(found.items()))


def advance(
    group: Group, standing: Standing, progress: Callable[[int], None] | None = None
) -> Standing:
    """One more epoch of every replica.

    Args:
        group: which.
        standing: where it stands; its runs are used up.
        progress: called with the images that a program has seen, times its replicas.

    Returns:
        Where it stands then.
    """
    runs, rows = [], {}
    for lane, run, own in zip(group.lanes, standing.runs, group.own, strict=True):
        programs = group.programs[lane.is_leaky]
        run, parts, sums = one_epoch(
            programs, run, own, (group.train, group.validation), standing.epoch, lane, progress
        )
        runs.append(run)
        for i, part, found in zip(lane.members, parts, sums, strict=True):
            rows[i] = _row(group, part, found)
    curves = {
        name: (*values, np.array([rows[i][name] for i in range(len(rows))]))
        for name, values in standing.curves.items()
    }
    return Standing(standing.epoch + 1, tuple(runs), curves)


def _row(group: Group, parts: Any, sums: Sums) -> dict[str, Any]:
    """One replica's numbers after an epoch."""
    n, size = group.task(group.replicas[0]).n_images, group.recipe.batch_size
    counts = np.minimum(size, n - size * np.arange(group.recipe.steps(n)))
    mean = jax.tree.map(lambda x: np.tensordot(counts / n, np.float64(x), 1), parts)
    seen = summary(sums, group.validation_labels)
    return {
        "train_loss": mean.cross_entropy,
        "train_accuracy": mean.accuracy,
        "train_index": mean.indices,
        **{f"validation_{name}": value for name, value in seen.items()},
    }


def outputs_of(
    network: nnx.Module, images: Dataset, sites: Sequence[str] | None
) -> tuple[tuple[str, ...], int]:
    """The sites, those that the network has by itself if none are named, and the logits."""
    one = jax.ShapeDtypeStruct(images.inputs(slice(0, 1)).shape, np.float32)
    logits, activations = jax.eval_shape(lambda x: forward(network, x, sites=sites), one)
    return tuple(activations), logits.shape[1]


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


def _needed(layout: Layout, n_replicas: int) -> Layout:
    """The layout without devices that would only repeat what others do."""
    is_enough = layout.over == "batch" or len(layout.devices) <= n_replicas
    # Of several processes, each must take part.
    if is_enough or jax.process_count() > 1:
        return layout
    return dataclasses.replace(layout, devices=layout.devices[:n_replicas])


def _refuse_other_layers(network: nnx.Module) -> None:
    for path, module in nnx.iter_modules(network):
        if isinstance(module, nnx.BatchNorm) and not isinstance(module, BatchNorm):
            place = ".".join(map(str, path))
            raise ValueError(
                f"{place} is Flax's BatchNorm, which does not know which images of a batch "
                "count: use jaxsel.models.BatchNorm"
            )
    others = nnx.state(network, nnx.Not(nnx.Any(nnx.Param, nnx.BatchStat)))
    if names := [".".join(map(str, path)) for path, _ in nnx.to_flat_state(others)]:
        raise ValueError(
            "a network that is trained here has no arrays but parameters and BatchNorm's "
            f"statistics; this one has {', '.join(names)}"
        )
