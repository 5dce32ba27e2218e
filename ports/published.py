"""Where the published weights are, and how their files are told from others."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published file of weights.

    Attributes:
        url: its address.
        sha256: the first hexadecimal digits of its checksum, as the publisher states them.
        licence: what is said of its use.
    """

    url: str
    sha256: str
    licence: str

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[1]


TORCHVISION = (
    "torchvision is BSD-3-Clause; weights trained on ImageNet, whose images are for "
    "non-commercial research"
)
RESNET_CIFAR = "BSD-2-Clause, Yerlan Idelbayev"
BVLC = "BVLC: released for unrestricted use; converted by the ONNX Model Zoo, Apache-2.0"
UNKNOWN = "not stated by the source: do not redistribute"

_TORCH = "https://download.pytorch.org/models"
_RESNET = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
# A commit: the files have moved since. Checksums from the zoo's own ONNX_HUB_MANIFEST.json.
_ZOO = "https://github.com/onnx/models/raw/8e893eb39b131f6d3970be6ebd525327d3df34ea"

PUBLISHED = {
    "alexnet": Published(f"{_TORCH}/alexnet-owt-7be5be79.pth", "7be5be79", TORCHVISION),
    "vgg16": Published(f"{_TORCH}/vgg16-397923af.pth", "397923af", TORCHVISION),
    "vgg19": Published(f"{_TORCH}/vgg19-dcbb9e9d.pth", "dcbb9e9d", TORCHVISION),
    "alexnet_caffe": Published(
        f"{_ZOO}/vision/classification/alexnet/model/bvlcalexnet-12.onnx",
        "6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945",
        BVLC,
    ),
    "caffenet": Published(
        f"{_ZOO}/vision/classification/caffenet/model/caffenet-12.onnx",
        "ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb",
        BVLC,
    ),
    "resnet20": Published(f"{_RESNET}/resnet20-12fca82f.th", "12fca82f", RESNET_CIFAR),
    "resnet32": Published(f"{_RESNET}/resnet32-d509ac18.th", "d509ac18", RESNET_CIFAR),
    "resnet44": Published(f"{_RESNET}/resnet44-014dd654.th", "014dd654", RESNET_CIFAR),
    "resnet56": Published(f"{_RESNET}/resnet56-4bfd9763.th", "4bfd9763", RESNET_CIFAR),
}
