"""How well a network does: table 1 of Kanda et al. for any checkpoint and any images.

    python -m experiments.evaluate --weights DIR --data npz:FILE.npz --split test
    python -m experiments.evaluate --weights DIR --data imagenet-val:ILSVRC2012_img_val.tar
    python -m experiments.evaluate --weights DIR --data folder:PATH --skip-corrupt
    python -m experiments.evaluate --weights DIR --data tfds:cifar10 --split test
    python -m experiments.evaluate ... --plan

Prints the number of images and of those that are right, top-1 and top-5 accuracy, the mean
loss, and mean and standard deviation of P(correct), the probability of the right class;
`--out FILE.json` also writes them, `--table FILE.parquet` a row per image. Images are
preprocessed as the checkpoint records, unless another preprocessing is asked for; the result
says which it was. An image that cannot be decoded ends the run, or is left out, counted and
named.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxsel.data import Dataset
from jaxsel.evaluation import Evaluation, evaluate
from jaxsel.report import environment, write_parquet
from ports.download import file_sha256

from . import cli, plan
from .weights import ImageFlags, described, network_and_images

MEANINGS = {
    "label": "class of the image",
    "loss": "cross-entropy, nats",
    "probability": "probability that the network gives to the label, 0 to 1",
    "rank": "classes that come before the label; below k, the image is right in the top k",
}
SHOWN = 5  # names of corrupt images on the screen; the file has all


@dataclass(frozen=True)
class Config(ImageFlags):
    """What is evaluated."""

    weights: Path
    """checkpoint folder that `python -m ports` wrote"""
    data: str
    """digits, npz:PATH, folder:PATH, tfds:NAME or imagenet-val:PATH"""
    batch_size: int = 128
    """images at a time; no result depends on it beyond the last bits"""
    out: Path | None = None
    """JSON file for the numbers"""
    table: Path | None = None
    """parquet file for a row per image; experiments.kanda --selected-by takes it"""
    plan: bool = False
    """say how long it will take, from a few images, and do nothing else"""


def main(config: Config) -> None:
    """Load, evaluate, print, write."""
    for flag, path in (("--out", config.out), ("--table", config.table)):
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}")
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: {flag} takes the name of a file")
    with cli.progress() as bars:
        loaded = network_and_images(config.weights, config.data, config, bars)
        if config.plan:

            def evaluated(some: Dataset) -> None:
                evaluate(loaded.model, some, batch_size=config.batch_size)

            compiling, running = plan.timed(evaluated, loaded.images)
            print(plan.table([plan.Step("evaluating", compiling + running)]))
            return
        bar = bars.add_task("images", total=len(loaded.images))
        evaluation = evaluate(
            loaded.model,
            loaded.images,
            batch_size=config.batch_size,
            progress=lambda done: bars.update(bar, completed=done),
        )
    found = summary(evaluation)
    recorded = loaded.manifest.get("preprocess")
    asked = f", asked for; the checkpoint records {recorded}"
    print(
        f"network {loaded.manifest['network']}, preprocessing {loaded.preprocess}"
        f"{'' if loaded.preprocess == recorded else asked}\n"
        f"images {found['images']:,}{left_out(loaded.corrupt)}\n"
        f"right {found['correct']:,}\n"
        f"top-1 {100 * found['top1']:.3f} %\n"
        f"top-5 {100 * found['top5']:.3f} %\n"
        f"mean loss {found['loss']:.6g} nats\n"
        f"P(correct) {found['p_correct_mean']:.4f}, standard deviation "
        + ("none" if found["p_correct_std"] is None else f"{found['p_correct_std']:.4f}")
    )
    if config.out is not None:
        about = {
            "network": loaded.manifest["network"],
            "preprocess": loaded.preprocess,
            "preprocess_recorded": recorded,
            "data": described(config.data),
            "split": config.split,
            "labels_sha256": None if config.labels is None else file_sha256(config.labels),
            "corrupt": list(loaded.corrupt),
            "weights_sha256": loaded.manifest.get("sha256"),
            "environment": environment(),
        }
        text = json.dumps(found | about, indent=2) + "\n"
        write(config.out, lambda unfinished: unfinished.write_text(text))
    if config.table is not None:
        columns = {"label": loaded.images.labels} | vars(evaluation)
        write(config.table, lambda unfinished: write_parquet(unfinished, columns, MEANINGS))


def write(path: Path, content: Callable[[Path], Any]) -> None:
    """A file that is there whole or not at all.

    Args:
        path: of the file.
        content: writes it where it is told to.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        content(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def left_out(corrupt: tuple[str, ...]) -> str:
    """What is said of images that cannot be decoded.

    >>> left_out(("a.png", "b.png"))
    ', left out 2 that cannot be decoded: a.png, b.png'
    """
    if not corrupt:
        return ""
    names = ", ".join(corrupt[:SHOWN]) + (", ..." if len(corrupt) > SHOWN else "")
    # A file's name need be no text, and may hold a newline.
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in names
    )
    return f", left out {len(corrupt):,} that cannot be decoded: {shown}"


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
