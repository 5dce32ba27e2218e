"""How others ablate units, each in PyTorch from cached responses, and the float64 truth."""

from collections.abc import Callable, Iterator

import captum.attr
import numpy as np
import torch

from .heads import Head

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def usual_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy as everybody computes it."""
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def exact_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy that keeps losses below 1e-16: log1p of the sum over other classes."""
    lead = logits - logits.gather(1, labels[:, None])
    lead.scatter_(1, labels[:, None], -torch.inf)
    top = lead.max(dim=1).values.clamp(min=0)
    rest = torch.exp(lead - top[:, None]).sum(dim=1)
    behind = top + torch.log(torch.exp(-top) + rest)
    return torch.where(top > 0, behind, torch.log1p(rest))


class Cached:
    """A head in PyTorch, and the responses at its site."""

    def __init__(self, head: Head, dtype: torch.dtype = torch.float32):
        self.h = torch.tensor(head.dataset.inputs(slice(None)), dtype=dtype)
        self.labels = torch.tensor(head.dataset.labels, dtype=torch.long)
        self.layers = [
            (torch.tensor(weight, dtype=dtype), torch.tensor(bias, dtype=dtype))
            for weight, bias in head.layers
        ]

    def tail(self, x: torch.Tensor, skip: int = 0) -> torch.Tensor:
        """Logits from responses, or from what an earlier layer gave before its ReLU."""
        for depth, (weight, bias) in enumerate(self.layers):
            if depth >= skip:
                x = (torch.relu(x) if depth else x) @ weight + bias
        return x

    def losses(self, logits: torch.Tensor, loss: Loss) -> torch.Tensor:
        """`(copies, images)` for logits of several copies of the images."""
        copies = logits.shape[0]
        flat = logits.reshape(-1, logits.shape[-1])
        return loss(flat, self.labels.repeat(copies)).reshape(copies, -1)


def _chunks(units: np.ndarray, chunk: int) -> Iterator[np.ndarray]:
    for start in range(0, len(units), chunk):
        yield units[start : start + chunk]


@torch.no_grad()
def masks(cached: Cached, units: np.ndarray, chunk: int) -> np.ndarray:
    """Loss changes `(units, images)`: the rest of the network runs once per mask."""
    before = cached.losses(cached.tail(cached.h)[None], usual_loss)
    found = []
    for some in _chunks(units, chunk):
        ablated = cached.h.repeat(len(some), 1, 1)
        ablated[torch.arange(len(some)), :, torch.tensor(some)] = 0
        found.append(cached.losses(cached.tail(ablated), usual_loss) - before)
    return torch.cat(found).double().numpy()


@torch.no_grad()
def rank_one(
    cached: Cached, units: np.ndarray, chunk: int, loss: Loss = usual_loss
) -> np.ndarray:
    """Loss changes `(units, images)`: the first layer by a rank-one update, then the rest."""
    weight, bias = cached.layers[0]
    z = cached.h @ weight + bias
    before = cached.losses(cached.tail(z, 1)[None], loss)
    found = []
    for some in _chunks(units, chunk):
        column = cached.h[:, some].T[:, :, None]
        ablated = z - column * weight[some][:, None]
        found.append(cached.losses(cached.tail(ablated, 1), loss) - before)
    return torch.cat(found).double().numpy()


@torch.no_grad()
def captum_ablation(cached: Cached, units: np.ndarray, chunk: int) -> np.ndarray:
    """Loss changes by captum, which is told to leave the other units in one feature."""

    def loss(h: torch.Tensor) -> torch.Tensor:
        return usual_loss(cached.tail(h), cached.labels.repeat(len(h) // len(cached.labels)))

    others = len(units) < cached.h.shape[1]
    features = torch.full((1, cached.h.shape[1]), len(units) if others else 0)
    features[0, units] = torch.arange(len(units))
    found = captum.attr.FeatureAblation(loss).attribute(
        cached.h, feature_mask=features, perturbations_per_eval=chunk
    )
    return -found[:, units].T.double().numpy()


def truth(head: Head, units: np.ndarray) -> np.ndarray:
    """Loss changes `(units, images)` in float64, with a loss that keeps its digits."""
    return rank_one(Cached(head, torch.float64), units, 4, exact_loss)
