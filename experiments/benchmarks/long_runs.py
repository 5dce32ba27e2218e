"""Long runs: flat memory, kills, and plans beside what came of them.

    python -m experiments.benchmarks.long_runs --weights DIR --data npz:FILE.npz --split test \
        --out long_runs.json

Every run is a process of its own. The images of the memory test are noise.
"""

import dataclasses
import hashlib
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel import Dataset, ablate_units, data, models
from jaxsel.data import PREPROCESS
from jaxsel.models.mlp import MLP

from .. import cli

MEMORY_OF = ("dense", "channel")
MODULE = "experiments.benchmarks.long_runs"  # also where it is run as a program


@dataclass(frozen=True)
class Config:
    """Settings."""

    weights: Path
    """checkpoint of a network with maps, such as ResNet20"""
    data: str
    """its images"""
    split: str | None = None
    """part of the data"""
    site: str = "block7_conv1"
    """whose units are ablated while the run is killed"""
    n_images: tuple[int, ...] = (1_000, 10_000, 50_000)
    """of the memory test"""
    kills: int = 20
    """how often a run is killed"""
    plans: bool = True
    """whether plans are compared with runs"""
    out: Path = Path("long_runs.json")
    """file of the result"""


@dataclass(frozen=True)
class Noise:
    """Images that nobody keeps: each from a stream of its own."""

    n_images: int
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.n_images

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        rows = np.arange(self.n_images)[which]
        return np.stack([_noise(int(i), self.shape) for i in rows])


def _noise(i: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([2, i]).random(shape, np.float32)


def peak(kind: str, weights: str, n_images: str) -> float:
    """Highest resident memory of this process after an ablation, MB."""
    n = int(n_images)
    labels = np.arange(n) % 10
    names = tuple("0123456789")
    if kind == "channel":
        dataset = Dataset(Noise(n, (32, 32, 3)), labels, names)
        ablate_units(models.load(Path(weights)), dataset, "block9_conv1", units=np.arange(4))
    else:
        model = models.build("mlp", seed=0)
        assert isinstance(model, MLP)
        shape = (784,)
        ablate_units(model, Dataset(Noise(n, shape), labels, names), model.sites[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def ablate(weights: str, source: str, split: str, site: str, out: str, kept: str) -> None:
    """One run that may be killed."""
    images = data.load(source, split=split or None, preprocess=PREPROCESS["cifar10_resnet"])
    effects = ablate_units(
        models.load(Path(weights)),
        images,
        site,
        batch_size=32,
        resume=Path(kept) if kept else None,
        per_image=Path(out) / "pairs.npy",
    )
    np.savez(Path(out) / "effects.npz", effects.loss_change, effects.error)


def killed(config: Config, report: Any) -> dict[str, Any]:
    """A run that is killed again and again, beside one that is not."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        plain, other = Path(folder) / "plain", Path(folder) / "other"
        plain.mkdir()
        other.mkdir()
        weights, split = str(config.weights.absolute()), config.split or ""
        settings = [weights, config.data, split, config.site]
        begun = time.perf_counter()
        subprocess.run(called("ablate", *settings, str(plain), ""), check=True)
        seconds, kills, runs = time.perf_counter() - begun, 0, 0
        while kills < config.kills:
            process = subprocess.Popen(
                called("ablate", *settings, str(other), str(other / f"kept{runs}"))
            )
            try:
                process.wait(rng.uniform(1, 0.8 * seconds))
                runs += 1  # it came to its end: once more from the beginning
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                report(kills)
        subprocess.run(
            called("ablate", *settings, str(other), str(other / f"kept{runs}")), check=True
        )
        same = all(
            sha256(plain / name) == sha256(other / name)
            for name in ("effects.npz", "pairs.npy")
        )
    return {"kills": kills, "runs": runs + 1, "seconds": seconds, "same_bytes": same}


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def called(function: str, *arguments: str) -> list[str]:
    """A process that calls a function of this module."""
    program = f"import sys; from {MODULE} import {function}; "
    return [sys.executable, "-c", program + f"print({function}(*sys.argv[1:]))", *arguments]


def planned(config: Config, folder: Path) -> list[dict[str, Any]]:
    """What was planned and what it took, for three runs."""
    network = ["--weights", str(config.weights), "--data", config.data]
    network += ["--split", config.split] if config.split else []
    runs = {
        "quickstart on the digits": ["quickstart"],
        "quickstart on the best images": [
            "quickstart",
            *network,
            "--images",
            "best",
        ],
        "quickstart on all images": ["quickstart", *network],
    }
    found = []
    for name, (module, *flags) in runs.items():
        command = [sys.executable, "-m", f"experiments.{module}", *flags]
        begun = time.perf_counter()
        said = subprocess.run(
            [*command, "--plan"], check=True, capture_output=True, text=True
        ).stdout
        planning = time.perf_counter() - begun
        begun = time.perf_counter()
        out = ["--out", str(folder / name.replace(" ", "_"))]
        subprocess.run([*command, *out], check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        expected = _seconds(said.splitlines()[-1])
        found.append(
            {"run": name, "planning": planning, "planned": expected, "seconds": seconds}
        )
        print(found[-1], flush=True)
    return found


def _seconds(line: str) -> float:
    """The time at the end of a line of a plan.

    >>> _seconds("all   1,000   4e+09   1.5 min")
    90.0
    """
    match = re.search(r"([\d.]+) (s|min|h)$", line)
    assert match is not None
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]]


def main(config: Config) -> None:
    """Measure, print, write."""
    found: dict[str, Any] = {"settings": {"site": config.site}, "memory": {}}
    with cli.progress() as bars, tempfile.TemporaryDirectory() as folder:
        for kind in MEMORY_OF:
            for n in config.n_images:
                arguments = (kind, str(config.weights.absolute()), str(n))
                ran = subprocess.run(
                    called("peak", *arguments), check=True, capture_output=True, text=True
                )
                found["memory"].setdefault(kind, {})[n] = float(ran.stdout.split()[-1])
            print(kind, found["memory"][kind], flush=True)
        if config.kills:
            bar = bars.add_task("kills", total=config.kills)
            report = lambda done: bars.update(bar, completed=done)  # noqa: E731
            found["killed"] = killed(config, report)
            print(found["killed"], flush=True)
        if config.plans:
            found["plans"] = planned(config, Path(folder))
    found["settings"] |= {
        key: str(value) for key, value in dataclasses.asdict(config).items() if key != "out"
    }
    config.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
