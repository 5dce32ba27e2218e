"""Layers that other frameworks have and Flax has not, as those frameworks define them."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


def local_response_normalisation(
    x: Float[Array, "images height width channels"],
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> Float[Array, "images height width channels"]:
    r"""Divide every channel by the energy of the channels around it.

    $$y_c = x_c \left(k + \frac{\alpha}{n} \sum_{|j - c| \le \lfloor n / 2 \rfloor} x_j^2
    \right)^{-\beta}$$

    with n = `size`; channels beyond the first and the last count as 0. Caffe and PyTorch
    divide alpha by n; Krizhevsky et al. and TensorFlow do not, so that their alpha is n times
    smaller for the same network.

    Args:
        x: activations.
        size: channels in the sum, an odd number.
        alpha: strength, over the whole sum.
        beta: exponent.
        k: what the sum is added to; above 0.

    Returns:
        The same shape; for k = 1, no number of larger magnitude than in `x`.

    Raises:
        ValueError: an even `size`, which has no middle.

    Source:
        Krizhevsky et al. (2012), section 3.3; Caffe's LRN layer (ACROSS_CHANNELS), with its
        default values.

    >>> local_response_normalisation(jnp.ones((1, 1, 1, 1)), alpha=5.0, beta=1.0).item()
    0.5
    """
    if size % 2 == 0:
        raise ValueError(f"the sum needs an odd number of channels; found {size}")
    around = ((0, 0),) * 3 + ((size // 2, size // 2),)
    energy = lax.reduce_window(x * x, 0.0, lax.add, (1, 1, 1, size), (1, 1, 1, 1), around)
    return x * (k + alpha / size * energy) ** -beta


def max_pool_ceil(
    x: Float[Array, "images height width channels"], size: int, stride: int
) -> Float[Array, "images rows columns channels"]:
    """Max-pooling whose last window may reach over the edge, as Caffe's does.

    There are `ceil((n - size) / stride) + 1` windows, at least one. What is over the edge does
    not count.

    Raises:
        ValueError: a `stride` above `size`, with which a window could begin over the edge.

    >>> max_pool_ceil(jnp.arange(4.0).reshape(1, 4, 1, 1), 3, 2).shape
    (1, 2, 1, 1)
    """
    if stride > size:
        raise ValueError(f"the stride {stride} is larger than the window {size}")

    def over(n):
        return max(math.ceil((n - size) / stride), 0) * stride + size - n

    _, height, width, _ = x.shape
    beyond = ((0, 0), (0, over(height)), (0, over(width)), (0, 0))
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), beyond
    )


def adaptive_average_pool(
    x: Float[Array, "images height width channels"], size: int
) -> Float[Array, "images size size channels"]:
    """Averages over `size` x `size` windows that cover the map, as PyTorch places them.

    Window i of n numbers reaches from `floor(i n / size)` to `ceil((i + 1) n / size)`: windows
    overlap where `size` does not divide n, and repeat numbers where n is smaller. A map that
    has this size already is returned as it is.

    >>> adaptive_average_pool(jnp.arange(4.0).reshape(1, 4, 1, 1), 2)[0, :, 0, 0].tolist()
    [0.5, 2.5]
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (_windows(n, size).astype(x.dtype) for n in x.shape[1:3])
    # Averages: a lower precision than the map's own is not meant.
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x, precision="highest")


def _windows(n, size):
    """Matrix `(size, n)` whose rows average one window each."""
    weights = np.zeros((size, n))
    for i in range(size):
        start, stop = i * n // size, -(-(i + 1) * n // size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
