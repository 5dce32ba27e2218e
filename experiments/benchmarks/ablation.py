"""How fast and how exact the ablation of every unit of a dense layer is, beside others.

    python -m experiments.benchmarks.ablation                    # 64 images, ten minutes
    python -m experiments.benchmarks.ablation --images 5000 --no-peers
    python -m experiments.benchmarks.ablation --weights weights/NAME --data npz:mnist.npz \
        --split test --images 1000

Heads of AlexNet's shape with made-up responses, 15 % and 21 % of them active, or the hidden
layers of a trained network. In one run on one machine, by turns: jaxsel; masks in JAX; masks
and rank-one updates in PyTorch, one unit at a time and in chunks of 4, 16 and 64; captum. The
slow ones are timed on some of the units and scaled, their intact pass with them. What memory
the first call of each adds depends on their order, as later ones use again what earlier ones
freed. Prints Markdown rows; `--out` writes all
numbers as JSON.
"""

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxsel import ablate_by_masks, ablate_units
from jaxsel.report import environment

from .. import cli
from . import peers
from .heads import SITE, Head, alexnet_head, remaining_flop, trained_heads
from .memory import PeakMemory

CHUNKS = (1, 4, 16, 64)


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured."""

    images: int = 64
    """how many"""
    out: Path | None = None
    """JSON file for all numbers"""
    active: tuple[float, ...] = (0.15, 0.21)
    """shares of the units that respond, for the made-up responses"""
    weights: tuple[Path, ...] = ()
    """checkpoints of trained fully connected networks, instead of made-up responses"""
    data: str | None = None
    """images for them: npz:PATH"""
    split: str | None = None
    """part of the file"""
    repeats: int = 5
    """timed runs of each after the first"""
    timed_units: int = 64
    """units that the slow peers are timed on; the time is scaled to all"""
    checked_units: int = 512
    """units compared with float64"""
    peers: bool = True
    """whether to time the others"""


def main(config: Config) -> None:
    """Measure and print."""
    if config.weights and config.data is None:
        raise ValueError("--weights needs --data, such as npz:mnist.npz")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}; Python "
        f"{platform.python_version()}, jax {jax.__version__}, torch {torch.__version__}; "
        f"commit {environment()['git_commit']}; n = {config.repeats}"
    )
    print(
        "| head | images | method | seconds for all units: median [min, max] "
        "| MB added by the first call | relative error: median | 99 % | worst "
        "| worst / sum of abs. changes | time / ours |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    found = []
    for make in heads(config):
        for head in make():
            found += measure(head, config)
    if config.out is not None:
        unfinished = config.out.with_name(f".{config.out.name}.unfinished")
        unfinished.write_text(json.dumps(found, indent=1))
        unfinished.replace(config.out)


def heads(config: Config) -> list[Callable[[], list[Head]]]:
    """What to measure, made when its turn comes."""
    if config.weights:
        assert config.data is not None
        return [
            partial(trained_heads, folder, config.data, config.split, config.images)
            for folder in config.weights
        ]
    return [
        lambda site=site, share=share: [alexnet_head(site, share, config.images)]
        for share in config.active
        for site in ("fc6", "fc7")
    ]


def measure(head: Head, config: Config) -> list[dict]:
    """Every method on one head: times, memory, errors."""
    every = np.arange(head.n_units)
    few = every if head.n_units <= 1024 else every[:: len(every) // config.timed_units]
    checked = every[:: max(len(every) // config.checked_units, 1)]
    methods = ours(head)
    if config.peers:
        methods |= others(head, few)
    first, times, memory, totals = {}, {name: [] for name in methods}, {}, {}
    for turn in range(config.repeats + 1):
        for name, (run, units) in methods.items():
            with PeakMemory() as peak:
                start = time.perf_counter()
                totals[name] = run()
                seconds = (time.perf_counter() - start) * len(every) / len(units)
            if turn == 0:
                first[name] = seconds
                memory[name] = peak.megabytes
            else:
                times[name].append(seconds)
    true = {}
    if config.peers:
        changes = peers.truth(head, np.union1d(few, checked))
        true = dict(zip(np.union1d(few, checked).tolist(), changes, strict=True))
    rows = []
    for name, (_, units) in methods.items():
        seconds = statistics.median(times[name])
        row = {
            "head": head.name,
            "images": len(head.dataset),
            "method": name,
            "seconds": times[name],
            "first_call_seconds": first[name],
            "timed_units": len(units),
            "peak_megabytes": memory[name],
            "times_ours": seconds / statistics.median(times["jaxsel"]),
        }
        if "mean" not in name and true:
            row |= errors(totals[name], units, true)
        rows.append(row)
        print(markdown(row))
    rows.append(share_of_peak(head, statistics.median(times["jaxsel"])))
    return rows


def ours(head: Head) -> dict[str, tuple[Callable[[], np.ndarray], np.ndarray]]:
    """jaxsel with replacement 0 and, where they are kept, with each unit's mean."""
    model, every = head.model, np.arange(head.n_units)
    found = {"jaxsel": (lambda: ablate_units(model, head.dataset, SITE).total(), every)}
    if len(head.dataset) <= 1024:
        means = head.dataset.inputs(slice(None)).mean(axis=0, dtype=np.float64)
        found["jaxsel, mean replacement"] = (
            lambda: ablate_units(model, head.dataset, SITE, replacement=means).total(),
            every,
        )
    return found


def others(head: Head, few: np.ndarray) -> dict:
    """The peers, each on some of the units."""
    model, cached = head.model, peers.Cached(head)
    found = {
        "JAX, masks, 16 at a time": (
            lambda: ablate_by_masks(model, head.dataset, SITE, units=few).sum(axis=1),
            few,
        )
    }
    for name, run in (("masks", peers.masks), ("rank-one updates", peers.rank_one)):
        for chunk in CHUNKS:
            found[f"PyTorch, {name}, {chunk} at a time"] = (
                lambda run=run, chunk=chunk: run(cached, few, chunk).sum(axis=1),
                few,
            )
    found["captum, 16 at a time"] = (
        lambda: peers.captum_ablation(cached, few, 16).sum(axis=1),
        few,
    )
    return found


def errors(totals: np.ndarray, units: np.ndarray, true: dict[int, np.ndarray]) -> dict:
    """Errors of loss changes summed over the images, of units that change any."""
    known = [i for i, unit in enumerate(units.tolist()) if unit in true]
    changes = np.stack([true[units[i]] for i in known])
    sums, sizes = changes.sum(axis=1), np.abs(changes).sum(axis=1)
    moved = sizes > 0
    error = np.abs(totals[known] - sums)[moved]
    relative = error / np.abs(sums[moved])
    return {
        "checked_units": int(moved.sum()),
        "relative_error_median": float(np.median(relative)),
        "relative_error_99": float(np.quantile(relative, 0.99)),
        "relative_error_worst": float(relative.max()),
        "error_of_sum_worst": float((error / sizes[moved]).max()),
    }


def markdown(row: dict) -> str:
    """One row of the table."""
    seconds = row["seconds"]
    digits = [
        f"{row[name]:.1e}" if name in row else ""
        for name in (
            "relative_error_median",
            "relative_error_99",
            "relative_error_worst",
            "error_of_sum_worst",
        )
    ]
    return (
        f"| {row['head']} | {row['images']} | {row['method']} | "
        f"{statistics.median(seconds):.3g} [{min(seconds):.3g}, {max(seconds):.3g}] | "
        f"{row['peak_megabytes']:.0f} | {' | '.join(digits)} | {row['times_ours']:.3g} |"
    )


def share_of_peak(head: Head, seconds: float) -> dict:
    """How close jaxsel comes to this machine's matrix products, on those that remain."""
    n = len(head.dataset)
    flop = remaining_flop(head, min(n, 64)) * n
    square, alike = (product_speed(*shape) for shape in ((2048, 2048, 2048), (612, 828, 1000)))
    row = {
        "head": head.name,
        "images": n,
        "remaining_flop": flop,
        "flop_per_second": flop / seconds,
        "square_product_flop_per_second": square,
        "product_flop_per_second": alike,
    }
    if flop:
        print(
            f"\n{head.name}, {n} images: {flop:.3g} FLOP in the remaining products, "
            f"{flop / seconds:.3g} per second: {flop / seconds / square:.0%} of a product of "
            f"2048 x 2048 x 2048 ({square:.3g}), {flop / seconds / alike:.0%} of one of 612 x "
            f"828 x 1000 ({alike:.3g})\n"
        )
    return row


def product_speed(rows: int, inner: int, columns: int) -> float:
    """Operations per second of a float32 product, median of 15."""
    left, right = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate(((rows, inner), (inner, columns)))
    )
    product = jax.jit(partial(jnp.matmul, precision="float32"))
    times = []
    for _ in range(16):
        start = time.perf_counter()
        product(left, right).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2.0 * rows * inner * columns / statistics.median(times[1:])


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
