"""What the channel benchmark runs on: what follows a site, and its cached inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional

from jaxsel import Dataset, forward
from jaxsel.models.resnet_cifar import ResNetCifar
from jaxsel.models.vgg_cifar import VGGCifar

Torch = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Suffix:
    """Activations at a site, and what follows it.

    Attributes:
        site: its name.
        activation: channels last.
        around: what a residual path brings past the site, or None.
        dataset: both, flattened, as images of `model`.
        model: what follows the site, as jaxsel takes it.
        network: the same from PyTorch's activations; makes one of a given type.
    """

    site: str
    activation: np.ndarray
    around: np.ndarray | None
    dataset: Dataset
    model: Any
    network: Callable[[torch.dtype], Torch]


def suffix(network: ResNetCifar | VGGCifar, dataset: Dataset, site: str) -> Suffix:
    """What follows a site of a network, with its inputs for all images of a data set."""
    past = _past(site) if isinstance(network, ResNetCifar) else None
    images = dataset.inputs(slice(None))
    names = (site,) if past is None else (site, past)
    _, found = jax.jit(forward, static_argnames="sites")(network, images, sites=names)
    arrays = [np.asarray(found[name]) for name in names]
    flat = np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)
    shapes = {name: array.shape[1:] for name, array in zip(names, arrays, strict=True)}

    def after(network: Any, cached: jax.Array, tap: Any) -> jax.Array:
        parts, start = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            parts[name] = cached[:, start : start + size].reshape(-1, *shape)
            start += size

        def from_cache(name: str, x: jax.Array) -> jax.Array:
            x = parts.get(name, x)
            return tap(site, x) if name == site else x

        blank = jnp.zeros((len(cached), *images.shape[1:]), cached.dtype)
        return network(blank, from_cache)

    def in_pytorch(dtype: torch.dtype) -> Torch:
        if isinstance(network, ResNetCifar):
            return _resnet_after(network, site, dtype)
        return _vgg_after(network, site, dtype)

    return Suffix(
        site,
        arrays[0],
        arrays[1] if past is not None else None,
        Dataset(flat, dataset.labels, dataset.class_names),
        jax.tree_util.Partial(after, network),
        in_pytorch,
    )


def _past(site: str) -> str | None:
    """The site whose activation goes around a site inside a block."""
    if not site.endswith("_conv1"):
        return None
    block = int(site.removeprefix("block").removesuffix("_conv1"))
    return "conv1" if block == 1 else f"block{block - 1}_conv2"


def _resnet_after(network: ResNetCifar, site: str, dtype: torch.dtype) -> Torch:
    """The rest of a residual network, as a PyTorch user would write it."""
    blocks = [
        [
            (_conv(conv, dtype), _norm(norm, dtype))
            for conv, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2))
        ]
        for block in network.blocks
    ]
    last = _linear(network.fc, dtype)
    inside = site.endswith("_conv1")
    done = 0 if site == "conv1" else int(site.removeprefix("block").split("_")[0]) - inside

    def rest(x: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        for i, ((conv1, norm1), (conv2, norm2)) in enumerate(blocks[done:]):
            if i == 0 and past is not None:
                inner, around = x, past
            else:
                inner, around = functional.relu(norm1(conv1(x))), x
            inner = norm2(conv2(inner))
            if around.shape[1] != inner.shape[1]:
                new = (inner.shape[1] - around.shape[1]) // 2
                around = functional.pad(around[:, :, ::2, ::2], (0, 0, 0, 0, new, new))
            x = functional.relu(inner + around)
        return last(x.mean((2, 3)))

    return rest


def _vgg_after(network: VGGCifar, site: str, dtype: torch.dtype) -> Torch:
    """The rest of a VGG with BatchNorm."""
    layers = [
        (name, _conv(conv, dtype), _norm(norm, dtype))
        for name, conv, norm in zip(
            network.conv_sites, network.convs, network.norms, strict=True
        )
    ]
    dense = [_linear(layer, dtype) for layer in network.dense]
    done = network.conv_sites.index(site) + 1
    ends = network.ends_of_blocks

    def rest(x: torch.Tensor, past: torch.Tensor | None) -> torch.Tensor:
        assert past is None
        x = functional.max_pool2d(x, 2) if site in ends else x
        for name, conv, norm in layers[done:]:
            x = functional.relu(norm(conv(x)))
            x = functional.max_pool2d(x, 2) if name in ends else x
        x = x.flatten(1)
        for layer in dense[:-1]:
            x = functional.relu(layer(x))
        return dense[-1](x)

    return rest


def _tensor(array: Any, dtype: torch.dtype, *order: int) -> torch.Tensor:
    values = np.asarray(array[...])
    return torch.tensor(values.transpose(order) if order else values).to(dtype)


def _conv(layer: Any, dtype: torch.dtype) -> Callable:
    kernel = _tensor(layer.kernel, dtype, 3, 2, 0, 1)
    bias = None if layer.bias is None else _tensor(layer.bias, dtype)
    stride = layer.strides if isinstance(layer.strides, int) else layer.strides[0]
    return lambda x: functional.conv2d(x, kernel, bias, stride, padding=1)


def _norm(layer: Any, dtype: torch.dtype) -> Callable:
    mean, var, scale, bias = (
        _tensor(array, dtype) for array in (layer.mean, layer.var, layer.scale, layer.bias)
    )
    return lambda x: functional.batch_norm(x, mean, var, scale, bias, eps=layer.epsilon)


def _linear(layer: Any, dtype: torch.dtype) -> Callable:
    weight, bias = _tensor(layer.kernel, dtype, 1, 0), _tensor(layer.bias, dtype)
    return lambda x: functional.linear(x, weight, bias)
