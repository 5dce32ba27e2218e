"""Live curves of a run: a line of JSON per replica and epoch.

The file says nothing of time, so that a run that was killed and went on ends with the same
bytes as one that was not.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .group import CURVES, Group, Standing

FILE = "curves.jsonl"


def lines(group: Group, standing: Standing, first: int) -> Iterator[str]:
    """The lines of the epochs after the `first` ones."""
    for epoch in range(first, standing.epoch):
        for i, replica in enumerate(group.replicas):
            row = {
                "epoch": epoch + 1,
                "seed": replica.seed,
                "alpha": replica.alpha,
                "slope": replica.slope,
            }
            for name in CURVES:
                value = np.asarray(standing.curves[name][epoch][i])
                of_sites = name.endswith(("_index", "_dead"))
                row[name] = (
                    dict(zip(group.sites, map(as_json, value.tolist()), strict=True))
                    if of_sites
                    else as_json(value.item())
                )
            yield json.dumps(row, allow_nan=False) + "\n"


def as_json(number: float | int) -> float | int | None:
    """The number, or None for what JSON has no word for: NaN and infinite ones.

    >>> as_json(0.5), as_json(float("nan"))
    (0.5, None)
    """
    return number if math.isfinite(number) else None


def write_curves(folder: Path, group: Group, standing: Standing) -> None:
    """Make the file what it should be at this epoch, whatever was in it."""
    unfinished = folder / f".{FILE}.unfinished"
    unfinished.write_text("".join(lines(group, standing, 0)))
    unfinished.replace(folder / FILE)


def append_curves(folder: Path, group: Group, standing: Standing) -> None:
    """Add the lines of the last epoch."""
    with (folder / FILE).open("a") as file:
        file.writelines(lines(group, standing, standing.epoch - 1))
        file.flush()
        os.fsync(file.fileno())
