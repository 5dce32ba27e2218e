"""One group of replicas: trained, tested, their networks and numbers written."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxsel import checkpoint, fingerprint, models
from jaxsel.data import Dataset
from jaxsel.forward import forward
from jaxsel.training import (
    INDICES,
    Group,
    Index,
    Layout,
    Replica,
    Standing,
    Trained,
    assess,
    chosen,
    class_selectivity,
    finish,
    group_of,
    networks_now,
)
from jaxsel.training.curves import as_json

from .images import divided
from .settings import Config

RESULT, EPOCHS = "result.json", "epochs"


def prepared(
    config: Config, replicas: Sequence[Replica]
) -> tuple[Group, Callable[[int], nnx.Module], tuple[Dataset, Dataset, Dataset]]:
    """A group, what builds its networks, and training, validation and test images."""
    if config.sites == ():
        raise ValueError("--sites needs at least one site")
    train, validation, test = divided(config)

    def build(seed: int) -> nnx.Module:
        return models.build(config.network, seed=seed, n_classes=len(train.class_names))

    sites = watched_sites(config, build(0), train)
    group = group_of(
        build,
        train,
        validation,
        replicas,
        config.recipe,
        sites=sites,
        index=regularised_index(config),
        layout=layout(config),
    )
    return group, build, (train, validation, test)


def layout(config: Config) -> Layout:
    """Where it runs, as asked for or by the backend."""
    return chosen(stacked=config.stacked, over=config.over, parallel=config.parallel)


def regularised_index(config: Config) -> Index:
    """What the regulariser turns up or down."""
    if config.index == "class_selectivity":
        return class_selectivity(negative=config.negative)
    return INDICES[config.index]


def watched_sites(config: Config, network: Any, images: Dataset) -> tuple[str, ...]:
    """Those that were asked for, or those of convolutions, or all where there are none."""
    one = jax.ShapeDtypeStruct(images.inputs(slice(0, 1)).shape, np.float32)
    activations = jax.eval_shape(lambda x: forward(network, x, sites=config.sites)[1], one)
    if config.sites is not None:
        return config.sites
    # What comes back from JAX is in alphabetical order.
    sites = tuple(network.sites)
    return tuple(s for s in sites if len(activations[s].shape) == 4) or sites


def run_group(
    config: Config,
    replicas: Sequence[Replica],
    folder: Path,
    networks: Path,
    *,
    on_epoch: Callable[[Group, Standing], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """Train a group, or go on with it, and return a row of numbers per replica.

    Args:
        config: of the whole training.
        replicas: of the group.
        folder: for its checkpoints, curves and `result.json`.
        networks: where each replica's best network is written, as `models.load` reads it.
        on_epoch: called after every epoch.
        progress: called with images as they are trained on, times replicas.
    """
    if (folder / RESULT).is_file() and all((networks / str(r)).is_dir() for r in replicas):
        known = json.loads((folder / RESULT).read_text())
        return [{k: np.nan if v is None else v for k, v in row.items()} for row in known]
    group, build, (train, validation, test) = prepared(config, replicas)
    # Other images under the same name would be another run.
    seen = {"train": train, "validation": validation, "test": test}
    images = {name: fingerprint.of_images(dataset) for name, dataset in seen.items()}
    n_classes = len(test.class_names)

    def told(standing: Standing) -> None:
        if config.keep_every and standing.epoch % config.keep_every == 0:
            _write_epoch(config, group, standing, n_classes, networks)
        if on_epoch is not None:
            on_epoch(group, standing)

    trained = finish(
        group, build, folder, config.settings | images, on_epoch=told, progress=progress
    )
    tested = assess(group, trained, test)
    rows = [_row(group, one, seen) for one, seen in zip(trained, tested, strict=True)]
    if jax.process_index() == 0:
        for one in trained:
            place = networks / str(one.replica)
            if place.exists():  # killed between this and its result: the same once more
                shutil.rmtree(place)
            _write_network(config, one.network, (one.replica, one.best_epoch), n_classes, place)
        unfinished = folder / f".{RESULT}.unfinished"
        known = [{k: as_json(v) for k, v in row.items()} for row in rows]
        unfinished.write_text(json.dumps(known, indent=1, allow_nan=False) + "\n")
        unfinished.replace(folder / RESULT)
    return rows


def _row(group: Group, one: Trained, tested: dict[str, Any]) -> dict[str, Any]:
    replica, curves = one.replica, one.curves
    at_best = max(one.best_epoch - 1, 0)
    row = {
        "seed": replica.seed,
        "alpha": replica.alpha,
        "slope": replica.slope,
        "best_epoch": one.best_epoch,
        "finite": bool(np.isfinite(curves["train_loss"]).all()),
        "train_loss": float(curves["train_loss"][-1]),
        "train_accuracy": float(curves["train_accuracy"][-1]),
        "validation_loss": float(curves["validation_loss"][at_best]),
        "validation_accuracy": float(curves["validation_accuracy"][at_best]),
        "test_loss": tested["loss"],
        "test_accuracy": tested["accuracy"],
        "index": float(np.mean(tested["index"])),
        "dead": sum(tested["dead"]) / sum(tested["units"]),
    }
    for name in ("index", "dead"):
        row |= {f"{name}_{s}": v for s, v in zip(group.sites, tested[name], strict=True)}
    return row


def epoch_folder(networks: Path, replica: Replica, epoch: int) -> Path:
    """Where `keep_every` puts a network.

    Args:
        networks: the folder of the best ones.
        replica: which.
        epoch: after which, 0 for before the first.
    """
    return networks.parent / EPOCHS / str(replica) / f"{epoch:05d}"


def _write_epoch(
    config: Config, group: Group, standing: Standing, n_classes: int, networks: Path
) -> None:
    """The networks as they are now; those that a killed run has written are the same."""
    now = networks_now(group, standing)
    if jax.process_index() != 0:
        return
    for replica, network in zip(group.replicas, now, strict=True):
        place = epoch_folder(networks, replica, standing.epoch)
        if not place.exists():
            _write_network(config, network, (replica, standing.epoch), n_classes, place)


def _write_network(
    config: Config,
    network: nnx.Module,
    which: tuple[Replica, int],
    n_classes: int,
    place: Path,
) -> None:
    replica, epoch = which
    settings: dict[str, Any] = {"n_classes": n_classes}
    if replica.slope:
        settings["slope"] = replica.slope
    manifest = {
        "network": config.network,
        "settings": settings,
        "parameters": models.n_parameters(network),
        "preprocess": config.preprocess,
        "source": f"trained by jaxsel: {replica}, epoch {epoch}",
        "recipe": config.settings,
    }
    checkpoint.write(place, models.arrays_of(network), manifest)
