"""A network from a checkpoint, with the images it is to see."""

from pathlib import Path
from typing import Any

from flax import nnx

from jaxsel import checkpoint, data, models
from jaxsel.data import PREPROCESS, Dataset


def network_and_images(
    weights: Path, source: str, split: str | None = None, preprocess: str | None = None
) -> tuple[nnx.Module, Dataset, dict[str, Any], str]:
    """A checked network, and a data set preprocessed as its manifest says.

    Args:
        weights: the checkpoint's folder.
        source: as in `jaxsel.data.load`.
        split: as in `jaxsel.data.load`.
        preprocess: instead of what the manifest records, one of `PREPROCESS`.

    Returns:
        Network, images, manifest, and the name of the preprocessing.

    Raises:
        ValueError: an unknown preprocessing, or a checkpoint that does not match its manifest.
        FileNotFoundError, KeyError: see `jaxsel.data.load`.
    """
    manifest = checkpoint.read_manifest(weights)
    name = preprocess or manifest.get("preprocess")
    if name not in PREPROCESS:
        asks = "you ask" if preprocess else f"{weights} asks"
        raise ValueError(
            f"{asks} for the preprocessing {name!r}: possible are {', '.join(PREPROCESS)}"
        )
    images = data.load(source, split=split, preprocess=PREPROCESS[name])
    return models.load(weights), images, manifest, name
