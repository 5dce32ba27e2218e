"""The exact effect of ablating every unit of a site, one unit at a time.

Batch by batch an engine computes the effects; here they are summed in float64 on the host.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from ..data.dataset import Dataset
from ..memory import host_limit
from ..sites import Model
from .ablations import Ablations, some
from .effects import UnitEffects
from .engines import Engine, chosen, on_cpu
from .kept import kept_in, pairs_of, run_key
from .pairs import unfinished
from .passes import summed
from .sums import Sums
from .verify import Verification, brute_force


def ablate_units(
    model: Model,
    dataset: Dataset,
    site: str,
    *,
    units: Int[np.ndarray, " units"] | None = None,
    groups: Bool[np.ndarray, "groups units"] | None = None,
    replacement: float | Float[np.ndarray, " units"] = 0.0,
    precision: str = "float32",
    per_image: Path | None = None,
    batch_size: int = 256,
    chunk: int | None = None,
    engine: str | None = None,
    recompute: bool = True,
    verify: int = 0,
    memory: int | None = None,
    resume: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> UnitEffects:
    """Take away each unit of a site in turn, or each group of units, and say what it changes.

    Ablating a unit sets its response (its whole map, in a convolution) to `replacement` at
    the site, after the ReLU. The change of the loss is propagated (`delta`), not found by
    subtracting two losses, to a few float32 roundings of itself.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: images and labels.
        site: where the units are.
        units: which of them; all by default.
        groups: instead, units that are taken away together: one mask per group, True is
            ablated.
        replacement: 0, another number, or one value per unit (mean ablation), in the units
            of the activation: one for each of `units`; for groups one for each of the site.
        precision: of the products that the *changes* are made of: `float32`, or for speed
            `tensorfloat32` or `bfloat16` (on CPU as exact as these, but no faster), or
            `float64`, two to three times slower (on CPU and GPU, not on TPU). The intact
            network stays as exact as it is; the error that this causes is part of `error`
            in what is returned.
        per_image: a `.npy` file to write the loss change of every pair to, 4 bytes each.
        batch_size: images at a time.
        chunk: how much goes through one program at most: pairs (image, unit) in the channel
            engine, by default what fits the processor's caches; units in the generic engine,
            32 by default; rows of a product in the dense engine.
        engine: `dense` where one or two dense layers follow, `channel` and `generic`
            anywhere. By default `dense` where it fits, otherwise `channel` for maps and
            `generic` for vectors and for networks that cannot take a batch of one image.
            `channel` works image by image and refuses a network that mixes the images of a
            batch.
        recompute: whether units whose error estimate does not exclude zero are computed once
            more with changes in float64, on the CPU; what is undecided then is undecidable
            in floating point.
        verify: so many ablations, drawn at random but always the same, are done again by
            brute force in float64; see `UnitEffects.verification`.
        memory: bytes that one program may use; by default half of what its device has free.
            The compiler's own account of a program decides how much goes through at a time;
            where memory runs out all the same, half of that.
        resume: a folder to keep the sums in after every batch: the same call goes on where
            a run that was killed had come to, and ends with the same bits. A file in it is
            used only if network, images and settings are the same (all images are read once
            to know that), but for `memory`. Files stay, so that a finished run is not done
            again; they can be removed when nothing runs. Two runs at once each do all the
            work.
        progress: called with the number of pairs (image, unit) done.

    Returns:
        Sums per unit (or group) and class. Where a response already equals the replacement,
        the pair changes nothing, exactly. Batch size and chunk change the last bits at most.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: a unit that the site does not have, units and groups at once,
            replacements that do not fit, a precision or an engine that there is not, labels
            that the network has no logit for, more to verify than there is, a network that
            casts to float32 itself where float64 is asked for, one in training mode,
            numbers shorter than float32 at the site or after it, an operation after the
            site that `delta` has no rule for (the message lists those it has).
        FloatingPointError: a loss change that is NaN or infinite.
        MemoryError: a limit that not even one image or unit at a time keeps to.
        OSError: a file that cannot be written.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("cat", "dog"))
    >>> ablate_units(model, dataset, "all").loss_change[:, 0].round(3).tolist()
    [0.62, -0.38]
    """
    use, ablations = chosen(
        model,
        dataset,
        site,
        units=units,
        groups=groups,
        replacement=replacement,
        precision=precision,
        chunk=chunk,
        memory=memory,
        asked=engine,
    )
    n = len(ablations.units)
    if not 0 <= verify <= n:
        raise ValueError(f"verify must be 0 to {n}, the number of ablations; found {verify}")
    if verify and not use.verifiable:
        raise ValueError("this network casts to float32 itself: it cannot be verified")
    names = np.arange(n) if groups is not None else np.asarray(ablations.units)
    files = None
    if resume is not None:
        asked = [precision, batch_size, chunk, recompute, per_image is not None]
        asked = [*map(np.asarray, ablations), *asked]
        files = kept_in(
            Path(resume), run_key(use.name, use.network, [use.site], dataset, asked)
        )
    run = partial(
        summed,
        dataset=dataset,
        chunk=chunk,
        batch_size=batch_size,
        asked=memory,
    )
    shape = (len(dataset), n)
    with nullcontext() if per_image is None else unfinished(per_image, shape) as pairs:
        kept, of_first = None, pairs
        if files is not None:
            kept = files.first
            of_first = None if pairs is None else pairs_of(kept, files.pairs, shape)
        found = run(
            use, ablations, precision, names=names, kept=kept, pairs=of_first, progress=progress
        )
        sums, error = found.sums, found.sums.error()
        total = np.abs(sums.loss_change.sum(axis=0))
        unsure = np.flatnonzero(~(total > error) & (error != 0))
        if not (recompute and use.exact):
            unsure = unsure[:0]
        if pairs is not None and of_first is not None and of_first is not pairs:
            np.copyto(pairs, of_first)
        if len(unsure):
            shape = (len(dataset), len(unsure))
            kept, again_of = None, None if pairs is None else np.zeros(shape, np.float32)
            if files is not None:
                kept, path = files.second(unsure)
                again_of = None if pairs is None else pairs_of(kept, path, shape)
            with jax.default_device(jax.devices("cpu")[0]):
                again = run(
                    on_cpu(use),
                    some(ablations, unsure),
                    "float64",
                    names=names[unsure],
                    careful=True,
                    kept=kept,
                    pairs=again_of,
                    progress=None,
                )
            sums.put(unsure, again.sums)
            error[unsure] = again.sums.error()
            if pairs is not None:
                pairs[:, unsure] = again_of
    return UnitEffects(
        site=site,
        units=names,
        groups=groups,
        loss_change=sums.loss_change.T,
        top1_change=sums.top1_change.T.astype(np.int64),
        top5_change=sums.top5_change.T.astype(np.int64),
        error=error,
        baseline=found.intact.finish(),
        per_image=None if per_image is None else np.load(per_image, mmap_mode="r"),
        engine=use.name,
        precision=found.precision,
        replacement=replacement,
        recomputed=names[unsure],
        verification=_verified(use, dataset, ablations, names, sums, verify, batch_size),
    )


def _verified(
    engine: Engine,
    dataset: Dataset,
    ablations: Ablations,
    names: np.ndarray,
    sums: Sums,
    n: int,
    batch_size: int,
) -> Verification | None:
    """Some of the ablations by brute force, always the same ones."""
    if n == 0:
        return None
    rows = np.sort(np.random.default_rng(0).choice(len(names), n, replace=False))
    with jax.default_device(jax.devices("cpu")[0]):
        network, drawn = on_cpu(engine).network, some(ablations, rows)
        change, size, resolution = brute_force(
            network,
            dataset,
            engine.site,
            drawn,
            batch_size=batch_size,
            memory=min(engine.memory, host_limit()),
        )
    error = np.abs(sums.loss_change[:, rows].sum(axis=0) - change)
    return Verification(names[rows], change, size, error, resolution)
