"""Table 1: how well the network does, on all images and on the best of each class."""

import numpy as np

from jaxsel.evaluation import Evaluation
from jaxsel.report import Number, Table

PAPER = {
    "all": ".4599 ± .3918 / .7951 / .5645",
    "best": ".9361 ± .1266 / 1.0000 / .9942",
}


def table_1(
    evaluation: Evaluation, best: np.ndarray, n_best: int
) -> tuple[list[Number], Table]:
    """The table and its numbers.

    Args:
        evaluation: of every image.
        best: indices of the best images.
        n_best: how many of each class they are.
    """
    numbers, rows = [], []
    sets = {"all": np.arange(len(evaluation.loss)), "best": best}
    names = {"all": "all test images", "best": f"best {n_best} of each class"}
    for key, chosen in sets.items():
        probability, rank = evaluation.probability[chosen], evaluation.rank[chosen]
        mean, sd = float(probability.mean()), float(probability.std(ddof=1))
        top5, top1 = float(np.mean(rank < 5)), float(np.mean(rank < 1))
        loss = float(evaluation.loss[chosen].sum())
        found = [
            ("images", "images in the set", len(chosen), "images", ""),
            ("probability_mean", "P(correct), mean over images", mean, "probability", ""),
            ("probability_sd", "P(correct), standard deviation", sd, "probability", ""),
            ("top5", "top-5 accuracy", top5, "fraction of images", ""),
            ("top1", "top-1 accuracy", top1, "fraction of images", ""),
            ("loss", "summed cross-entropy of the intact network", loss, "nats", ""),
        ]
        paper = PAPER[key].split(" / ")
        papers = ["", *paper[0].split(" ± "), paper[1], paper[2], ""]
        for (name, meaning, value, unit, _), printed in zip(found, papers, strict=True):
            text = f"{meaning}; {names[key]}"
            numbers.append(
                Number(f"table_1.{key}.{name}", "Table 1", text, value, unit, printed)
            )
        counted = [f"{len(chosen):,}", f"{mean:.4f} ± {sd:.4f}", f"{top5:.4f}", f"{top1:.4f}"]
        rows.append([names[key], *counted, PAPER[key]])
    columns = ["images", "number", "P(correct), mean ± SD", "top-5", "top-1", "paper, AlexNet"]
    sentence = (
        "P(correct) is the probability that the network gives to the right class; top-5 and "
        "top-1 are fractions of images. The best images of a class are those with the "
        f"smallest loss. As in the paper, the network does better on them: {rows[1][2]} "
        f"against {rows[0][2]}. The paper's column has the same three entries (P, top-5, "
        "top-1) for AlexNet on ImageNet."
    )
    return numbers, Table("Table 1. Performance", columns, rows, sentence)
