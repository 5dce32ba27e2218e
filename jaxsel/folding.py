"""Convolutions in float64 on CPU that have few output channels, made wide enough to be fast.

There a convolution to 16 channels or fewer takes ten times as long as one to 32: it has no fast
program. So neighbouring columns of the output are computed as channels of one column: the same
sums, and some products with 0.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

# Convolutions to more channels than this are fast as they are (measured, jax 0.10).
SLOW = 16


def folds(eqn: Any) -> bool:
    """Whether an equation is such a convolution, laid out as images, places, channels."""
    if eqn.primitive.name != "conv_general_dilated" or jax.default_backend() != "cpu":
        return False
    params, (out,) = eqn.params, eqn.outvars
    dims = params["dimension_numbers"]
    n_dims = len(out.aval.shape)
    return (
        n_dims > 2
        and out.aval.dtype == jnp.float64
        and 0 not in out.aval.shape
        and out.aval.shape[-1] <= SLOW
        and dims.lhs_spec == dims.out_spec == (0, n_dims - 1, *range(1, n_dims - 1))
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and params["lhs_dilation"][-1] == params["rhs_dilation"][-1] == 1
    )


def folded(eqn: Any, x: ArrayLike, kernel: ArrayLike) -> Array:
    """The convolution, with several columns of the output as channels of one.

    Args:
        eqn: one of which `folds` is true.
        x: images.
        kernel: in the layout that the equation says.
    """
    x, kernel, params = jnp.asarray(x), jnp.asarray(kernel), dict(eqn.params)
    shape = eqn.outvars[0].aval.shape
    out_axis, in_axis, *places = params["dimension_numbers"].rhs_spec
    kernel = kernel.transpose(*places, in_axis, out_axis)
    columns, channels = shape[-2:]
    n = min(SLOW // channels + 1, columns)
    stride, width = params["window_strides"][-1], kernel.shape[-3]
    # Column j of n is j strides further to the right.
    parts = [
        jnp.pad(
            kernel, [(0, 0)] * (kernel.ndim - 3) + [(j * stride, (n - 1 - j) * stride), *NO_PAD]
        )
        for j in range(n)
    ]
    kernel = jnp.stack(parts, axis=-2).reshape(
        *kernel.shape[:-3], -1, kernel.shape[-2], n * channels
    )
    n_folded = -(-columns // n)
    low, _ = params["padding"][-1]
    reach = (n_folded * n - 1) * stride + width
    n_dims = len(shape)
    last = (n_dims - 1, n_dims - 2, *range(n_dims - 2))
    params |= {
        "window_strides": (*params["window_strides"][:-1], n * stride),
        "padding": (*params["padding"][:-1], (low, reach - low - x.shape[-2])),
        "dimension_numbers": params["dimension_numbers"]._replace(rhs_spec=last),
    }
    out = lax.conv_general_dilated_p.bind(x, kernel, **params)
    return out.reshape(*shape[:-2], n_folded * n, channels)[..., :columns, :]


NO_PAD = ((0, 0), (0, 0))
