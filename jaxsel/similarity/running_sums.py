"""Similarities of nested sets of units, from running sums: what pruning curves are made of."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from .compare import SAME
from .rsm import CONSTANT


def shifted(responses: np.ndarray, kind: str) -> np.ndarray:
    """Responses of which sums of products keep most digits, of the same similarities.

    A correlation over units is that of responses less any number, and times any, of the image's
    own; a distance is that of responses less any pattern.
    """
    if kind == "cosine":
        return responses
    if kind == "euclidean":
        return responses - responses.mean(axis=0)
    deviations = responses - responses.mean(axis=1, keepdims=True)
    size = np.square(deviations).mean(axis=1, keepdims=True)
    varies = size > CONSTANT * np.square(responses).mean(axis=1, keepdims=True)
    return np.where(varies, deviations / np.sqrt(np.where(varies, size, 1)), 0)


def nested_groups(rankings: np.ndarray, ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The units of the first level, and those that every further one adds.

    The second is `(rankings, further levels, most that one adds)`; where one adds fewer, it is
    filled up with the number after the last unit, whose responses are 0.
    """
    n_units = rankings.shape[1]
    kept_first = rankings[:, ::-1]  # the last to go are the first to count
    added = np.diff(ascending)
    widest = int(added.max(initial=1))
    groups = np.full((len(rankings), len(added), widest), n_units)
    for level, (start, n) in enumerate(zip(ascending[:-1], added, strict=True)):
        groups[:, level, :n] = kept_first[:, start : start + n]
    return kept_first[:, : ascending[0]], groups


def finer(ascending: Int[np.ndarray, " levels"]) -> Int[np.ndarray, " more"]:
    """The levels, with more between where a step is wider than the mean, for less padding.

    >>> finer(np.array([2, 3, 4, 13])).tolist()
    [2, 3, 4, 8, 12, 13]
    """
    step = max(1, -(-int(ascending[-1] - ascending[0]) // max(1, len(ascending) - 1)))
    between = [np.arange(low, high, step) for low, high in pairwise(ascending)]
    return np.concatenate([*between, ascending[-1:]])


@partial(jax.jit, static_argnames=("kind", "how"))
def nested(
    patterns: Float[Array, "units images"],
    target: Float[Array, "images images"],
    counts: Float[Array, "images images"],
    first: Int[Array, "rankings fewest"],
    groups: Int[Array, "rankings further widest"],
    keep: Int[Array, " levels"],
    kind: str,
    how: str | None,
):
    """How well nested sets of units agree with a target, for many rankings in one program.

    Args:
        patterns: responses as `shifted` leaves them.
        target: what is agreed with.
        counts: 1 for a pair of images that counts, above the diagonal, 0 elsewhere.
        first: the units of the smallest set.
        groups: the units that every further set adds, as `nested_groups` has them.
        keep: sizes of the sets.
        kind: of similarity.
        how: `pearson` or `pearson_squared`; None for the similarities themselves, which
            comparisons that sort are made of outside.

    Returns:
        `(rankings, levels)` of agreements, or `(rankings, levels, images, images)` of
        similarities; how many pairs have a similarity, `(rankings, levels)`; and of the image
        that it is smallest of, the share of the mean square that is variance.
    """
    padded = jnp.vstack([patterns, jnp.zeros_like(patterns[:1])])

    def found(products, sums, n_units):
        similar, defined = similarities(products, sums, n_units, kind)
        counted = jnp.where(defined, counts, 0)
        n, own = counted.sum(), jnp.diagonal(products)
        share = 1 - jnp.square(sums) / n_units / jnp.where(own > 0, own, 1)
        digits = jnp.where(own > 0, share, 1).min()
        if how is None:
            return jnp.where(defined, similar, jnp.nan), n, digits
        return fit(similar, target, counted, n, how), n, digits

    def one(ranking):
        first_units, further = ranking

        def level(sums, step):
            units, n_units = step
            added = padded[units]
            products, sums = sums[0] + added.T @ added, sums[1] + added.sum(axis=0)
            return (products, sums), found(products, sums, n_units)

        begin = padded[first_units]
        sums = begin.T @ begin, begin.sum(axis=0)
        at_first = found(*sums, keep[0])
        _, after = lax.scan(level, sums, (further, keep[1:]))
        return jax.tree.map(
            lambda one, more: jnp.concatenate([one[None], more]), at_first, after
        )

    return lax.map(one, (first, groups))


def similarities(products, sums, n_units, kind: str):
    """From sums over units of responses and of their products; and which there are."""
    own = jnp.diagonal(products)
    if kind == "euclidean":
        both = own[:, None] + own
        apart = both - 2 * products
        # The same image twice is at 0, not at the root of a rounding.
        return jnp.sqrt(jnp.where(apart > CONSTANT * both, apart, 0)), jnp.ones(
            products.shape, bool
        )
    if kind == "cosine":
        varies = own > 0
        deviations = products
    else:
        deviations = products - jnp.outer(sums, sums / n_units)
        varies = jnp.diagonal(deviations) > CONSTANT * own
    scale = jnp.where(varies, lax.rsqrt(jnp.where(varies, jnp.diagonal(deviations), 1)), 0)
    similar = jnp.clip(deviations * scale[:, None] * scale, -1, 1)
    defined = varies[:, None] & varies
    return jnp.square(similar) if kind == "pearson_squared" else similar, defined


def fit(similar, target, counted, n, how: str):
    """Pearson's correlation over the pairs that count, or its square."""

    def deviations(values):
        return counted * (values - (counted * values).sum() / jnp.maximum(n, 1))

    ours, theirs = deviations(similar), deviations(target)
    ours_size, theirs_size = jnp.square(ours).sum(), jnp.square(theirs).sum()
    exists = n >= 3
    for size, values in ((ours_size, similar), (theirs_size, target)):
        exists &= size > SAME**2 * jnp.square(counted * values).sum()
    sizes = jnp.where(exists, ours_size * theirs_size, 1)
    agreement = jnp.clip((ours * theirs).sum() * lax.rsqrt(sizes), -1, 1)
    agreement = jnp.where(exists, agreement, jnp.nan)
    return jnp.square(agreement) if how == "pearson_squared" else agreement
