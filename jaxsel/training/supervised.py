"""Plain supervised training of a small network, a Python loop over one compiled step.

A loop rather than a scan: on the CPU a convolution's weight gradient inside a scan is eight
times slower and more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import optax
from flax import nnx

from ..data.dataset import Dataset
from ..evaluation import evaluate
from ..sites import untouched


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained network and how it came about.

    Attributes:
        model: the network after the last epoch.
        train_loss: mean cross-entropy over the batches of each epoch, nats.
        validation_accuracy: after each epoch, a fraction.
    """

    model: nnx.Module
    train_loss: tuple[float, ...]
    validation_accuracy: tuple[float, ...]


def fit(
    model: nnx.Module,
    train: Dataset,
    validation: Dataset,
    *,
    rng: np.random.Generator,
    stop_at: float = 1.0,
    max_epochs: int = 50,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    progress: Callable[[int, float], None] | None = None,
) -> Fit:
    """Train with Adam on the cross-entropy until the validation accuracy is reached.

    Args:
        model: a network without state besides its parameters; it is left as it is.
        train: images to learn from, shuffled every epoch. What is left over after the
            last whole batch of an epoch is left out of that epoch.
        validation: images that decide when to stop.
        rng: draws the order of the images.
        stop_at: stop after the first epoch with at least this validation accuracy, a
            fraction.
        max_epochs: stop after so many in any case.
        batch_size: images per step.
        learning_rate: Adam's.
        progress: called after every epoch with their number and the validation accuracy.

    Returns:
        The network and its history; whether `stop_at` was reached is in the last entry of
        `validation_accuracy`.

    Raises:
        FloatingPointError: the loss is NaN or infinite.
    """
    graph, parameters = nnx.split(model)
    optimiser = optax.adam(learning_rate)
    state = optimiser.init(parameters)
    size = min(batch_size, len(train))
    losses, accuracies = [], []
    for epoch in range(max_epochs):
        order = rng.permutation(len(train))
        epoch_losses = []
        for start in range(0, len(train) - size + 1, size):
            rows = order[start : start + size]
            loss, parameters, state = _step(
                graph, optimiser, parameters, state, train.inputs(rows), train.labels[rows]
            )
            epoch_losses.append(loss)
        losses.append(float(np.mean(jax.device_get(epoch_losses))))
        if not np.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss is {losses[-1]} in epoch {epoch + 1}")
        trained = nnx.merge(graph, parameters, copy=True)
        accuracies.append(evaluate(trained, validation).accuracy())
        if progress is not None:
            progress(epoch + 1, accuracies[-1])
        if accuracies[-1] >= stop_at:
            break
    return Fit(nnx.merge(graph, parameters, copy=True), tuple(losses), tuple(accuracies))


@partial(jax.jit, static_argnums=(0, 1))
def _step(graph, optimiser, parameters, state, images, labels):
    def loss(parameters):
        logits = nnx.merge(graph, parameters, copy=True)(images, untouched)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    value, gradient = jax.value_and_grad(loss)(parameters)
    updates, state = optimiser.update(gradient, state, parameters)
    return value, optax.apply_updates(parameters, updates), state
