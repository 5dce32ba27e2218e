"""What Kanda et al. (2020), arXiv:2001.07811, report for their two networks on ImageNet.

On the five best images of each category. Another network, torchvision's AlexNet among them, is
never given these numbers: with it, only directions can be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Paper:
    """The paper's numbers for one network, as they are printed; empty for any other network.

    Attributes:
        network: as the paper calls it.
        table_1: mean and SD of P(correct), top-5 and top-1, of all and of the best images.
        examples: CSI, sparseness and loss ratio (%) of the two examples in fc6 (figure 1A).
        median: index by site (figures 1B and 1C).
        loss_ratio: its median (%) and z by site (figure 2).
        rho: Spearman correlation of an index and the loss ratio, by site (figure 3).
        harmful: how many selective units of fc6 have a negative loss ratio (figure 5).
        related: median loss ratio as a fraction, and z, printed without sign (figure 5).
        mixed: loss ratio (%) of networks of 1,000 units (figure 6).
    """

    network: str = ""
    table_1: Mapping[str, tuple[str, str, str, str]] = field(default_factory=dict)
    examples: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    median: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    loss_ratio: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rho: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    harmful: str = ""
    related: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    mixed: str = ""


NOTHING = Paper()
# Caffe's AlexNet: two normalization layers, as the paper has it.
PAPERS = {
    "alexnet_caffe": Paper(
        network="AlexNet",
        table_1={
            "all": ("0.4599", "0.3918", "0.7951", "0.5645"),
            "best": ("0.9361", "0.1266", "1.0000", "0.9942"),
        },
        examples={
            "selective": ("0.96", "0.95", "-0.051"),
            "non-selective": ("0.71", "0.76", "0.293"),
        },
        median={
            "csi": {"fc6": "0.90", "fc7": "0.91"},
            "sparseness": {"fc6": "0.90", "fc7": "0.90"},
        },
        loss_ratio={"fc6": ("0.053", "41.4"), "fc7": ("0.064", "54.9")},
        rho={
            "csi": {"fc6": "-0.43", "fc7": "-0.09"},
            "sparseness": {"fc6": "-0.51", "fc7": "-0.08"},
        },
        harmful="597",
        related={"related": ("1.96e-4", "16.6"), "others": ("-1.38e-4", "21.2, without sign")},
        mixed="> 1000",
    ),
    "vgg19": Paper(
        network="VGG-19",
        table_1={
            "all": ("0.5608", "0.3914", "0.8683", "0.6590"),
            "best": ("0.8862", "0.2050", "0.9962", "0.9554"),
        },
        loss_ratio={"fc6": ("0.023", "33.4"), "fc7": ("0.030", "53.5")},
        rho={
            "csi": {"fc6": "-0.32", "fc7": "-0.10"},
            "sparseness": {"fc6": "-0.41", "fc7": "-0.13"},
        },
        harmful="621",
        mixed="> 1000",
    ),
}
