"""Experiment 1: what is left of a network's own similarities when rarely firing units go."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsel import checkpoint, models, plotting, record
from jaxsel.data import Dataset
from jaxsel.evaluation import evaluate
from jaxsel.metrics import percentage_of_zeros
from jaxsel.report import Drawing, Number
from jaxsel.similarity import pruning_curve, random_curves, removal_order, rsm, upper_triangle

from .. import train
from ..told import Columns, Progress, Told
from ..training.images import divided
from ..weights import sites_of
from ..wording import numbers
from .claims import JUDGED, TENTHS, in_networks, of_networks
from .pruned import FEWEST, refuse_always_firing
from .settings import Initialisations

PAPER = {("fit", 8): "very close to 1", ("largest_zeros", 10): "nearing 100"}
OF_FIGURE = {
    "share": ("share of the units kept", "fraction"),
    "fit": ("fit, units with most zeros taken away first", "1"),
    "fit_random": ("fit, units taken away at random", "1"),
    "fit_reversed": ("fit, units with fewest zeros taken away first", "1"),
    "largest_zeros": ("largest percentage of zeros of the units kept", "%"),
}
MEANINGS = {
    "network": "seed of a network that was trained here, or name of the folder of a given one",
    "kept": "units kept",
    "share": "of all units, 0 to 1",
    "fit": "agreement of the similarities of class means with those of all units, by PoZ",
    "fit_random": "the same, units taken away at random: mean over rankings",
    "fit_reversed": "the same, units that fire most taken away first",
    "largest_zeros": "largest percentage of zeros among the units kept, percent",
    "fewest_zeros_removed": "smallest percentage of zeros among the units taken away, percent; "
    "100 where none is",
    "accuracy": "of the network on the test images",
}


def trained(config: Initialisations) -> list[tuple[str, Path]]:
    """Names and checkpoints of the networks; those that are not given are trained."""
    if config.weights:
        for place in config.weights:
            recorded = checkpoint.read_manifest(place).get("preprocess")
            if recorded not in (None, config.preprocess):
                raise ValueError(
                    f"{place} was made for images that went through {recorded}: say "
                    f"--preprocess {recorded}, instead of {config.preprocess}"
                )
        names = [place.name for place in config.weights]
        if len(set(names)) < len(names):
            raise ValueError(f"two of the networks are in folders of one name: {names}")
        return list(zip(names, config.weights, strict=True))
    sites = sites_of(models.outline(config.network, {}))
    if config.site is not None and config.site not in sites:
        raise KeyError(f"unknown site {config.site}: {config.network} has {', '.join(sites)}")
    settings = dataclasses.replace(config, out=config.folder / "training")
    train.main(settings)
    networks = config.folder / "training" / "networks"
    return [(str(replica.seed), networks / str(replica)) for replica in settings.replicas]


def initialisations(
    config: Initialisations,
    networks: Sequence[tuple[str, Path]],
    figures: Path,
    progress: Progress,
) -> Told:
    """Measure every network, draw figure 1.

    Args:
        config: what was asked for.
        networks: names and checkpoints.
        figures: folder for the drawing.
        progress: called with a description and a total; returns what takes the count.
    """
    _, _, test = divided(config)
    rows: dict[str, list] = {name: [] for name in MEANINGS}
    count, site, n_units = progress("networks", len(networks)), "", 0
    for done, (name, place) in enumerate(networks):
        model = models.load(place)
        site = config.site or sites_of(model)[-1]
        measured = measure(config, model, site, test)
        n_units = int(measured["kept"][0])
        for column, values in measured.items():
            rows[column] += np.broadcast_to(values, len(TENTHS)).tolist()
        rows["network"] += [name] * len(TENTHS)
        count(done + 1)
    table = {name: np.array(column) for name, column in rows.items()}
    drawing, found = figure_1(table, figures, site)
    kinds = {checkpoint.read_manifest(place)["network"] for _, place in networks}
    accuracies = table["accuracy"].reshape(-1, len(TENTHS))[:, 0]
    where = "trained here" if not config.weights else "given"
    return Told(
        "Rarely firing units of a small network",
        [
            "This is experiment 1 of Truong and Hasson (2022): units of a layer are taken "
            "away, those first that respond 0 to most images, and the similarities of the "
            "classes' mean responses that are left are compared with those of all units.",
            f"{len(networks)} networks ({', '.join(sorted(kinds))}), {where}; site {site}, "
            f"{n_units} units; {len(test):,} test images; accuracy {accuracies.mean():.3f} "
            f"({accuracies.min():.3f} to {accuracies.max():.3f}). The paper has 50 networks, "
            "LeNet5, 84 units and 10,000 test images of CIFAR-10, and does not state how it "
            "trained them."
            + ("" if config.weights else f" Here: {config.epochs} epochs of {config.data}."),
        ],
        of_networks(table),
        JUDGED,
        [drawing],
        found,
        {"curves": Columns(table, MEANINGS)},
        "The paper's values are read from its text: 50 LeNet5 on CIFAR-10.",
    )


def measure(
    config: Initialisations, model: Any, site: str, test: Dataset
) -> dict[str, np.ndarray]:
    """What a network has to say, at every tenth of its units."""
    responses = record(model, test, [site], keep_responses=True)[site]
    assert responses.per_image is not None
    zeros = np.asarray(percentage_of_zeros(responses.per_image), np.float64)
    n_units = len(zeros)
    means = responses.class_means[responses.class_counts > 0]
    keep = np.array([n_units * tenth // 10 for tenth in TENTHS])
    if keep[-1] < FEWEST:
        raise ValueError(
            f"the site {site} has {n_units} units: a tenth of them are too few for similarities"
        )
    refuse_always_firing(zeros)
    order = removal_order(zeros)
    whole = upper_triangle(rsm(means, config.rsm))
    rng = np.random.default_rng(config.draws)
    how: Mapping[str, Any] = {"kind": config.rsm, "how": config.fit}
    random = random_curves(means, keep, whole, rng=rng, n=config.rankings, **how)
    return {
        "kept": keep,
        "share": keep / n_units,
        "fit": pruning_curve(means, order, keep, whole, **how).fit,
        "fit_random": _mean(random.fit),
        "fit_reversed": pruning_curve(means, order[::-1], keep, whole, **how).fit,
        "largest_zeros": np.array([zeros[order[n_units - n :]].max() for n in keep]),
        "fewest_zeros_removed": np.array(
            [zeros[order[: n_units - n]].min(initial=100) for n in keep]
        ),
        "accuracy": np.array([evaluate(model, test).accuracy()]),
    }


def _mean(fits: np.ndarray) -> np.ndarray:
    """Over random rankings, of those that have a fit; NaN where none has."""
    there = np.isfinite(fits)
    n = there.sum(axis=0)
    return np.where(n > 0, np.where(there, fits, 0).sum(axis=0) / np.maximum(n, 1), np.nan)


def figure_1(
    table: Mapping[str, np.ndarray], figures: Path, site: str
) -> tuple[Drawing, list[Number]]:
    """Fit and largest percentage of zeros by share kept, means and standard deviations."""
    of = {name: table[name].reshape(-1, len(TENTHS)) for name in OF_FIGURE}
    share = of["share"][0]
    n = len(of["share"])
    figure, axes = plotting.panels(2, width=3.8, height=3.0)
    for name, colour, dashes, label in (
        ("fit", plotting.BLUE, "-", "fewest zeros kept"),
        ("fit_random", plotting.GREY, "--", "random units kept"),
        ("fit_reversed", plotting.VERMILLION, ":", "most zeros kept"),
    ):
        style = {"colour": colour, "dashes": dashes, "label": label}
        plotting.mean_and_spread(
            axes[0, 0], share, of[name], name="fit with all units", **style
        )
    axes[0, 0].legend()
    plotting.mean_and_spread(
        axes[0, 1], share, of["largest_zeros"], name="largest PoZ of units kept, %"
    )
    figure.supxlabel(f"site {site}; n = {n} networks (paper 50)", fontsize=7)
    plotting.save(figure, figures / "figure_1")
    entries = []
    for level, tenth in enumerate(TENTHS):
        for name, (what, unit) in OF_FIGURE.items():
            if name == "share":
                continue
            values = of[name][:, level]
            printed = PAPER.get((name, tenth), "")
            mean = float(np.mean(values))
            entries.append((f"{name}.{tenth}0.mean", f"{what}, mean, {tenth}0 % kept", mean,
                            unit, printed))  # fmt: skip
            if n > 1:
                spread = float(np.std(values, ddof=1))
                meaning = f"{what}, standard deviation over networks, {tenth}0 % kept"
                entries.append((f"{name}.{tenth}0.sd", meaning, spread, unit))
    sentence = (
        "Left: agreement of class similarities with those of all units, as units are taken "
        "away: those with most zeros first (the paper's), at random, and those with fewest "
        "first. Right: the largest percentage of zeros that is left. "
        + (f"Lines are means over {n} networks, shades their standard deviation." if n > 1
           else "One network: there is no spread.")
    )  # fmt: skip
    fit, random = of["fit"], of["fit_random"]
    half = len(TENTHS) // 2
    beside = (
        f"With half of the units, those with fewest zeros fit {fit[:, half].mean():.3f}, units "
        f"kept at random {random[:, half].mean():.3f}; the former fit better in "
        f"{in_networks(fit[:, half] > random[:, half])}. The paper has no units kept at random."
    )
    title = "Figure 1: what is left of the network's own space"
    drawing = Drawing("figure_1", title, sentence, [beside])
    return drawing, numbers("Figure 1", "", f"site {site}", entries)
