"""Figure 6: networks of few units, selective and non-selective in every proportion."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxsel import mixture_curve, plotting, statistics
from jaxsel.ablation import default_keep
from jaxsel.data import Dataset
from jaxsel.report import Drawing, Number
from jaxsel.sites import Model

from .measure import SiteUnits
from .wording import ALPHA, number, p_value

FEWEST_CLASSES = 50  # with fewer, five guesses are nearly always enough


def figure_6(
    model: Model,
    dataset: Dataset,
    measured: Mapping[str, SiteUnits],
    folder: Path,
    *,
    trials: int,
    rng: np.random.Generator,
    progress: Callable[[str, int], Callable[[int], None]],
) -> tuple[list[Number], Drawing]:
    """Accuracy by the share of non-selective units, one line per trial."""
    k = 5 if len(dataset.class_names) >= FEWEST_CLASSES else 1
    fractions = tuple(np.linspace(0, 1, 11))
    figure, axes = plotting.panels(len(measured), height=3.0, sharey=True)
    numbers, parts = [], []
    for ax, site in zip(axes[0], measured.values(), strict=True):
        others = site.live & ~site.selective
        n_units = len(site.live)
        keep = min(default_keep(n_units), int(site.selective.sum()), int(others.sum()))
        title = f"{site.site}: {keep} of {n_units} units kept"
        if keep < 2:
            ax.set_title(f"{site.site}: too few units")
            parts.append(f"{site.site} has too few live units")
            continue
        curve = mixture_curve(
            model,
            dataset,
            site.site,
            site.selective,
            others,
            rng=rng,
            keep=keep,
            fractions=fractions,
            trials=trials,
            k=k,
            progress=progress(
                f"mixtures of {site.site}", len(dataset) * trials * len(fractions)
            ),
        )
        baseline = site.effects.baseline
        intact = (baseline.top1 if k == 1 else baseline.top5).sum() / baseline.images.sum()
        share = curve.n_non_selective / keep
        plotting.mixture_lines(ax, share, curve.accuracy, intact=intact, k=k, title=title)
        text, found = _statistics(site.site, share, curve.accuracy, curve.loss_ratio)
        parts.append(f"{title}. {text}")
        numbers += found
    plotting.save(figure, folder / "figure_6")
    reason = (
        ""
        if k == 5
        else (f" (the paper's top-5 says little with {len(dataset.class_names)} classes)")
    )
    sentence = (
        f"Top-{k} accuracy{reason} of networks that keep few of a site's units, by the share "
        "of non-selective ones (CSI at or below the median); thin lines are "
        f"{trials} trials with units drawn at random. "
        + " ".join(parts)
        + " In the paper, mixtures do better than either kind alone."
    )
    return numbers, Drawing(
        "figure_6", "Figure 6. Mixtures of selective and non-selective units", sentence
    )


def _statistics(site, share, accuracy, loss_ratio) -> tuple[str, list[Number]]:
    """The half-and-half mixture against both ends, paired by trial: fixed beforehand."""
    label, where = "Figure 6", f"figure_6.{site}"
    mean = accuracy.mean(axis=0)
    best = int(np.argmax(mean))
    half = int(np.argmin(np.abs(share - 0.5)))
    tests = {
        "selective": statistics.signed_rank(accuracy[:, half] - accuracy[:, 0]),
        "non_selective": statistics.signed_rank(accuracy[:, half] - accuracy[:, -1]),
    }
    numbers = [
        number(
            f"{where}.accuracy_selective",
            label,
            f"mean accuracy with selective units of {site} only",
            float(mean[0]),
            "fraction of images",
        ),
        number(
            f"{where}.accuracy_half",
            label,
            f"mean accuracy with half and half, {site}",
            float(mean[half]),
            "fraction of images",
        ),
        number(
            f"{where}.accuracy_non_selective",
            label,
            f"mean accuracy with non-selective units of {site} only",
            float(mean[-1]),
            "fraction of images",
        ),
        number(
            f"{where}.best_share",
            label,
            f"share of non-selective units with the largest mean accuracy, {site}",
            float(share[best]),
            "1",
            "between 0 and 1",
        ),
        number(
            f"{where}.loss_ratio_half",
            label,
            f"median loss ratio with half and half, {site}",
            float(np.median(loss_ratio[:, half])),
            "%",
            "> 1000",
        ),
    ]
    for kind, test in tests.items():
        text = f"half and half against {kind.replace('_', '-')} units only, {site}"
        numbers += [
            number(f"{where}.z_half_over_{kind}", label, f"signed-rank z, {text}", test.z, "1"),
            number(
                f"{where}.p_half_over_{kind}", label, f"its P, two-sided; {text}", test.p, "1"
            ),
        ]
    better = [test.z > 0 and test.p < ALPHA for test in tests.values()]
    verdict = (
        "the mixture beats both ends, as in the paper"
        if all(better)
        else "the mixture beats one end only"
        if any(better)
        else "the mixture beats neither end"
    )
    first, second = tests.values()
    text = (
        f"Mean accuracy {mean[0]:.3f} with selective units only, {mean[half]:.3f} half and "
        f"half, {mean[-1]:.3f} with non-selective ones only; half and half against each end, "
        f"paired by trial: z = {first.z:.1f} ({p_value(first.p)}) and z = {second.z:.1f} "
        f"({p_value(second.p)}): {verdict}. The best mean is at a share of {share[best]:.2f}."
    )
    return text, numbers
