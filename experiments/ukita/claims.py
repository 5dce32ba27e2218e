"""The abstract's claims, each with what these networks and images say to it."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxsel import statistics

from ..verdicts import CANNOT, DOES_NOT, HOLDS, Claim, judged, together
from ..wording import p_value, short
from .followed import Compared, Followed
from .halves import SELECTIVE, UNSELECTIVE, Lost, of_sites
from .invariance import Invariance
from .tuning import TUNED, Tuning

LEVEL = 0.05
JUDGED = (
    "We have the paper's abstract and the author's code, no figures and no numbers: claims "
    "are the abstract's, in jaxsel's own numbers, and lower and higher layers are the first "
    "and the last third of the sites. A claim holds for P < 0.05 where chance can make it. "
    "Units, images and epochs are those at hand; only claims over several seeds say something "
    "of other networks."
)
ABSTRACT = "abstract"


def exist(tuned: Mapping[str, Tuning], lower: Sequence[str], higher: Sequence[str]) -> Claim:
    """Orientation-selective units, in lower and higher layers."""
    parts, verdicts = [], []
    for name, sites in (("lower", lower), ("higher", higher)):
        gosi, control = (
            np.concatenate([getattr(tuned[s], kind) for s in sites])
            for kind in ("gosi", "control")
        )
        known = np.isfinite(gosi) & np.isfinite(control)
        if not known.any():
            verdicts.append(CANNOT)
            parts.append(f"{name}: no unit has an index")
            continue
        test = statistics.signed_rank(gosi[known] - control[known])
        above = [float(np.mean(values[known] > TUNED)) for values in (gosi, control)]
        verdict = judged(test.z, test.p, LEVEL)
        if verdict == HOLDS and above[0] <= above[1]:  # more selective, but not selective
            verdict = DOES_NOT
        verdicts.append(verdict)
        parts.append(
            f"{name}: {100 * above[0]:.0f} % of the units have a gOSI above {TUNED}, "
            f"{100 * above[1]:.0f} % with shuffled pixels ({p_value(test.p)}, signed ranks)"
        )
    return Claim(
        "orientation-selective units exist in both lower and higher layers",
        ABSTRACT,
        "in 7-layer CNNs and VGG16",
        together(verdicts),
        "; ".join(parts),
    )


def during(found: Sequence[Followed]) -> Claim:
    """Lower layers become more selective as generalisation improves."""
    rhos = np.array(
        [
            statistics.spearman(one.lower[known], one.accuracy[known]).rho
            for one in found
            for known in [np.isfinite(one.accuracy) & np.isfinite(one.lower)]
        ]
    )
    rhos = rhos[np.isfinite(rhos)]
    claim = (
        "lower layers become more orientation-selective as generalisation improves in training"
    )
    paper = "during the course of training"
    if len(rhos) < 2:
        said = ", ".join(f"{rho:.2f}" for rho in rhos) or "none"
        why = f"one network does not tell: rank correlation over its epochs {said}"
        return Claim(claim, ABSTRACT, paper, CANNOT, why)
    p = _of_mean(rhos)
    why = (
        f"mean gOSI of lower sites and validation accuracy, rank correlation over epochs: "
        f"{rhos.mean():.2f} on average over {len(rhos)} seeds ({rhos.min():.2f} to "
        f"{rhos.max():.2f}; {p_value(p)}, t-test)"
    )
    return Claim(claim, ABSTRACT, paper, judged(float(rhos.mean()), p, LEVEL), why)


def across(found: Sequence[Compared]) -> Claim:
    """Networks that generalise better are more selective in lower layers."""
    pairs = np.array([(one.lower, one.accuracy) for one in found])
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    test = statistics.spearman(*pairs.T)
    why = (
        f"mean gOSI of lower sites and test accuracy of {test.n} networks: rank correlation "
        f"{test.rho:.2f} ({test.low:.2f} to {test.high:.2f}; {p_value(test.p)})"
    )
    return Claim(
        "networks that generalise better are more orientation-selective in lower layers",
        ABSTRACT,
        "consistently",
        judged(test.rho, test.p, LEVEL),
        why,
    )


def needed(found: Sequence[Lost], lower: Sequence[str]) -> Claim:
    """Without selective units of lower layers, generalisation is worse."""
    changes = np.mean([one.changes for one in of_sites(found, lower)], axis=0)
    mean = changes.mean(axis=1)
    selective, other, random = mean[SELECTIVE], mean[UNSELECTIVE], mean[2:]
    difference = changes[SELECTIVE] - changes[UNSELECTIVE]
    against_other = judged(float(difference.mean()), _of_mean(difference), LEVEL)
    p = [
        (1 + np.sum(way)) / (1 + len(random))
        for way in (random >= selective, random <= selective)
    ]
    against_random = HOLDS if p[0] < LEVEL else DOES_NOT if p[1] < LEVEL else CANNOT
    why = (
        f"loss without the more selective half of a lower site {selective:+.3f} nats, without "
        f"the less selective half {other:+.3f} ({p_value(_of_mean(difference))} over images), "
        f"without random halves {random.mean():+.3f} ({short(random.min())} to "
        f"{short(random.max())}; {p_value(p[0])})"
    )
    return Claim(
        "ablating selective units of lower layers substantially degrades generalisation, more "
        "than others",
        ABSTRACT,
        "substantially",
        together([against_other, against_random]),
        why,
    )


def disrupted(found: Invariance) -> Claim:
    """Without them, higher layers are less invariant to shifts."""
    claim = (
        "ablating them disrupts the shift invariance of higher layers, more than ablating "
        "others does"
    )
    drop = found.drop()
    if not drop.size:
        why = "no unit of higher sites has a correlation everywhere"
        return Claim(claim, ABSTRACT, "at least", CANNOT, why)
    mean = drop.mean(axis=1)
    difference = drop[SELECTIVE] - drop[UNSELECTIVE]
    p = _of_mean(difference)
    verdict = judged(float(difference.mean()), p, LEVEL)
    beyond = mean[2:]
    if verdict == HOLDS and mean[SELECTIVE] <= 0:
        verdict = DOES_NOT
    elif verdict == HOLDS and mean[SELECTIVE] <= beyond.max():
        verdict = CANNOT
    intact = float(found.intact[:, found.known].mean())
    why = (
        f"correlation of responses to images and shifted images, {intact:.3f} on average over "
        f"{drop.shape[1]} units of higher sites, falls by {mean[SELECTIVE]:.3f} without the "
        f"more selective half of a lower site, by {mean[UNSELECTIVE]:.3f} without the less "
        f"selective ({p_value(p)} over units), by {beyond.min():.3f} to {beyond.max():.3f} "
        "without random halves"
    )
    return Claim(claim, ABSTRACT, "at least", verdict, why)


def _of_mean(values: np.ndarray) -> float:
    """P of a mean against 0; NaN where it has none."""
    return statistics.paired_t_test(values, np.zeros(len(values))).p
