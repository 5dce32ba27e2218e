"""What a training can be asked for, and the presets."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jaxsel import fingerprint
from jaxsel.training import Recipe, Replica


@dataclasses.dataclass(frozen=True)
class Config(Recipe):
    """Settings of a training."""

    preset: str = "digits"
    """digits, cifar10_resnet20, cifar10_vgg16, cifar10_lenet5 or cifar10_cnn7; what it sets can
    be set again"""
    network: str = "alexnet_digits"
    """one of jaxsel.models.NETWORKS"""
    data: str = "digits"
    """digits, npz:PATH, folder:PATH or tfds:NAME"""
    train_split: str = "train"
    """part of the data to learn from; the digits have one part only, which is divided"""
    test_split: str = "test"
    """part of the data to test with"""
    validation: float = 0.1
    """share of the training images that says which epoch is best"""
    preprocess: str = "sixteenths"
    """what pixels go through: sixteenths, unit_range, lenet5 or cifar10_resnet"""
    division: int = 0
    """seed of the division into training and validation images"""
    share: float = 1.0
    """of the training images that are learnt from, the same share of every class"""
    label_noise: float = 0.0
    """share of these whose label is drawn anew, from all classes alike"""
    seeds: tuple[int, ...] = (0,)
    """of initial parameters, order and augmentation"""
    alphas: tuple[float, ...] = (0.0,)
    """weights of the regulariser: above 0 for selective units"""
    slopes: tuple[float, ...] = (0.0,)
    """of a leaky ReLU below 0, for ResNets; every seed is trained with every alpha and slope"""
    sites: tuple[str, ...] | None = None
    """whose units are regularised and watched; by default those of convolutions, or all where
    there are none"""
    index: Literal["class_selectivity", "sparseness"] = "class_selectivity"
    """what the regulariser turns up or down"""
    negative: Literal["raw", "clip", "shift"] = "raw"
    """class means below 0, which leaky units have: as they are, 0, or raised to 0"""
    out: Path | None = None
    """folder for results; by default results/train/ and a name that the settings make. The
    same command goes on from what is there"""
    keep_every: int | None = None
    """also keep the networks after every so many epochs, and before the first, in epochs/"""
    group: int | None = None
    """replicas that are trained together; by default as many as memory holds"""
    memory: float | None = None
    """GiB that one device may use; by default half of what is free"""
    stacked: bool | None = None
    """whether replicas are one program (vmap) or run one after another; by default one program
    on GPU and TPU"""
    parallel: Literal["pmap", "shard_map"] = "pmap"
    """what maps over devices"""
    over: Literal["replicas", "batch"] = "replicas"
    """what several devices share"""
    launcher: Literal["local", "slurm"] = "local"
    """where groups are trained: here, or each as a job of SLURM's queue"""
    slurm: tuple[str, ...] = ()
    """parameters of the jobs, such as timeout_min=600 slurm_partition=gpu gpus_per_node=1"""
    distributed: bool = False
    """one of several processes that train together: started from the cluster's variables
    (SLURM, Open MPI, TPU pods, Kubernetes), or by the three that follow"""
    coordinator: str | None = None
    """HOST:PORT of process 0"""
    processes: int | None = None
    """how many there are"""
    process: int | None = None
    """which this is, from 0"""

    @property
    def recipe(self) -> Recipe:
        """How every replica is trained."""
        names = [field.name for field in dataclasses.fields(Recipe)]
        return Recipe(**{name: getattr(self, name) for name in names})

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """Every seed with every alpha and slope."""
        return tuple(
            Replica(seed, alpha, slope)
            for slope in dict.fromkeys(self.slopes)
            for alpha in dict.fromkeys(self.alphas)
            for seed in dict.fromkeys(self.seeds)
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result of a replica, as JSON has it."""
        names = (
            *("network", "data", "train_split", "test_split", "validation", "preprocess"),
            *("division", "share", "label_noise", "sites", "index", "negative"),
        )
        chosen = {name: getattr(self, name) for name in names}
        return _plain(chosen | dataclasses.asdict(self.recipe))

    @property
    def resume(self) -> Path:
        """What the same command goes on from after an interrupt."""
        return self.folder

    @property
    def folder(self) -> Path:
        """Where results go."""
        if self.out is not None:
            return self.out
        whole = self.settings | {"replicas": [str(replica) for replica in self.replicas]}
        return Path("results/train") / f"{self.preset}-{fingerprint.of(whole)[:8]}"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


CIFAR10 = Config(
    preset="cifar10_resnet20",
    network="resnet20",
    data="tfds:cifar10",
    preprocess="cifar10_resnet",
)
PRESETS: Mapping[str, Config] = {
    "digits": Config(
        epochs=40,
        batch_size=32,
        learning_rate=0.02,
        drops=(25, 35),
        augment="none",
        validation=0.2,
    ),
    # Leavitt and Morcos (2020), appendix.
    "cifar10_resnet20": CIFAR10,
    "cifar10_vgg16": dataclasses.replace(
        CIFAR10, preset="cifar10_vgg16", network="vgg16_cifar", learning_rate=0.01
    ),
    # Truong and Hasson (2022) state the batch and the normalisation; the rest is ours.
    "cifar10_lenet5": dataclasses.replace(
        CIFAR10,
        preset="cifar10_lenet5",
        network="lenet5",
        preprocess="lenet5",
        epochs=30,
        batch_size=50,
        learning_rate=0.01,
        drops=(20,),
        weight_decay=0.0,
        augment="none",
    ),
    # ukky17/ori_selectivity_CNN, but for the mean of every pixel, which is not subtracted.
    "cifar10_cnn7": dataclasses.replace(
        CIFAR10,
        preset="cifar10_cnn7",
        network="cnn7",
        preprocess="unit_range",
        batch_size=32,
        learning_rate=0.001,
        drops=(),
        optimiser="adam",
        weight_decay=0.0,
        padding=3,
        validation=0.2,
        best_by="loss",
    ),
}


def preset_in(arguments: Sequence[str]) -> Config:
    """The settings of the preset that the arguments name.

    >>> preset_in(["--preset", "cifar10_vgg16"]).learning_rate
    0.01
    """
    return PRESETS[named_preset(arguments, PRESETS)]


def named_preset(arguments: Sequence[str], possible: Iterable[str]) -> str:
    """What stands after `--preset`, or the first that is possible.

    Raises:
        SystemExit: it is none of those; that is before there is a parser to say so.

    >>> named_preset(["--epochs", "2", "--preset=tiny"], ("digits", "tiny"))
    'tiny'
    """
    name, *_ = possible = tuple(possible)
    for i, argument in enumerate(arguments):
        if argument == "--preset" and i + 1 < len(arguments):
            name = arguments[i + 1]
        elif argument.startswith("--preset="):
            name = argument.removeprefix("--preset=")
    if name not in possible:
        raise SystemExit(f"error: unknown preset {name!r}: possible are {', '.join(possible)}")
    return name
