"""Time the streaming of ImageNet-sized images, and the memory that it needs.

python -m experiments.benchmarks.streaming --jpegs FOLDER-OR-ZIP --scratch DIR

Makes stand-ins of the official validation tar in DIR, the given JPEGs over and over under the
official names, and streams each through torchvision's preprocessing in batches: by jaxsel, by
a PyTorch DataLoader with a process per core, and by PIL and NumPy in one thread. Every
measurement is a process of its own, by turns. Prints Markdown rows: images per second from
the second batch on (the first waits for libraries and processes), cores of the machine in use
meanwhile, seconds until the first batch, and the largest resident memory, for the DataLoader
that of its processes added up.
"""

import io
import multiprocessing
import os
import platform
import resource
import statistics
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from jaxsel.data import PREPROCESS, imagenet_classes, imagenet_val
from jaxsel.data.encoded import n_processors
from jaxsel.report import environment

from .. import cli

BATCH = 128
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Config:
    """What is measured."""

    jpegs: Path
    """JPEG files, in a folder or a zip"""
    scratch: Path
    """folder for the tars, which are made where they are missing"""
    images: tuple[int, ...] = (5_000, 50_000)
    """sizes of the tars; the peers are timed on the first"""
    repeats: int = 3
    """processes of each on the first; one on the others"""


@dataclass(frozen=True)
class Run:
    """One measurement."""

    rate: float
    cores: float
    first: float
    megabytes: float


def main(config: Config) -> None:
    """Make the tars, stream them, print."""
    contents = read_jpegs(config.jpegs)
    config.scratch.mkdir(parents=True, exist_ok=True)
    print(
        f"{platform.machine()}, {n_processors()} cores; Python {platform.python_version()}, "
        f"pillow {PIL.__version__}; commit {environment()['git_commit']}; "
        f"{np.mean([len(c) for c in contents]) / 1e3:.0f} kB an image, batches of {BATCH}"
    )
    print("| method | images | images/s | cores in use | first batch, s | peak MB | n |")
    print("|---|---|---|---|---|---|---|")
    small, *larger = [stand_in(config.scratch, contents, n) for n in config.images]
    runs: dict[Callable[[Path], Iterator[int]], list[Run]] = {m: [] for m in METHODS}
    for _ in range(config.repeats):
        for method, found in runs.items():
            found.append(fresh(method, small))
    for method, found in runs.items():
        print(row(method, config.images[0], found), flush=True)
    for n, tar in zip(config.images[1:], larger, strict=True):
        print(row(ours, n, [fresh(ours, tar)]), flush=True)


def row(method: Callable, n_images: int, runs: list[Run]) -> str:
    """Markdown: medians, and for the rate smallest and largest."""
    rates = [run.rate for run in runs]
    others = [
        f"{statistics.median(getattr(run, name) for run in runs):.{digits}f}"
        for name, digits in (("cores", 2), ("first", 1), ("megabytes", 0))
    ]
    return (
        f"| {METHODS[method]} | {n_images:,} "
        f"| {statistics.median(rates):.0f} [{min(rates):.0f}, {max(rates):.0f}] "
        f"| {' | '.join(others)} | {len(runs)} |"
    )


def read_jpegs(path: Path) -> list[bytes]:
    """The files of a folder or a zip, by name."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in (".jpg", ".jpeg"))
        contents = [p.read_bytes() for p in files]
    else:
        with zipfile.ZipFile(path) as archive:
            contents = [archive.read(name) for name in sorted(archive.namelist())]
    if not contents:
        raise ValueError(f"{path} has no JPEG files")
    return contents


def stand_in(folder: Path, contents: list[bytes], n_images: int) -> Path:
    """A tar with the official names, and beside it a label list."""
    path = folder / f"validation-{n_images}.tar"
    if not path.exists():
        with tarfile.open(unfinished := path.with_suffix(".unfinished"), "w") as tar:
            for number in range(n_images):
                content = contents[number % len(contents)]
                member = tarfile.TarInfo(f"ILSVRC2012_val_{number + 1:08}.JPEG")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        synset = imagenet_classes()[0]
        path.with_suffix(".txt").write_text(f"{synset}\n" * n_images)
        unfinished.replace(path)
    return path


def fresh(method: Callable[[Path], Iterator], tar: Path) -> Run:
    """One measurement in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, method, tar).result()


def measure(method: Callable[[Path], Iterator[int]], tar: Path) -> Run:
    """Stream a tar once."""
    start = time.perf_counter()
    batches = method(tar)
    next(batches)
    begin, idle = time.perf_counter(), idle_seconds()
    n_images = sum(batches)
    seconds = time.perf_counter() - begin
    cores = n_processors() - (idle_seconds() - idle) / seconds
    peaks = [
        resource.getrusage(who).ru_maxrss * 1024 / 1e6
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    megabytes = peaks[0] + n_processors() * peaks[1]
    return Run(n_images / seconds, cores, begin - start, megabytes)


def idle_seconds() -> float:
    """Seconds that this machine's cores have had nothing to do; Linux only, elsewhere NaN."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    except OSError:
        return float("nan")
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def ours(tar: Path) -> Iterator[int]:
    """By jaxsel."""
    images = imagenet_val(tar, tar.with_suffix(".txt"), PREPROCESS["torchvision"])
    for batch in images.batches(BATCH):
        yield batch.n_images


def one_thread(tar: Path) -> Iterator[int]:
    """By PIL and NumPy in one thread."""
    with tarfile.open(tar) as archive:
        rows = []
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None
            pixels = np.asarray(middle(stream.read()))
            scaled = pixels.astype(np.float32) / np.float32(255)
            mean, deviation = (np.array(v, np.float32) for v in (MEAN, DEVIATION))
            rows.append((scaled - mean) / deviation)
            if len(rows) == BATCH:
                yield len(np.stack(rows))
                rows = []
        if rows:
            yield len(np.stack(rows))


class Members:
    """The images of a tar, as PyTorch's DataLoader reads them."""

    def __init__(self, tar: Path):
        self.tar = tar
        with tarfile.open(tar) as archive:
            self.places = [(member.offset_data, member.size) for member in archive]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int):
        import torch  # only here: it would count as memory of the others

        start, size = self.places[index]
        with open(self.tar, "rb") as stream:
            stream.seek(start)
            pixels = torch.from_numpy(np.array(middle(stream.read(size))))
        scaled = pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
        return scaled.sub_(mean).div_(deviation)


def pytorch(tar: Path) -> Iterator[int]:
    """By a DataLoader with a process per core."""
    from torch.utils.data import DataLoader

    members: Any = Members(tar)
    for batch in DataLoader(members, BATCH, num_workers=n_processors()):
        yield len(batch)


def middle(content: bytes) -> Image.Image:
    """torchvision's resize and crop, by PIL."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    short = min(image.size)
    size = (256 * image.width // short, 256 * image.height // short)
    left, top = (round((n - 224) / 2) for n in size)
    resized = image.resize(size, Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + 224, top + 224))


METHODS = {
    ours: "jaxsel",
    pytorch: "PyTorch's DataLoader, a process per core",
    one_thread: "PIL and NumPy in one thread",
}


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
