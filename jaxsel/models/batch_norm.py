"""BatchNorm whose batch may be filled up and spread over devices."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float


@dataclass(frozen=True, eq=False)
class Batch:
    """What a layer that looks across images has to know of the batch.

    Attributes:
        where: images that count; None for all.
        axis_name: the mapped axis over which the batch is spread; None for one device.
    """

    where: Bool[Array, " images"] | None = None
    axis_name: str | None = None


class BatchNorm(nnx.BatchNorm):
    r"""Every channel less its mean over the batch, over its standard deviation.

    $$y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta$$

    In evaluation mode $\mu$ and $\sigma^2$ are the running statistics, and this is
    `flax.nnx.BatchNorm`. In training mode they are those of the images of the batch that
    count, over all devices that share it, and the running statistics are moved towards them by
    1 - `momentum`: the variance as that of a sample (divided by n - 1), as PyTorch has it.

    Args:
        n: channels.
        momentum: of the running statistics: what is kept of them in every step.
        epsilon: added to the variance.
        rngs: Flax random streams.

    Source:
        Ioffe and Szegedy (2015), algorithms 1 and 2.
    """

    # What the batch is; training sets it on a copy of the network, for one pass.
    batch: Any = Batch()

    def __init__(self, n: int, *, momentum: float, epsilon: float, rngs: nnx.Rngs):
        super().__init__(
            n, use_running_average=True, momentum=momentum, epsilon=epsilon, rngs=rngs
        )

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Float[Array, "images ..."]
    ) -> Float[Array, "images ..."]:
        """The batch normalised; in training mode the running statistics move."""
        if self.use_running_average:
            return super().__call__(x)
        assert self.scale is not None
        assert self.bias is not None
        where, axis_name = self.batch.where, self.batch.axis_name
        scale, bias = self.scale[...], self.bias[...]
        normalised: Any = _normalised(x, scale, bias, where, axis_name, self.epsilon)
        y, count, mean, variance = normalised
        sample = variance * count / jnp.maximum(count - 1, 1)
        for running, new in ((self.mean, mean), (self.var, sample)):
            kept = self.momentum * running[...] + (1 - self.momentum) * new
            running[...] = jax.lax.stop_gradient(kept)
        return y


def moments(
    x: Float[Array, "images ..."], batch: Batch
) -> tuple[Float[Array, ""], Float[Array, " channels"], Float[Array, " channels"]]:
    """Count, mean and variance (of a population) of every channel over a batch.

    The variance is that of the differences from the mean: a mean of squares less the square
    of the mean would cancel.
    """
    places = x.size // (x.shape[0] * x.shape[-1])
    axes = tuple(range(x.ndim - 1))
    where = None if batch.where is None else batch.where.reshape(-1, *(1,) * (x.ndim - 1))
    n_images = x.shape[0] if batch.where is None else batch.where.sum()

    def over_batch(values: Array) -> Array:
        return values if batch.axis_name is None else jax.lax.psum(values, batch.axis_name)

    def summed(values: Array) -> Array:
        return over_batch(values.sum(axes, where=where))

    count = over_batch(jnp.asarray(n_images * places, x.dtype))
    mean = summed(x) / count
    variance = summed(jnp.square(x - mean)) / count
    return count, mean, variance


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _normalised(x, scale, bias, where, axis_name, epsilon) -> Any:
    """The batch normalised, and its moments, through which nothing is differentiated."""
    return _forward(x, scale, bias, where, axis_name, epsilon)[0]


def _forward(x, scale, bias, where, axis_name, epsilon):
    count, mean, variance = moments(x, Batch(where, axis_name))
    deviation = jax.lax.rsqrt(variance + epsilon)
    y = (x - mean) * (deviation * scale) + bias
    return (y, count, mean, variance), (x, scale, where, count, mean, deviation)


def _backward(axis_name, epsilon, kept, gradients):
    """In two passes over the batch; what JAX derives by itself takes some more."""
    del epsilon
    x, scale, where, count, mean, deviation = kept
    gradient, *_ = gradients
    normal = (x - mean) * deviation
    axes = tuple(range(x.ndim - 1))
    of_bias, of_scale = gradient.sum(axes), (gradient * normal).sum(axes)
    # The moments are those of all devices' images.
    both = of_bias, of_scale
    sum_bias, sum_scale = both if axis_name is None else jax.lax.psum(both, axis_name)
    by_moments = (sum_bias + normal * sum_scale) / count
    if where is not None:  # the moments do not depend on the others
        by_moments = jnp.where(where.reshape(-1, *(1,) * (x.ndim - 1)), by_moments, 0)
    return (scale * deviation) * (gradient - by_moments), of_scale, of_bias, None


_normalised.defvjp(_forward, _backward)
