"""How fast and how exact the ablation of every channel of a convolution is, beside others.

    python -m experiments.benchmarks.channels --weights weights/resnet20 --data npz:cifar10.npz
    python -m experiments.benchmarks.channels --vgg       # a stack like VGG, made-up weights
    python -m experiments.benchmarks.channels --vgg19     # operations only, nothing is run

From the cached input of what follows each site, by turns in one process: jaxsel; masks in JAX;
a loop over masks in PyTorch, in chunks and memory layouts of which the fastest is shown;
captum. And jaxsel from the images, which runs what is before the site as well. Prints Markdown
rows; `--out` writes all numbers as JSON.
"""

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum.attr
import jax
import numpy as np
import torch
from flax import nnx

from jaxsel import Dataset, ablate_by_masks, ablate_units, checkpoint, data, models
from jaxsel.ablation.work import activation_of, flop_after
from jaxsel.data import PREPROCESS
from jaxsel.report import environment

from .. import cli
from .peers import Loss, exact_loss, usual_loss
from .suffixes import Suffix, suffix

# Images and units of one pass of the loop, and of the masks in JAX.
PASSES = ((32, 1), (64, 1), (64, 4))
MASKS = ((16, 4), (64, 4))
LOWER = ("tensorfloat32", "bfloat16")  # rounded to them: on a CPU only the errors mean anything
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured."""

    weights: Path | None = None
    """checkpoint of a residual network for CIFAR"""
    data: str | None = None
    """images for it: npz:PATH"""
    split: str | None = None
    """part of the file"""
    vgg: bool = False
    """instead a stack like VGG16 for 32x32 images, with made-up weights and images"""
    vgg19: bool = False
    """instead only count the operations of all channels of VGG19"""
    sites: tuple[str, ...] = ()
    """which; by default all 19 of the residual network, or five of the stack"""
    images: int = 64
    """how many"""
    repeats: int = 3
    """timed runs of each after the first"""
    captum: bool = True
    """whether to time captum"""
    out: Path | None = None
    """JSON file for all numbers"""


def main(config: Config) -> None:
    """Measure and print."""
    if config.vgg19:
        count_vgg19()
        return
    network, dataset, sites = subject(config)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}; Python "
        f"{platform.python_version()}, jax {jax.__version__}, torch {torch.__version__}; "
        f"commit {environment()['git_commit']}; n = {config.repeats}, {config.images} images"
    )
    print(
        "| site | channels | jaxsel: ms [min, max] | from the images | best PyTorch / ours "
        "| masks in JAX / ours | captum / ours | relative error: median | worst "
        "| worst / sum of abs. changes | PyTorch: the same | with TF32 | with bfloat16 "
        "| first call, s |"
    )
    print("|---" * 14 + "|")
    found = [measure(network, dataset, site, config) for site in sites]
    for name in ("PyTorch", "masks in JAX", "captum"):
        if all(name in row["best"] for row in found):
            theirs = sum(row["best"][name] for row in found)
            ours = sum(row["best"]["jaxsel"] for row in found)
            print(f"all sites: {name} {theirs:.3g} s, jaxsel {ours:.3g} s: {theirs / ours:.3g}")
    if config.out is not None:
        unfinished = config.out.with_name(f".{config.out.name}.unfinished")
        unfinished.write_text(json.dumps(found, indent=1))
        unfinished.replace(config.out)


def subject(config: Config) -> tuple[Any, Dataset, tuple[str, ...]]:
    """The network, its images, and the sites."""
    if config.vgg:
        network: Any = nnx.jit(lambda: models.NETWORKS["vgg16_cifar"](rngs=nnx.Rngs(0)))()
        rng = np.random.default_rng(0)
        images = rng.standard_normal((config.images, 32, 32, 3), np.float32)
        dataset = Dataset(images, rng.integers(10, size=config.images), tuple("0123456789"))
        some = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
        return network, dataset, config.sites or some
    if config.weights is None or config.data is None:
        raise ValueError("--weights and --data are needed, or --vgg or --vgg19")
    network = models.load(config.weights)
    preprocess = PREPROCESS[checkpoint.read_manifest(config.weights)["preprocess"]]
    dataset = data.load(config.data, split=config.split, preprocess=preprocess)
    dataset = dataset.take(np.arange(min(config.images, len(dataset))))
    return network, dataset, config.sites or network.sites


def measure(network: Any, dataset: Dataset, site: str, config: Config) -> dict:
    """Every method at one site: times and errors."""
    what = suffix(network, dataset, site)
    units = np.arange(what.activation.shape[-1])
    methods: dict[str, Callable[[], np.ndarray]] = {
        "jaxsel": lambda: ablate_units(what.model, what.dataset, site).total(),
        "from the images": lambda: ablate_units(network, dataset, site).total(),
    }
    for images, chunk in MASKS:
        methods[f"masks in JAX, {images} x {chunk}"] = lambda images=images, chunk=chunk: (
            ablate_by_masks(what.model, what.dataset, site, batch_size=images, chunk=chunk).sum(
                axis=1
            )
        )
    for layout in LAYOUTS:
        for images, chunk in PASSES:
            methods[f"PyTorch, {layout}, {images} x {chunk}"] = (
                lambda layout=layout, images=images, chunk=chunk: masked_loop(
                    what, layout, images, chunk, torch.float32, usual_loss
                ).sum(axis=1)
            )
    if config.captum:
        methods["captum"] = lambda: captum_ablation(what)
    times: dict[str, list[float]] = {name: [] for name in methods}
    first, totals = {}, {}
    for turn in range(config.repeats + 1):
        for name, run in methods.items():
            start = time.perf_counter()
            totals[name] = run()
            seconds = time.perf_counter() - start
            if turn == 0:
                first[name] = seconds
            else:
                times[name].append(seconds)
    for precision in LOWER:
        effects = ablate_units(what.model, what.dataset, site, precision=precision)
        totals[precision] = effects.total()
    true = masked_loop(what, "contiguous", 16, 1, torch.float64, exact_loss)
    medians = {name: statistics.median(found) for name, found in times.items()}
    best: dict[str, float] = {}
    for name, seconds in medians.items():
        kind = name.split(",")[0]
        best[kind] = min(seconds, best.get(kind, np.inf))
    row = {
        "site": site,
        "channels": len(units),
        "seconds": times,
        "first_call_seconds": first,
        "best": best,
        "errors": {name: errors(found, true) for name, found in totals.items()},
    }
    print(markdown(row), flush=True)
    return row


@torch.no_grad()
def masked_loop(
    what: Suffix, layout: str, images: int, chunk: int, dtype: torch.dtype, loss: Loss
) -> np.ndarray:
    """Loss changes `(units, images)`: what follows the site runs once per mask."""
    rest, kind = what.network(dtype), LAYOUTS[layout]

    def nchw(array: np.ndarray) -> torch.Tensor:
        return (
            torch.tensor(array, dtype=dtype).permute(0, 3, 1, 2).contiguous(memory_format=kind)
        )

    labels = torch.tensor(what.dataset.labels, dtype=torch.long)
    n_images, n_units = len(labels), what.activation.shape[-1]
    change = np.zeros((n_units, n_images))
    for start in range(0, n_images, images):
        some = slice(start, start + images)
        x = nchw(what.activation[some])
        past = None if what.around is None else nchw(what.around[some])
        own, n = labels[some], len(x)
        before = loss(rest(x, past), own)
        for first in range(0, n_units, chunk):
            units = range(first, min(first + chunk, n_units))
            copies = len(units)
            ablated = x.repeat(copies, 1, 1, 1).contiguous(memory_format=kind)
            for copy, unit in enumerate(units):
                ablated[copy * n : (copy + 1) * n, unit] = 0
            around = None if past is None else past.repeat(copies, 1, 1, 1)
            after = loss(rest(ablated, around), own.repeat(copies)).reshape(copies, n)
            change[first : first + copies, some] = (after - before).double().numpy()
    return change


@torch.no_grad()
def captum_ablation(what: Suffix) -> np.ndarray:
    """Loss changes summed over the images, by captum: each channel is one of its features."""
    rest = what.network(torch.float32)
    x = torch.tensor(what.activation).permute(0, 3, 1, 2).contiguous()
    past = None
    if what.around is not None:
        past = torch.tensor(what.around).permute(0, 3, 1, 2).contiguous()
    labels = torch.tensor(what.dataset.labels, dtype=torch.long)

    def loss(x: torch.Tensor) -> torch.Tensor:
        copies = len(x) // len(labels)
        around = None if past is None else past.repeat(copies, 1, 1, 1)
        return usual_loss(rest(x, around), labels.repeat(copies))

    features = torch.arange(x.shape[1])[None, :, None, None].expand(1, *x.shape[1:])
    found = captum.attr.FeatureAblation(loss).attribute(
        x, feature_mask=features, perturbations_per_eval=4
    )
    return -found[:, :, 0, 0].sum(dim=0).double().numpy()


def errors(totals: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Errors of loss changes summed over the images, of channels that change any."""
    sums, sizes = true.sum(axis=1), np.abs(true).sum(axis=1)
    moved = sizes > 0
    if not moved.any():
        return {"median": 0.0, "worst": 0.0, "of_sum": 0.0}
    error = np.abs(totals - sums)[moved]
    relative = error / np.abs(sums[moved])
    return {
        "median": float(np.median(relative)),
        "worst": float(relative.max()),
        "of_sum": float((error / sizes[moved]).max()),
    }


def markdown(row: dict) -> str:
    """One row of the table."""
    best, times = row["best"], row["seconds"]
    ours, own = times["jaxsel"], row["errors"]["jaxsel"]
    torch_error = next(e for name, e in row["errors"].items() if name.startswith("PyTorch"))
    at_lower = [row["errors"][precision]["of_sum"] for precision in LOWER]
    ratios = [
        f"{best[name] / best['jaxsel']:.2f}" if name in best else ""
        for name in ("PyTorch", "masks in JAX", "captum")
    ]
    return (
        f"| {row['site']} | {row['channels']} "
        f"| {1e3 * best['jaxsel']:.0f} [{1e3 * min(ours):.0f}, {1e3 * max(ours):.0f}] "
        f"| {1e3 * best['from the images']:.0f} | {' | '.join(ratios)} "
        f"| {own['median']:.0e} | {own['worst']:.0e} | {own['of_sum']:.0e} "
        f"| {torch_error['of_sum']:.0e} "
        f"| {' | '.join(f'{lower:.0e}' for lower in at_lower)} "
        f"| {row['first_call_seconds']['jaxsel']:.1f} |"
    )


def count_vgg19() -> None:
    """What the 5,504 channels of VGG19 cost, from counts of operations."""
    network: Any = nnx.eval_shape(lambda: models.NETWORKS["vgg19"](rngs=nnx.Rngs(0)))
    total, channels = 0.0, 0
    for site in network.sites:
        if not site.startswith("conv"):
            continue
        x = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
        n = activation_of(network, x, site).shape[-1]
        total += n * flop_after(network, (224, 224, 3), site)
        channels += n
    print(
        f"VGG19: {channels} channels, {total:.3g} FLOP an image by masks from the cached "
        f"inputs, {5000 * total:.3g} for 5,000 images"
    )


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
