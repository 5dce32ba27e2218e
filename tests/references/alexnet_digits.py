"""The small AlexNet in PyTorch float64, from the parameters of jaxsel's.

Only the parameters are shared, as nested dictionaries of arrays: `kernel` in Flax's layout
(height, width, in, out) or (in, out), and `bias`. Images and activations are NHWC, as
jaxsel has them.
"""

import numpy as np
import torch
from torch.nn import functional as nn

from . import mlp

SITES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
POOLED = {"conv1", "conv5"}


def forward(parameters, images, start=None):
    """Logits and the activations after each ReLU.

    With `start`, a site, `images` are the activations of that site, and only what follows
    it is run.
    """
    x = torch.from_numpy(np.asarray(images, np.float64))
    x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
    activations = {}
    todo = SITES if start is None else SITES[SITES.index(start) + 1 :]
    if start is not None:
        x = _before_next(start, x)
    for site in todo:
        x = torch.relu(_layer(parameters[site], x))
        activations[site] = (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy()
        x = _before_next(site, x)
    return _layer(parameters["fc8"], x).numpy(), activations


def ablate(parameters, images, labels, site, units, replacement=0.0):
    """Loss change of every (image, unit) pair, and ranks before and after, by brute force.

    Each unit's response at the site is replaced, the rest of the network runs again, and
    the two losses are subtracted: in float64 some ten digits are left.
    """
    logits, activations = forward(parameters, images)
    before = mlp.losses(logits, labels)
    change, after = [], []
    for unit, value in zip(units, np.broadcast_to(replacement, len(units)), strict=True):
        ablated = activations[site].copy()
        ablated[..., unit] = value
        new, _ = forward(parameters, ablated, start=site)
        change.append(mlp.losses(new, labels) - before)
        after.append(mlp.ranks(new, labels))
    return np.stack(change, 1), mlp.ranks(logits, labels), np.stack(after, 1)


def _layer(parameters, x):
    kernel, bias = (
        torch.from_numpy(np.asarray(parameters[name], np.float64))
        for name in ("kernel", "bias")
    )
    if kernel.ndim == 4:
        return nn.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1)
    return x @ kernel + bias


def _before_next(site, x):
    """What lies between a site and the next layer: pools, and the flattening as NHWC."""
    x = nn.max_pool2d(x, 2) if site in POOLED else x
    return x.permute(0, 2, 3, 1).flatten(1) if site == "conv5" else x
