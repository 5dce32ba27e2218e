"""One table of all replicas, however they were cut into groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel.report import write_parquet

MEANINGS = {
    "seed": "of initial parameters, order and augmentation",
    "alpha": "weight of the regulariser, nats per unit of the index",
    "slope": "of the leaky ReLU below 0",
    "best_epoch": "epochs after which validation was best; its parameters are tested; 0: never",
    "finite": "whether the training loss was a number in every epoch",
    "train_loss": "cross-entropy in the last epoch, nats",
    "train_accuracy": "in the last epoch, a fraction",
    "validation_loss": "cross-entropy at the best epoch, nats",
    "validation_accuracy": "at the best epoch, a fraction",
    "test_loss": "cross-entropy on the test images, nats",
    "test_accuracy": "on the test images, a fraction",
    "index": "mean over sites of the mean class selectivity index of their units, test images",
    "dead": "share of the units of all sites that are silent for every test image",
}


def meaning(name: str) -> str:
    """What a column holds."""
    if name in MEANINGS:
        return MEANINGS[name]
    kind, _, site = name.partition("_")
    if kind == "index":
        return f"mean class selectivity index of the units of {site}, test images"
    return f"units of {site} that are silent for every test image"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The rows as a parquet file, there whole or not at all."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    unfinished = path.with_name(f".{path.name}.unfinished")
    write_parquet(unfinished, columns, {name: meaning(name) for name in columns})
    unfinished.replace(path)


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Means over seeds, for people.

    >>> row = {"alpha": 0.0, "slope": 0.0, "index": 0.25, "dead": 0.0, "finite": True}
    >>> print(summary([row | {"test_accuracy": 0.5}, row | {"test_accuracy": 0.7}]))
    alpha  slope  replicas  test accuracy    mean index  dead units
        0      0         2  60.0 +- 14.1 %   0.250       0.0 %
    """
    text = ["alpha  slope  replicas  test accuracy    mean index  dead units"]
    kinds = dict.fromkeys((row["alpha"], row["slope"]) for row in rows)
    for alpha, slope in sorted(kinds, key=lambda kind: (kind[1], kind[0])):
        of = [row for row in rows if (row["alpha"], row["slope"]) == (alpha, slope)]
        accuracy = 100 * np.array([row["test_accuracy"] for row in of])
        spread = f" +- {accuracy.std(ddof=1):.1f}" if len(of) > 1 else ""
        shown = f"{accuracy.mean():.1f}{spread} %"
        index = np.mean([row["index"] for row in of])
        dead = 100 * np.mean([row["dead"] for row in of])
        text.append(
            f"{alpha:5g}  {slope:5g}  {len(of):8d}  {shown:15}  {index:<10.3f}  {dead:.1f} %"
        )
    if lost := sum(not row["finite"] for row in rows):
        text.append(f"in {lost} of {len(rows)} replicas the training loss was NaN or infinite")
    return "\n".join(text)
