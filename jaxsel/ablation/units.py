"""The exact effect of ablating every unit of a site, one unit at a time.

Per batch of images the network runs once, in float64. What follows the site is then walked
by `delta` for a chunk of units together: what does not depend on the unit stays float64, only
what changes is computed per unit, in full float32. The changes of the loss are summed in
float64 on the host.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..data.dataset import Dataset
from ..delta.loss import (
    ROUNDINGS,
    cross_entropy_change,
    cross_entropy_change_error,
    label_rank,
)
from ..delta.transform import delta
from ..forward import forward
from ..intact import full_precision, in_float64, intact_pass, traceable
from ..sites import Model, replaced
from .baseline import BaselineSums
from .effects import UnitEffects


def ablate_units(
    model: Model,
    dataset: Dataset,
    site: str,
    *,
    units: Int[np.ndarray, " units"] | None = None,
    replacement: float | Float[np.ndarray, " units"] = 0.0,
    per_image: Path | None = None,
    batch_size: int = 256,
    chunk: int = 32,
    progress: Callable[[int], None] | None = None,
) -> UnitEffects:
    """Take away each unit of a site in turn and say what it changes, exactly.

    Ablating a unit sets its response (its whole map, in a convolution) to `replacement` at
    the site, after the ReLU. The change of the loss is propagated (`delta`), not found by
    subtracting two losses, to a few float32 roundings of itself.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        site: where the units are.
        units: which of them; all by default.
        replacement: 0, another number, or one value per unit (mean ablation), in the units
            of the activation.
        per_image: a `.npy` file to write the loss change of every pair to, 4 bytes each.
        batch_size: images at a time.
        chunk: units at a time. Memory grows with `batch_size * chunk` times the largest
            activation after the site.
        progress: called with the number of pairs (image, unit) done.

    Returns:
        Sums per unit and class. Where a response already equals the replacement, the pair
        changes nothing, exactly. Batch size and chunk change the last bits at most.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: a unit that the site does not have, replacements that do not fit, labels
            that the network has no logit for, a network in bfloat16, an operation after the
            site that `delta` has no rule for (`delta.rules` lists those it has).
        FloatingPointError: a loss change that is NaN or infinite.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("cat", "dog"))
    >>> ablate_units(model, dataset, "all").loss_change[:, 0].round(3).tolist()
    [0.62, -0.38]
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1; found {chunk}")
    n_units = _unit_count(model, dataset, site)
    chosen = np.arange(n_units) if units is None else np.asarray(units)
    _check_units(chosen, n_units, site)
    values = _one_per_unit(replacement, len(chosen))
    n_classes = len(dataset.class_names)
    intact, sums = BaselineSums(n_classes), _Sums(len(chosen), n_classes)
    network, chunk = traceable(model), min(chunk, len(chosen))
    precisions = set()
    with _pair_file(per_image, (len(dataset), len(chosen))) as pairs:
        for batch in dataset.batches(batch_size):
            logits, activations = intact_pass(network, batch.images, (site,))
            members = intact.add(np.asarray(logits), batch)
            logits, activation = _same_precision(logits, activations[site], site)
            precisions.add(str(logits.dtype))
            known = (network, batch.images, batch.labels, logits, activation)
            images = slice(batch.start, batch.start + batch.n_images)
            for start in range(0, len(chosen), chunk):
                rows = np.arange(start, min(start + chunk, len(chosen)))
                padded = np.resize(rows, chunk)
                found = _changes(*known, chosen[padded], values[padded], site)
                change, *others = (np.asarray(array)[: len(rows)] for array in found)
                _refuse_no_number(change[:, batch.where], chosen[rows], site)
                sums.add(rows, members, change, *others)
                if pairs is not None:
                    pairs[images, rows] = change[:, batch.where].T
                if progress is not None:
                    progress(images.start * len(chosen) + (rows[-1] + 1) * batch.n_images)
    return UnitEffects(
        site=site,
        units=chosen,
        loss_change=sums.loss_change,
        top1_change=sums.top1_change.astype(np.int64),
        top5_change=sums.top5_change.astype(np.int64),
        error=sums.error,
        baseline=intact.finish(),
        per_image=None if per_image is None else np.load(per_image, mmap_mode="r"),
        engine="generic",
        precision=f"float32 changes of {' and '.join(sorted(precisions))} values",
        replacement=replacement,
    )


def _same_precision(logits: jax.Array, activation: jax.Array, site: str):
    """Both in float64 or, where the network itself casts either to float32, both in that."""
    for name, array in (("logits", logits), (site, activation)):
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"{name} of this network is {array.dtype}: ablation needs float32, as its "
                "changes are far below the resolution of anything shorter"
            )
    if logits.dtype == activation.dtype:
        return logits, activation
    return logits.astype(np.float32), activation.astype(np.float32)


def _changes(model, images, labels, logits, activation, units, values, site):
    """`_traced_changes` in the precision of the intact pass."""
    exact = logits.dtype == np.float64
    with full_precision(), jax.enable_x64(exact):
        if exact:
            images = np.asarray(images, np.float64)
        return _traced_changes(model, images, labels, logits, activation, units, values, site)


@partial(jax.jit, static_argnames="site")
def _traced_changes(model, images, labels, logits, activation, units, values, site):
    """Loss change, its error, top-1 and top-5 change, each `(units, images)`.

    Whatever does not depend on the unit has the precision of the activation; changes are
    float32. In float32 throughout, a unit whose small response just crosses a threshold
    after it would be known to a few digits only.
    """
    if logits.dtype == jnp.float64:
        model = in_float64(model)

    def after(replaced_activation):
        return model(images, replaced(site, replaced_activation))

    before, largest = label_rank(logits, labels), _largest(activation)
    tolerance = ROUNDINGS * float(jnp.finfo(jnp.float32).eps) / 2

    def of_unit(unit, value):
        ablated = jnp.arange(activation.shape[-1]) == unit
        moved = jnp.where(ablated, value - activation, 0).astype(jnp.float32)
        change = delta(after, strict=True)(activation, moved)
        loss_change = cross_entropy_change(logits, labels, change)
        rank = label_rank(logits, labels, change, tolerance=tolerance)
        # A response is known to some roundings of the largest one; its own relative error
        # goes straight into its effect.
        own = _largest(value - activation[..., unit])
        known_to = ROUNDINGS * float(jnp.finfo(activation.dtype).eps) / 2 * largest
        by_response = (known_to / jnp.where(own == 0, 1, own)).astype(jnp.float32)
        return (
            loss_change,
            cross_entropy_change_error(logits, labels, change)
            + by_response * jnp.abs(loss_change),
            (rank < 1).astype(jnp.int8) - (before < 1).astype(jnp.int8),
            (rank < 5).astype(jnp.int8) - (before < 5).astype(jnp.int8),
        )

    return jax.vmap(of_unit)(units, values)


def _refuse_no_number(change: np.ndarray, units: np.ndarray, site: str) -> None:
    finite = np.isfinite(change).all(axis=1)
    if not finite.all():
        raise FloatingPointError(
            f"the loss change of unit {units[~finite][0]} of {site} is NaN or infinite"
        )


class _Sums:
    """The running float64 sums of an ablation, per unit and class."""

    def __init__(self, n_units: int, n_classes: int):
        self.loss_change = np.zeros((n_units, n_classes))
        self.top1_change = np.zeros((n_units, n_classes))
        self.top5_change = np.zeros((n_units, n_classes))
        self.error = np.zeros(n_units)

    def add(self, rows, members, change, error, top1, top5) -> None:
        """Count in a chunk of units over a batch of images."""
        self.loss_change[rows] += change.astype(np.float64) @ members
        self.error[rows] += error.astype(np.float64) @ members.sum(axis=1)
        self.top1_change[rows] += top1 @ members
        self.top5_change[rows] += top5 @ members


def _largest(activation: jax.Array) -> jax.Array:
    """The largest magnitude in each image's activation."""
    return jnp.abs(activation).max(axis=tuple(range(1, activation.ndim)))


def _unit_count(model: Model, dataset: Dataset, site: str) -> int:
    image = jax.ShapeDtypeStruct(dataset.inputs(slice(0, 1)).shape, np.float32)
    _, activations = jax.eval_shape(lambda images: forward(model, images, sites=(site,)), image)
    return activations[site].shape[-1]


def _check_units(units: np.ndarray, n_units: int, site: str) -> None:
    if units.ndim != 1 or not len(units) or units.dtype.kind not in "iu":
        raise ValueError("units must be a list of at least one unit's number")
    if units.min() < 0 or units.max() >= n_units:
        raise ValueError(
            f"{site} has the units 0 to {n_units - 1}; found {units.min()} to {units.max()}"
        )


def _one_per_unit(replacement: float | np.ndarray, n_units: int) -> np.ndarray:
    values = np.asarray(replacement, np.float64)
    if values.ndim and values.shape != (n_units,):
        raise ValueError(
            f"replacement must be one number or one per unit, {n_units} here; found "
            f"shape {values.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError("a replacement is NaN or infinite")
    return np.broadcast_to(values, (n_units,))


@contextmanager
def _pair_file(path: Path | None, shape: tuple[int, int]) -> Iterator[np.ndarray | None]:
    """A memory-mapped array that gets its name when it is complete."""
    if path is None:
        yield None
        return
    unfinished = Path(path).with_name(f".{Path(path).name}.unfinished")
    try:
        array = np.lib.format.open_memmap(unfinished, "w+", np.float32, shape=shape)
        yield array
        array.flush()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
