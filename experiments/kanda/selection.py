"""The best images of another network, from its table."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from jaxsel.evaluation import Evaluation

COLUMNS = ("label", "loss", "probability", "rank")


def selected_by(path: Path, labels: np.ndarray) -> Evaluation:
    """What another network makes of the same images, as `experiments.evaluate --table` wrote.

    Args:
        path: of its table.
        labels: of the images, for the comparison.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such table, or one of other images.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no table {path}") from None
    except (OSError, ValueError) as error:  # pyarrow's are of these
        raise ValueError(f"{path} is no table of images: {error}") from error
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise ValueError(f"{path} is no table of images: it has no {', '.join(missing)}")
    label, loss, probability, rank = (table[name].to_numpy() for name in COLUMNS)
    if len(label) != len(labels) or (label != labels).any():
        raise ValueError(
            f"{path} is of other images: {len(label):,} of them, or with other labels, than "
            f"the {len(labels):,} here"
        )
    return Evaluation(loss, probability, rank)
