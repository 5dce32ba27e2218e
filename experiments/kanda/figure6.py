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
from .paper import Paper
from .wording import ALPHA, numbers, p_value

FRACTIONS = tuple(np.linspace(0, 1, 11).tolist())  # of non-selective units
FEWEST_CLASSES = 50  # with fewer, five guesses are nearly always enough


def figure_6(
    model: Model,
    dataset: Dataset,
    measured: Mapping[str, SiteUnits],
    folder: Path,
    *,
    paper: Paper,
    trials: int,
    rng: np.random.Generator,
    memory: int | None = None,
    resume: Path | None = None,
    progress: Callable[[str, int], Callable[[int], None]],
) -> tuple[list[Number], Drawing]:
    """Accuracy by the share of non-selective units, one line per trial."""
    k = 5 if len(dataset.class_names) >= FEWEST_CLASSES else 1
    figure, axes = plotting.panels(len(measured), height=3.0, sharey=True)
    found, details = [], []
    for ax, site in zip(axes[0], measured.values(), strict=True):
        others = site.live & ~site.selective
        keep = default_keep(site.selective, others)
        if keep < 2:
            ax.set_title(f"{site.site}: too few units")
            details.append(f"{site.site} has too few live units.")
            continue
        total = len(dataset) * trials * len(FRACTIONS)
        curve = mixture_curve(
            model,
            dataset,
            site.site,
            site.selective,
            others,
            rng=rng,
            keep=keep,
            fractions=FRACTIONS,
            trials=trials,
            k=k,
            memory=memory,
            resume=resume,
            progress=progress(f"mixing units of {site.site}", total),
        )
        title = f"{site.site}: {keep} of {len(site.live)} units kept"
        baseline = site.effects.baseline
        intact = (baseline.top1 if k == 1 else baseline.top5).sum() / baseline.images.sum()
        share = curve.n_non_selective / keep
        plotting.mixture_lines(ax, share, curve.accuracy, intact=intact, k=k, title=title)
        of_site, text = _statistics(site.site, share, curve, paper)
        found += of_site
        details.append(f"{title}. {text}")
    plotting.save(figure, folder / "figure_6")
    reason = (
        "" if k == 5 else f" (with {len(dataset.class_names)} classes top-5 would say little)"
    )
    (bound,) = {units.reading.bound for units in measured.values()}
    sentence = (
        f"Top-{k} accuracy{reason} of networks that keep few of a site's units, by the share "
        f"of non-selective ones: those without {bound}. Thin lines are "
        f"{trials} trials with units drawn at random. In the paper, mixtures do better than "
        "either kind alone. Tests are signed ranks paired by trial: their P says how certain "
        "the result is over draws of units, in this network and on these images."
    )
    title = "Figure 6. Mixtures of selective and non-selective units"
    return found, Drawing("figure_6", title, sentence, details)


def _statistics(
    site: str, share: np.ndarray, curve: MixtureCurve, paper: Paper
) -> tuple[list[Number], str]:
    """The half-and-half mixture against both ends, paired by trial: fixed beforehand."""
    accuracy = curve.accuracy
    mean = accuracy.mean(axis=0).tolist()
    half = int(np.argmin(np.abs(share - 0.5)))
    about = f"{curve.keep} units of {site} kept"
    unit = "fraction of images"
    entries: list[tuple] = [
        (
            f"mean_{near:.1f}",
            f"mean accuracy, share of non-selective units {at:.2f}",
            value,
            unit,
        )
        for near, at, value in zip(FRACTIONS, share, mean, strict=True)
    ]
    ratio = float(np.median(curve.loss_ratio[:, half]))
    entries.append(
        ("loss_ratio_half", "median loss ratio, half and half", ratio, "%", paper.mixed)
    )
    sentences = []
    for key, end, name in (("selective", 0, "selective"), ("others", -1, "non-selective")):
        test = statistics.signed_rank(accuracy[:, half] - accuracy[:, end])
        entries += [
            (f"z_{key}", f"signed-rank z, half and half less {name} only", test.z),
            (f"p_{key}", f"P of half and half against {name} only, over draws", test.p),
        ]
        sentences.append(_comparison(test, name, mean[end]))
    against = "; it is ".join(sentences)
    text = f"The mean accuracy with half and half, {mean[half]:.3f}, is {against}."
    if max(mean) > min(mean):
        best = share[np.array(mean) == max(mean)]
        text += f" It is best at a share of {best[0]:.2f}"
        text += "." if len(best) == 1 else f", and as good at others up to {best[-1]:.2f}."
    return numbers("Figure 6", site, about, entries), text


def _comparison(test: statistics.SignedRank, name: str, end: float) -> str:
    """How a mixture does against one kind of unit, in words, with the test."""
    if not test.n:
        return f"exactly that with {name} units only ({end:.3f})"
    tested = f"({end:.3f}; z = {test.z:.1f}, {p_value(test.p)})"
    if test.p >= ALPHA:
        return f"not clearly different from that with {name} units only {tested}"
    word, agrees = ("higher", "as") if test.z > 0 else ("lower", "unlike")
    return f"{word} than with {name} units only {tested}, {agrees} in the paper"
