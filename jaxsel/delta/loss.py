r"""Cross-entropy and rank of the label, and what a change of the logits does to them.

Images that a network is sure of have losses near 1e-7 and below. The usual forms round
such a loss to 0 and give its change the wrong sign: everything here is arranged around the
label, so that no term that matters is a difference of nearly equal numbers.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

# A float32 sum of some hundred to thousand products is off by a few roundings of its
# largest term: the factor between one rounding and the error of a logit or of its change.
# Set so that the estimates held for every unit of the trained networks it was tried on.
ROUNDINGS = 8


def cross_entropy(
    logits: Float[ArrayLike, "*batch classes"], labels: Int[ArrayLike, "*batch"]
) -> Float[Array, "*batch"]:
    r"""How surprised a network is by the label, `-log P(label)`, with all its digits.

    $$L = \log\Bigl(1 + \sum_{c \ne y} e^{l_c - l_y}\Bigr)$$

    as `log1p` where the label leads, so that a loss of 1e-12 is not rounded to 0.

    Args:
        logits: one row per image.
        labels: class of each image.

    Returns:
        Losses in nats, in the precision of the logits, 0 to infinity.

    >>> f"{cross_entropy(jnp.array([30.0, 0.0]), jnp.array(0)):.3e}"
    '9.358e-14'
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    lead = logits - _at_label(logits, labels)
    others = _others(logits, labels)
    highest = jnp.max(lead, axis=-1, where=others, initial=-jnp.inf)
    # The loss does not depend on the shift; at a tie a gradient through it would be wrong.
    shift = jax.lax.stop_gradient(jnp.maximum(highest, 0))
    rest = jnp.sum(jnp.exp(lead - shift[..., None]), axis=-1, where=others)
    behind = shift + jnp.log(jnp.exp(-shift) + jnp.where(shift > 0, rest, 1))
    return jnp.where(shift > 0, behind, jnp.log1p(rest))


def cross_entropy_change(
    logits: Float[ArrayLike, "*#batch classes"],
    labels: Int[ArrayLike, "*#batch"],
    change: Float[ArrayLike, "*batch classes"],
) -> Float[Array, "*batch"]:
    r"""Change of the cross-entropy when the logits change, to a few roundings of itself.

    With $e_c = d_c - d_y$ and $s = \sum_{c \ne y} p_c (e^{e_c} - 1)$ the change is
    $\log(1 + s)$. Arranged around the label, it keeps its sign where $P(y)$ is nearly 1;
    outside -1/2 < s < 1 it is $\log \sum_c p_c e^{e_c}$, which neither overflows nor
    multiplies a probability that underflowed with a change that overflowed.

    Args:
        logits: $l$, before the change; they may be more precise than the change.
        labels: $y$.
        change: $d$, of any size. Leading axes broadcast: one row of logits can meet the
            changes by many units.

    Returns:
        Changes in nats, in the precision of `change`; exactly 0 where all changes are
        equal.

    >>> change = cross_entropy_change(jnp.array([40.0, 0.0]), 0, jnp.array([-1.0, 0.0]))
    >>> f"{change:.3e}"
    '7.300e-18'
    """
    e, log_p, p = _around_label(logits, labels, change)
    s = jnp.sum(_weighted_expm1(log_p, p, e), axis=-1, where=_others(e, labels))
    small = (s > -0.5) & (s < 1)
    large = jax.nn.logsumexp(log_p + e, axis=-1)
    return jnp.where(small, jnp.log1p(jnp.where(small, s, 0)), large)


def cross_entropy_change_error(
    logits: Float[ArrayLike, "*#batch classes"],
    labels: Int[ArrayLike, "*#batch"],
    change: Float[ArrayLike, "*batch classes"],
    *,
    roundoff: float | None = None,
) -> Float[Array, "*batch"]:
    r"""First-order estimate of the rounding error of `cross_entropy_change`.

    The change is $\log\sum_c e^{l_c + d_c} - d_y - \log\sum_c e^{l_c}$. Its derivative by
    $l_c$ is $q_c - p_c$, the probability after less the one before; by $d_c$ it is $q_c$
    ($q_y - 1$ for the label). With logits known to $8u(1 + \max_c |l_c|)$ and changes to
    $8v \max_c |d_c|$, $u$ and $v$ being half a unit in the last place of either, and with
    the roundings of the sum itself, the error is at most about

    $$8\,\Bigl[\bigl(u (1 + \max_c |l_c|) + v\bigr) \sum_c |q_c - p_c|
      + 2 v \max_c |d_c| \sum_{c \ne y} q_c\Bigr]$$

    where the first sum is at most $2 \sum_{c \ne y} p_c |e^{e_c} - 1| / (1 + s)$, and 2.

    Args:
        logits: as in `cross_entropy_change`.
        labels: likewise.
        change: likewise.
        roundoff: $v$, where the change was computed less exactly than it is kept.

    Returns:
        Estimates in nats, in the precision of `change`, at least 0; exactly 0 where no
        logit changes.

    >>> logits, change = jnp.array([40.0, 0.0]), jnp.array([-1.0, 0.0])
    >>> f"{cross_entropy_change_error(logits, 0, change):.0e}"  # the change itself is 7e-18
    '3e-22'
    """
    logits, change = jnp.asarray(logits), jnp.asarray(change)
    e, log_p, p = _around_label(logits, labels, change)
    others = _others(e, labels)
    log_growth = jax.nn.logsumexp(log_p + e, axis=-1)  # log(1 + s)
    q_others = jnp.sum(jnp.exp(log_p + e - log_growth[..., None]), axis=-1, where=others)
    spread = jnp.sum(jnp.abs(_weighted_expm1(log_p, p, e)), axis=-1, where=others)
    moved = jnp.where(log_growth > 1, 2, jnp.minimum(2 * spread * jnp.exp(-log_growth), 2))
    u, v = (float(jnp.finfo(array.dtype).eps) / 2 for array in (logits, e))
    v = v if roundoff is None else roundoff
    largest = (1 + jnp.abs(logits).max(axis=-1)).astype(e.dtype)
    by_change = 2 * jnp.abs(change).max(axis=-1) * q_others
    return ROUNDINGS * ((u * largest + v) * moved + v * by_change)


def label_rank(
    logits: Float[ArrayLike, "*#batch classes"],
    labels: Int[ArrayLike, "*#batch"],
    change: Float[ArrayLike, "*batch classes"] | None = None,
    *,
    tolerance: float = 0.0,
) -> Int[Array, "*batch"]:
    """How many classes come before the label: 0 is top-1, less than 5 is top-5.

    A class comes before the label if its logit is larger, or equal with a lower class
    number. After a change, `(l_c - l_y) + (d_c - d_y)` is compared with 0.

    Args:
        logits: one row per image; they may be more precise than the change.
        labels: class of each image.
        change: of the logits; None for the rank as it is.
        tolerance: error of each logit's change, relative to the largest of them. A lead
            that two of them could have made counts as equal: or else rounding would decide
            where an ablation leaves two logits exactly alike.

    Returns:
        Ranks from 0.

    >>> label_rank(jnp.array([[1.0, 1.0, 0.0]]), jnp.array([1])).tolist()
    [1]
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    lead = logits - _at_label(logits, labels)
    if change is not None:
        change = jnp.asarray(change)
        own = _at_label(change, labels)
        lead = lead.astype(change.dtype) + (change - own)
        unsure = 2 * tolerance * jnp.abs(change).max(axis=-1, keepdims=True)
        lead = jnp.where(jnp.abs(lead) <= unsure, 0, lead)
    before = jnp.arange(logits.shape[-1]) < labels[..., None]
    ahead = (lead > 0) | ((lead == 0) & before)
    return jnp.sum(ahead & _others(logits, labels), axis=-1)


def _around_label(
    logits: ArrayLike, labels: ArrayLike, change: ArrayLike
) -> tuple[Array, Array, Array]:
    """d_c - d_y, log p_c and p_c, the latter as exact as the logits before it is rounded."""
    change = jnp.asarray(change)
    e = change - _at_label(change, labels)
    log_p = jax.nn.log_softmax(jnp.asarray(logits))
    return e, log_p.astype(e.dtype), jnp.exp(log_p).astype(e.dtype)


def _weighted_expm1(log_p: Array, p: Array, e: Array) -> Array:
    """p (exp(e) - 1), without 0 * inf where p underflows and e is large.

    The product is the more exact form: p is known to half a unit in the last place, and
    `exp(log p + e)` only to |log p| times that.
    """
    safe = (e <= 1) | ((e <= 80) & (log_p >= -80))
    product = p * jnp.expm1(jnp.where(safe, e, 0))
    return jnp.where(safe, product, jnp.exp(log_p + e) - p)


def _at_label(rows: Array, labels: ArrayLike) -> Array:
    index = jnp.broadcast_to(jnp.asarray(labels), rows.shape[:-1])[..., None]
    return jnp.take_along_axis(rows, index, axis=-1)


def _others(logits: Array, labels: ArrayLike) -> Array:
    return jnp.arange(logits.shape[-1]) != jnp.asarray(labels)[..., None]
