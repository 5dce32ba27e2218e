"""The gradient of a convolution's weights, as matrix products over chunks of the batch.

On the CPU, XLA's own takes two to four times as long (`BENCHMARKS.md`), and eight times and
more inside a loop. Forward pass and gradient of the input stay XLA's.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Images of a chunk: what belongs to them stays in the cache between being made and being used.
CHUNK = 16
LAYOUT = ("NHWC", "HWIO", "NHWC")


def by_chunks(
    images: Float[Array, "..."],
    kernel: Float[Array, "..."],
    window_strides: Sequence[int],
    padding: Any,
    *,
    precision: Any = None,
    **others: Any,
) -> Float[Array, "..."]:
    """`jax.lax.conv_general_dilated`, but with a faster gradient of the kernel on the CPU.

    Takes the same arguments, so that an `nnx.Conv` can use it; grouped and dilated
    convolutions, and those that are not over two axes, are left to XLA.

    >>> def gradient(convolution):
    ...     x, k = jnp.ones((2, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
    ...     f = lambda k: convolution(x, k, (1, 1), "SAME", dimension_numbers=LAYOUT).sum()
    ...     return jax.grad(f)(k)
    >>> bool((gradient(by_chunks) == gradient(lax.conv_general_dilated)).all())
    True
    """
    xla_s_own = partial(
        lax.conv_general_dilated,
        images,
        kernel,
        window_strides,
        padding,
        precision=precision,
        **others,
    )
    if not _is_plain(images, kernel, **others) or 0 in jax.eval_shape(xla_s_own).shape:
        return xla_s_own()
    strides = tuple(window_strides)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(images.shape[1:3], kernel.shape[:2], strides, padding)
    return _convolution(images, kernel, strides, tuple(map(tuple, padding)), precision)


def _is_plain(
    images,
    kernel,
    *,
    dimension_numbers=None,
    lhs_dilation=None,
    rhs_dilation=None,
    feature_group_count=1,
    batch_group_count=1,
    **others,
):
    """Whether it is a convolution over two axes, channels last, and nothing more."""
    if images.ndim != 4:
        return False
    numbers = lax.conv_dimension_numbers(images.shape, kernel.shape, dimension_numbers)
    return (
        numbers == lax.conv_dimension_numbers(images.shape, kernel.shape, LAYOUT)
        and {*(lhs_dilation or (1, 1)), *(rhs_dilation or (1, 1))} == {1}
        and feature_group_count == batch_group_count == 1
        and all(value is None for value in others.values())
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolution(images, kernel, strides, padding, precision):
    return lax.conv_general_dilated(
        images, kernel, strides, padding, dimension_numbers=LAYOUT, precision=precision
    )


def _forward(images, kernel, strides, padding, precision):
    return _convolution(images, kernel, strides, padding, precision), (images, kernel)


def _backward(strides, padding, precision, kept, gradient):
    images, kernel = kept
    _, of_images = jax.vjp(
        lambda x: lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=LAYOUT, precision=precision
        ),
        images,
    )
    of_kernel = kernel_gradient(images, gradient, kernel.shape[:2], strides, padding, precision)
    return of_images(gradient)[0], of_kernel


_convolution.defvjp(_forward, _backward)


def kernel_gradient(
    images: Float[Array, "images height width channels"],
    gradient: Float[Array, "images rows_out columns_out units"],
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    precision: Any = None,
) -> Float[Array, "rows columns channels units"]:
    r"""The gradient of a kernel from that of its output.

    $$G_{abcu} = \sum_{nij} x_{n, i s + a - p, j s + b - p, c}\; g_{niju}$$

    The shift along a row, b, is laid out beside the channels of x, and the shift between rows,
    a, beside the units of g: one matrix product then has every combination of the two. Laying
    both out beside the channels, as is usual, copies half as much again, for a product of a
    less favourable shape.

    Args:
        images: the convolution's input.
        gradient: of its output.
        size: rows and columns of the kernel.
        strides: of the convolution.
        padding: before and after, by rows and by columns; negative padding cuts off.
        precision: of the products.
    """
    n, height, _, channels = images.shape
    rows_out, columns_out, units = gradient.shape[1:]
    chunk = min(CHUNK, n)
    filled = -n % chunk

    def chunks(x):
        whole = jnp.pad(x, ((0, filled), *((0, 0),) * 3)) if filled else x
        return whole.reshape(-1, chunk, *x.shape[1:])

    def shifted_columns(x):
        (_, _), (before, after) = padding
        zero = jnp.zeros((), x.dtype)
        padded = lax.pad(x, zero, ((0, 0, 0), (0, 0, 0), (before, after, 0), (0, 0, 0)))
        span = strides[1] * (columns_out - 1) + 1
        shifts = [padded[:, :, b : b + span : strides[1]] for b in range(size[1])]
        return jnp.concatenate(shifts, axis=-1).reshape(-1, size[1] * channels)

    def shifted_rows(g):
        length = strides[0] * (rows_out - 1) + 1
        zero, shifts = jnp.zeros((), g.dtype), []
        for a in range(size[0]):
            before = a - padding[0][0]
            rows = (before, height - length - before, strides[0] - 1)
            shifts.append(lax.pad(g, zero, ((0, 0, 0), rows, (0, 0, 0), (0, 0, 0))))
        return jnp.concatenate(shifts, axis=-1).reshape(-1, size[0] * units)

    def add(total, pair):
        x, g = pair
        product = lax.dot_general(
            shifted_columns(x), shifted_rows(g), (((0,), (0,)), ((), ())), precision=precision
        )
        return total + product, None

    start = jnp.zeros((size[1] * channels, size[0] * units), gradient.dtype)
    total, _ = lax.scan(add, start, (chunks(images), chunks(gradient)))
    return total.reshape(size[1], channels, size[0], units).transpose(2, 0, 1, 3)
