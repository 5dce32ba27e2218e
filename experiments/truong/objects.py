"""92 objects: a network's similarities, 16 people's judgements, and brains."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from jaxsel import checkpoint, models, plotting, record
from jaxsel.data import PREPROCESS, Dataset
from jaxsel.data.preprocess import Resized, warped_to
from jaxsel.report import Drawing, Number
from jaxsel.similarity import (
    NoiseCeiling,
    agreement_by_subject,
    bootstrap_agreement,
    noise_ceiling,
    permutation_test,
    rsm,
    upper_triangle,
)
from jaxsel.statistics import bonferroni

from ..told import Columns, Progress, Told
from ..weights import sites_of
from ..wording import numbers
from .claims import JUDGED, of_spaces
from .human import npz_arrays
from .named import named
from .pruned import pruned
from .settings import Objects
from .spaces import MEANINGS, drawn, introduced, rows

ARRAYS = ("images", "behav_rdms", "brain_rdms", "mIT_hIT_condensed")


@dataclass(frozen=True, eq=False)
class Target:
    """What the network is compared with.

    Attributes:
        name: of it.
        subjects: similarities of each subject, `(subjects, pairs)`; larger is more alike.
    """

    name: str
    subjects: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Over subjects."""
        return self.subjects.mean(axis=0)


def objects(config: Objects, figures: Path, progress: Progress) -> Told:
    """Compare every site with every target; take units of the last away."""
    assert config.objects is not None
    assert config.weights is not None
    pixels, targets = read(config.objects)
    manifest = checkpoint.read_manifest(config.weights)
    name = config.preprocess or str(manifest.get("preprocess"))
    images = shown(pixels, name, config.size)
    model = models.load(config.weights)
    sites = config.sites or sites_of(model)
    bar = progress("recording", len(images))
    recorded = record(model, images, sites, keep_responses=True, progress=bar)
    responses = {
        site: of.per_image for site, of in recorded.items() if of.per_image is not None
    }
    rng = np.random.default_rng(config.draws)
    by_site, found = _by_site(responses, targets, config, figures, rng, progress)
    last = sites[-1]
    spaces = []
    for target in targets:
        with named(target.name):
            spaces.append(
                pruned(target.name, responses[last], target.mean, config, rng, progress)
            )
    drawings, of_pruning = drawn(spaces, config, figures, last, ("S2", "S3", "S4"))
    n_images, side = len(images), images.inputs(slice(0, 1)).shape[1]
    return Told(
        "92 objects: a network, people and brains",
        [
            "The analysis of Truong and Hasson (2022) on other images and judgements: "
            f"{n_images} objects, with {len(targets[0].subjects)} people's judgements of how "
            "alike they are, and recordings of the inferior temporal cortex (Kriegeskorte et "
            "al. 2008; Mur et al. 2013). The paper has no such experiment.",
            f"{manifest['network']}, {len(sites)} sites; images {side}x{side} pixels, "
            f"preprocessing {name}. A network of small images sees little of these objects.",
            *introduced(spaces, config),
        ],
        of_spaces(spaces, "for every target"),
        JUDGED,
        [by_site, *drawings],
        [*found, *of_pruning],
        {"curves": Columns(rows(spaces), MEANINGS)},
        "The paper's values are of VGG16 on other images (Peterson et al.): its claims are "
        "held against these objects, not reproduced.",
    )


def read(path: Path) -> tuple[np.ndarray, list[Target]]:
    """Images and targets; dissimilarities become similarities by their sign."""
    arrays = npz_arrays(path)
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise KeyError(f"{path} has no array {missing[0]!r}: it needs {', '.join(ARRAYS)}")
    images, behaviour, brain, both = (arrays[name] for name in ARRAYS)
    n_pairs = len(images) * (len(images) - 1) // 2
    whose = [str(name)[:3] for name in arrays.get("mIT_hIT_names", ("mIT", "hIT"))]
    if both.shape != (2, n_pairs) or sorted(whose) != ["hIT", "mIT"]:
        raise ValueError(
            f"{path}: mIT_hIT_condensed has shape {both.shape} for {whose}: it needs a row of "
            f"{n_pairs} pairs for mIT and one for hIT"
        )
    with named(str(path)):
        people, cortex = (
            np.stack([-upper_triangle(one.astype(np.float64)) for one in of])
            for of in (behaviour, brain)
        )
    # Four people in two sessions each, in an order that the file does not tell: these are no
    # eight subjects.
    cortex = cortex.mean(axis=0, keepdims=True)
    targets = [
        Target("judgements", people),
        Target("human IT (fMRI)", cortex),
        Target("monkey IT", -both[whose.index("mIT")][None].astype(np.float64)),
    ]
    for target in targets:
        if target.subjects.shape[1] != n_pairs:
            raise ValueError(
                f"{path}: {target.name} has {target.subjects.shape[1]} pairs, {len(images)} "
                f"images have {n_pairs}"
            )
        if not np.isfinite(target.subjects).all():
            raise ValueError(f"{path}: {target.name} has values that are NaN or infinite")
    return images, targets


def shown(pixels: np.ndarray, name: str, side: int) -> Dataset:
    """What the network sees: resized where its preprocessing does not."""
    if name not in PREPROCESS:
        raise ValueError(
            f"unknown preprocessing {name!r}: possible are {', '.join(PREPROCESS)}"
        )
    if not isinstance(PREPROCESS[name], Resized):
        resize = warped_to(side)
        pixels = np.stack([np.asarray(resize(Image.fromarray(one))) for one in pixels])
    labels = np.zeros(len(pixels), np.int32)
    return Dataset(pixels, labels, ("object",), PREPROCESS[name])


def _by_site(
    responses: dict[str, np.ndarray],
    targets: list[Target],
    config: Objects,
    figures: Path,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Drawing, list[Number]]:
    """Agreement of every site with every target, with interval, test and noise ceiling."""
    sign = -1 if config.rsm == "euclidean" else 1  # distances are less where images are alike
    spaces = {
        site: sign * upper_triangle(rsm(of, config.rsm)) for site, of in responses.items()
    }
    figure, axes = plotting.panels(len(targets), width=3.6, height=3.0, sharey=True)
    found: list[Number] = []
    sentences = []
    for place, target in zip(axes[0], targets, strict=True):
        ends, ps = [], []
        for site, space in spaces.items():
            value = float(agreement_by_subject(space, target.subjects, config.fit).mean())
            bar = progress(f"{target.name}, {site}: images drawn anew", config.resamples)
            drawn_anew = bootstrap_agreement(
                space,
                target.subjects,
                config.fit,
                over="images",
                rng=rng,
                n_resamples=config.resamples,
                on_progress=bar,
            )
            ends.append([value, *np.nanquantile(drawn_anew, [0.025, 0.975])])
            bar = progress(f"{target.name}, {site}: images permuted", config.resamples)
            ps.append(permutation_test(
                space, target.subjects, config.fit, rng=rng, n=config.resamples, on_progress=bar
            ).p)  # fmt: skip
        ceiling = _ceiling(target, config)
        corrected = bonferroni(ps)
        values = np.array(ends).T
        plotting.fit_by_site(
            place,
            list(spaces),
            values,
            ceiling,
            name=f"mean agreement ({config.fit})",
            title=target.name,
        )
        found += _numbers(target, list(spaces), values, corrected, ceiling)
        best = int(values[0].argmax())
        sentences.append(
            f"{target.name}: best at {list(spaces)[best]}, {values[0, best]:.3f}"
            + ("" if ceiling is None
               else f"; noise ceiling {ceiling.lower:.3f} to {ceiling.upper:.3f}")
            + "."
        )  # fmt: skip
    plotting.save(figure, figures / "figure_s1")
    sentence = (
        f"Agreement ({config.fit}) of the similarities ({config.rsm}) at each site with each "
        "subject, mean over subjects; bars: 95 % of images drawn anew. Noise ceiling: how "
        "well any model could agree with single subjects (Nili et al. 2014); with the mean of "
        "their matrices, as in figure S3, agreement is larger. P by permuted images, times "
        f"the number of sites: not below {len(spaces) / (config.resamples + 1):.2g}. The "
        "response of a map is its mean over positions: a site of 16 maps has 16 numbers per "
        "image. Recordings are of four people in two sessions, averaged: without knowing "
        "which is whose there is no ceiling."
    )
    return Drawing("figure_s1", "Figure S1: which sites agree", sentence, sentences), found


def _ceiling(target: Target, config: Objects) -> NoiseCeiling | None:
    if len(target.subjects) < 2:
        return None
    return noise_ceiling(target.subjects, config.fit)


def _numbers(
    target: Target,
    sites: list[str],
    values: np.ndarray,
    corrected: np.ndarray,
    ceiling: NoiseCeiling | None,
) -> list[Number]:
    where = target.name.lower().replace(" ", "_")
    entries: list[tuple] = [("subjects", "subjects", len(target.subjects), "subjects")]
    if ceiling is not None:
        entries += [
            ("ceiling_low", "noise ceiling, lower end", ceiling.lower),
            ("ceiling_high", "noise ceiling, upper end", ceiling.upper),
        ]
    for number, site in enumerate(sites):
        value, low, high = values[:, number].tolist()
        entries += [
            (f"{site}.fit", f"agreement at {site}, mean over subjects", value),
            (f"{site}.low", f"agreement at {site}, 95 % interval over images, lower end", low),
            (
                f"{site}.high",
                f"agreement at {site}, 95 % interval over images, upper end",
                high,
            ),
            (f"{site}.p", f"P at {site}, times the number of sites", float(corrected[number])),
        ]
    return numbers("Figure S1", where, target.name, entries)
