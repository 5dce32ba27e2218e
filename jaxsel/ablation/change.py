"""From changes of the logits to what they do to loss and rank, for many units of one image."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ..delta.loss import ROUNDINGS, cross_entropy_change, label_rank


class IntactLogits(NamedTuple):
    """What is known of each image before an ablation.

    Attributes:
        logits: float64.
        label: class of each image.
        lead: of each logit over the label's.
        share: of each other class in the probability of them all; 0 for the label. So the
            images that the network is sure of keep their digits in float32.
        wrong: the probability of all other classes, float64.
        least: logarithm of the smallest share.
        rank: of the label.
        terms: size of what the logits are known to a few roundings of: of the largest of
            them, or of the terms that they are sums of.
    """

    logits: Float[Array, "images classes"]
    label: Int[Array, " images"]
    lead: Float[Array, "images classes"]
    share: Float[Array, "images classes"]
    wrong: Float[Array, " images"]
    least: Float[Array, " images"]
    rank: Int[Array, " images"]
    terms: Float[Array, " images"]


@jax.jit
def intact_logits(logits: Array, label: Array, terms: Array) -> IntactLogits:
    """The same from logits, in float64, and the size of the terms that they are sums of."""
    own = jnp.take_along_axis(logits, label[:, None], axis=1)
    is_label = jnp.arange(logits.shape[1]) == label[:, None]
    log_others = jnp.where(is_label, -jnp.inf, jax.nn.log_softmax(logits))
    log_wrong = jax.nn.logsumexp(log_others, axis=1)
    # One class alone: there are no others.
    shift = jnp.where(jnp.isfinite(log_wrong), log_wrong, 0)
    log_share = log_others - shift[:, None]
    least = jnp.min(jnp.where(is_label, jnp.inf, log_share), axis=1)
    rank = label_rank(logits, label)
    return IntactLogits(
        logits,
        label,
        logits - own,
        jnp.exp(log_share),
        jnp.exp(log_wrong),
        least,
        rank,
        jnp.maximum(1 + jnp.abs(logits).max(axis=1), terms),
    )


def effects(
    intact: IntactLogits,
    i: Array,
    e: Float[Array, "units outputs"],
    size: Float[Array, " units"] | None = None,
    roundoff: float | None = None,
) -> tuple[Array, Array, Array, Array]:
    r"""Loss change, its error, top-1 and top-5 change of image i, one of each per unit.

    With $e_c = d_c - d_y$, the change of each logit less that of the label's, and
    $s = \sum_{c \ne y} p_c (e^{e_c} - 1)$ the change of the loss is $\log(1 + s)$; where
    $1 + s$ cancels or something overflows,
    `cross_entropy_change` in float64 takes over for that unit. The error is estimated as in
    `cross_entropy_change_error`, with $\sum r_c |e^{e_c} - 1|$, $r$ the shares, bounded by
    $e^{\max |e|} - 1$ and by $2 + \sum r_c (e^{e_c} - 1)$.

    Args:
        intact: the images before.
        i: which of them.
        e: exactly 0 for the label; more outputs than there are classes count for nothing.
        size: of the terms that each unit's e are the sums of: their roundings are relative
            to it. By default to the largest |e|.
        roundoff: relative error of these terms, where e is kept more exactly than it was
            computed.
    """
    kind, n_outputs = e.dtype, e.shape[1]
    image = jax.tree.map(lambda array: array[i], intact)
    missing = n_outputs - intact.logits.shape[1]
    share = jnp.pad(image.share.astype(kind), (0, missing))
    lead = jnp.pad(image.lead.astype(kind), (0, missing), constant_values=-np.inf)
    largest = jnp.max(jnp.abs(e), axis=1)

    grown = jnp.sum(jnp.expm1(e) * share, axis=1).astype(jnp.float64)
    s = image.wrong * grown
    hard = (s <= -0.5) | (largest > 80) | ((image.least < -80) & (largest > 1))
    careful = partial(_with_care, image)
    loss = lax.cond(jnp.any(hard), careful, lambda _, s, __: jnp.log1p(s), e, s, hard)

    u, v = (float(jnp.finfo(dtype).eps) / 2 for dtype in (jnp.float64, kind))
    v = v if roundoff is None else roundoff
    wrong_after = jnp.clip(image.wrong * (1 + grown) * jnp.exp(-loss), 0, 1)
    farthest = jnp.minimum(jnp.expm1(largest), grown + 2)
    moved = jnp.minimum(2, 2 * image.wrong * farthest * jnp.exp(-loss))
    moved, wrong_after = (
        jnp.where(hard, most, bound) for bound, most in ((moved, 2), (wrong_after, 1))
    )
    by_logits = u * image.terms + v
    size = largest if size is None else jnp.maximum(largest, size)
    error = ROUNDINGS * (by_logits * moved + 2 * v * size * wrong_after)

    unsure = 2 * ROUNDINGS * v * size[:, None]
    earlier = jnp.arange(n_outputs) < image.label
    # The smallest number makes a tie with an earlier class one that is lost.
    bar = jnp.where(earlier, -unsure - jnp.finfo(kind).tiny, unsure)
    rank = jnp.sum((lead + e > bar).astype(kind), axis=1)
    tops = [(rank < k).astype(jnp.int8) - (image.rank < k).astype(jnp.int8) for k in (1, 5)]
    return loss, error, *tops


def _with_care(image: IntactLogits, e: Array, s: Array, hard: Array) -> Array:
    exact = e[:, : image.logits.shape[0]].astype(jnp.float64)
    return jnp.where(
        hard,
        cross_entropy_change(image.logits, image.label, exact),
        jnp.log1p(jnp.where(hard, 0, s)),
    )
