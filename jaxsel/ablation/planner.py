"""What an ablation will take, from a few of its images.

The engine runs on small batches of images from all over the data set: the first compiles, the
others say how long an image takes. All else is counted.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ..data.dataset import Batch, Dataset
from ..sites import Model
from .engines import chosen, started
from .sizes import Sizes
from .sums import Pass
from .work import flop_after

# Images of a batch that is timed, and how many batches are timed at least.
IMAGES, BATCHES = 16, 2


@dataclass(frozen=True)
class Plan:
    """What the ablation of the units of a site will take.

    Attributes:
        site: where the units are.
        engine: that will be used.
        pairs: of image and unit.
        flop: operations of the products after the site, were they done for every pair.
        result_bytes: of the sums per unit and class, in host memory.
        program_bytes: what the largest program that was tried needs, by its compiler's
            account; it was tried with 16 images.
        compile_seconds: until the first batch was through, less what a batch takes.
        seconds: for all images, compiling included.
    """

    site: str
    engine: str
    pairs: int
    flop: float
    result_bytes: int
    program_bytes: int
    compile_seconds: float
    seconds: float


def plan_units(
    model: Model,
    dataset: Dataset,
    site: str,
    *,
    units: Int[np.ndarray, " units"] | None = None,
    groups: Bool[np.ndarray, "groups units"] | None = None,
    replacement: float | Float[np.ndarray, " units"] = 0.0,
    precision: str = "float32",
    chunk: int | None = None,
    engine: str | None = None,
    memory: int | None = None,
    calibration: float = 1.0,
    run: bool = True,
) -> Plan:
    """How long `ablate_units` will take, and what it needs.

    Args:
        model: as in `ablate_units`, as are all that are not mentioned here.
        dataset: all images; some are run.
        site: where the units are.
        units: which of them.
        groups: instead.
        replacement: of their responses.
        precision: of the products of changes.
        chunk: how much goes through one program.
        engine: asked for.
        memory: bytes that one program may use.
        calibration: seconds to time, after compiling; more tell more exactly.
        run: whether to time anything; otherwise all that takes running is 0.

    Returns:
        The plan. Units that must be computed again in float64 are not in it, nor is reading
        the images where that takes longer than for those that were read.

    Raises:
        KeyError, ValueError: as `ablate_units` does.

    >>> model = lambda images, tap: tap("all", images)
    >>> dataset = Dataset(np.ones((1000, 2), np.float32), np.zeros(1000, int), ("cat", "dog"))
    >>> plan_units(model, dataset, "all").pairs
    2000
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
    n_ablations, n_images = len(ablations.units), len(dataset)
    sizes: Sizes = {} if chunk is None else {"chunk": chunk}
    compiling, per_image = 0.0, 0.0
    if run:
        begun = time.perf_counter()
        of_batch = started(use, ablations, precision, sizes)
        compiling, per_image = _calibrated(of_batch, dataset, begun, calibration)
    return Plan(
        site=site,
        engine=use.name,
        pairs=n_ablations * n_images,
        flop=flop_after(use.network, use.image, site) * n_ablations * n_images,
        result_bytes=3 * 8 * n_ablations * len(dataset.class_names),
        program_bytes=sizes.get("bytes", 0),
        compile_seconds=compiling,
        seconds=compiling + per_image * n_images,
    )


def _calibrated(
    of_batch: Callable[[Batch], Pass], dataset: Dataset, begun: float, least: float
) -> tuple[float, float]:
    """Seconds until the first batch was through, less what one takes; and those per image."""
    n_images = len(dataset)
    size = min(IMAGES, n_images)
    spread = np.random.default_rng(0).permutation(n_images)
    taken: list[float] = []
    for start in range(0, n_images, size):
        rows = np.resize(spread[start : start + size], size)
        (batch,) = dataset.take(rows).batches(size)
        for _ in of_batch(batch).blocks:
            pass
        now = time.perf_counter()
        taken.append(now - begun)
        begun = now
        if len(taken) > BATCHES and sum(taken[1:]) >= least:
            break
    per_batch = float(np.median(taken[1:] or taken))
    return max(taken[0] - per_batch, 0.0), per_batch / size
