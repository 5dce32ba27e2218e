"""A change of one channel alone, kept as that until something mixes channels.

Ablating a unit changes one channel of an activation. What treats every channel by itself
(rectification, pooling, normalisation with fixed statistics) needs the values of that channel
only, and the first convolution or dense layer costs one slice of its kernel.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

# A convolution of one channel is a sum over the places of its window, written out: with more
# places than this, the whole convolution compiles and runs faster.
MOST_PLACES = 64


@dataclass(frozen=True)
class OneChannel:
    """The change of one channel of an array; the others do not change.

    Attributes:
        channel: which one.
        change: of its values: the array's shape with 1 in place of the channels.
        shape: of the whole array. Later the array may have been flattened: this is its
            shape with the channels on an axis of their own.
        axis: of the channels in `shape`, from 0.
    """

    channel: Int[Array, ""]
    change: Float[Array, "..."]
    shape: tuple[int, ...]
    axis: int

    @property
    def dtype(self) -> Any:
        """Of the change."""
        return self.change.dtype

    def whole(self, shape: tuple[int, ...]) -> Array:
        """The change of the whole array: 0 in the other channels."""
        channels = lax.broadcasted_iota(jnp.int32, self.shape, self.axis)
        return jnp.where(channels == self.channel, self.change, 0).reshape(shape)

    def of(self, array: Any, axis: int | None = None) -> Array:
        """The channel of another array, whose channels are on the same axis or a given one."""
        axis = self.axis if axis is None else axis
        return lax.dynamic_slice_in_dim(array, self.channel, 1, axis)

    def with_change(self, change: Array) -> "OneChannel":
        """Another change of the same channel of the same array."""
        return OneChannel(self.channel, change, self.shape, self.axis)

    def moved_to(self, change: Array, shape: tuple[int, ...], axis: int) -> "OneChannel":
        """The change of the same channel of another array."""
        return OneChannel(self.channel, change, tuple(shape), axis)


# Applied to each number by itself: no change stays none.
ELEMENTWISE = {
    *("add", "add_any", "sub", "mul", "div", "max", "min", "clamp", "neg", "abs", "copy"),
    *("name", "stop_gradient", "convert_element_type", "integer_pow", "pow", "square", "sqrt"),
    *("rsqrt", "exp", "expm1", "log", "log1p", "logistic", "tanh", "erf", "erfc", "sign"),
    *("floor", "ceil", "round"),
}
WINDOWS = {"reduce_window_sum", "reduce_window_max", "reduce_window_min"}
REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min"}


def the_channel(changes: list[Any]) -> OneChannel | None:
    """The only channel that moves, if all that moves is the same channel of each operand."""
    moved = [d for d in changes if d is not None]
    if not moved or not isinstance(moved[0], OneChannel):
        return None
    one = moved[0]
    same = all(
        isinstance(d, OneChannel)
        and d.channel is one.channel
        and (d.shape, d.axis) == (one.shape, one.axis)
        for d in moved
    )
    return one if same else None


def narrowed(eqn: Any, operands: list[tuple[Any, Any]], one: OneChannel):
    """The operands of a primitive that keeps channels apart, cut down to one channel.

    Returns:
        Pairs of value and change, and the change of the whole output given that of the
        channel; None where the primitive mixes channels or is not known.
    """
    name, out = eqn.primitive.name, eqn.outvars[0].aval
    plain = all(isinstance(d, OneChannel) and d.shape == x.shape for x, d in _moved(operands))
    if not plain or jnp.issubdtype(out.dtype, jnp.integer) or out.dtype == bool:
        return None
    shape, axis = out.shape, one.axis
    if name in ELEMENTWISE:
        same_rank = all(x.ndim in (0, len(shape)) for x, _ in operands)
        if not same_rank or shape[axis] != one.shape[axis]:
            return None
    elif name in WINDOWS:
        p = eqn.params
        sizes = (p[key][axis] for key in ("window_dimensions", "window_strides"))
        dilation = (p[key][axis] for key in ("base_dilation", "window_dilation"))
        if {*sizes, *dilation} != {1} or tuple(p["padding"][axis]) != (0, 0):
            return None
    elif name in REDUCTIONS:
        if axis in eqn.params["axes"]:
            return None
        axis -= sum(reduced < axis for reduced in eqn.params["axes"])
    elif name == "transpose":
        axis = eqn.params["permutation"].index(axis)
    else:
        return None
    cut = [
        (
            one.of(x) if x.ndim and x.shape[one.axis] > 1 else x,
            d.change if isinstance(d, OneChannel) else d,
        )
        for x, d in operands
    ]
    return cut, lambda change: one.moved_to(change, shape, int(axis))


def mixed(eqn: Any, step: Any, one: OneChannel) -> Any:
    """The change where one channel meets others, or where only the shape changes.

    Args:
        eqn: the equation.
        step: with the change as its `whole`, for parameters, values and precision.
        one: the only change.

    Returns:
        A change of the whole output or of one channel; None if this is not known.
    """
    name = eqn.primitive.name
    if len([d for d in step.changes if d is not None]) > 1:
        return None
    if name == "reshape":
        return _reshaped(eqn, one)
    if name == "reduce_sum" and one.shape == step.values[0].shape:
        return step.bind(one.change)[0]  # the other channels add nothing
    if name == "conv_general_dilated" and isinstance(step.changes[0], OneChannel):
        return _convolved(eqn, step, one)
    if name == "dot_general":
        return _multiplied(eqn, step, one)
    return None


def _reshaped(eqn: Any, one: OneChannel) -> OneChannel | None:
    """Flattened, or with the channels still on the last axis."""
    shape, n_channels = eqn.outvars[0].aval.shape, one.shape[one.axis]
    if one.axis == len(one.shape) - 1 and shape and shape[-1] == n_channels:
        return one.moved_to(one.change.reshape(*shape[:-1], 1), shape, len(shape) - 1)
    return one if _groups(one.shape, shape) is not None else None


def _groups(fine: tuple[int, ...], coarse: tuple[int, ...]) -> list[list[int]] | None:
    """Which neighbouring axes of a shape make each axis of its flattened form."""
    groups, at = [], 0
    for size in coarse:
        group: list[int] = []
        while at < len(fine) and math.prod(fine[i] for i in group) < size:
            group.append(at)
            at += 1
        if not group and at < len(fine) and fine[at] == size:
            group.append(at)
            at += 1
        if math.prod(fine[i] for i in group) != size:
            return None
        groups.append(group)
    return groups if all(fine[i] == 1 for i in range(at, len(fine))) else None


def _multiplied(eqn: Any, step: Any, one: OneChannel) -> Array | None:
    """Matrix products over the channels: one row of the other operand."""
    side = 0 if isinstance(step.changes[0], OneChannel) else 1
    contracting, batch = eqn.params["dimension_numbers"]
    if any(batch):
        return None
    groups = _groups(one.shape, step.values[side].shape)
    if groups is None or [i for group in groups for i in group] != [*range(len(one.shape))]:
        return None
    own, others = [], []
    other, n_before = step.values[1 - side], 0
    # Every axis of the other operand is split as the flattened one is.
    new_shape, places = [], {}
    for axis, size in enumerate(other.shape):
        if axis in contracting[1 - side]:
            group = groups[contracting[side][contracting[1 - side].index(axis)]]
            places |= {i: n_before + k for k, i in enumerate(group)}
            new_shape += [one.shape[i] for i in group]
            n_before += len(group)
        else:
            new_shape.append(size)
            n_before += 1
    if one.axis not in places:
        return None
    for axis, group in enumerate(groups):
        if axis in contracting[side]:
            own += group
            others += [places[i] for i in group]
        elif len(group) != 1:
            return None
    row = one.of(other.reshape(new_shape), places[one.axis])
    sides = (tuple(own), tuple(others))
    numbers = (sides if side == 0 else sides[::-1], ((), ()))
    operands = (one.change, row) if side == 0 else (row, one.change)
    return step.bind(*operands, dimension_numbers=numbers)[0]


def _convolved(eqn: Any, step: Any, one: OneChannel) -> Array | None:
    """A sum over the places of the window, each the shifted channel times numbers.

    Not a convolution with a sliced kernel: with a kernel per unit that would become a grouped
    convolution, several times slower.
    """
    params = eqn.params
    (x_batch, x_axis, *x_places) = params["dimension_numbers"].lhs_spec
    (k_out, k_in, *k_places) = params["dimension_numbers"].rhs_spec
    kernel, shape = step.values[1], eqn.outvars[0].aval.shape
    window = [kernel.shape[i] for i in k_places]
    if (
        one.shape != step.values[0].shape
        or one.axis != x_axis
        or params["batch_group_count"] != 1
        or any(d != 1 for d in params["lhs_dilation"])
        or math.prod(window) > MOST_PLACES
    ):
        return None
    kernel = step.narrow(kernel).transpose(k_in, *k_places, k_out)
    n_in, n_out, n_groups = kernel.shape[0], kernel.shape[-1], params["feature_group_count"]
    kernel = lax.dynamic_index_in_dim(kernel, one.channel % n_in, 0, keepdims=False)
    if n_groups > 1:
        group = jnp.arange(n_out) // (n_out // n_groups)
        kernel = jnp.where(group == one.channel // n_in, kernel, 0)
    change = one.change.transpose(x_batch, *x_places, x_axis)
    change = lax.pad(
        change,
        jnp.zeros((), change.dtype),
        [(0, 0, 0), *((low, high, 0) for low, high in params["padding"]), (0, 0, 0)],
    )
    out_batch, out_axis, *out_places = params["dimension_numbers"].out_spec
    sizes = [shape[i] for i in out_places]
    total = jnp.zeros((shape[out_batch], *sizes, n_out), change.dtype)
    strides, dilation = params["window_strides"], params["rhs_dilation"]
    for place in itertools.product(*map(range, window)):
        start = [at * d for at, d in zip(place, dilation, strict=True)]
        stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, sizes, strides, strict=True)]
        shifted = lax.slice(change, (0, *start, 0), (len(change), *stop, 1), (1, *strides, 1))
        total += shifted * kernel[place]
    # From (batch, places, channels) to the layout of the output.
    order = [out_batch, *out_places, out_axis]
    return total.transpose([order.index(i) for i in range(len(order))])


def _moved(operands: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return [(x, d) for x, d in operands if d is not None]
