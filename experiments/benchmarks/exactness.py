"""How exact and how fast ablation of every unit is, against float32 brute force.

    python -m experiments.benchmarks.exactness --weights DIR --data npz:mnist.npz --split test

For every site of a fully connected network: the loss change of each unit by jaxsel, by
float32 brute force in JAX and by float32 brute force in PyTorch (one mask after another, on
cached responses), each against float64 brute force in PyTorch. Prints Markdown rows.
"""

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxsel import ablate_units, checkpoint, cross_entropy, data, forward, models
from jaxsel.data import PREPROCESS
from jaxsel.sites import replaced

from .. import cli


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured."""

    weights: Path
    """checkpoint of an mlp"""
    data: str
    """npz:PATH"""
    split: str | None = None
    """part of the file"""
    n_images: int = 1000
    """the first so many images"""
    repeats: int = 5
    """timed runs after the first, interleaved"""


def main(config: Config) -> None:
    """Measure and print one row per site and method."""
    preprocess = PREPROCESS[checkpoint.read_manifest(config.weights)["preprocess"]]
    images = data.load(config.data, split=config.split, preprocess=preprocess)
    images = images.take(np.arange(min(config.n_images, len(images))))
    model: Any = models.load(config.weights)
    inputs = images.inputs(slice(None))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; jax {jax.__version__}, "
        f"torch {torch.__version__}; {len(images)} images, n = {config.repeats}"
    )
    print(
        "| site | method | median error | worst / sum of abs. changes | wrong signs "
        "| seconds: median [min, max] |"
    )
    print("|---|---|---|---|---|---|")
    for depth, site in enumerate(model.sites):
        methods: dict[str, Callable[[], np.ndarray]] = {
            "jaxsel": lambda site=site: ablate_units(model, images, site).total(),
            "JAX, masks, float32": lambda site=site: jax_masks(
                model, inputs, images.labels, site
            ),
            "PyTorch, masks, float32": lambda depth=depth: torch_masks(
                model, inputs, images.labels, depth, torch.float32
            ).sum(axis=1),
        }
        pairs = torch_masks(model, inputs, images.labels, depth, torch.float64, exact_loss)
        true, sizes = pairs.sum(axis=1), np.abs(pairs).sum(axis=1)
        found = {name: method() for name, method in methods.items()}  # compiles
        times = {name: [] for name in methods}
        for _ in range(config.repeats):
            for name, method in methods.items():
                start = time.perf_counter()
                method()
                times[name].append(time.perf_counter() - start)
        moved = sizes > 0
        for name, totals in found.items():
            error = np.abs(totals - true)[moved]
            median = np.median(error / np.abs(true[moved]))
            worst = np.max(error / sizes[moved])
            wrong = int(np.sum(np.sign(totals[moved]) != np.sign(true[moved])))
            seconds = times[name]
            print(
                f"| {site} | {name} | {median:.1e} | {worst:.1e} | {wrong} of {moved.sum()} "
                f"| {statistics.median(seconds):.2f} [{min(seconds):.2f}, {max(seconds):.2f}] |"
            )


def jax_masks(model, images, labels, site: str) -> np.ndarray:
    """Loss with each unit masked less the loss without, both float32, 32 units at a time."""
    logits, activations = _intact(model, images, site)
    activation = activations[site]
    units = jnp.arange(activation.shape[-1])
    losses = jax.lax.map(
        lambda unit: _masked_loss(model, images, labels, activation, unit, site),
        units,
        batch_size=32,
    )
    return np.asarray(losses - cross_entropy(logits, labels).sum())


@jax.jit(static_argnames="site")
def _intact(model, images, site):
    return forward(model, images, sites=(site,))


@jax.jit(static_argnames="site")
def _masked_loss(model, images, labels, activation, unit, site):
    kept = activation * (jnp.arange(activation.shape[-1]) != unit)
    return cross_entropy(model(images, replaced(site, kept)), labels).sum()


def usual_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy as everybody computes it."""
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def exact_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy that keeps losses below 1e-16: log1p of the sum over other classes."""
    lead = logits - logits.gather(1, labels[:, None])
    lead.scatter_(1, labels[:, None], -torch.inf)
    top = lead.max(dim=1).values.clamp(min=0)
    rest = torch.exp(lead - top[:, None]).sum(dim=1)
    behind = top + torch.log(torch.exp(-top) + rest)
    return torch.where(top > 0, behind, torch.log1p(rest))


@torch.no_grad()
def torch_masks(
    model, images, labels, depth: int, dtype: torch.dtype, loss=usual_loss
) -> np.ndarray:
    """Loss changes `(units, images)` by one forward pass per mask from cached responses."""
    layers = [
        tuple(
            torch.tensor(np.asarray(array), dtype=dtype) for array in (layer.kernel, layer.bias)
        )
        for layer in model.layers
    ]
    x = torch.tensor(images.reshape(len(images), -1), dtype=dtype)
    y = torch.tensor(labels, dtype=torch.long)
    for kernel, bias in layers[: depth + 1]:
        x = torch.relu(x @ kernel + bias)
    rest = layers[depth + 1 :]

    def losses(h: torch.Tensor) -> torch.Tensor:
        for kernel, bias in rest[:-1]:
            h = torch.relu(h @ kernel + bias)
        kernel, bias = rest[-1]
        return loss(h @ kernel + bias, y)

    before = losses(x)
    changes = []
    for unit in range(x.shape[1]):
        ablated = x.clone()
        ablated[:, unit] = 0
        changes.append(losses(ablated) - before)
    return torch.stack(changes).double().numpy()


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
