"""What is trained, and how: replicas and the recipe that they share."""

import math
from dataclasses import dataclass
from typing import Any

import optax

OPTIMISERS = ("sgd", "adam")
BEST_BY = ("accuracy", "loss")
AUGMENTATIONS = ("none", "crop", "flip", "crop_flip")


@dataclass(frozen=True, order=True)
class Replica:
    """One network among many that differ in nothing else.

    Attributes:
        seed: of the initial parameters, the order of the images and their augmentation.
        alpha: weight of the regulariser, nats per unit of the index.
        slope: of the leaky ReLU below 0, for networks that have one; 0 is the ReLU.

    Raises:
        ValueError: a seed that is not 0 to 2**32 - 1; a number that is NaN or infinite.

    >>> str(Replica(3, -30.0, 0.1))
    'seed3_alpha-30_slope0.1'
    """

    seed: int
    alpha: float = 0.0
    slope: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"a seed must be 0 to 2**32 - 1; found {self.seed}")
        for name in ("alpha", "slope"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number; found {getattr(self, name)}")

    def __str__(self) -> str:
        """A name that can be a folder's."""
        leaky = f"_slope{_digits(self.slope)}" if self.slope else ""
        return f"seed{self.seed}_alpha{_digits(self.alpha)}{leaky}"


def _digits(number: float) -> str:
    """All of a number's digits, so that no two have one name."""
    return repr(float(number)).removesuffix(".0")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes through the training images.
        batch_size: images per step; the last step of an epoch has what is left.
        learning_rate: of the first epochs.
        drops: epochs after which the learning rate is multiplied by `drop`.
        drop: see `drops`.
        optimiser: `sgd` with momentum, or `adam`.
        momentum: of SGD.
        weight_decay: times every parameter, biases and BatchNorm's among them, is added to its
            gradient.
        augment: what becomes of training images: `none`, `crop` (a window of their size
            anywhere over the image with `padding` pixels of 0 around it: black where images
            are bytes on the device, as all of CIFAR's are), `flip` (left and
            right exchanged, or not), `crop_flip`.
        padding: pixels on every side, for crops.
        best_by: which validation number says what the best epoch is: `accuracy` or `loss`.
        precision: of products in training: `float32`, or a lower one that JAX knows, such as
            `tensorfloat32` or `bfloat16` (GPU and TPU). Evaluation is in float32 always.

    Raises:
        ValueError: numbers that are no recipe.

    Source:
        The default is that of Leavitt and Morcos (2020), appendix, for ResNet20.
    """

    epochs: int = 200
    batch_size: int = 256
    learning_rate: float = 0.1
    drops: tuple[int, ...] = (100, 150)
    drop: float = 0.1
    optimiser: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    augment: str = "crop_flip"
    padding: int = 4
    best_by: str = "accuracy"
    precision: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "drops", tuple(self.drops))
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; found {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "momentum", "padding"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a number that is not below 0; found {value}")
        if any(epoch < 1 for epoch in self.drops):
            raise ValueError(f"drops are epochs, from 1 on; found {self.drops}")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(
                f"optimiser must be {' or '.join(OPTIMISERS)}; found {self.optimiser!r}"
            )
        if self.best_by not in BEST_BY:
            raise ValueError(f"best_by must be {' or '.join(BEST_BY)}; found {self.best_by!r}")
        if self.augment not in AUGMENTATIONS:
            raise ValueError(
                f"augment must be one of {', '.join(AUGMENTATIONS)}; found {self.augment!r}"
            )

    def steps(self, n_images: int) -> int:
        """Steps of an epoch."""
        return -(-n_images // self.batch_size)

    def transformation(self, n_images: int) -> optax.GradientTransformation:
        """Optax's optimiser for so many training images.

        Weight decay comes first, so that momentum takes it in, as in PyTorch.
        """
        steps = self.steps(n_images)
        rate = optax.piecewise_constant_schedule(
            self.learning_rate, {epoch * steps: self.drop for epoch in self.drops}
        )
        chosen: Any = (
            optax.adam(rate)
            if self.optimiser == "adam"
            else optax.sgd(rate, momentum=self.momentum or None)
        )
        return optax.chain(optax.add_decayed_weights(self.weight_decay), chosen)
