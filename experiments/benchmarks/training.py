"""How fast networks are trained, one and several, beside a loop in PyTorch.

    python -m experiments.benchmarks.training
    python -m experiments.benchmarks.training --networks resnet20 --stack 20 --out FILE.json

ResNet20 (batches of 256, crops and flips) and the small AlexNet for digits (batches of 32),
with made-up images. A step is forward, backward and optimiser, with the regulariser and
without. By turns in one process: one replica; several as the backend has them (one after
another on a CPU, stacked on a GPU), per replica; PyTorch. Then a run on real digits: what its
checkpoints and going on from one cost. Prints Markdown rows; `--out` writes all numbers as
JSON.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxsel import data, models
from jaxsel.data import PREPROCESS, Dataset
from jaxsel.report import environment
from jaxsel.training import Layout, Recipe, Replica, chosen, group_of, sweep
from jaxsel.training.group import beginning

from .. import cli
from .memory import PeakMemory
from .torch_training import Training

SHAPES = {"resnet20": (32, 32, 3), "alexnet_digits": (8, 8, 1)}
RECIPES = {
    "resnet20": Recipe(),
    "alexnet_digits": Recipe(batch_size=32, learning_rate=0.02, augment="none"),
}


@dataclass(frozen=True)
class Config:
    """What is measured."""

    networks: tuple[str, ...] = ("alexnet_digits", "resnet20")
    """alexnet_digits, resnet20"""
    stack: int = 4
    """replicas that are trained together"""
    batches: int = 4
    """of made-up images, which every run passes through once; 16 times as many of digits"""
    repeats: int = 9
    """timed runs of each, by turns"""
    checkpoints: int = 40
    """epochs of the run with checkpoints; 0 leaves it out"""
    out: Path | None = None
    """JSON file for all numbers"""


def main(config: Config) -> None:
    """Measure, print, write."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = chosen(devices=jax.devices()[:1])
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}; "
        f"Python {platform.python_version()}, jax {jax.__version__}, torch {torch.__version__} "
        f"on {device}; {layout}; commit {environment()['git_commit']}; n = {config.repeats}\n"
    )
    print(
        "| network | regulariser | method | images/s per replica: median [min, max] "
        "| time per image / PyTorch's | / one replica | compiling, s | MB added |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    found: dict[str, Any] = {"config": asdict(config) | {"out": None}, "rows": []}
    for name in config.networks:
        found["rows"] += of_network(name, config, layout, device)
    if config.checkpoints:
        found["checkpoints"] = of_checkpoints(config.checkpoints)
    if config.out is not None:
        config.out.write_text(json.dumps(found, indent=1) + "\n")


def of_network(name: str, config: Config, layout: Layout, device: str) -> list[dict[str, Any]]:
    """Rows of one network."""
    recipe = RECIPES[name]
    n = recipe.batch_size * config.batches * (16 if name == "alexnet_digits" else 1)
    rng = np.random.default_rng(0)
    preprocess = PREPROCESS["cifar10_resnet" if name == "resnet20" else "unit_range"]
    images = rng.integers(0, 256, (n, *SHAPES[name]), dtype=np.uint8)
    labels = rng.integers(0, 10, n)
    dataset = Dataset(images, labels, tuple("0123456789"), preprocess)
    values = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1, 1)
    pixels = preprocess(np.repeat(values, images.shape[-1], axis=-1))[:, 0, 0]
    methods: dict[tuple[bool, str], Callable[[], int]] = {}
    for is_regularised in (False, True):
        for count in (1, config.stack):
            run = epochs_of(name, recipe, dataset, count, is_regularised, layout)
            methods[is_regularised, f"jaxsel, {count} replica{'s' if count > 1 else ''}"] = run
        alpha = -1.0 if is_regularised else None
        theirs = Training(name, recipe, images, labels, pixels, alpha, device)

        methods[is_regularised, "PyTorch"] = partial(epoch_of, theirs, n // recipe.batch_size)
    first, memory = {}, {}
    for key, run in methods.items():
        with PeakMemory() as peak:
            start = time.perf_counter()
            run()
            first[key] = time.perf_counter() - start
        memory[key] = peak.megabytes
    seconds: dict[tuple[bool, str], list[float]] = {key: [] for key in methods}
    for _ in range(config.repeats):
        for key, run in methods.items():
            start = time.perf_counter()
            seen = run()
            # Of one image and replica.
            seconds[key].append((time.perf_counter() - start) / seen)
    rows = []
    for (is_regularised, method), each in seconds.items():
        peer = seconds[is_regularised, "PyTorch"]
        alone = seconds[is_regularised, "jaxsel, 1 replica"]
        median = statistics.median(each)
        row = {
            "network": name,
            "regulariser": is_regularised,
            "method": method,
            "seconds": each,
            "of_peer": ratio(each, peer),
            "of_one": None if method == "PyTorch" else ratio(each, alone),
            "of_plain": ratio(each, seconds[False, method]),
            "compiling": max(first[is_regularised, method] - median * n, 0),
            "megabytes": memory[is_regularised, method],
        }
        rows.append(row)
        beside_one = "" if method == "PyTorch" else f"{row['of_one']:.2f}"
        print(
            f"| {name} | {'yes' if is_regularised else 'no'} | {method} "
            f"| {1 / median:,.0f} [{1 / max(each):,.0f}, {1 / min(each):,.0f}] "
            f"| {row['of_peer']:.2f} | {beside_one} "
            f"| {row['compiling']:.1f} | {row['megabytes']:.0f} |",
            flush=True,
        )
    for method in ("jaxsel, 1 replica", f"jaxsel, {config.stack} replicas", "PyTorch"):
        cost = ratio(seconds[True, method], seconds[False, method]) - 1
        print(f"  {method}: the regulariser adds {100 * cost:.1f} %", flush=True)
    return rows


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios of neighbouring runs: what slows the machine slows both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def epoch_of(training: Training, steps: int) -> int:
    """Trains PyTorch's network for an epoch; returns how many images it saw."""
    losses = [training.step().detach() for _ in range(steps)]
    losses[-1].item()  # waits for a GPU
    return steps * training.recipe.batch_size


def epochs_of(
    name: str,
    recipe: Recipe,
    dataset: Dataset,
    count: int,
    is_regularised: bool,
    layout: Layout,
) -> Callable[[], int]:
    """A function that trains replicas for an epoch, and returns how many images they saw."""

    def build(seed: int) -> Any:
        return models.build(name, seed=seed)

    sites = None if name == "resnet20" else ("conv1", "conv2", "conv3", "conv4", "conv5")
    group = group_of(
        build,
        dataset,
        dataset.take(np.arange(2)),
        [Replica(seed, -1.0) for seed in range(count)],
        recipe,
        sites=sites if is_regularised else (),
        layout=layout,
    )
    standing = beginning(group, build)
    states = [run.state for run in standing.runs]
    programs, epoch = group.programs[False], jnp.int32(0)
    nothing = layout.shared(np.zeros(()))

    def run() -> int:
        parts = None
        for k, own in enumerate(group.own):
            if layout.stacked:
                states[k], parts = programs.epoch(states[k], own, group.train, epoch)
            else:
                permuted = programs.order(nothing, own, group.train, epoch)
                for i in range(recipe.steps(len(dataset))):
                    states[k], parts = programs.step(
                        states[k], (permuted, own), group.train, epoch, jnp.int32(i)
                    )
            jax.block_until_ready(parts)
        return len(dataset) * count

    return run


def of_checkpoints(epochs: int) -> dict[str, float]:
    """Seconds that checkpoints, and going on from one, take of a run on the digits."""
    train, validation = data.stratified(data.digits(), (0.8, 0.2), 0)
    recipe = Recipe(epochs=epochs, batch_size=32, learning_rate=0.02, augment="none")

    def build(seed: int) -> Any:
        return models.build("alexnet_digits", seed=seed)

    spent = {"save": 0.0, "resume": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **settings: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **settings)
            spent[name] += time.perf_counter() - start
            return result

        return run

    group = group_of(build, train, validation, [Replica(0, -1.0)], recipe)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(sweep, "save", timed("save", sweep.save)),
        mock.patch.object(sweep, "resume", timed("resume", sweep.resume)),
    ):
        start = time.perf_counter()
        sweep.finish(group, build, Path(folder), {})
        whole = time.perf_counter() - start
        sweep.finish(group, build, Path(folder), {})  # nothing is left to do but go on
    share = (spent["save"] + spent["resume"]) / (whole - spent["save"])
    print(
        f"\n{epochs} epochs of digits, one replica: {whole:.1f} s, checkpoints "
        f"{spent['save']:.2f} s, going on from one {spent['resume']:.2f} s: {100 * share:.1f} %"
    )
    return {"seconds": whole, **spent, "share": share}


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
