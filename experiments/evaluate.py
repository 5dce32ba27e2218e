"""How well a network does: table 1 of Kanda et al. for any checkpoint and any images.

python -m experiments.evaluate --weights DIR --data SPEC [--split S] [--preprocess NAME]

Prints the number of images and of those that are right, top-1 and top-5 accuracy, the mean
loss, and mean and standard deviation of P(correct), the probability of the right class;
`--out FILE.json` also writes them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsel.evaluation import Evaluation, evaluate

from . import cli
from .weights import network_and_images


@dataclass(frozen=True)
class Config:
    """What is evaluated."""

    weights: Path
    """checkpoint folder that `python -m ports` wrote"""
    data: str
    """digits, or npz:PATH"""
    split: str | None = None
    """part of the data, such as train or test, where it has several"""
    preprocess: str | None = None
    """instead of the preprocessing that the checkpoint records"""
    batch_size: int = 128
    """images at a time; no result depends on it beyond the last bits"""
    out: Path | None = None
    """JSON file for the numbers"""


def main(config: Config) -> None:
    """Load, evaluate, print, write."""
    if config.out is not None and not config.out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {config.out.parent} for {config.out.name}")
    if config.out is not None and config.out.is_dir():
        raise IsADirectoryError(f"{config.out} is a folder: --out takes the name of a file")
    model, images, manifest, preprocess = network_and_images(
        config.weights, config.data, config.split, config.preprocess
    )
    with cli.progress() as bars:
        bar = bars.add_task("images", total=len(images))
        evaluation = evaluate(
            model,
            images,
            batch_size=config.batch_size,
            progress=lambda done: bars.update(bar, completed=done),
        )
    found = summary(evaluation)
    print(
        f"network {manifest['network']}, preprocessing {preprocess}\n"
        f"images {found['images']:,}\n"
        f"right {found['correct']:,}\n"
        f"top-1 {100 * found['top1']:.3f} %\n"
        f"top-5 {100 * found['top5']:.3f} %\n"
        f"mean loss {found['loss']:.6g} nats\n"
        f"P(correct) {found['p_correct_mean']:.4f}, standard deviation "
        + ("none" if found["p_correct_std"] is None else f"{found['p_correct_std']:.4f}")
    )
    if config.out is not None:
        about = {
            "network": manifest["network"],
            "preprocess": preprocess,
            "data": config.data.partition(":")[0],
            "split": config.split,
            "weights_sha256": manifest.get("sha256"),
        }
        unfinished = config.out.with_name(f".{config.out.name}.unfinished")
        unfinished.write_text(json.dumps(found | about, indent=2) + "\n")
        unfinished.replace(config.out)


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The numbers of Kanda's table 1 and the mean loss.

    Accuracies are fractions, the loss is in nats; the standard deviation is the unbiased one,
    and None for a single image.

    >>> import numpy as np
    >>> loss, probability, rank = np.array([0.0, 0.5]), np.array([1.0, 0.6]), np.array([0, 7])
    >>> found = summary(Evaluation(loss, probability, rank))
    >>> found["correct"], found["top5"], found["loss"], round(found["p_correct_std"], 4)
    (1, 0.5, 0.25, 0.2828)
    """
    n = len(evaluation.rank)
    probability = evaluation.probability
    return {
        "images": n,
        "correct": int((evaluation.rank == 0).sum()),
        "top1": evaluation.accuracy(1),
        "top5": evaluation.accuracy(5),
        "loss": float(evaluation.loss.mean()),
        "p_correct_mean": float(probability.mean()),
        "p_correct_std": float(probability.std(ddof=1)) if n > 1 else None,
    }


if __name__ == "__main__":
    cli.run(main, Config, __doc__ or "")
