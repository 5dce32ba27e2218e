"""Ablation by running a network again in float64 with some channels set to a value.

Nothing of jaxsel's ablation is used: two exact losses are subtracted, which leaves some ten
digits. A network is `run(images, tap) -> logits` in NumPy, channels last; `of_torch` and
`of_jax` make one.
"""

from typing import NamedTuple

import jax
import numpy as np
import torch

from . import mlp


class Truth(NamedTuple):
    """Loss changes (images, ablations), and ranks of the label before and after.

    `largest` is the largest change of a logit, and `doubt` the larger of 1 - P(label) before
    and after, all (images, ablations).
    """

    change: np.ndarray
    largest: np.ndarray
    doubt: np.ndarray
    before: np.ndarray
    after: np.ndarray


def of_torch(net):
    """A network of `torch_networks`, in float64."""

    def run(images, tap):
        def turned(site, x):
            found = tap(site, (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy())
            found = torch.from_numpy(np.ascontiguousarray(found))
            return found.permute(0, 3, 1, 2) if x.ndim == 4 else found

        with torch.no_grad():
            return net.eval()(torch.from_numpy(images).permute(0, 3, 1, 2), turned).numpy()

    return run


def of_jax(model):
    """A model of jaxsel's kind whose arrays follow the type of its images."""

    def run(images, tap):
        with jax.enable_x64(True), jax.default_matmul_precision("float32"):
            logits = model(
                jax.numpy.asarray(images),
                lambda site, x: jax.numpy.asarray(tap(site, np.asarray(x))),
            )
            assert logits.dtype == np.float64
            return np.asarray(logits)

    return run


def activations(run, images):
    """Logits, and every activation by site."""
    seen = {}

    def tap(site, x):
        seen[site] = np.array(x)
        return x

    return run(np.float64(images), tap), seen


def ablate(run, images, labels, site, masks, values=0.0):
    """The changes by setting the units of each mask to values: one, or one per unit."""
    logits, _ = activations(run, images)
    before, new = mlp.losses(logits, labels), []
    for mask in masks:

        def tap(name, x, mask=mask):
            return np.where(mask, np.float64(values), x) if name == site else x

        new.append(run(np.float64(images), tap))
    return Truth(
        np.stack([mlp.losses(one, labels) - before for one in new], 1),
        np.stack([np.abs(one - logits).max(1) for one in new], 1),
        np.stack([-np.expm1(-np.maximum(before, mlp.losses(one, labels))) for one in new], 1),
        mlp.ranks(logits, labels),
        np.stack([mlp.ranks(one, labels) for one in new], 1),
    )


def assert_exact(effects, truth, labels):
    """The effects are those of brute force, each within its own estimate of the error.

    A logit's change is a float32 sum, off by some eight roundings, 8 * 2**-24, of the largest
    change, in a network of more than ten layers by twice as many; a loss changes by at most
    2 (1 - P(label)) times what the logits change by. Hence 2e-6 of that doubt times the
    largest change of a logit, summed over the images; a median unit is right to 1e-6 of its
    absolute loss changes, or to 2e-6 where five units or fewer make the median one that is
    drawn by chance. Where the classes' parts of those cancel, fewer digits are left. The
    truth is a difference of two losses in float64, each a few roundings of logits near 10 off.

    Returns:
        Errors of the units that move, relative to the total change of each, and to its
        absolute changes.
    """
    labels, change = np.asarray(labels), truth.change
    members = np.eye(len(effects.baseline.images))[labels]
    total, size = change.sum(0), np.abs(change).sum(0)
    error = np.maximum(np.abs(effects.total() - total) - 1e-14 * len(labels), 0)
    moved = truth.largest.sum(0) > 0
    assert (effects.error[moved] > 0).all()
    room = 2e-6 * (truth.largest * truth.doubt).sum(0)
    relative, of_size = error[moved] / np.abs(total[moved]), error[moved] / size[moved]
    print(
        f"{effects.site}: median {np.median(relative):.1e} of the change, worst "
        f"{of_size.max():.1e} of the absolute changes, "
        f"{(error[moved] / room[moved]).max():.2f} of what is allowed, "
        f"{(error[moved] / effects.error[moved]).max():.2f} of the estimate; "
        f"median absolute change {np.median(size):.1e}"
    )
    assert np.isfinite(effects.loss_change).all()
    assert (error <= effects.error).all()
    assert (error <= room).all()
    assert np.median(of_size) <= (1e-6 if len(of_size) > 5 else 2e-6)
    np.testing.assert_array_less(
        np.abs(effects.loss_change - change.T @ members), room.max() + 1e-14 * len(labels)
    )
    for k, found, right in (
        (1, effects.top1_change, effects.baseline.top1),
        (5, effects.top5_change, effects.baseline.top5),
    ):
        was, is_now = (truth.before < k).astype(int), (truth.after < k).astype(int)
        np.testing.assert_array_equal(found, (is_now - was[:, None]).T @ members)
        np.testing.assert_array_equal(right, was @ members)
    return relative, of_size


def means(activation):
    """Each unit's mean response, over images and places."""
    return activation.reshape(-1, activation.shape[-1]).mean(0)
