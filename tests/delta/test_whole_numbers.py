"""Networks of whole numbers: where nothing needs a rounding nothing is rounded."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxsel.delta import delta
from tests.delta.cases import change64

# Layers that keep the shape (2, 4, 4, 2) and whole numbers whole.
WHOLE = {
    "conv": lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
    "relu": lambda x, w: jax.nn.relu(x),
    "bias": lambda x, w: x + w[0, 0, 0],
    "gain": lambda x, w: x * w[1, 0, 0],
    "max-pool": lambda x, w: lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 2, 3, 1), (1, 1, 1, 1), "SAME"
    ),
    "sum-pool": lambda x, w: lax.reduce_window(
        x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"
    ),
    "residual": lambda x, w: x + jax.nn.relu(x * w[0, 1, 1]),
    "turn": lambda x, w: -lax.rev(x, (1,)).transpose(0, 2, 1, 3),
    "larger": lambda x, w: jnp.maximum(x, lax.rev(x, (2,))),
    "flatten": lambda x, w: x.reshape(2, -1)[:, ::-1].reshape(x.shape) - x,
}


@given(
    layers=st.lists(st.sampled_from(sorted(WHOLE)), min_size=1, max_size=4),
    exponent=st.sampled_from([-30, -4, 0, 4]),
    one_unit=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_networks_of_whole_numbers_change_exactly(layers, exponent, one_unit, seed):
    """Nothing here needs more than 24 bits, so that nothing may be rounded.

    Inputs are whole numbers up to 4, weights are -1, 0, 1; a layer grows them at most
    eightfold: 4 * 8**4 = 2**14. Changes are multiples of 2**exponent: with 2**-4 a mixture
    of both takes 18 bits and some for the changes. With 2**-30 the changes stay below 1:
    they pass a switch only where the gap is exactly 0, and are not mixed with whole
    numbers; float32 values before and after would not differ at all.
    """
    rng = np.random.default_rng(seed)
    weights = rng.integers(-1, 2, size=(len(layers), 2, 2, 2, 2)).astype(np.float32)
    x = rng.integers(-4, 5, size=(2, 4, 4, 2)).astype(np.float32)
    dx = (rng.integers(-4, 5, size=x.shape) * 2.0**exponent).astype(np.float32)
    if one_unit:
        dx[..., 1] = 0

    def network(operands):
        (x,) = operands
        for layer, w in zip(layers, weights, strict=True):
            x = WHOLE[layer](x, jnp.asarray(w, x.dtype))
        return x

    found = delta(network, strict=True)([x], [dx])
    np.testing.assert_array_equal(found, change64(network, [x], [dx]))
