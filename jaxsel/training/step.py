"""One step of one replica, written once for every way to run it.

The same function runs under `jit`, `vmap`, `scan`, `pmap` and `shard_map`: everything random
follows from the replica's seed, and with an axis name one batch is spread over devices.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Integer

from ..models.batch_norm import Batch, BatchNorm
from .convolution import by_chunks
from .images import OnDevice, cut, order, windows
from .indices import Index
from .losses import Parts, selectivity_loss
from .recipe import Recipe, Replica


class Numbers(NamedTuple):
    """A replica as arrays, so that all replicas share one program."""

    seed: Integer[Array, "..."]
    alpha: Float[Array, "..."]
    slope: Float[Array, "..."]


class State(NamedTuple):
    """What a step changes: parameters, running statistics, and the optimiser's state."""

    parameters: Any
    statistics: Any
    optimiser: Any


@dataclass(frozen=True)
class Task:
    """What all replicas have in common; static, and a key of their compiled programs.

    Attributes:
        graph: of the network in training mode.
        recipe: how it is trained.
        n_images: training images.
        sites: whose units the regulariser turns.
        index: what it turns.
        is_leaky: whether networks take the slope of their replica.
        chunked: whether gradients of convolutions' weights are computed by chunks.
    """

    graph: Any
    recipe: Recipe
    n_images: int
    sites: tuple[str, ...]
    index: Index
    is_leaky: bool = False
    chunked: bool = False

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """That of the recipe."""
        return self.recipe.transformation(self.n_images)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.recipe.steps(self.n_images)


def numbers_of(replica: Replica) -> Numbers:
    """The replica's numbers, each an array without axes."""
    return Numbers(
        jnp.asarray(replica.seed, jnp.uint32),
        jnp.asarray(replica.alpha),
        jnp.asarray(replica.slope),
    )


def initial(task: Task, network: nnx.Module) -> State:
    """The state of a replica before its first step."""
    _, parameters, statistics = nnx.split(network, nnx.Param, nnx.BatchStat)
    # A copy: a step uses the memory of the state that it is given.
    parameters, statistics = jax.tree.map(jnp.copy, (parameters, statistics))
    return State(parameters, statistics, task.optimiser.init(parameters))


def network_of(
    task: Task, parameters: Any, statistics: Any, slope: Array | float, batch: Batch | None
) -> Any:
    """The network of a replica: trained on a batch; without a batch, in evaluation mode."""
    network = nnx.merge(task.graph, parameters, statistics, copy=True)
    if batch is None:
        network.eval()
    for _, module in nnx.iter_modules(network):
        if batch is not None and isinstance(module, BatchNorm):
            module.batch = batch
        if hasattr(network, "slope") and hasattr(module, "slope"):
            # A slope of 0 is the ReLU, whatever the network was built with.
            setattr(module, "slope", slope if task.is_leaky else 0.0)  # noqa: B010
        if task.chunked and batch is not None and isinstance(module, nnx.Conv):
            module.conv_general_dilated = by_chunks
    return network


def step(
    task: Task,
    state: State,
    data: OnDevice,
    permuted: Int[Array, " images"],
    numbers: Numbers,
    epoch: Int[Array, ""],
    number: Int[Array, ""],
    axis_name: str | None = None,
) -> tuple[State, Parts]:
    """The state after one step, and the parts of the loss before it.

    Args:
        task: what is trained and how.
        state: of the replica.
        data: the training images.
        permuted: their order in this epoch.
        numbers: the replica.
        epoch: epochs before this one.
        number: of the step in this epoch, from 0.
        axis_name: the mapped axis over whose devices the batch is spread; each takes as many of
            its images, filled up with some that do not count.
    """
    recipe = task.recipe
    n_devices = 1 if axis_name is None else lax.axis_size(axis_name)
    share = -(-recipe.batch_size // n_devices)
    first = 0 if axis_name is None else lax.axis_index(axis_name) * share
    places = first + jnp.arange(share)
    where = (places < recipe.batch_size) & (number * recipe.batch_size + places < task.n_images)
    rows = permuted[jnp.where(where, number * recipe.batch_size + places, 0)]
    # Drawn for the whole batch, so that an image does not depend on who else is there.
    corners, flipped = windows(
        numbers.seed, epoch, number, recipe.batch_size, recipe.augment, recipe.padding
    )
    mine = jnp.minimum(places, recipe.batch_size - 1)
    stored = data.images[rows]
    if recipe.augment != "none":
        stored = cut(stored, corners[mine], flipped[mine], recipe.padding)
    images, labels = data.inputs(stored), data.labels[rows]
    is_full = task.n_images % recipe.batch_size == 0 and recipe.batch_size % n_devices == 0
    counted = None if is_full else where

    parts, statistics, gradient = gradients(
        task, state, images, labels, numbers, counted, axis_name
    )
    updates, optimiser = task.optimiser.update(gradient, state.optimiser, state.parameters)
    parameters = optax.apply_updates(state.parameters, updates)
    return State(parameters, statistics, optimiser), parts


def gradients(
    task: Task,
    state: State,
    images: Float[Array, "images ..."],
    labels: Int[Array, " images"],
    numbers: Numbers,
    where: Array | None = None,
    axis_name: str | None = None,
) -> tuple[Parts, Any, Any]:
    """Parts of the loss, the running statistics after it, and the gradient of the loss.

    All three are those of the whole batch, however many devices share it.
    """

    def loss(parameters):
        batch = Batch(where, axis_name)
        network = network_of(task, parameters, state.statistics, numbers.slope, batch)
        value, parts = selectivity_loss(
            network,
            images,
            labels,
            alpha=numbers.alpha,
            sites=task.sites,
            index=task.index,
            where=where,
            axis_name=axis_name,
        )
        return value, (parts, nnx.state(network, nnx.BatchStat))

    with jax.default_matmul_precision(task.recipe.precision):
        (_, (parts, statistics)), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.parameters
        )
    if axis_name is not None:
        gradient = lax.pmean(gradient, axis_name)
    return parts, statistics, gradient


def epoch_in_one(
    task: Task,
    state: State,
    data: OnDevice,
    numbers: Numbers,
    epoch: Int[Array, ""],
    axis_name: str | None = None,
) -> tuple[State, Parts]:
    """All steps of an epoch in one program; the parts of each, `(steps, ...)`."""
    permuted = order(numbers.seed, epoch, task.n_images)

    def one(state, number):
        return step(task, state, data, permuted, numbers, epoch, number, axis_name)

    return lax.scan(one, state, jnp.arange(task.steps))
