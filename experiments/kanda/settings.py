"""What a run can be asked for, and the presets."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from ..weights import ImageFlags
from .figure6 import FRACTIONS
from .reading import Reading

SPLIT = (0.60, 0.15, 0.25)  # train, validation, test
# A network trained on has losses near 1e-7 and nothing left to lose.
STOP_AT = 0.975
MOST_EPOCHS = 50
TRAINED = "alexnet_digits"

Preset = Literal["digits", "lenet5", "resnet20", "alexnet", "alexnet_caffe", "vgg19"]


@dataclasses.dataclass(frozen=True)
class Config(ImageFlags, Reading):
    """Settings of an analysis after Kanda et al."""

    preset: Preset = "digits"
    """the network; what else it sets can be set again. alexnet, alexnet_caffe and vgg19 are
    analysed on the best images, as in the paper, the others on all"""
    data: str = "digits"
    """digits, npz:PATH, folder:PATH, tfds:NAME or imagenet-val:PATH"""
    weights: Path | None = None
    """checkpoint written by python -m ports; without it, the preset digits trains a network"""
    rehearse: int | None = None
    """instead of weights and data: so many made-up images of 20 classes, and random weights
    with which 15 % of all responses are above 0"""
    sites: tuple[str, ...] | None = None
    """sites in focus, by default the network's last two; the first is used for figure 5"""
    channels_per_site: int | None = None
    """sites of convolutions that are not in focus: so many of their units, drawn at random,
    instead of all"""
    images: Literal["all", "best"] = "all"
    """analyse all test images, or the best of each class"""
    n_best: int = 5
    """how many of each class are the best images"""
    selected_by: Path | None = None
    """the best images are another network's: its table, from python -m experiments.evaluate
    --table"""
    trials: int = 50
    """lines of figure 6"""
    keep: int | None = None
    """units kept in figure 6, by default as many as 1,000 are of the paper's 4,096; at most
    what there are of either kind"""
    fractions: tuple[float, ...] = FRACTIONS
    """shares of non-selective units in figure 6, with 0, 0.5 and 1 among them"""
    seed: int = 0
    """of everything that is drawn: the division of the digits, the training, intervals,
    channels, figure 6, controls, multiverse"""
    verify: int = 0
    """so many units of each site are ablated again by brute force in float64, and the worst
    error is printed"""
    controls: bool = True
    """whether the page of controls is made: activity held constant, cross-validation, shuffled
    labels, other images, an untrained network"""
    networks: int = 1
    """preset digits: so many networks are trained, and controls compare them"""
    replicates: tuple[Path, ...] = ()
    """checkpoints of further networks of the same kind, which controls compare"""
    multiverse: bool = False
    """also repeat the claims for every combination of the readings"""
    out: Path | None = None
    """folder of the results, by default a new one in results/"""
    plan: bool = False
    """say how long it will take and what it needs, from a few images, and do nothing else"""
    resume: Path | None = None
    """folder that completed batches of ablations are kept in, those of figure 6 too; after the
    run was killed the same command goes on with the next batch, and writes the same bytes"""
    memory: float | None = None
    """GiB that one program may use, by default half of what is free"""

    def check(self) -> None:
        """Whether the numbers make sense.

        Raises:
            ValueError: one that does not.
        """
        super().check()
        for name in ("trials", "n_best", "channels_per_site", "rehearse", "networks"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1; found {number}")
        if self.keep is not None and self.keep < 2:
            raise ValueError(f"keep must be at least 2 units; found {self.keep}")
        if not all(0 <= at <= 1 for at in self.fractions) or not {0, 0.5, 1} <= set(
            self.fractions
        ):
            raise ValueError(
                "fractions must lie between 0 and 1, with 0, 0.5 and 1 among them; found "
                + ", ".join(f"{at:g}" for at in self.fractions)
            )
        if self.verify < 0:
            raise ValueError(f"verify must be 0 or more; found {self.verify}")
        if self.seed < 0:
            raise ValueError(f"the seed must be 0 or more; found {self.seed}")
        if self.memory is not None and not self.memory > 0:
            raise ValueError(f"memory must be more than 0 GiB; found {self.memory}")
        if not self.controls and (self.networks > 1 or self.replicates):
            raise ValueError("--networks and --replicates are for the controls")
        if self.networks > 1 and (self.preset != "digits" or self.weights is not None):
            raise ValueError(
                "--networks trains on the digits: name checkpoints with --replicates instead"
            )
        if self.rehearse is not None and (self.weights or self.data != "digits"):
            raise ValueError("--rehearse makes weights and images: leave out --weights, --data")
        lacking = self.weights is None or self.data == "digits"
        if self.preset != "digits" and lacking and self.rehearse is None:
            raise ValueError(
                f"the preset {self.preset} needs --weights, a checkpoint written by python -m "
                "ports, and --data; or --rehearse"
            )


LARGE = {"images": "best", "sites": ("fc6", "fc7")}
PRESETS = {
    **{name: Config(preset=name) for name in get_args(Preset)},
    **{name: Config(preset=name, **LARGE) for name in ("alexnet", "alexnet_caffe", "vgg19")},
}


def preset_in(arguments: Sequence[str]) -> Config:
    """The settings of the preset that is named among the arguments of a command.

    >>> preset_in(["--seed", "1", "--preset", "vgg19"]).images
    'best'
    """
    found = "digits"
    for here, after in zip(arguments, [*arguments[1:], ""], strict=True):
        if here == "--preset":
            found = after
        elif here.startswith("--preset="):
            found = here.removeprefix("--preset=")
    return PRESETS.get(found, PRESETS["digits"])  # an unknown one is refused with all flags


def bytes_allowed(config: Config) -> int | None:
    """The limit of memory in bytes; None for half of what is free."""
    return None if config.memory is None else max(int(config.memory * 2**30), 1)
