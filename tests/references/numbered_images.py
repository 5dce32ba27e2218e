"""Encoded images that are numbers, from a source that remembers what was read."""

import io
import threading

import numpy as np
from PIL import Image

from jaxsel.data import Dataset, EncodedImages

PATIENCE = 20  # seconds until a test that waits for another thread fails


def stored(image, kind="PNG", **settings):
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def coloured(number, size=(3, 2)):
    """Image i has the colour (i % 256, i // 256, 77)."""
    return stored(Image.new("RGB", size, (number % 256, number // 256, 77)))


def numbers(images):
    """The numbers of such images."""
    return [int(x) for x in images[:, 0, 0, 0] + 256 * images[:, 0, 0, 1]]


class Source:
    """Encoded images by number, which remembers what was read and can keep readers waiting."""

    def __init__(self, torn=(), make=coloured):
        self.torn, self.make = set(torn), make
        self.reads, self.changed = [], threading.Condition()
        self.locked, self.unlock = lambda number: False, threading.Event()

    def __call__(self, number):
        with self.changed:
            self.reads.append(number)
            self.changed.notify_all()
        if self.locked(number):
            assert self.unlock.wait(PATIENCE), f"image {number} was never unlocked"
        content = self.make(number)
        return content[: len(content) // 2] if number in self.torn else content

    def wait_for(self, n_reads, seconds=PATIENCE):
        """Whether so many were read before the time was over."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.reads) >= n_reads, seconds)


def dataset_of(source, n_images, preprocess=None, **settings):
    images = EncodedImages(source, "cat{}.png".format, np.arange(n_images), **settings)
    return Dataset(images, np.arange(n_images) % 3, ("a", "b", "c"), preprocess)


def seen(dataset, batch_size):
    return [i for b in dataset.batches(batch_size) for i in numbers(b.images[b.where])]
