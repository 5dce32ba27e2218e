"""The abstract's claims, each with what these networks and images say to it."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats

from jaxsel import statistics

from ..verdicts import CANNOT, DOES_NOT, HOLDS, Claim, judged, together
from ..wording import p_value
from .followed import Compared, Condition, Followed
from .halves import SELECTIVE, UNSELECTIVE, Lost, of_sites
from .invariance import Invariance
from .tuning import TUNED, Tuning

LEVEL = 0.05
JUDGED = (
    "We have the paper's abstract and the author's code, no figures and no numbers: claims "
    "are the abstract's, in jaxsel's own numbers, and lower and higher layers are the first "
    "and the last third of the sites. A claim holds for P < 0.05; where halves are ablated, "
    "against the other half and by its rank among random halves. Units, images and epochs are "
    "those at hand, and units of a network depend on each other; only claims over several "
    "seeds say something of other networks."
)
ABSTRACT = "abstract"
MOST_COUNTED, FEWEST_KINDS = 8, 5  # whose orders can all be counted; with one below P < 0.05


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
        tuned_here, tuned_there = gosi[known] > TUNED, control[known] > TUNED
        more = int(np.sum(tuned_here & ~tuned_there))
        fewer = int(np.sum(tuned_there & ~tuned_here))
        p = float(scipy.stats.binomtest(more, more + fewer).pvalue) if more + fewer else 1.0
        verdicts.append(DOES_NOT if more <= fewer else judged(more - fewer, p, LEVEL))
        reliability = np.concatenate([tuned[s].reliability for s in sites])[known][tuned_here]
        reliability = reliability[np.isfinite(reliability)]
        parts.append(
            f"{name}: {100 * tuned_here.mean():.0f} % of the units have a gOSI above {TUNED}, "
            f"{100 * tuned_there.mean():.0f} % with shuffled pixels ({p_value(p)}, McNemar)"
            + (f"; the median reliability of the former is {np.median(reliability):.2f}"
               if len(reliability) else "")
        )  # fmt: skip
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
        why = (
            f"two networks or more are needed: of {len(found)}, rank correlation over epochs "
            f"{said}"
        )
        return Claim(claim, ABSTRACT, paper, CANNOT, why)
    # All alike leave nothing to doubt, and a t-test nothing to divide by.
    p = 0.0 if np.ptp(rhos) == 0 else _of_mean(rhos)
    why = (
        f"mean gOSI of lower sites and validation accuracy, rank correlation over epochs: "
        f"{rhos.mean():.2f} on average over {len(rhos)} seeds ({rhos.min():.2f} to "
        f"{rhos.max():.2f}; {p_value(p)}, t-test); whatever else grows in training has one, too"
    )
    return Claim(claim, ABSTRACT, paper, judged(float(rhos.mean()), p, LEVEL), why)


def across(found: Sequence[Compared]) -> Claim:
    """Networks that generalise better are more selective in lower layers."""
    groups: dict[Condition, list[tuple[float, float]]] = {}
    for one in found:
        if np.isfinite(one.lower):
            groups.setdefault(one.condition, []).append((one.lower, one.accuracy))
    # Networks of one condition are no evidence of their own.
    lower, accuracy = (
        np.array([np.mean(pairs, axis=0)[i] for pairs in groups.values()]) for i in (0, 1)
    )
    few = len(groups) <= MOST_COUNTED
    test = statistics.spearman(lower, accuracy)
    p = statistics.exact_spearman(lower, accuracy) if few else test.p
    why = (
        f"mean gOSI of lower sites and test accuracy of {len(groups)} kinds of networks, means "
        f"over seeds: rank correlation {test.rho:.2f} ({p_value(p)}"
        + (f"; of fewer than {FEWEST_KINDS} kinds no order is rare enough"
           if len(groups) < FEWEST_KINDS else "")
        + "); what they learnt from may change selectivity in other ways, too"
    )  # fmt: skip
    return Claim(
        "networks that generalise better are more orientation-selective in lower layers",
        ABSTRACT,
        "consistently",
        judged(test.rho, p, LEVEL),
        why,
    )


def needed(found: Sequence[Lost], lower: Sequence[str]) -> Claim:
    """Without selective units of lower layers, generalisation is worse."""
    changes = np.mean([one.changes for one in of_sites(found, lower)], axis=0)
    mean = changes.mean(axis=1)
    difference = changes[SELECTIVE] - changes[UNSELECTIVE]
    verdict, p = _more_than_others(mean, difference)
    right = 100 * np.mean([one.accuracy for one in of_sites(found, lower)], axis=0)
    why = (
        f"loss without the more selective half of a lower site {mean[SELECTIVE]:+.3g} nats, "
        f"without the less selective half {mean[UNSELECTIVE]:+.3g} "
        f"({p_value(_of_mean(difference))} over images), without random halves "
        f"{mean[2:].mean():+.3g} ({mean[2:].min():+.3g} to {mean[2:].max():+.3g}; {p}); of the "
        f"images, {right[SELECTIVE]:.0f} %, {right[UNSELECTIVE]:.0f} % and "
        f"{right[2:].mean():.0f} % are still right"
    )
    if behind := of_sites(found, lower, behind=True):
        after = np.mean([one.mean for one in behind], axis=0)
        selective, other = after[SELECTIVE], after[UNSELECTIVE]
        why += f"; with zeros after BatchNorm {selective:+.3g} and {other:+.3g}"
    return Claim(
        "ablating selective units of lower layers degrades generalisation, more than ablating "
        "others does",
        ABSTRACT,
        "substantially",
        verdict,
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
    verdict, p = _more_than_others(mean, difference)
    why = (
        f"correlation of responses to images and shifted images, {found.means[0].mean():.3f} "
        f"on average over {drop.shape[1]} units of higher sites, falls by "
        f"{mean[SELECTIVE]:.3g} without the more selective half of a lower site, by "
        f"{mean[UNSELECTIVE]:.3g} without the less selective "
        f"({p_value(_of_mean(difference))} over units), by {mean[2:].mean():.3g} without "
        f"random halves ({mean[2:].min():.3g} to {mean[2:].max():.3g}; {p})"
    )
    silenced = found.silenced[[SELECTIVE, UNSELECTIVE]]
    if silenced.max() > LEVEL:  # and what is left may not be like what is not
        verdict = CANNOT
        why += (
            f"; but {100 * silenced[SELECTIVE]:.0f} % and {100 * silenced[UNSELECTIVE]:.0f} % "
            "of the units do not respond any more, and have no correlation"
        )
    return Claim(claim, ABSTRACT, "at least", verdict, why)


def _more_than_others(mean: np.ndarray, difference: np.ndarray) -> tuple[str, str]:
    """Whether the selective half has more of an effect than the other and than random ones.

    Args:
        mean: effect of each half.
        difference: of the first two, over what the test is of.

    Returns:
        The verdict; the P against random halves in words.
    """
    random = mean[2:]
    against_other = judged(float(difference.mean()), _of_mean(difference), LEVEL)
    p = [
        float(1 + np.sum(way)) / (1 + len(random))
        for way in (random >= mean[SELECTIVE], random <= mean[SELECTIVE])
    ]
    against_random = HOLDS if p[0] < LEVEL else DOES_NOT if p[1] < LEVEL else CANNOT
    verdict = together([against_other, against_random])
    if verdict == HOLDS and mean[SELECTIVE] <= 0:  # more than others, but no effect
        verdict = DOES_NOT
    said = f"{p_value(p[0])}, rank among them"
    if 1 / (1 + len(random)) >= LEVEL:
        said += f", of {len(random)} none is rare enough"
    return verdict, said


def _of_mean(values: np.ndarray) -> float:
    """P of a mean against 0; NaN where it has none."""
    return statistics.paired_t_test(values, np.zeros(len(values))).p
