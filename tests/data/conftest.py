"""CIFAR-10 as the tests prepare it, once for all of them; a validation tar."""

import shutil
from pathlib import Path

import pytest

from jaxsel.data import prepare_cifar10
from tests.references.cifar10_archive import pack, published
from tests.references.validation_tars import build, images, write_labels


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("cifar") / "cifar-10-binary.tar.gz", published())


@pytest.fixture(scope="session")
def prepared(archive, tmp_path_factory):
    """A data folder with the prepared archive; no test changes it."""
    data_dir = tmp_path_factory.mktemp("prepared")
    prepare_cifar10(archive, data_dir)
    return data_dir


@pytest.fixture
def data_dir(prepared, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(prepared, tmp_path / "data"))


@pytest.fixture
def tar(tmp_path):
    return build(tmp_path / "val.tar", images())


@pytest.fixture
def labels(tmp_path):
    return write_labels(tmp_path / "labels.txt")
