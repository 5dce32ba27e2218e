"""What a run of the quickstart can be asked for."""

import dataclasses
from pathlib import Path
from typing import Literal

from ..weights import ImageFlags

N_BEST = 5  # images per class in the set of best images, as in the paper
SPLIT = (0.60, 0.15, 0.25)  # train, validation, test
# A network trained on has losses near 1e-7 and nothing left to lose.
STOP_AT = 0.975
MOST_EPOCHS = 50
TRAINED = "alexnet_digits"


@dataclasses.dataclass(frozen=True)
class Config(ImageFlags):
    """Settings of the quickstart."""

    data: str = "digits"
    """digits, npz:PATH, folder:PATH, tfds:NAME or imagenet-val:PATH"""
    weights: Path | None = None
    """checkpoint written by python -m ports; without it, a network is trained on the digits"""
    sites: tuple[str, ...] | None = None
    """sites in focus, by default the network's last two; the first is used for figure 5"""
    images: Literal["all", "best"] = "all"
    """analyse all test images, or the five best of each class"""
    trials: int = 50
    """lines of figure 6"""
    seed: int = 0
    """of the division of the digits, the training, the bootstrap and figure 6"""
    out: Path | None = None
    """folder of the results, by default a new one in results/quickstart"""
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
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1; found {self.trials}")
        if self.seed < 0:
            raise ValueError(f"the seed must be 0 or more; found {self.seed}")
        if self.memory is not None and not self.memory > 0:
            raise ValueError(f"memory must be more than 0 GiB; found {self.memory}")


def bytes_allowed(config: Config) -> int | None:
    """The limit of memory in bytes; None for half of what is free."""
    return None if config.memory is None else max(int(config.memory * 2**30), 1)
