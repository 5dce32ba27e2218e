"""What can be asked for: one set of flags for networks trained here, one for given ones."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..asked import folder_of, refuse_below_1
from ..training import settings as training
from ..weights import ImageFlags

FEWEST = 6  # orientations: an even number that a curve can be fitted to


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Measured:
    """What is measured of any network."""

    orientations: int = 12
    """of gratings, evenly spread over 180 degrees; an even number, for OSI, of 6 or more, for
    the fit"""
    frequencies: int | None = None
    """spatial frequencies; by default as many as the author's code: 9 for images of 32 pixels,
    57 for 224"""
    phases: int = 4
    """of gratings, evenly spread; an even number, for the reliability"""
    over_phases: Literal["max", "mean"] = "max"
    """what a unit responds to an orientation: the largest response over phases, or the mean"""
    silent: Literal["left_out", "zero"] = "left_out"
    """units that respond to no grating: no part of means and halves, or selectivity 0, as in
    the author's code"""
    random_halves: int = 20
    """random halves of each site's units, beside the more and the less selective one; of fewer
    than 20, none is rare enough for P < 0.05"""
    images: int | None = None
    """test images that losses are of, spread evenly over all of them; by default all"""
    shift_images: int = 128
    """test images that are shifted, spread evenly over all of them; they go through the network
    some hundred times"""
    shifts: tuple[int, ...] = (1, 2, 3, 4)
    """pixels, to the right and down"""
    shift_halves: int = 20
    """random halves of the units of each lower site, for the shift invariance; of fewer than
    20, none is rare enough for P < 0.05"""
    draws: int = 0
    """seed of random halves and of shuffled pixels"""

    def refuse_impossible(self) -> None:
        """Refuse what cannot be measured."""
        refuse_below_1(
            self,
            *("orientations", "frequencies", "phases", "random_halves", "shift_halves"),
        )
        for name, fewest in (("images", 2), ("shift_images", 3)):
            if (n := getattr(self, name)) is not None and n < fewest:
                what = "a standard error" if name == "images" else "a correlation"
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag}: {what} is of {fewest} images or more; found {n}")
        for name in ("orientations", "phases"):
            if (n := getattr(self, name)) % 2:
                raise ValueError(f"--{name} must be an even number; found {n}")
        if self.orientations < FEWEST:
            raise ValueError(
                f"--orientations: a tuning curve is fitted to {FEWEST} or more; found "
                f"{self.orientations}"
            )
        if not self.shifts or min(self.shifts) < 1:
            raise ValueError(f"--shifts are pixels, 1 or more; found {self.shifts}")
        if self.draws < 0:
            raise ValueError(f"--draws is a seed, 0 or more; found {self.draws}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained(_Measured, training.Config):
    """Networks that are trained here. The first seed's is the one that is ablated."""

    preset: str = "digits"
    """digits, cifar10_cnn7, resnet20 or vgg16; what it sets can be set again"""
    keep_every: int | None = 1
    """epochs between two networks whose selectivity is measured"""
    out: Path | None = None
    """folder for results; by default results/ukita/ and a name that the settings make. The same
    command goes on from what is there"""
    label_noises: tuple[float, ...] = ()
    """shares of labels that are drawn anew, for networks that generalise worse"""
    shares: tuple[float, ...] = ()
    """shares of the training images, for the same"""

    @property
    def folder(self) -> Path:
        """Where results go."""
        return folder_of(self, "ukita")

    def check(self) -> None:
        """Refuse what cannot be analysed, before any training."""
        self.refuse_impossible()
        if self.distributed or self.coordinator is not None:
            raise ValueError("this command is one process: train with experiments.train first")
        if any(self.alphas) or any(self.slopes):
            raise ValueError("this experiment is of networks without a regulariser: leave out "
                             "--alphas and --slopes")  # fmt: skip
        if self.label_noise or self.share != 1:
            raise ValueError(
                "networks that learn from all images with their own labels are part of the "
                "experiment: name --label-noises and --shares of others"
            )
        if not self.seeds:
            raise ValueError("no networks: name --seeds to train")
        if self.keep_every is None or not 1 <= self.keep_every <= self.epochs:
            raise ValueError(
                f"--keep-every is a number of epochs, 1 to {self.epochs}; found "
                f"{self.keep_every}"
            )
        if wrong := [x for x in self.label_noises if not 0 < x <= 1]:
            raise ValueError(f"--label-noises are shares, above 0 to 1; found {wrong}")
        if wrong := [x for x in self.shares if not 0 < x < 1]:
            raise ValueError(f"--shares are between 0 and 1; found {wrong}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Given(_Measured, ImageFlags):
    """A network that is given."""

    preset: str = "resnet20"
    """digits, cifar10_cnn7, resnet20 or vgg16; what it sets can be set again"""
    weights: Path | None = None
    """checkpoint written by python -m ports or experiments.train"""
    data: str | None = None
    """npz:PATH, folder:PATH, tfds:NAME or imagenet-val:PATH: what the network is tested on"""
    out: Path | None = None
    """folder for results; by default results/ukita/ and a name that the settings make"""

    @property
    def folder(self) -> Path:
        """Where results go."""
        return folder_of(self, "ukita")

    def check(self) -> None:
        """Refuse what cannot be analysed."""
        self.refuse_impossible()
        if self.weights is None or self.data is None:
            raise ValueError(
                f"the preset {self.preset} is of a network that is given: --weights DIR, a "
                "checkpoint written by python -m ports, and --data, images of its classes"
            )


Config = Trained | Given


def _trained(preset: str, source: training.Config, **settings: Any) -> Trained:
    names = [field.name for field in dataclasses.fields(source)]
    known: dict[str, Any] = {name: getattr(source, name) for name in names}
    return Trained(**(known | {"keep_every": 1, "preset": preset} | settings))


PRESETS: Mapping[str, Config] = {
    # Large enough for epochs and labels to matter, and minutes on two cores.
    "digits": _trained(
        "digits",
        training.PRESETS["digits"],
        epochs=20,
        drops=(15,),
        seeds=(0, 1, 2),
        frequencies=6,
        label_noises=(0.2, 0.4, 0.6, 0.8),
        shifts=(1, 2),
    ),
    "cifar10_cnn7": _trained(
        "cifar10_cnn7",
        training.PRESETS["cifar10_cnn7"],
        seeds=(0, 1, 2),
        label_noises=(0.2, 0.4, 0.6, 0.8),
    ),
    "resnet20": Given(data="tfds:cifar10", split="test"),
    "vgg16": Given(preset="vgg16"),
}


def preset_in(arguments: Sequence[str]) -> Config:
    """The settings of the preset that the arguments name; the digits where they name none.

    Raises:
        SystemExit: no such preset, or a network is given to one that trains its own.

    >>> preset_in(["--preset", "resnet20"]).data
    'tfds:cifar10'
    """
    preset = PRESETS[training.named_preset(arguments, PRESETS)]
    flags = {argument.partition("=")[0] for argument in arguments}
    if isinstance(preset, Trained) and "--weights" in flags:
        given = ", ".join(name for name, other in PRESETS.items() if isinstance(other, Given))
        raise SystemExit(
            f"error: --weights: the preset {preset.preset} trains its own networks; those that "
            f"take one are {given}: name it by --preset"
        )
    return preset
