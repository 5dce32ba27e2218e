"""Indices and their regulariser by definition: one number at a time, and in PyTorch."""

import math

import numpy as np
import torch

CANCELLING = 0.01


def class_selectivity_loop(
    responses, labels, n_classes, where, negative="raw", cancelling=CANCELLING
):
    """The class selectivity index of every unit, in float64."""
    found = []
    for unit in np.float64(responses).T:
        of_classes = [
            [r for r, label, counts in zip(unit, labels, where, strict=True)
             if counts and label == k]
            for k in range(n_classes)
        ]  # fmt: skip
        means = [math.fsum(rs) / len(rs) for rs in of_classes if rs]
        if negative == "clip":
            means = [max(mean, 0.0) for mean in means]
        if negative == "shift":
            means = [mean - min(0.0, *means) for mean in means]
        found.append(_selectivity(means, cancelling))
    return np.array(found)


def _selectivity(means, cancelling):
    if len(means) < 2:
        return 0.0
    *others, best = sorted(means)
    other = math.fsum(others) / len(others)
    total, sizes = best + other, abs(best) + abs(other)
    if total == 0 or (best > 0 > other and abs(total) < cancelling * sizes):
        return 0.0
    return (best - other) / total


def sparseness_loop(responses, where):
    """Sparseness over the images that count, of every unit, in float64; not cut off at 1."""
    found = []
    for unit in np.float64(responses)[np.asarray(where)].T:
        n, squares = len(unit), math.fsum(unit**2)
        if n < 2 or squares == 0:
            found.append(0.0)
        else:
            evenness = math.fsum(unit) ** 2 / (n * squares)
            found.append((1 - evenness) / (1 - 1 / n))
    return np.array(found)


def class_selectivity_torch(
    responses, labels, n_classes, negative="raw", cancelling=CANCELLING
):
    """The class selectivity index for PyTorch's autograd."""
    classes = [k for k in range(n_classes) if bool((labels == k).any())]
    means = torch.stack([responses[labels == k].mean(dim=0) for k in classes])
    if len(classes) < 2:
        return 0 * responses.sum(dim=0)
    if negative == "clip":
        means = torch.clamp(means, min=0)
    if negative == "shift":
        means = means - torch.clamp(means.min(dim=0).values, max=0)
    ordered = torch.sort(means, dim=0).values
    best, others = ordered[-1], ordered[:-1].mean(dim=0)
    total = best + others
    cancels = (best * others < 0) & (total.abs() < cancelling * (best.abs() + others.abs()))
    undefined = (total == 0) | cancels
    index = (best - others) / torch.where(undefined, torch.ones_like(total), total)
    return torch.where(undefined, torch.zeros_like(index), index)


def sparseness_torch(responses, labels, n_classes):
    """Sparseness over the images for PyTorch's autograd."""
    del labels, n_classes
    n, squares = len(responses), (responses**2).sum(dim=0)
    silent = squares == 0
    evenness = responses.sum(dim=0) ** 2 / n / torch.where(silent, squares + 1, squares)
    return torch.where(silent, torch.zeros_like(squares), (1 - evenness) / (1 - 1 / n))


def regularised_torch(logits, activations, labels, alpha, index=class_selectivity_torch):
    """Loss, cross-entropy and the mean index of each site, in PyTorch.

    Args:
        logits: of a network.
        activations: of the sites that count, in PyTorch's order (images, channels, ...).
        labels: of the images.
        alpha: weight of the regulariser.
        index: of responses.
    """
    n_classes = logits.shape[1]
    right = logits.gather(1, labels[:, None])[:, 0]
    cross_entropy = (torch.logsumexp(logits, dim=1) - right).mean()
    of_sites = []
    for x in activations:
        responses = x.mean(dim=(2, 3)) if x.ndim == 4 else x
        of_sites.append(index(responses, labels, n_classes).mean())
    indices = torch.stack(of_sites)
    return cross_entropy - alpha * indices.mean(), cross_entropy, indices
