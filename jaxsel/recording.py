"""Run a network over images and keep what its units did.

`forward` is one batch, inside anybody's own `jit`. `record` streams a whole data set: its
sums are float64, its memory does not grow with the number of images unless the responses
themselves are asked for (4 bytes x images x units).

What is computed once per image, the pass of the intact network, is computed in float64: a
response near a ReLU's threshold is a small difference of large terms, and in float32 a unit
that hardly ever fires would be known to four digits only. It costs next to nothing beside
an ablation, whose work per unit is float32.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .data.dataset import Dataset
from .sites import Activation, Model, Tap, untouched


def forward(
    model: Model,
    images: Float[Array, "images ..."],
    tap: Tap = untouched,
    *,
    sites: Sequence[str] | None = None,
) -> tuple[Float[Array, "images classes"], dict[str, Activation]]:
    """Logits, and the activation that left the tap at every site.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        images: preprocessed as the network was trained.
        tap: reads or edits activations on their way.
        sites: which to return; by default `model.sites` or, for a model without that
            attribute, every site it names.

    Returns:
        Logits, and activations by site, shape `(images, height, width, channels)` or
        `(images, units)`.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: the network names a site twice.

    >>> import jax.numpy as jnp
    >>> def model(images, tap):
    ...     return tap("half", images / 2) @ jnp.ones((2, 3))
    >>> logits, activations = forward(model, jnp.ones((1, 2)))
    >>> logits.tolist(), activations["half"].tolist()
    ([[1.0, 1.0, 1.0]], [[0.5, 0.5]])
    """
    seen: dict[str, Activation] = {}

    def reading(site: str, activation: Activation) -> Activation:
        if site in seen:
            raise ValueError(f"this network names the site {site!r} twice in one pass")
        seen[site] = tap(site, activation)
        return seen[site]

    logits = model(images, reading)
    wanted = tuple(getattr(model, "sites", seen)) if sites is None else tuple(sites)
    if unknown := [site for site in wanted if site not in seen]:
        raise KeyError(f"unknown site {', '.join(unknown)}: this network has {', '.join(seen)}")
    return logits, {site: seen[site] for site in wanted}


def unit_responses(
    activation: Float[Array | np.ndarray, "images ..."],
) -> Float[Array | np.ndarray, "images units"]:
    """One response per image and unit: a feature map counts by its spatial mean.

    Args:
        activation: `(images, units)`, or `(images, ..., units)` with space in between.

    Returns:
        Responses in the units of the activation. After a ReLU a map's response is 0
        exactly when the whole map is 0.

    >>> unit_responses(jax.numpy.arange(8.0).reshape(1, 2, 2, 2)).tolist()
    [[3.0, 4.0]]
    """
    return activation.reshape(activation.shape[0], -1, activation.shape[-1]).mean(axis=1)


@dataclass(frozen=True)
class UnitResponses:
    """What the units of one site did on a set of images: float64 sums over the images.

    Attributes:
        labels: class of every image.
        class_counts: images per class.
        class_sums: responses summed over the images of each class.
        sum_of_squares: squared responses summed over all images.
        zeros: images to which the response was exactly 0.
        best_image: the image with the largest response, the first of equals.
        per_image: the responses themselves, if they were asked for.
    """

    labels: Int[np.ndarray, " images"]
    class_counts: Int[np.ndarray, " classes"]
    class_sums: Float[np.ndarray, "classes units"]
    sum_of_squares: Float[np.ndarray, " units"]
    zeros: Int[np.ndarray, " units"]
    best_image: Int[np.ndarray, " units"]
    per_image: Float[np.ndarray, "images units"] | None = None

    @property
    def class_means(self) -> Float[np.ndarray, "classes units"]:
        """Mean response to the images of each class; 0 for a class without images."""
        return self.class_sums / np.maximum(self.class_counts, 1)[:, None]

    @property
    def sums(self) -> Float[np.ndarray, " units"]:
        """Responses summed over all images."""
        return self.class_sums.sum(axis=0)

    @property
    def standard_deviation(self) -> Float[np.ndarray, " units"]:
        """Unbiased standard deviation over the images; NaN for a single image."""
        n = len(self.labels)
        if n < 2:
            return np.full(self.zeros.shape, np.nan)
        return np.sqrt(np.maximum(self.sum_of_squares - self.sums**2 / n, 0) / (n - 1))


def record(
    model: Model,
    dataset: Dataset,
    sites: Sequence[str] | None = None,
    *,
    keep_responses: bool = False,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> dict[str, UnitResponses]:
    """One streaming pass over the images: what every unit of every site responded.

    The pass and its sums are float64, responses are kept as float32. Images go through in
    batches of one fixed size; the padding of the last one does not count.

    Args:
        model: called as `model(images, tap)`.
        dataset: images and labels.
        sites: which to record; by default the network's own `sites`.
        keep_responses: also keep the response of every unit to every image, 4 bytes each.
        batch_size: images at a time; changes the last bits at most.
        progress: called with the number of images done after every batch.

    Returns:
        One record per site, in the order asked for.

    Raises:
        KeyError: a site that this network does not have.

    >>> import numpy as np
    >>> dataset = Dataset(np.eye(2, dtype=np.float32), np.array([0, 1]), ("cat", "dog"))
    >>> record(lambda images, tap: tap("all", images), dataset)["all"].class_means.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    wanted = None if sites is None else tuple(sites)
    if wanted is None and hasattr(model, "sites"):
        wanted = tuple(model.sites)  # pyright: ignore[reportFunctionMemberAccess]
    sums: dict[str, _Sums] = {}
    for batch in dataset.batches(batch_size):
        _, activations = intact_pass(model, batch.images, wanted)
        for site, activation in activations.items():
            values = np.asarray(unit_responses(np.asarray(activation)[batch.where]))
            if site not in sums:
                sums[site] = _Sums(dataset, values.shape[1], keep_responses)
            sums[site].add(values, batch.labels[batch.where], batch.start)
        if progress is not None:
            progress(batch.start + batch.n_images)
    return {site: sums[site].finish() for site in (wanted or sums)}


def intact_pass(
    model: Model,
    images: Float[np.ndarray, "images ..."],
    sites: Sequence[str] | None = None,
) -> tuple[Float[Array, "images classes"], dict[str, Activation]]:
    """`forward` of the untouched network in float64, compiled.

    A network that casts to a lower precision itself stays in it, and one that mixes its
    own float32 arrays with its input in ways that float64 input breaks runs in full
    float32: the dtype of the logits says which it was.

    Args:
        model: called as `model(images, tap)`.
        images: a batch.
        sites: as in `forward`.

    Returns:
        Logits and activations by site.

    >>> logits, _ = intact_pass(lambda images, tap: images / 3, np.ones((1, 2), np.float32))
    >>> str(logits.dtype)
    'float64'
    """
    network, sites = traceable(model), None if sites is None else tuple(sites)
    if sites is None and hasattr(model, "sites"):
        sites = tuple(model.sites)  # pyright: ignore[reportFunctionMemberAccess]
    with full_precision():
        try:
            with jax.enable_x64(True):
                return _forward64(network, np.asarray(images, np.float64), sites)
        except TypeError:
            return _forward32(network, np.asarray(images, np.float32), sites)


def full_precision() -> AbstractContextManager:
    """Products in full float32, on devices too that would round them to TF32 or bfloat16."""
    return jax.default_matmul_precision("float32")


def traceable(model: Model) -> Model:
    """The model as `jax.jit` takes it as an argument.

    A network is a tree of arrays already; a plain function becomes a tree without any, so
    that the same function is compiled once and weights are never baked into a program.
    """
    if jax.tree_util.all_leaves([model]):
        return jax.tree_util.Partial(model)
    return model


def in_float64(model: Model) -> Model:
    """The model with its floating-point arrays in float64; inside `jax.enable_x64(True)`."""

    def widened(array):
        floating = jnp.issubdtype(jnp.result_type(array), jnp.floating)
        return jnp.asarray(array, jnp.float64) if floating else array

    return jax.tree.map(widened, model)


@partial(jax.jit, static_argnames="sites")
def _forward32(model, images, sites):
    return forward(model, images, sites=sites)


@partial(jax.jit, static_argnames="sites")
def _forward64(model, images, sites):
    return forward(in_float64(model), images, sites=sites)


class _Sums:
    """The running sums of one site, on the host."""

    def __init__(self, dataset: Dataset, n_units: int, keep_responses: bool):
        n_classes = len(dataset.class_names)
        self.labels = dataset.labels
        self.class_counts = np.bincount(dataset.labels, minlength=n_classes)
        self.class_sums = np.zeros((n_classes, n_units))
        self.sum_of_squares = np.zeros(n_units)
        self.zeros = np.zeros(n_units, np.int64)
        self.largest = np.full(n_units, -np.inf, np.float32)
        self.best_image = np.zeros(n_units, np.int64)
        self.per_image = (
            np.empty((len(dataset), n_units), np.float32) if keep_responses else None
        )

    def add(self, values: np.ndarray, labels: np.ndarray, start: int) -> None:
        """Count in the responses to the images from `start` on."""
        if not np.isfinite(values).all():
            row = start + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise ValueError(f"a unit's response to image {row} is NaN or infinite")
        exact = values.astype(np.float64)
        values = values.astype(np.float32)  # as ablation sees them, zeros included
        order = np.argsort(labels, kind="stable")
        present, first = np.unique(labels[order], return_index=True)
        self.class_sums[present] += np.add.reduceat(exact[order], first, axis=0)
        self.sum_of_squares += np.square(exact).sum(axis=0)
        self.zeros += (values == 0).sum(axis=0)
        best = values.argmax(axis=0)
        largest = values.max(axis=0)
        self.best_image = np.where(largest > self.largest, start + best, self.best_image)
        self.largest = np.maximum(largest, self.largest)
        if self.per_image is not None:
            self.per_image[start : start + len(values)] = values

    def finish(self) -> UnitResponses:
        """The sums as a record."""
        return UnitResponses(
            self.labels,
            self.class_counts,
            self.class_sums,
            self.sum_of_squares,
            self.zeros,
            self.best_image,
            self.per_image,
        )
