"""What a replica does with images that it does not learn from, in one program."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from ..forward import forward, unit_responses
from ..metrics.class_selectivity import class_selectivity_index
from .images import OnDevice
from .indices import CANCELLING
from .step import Numbers, Task, network_of

BATCH = 500


class Sums(NamedTuple):
    """Sums over the images of a data set; every one may have a leading axis of replicas.

    Attributes:
        loss: cross-entropy, nats.
        right: images whose largest logit is their label's.
        classes: responses of the units of each site by class, `(classes, units)` each.
        alive: whether a unit ever responds other than 0, `(units,)` each.
    """

    loss: Float[Array, ""]
    right: Int[Array, ""]
    classes: dict[str, Float[Array, "classes _"]]
    alive: dict[str, Array]


def look(
    task: Task, parameters: Any, statistics: Any, numbers: Numbers, data: OnDevice
) -> Sums:
    """Loss, accuracy and responses of a replica in evaluation mode, in full float32."""
    n_images = len(data.labels)
    size = min(BATCH, n_images)
    network = network_of(task, parameters, statistics, numbers.slope, None)

    def seen(places):
        where = places < n_images
        rows = jnp.minimum(places, n_images - 1)
        labels = data.labels[rows]
        logits, activations = forward(network, data.inputs(data.images[rows]), sites=task.sites)
        responses = {site: unit_responses(a) for site, a in activations.items()}
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        right = (logits.argmax(axis=1) == labels) & where
        # A label outside the classes counts for none.
        members = jax.nn.one_hot(jnp.where(where, labels, -1), logits.shape[1])
        members = members.astype(logits.dtype)
        return Sums(
            jnp.where(where, each, 0).sum(),
            right.sum(),
            {site: members.T @ values for site, values in responses.items()},
            {site: ((r != 0) & where[:, None]).any(axis=0) for site, r in responses.items()},
        )

    def add(total, start):
        new = seen(start + jnp.arange(size))
        alive = jax.tree.map(jnp.logical_or, total.alive, new.alive)
        sums = jax.tree.map(jnp.add, total._replace(alive={}), new._replace(alive={}))
        return sums._replace(alive=alive), None

    with jax.default_matmul_precision("float32"):
        starts = jnp.arange(0, n_images, size)
        shapes = jax.eval_shape(seen, jax.ShapeDtypeStruct((size,), starts.dtype))
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        total, _ = lax.scan(add, nothing, starts)
    return total


def summary(
    sums: Sums, labels: Int[np.ndarray, " images"]
) -> dict[str, float | list[float] | list[int]]:
    """The sums of one replica as means.

    Returns:
        `loss` (nats), `accuracy` (a fraction), and by site `index`, the mean class selectivity
        index of the units, `units`, how many there are, and `dead`, how many of them are silent
        for every image.
    """
    n_images = len(labels)
    indices, dead, units = [], [], []
    with jax.enable_x64(True):
        for site, of_classes in sums.classes.items():
            counts = np.bincount(labels, minlength=len(of_classes))
            means = np.asarray(of_classes, np.float64) / np.maximum(counts, 1)[:, None]
            index = class_selectivity_index(means, where=counts > 0, cancelling=CANCELLING)
            indices.append(float(np.mean(index)))
            units.append(of_classes.shape[1])
            dead.append(int((~np.asarray(sums.alive[site])).sum()))
    return {
        "loss": float(sums.loss) / n_images,
        "accuracy": int(sums.right) / n_images,
        "index": indices,
        "units": units,
        "dead": dead,
    }
