"""Figure 6: networks of few units, selective and non-selective in every proportion."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxsel import mixture_curve, plotting, statistics
from jaxsel.ablation import MixtureCurve, default_keep
from jaxsel.data import Dataset
from jaxsel.report import Drawing, Number
from jaxsel.sites import Model

from .measure import SiteUnits
from .wording import ALPHA, numbers, p_value

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
    found, details = [], []
    for ax, site in zip(axes[0], measured.values(), strict=True):
        others = site.live & ~site.selective
        n_units = len(site.live)
        keep = min(default_keep(n_units), int(site.selective.sum()), int(others.sum()))
        title = f"{site.site}: {keep} of {n_units} units kept"
        if keep < 2:
            ax.set_title(f"{site.site}: too few units")
            details.append(f"{site.site} has too few live units.")
            continue
        total = len(dataset) * trials * len(fractions)
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
            progress=progress(f"mixing units of {site.site}", total),
        )
        baseline = site.effects.baseline
        intact = (baseline.top1 if k == 1 else baseline.top5).sum() / baseline.images.sum()
        share = curve.n_non_selective / keep
        plotting.mixture_lines(ax, share, curve.accuracy, intact=intact, k=k, title=title)
        of_site, text = _statistics(site.site, share, curve)
        found += of_site
        details.append(f"{title}. {text}")
    plotting.save(figure, folder / "figure_6")
    reason = (
        "" if k == 5 else f" (with {len(dataset.class_names)} classes top-5 would say little)"
    )
    sentence = (
        f"Top-{k} accuracy{reason} of networks that keep few of a site's units, by the share "
        "of non-selective ones, those with a CSI at or below the median. Thin lines are "
        f"{trials} trials with units drawn at random. In the paper, mixtures do better than "
        "either kind alone."
    )
    title = "Figure 6. Mixtures of selective and non-selective units"
    return found, Drawing("figure_6", title, sentence, details)


def _statistics(site: str, share: np.ndarray, curve: MixtureCurve) -> tuple[list[Number], str]:
    """The half-and-half mixture against both ends, paired by trial: fixed beforehand."""
    accuracy = curve.accuracy
    mean = accuracy.mean(axis=0).tolist()
    best, half = int(np.argmax(mean)), int(np.argmin(np.abs(share - 0.5)))
    tests = [statistics.signed_rank(accuracy[:, half] - accuracy[:, end]) for end in (0, -1)]
    ratio = float(np.median(curve.loss_ratio[:, half]))
    selective, non_selective = tests
    unit = "fraction of images"
    found = numbers(
        "Figure 6",
        site,
        f"{curve.keep} units of {site} kept",
        [
            ("selective", "mean accuracy, selective units only", mean[0], unit),
            ("half", "mean accuracy, half and half", mean[half], unit),
            ("non_selective", "mean accuracy, non-selective units only", mean[-1], unit),
            (
                "best_share",
                "share of non-selective units with the best mean accuracy",
                float(share[best]),
                "1",
                "between 0 and 1",
            ),
            ("z_selective", "signed-rank z, half and half against selective", selective.z),
            ("p_selective", "its P, two-sided, against selective", selective.p),
            (
                "z_non_selective",
                "signed-rank z, half and half against non-selective",
                non_selective.z,
            ),
            ("p_non_selective", "its P, two-sided, against non-selective", non_selective.p),
            ("loss_ratio_half", "median loss ratio, half and half", ratio, "%", "> 1000"),
        ],
    )
    n_beaten = sum(test.z > 0 and test.p < ALPHA for test in tests)
    verdict = (
        "the mixture beats neither end",
        "the mixture beats one end only",
        "the mixture beats both ends, as in the paper",
    )[n_beaten]
    text = (
        f"Mean accuracy {mean[0]:.3f} with selective units only, {mean[half]:.3f} half and "
        f"half, {mean[-1]:.3f} with non-selective ones only. Half and half against each end, "
        f"paired by trial: z = {selective.z:.1f} ({p_value(selective.p)}) and "
        f"z = {non_selective.z:.1f} ({p_value(non_selective.p)}): {verdict}. The best mean is "
        f"at a share of {share[best]:.2f}."
    )
    return found, text
