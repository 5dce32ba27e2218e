"""Prepare a data set for `--data tfds:NAME`, without TensorFlow.

    python -m experiments.prepare cifar10 --file cifar-10-binary.tar.gz
    python -m experiments.prepare cifar10 --download

CIFAR-10 (Krizhevsky, 2009) from its published archive, the version for C programs, into the
folder of tensorflow-datasets. Expected: 50,000 training and 10,000 test images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxsel.data import default_data_dir, prepare_cifar10, tfds
from jaxsel.data.cifar10 import ADDRESS, SHA256, prepared_folder
from jaxsel.folders import refuse_taken
from ports.download import download, file_sha256

from . import cli


@dataclass(frozen=True)
class Config:
    """What is prepared."""

    name: Annotated[Literal["cifar10"], tyro.conf.Positional]
    """the data set"""
    file: Path | None = None
    """cifar-10-binary.tar.gz"""
    download: bool = False
    """fetch the archive; it is kept in the data folder's `downloads`"""
    data_dir: Path | None = None
    """folder of tensorflow-datasets, by default TFDS_DATA_DIR or ~/tensorflow_datasets"""


def main(config: Config) -> None:
    """Fetch, prepare, say where it is."""
    if config.download == (config.file is not None):
        raise ValueError("give either --file cifar-10-binary.tar.gz or --download")
    data_dir = config.data_dir or default_data_dir()
    refuse_taken(prepared_folder(data_dir))
    with cli.progress() as bars:
        progress = cli.counting(bars, "downloading")
        if config.download:
            name = ADDRESS.rpartition("/")[2]
            archive = download(ADDRESS, data_dir / "downloads" / name, SHA256, progress)
        else:
            assert config.file is not None
            archive = config.file
        folder = prepare_cifar10(archive, data_dir, cli.counting(bars, "preparing"))
    published = file_sha256(archive) == SHA256
    n_train, n_test = (len(tfds("cifar10", s, data_dir=data_dir)) for s in ("train", "test"))
    print(
        f"{folder}: {n_train:,} training and {n_test:,} test images; "
        "read it by --data tfds:cifar10 --split test\n"
        + ("" if config.data_dir is None else f"with TFDS_DATA_DIR={data_dir}\n")
        + f"the archive is {'' if published else 'not '}the published one, by its sha256"
    )


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
