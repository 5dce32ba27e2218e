"""Train many replicas of a network that differ in seed, alpha and slope only."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..data.dataset import Dataset
from .group import Group, Standing, advance, beginning, fetched, group_of
from .images import for_device
from .indices import Index
from .layout import Layout
from .monitor import look, summary
from .programs import Best
from .recipe import Recipe, Replica
from .step import State, network_of, numbers_of


@dataclass(frozen=True, eq=False)
class Trained:
    """A replica after its last epoch.

    Attributes:
        replica: which.
        network: with the parameters of its best epoch, in evaluation mode.
        best_epoch: epochs after which validation was best, from 1; 0 if it was never finite.
        curves: numbers after every epoch by name (`jaxsel.training.CURVES`), `(epochs,)` or
            `(epochs, sites)`.
    """

    replica: Replica
    network: nnx.Module
    best_epoch: int
    curves: Mapping[str, np.ndarray]


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
    on_epoch: Callable[[Standing], None] | None = None,
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
        on_epoch: called after every epoch with where the replicas stand.

    Returns:
        The replicas, in their order.

    Raises:
        ValueError: no replica; slopes for a network that takes none, alphas for one without
            sites; layers that look across images other than `jaxsel.models.BatchNorm`, or that
            have a state, such as Dropout; labels beyond the logits.
        KeyError: an unknown site.

    Warns:
        UserWarning: a replica's training loss became NaN or infinite.

    >>> from .. import data, models
    >>> from ..data import stratified
    >>> learn, validate, _ = stratified(data.digits(), (0.1, 0.1, 0.8), seed=0)
    >>> build = lambda seed: models.build("mlp", seed=seed, n_inputs=64, widths=(8,))
    >>> recipe = Recipe(epochs=1, batch_size=60, augment="none", drops=())
    >>> (one,) = train_replicas(build, learn, validate, [Replica(0, -1.0)], recipe)
    >>> one.best_epoch, one.curves["train_loss"].shape
    (1, (1,))
    """
    group = group_of(
        build, train, validation, replicas, recipe, sites=sites, index=index, layout=layout
    )
    standing = beginning(group, build)
    while standing.epoch < recipe.epochs:
        standing = advance(group, standing)
        if on_epoch is not None:
            on_epoch(standing)
    return trained_replicas(group, standing)


def trained_replicas(group: Group, standing: Standing) -> list[Trained]:
    """The replicas of a group as they are now."""
    found = []
    for i, run in fetched(group, standing).items():
        replica = group.replicas[i]
        network = _network(group, replica, run.best)
        curves = {name: np.array(rows)[:, i] for name, rows in standing.curves.items()}
        if not np.isfinite(curves["train_loss"]).all():
            warnings.warn(
                f"the training loss of {replica} became NaN or infinite; its network is that "
                f"of epoch {int(run.best.epoch)}",
                stacklevel=3,
            )
        found.append(Trained(replica, network, int(run.best.epoch), curves))
    return found


def networks_now(group: Group, standing: Standing) -> list[nnx.Module]:
    """The networks of a group after the last epoch that is done, the best or not.

    In evaluation mode, in the order of the replicas; for `on_epoch`, before the first epoch
    too. Of several processes, each must ask.
    """
    runs = fetched(group, standing)
    return [_network(group, group.replicas[i], run.state) for i, run in runs.items()]


def _network(group: Group, replica: Replica, then: State | Best) -> nnx.Module:
    """A replica with the parameters and statistics of some moment."""
    parameters, statistics = jax.tree.map(jnp.asarray, (then.parameters, then.statistics))
    return network_of(group.task(replica), parameters, statistics, replica.slope, None)


def assess(
    group: Group, trained: Sequence[Trained], dataset: Dataset
) -> list[dict[str, float | list[float] | list[int]]]:
    """What every replica's best parameters do with a data set, such as the test images.

    Returns:
        One dictionary per replica: `loss` (nats), `accuracy` (a fraction), and by site `index`
        (mean class selectivity index of the units) and `dead` (units silent for every image).
    """
    data = jax.tree.map(jnp.asarray, for_device(dataset))
    found = []
    programs = {kind: jax.jit(partial(look, task)) for kind, task in group.tasks.items()}
    for one in trained:
        _, parameters, statistics = nnx.split(one.network, nnx.Param, nnx.BatchStat)
        program = programs[one.replica.slope != 0]
        sums = jax.device_get(program(parameters, statistics, numbers_of(one.replica), data))
        found.append(summary(sums, dataset.labels))
    return found
