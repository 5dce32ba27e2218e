"""Time the reading of weight files against the libraries that wrote them.

python -m experiments.benchmarks.reading [--megabytes N]

Writes one state_dict of random float32 arrays in every format to a temporary folder, reads each
file by turns with `ports.reading.read` and with the writer's own reader, and prints Markdown
rows: seconds (median, smallest, largest) and the memory that the first reading added. Every
array is summed, so that what is only mapped into memory is read as well.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from jaxsel.report import environment
from ports.reading import read

from .. import cli
from .memory import PeakMemory


@dataclass(frozen=True)
class Config:
    """What is measured."""

    megabytes: int = 575
    """size of the files; VGG19 has 575"""
    repeats: int = 5
    """timed readings of each after the first"""


def main(config: Config) -> None:
    """Write, read, print."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"torch {torch.__version__}; commit {environment()['git_commit']}; n = {config.repeats}"
    )
    print("| format | ours, s: median [min, max] | MB | peer | its s | MB | ours / peer |")
    print("|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    n = max(config.megabytes // 25, 1)
    arrays = {f"layer{i}": rng.normal(size=(1000, 6250)).astype(np.float32) for i in range(n)}
    with tempfile.TemporaryDirectory() as folder:
        for name, (write, peer, title) in FORMATS.items():
            path = Path(folder) / name
            write(path, arrays)
            runs: dict[Callable, list[float]] = {read: [], peer: []}
            added = {reader: memory(reader, path) for reader in runs}
            for _ in range(config.repeats):
                for reader, seconds in runs.items():
                    start = time.perf_counter()
                    touch(reader(path))
                    seconds.append(time.perf_counter() - start)
            path.unlink()
            medians = [statistics.median(seconds) for seconds in runs.values()]
            cells = [
                f"{median:.3g} [{min(seconds):.3g}, {max(seconds):.3g}]"
                for median, seconds in zip(medians, runs.values(), strict=True)
            ]
            print(
                f"| {name} | {cells[0]} | {added[read]:.0f} | {title} | {cells[1]} "
                f"| {added[peer]:.0f} | {medians[0] / medians[1]:.2f} |",
                flush=True,
            )


def memory(reader: Callable, path: Path) -> float:
    """Megabytes that a reading adds at its highest."""
    with PeakMemory() as peak:
        touch(reader(path))
    return peak.megabytes


def touch(arrays: Mapping[str, np.ndarray | torch.Tensor]) -> float:
    """Use every number once."""
    return sum(float(array.sum()) for array in arrays.values())


def _pth(new: bool) -> Callable[[Path, Mapping[str, np.ndarray]], None]:
    def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
        torch.save(tensors, path, _use_new_zipfile_serialization=new)

    return write


def _torch_load(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)


FORMATS = {
    "zip.pth": (_pth(True), _torch_load, "torch.load"),
    "legacy.pth": (_pth(False), _torch_load, "torch.load"),
    "net.safetensors": (
        lambda path, arrays: safetensors.numpy.save_file(dict(arrays), path),
        safetensors.numpy.load_file,
        "safetensors.numpy",
    ),
}


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
