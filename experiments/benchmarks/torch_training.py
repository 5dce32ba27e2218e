"""The same training in PyTorch, as somebody who knows it well writes it.

Channels last, images and labels on the device as bytes, crops and flips by one indexing of a
batch, gradients set to None between steps.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from jaxsel.training import Recipe


class Block(nn.Module):
    """Two convolutions with BatchNorm, and the way around them (option A)."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
        self.relu1, self.relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.stride, self.new = stride, n_out - n_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output."""
        inner = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return self.relu2(inner + x)


def resnet20() -> nn.Module:
    """ResNet20 for CIFAR."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
    ]
    n_in = 16
    for stage, width in enumerate((16, 32, 64)):
        for i in range(3):
            layers.append(Block(n_in, width, 2 if stage and i == 0 else 1))
            n_in = width
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers, *head)


def alexnet_digits() -> nn.Module:
    """The small AlexNet for 8x8 digits."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate([(1, 32), (32, 64), (64, 64), (64, 64), (64, 64)]):
        layers += [nn.Conv2d(n_in, n_out, 3, 1, 1), nn.ReLU(inplace=True)]
        if i in (0, 4):
            layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for n_in in (256, 512):
        layers += [nn.Linear(n_in, 512), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(512, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet20": resnet20,
    "alexnet_digits": alexnet_digits,
}


def selectivity(responses: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Mean class selectivity index of a site's units on a batch; members are one-hot labels."""
    counts = members.sum(0)
    present = counts > 0
    means = (members.T @ responses)[present] / counts[present, None]
    best = means.max(dim=0).values
    others = (means.sum(dim=0) - best) / (len(means) - 1)
    total = best + others
    return torch.where(total == 0, 0, (best - others) / total.where(total != 0, 1)).mean()


class Training:
    """A network and its data on the device; each call is one step."""

    def __init__(
        self,
        name: str,
        recipe: Recipe,
        images: np.ndarray,
        labels: np.ndarray,
        pixels: np.ndarray,
        alpha: float | None,
        device: str,
    ):
        self.recipe, self.alpha, self.device = recipe, alpha, device
        self.network = NETWORKS[name]().to(device).train()
        self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.images = torch.tensor(images, device=device)
        self.labels = torch.tensor(labels, device=device, dtype=torch.long)
        # Preprocessing of whole pixels is the same straight line in every channel.
        low, high = torch.tensor(pixels[0]), torch.tensor(pixels[-1])
        self.scale = ((high - low) / (len(pixels) - 1)).to(device)
        self.shift = low.to(device)
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            recipe.learning_rate,
            recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.order, self.place = torch.randperm(len(labels), device=device), 0
        self.seen: list[torch.Tensor] = []
        if alpha is not None:
            for module in self.network.modules():
                if isinstance(module, nn.ReLU):
                    module.inplace = False
                    module.register_forward_hook(self.read)

    def read(self, module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        """Keeps the responses of a site with maps."""
        del module, inputs
        if output.ndim == 4:
            self.seen.append(output.mean(dim=(2, 3)))

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The next images, cut and turned, and their labels."""
        size, pad = self.recipe.batch_size, self.recipe.padding
        if self.place + size > len(self.order):
            self.order = torch.randperm(len(self.order), device=self.device)
            self.place = 0
        rows = self.order[self.place : self.place + size]
        self.place += size
        stored = self.images[rows]
        if self.recipe.augment != "none":
            n, height, width, _ = stored.shape
            padded = functional.pad(stored, (0, 0, pad, pad, pad, pad))
            corner = torch.randint(0, 2 * pad + 1, (2, n, 1), device=self.device)
            down = torch.arange(height, device=self.device) + corner[0]
            across = torch.arange(width, device=self.device)
            turned = torch.rand(n, 1, device=self.device) < 0.5
            across = torch.where(turned, width - 1 - across, across) + corner[1]
            every = torch.arange(n, device=self.device)[:, None, None]
            stored = padded[every, down[:, :, None], across[:, None, :]]
        x = stored * self.scale + self.shift
        return x.permute(0, 3, 1, 2), self.labels[rows]

    def step(self) -> torch.Tensor:
        """Forward, backward, optimiser."""
        x, labels = self.batch()
        self.optimiser.zero_grad(set_to_none=True)
        self.seen.clear()
        loss = functional.cross_entropy(self.network(x), labels)
        if self.alpha is not None:
            members = functional.one_hot(labels, 10).to(x.dtype)
            indices = [selectivity(responses, members) for responses in self.seen]
            loss = loss - self.alpha * torch.stack(indices).mean()
        loss.backward()
        self.optimiser.step()
        return loss
