"""Mutual information: what one response tells about the class of an image."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


def mutual_information(
    responses: Float[ArrayLike, "images units"],
    labels: Int[ArrayLike, " images"],
    n_classes: int,
    *,
    n_bins: int = 8,
    correct: bool = True,
) -> Float[Array, " units"]:
    r"""How many bits about the class of an image its response carries.

    $$I = \sum_{b,c} p(b, c) \log_2 \frac{p(b, c)}{p(b)\,p(c)}$$

    over classes $c$ and bins $b$ that as many images as possible share alike: the images are
    ranked by their response to the unit, equal responses with the same rank (all zeros are
    one bin), and ranks are divided evenly. Frequencies stand for probabilities; few images
    make that too large, by about $(K_{bc} - K_b - K_c + 1) / (2 N \ln 2)$ with $K$ the numbers
    of cells, bins and classes that have images. This is taken off; with fewer than some four
    images a cell, a tenth of the bias is left.

    Args:
        responses: one number per image and unit, of any sign; only their order counts.
        labels: class of each image.
        n_classes: classes in all.
        n_bins: bins that responses are divided into.
        correct: whether the bias is taken off.

    Returns:
        One number per unit, in bits: 0 (nothing) to $\log_2$ of the number of classes or of
        bins, whichever is smaller. Corrected it may lie a little below 0, so that units that
        know nothing have about 0 on average. NaN where any response is NaN.

    Raises:
        ValueError: fewer than two bins.

    Source:
        The correction is Miller's (1955) for each of the three entropies; Panzeri et al.
        (2007), Journal of Neurophysiology 98:1064, compare it with others.

    >>> responses = jnp.array([[0.0], [0.0], [3.0], [4.0]])
    >>> mutual_information(responses, jnp.array([0, 0, 1, 1]), 2, n_bins=2).tolist()
    [1.0]
    """
    if n_bins < 2:
        raise ValueError(f"n_bins must be at least 2; found {n_bins}")
    responses, labels = jnp.asarray(responses), jnp.asarray(labels)
    n_images = len(labels)
    members = jax.nn.one_hot(labels, n_classes, dtype=jnp.float32)

    def of_unit(values: Array) -> Array:
        below = jnp.searchsorted(jnp.sort(values), values)  # images that respond less
        bins = jax.nn.one_hot(below * n_bins // n_images, n_bins, dtype=jnp.float32)
        # Counts are exact in float32 up to 16 million images.
        joint = jnp.matmul(bins.T, members, precision="highest")
        cells, rows, columns = joint, joint.sum(axis=1), joint.sum(axis=0)
        bits = jnp.log2(n_images) + sum(
            sign * _sum_of_logs(counts) / n_images
            for sign, counts in ((1, cells), (-1, rows), (-1, columns))
        )
        if correct:
            used = [(counts > 0).sum() for counts in (cells, rows, columns)]
            bits -= (used[0] - used[1] - used[2] + 1) / (2 * n_images * jnp.log(2.0))
            bits = jnp.minimum(bits, jnp.log2(jnp.minimum(used[1], used[2])))
        return jnp.where(jnp.isnan(values).any(), jnp.nan, bits)

    return jax.lax.map(of_unit, responses.T)


def _sum_of_logs(counts: Array) -> Array:
    """The sum of n log2 n, 0 for n = 0."""
    return jnp.where(counts > 0, counts * jnp.log2(jnp.maximum(counts, 1)), 0).sum()
