"""Where a run of replicas stands, kept on disk so that it can go on after a kill.

A folder has one checkpoint per kept epoch (`epoch00012/`, see `jaxsel.checkpoint`: written
beside, then renamed, with a checksum of every byte). What is random in training follows from
seeds and the number of the epoch, so that these are all there is to keep of it.
"""

import dataclasses
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import checkpoint
from .group import CURVES, Group, Standing, fetched, placed
from .programs import Run

KEPT = 2


def save(
    folder: Path,
    group: Group,
    standing: Standing,
    settings: Mapping[str, Any],
    *,
    keep: int = KEPT,
) -> None:
    """Keep where a group stands, and remove all but the last checkpoints.

    The parameters of every replica's best epoch are part of each checkpoint, so that what is
    removed is never the best.

    Args:
        folder: of the group; made if it is not there.
        group: which.
        standing: where it stands.
        settings: what the run is, as JSON has it: a run with others is not gone on with.
        keep: checkpoints to keep, at least 1.

    Raises:
        OSError: it cannot be written; the checkpoints before it are whole.
    """
    runs = fetched(group, standing)  # of several processes, all take part
    if jax.process_index() != 0:
        return
    leaves = [jax.tree.leaves(runs[i]) for i in range(len(runs))]
    stacked = {str(k): np.stack(x) for k, x in enumerate(zip(*leaves, strict=True))}
    curves = {name: np.array(values) for name, values in standing.curves.items()}
    curves = {name: values for name, values in curves.items() if values.size}  # no site, none
    manifest = {
        "network": "replicas",
        "settings": _settings(group, settings),
        "parameters": sum(x.size for x in stacked.values()),
        "epoch": standing.epoch,
        "replicas": [list(replica) for replica in _as_rows(group)],
    }
    place = folder / f"epoch{standing.epoch:05d}"
    if place.exists():  # a run that went on from an earlier one comes by again
        shutil.rmtree(place)
    try:
        checkpoint.write(place, {"runs": stacked, "curves": curves}, manifest)
    except OSError as error:
        kept = [path.name for path in _found(folder)]
        rest = f"; {kept[-1]} is whole, and a run goes on from it" if kept else ""
        raise OSError(
            f"the checkpoint {place} cannot be written: {error.strerror or error}{rest}"
        ) from error
    # Those of later epochs were passed over, when this run went on from an earlier one.
    later = [path for path in _found(folder) if _epoch(path) > standing.epoch]
    for old in [*_found(folder)[: -keep - len(later)], *later]:
        shutil.rmtree(old)


def resume(
    folder: Path, group: Group, settings: Mapping[str, Any], outline: Run
) -> Standing | None:
    """Bring a group to where the last good checkpoint left it, on any layout.

    A checkpoint that is damaged is left out with a warning, for the one before it.

    Args:
        folder: of the group.
        group: its replicas must be those of the checkpoint.
        settings: as in `save`.
        outline: any replica's run, for the shape of the tree.

    Returns:
        Where the group stands; None if there is no checkpoint.

    Raises:
        ValueError: the checkpoint is of other settings or replicas, or all are damaged.
    """
    if jax.process_index() == 0:
        _tidy(folder)
    found = _found(folder)
    for path in reversed(found):
        try:
            manifest, arrays = checkpoint.read(path)
        except (ValueError, OSError) as error:
            warnings.warn(f"not gone on from: {error}", stacklevel=2)
            continue
        _refuse_others(path, manifest, group, settings)
        tree = jax.tree.structure(outline)
        stacked = [arrays["runs"][str(k)] for k in range(tree.num_leaves)]
        now = [(np.shape(leaf), np.result_type(leaf)) for leaf in jax.tree.leaves(outline)]
        if [(leaf.shape[1:], leaf.dtype) for leaf in stacked] != now:
            raise ValueError(f"{path} is of a network of another shape: use another folder")
        runs: dict[int, Run] = {
            i: jax.tree.unflatten(tree, [leaf[i] for leaf in stacked])
            for i in range(len(group.replicas))
        }
        nothing = np.zeros((manifest["epoch"], len(group.replicas), 0))
        curves = {name: tuple(arrays["curves"].get(name, nothing)) for name in CURVES}
        return Standing(manifest["epoch"], placed(group, runs), curves)
    if found:
        raise ValueError(
            f"none of the {len(found)} checkpoints in {folder} can be read: remove them to "
            "begin anew"
        )
    return None


def _refuse_others(path, manifest, group, settings):
    rows = [list(row) for row in _as_rows(group)]
    if manifest.get("replicas") != rows:
        raise ValueError(f"{path} is of other replicas: use another folder for these")
    then = manifest["settings"]
    now = _settings(group, settings)
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            raise ValueError(
                f"{path} was written with {name} = {then.get(name)!r}, this run has "
                f"{now.get(name)!r}: use another folder, or the same settings"
            )


def _settings(group: Group, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of the run, and what the group itself says, as JSON gives it back."""
    own = {
        "recipe": dataclasses.asdict(group.recipe),
        "sites": group.sites,
        "training_images": group.task(group.replicas[0]).n_images,
    }
    return json.loads(json.dumps(own | dict(settings)))


def _as_rows(group):
    return [(r.seed, r.alpha, r.slope) for r in group.replicas]


def _found(folder: Path) -> list[Path]:
    """The checkpoints, in the order of their epochs."""
    found = [path for path in folder.glob("epoch*") if path.is_dir()]
    return sorted((path for path in found if path.name[5:].isdigit()), key=_epoch)


def _epoch(path: Path) -> int:
    return int(path.name[5:])


def _tidy(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for rest in folder.glob(".epoch*.unfinished-*"):
        shutil.rmtree(rest, ignore_errors=True)
