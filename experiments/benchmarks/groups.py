"""How fast groups of units are evaluated: only what is kept, beside masks.

    python -m experiments.benchmarks.groups
    python -m experiments.benchmarks.groups --weights weights/NAME --data npz:mnist.npz \
        --split test --images 5000

Heads of AlexNet's shape with made-up responses, 15 % and 21 % of them active, or the hidden
layers of a trained network. Three kinds of groups: a quarter of the units at random; the
mixtures of Kanda's figure 6 (`default_keep` units of two halves, eleven shares); the steps of a
removal of all units in random order. In one process on one machine, by turns: jaxsel's gathered
engine; its plain masks; a PyTorch loop over groups with masks, and one with gathered rows. The
loops find losses only, and are timed on some of the groups and scaled. Prints Markdown rows;
`--out` writes all numbers as JSON.
"""

import dataclasses
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import torch

from jaxsel import Dataset, ablate_groups, ablate_in_order, mixture_curve
from jaxsel.report import environment

from .. import cli
from .heads import SITE, Head, alexnet_head, trained_heads
from .peers import Cached, usual_loss

KINDS = ("random", "mixture", "removal")
ENGINES = {"jaxsel, gathered": "gathered", "jaxsel, masks": "masks"}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured."""

    images: int = 64
    """how many"""
    trials: int = 20
    """of the mixtures, each of eleven groups; as many groups of the other kinds"""
    kinds: tuple[str, ...] = KINDS
    """of groups: random, mixture, removal"""
    active: tuple[float, ...] = (0.15, 0.21)
    """shares of the units that respond, for the made-up responses"""
    weights: tuple[Path, ...] = ()
    """checkpoints of trained fully connected networks, instead of made-up responses"""
    data: str | None = None
    """images for them: npz:PATH"""
    split: str | None = None
    """part of the file"""
    repeats: int = 3
    """timed runs of each after the first"""
    timed_groups: int = 22
    """groups that PyTorch is timed on, and compared with float64"""
    out: Path | None = None
    """JSON file for all numbers"""


def main(config: Config) -> None:
    """Measure and print."""
    if config.weights and config.data is None:
        raise ValueError("--weights needs --data, such as npz:mnist.npz")
    if unknown := set(config.kinds) - set(KINDS):
        raise ValueError(f"kinds are {', '.join(KINDS)}; found {', '.join(sorted(unknown))}")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}; Python "
        f"{platform.python_version()}, jax {jax.__version__}, torch {torch.__version__}; "
        f"commit {environment()['git_commit']}; n = {config.repeats}"
    )
    print(
        "| head | images | groups | units kept | gathered: us a pair, median [min, max] "
        "| masks in JAX | PyTorch, masks | PyTorch, gathered rows | masks in JAX / ours "
        "| PyTorch masks / ours | PyTorch gathered / ours | worst relative error of a loss: "
        "ours | masks in JAX | first call, s: ours | masks in JAX |"
    )
    print("|---" * 15 + "|")
    found = []
    for head in heads(config):
        found += [measure(head, kind, config) for kind in config.kinds]
    if config.out is not None:
        unfinished = config.out.with_name(f".{config.out.name}.unfinished")
        unfinished.write_text(json.dumps(found, indent=1))
        unfinished.replace(config.out)


def heads(config: Config) -> Iterator[Head]:
    """What to measure, made when its turn comes."""
    for folder in config.weights:
        assert config.data is not None
        yield from trained_heads(folder, config.data, config.split, config.images)
    if not config.weights:
        for site, share in itertools.product(("fc6", "fc7"), config.active):
            yield in_memory(alexnet_head(site, share, config.images))


def in_memory(head: Head) -> Head:
    """The same with its responses made: making them is no part of what is timed."""
    data = head.dataset
    dataset = Dataset(data.inputs(slice(None)), data.labels, data.class_names)
    return dataclasses.replace(head, dataset=dataset)


def measure(head: Head, kind: str, config: Config) -> dict:
    """Every method on one head and one kind of groups: times and errors."""
    keep, call = masks_and_call(head, kind, config.trials)
    n_images, n_groups = len(head.dataset), len(keep)
    some = np.unique(np.linspace(0, n_groups - 1, config.timed_groups).astype(int))
    cached = Cached(head)
    methods: dict[str, tuple[Callable[[], object], int]] = {
        **{
            name: (lambda engine=engine: call(engine), n_groups)
            for name, engine in ENGINES.items()
        },
        "PyTorch, masks": (lambda: masked_loop(cached, keep[some]), len(some)),
        "PyTorch, gathered rows": (lambda: gathered_loop(cached, keep[some]), len(some)),
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    first = {}
    for turn in range(config.repeats + 1):
        for name, (run, n) in methods.items():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            if turn == 0:
                first[name] = seconds
            else:
                times[name].append(seconds / (n_images * n))
    true = masked_loop(Cached(head, torch.float64), keep[some])
    row = {
        "head": head.name,
        "images": n_images,
        "kind": kind,
        "groups": n_groups,
        "units_kept": float(keep.sum(axis=1).mean()),
        "seconds_a_pair": times,
        "first_call_seconds": first,
        "errors": {name: errors(head, keep[some], true, ENGINES[name]) for name in ENGINES},
    }
    print(markdown(row), flush=True)
    return row


def masks_and_call(
    head: Head, kind: str, trials: int
) -> tuple[np.ndarray, Callable[[str], object]]:
    """The units that each group keeps, and jaxsel's function for groups of this kind."""
    n, rng = head.n_units, np.random.default_rng(0)
    model, dataset = head.model, head.dataset
    first = rng.permutation(n) < n // 2
    if kind == "removal":
        order, every = rng.permutation(n), -(-n // (11 * trials))
        place = np.argsort(order)
        keep = place >= np.append(np.arange(0, n, every), n)[:, None]
        return keep, lambda engine: ablate_in_order(
            model, dataset, SITE, order, every=every, engine=engine
        )
    if kind == "mixture":
        # The groups that figure 6 is made of, drawn again: which units does not matter here.
        n_kept = min(round(1000 / 4096 * n), n // 2)
        keep = np.zeros((trials, 11, n), bool)
        for trial in keep:
            pools = [rng.permutation(np.flatnonzero(pool)) for pool in (first, ~first)]
            for mask, share in zip(trial, np.linspace(0, 1, 11), strict=True):
                others = round(share * n_kept)
                mask[pools[1][:others]] = mask[pools[0][: n_kept - others]] = True
        return keep.reshape(-1, n), lambda engine: mixture_curve(
            model, dataset, SITE, first, ~first, rng=rng, trials=trials, engine=engine
        )
    keep = np.zeros((11 * trials, n), bool)
    for mask in keep:
        mask[rng.choice(n, n // 4, replace=False)] = True
    return keep, lambda engine: ablate_groups(model, dataset, {SITE: keep}, engine=engine)


@torch.no_grad()
def masked_loop(cached: Cached, keep: np.ndarray) -> np.ndarray:
    """Loss of every group, summed over the images: the rest of the network runs once each."""
    found = []
    for mask in torch.tensor(keep):
        logits = cached.tail(torch.where(mask, cached.h, 0))
        found.append(cached.losses(logits[None], usual_loss).double().sum())
    return torch.stack(found).numpy()


@torch.no_grad()
def gathered_loop(cached: Cached, keep: np.ndarray) -> np.ndarray:
    """The same with only the kept units' columns of responses and rows of the weight."""
    weight, bias = cached.layers[0]
    found = []
    for mask in torch.tensor(keep):
        kept = torch.nonzero(mask)[:, 0]
        z = cached.h[:, kept] @ weight[kept] + bias
        logits = cached.tail(z, 1)
        found.append(cached.losses(logits[None], usual_loss).double().sum())
    return torch.stack(found).numpy()


def errors(head: Head, keep: np.ndarray, true: np.ndarray, engine: str) -> float:
    """The worst relative error of a group's loss over all images."""
    found = ablate_groups(head.model, head.dataset, {SITE: keep}, engine=engine)
    return float(np.abs(found.loss.sum(axis=1) / true - 1).max())


def markdown(row: dict) -> str:
    """One row of the table."""
    micro = {name: 1e6 * np.array(times) for name, times in row["seconds_a_pair"].items()}
    shown = [
        f"{np.median(some):.3g} [{min(some):.3g}, {max(some):.3g}]" for some in micro.values()
    ]
    ours, *others = (statistics.median(times.tolist()) for times in micro.values())
    cells = [
        *(row["head"], row["images"], f"{row['groups']}, {row['kind']}"),
        f"{row['units_kept']:.0f}",
        *shown,
        *(f"{other / ours:.2f}" for other in others),
        *(f"{error:.0e}" for error in row["errors"].values()),
        *(f"{row['first_call_seconds'][name]:.1f}" for name in ENGINES),
    ]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
