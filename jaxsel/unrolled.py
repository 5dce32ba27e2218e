"""Convolutions on CPU whose window is larger than the map, as matrix products.

There XLA has no fast program for them: 50 times slower than a convolution (jax 0.10). Where the
window reaches over the whole map, every place of the output is a product of all that the map
holds with the numbers of the kernel in another order, and no padding is multiplied.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

# The numbers of the matrix, in those of the kernel, at most.
MOST_TIMES = 4


def unrolls(eqn: Any) -> bool:
    """Whether an equation is such a convolution, its matrix little larger than the kernel."""
    if eqn.primitive.name != "conv_general_dilated" or jax.default_backend() != "cpu":
        return False
    params, (x, kernel), (out,) = eqn.params, eqn.invars, eqn.outvars
    dims = params["dimension_numbers"]
    sizes = [x.aval.shape[axis] for axis in dims.lhs_spec[2:]]
    window = [kernel.aval.shape[axis] for axis in dims.rhs_spec[2:]]
    out_sizes = [out.aval.shape[axis] for axis in dims.out_spec[2:]]
    return (
        any(width > size for width, size in zip(window, sizes, strict=True))
        and math.prod(sizes) * math.prod(out_sizes) <= MOST_TIMES * math.prod(window)
        and 0 not in out.aval.shape
        and params["feature_group_count"] == params["batch_group_count"] == 1
        and {*params["lhs_dilation"], *params["rhs_dilation"]} == {1}
    )


def unrolled(eqn: Any, x: ArrayLike, kernel: ArrayLike) -> Array:
    """The convolution, as one matrix product.

    Args:
        eqn: one of which `unrolls` is true.
        x: images.
        kernel: in the layout that the equation says.
    """
    x, kernel, params = jnp.asarray(x), jnp.asarray(kernel), eqn.params
    dims, shape = params["dimension_numbers"], eqn.outvars[0].aval.shape
    x = x.transpose(dims.lhs_spec[0], *dims.lhs_spec[2:], dims.lhs_spec[1])
    kernel = kernel.transpose(*dims.rhs_spec[2:], *dims.rhs_spec[1::-1])
    window, (n_in, n_out) = kernel.shape[:-2], kernel.shape[-2:]
    sizes = x.shape[1:-1]
    out_sizes = [shape[axis] for axis in dims.out_spec[2:]]
    # Which number of the window takes each place of the map to each of the output; the last
    # one stands for none.
    tap = np.full((math.prod(sizes), math.prod(out_sizes)), math.prod(window))
    steps = list(zip(params["window_strides"], params["padding"], strict=True))
    for i, place in enumerate(itertools.product(*map(range, sizes))):
        for j, target in enumerate(itertools.product(*map(range, out_sizes))):
            at = [
                p + low - t * stride
                for p, t, (stride, (low, _)) in zip(place, target, steps, strict=True)
            ]
            if all(0 <= a < width for a, width in zip(at, window, strict=True)):
                tap[i, j] = np.ravel_multi_index(at, window)
    numbers = kernel.reshape(-1, n_in, n_out)
    numbers = jnp.concatenate([numbers, jnp.zeros_like(numbers[:1])])[tap]
    matrix = numbers.transpose(0, 2, 1, 3).reshape(len(tap) * n_in, -1)
    out = lax.dot(
        x.reshape(len(x), -1),
        matrix,
        precision=params["precision"],
        preferred_element_type=params["preferred_element_type"],
    )
    out = out.reshape(len(x), *out_sizes, n_out)
    order = [dims.out_spec[0], *dims.out_spec[2:], dims.out_spec[1]]
    return out.transpose(np.argsort(order))
