"""Which engine ablates, by what follows the site."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np

from ..data.dataset import Batch, Dataset
from ..delta.products import check_precision
from ..intact import full_precision, traceable
from ..memory import check_limit, host_limit
from ..mixing import mixes_images
from ..sites import Model
from .ablations import Ablations
from .channel import channel_engine
from .checks import activation_shape, asked_for, refuse_short_numbers, takes_one_image
from .dense import dense_engine
from .generic import generic_engine
from .head import Dense, dense_head
from .programs import runs_in_float64
from .sizes import Sizes
from .sums import Pass

ENGINES = ("dense", "channel", "generic")


@dataclass(frozen=True)
class Engine:
    """An engine for one site of one network.

    Attributes:
        name: one of `ENGINES`.
        network: as `traceable` gives it.
        site: where the units are.
        image: the shape of one.
        head: what follows the site, for the dense engine.
        memory: bytes that a program may use.
        exact: whether changes can be computed in float64.
        verifiable: whether the network as a whole runs in float64.
    """

    name: str
    network: Model
    site: str
    image: tuple[int, ...]
    head: tuple[Dense, ...] | None
    memory: int
    exact: bool
    verifiable: bool


def chosen(
    model: Model,
    dataset: Dataset,
    site: str,
    *,
    units: np.ndarray | None,
    groups: np.ndarray | None,
    replacement: float | np.ndarray,
    precision: str,
    chunk: int | None,
    memory: int | None,
    asked: str | None,
) -> tuple[Engine, Ablations]:
    """The engine asked for, or the fastest that fits what follows the site; what it ablates.

    Args:
        model: as in `ablate_units`, as is all that follows.
        dataset: images, for their shape.
        site: where the units are.
        units: which of them.
        groups: instead.
        replacement: of their responses.
        precision: of the products of changes.
        chunk: how much goes through one program.
        memory: bytes that one program may use.
        asked: name of an engine, or None.

    Raises:
        KeyError, ValueError: what cannot be done, before anything is.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1; found {chunk}")
    limit = check_limit(memory)
    if asked not in (None, *ENGINES):
        raise ValueError(f"engine must be {', '.join(ENGINES)} or None; found {asked!r}")
    check_precision(precision)
    activation = activation_shape(model, dataset, site)
    ablations = asked_for(units, groups, replacement, activation.shape[-1], site)
    image = dataset.inputs(slice(0, 1))
    shape = image.shape[1:]
    network, head = traceable(model), None
    if groups is None:
        with full_precision():  # a weight may be a product itself
            head = dense_head(model, image, site, activation)
    if asked == "dense" and head is None:
        raise ValueError(
            f"the dense engine is for one or two dense layers with a ReLU between them after "
            f"the site, and single units: more or something else follows {site}"
        )
    refuse_short_numbers(network, shape, site, activation)
    alone = takes_one_image(network, shape)
    maps = len(activation.shape) > 2 and alone
    name = asked or ("dense" if head is not None else "channel" if maps else "generic")
    if name == "channel" and mixes_images(network, shape):
        raise ValueError(
            "what this network makes of an image depends on the others of its batch, as "
            "BatchNorm in training mode does: put it into evaluation mode, or ask for "
            "engine='generic'"
        )
    if name == "channel" and not alone:
        raise ValueError(
            "the channel engine takes image by image, but of a single one this network "
            "makes no batch of one: engine='generic' takes batches"
        )
    verifiable = runs_in_float64(network, site, shape)
    # The dense engine computes what follows the site itself, in float64.
    exact = name == "dense" or verifiable
    return Engine(name, network, site, shape, head, limit, exact, verifiable), ablations


def started(
    engine: Engine,
    ablations: Ablations,
    precision: str,
    sizes: Sizes,
    *,
    careful: bool = False,
) -> Callable[[Batch], Pass]:
    """A function from a batch to the effects of its ablations.

    Args:
        engine: which.
        ablations: units or groups of them.
        precision: of the products of changes.
        sizes: of its programs. What is not there yet is chosen from the first batch and
            added: with the same sizes the same bits come out.
        careful: whether the error of every pair is measured, not only estimated; see
            `condition.py`. The dense engine only estimates it, from all terms of its sums.

    Raises:
        ValueError: changes in float64 of a network that casts to float32 itself.
    """
    if precision == "float64" and not engine.exact:
        raise ValueError(
            "this network casts to float32 itself: its changes cannot be had in float64"
        )
    network, site, memory = engine.network, engine.site, engine.memory
    if engine.name == "dense":
        assert engine.head is not None
        return dense_engine(network, site, ablations, engine.head, precision, sizes, memory)
    if engine.name == "channel":
        of_images = (site, ablations, engine.image)
        run = partial(channel_engine, network, *of_images)
    else:
        run = partial(generic_engine, network, site, ablations)
    return run(precision, sizes, memory, careful=careful)


def on_cpu(engine: Engine) -> Engine:
    """The same with its arrays on the CPU, the one device that is sure to have float64."""
    if jax.default_backend() == "cpu":
        return engine
    cpu = jax.devices("cpu")[0]
    network, head = jax.device_put((engine.network, engine.head), cpu)
    memory = min(engine.memory, host_limit())
    return replace(engine, network=network, head=head, memory=memory)
