"""How a finite change goes through each primitive.

| primitive | change of the output |
|---|---|
| linear in what moved | the primitive applied to the change |
| products, convolutions with both operands moved | B(dx, y + dy) + B(x, dy) |
| x / y | (dx - (x / y) dy) / (y + dy) |
| max(x, y); ReLU is y = 0 | max(dx - (m - x), dy - (m - y)) with m = max(x, y) |
| max over a window or an axis | max over its places j of dx_j - (m - x_j) |
| min, abs, clamp | as maxima: -max(-x, -y), max(x, -x), min(max(x, low), high) |
| exp | exp(x) expm1(dx) for dx <= 0.7, else exp(x + dx) - exp(x) |
| log | log1p(dx / x) for dx / x > -1/2, else log((x + dx) / x) |
| x^p | x^p expm1(p log((x + dx) / x)) where that exponent is within 0.7, else the difference |
| square, sqrt | dx (2 x + dx); dx / (sqrt(x + dx) + sqrt(x)) |
| logistic s | -s(-x) s(x + dx) expm1(-dx); where dx < 0, s(x) s(-x - dx) expm1(dx) |
| tanh | 2 s(2x) - 1 |
| erf, erfc | dx times the mean slope on the way for |dx| <= 0.7, else the difference |
| comparison, argmax | the new value, from x + dx and what its rounding leaves out |
| select, gather | change of the new case, plus the gap to the old one where it is another |
| sign, floor, ceil, round | the difference |

Where a value is finite, a change of exactly 0 gives exactly 0.

Values and changes may differ in precision: gaps and ratios are taken between values as exact
as they are, and rounded to the precision of the changes afterwards.
"""

from collections.abc import Callable

from jaxtyping import Array

from .discrete import comparison, place_of_maximum, place_of_minimum, selection, stepped
from .linear import (
    add,
    bilinear,
    convert,
    divide,
    indexed,
    jointly_linear,
    linear,
    subtract,
    written,
)
from .maxima import (
    absolute,
    axis_maximum,
    axis_minimum,
    clamp,
    maximum,
    minimum,
    window_maximum,
    window_minimum,
)
from .smooth import (
    complementary_error_function,
    error_function,
    exponential,
    integer_power,
    logarithm,
    logarithm_of_1_plus,
    logistic,
    power,
    reciprocal_root,
    square,
    square_root,
    tanh,
)
from .step import Step

LINEAR = (
    "broadcast_in_dim",
    "copy",
    "cumsum",
    "name",
    "neg",
    "reduce_sum",
    "reduce_window_sum",
    "reshape",
    "rev",
    "slice",
    "split",
    "squeeze",
    "stop_gradient",
    "transpose",
)

# A rule gives None where it does not hold: then the primitive counts as one without a rule.
# Operations on truth values and integers alone need none: they are applied to the new values.
RULES: dict[str, Callable[[Step], list[Array] | None]] = {
    **dict.fromkeys(LINEAR, linear),
    **dict.fromkeys(("concatenate", "pad"), jointly_linear),
    "add": add,
    "add_any": add,
    "sub": subtract,
    **dict.fromkeys(("mul", "dot_general", "conv_general_dilated"), bilinear),
    "div": divide,
    "convert_element_type": convert,
    **dict.fromkeys(("gather", "dynamic_slice"), indexed),
    **dict.fromkeys(("scatter", "scatter-add", "dynamic_update_slice"), written),
    "max": maximum,
    "min": minimum,
    "clamp": clamp,
    "abs": absolute,
    "reduce_max": axis_maximum,
    "reduce_min": axis_minimum,
    "reduce_window_max": window_maximum,
    "reduce_window_min": window_minimum,
    "argmax": place_of_maximum,
    "argmin": place_of_minimum,
    "exp": exponential,
    "expm1": exponential,
    "log": logarithm,
    "log1p": logarithm_of_1_plus,
    "pow": power,
    "integer_pow": integer_power,
    "square": square,
    "sqrt": square_root,
    "rsqrt": reciprocal_root,
    "logistic": logistic,
    "tanh": tanh,
    "erf": error_function,
    "erfc": complementary_error_function,
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), comparison),
    "select_n": selection,
    **dict.fromkeys(("sign", "floor", "ceil", "round", "is_finite"), stepped),
}
