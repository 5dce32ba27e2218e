"""What can be asked for: one set of flags for each experiment, and the presets."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..asked import folder_of, refuse_below_1
from ..training import settings as training
from ..weights import ImageFlags

Kind = Literal["pearson", "pearson_squared", "cosine", "euclidean"]
How = Literal["pearson", "pearson_squared", "spearman", "kendall"]
LENET5 = training.PRESETS["cifar10_lenet5"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Initialisations(training.Config):
    """Experiment 1. Settings of training are of networks that are trained here."""

    preset: str = "exp1_lenet5"
    """exp1_lenet5, exp2_vgg16 or human92; what it sets can be set again"""
    weights: tuple[Path, ...] = ()
    """checkpoints of networks to analyse, instead of training some; images are --test-split of
    --data"""
    site: str | None = None
    """whose units are taken away, by default the network's last site"""
    rsm: Kind = "pearson_squared"
    """similarity of two classes: squared as in the authors' code; the paper says RSM only"""
    fit: How = "pearson_squared"
    """agreement of two similarity matrices"""
    rankings: int = 100
    """random rankings of each network's units, beside that by PoZ"""
    draws: int = 0
    """seed of these"""

    @property
    def folder(self) -> Path:
        """Where results go."""
        return folder_of(self, "truong")

    def check(self) -> None:
        """Refuse what cannot be analysed, before any training."""
        if self.distributed or self.coordinator is not None:
            raise ValueError("this command is one process: train with experiments.train first")
        if any(self.alphas) or any(self.slopes):
            raise ValueError("experiment 1 is of networks without a regulariser: leave out "
                             "--alphas and --slopes")  # fmt: skip
        if not self.seeds and not self.weights:
            raise ValueError("no networks: name --seeds to train, or --weights")
        refuse_below_1(self, "rankings")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Judged:
    """What experiments with human judgements have in common."""

    weights: Path | None = None
    """checkpoint written by python -m ports"""
    rsm: Kind = "pearson_squared"
    """similarity of two images: squared as in the authors' code; the paper says RSM only"""
    fit: How = "pearson_squared"
    """agreement of two similarity matrices"""
    step: int | None = None
    """units taken away between two levels, by default a 204th of all: 20 of 4,096"""
    rankings: int = 1000
    """random rankings that the ranking by PoZ is tested against"""
    folds: int = 5
    """parts of the images, each held out once from pruning that is taught by the judgements; 0
    leaves that out"""
    draws: int = 0
    """seed of rankings, parts, intervals and permutations"""
    out: Path | None = None
    """folder for results; by default results/truong/ and a name that the settings make"""

    @property
    def folder(self) -> Path:
        """Where results go."""
        return folder_of(self, "truong")

    def check(self) -> None:
        """Refuse what cannot be analysed."""
        if self.weights is None and not getattr(self, "rehearse", None):
            raise ValueError("the judgements are compared with a network's: --weights DIR, a "
                             "checkpoint written by python -m ports")  # fmt: skip
        refuse_below_1(self, "rankings", "step")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"--folds must be 0, or at least 2; found {self.folds}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Categories(_Judged, ImageFlags):
    """Experiment 2."""

    preset: str = "exp2_vgg16"
    """exp1_lenet5, exp2_vgg16 or human92; what it sets can be set again"""
    images: Path | None = None
    """folder with a folder of images for every category"""
    human: Path | None = None
    """people's similarity matrices, images in the order of their file names: a .npz or .mat
    with an array for every category, or a folder with CATEGORY.csv"""
    site: str | None = None
    """whose units are taken away, by default the network's last site"""
    rehearse: int | None = None
    """instead of weights, images and judgements: so many made-up images in each of three
    categories, judgements made up from some of the units, and VGG16 with random weights"""

    def check(self) -> None:
        """Refuse what cannot be analysed."""
        given = (self.weights, self.images, self.human)
        if self.rehearse is not None:
            refuse_below_1(self, "rehearse")
            if any(one is not None for one in given):
                raise ValueError(
                    "--rehearse makes weights, images and judgements: leave out --weights, "
                    "--images and --human"
                )
        super().check()
        if self.rehearse is None and (self.images is None or self.human is None):
            raise ValueError(
                "experiment 2 needs --images, a folder with a folder for every category, and "
                "--human, people's similarity matrices of these"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objects(_Judged):
    """92 objects."""

    preset: str = "human92"
    """exp1_lenet5, exp2_vgg16 or human92; what it sets can be set again"""
    objects: Path | None = None
    """npz with images, behav_rdms (subjects), brain_rdms and mIT_hIT_condensed (monkey and
    human IT)"""
    preprocess: str | None = None
    """instead of what the checkpoint records, such as cifar10_resnet or torchvision"""
    sites: tuple[str, ...] | None = None
    """by default all; units of the last are taken away"""
    rsm: Kind = "pearson"
    """similarity of two images"""
    fit: How = "spearman"
    """agreement of two similarity matrices"""
    size: int = 32
    """side that images are brought to before a preprocessing that leaves their size: that of
    networks of CIFAR-10"""
    resamples: int = 1000
    """of images, for intervals; and permutations of images, for tests"""

    def check(self) -> None:
        """Refuse what cannot be analysed."""
        super().check()
        if self.objects is None:
            raise ValueError("human92 needs --objects, the file with images and judgements")
        refuse_below_1(self, "resamples", "size")


Config = Initialisations | Categories | Objects
PRESETS: dict[str, Config] = {
    "exp1_lenet5": Initialisations(
        **{
            field.name: getattr(LENET5, field.name)
            for field in dataclasses.fields(LENET5)
            if field.name not in ("preset", "seeds")
        },
        preset="exp1_lenet5",
        seeds=tuple(range(50)),
    ),
    "exp2_vgg16": Categories(),
    "human92": Objects(),
}


def preset_in(arguments: Sequence[str]) -> Config:
    """The settings of the preset that the arguments name; experiment 1 where they name none.

    >>> preset_in(["--preset", "human92"]).fit
    'spearman'
    """
    return PRESETS[training.named_preset(arguments, PRESETS)]
