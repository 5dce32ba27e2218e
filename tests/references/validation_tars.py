"""Small stand-ins of ImageNet's validation tar, whole and disguised."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxsel.data import imagenet_val

SYNSETS = ("n01751748", "n09193705", "n02105855", "n04263257")  # of the first four images
CLASSES = (65, 970, 230, 809)  # their numbers, as published
ONE = "ILSVRC2012_val_00000001.JPEG"


def jpeg(seed):
    """Random pixels as a JPEG; every image has another size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8 + seed, 9, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


CONTENTS = tuple(jpeg(number) for number in range(1, 5))


def name(number):
    return f"ILSVRC2012_val_{number:08}.JPEG"


def member(title, content=b"", kind=tarfile.REGTYPE, **fields):
    """What `build` takes: a header and what comes after it."""
    info = tarfile.TarInfo(title)
    info.size, info.type = len(content), kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def images(numbers=(1, 2, 3, 4), prefix=""):
    return [member(prefix + name(number), CONTENTS[number - 1]) for number in numbers]


def build(path, members, how=tarfile.GNU_FORMAT, end=True):
    """A tar from headers and contents as they are: no size is corrected, nothing checked."""
    with open(path, "wb") as stream:
        for info, content in members:
            stream.write(info.tobuf(how))
            stream.write(content + bytes(-len(content) % 512))
        stream.write(bytes(1024 if end else 0))
    return path


def write_labels(path, synsets=SYNSETS):
    path.write_text("".join(f"{synset}\n" for synset in synsets))
    return path


def pil(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def check_images(dataset):
    assert len(dataset) == len(CONTENTS)
    assert dataset.labels.tolist() == list(CLASSES)
    for row, content in enumerate(CONTENTS):
        assert dataset.images.name(row) == name(row + 1)
        np.testing.assert_array_equal(dataset.images[row], pil(content))


def refusal(path, labels, error=ValueError):
    """The one sentence that a tar or folder is refused with."""
    with pytest.raises(error) as raised:
        imagenet_val(path, labels)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 300 + len(str(path))
    return message


def listing(path):
    return sorted((p, p.stat().st_size, p.stat().st_mtime_ns) for p in path.rglob("*"))
