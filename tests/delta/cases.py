"""A function for every rule of `delta`, and the operands it is tried with."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

SCALES = {"tiny": 1e-5, "moderate": 1.0, "huge": 1e5}


@dataclasses.dataclass(frozen=True)
class Case:
    """A primitive in a function of a list of operands.

    Attributes:
        primitive: the primitive that the function is there for.
        f: of a list of operands, of which any may move.
        shapes: of the operands.
        roundings: how many roundings of 2**-24 the result may be off by.
        each: counted against every number itself; else against the largest of the result,
            as numbers are summed.
        draw: what numbers the operands are: "real", "positive" or "whole".
        huge: the largest change beside a value of 1 that the function can take.
    """

    primitive: str
    f: Callable
    shapes: list[tuple[int, ...]]
    roundings: int = 16
    each: bool = False
    draw: str = "real"
    huge: float = SCALES["huge"]

    def operands(self, rng, moved, scale):
        """Values and changes in float32; None for what does not move."""
        scale = min(scale, self.huge)
        x = [self._values(rng, shape) for shape in self.shapes]
        dx = [self._changes(rng, a, scale).astype(np.float32) for a in x]
        return x, [d if i in moved else None for i, d in enumerate(dx)]

    def _values(self, rng, shape):
        normal = rng.normal(size=shape)
        if self.draw == "positive":
            return np.exp(normal).astype(np.float32)
        if self.draw == "whole":
            return np.round(2 * normal).astype(np.float32)
        return normal.astype(np.float32)

    def _changes(self, rng, x, scale):
        change = scale * rng.normal(size=x.shape)
        if self.draw == "positive":  # x + dx stays above a tenth of x
            return x * np.maximum(change, -rng.uniform(0, 0.9, x.shape))
        if self.draw == "whole":
            return np.round(change)
        return change


def one(primitive, f, shape=(50,), **kind):
    """A case of one operand, each number of the result measured by itself."""
    return Case(primitive, lambda x: f(x[0]), [shape], each=True, **kind)


def convolution(strides=(1, 1), padding="SAME", **kind):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lambda x: lax.conv_general_dilated(
        x[0], x[1], strides, padding, dimension_numbers=numbers, **kind
    )


def pool(reducer, init, window, strides, padding, **dilation):
    dims = {"window_dimensions": (1, *window, 1), "window_strides": (1, *strides, 1)}
    padding = ((0, 0), *padding, (0, 0))
    return lambda x: lax.reduce_window(x[0], init, reducer, padding=padding, **dims, **dilation)


def max_pool(*how, **dilation):
    return pool(lax.max, -jnp.inf, *how, **dilation)


def summed_cotangents(x):
    """The gradient of a value that is used twice."""
    return jax.vjp(lambda y: (y, y), x[0])[1]((x[0], x[1]))[0]


def truth(primitive, compare):
    """A comparison as 0 or 1, of whole numbers: often equal, before or after."""
    shapes = [(60,), (60,)]
    return Case(primitive, lambda x: compare(*x).astype(x[0].dtype), shapes, 0, draw="whole")


def _as(x, *numbers):
    return [jnp.asarray(number, x.dtype) for number in numbers]


def in_order(x):
    """The places are moved by a moved value."""
    order = x[1].argmax(1, keepdims=True)
    return jnp.take_along_axis(x[0], order, 1)


def outside(x):
    """Rows -1 and 7 lie outside an array of four rows."""
    places = jnp.array([1, 7, 3, -1, 0])
    return (
        jnp.asarray(x[0]).at[places].get(mode="fill", fill_value=5, wrap_negative_indices=False)
    )


def read_from(x):
    return lax.dynamic_slice(x[0], (x[1].argmax(), 1), (2, 3))


def written_at(x):
    return lax.dynamic_update_slice(x[0], x[1], (1, 2))


def scattered(how):
    """Rows 2 and 0 and one outside, which is dropped."""
    places = jnp.array([2, 9, 0])
    return lambda x: getattr(jnp.asarray(x[0]).at[places], how)(x[1], mode="drop")


PLUS = {
    "sum": Case("add", lambda x: x[0] + x[1], [(3, 4), (3, 4)]),
    "conv bias": Case("add", lambda x: lax.add_p.bind(*x), [(2, 3, 3, 4), (1, 1, 1, 4)]),
    "add a constant": Case("add", lambda x: x[0] + 3, [(3, 4)], 0),
    "add_any": Case("add_any", summed_cotangents, [(4,), (4,)]),
    "difference": Case("sub", lambda x: x[0] - x[1], [(3, 4), (3, 4)]),
    "size-one subtrahend": Case("sub", lambda x: lax.sub_p.bind(*x), [(3, 4), (1, 4)]),
}
PRODUCTS = {
    "product": Case("mul", lambda x: x[0] * x[1], [(3, 4), (3, 4)]),
    "product with itself": Case("mul", lambda x: x[0] * x[0], [(3, 4)]),
    "moved denominator": Case("div", lambda x: x[0] / (3 + x[1] * x[1]), [(5,), (5,)]),
    "quotient": Case("div", lambda x: x[0] / 3, [(3, 4)], 2, each=True),
    "ratio": Case("div", lambda x: x[0] / x[1], [(9,), (9,)], draw="positive"),
    "matrix product": Case("dot_general", lambda x: x[0] @ x[1], [(3, 7), (7, 4)]),
    "product with its transpose": Case("dot_general", lambda x: x[0] @ x[0].T, [(3, 7)]),
    "batched product": Case(
        "dot_general", lambda x: jnp.einsum("bij,bjk->bik", *x), [(2, 3, 5), (2, 5, 4)]
    ),
}
CONVOLUTIONS = {
    name: Case("conv_general_dilated", f, shapes)
    for name, f, shapes in [
        ("convolution", convolution(), [(2, 5, 4, 2), (3, 2, 2, 4)]),
        (
            "strided convolution",
            convolution((2, 1), ((1, 2), (0, 1))),
            [(2, 5, 4, 2), (3, 2, 2, 4)],
        ),
        (
            "grouped convolution",
            convolution(feature_group_count=2),
            [(2, 4, 4, 4), (3, 2, 2, 6)],
        ),
        (
            "depthwise convolution",
            convolution((2, 2), "VALID", feature_group_count=3),
            [(1, 5, 5, 3), (3, 3, 1, 3)],
        ),
        (
            "dilated kernel",
            convolution(padding="VALID", rhs_dilation=(2, 1)),
            [(2, 6, 4, 2), (2, 2, 2, 3)],
        ),
        (
            "transposed convolution",
            convolution(padding=((1, 1), (2, 0)), lhs_dilation=(2, 2)),
            [(2, 3, 3, 2), (2, 3, 2, 3)],
        ),
    ]
}
PLACES = {
    "side by side": Case("concatenate", jnp.concatenate, [(2, 4), (3, 4)], 0),
    "padding": Case(
        "pad", lambda x: lax.pad(x[0], x[1], [(1, 2, 0), (0, 1, 1)]), [(3, 4), ()], 0
    ),
    "rows of a table": Case("gather", lambda x: x[0][jnp.array([2, 0, 2])], [(3, 4)], 0),
    "rows outside are filled": Case("gather", outside, [(4, 3)], 0),
    "moved places": Case("gather", in_order, [(6, 5), (6, 5)]),
    "slice at a place": Case(
        "dynamic_slice", lambda x: read_from((x[0], x[0][:, 0])), [(4, 5)]
    ),
    "slice at a moved place": Case("dynamic_slice", read_from, [(4, 5), (4,)]),
    "written at a place": Case("dynamic_update_slice", written_at, [(4, 5), (2, 3)], 0),
    "scattered": Case("scatter", scattered("set"), [(4, 2), (3, 2)], 0),
    "scattered and added": Case("scatter-add", scattered("add"), [(4, 2), (3, 2)]),
    "one case or another": Case(
        "select_n", lambda x: jnp.where(jnp.arange(9) % 2 == 0, *x), [(9,), (9,)], 0
    ),
    "moved choice": Case("select_n", lambda x: jnp.where(x[0] > 0, *x[1:]), [(60,)] * 3),
    "leaky relu": Case("select_n", lambda x: jax.nn.leaky_relu(x[0]), [(60,)]),
}
MAXIMA = {
    "relu": Case("max", lambda x: jnp.maximum(x[0], 0), [(50,)]),
    "larger of two": Case("max", lambda x: jnp.maximum(*x), [(50,), (50,)]),
    "smaller of two": Case("min", lambda x: jnp.minimum(*x), [(50,), (50,)]),
    "relu6": Case("min", lambda x: jnp.minimum(jnp.maximum(x[0], 0), 6), [(50,)]),
    "clamp": Case("clamp", lambda x: lax.clamp(x[0] - 2, x[1], x[2] + 2), [(50,)] * 3),
    "clamp by numbers": Case("clamp", lambda x: lax.clamp(*_as(x[0], -1, x[0], 0.5)), [(50,)]),
    "absolute": Case("abs", lambda x: abs(x[0]), [(50,)]),
    "largest": Case("reduce_max", lambda x: x[0].max((0, 2)), [(3, 6, 4)]),
    "smallest": Case("reduce_min", lambda x: x[0].min(1), [(3, 6)]),
    "max-pool": Case(
        "reduce_window_max", max_pool((2, 2), (2, 2), ((0, 0), (0, 0))), [(2, 6, 6, 3)]
    ),
    "overlapping max-pool": Case(
        "reduce_window_max", max_pool((3, 2), (2, 1), ((1, 1), (0, 1))), [(2, 6, 5, 3)]
    ),
    "ceil-mode max-pool": Case(
        "reduce_window_max", max_pool((3, 3), (2, 2), ((0, 1), (1, 2))), [(1, 6, 6, 2)]
    ),
    "dilated max-pool": Case(
        "reduce_window_max",
        max_pool((2, 2), (1, 1), ((1, 0), (0, 0)), window_dilation=(1, 2, 1, 1)),
        [(1, 5, 5, 2)],
    ),
    "min-pool": Case(
        "reduce_window_min",
        pool(lax.min, jnp.inf, (3, 2), (2, 1), ((1, 1), (0, 1))),
        [(2, 6, 5, 3)],
    ),
    "place of the largest": Case("argmax", lambda x: 1.0 * x[0].argmax(1), [(40, 5)], 0),
    "place of the smallest": Case("argmin", lambda x: 1.0 * x[0].argmin(0), [(5, 40)], 0),
}
LINEAR = {
    "broadcast": Case("broadcast_in_dim", lambda x: jnp.broadcast_to(x[0], (3, 4)), [(4,)], 0),
    "copy": Case("copy", lambda x: lax.copy_p.bind(x[0]), [(4,)], 0),
    "running sum": Case("cumsum", lambda x: lax.cumsum(x[0], 1, reverse=True), [(2, 6)]),
    "named": Case("name", lambda x: checkpoint_name(x[0], "here"), [(4,)], 0),
    "negative": Case("neg", lambda x: -x[0], [(4,)], 0),
    "sum over an axis": Case("reduce_sum", lambda x: x[0].sum(1), [(3, 6, 2)]),
    "average": Case("reduce_sum", lambda x: x[0].mean((0, 2)), [(3, 6, 2)]),
    "sum-pool": Case(
        "reduce_window_sum",
        pool(lax.add, 0.0, (2, 3), (1, 2), ((0, 1), (1, 1))),
        [(2, 5, 4, 3)],
    ),
    "ceil-mode sum-pool": Case(
        "reduce_window_sum",
        pool(lax.add, 0.0, (3, 3), (2, 2), ((0, 1), (0, 1))),
        [(1, 6, 6, 2)],
    ),
    "reshape": Case("reshape", lambda x: x[0].reshape(2, 6), [(3, 4)], 0),
    "reverse": Case("rev", lambda x: lax.rev(x[0], (1,)), [(3, 4)], 0),
    "slice": Case("slice", lambda x: x[0][1:, ::2], [(3, 4)], 0),
    "split": Case("split", lambda x: jnp.concatenate(jnp.split(x[0], 2)[::-1]), [(4, 3)], 0),
    "squeeze": Case("squeeze", lambda x: lax.squeeze(x[0], (1,)), [(3, 1)], 0),
    "no gradient": Case("stop_gradient", lambda x: lax.stop_gradient(x[0]), [(4,)], 0),
    "transpose": Case("transpose", lambda x: x[0].T, [(3, 4)], 0),
}
# exp, expm1, log and logistic are right to 2 to 4 units of 2**-24, of which a rule multiplies
# at most three. Where an exponent is rounded its size counts as well: up to 40 in exp(x + dx),
# up to 5**2 = 25 in the slope of erf, 5 * log(1e5) / 2 in a fifth power.
SMOOTH = {
    "exp": one("exp", jnp.exp, huge=10, roundings=60),
    "expm1": one("expm1", jnp.expm1, huge=10, roundings=60),
    "log": one("log", jnp.log, draw="positive"),
    "log1p": one("log1p", jnp.log1p, draw="positive"),
    "square": one("square", jnp.square),
    "square root": one("sqrt", jnp.sqrt, draw="positive"),
    "reciprocal root": one("rsqrt", lax.rsqrt, draw="positive"),
    "logistic": one("logistic", jax.nn.sigmoid),
    "tanh": one("tanh", jnp.tanh, huge=3),
    "erf": one("erf", lax.erf, roundings=60),
    "erfc": one("erfc", lax.erfc, huge=1, roundings=60),
    **{
        f"power {p}": one(
            "pow",
            lambda x, p=p: lax.pow(x, *_as(x, p)),
            draw="positive",
            roundings=32,
        )
        for p in (0.5, 0.75, -0.5, -1.5, 3.0)
    },
    **{
        f"whole power {p}": one(
            "integer_pow", lambda x, p=p: lax.integer_pow(x, p), roundings=32
        )
        for p in (3, 4, 5, -1, -2)
    },
}
DISCRETE = {
    **{name: truth(name, getattr(lax, name)) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "sign": one("sign", jnp.sign, roundings=0, draw="whole"),
    "floor": one("floor", jnp.floor, roundings=0, huge=1),
    "ceil": one("ceil", jnp.ceil, roundings=0, huge=1),
    "round": one("round", jnp.round, roundings=0, huge=1),
    "finite": one("is_finite", lambda x: jnp.isfinite(x).astype(x.dtype), roundings=0),
    "to whole numbers": one(
        "convert_element_type",
        lambda x: x.astype(np.int32).astype(x.dtype),
        huge=1,
        roundings=0,
    ),
    "to truth values": one(
        "convert_element_type",
        lambda x: x.astype(bool).astype(x.dtype),
        draw="whole",
        roundings=0,
    ),
}
CASES = PLUS | PRODUCTS | CONVOLUTIONS | PLACES | MAXIMA | LINEAR | SMOOTH | DISCRETE


def change64(f, x, dx):
    """f(x + dx) - f(x) in float64: eleven digits of a change that is 1e-5 of its value."""
    with jax.enable_x64(True):
        old = [jnp.asarray(a, np.float64) for a in x]
        new = [
            a if d is None else a + jnp.asarray(d, np.float64)
            for a, d in zip(old, dx, strict=True)
        ]
        return np.asarray(f(new)) - np.asarray(f(old))
