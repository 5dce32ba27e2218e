"""CIFAR-10's archive for C programs, in small, and what is read from it."""

import io
import tarfile

import numpy as np

NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)]


def some(n, seed):
    """Random images and labels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n)


TRAIN, TEST = some(23, 0), some(7, 1)


def records(images, labels):
    """As published: a byte for the label, 1,024 each for red, green and blue, row by row."""
    out = bytearray()
    for image, label in zip(images, labels, strict=True):
        out += bytes([label])
        for channel in range(3):
            for row in image[:, :, channel]:
                out += bytes(row)
    return bytes(out)


def published(train=TRAIN, test=TEST):
    """The members of the archive: five batches for training, one for the test."""
    cuts = np.linspace(0, len(train[1]), 6).astype(int)
    members = {"batches.meta.txt": "\n".join(NAMES).encode(), "readme.html": b"<html>"}
    for title, start, stop in zip(BATCHES, cuts[:-1], cuts[1:], strict=True):
        members[title] = records(train[0][start:stop], train[1][start:stop])
    return members | {"test_batch.bin": records(*test)}


def pack(path, members, kind="gz", folder="cifar-10-batches-bin/"):
    with tarfile.open(path, f"w:{kind}") as tar:
        for title, content in members.items():
            info = tarfile.TarInfo(folder + title)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def check(dataset, images, labels):
    """Whether a data set is these images and labels, to the bit."""
    assert dataset.labels.tolist() == labels.tolist()
    np.testing.assert_array_equal(dataset.inputs(slice(None)), images.astype("f4"))
    assert dataset.images[0].dtype == np.uint8
