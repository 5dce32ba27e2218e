"""CIFAR-10 prepared for tensorflow-datasets and read back; archives that are refused."""

import gzip
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as library

from jaxsel.data import load, prepare_cifar10, tfds, unit_range
from jaxsel.data.cifar10 import read_archive
from tests.references.cifar10_archive import (
    BATCHES,
    NAMES,
    TEST,
    TRAIN,
    check,
    pack,
    published,
    records,
)  # fmt: skip

HERE = Path(__file__).parents[2]
FILES = [
    "cifar10-test.array_record-00000", "cifar10-train.array_record-00000",
    "dataset_info.json", "features.json", "label.labels.txt",
]  # fmt: skip


def tree(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


# --- what is read back ---


@pytest.mark.parametrize("split, expected", [("train", TRAIN), ("test", TEST)])
def test_prepared_images_come_back_to_the_bit_and_in_order(
    prepared, monkeypatch, split, expected
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    dataset = load("tfds:cifar10", split=split)
    check(dataset, *expected)
    assert dataset.class_names == NAMES
    assert dataset.images.name(3) == f"cifar10 {split} 3"


def test_a_preprocessing_is_handed_on(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    dataset = load("tfds:cifar10", split="test", preprocess=unit_range)
    # Exact: the quotient of two small integers, rounded once.
    expected = TEST[0].astype("f4") / np.float32(255)
    np.testing.assert_array_equal(dataset.inputs(slice(None)), expected)


@pytest.mark.parametrize("split, expected", [("train", TRAIN), ("test", TEST)])
def test_the_registered_cifar10_of_the_library_reads_what_was_prepared(
    prepared, split, expected
):
    builder = library.builder("cifar10", data_dir=prepared)
    assert type(builder).__module__.startswith("tensorflow_datasets.")
    assert builder.info.features["label"].names == list(NAMES)
    source = builder.as_data_source(split)
    assert len(source) == len(expected[1])
    for number, record in enumerate(source):
        np.testing.assert_array_equal(record["image"], expected[0][number])
        assert record["label"] == expected[1][number]
        assert record["id"] == f"{split}_{number:05d}".encode()


@pytest.mark.parametrize("kind", ["", "gz"])
@pytest.mark.parametrize("folder", ["", "./cifar-10-batches-bin/"])
def test_an_archive_may_be_packed_otherwise(tmp_path, kind, folder):
    found = read_archive(pack(tmp_path / "some", published(), kind, folder))
    assert found["train"].tobytes() == records(*TRAIN)
    assert found["test"].tobytes() == records(*TEST)


def test_only_the_folder_of_the_version_is_written(archive, tmp_path, monkeypatch):
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    path = prepare_cifar10(archive, tmp_path / "new" / "data")
    assert path == tmp_path / "new/data/cifar10/3.0.2"
    place = "new/data/cifar10/3.0.2"
    assert tree(tmp_path) == [
        "home", "new", "new/data", "new/data/cifar10", place,
        *(f"{place}/{file}" for file in FILES), "work",
    ]  # fmt: skip


def test_the_same_archive_gives_the_same_bytes(archive, prepared, tmp_path):
    prepare_cifar10(archive, tmp_path)
    for file in FILES:
        path = f"cifar10/3.0.2/{file}"
        assert (tmp_path / path).read_bytes() == (prepared / path).read_bytes()


def test_progress_counts_all_images_up(tmp_path):
    images = np.zeros((2100, 32, 32, 3), np.uint8)
    members = published((images, np.zeros(2100, int)))
    told = []
    prepare_cifar10(
        pack(tmp_path / "a.tar", members, ""), tmp_path, lambda *report: told.append(report)
    )
    assert told == [(done, 2107) for done in (1000, 2000, 2100, 2107)]


PROGRAM = """
import sys
from pathlib import Path
from jaxsel.data import load, prepare_cifar10
prepare_cifar10(Path(sys.argv[1]), Path(sys.argv[2]))
assert load("tfds:cifar10", split="test").inputs(slice(None)).shape == (7, 32, 32, 3)
assert "tensorflow_datasets" in sys.modules
assert "tensorflow" not in sys.modules
"""


def test_tensorflow_is_not_imported_even_where_it_is_installed(archive, tmp_path):
    """A package of that name ends the program that imports it."""
    (tmp_path / "lib" / "tensorflow").mkdir(parents=True)
    (tmp_path / "lib" / "tensorflow" / "__init__.py").write_text("import os; os._exit(7)")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "lib"), str(HERE)]),
        "TFDS_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-c", PROGRAM, archive, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.data
def test_real_images_come_back_to_the_bit(data_folder, tmp_path):
    with np.load(data_folder / "cifar10/lossless_subset.npz") as arrays:
        real = {key: arrays[key] for key in arrays}
    train, test = (
        (real[f"{split}_images"], real[f"{split}_labels"]) for split in ("train", "test")
    )
    train = tuple(part[:500] for part in train)
    prepare_cifar10(pack(tmp_path / "a.tar", published(train, test), ""), tmp_path)
    check(tfds("cifar10", "train", data_dir=tmp_path), *train)
    check(tfds("cifar10", "test", data_dir=tmp_path), *test)


# --- CIFAR-10: what is refused ---


def refusal(path, tmp_path, error=ValueError):
    """The one sentence that an archive is refused with; nothing is left behind."""
    before = tree(tmp_path)
    with pytest.raises(error) as raised:
        prepare_cifar10(path, tmp_path / "data")
    assert tree(tmp_path) == before
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("call", [1, 2])
def test_nothing_is_left_of_a_preparation_that_was_stopped(archive, tmp_path, error, call):
    calls = []

    def stop(done, total):
        calls.append(done)
        if len(calls) == call:
            raise error

    with pytest.raises(error):
        prepare_cifar10(archive, tmp_path / "new" / "data", stop)
    assert len(calls) == call
    assert tree(tmp_path) == []


def test_a_second_preparation_is_refused(archive, data_dir, tmp_path):
    before = {file: file.read_bytes() for file in data_dir.rglob("*") if file.is_file()}
    message = refusal(archive, tmp_path, FileExistsError)
    assert "cifar10/3.0.2 is there already and not empty" in message
    assert all(file.read_bytes() == content for file, content in before.items())


def test_a_missing_archive_is_named(tmp_path):
    path = tmp_path / "missing.tar.gz"
    assert refusal(path, tmp_path, FileNotFoundError) == f"there is no file {path}"


@pytest.mark.parametrize("lost", [*BATCHES, "test_batch.bin"])
def test_an_archive_without_one_of_the_files_is_refused(tmp_path, lost):
    members = {title: content for title, content in published().items() if title != lost}
    path = pack(tmp_path / "a.tar.gz", members)
    assert f"has no {lost}: CIFAR-10 is prepared from its binary" in refusal(path, tmp_path)


CIFAR_100 = {"train.bin": bytes(3074 * 5), "test.bin": bytes(3074), "fine_label_names.txt": b""}
PYTHON = {title.removesuffix(".bin"): b"\x80\x02}q" for title in [*BATCHES, "test_batch.bin"]}


@pytest.mark.parametrize(
    "members", [CIFAR_100, PYTHON, {}], ids=["CIFAR-100", "Python", "none"]
)
def test_another_archive_is_refused(tmp_path, members):
    path = pack(tmp_path / "a.tar.gz", members)
    message = refusal(path, tmp_path)
    assert "has no data_batch_1.bin, " in message
    assert "its binary version, cifar-10-binary.tar.gz" in message


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "data_batch_3.bin in .* has 0 bytes"),
        (bytes(3072), "has 3,072 bytes: possible are 1 to 10,000 images of 3,073 bytes"),
        (bytes(3074), "has 3,074 bytes"),
        (bytes(3073 * 10_001), "has 30,733,073 bytes: possible are 1 to 10,000"),
        (bytes([10]) + bytes(3072), "has the label 10: possible are 0 to 9"),
        (bytes(3073) + b"\xff" + bytes(3072), "has the label 255: possible are 0 to 9"),
    ],
    ids=["empty", "short", "long", "too many", "label 10", "label 255"],
)
def test_a_file_that_is_no_batch_is_refused(tmp_path, content, message):
    path = pack(tmp_path / "a.tar.gz", published() | {"data_batch_3.bin": content})
    with pytest.raises(ValueError, match=message):
        raise ValueError(refusal(path, tmp_path))


def test_a_file_that_is_there_twice_is_refused(tmp_path):
    members = published()
    members["again/test_batch.bin"] = members["test_batch.bin"]
    path = pack(tmp_path / "a.tar.gz", members)
    assert refusal(path, tmp_path) == f"{path} has test_batch.bin twice"


@pytest.mark.parametrize("folder", ["../../", "/", "/tmp/../", "a/../../b/"])
def test_members_that_point_outside_are_refused(tmp_path, folder):
    members = {title: published()[title] for title in [*BATCHES, "test_batch.bin"]}
    path = pack(tmp_path / "a.tar.gz", members, folder=folder)
    assert f"{path} has a member that points outside it" in refusal(path, tmp_path)


@pytest.mark.parametrize("size", [2**29, 2**62])
def test_a_member_of_an_impossible_size_is_refused_at_once(tmp_path, size):
    """Read through, it would keep a reader busy for years."""
    path = tmp_path / "a.tar.gz"
    info = tarfile.TarInfo("readme.html")
    info.size = size
    with gzip.open(path, "wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
    assert refusal(path, tmp_path) == f"{path} is not CIFAR-10: its files are too large"


def test_an_archive_that_goes_on_is_refused(tmp_path):
    """A few hundred kilobytes of compressed zeros are gigabytes."""
    path = pack(tmp_path / "a.tar.gz", published())
    with gzip.open(path, "ab") as stream:
        for _ in range(300):
            stream.write(bytes(2**20))
    assert "goes on after the last of its files" in refusal(path, tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_fifo_in_place_of_a_file_is_refused(tmp_path, kind):
    """The file that the link names is there, and is a batch: it is not looked at."""
    (tmp_path / "target").write_bytes(records(*TEST))
    path = tmp_path / "a.tar"
    members = published()
    del members["test_batch.bin"]
    pack(path, members, "")
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("test_batch.bin")
        info.type, info.linkname = kind, str(tmp_path / "target")
        tar.addfile(info)
    assert str(path) in refusal(path, tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>404</html>", b"PK\x03\x04" + bytes(600), b"\x1f\x8b\x08" + bytes(600),
     b"BZh9" + bytes(600), b"\xfd7zXZ\0" + bytes(600)],
    ids=["empty", "html", "zip", "gz", "bz2", "xz"],
)  # fmt: skip
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert f"{tmp_path / 'a'} is no tar, or is compressed or damaged" in refusal(
        tmp_path / "a", tmp_path
    )


@pytest.mark.parametrize("kind", ["", "gz"])
def test_a_cut_archive_is_refused_wherever_it_ends(tmp_path, kind):
    """Or, if only checksums or zeros are missing at the end, it gives all that it had."""
    path = pack(tmp_path / "a", published(), kind)
    whole = path.read_bytes()
    n_refused = 0
    for end in range(0, len(whole), 1013):
        path.write_bytes(whole[:end])
        try:
            found = read_archive(path)
        except ValueError:
            n_refused += 1
        else:
            assert end > 3073 * 30  # all the incompressible bytes of the images
            assert found["train"].tobytes() == records(*TRAIN)
            assert found["test"].tobytes() == records(*TEST)
    assert n_refused > 3073 * 30 / 1013
    path.write_bytes(whole[: len(whole) // 2])
    assert str(path) in refusal(path, tmp_path)


def test_an_archive_with_one_changed_byte_is_refused(tmp_path, rng):
    """By gzip's checksum; the ten bytes before the compressed ones say a date and the like."""
    path = pack(tmp_path / "a.tar.gz", published())
    whole = path.read_bytes()
    for place in rng.integers(10, len(whole), 150):
        broken = bytearray(whole)
        broken[place] ^= int(rng.integers(1, 256))
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read_archive(path)


def test_a_damaged_tar_without_a_checksum_ends_in_a_value_error_at_worst(tmp_path, rng):
    path = pack(tmp_path / "a", published(), "")
    whole = path.read_bytes()
    n_refused = 0
    for number in range(100):
        broken = bytearray(whole)
        end = len(whole) if number % 2 else 1000  # headers lie at the beginning
        for place in rng.integers(end, size=rng.integers(1, 9)):
            broken[place] = rng.integers(256)
        path.write_bytes(broken)
        try:
            found = read_archive(path)
        except ValueError:
            n_refused += 1
        else:
            shapes = {split: array.shape for split, array in found.items()}
            assert shapes == {"train": (23, 3073), "test": (7, 3073)}
    assert n_refused > 10
