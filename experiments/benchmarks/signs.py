"""Whether the sign that is stated of a loss change is ever wrong: a hundred thousand units.

    python -m experiments.benchmarks.signs --out signs.json

Small random networks, of a kind for each engine, are ablated by jaxsel and by brute force in
80-bit arithmetic. Weights have scales from 1e-3 to 1e3, networks are sure of their images or
not, and units are planted that are silent, that are copies of each other, that cancel, or that
nothing listens to.
"""

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsel import Dataset, UnitEffects, ablate_units, adapters

from .. import cli

N_CLASSES = 7
# Effects below this share of the sum of absolute changes may be undecided.
WORTH_DECIDING = 1e-6
COUNTS = ("units", "wrong", "undecided", "worth_deciding", "recomputed", "beyond_error")
# What the brute force itself is off by, in roundings of the losses that it subtracts.
ROUNDINGS = 64


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings."""

    cases: int = 100_000
    """units to ablate, over all kinds of networks"""
    images: int = 24
    """images of each network"""
    seed: int = 0
    """of the networks"""
    out: Path = Path("signs.json")
    """file of the result"""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A network, as weights, and images for it.

    Attributes:
        kind: one of `KINDS`.
        weights: float32.
        dataset: what comes in at the site.
    """

    kind: str
    weights: list[np.ndarray]
    dataset: Dataset


# Weights by shape, the site's units first; a window where there are four axes.
KINDS: dict[str, list[tuple[int, ...]]] = {
    "dense": [(96, 48), (48, N_CLASSES)],
    "generic": [(64, 48), (48, 32), (32, N_CLASSES)],
    "channel": [(3, 3, 32, 8), (8, N_CLASSES)],
}
SIDE = 4


def network(arrays: list[Any], images: Any, tap: Any) -> Any:
    """The logits, in whatever arithmetic the arrays have in JAX."""
    x = tap("in", images)
    if arrays[0].ndim == 4:
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, arrays[0], (1, 1), "SAME", dimension_numbers=numbers
        )
        x, arrays = jax.nn.relu(x).mean((1, 2)), arrays[1:]
    for weight in arrays[:-1]:
        x = jax.nn.relu(x @ weight)
    return x @ arrays[-1]


def losses(weights: list[np.ndarray], x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The same in NumPy, in 80-bit numbers, to the loss of each image."""
    if weights[0].ndim == 4:
        kernel = weights[0].astype(np.longdouble)
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        out = np.zeros((*x.shape[:3], kernel.shape[-1]), np.longdouble)
        for i, j in np.ndindex(3, 3):
            out += padded[:, i : i + SIDE, j : j + SIDE] @ kernel[i, j]
        x, weights = np.maximum(out, 0).mean((1, 2)), weights[1:]
    for weight in weights[:-1]:
        x = np.maximum(x @ weight.astype(np.longdouble), 0)
    logits = x @ weights[-1].astype(np.longdouble)
    lead = logits - logits[np.arange(len(x)), labels][:, None]
    lead[np.arange(len(x)), labels] = -np.inf
    top = np.maximum(lead.max(axis=1), 0)
    rest = np.exp(lead - top[:, None]).sum(axis=1)
    return np.where(top > 0, top + np.log(np.exp(-top) + rest), np.log1p(rest))


def drawn(kind: str, n_images: int, rng: np.random.Generator) -> Case:
    """A random network with planted units, and images."""
    weights = []
    for shape in KINDS[kind]:
        scale = 10.0 ** rng.uniform(-1, 1) / np.sqrt(np.prod(shape[:-1]))
        weights.append(rng.normal(0, scale, shape).astype(np.float32))
    weights[0] *= np.float32(10.0 ** rng.uniform(-3, 3))
    # Sure of its images, or not: logits of about this size.
    first, last = weights[0], weights[-1]
    n_units = first.shape[-2]
    shape = (n_images, SIDE, SIDE, n_units) if first.ndim == 4 else (n_images, n_units)
    x = np.maximum(rng.normal(rng.uniform(-1, 0.5), 1, shape), 0).astype(np.float32)
    x *= np.float32(10.0 ** rng.uniform(-3, 3))
    _plant(first, weights[1], x, rng)
    sample = jax.device_get(network([jnp.asarray(one) for one in weights], x, lambda _, y: y))
    last *= np.float32(10.0 ** rng.uniform(-2, 1.7) / max(np.abs(sample).max(), 1e-30))
    labels = np.where(rng.random(n_images) < 0.8, sample.argmax(1), rng.integers(7, size=1))
    return Case(kind, weights, Dataset(x, labels, tuple("abcdefg")))


def _plant(first: np.ndarray, second: np.ndarray, x: np.ndarray, rng) -> None:
    """Silent units, copies, units that cancel, and some that nothing listens to."""
    units, hidden = rng.permutation(first.shape[-2]), rng.permutation(first.shape[-1])
    x[..., units[0]] = 0
    first[..., units[1], :] = 0
    first[..., units[2], :] = first[..., units[3], :]
    x[..., units[2]] = x[..., units[3]]
    # Through these two columns alone: what they add to every logit is nothing.
    first[..., units[4], :] = 0
    first[..., units[4], hidden[:2]] = 1
    first[..., hidden[0]] = first[..., hidden[1]]
    second[hidden[0]] = -second[hidden[1]]
    # Nearly nothing, but for the last digits of a weight.
    if rng.random() < 0.5:
        second[hidden[0]] *= np.float32(1 + 2.0 ** -rng.integers(10, 23))
    # Tiny beside all others.
    x[..., units[5]] *= np.float32(1e-6)


def compared(case: Case) -> dict[str, int]:
    """How many verdicts on the units of a case are right, wrong, or missing."""
    model = adapters.with_parameters(network, [jnp.asarray(one) for one in case.weights])
    effects: UnitEffects = ablate_units(model, case.dataset, "in", engine=case.kind)
    x, labels = case.dataset.images.astype(np.longdouble), case.dataset.labels
    before = losses(case.weights, x, labels)
    eps = np.finfo(np.longdouble).eps
    counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
    for unit, verdict in zip(effects.units, effects.verdict(), strict=True):
        ablated = x.copy()
        ablated[..., unit] = 0
        after = losses(case.weights, ablated, labels)
        change, size = (after - before).sum(), np.abs(after - before).sum()
        known_to = ROUNDINGS * eps * np.maximum(after, before).sum()
        truth = "harms" if change > known_to else "improves" if change < -known_to else None
        counts["units"] += 1
        stated = verdict in ("harms", "improves")
        counts["wrong"] += int(truth is not None and stated and verdict != truth)
        counts["wrong"] += int(truth is not None and verdict == "zero")
        worth = truth is not None and abs(change) > WORTH_DECIDING * size
        counts["worth_deciding"] += int(worth)
        counts["undecided"] += int(worth and verdict == "undecided")
        off = abs(effects.total()[unit] - change) - known_to
        counts["beyond_error"] += int(off > effects.error[unit])
    counts["recomputed"] = len(effects.recomputed)
    return counts


def main(config: Config) -> None:
    """Draw networks of every kind until there are enough units."""
    found: dict[str, dict[str, int]] = {}
    with cli.progress() as bars:
        for kind, shapes in KINDS.items():
            n = -(-config.cases // len(KINDS) // shapes[0][-2])
            bar = bars.add_task(f"{n} networks for the {kind} engine", total=n)
            total: dict[str, int] = {}
            for i in range(n):
                rng = np.random.default_rng([config.seed, len(found), i])
                for key, count in compared(drawn(kind, config.images, rng)).items():
                    total[key] = total.get(key, 0) + count
                bars.update(bar, completed=i + 1)
            found[kind] = total
            print(kind, total, flush=True)
    about = {"jax": jax.__version__, "machine": platform.machine(), "seed": config.seed}
    config.out.write_text(json.dumps({"about": about, "found": found}, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
