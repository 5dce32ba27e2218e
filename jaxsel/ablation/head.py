"""Whether what follows a site is made of dense layers alone, and with which weights.

The jaxpr of what follows the site is read, so that any model takes part, however it is
written: `Dense`, or `Dense`, ReLU, `Dense`, and nothing else.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal
from jaxtyping import Array, Float

from ..delta.transform import nested
from ..sites import Model, replaced


class Dense(NamedTuple):
    """A dense layer: x @ weight + bias."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]


class _Flow(NamedTuple):
    """What the activation has gone through so far; `relu` where the last was one."""

    layers: tuple[Dense, ...]
    relu: bool = False


class _OtherwiseError(Exception):
    """Something that is not a dense layer or a ReLU in its place."""


# What may stand between dense layers because it does nothing.
NOTHING = {"copy", "name", "stop_gradient"}


def dense_head(
    model: Model,
    image: Float[np.ndarray, "one ..."],
    site: str,
    activation: jax.ShapeDtypeStruct,
) -> tuple[Dense, ...] | None:
    """The one or two dense layers between a site and the logits.

    Args:
        model: called as `model(images, tap)`.
        image: a batch of one, for its shape.
        site: after its ReLU; `(images, units)`.
        activation: its shape for any number of images.

    Returns:
        The layers, or None where anything else follows: another activation function, a
        third layer, a path around the site.

    >>> weight = np.ones((3, 2), np.float32)
    >>> model = lambda images, tap: jax.nn.relu(tap("in", images)) @ weight
    >>> dense_head(model, np.ones((1, 3)), "in", jax.ShapeDtypeStruct((1, 3), np.float32))
    >>> model = lambda images, tap: tap("in", images) @ weight
    >>> len(dense_head(model, np.ones((1, 3)), "in", jax.ShapeDtypeStruct((1, 3), np.float32)))
    1
    """
    if len(activation.shape) != 2:
        return None

    def after(images, activation):
        return model(images, replaced(site, activation))

    # Two images: what differs between them is no bias of a layer.
    images, two = (
        jax.ShapeDtypeStruct((2, *shape[1:]), np.float32)
        for shape in (image.shape, activation.shape)
    )
    closed = jax.make_jaxpr(after)(images, two)
    known = [_of_images, _Flow(())]
    try:
        (logits,) = _follow(closed.jaxpr, closed.consts, known)
    except _OtherwiseError:
        return None
    if not isinstance(logits, _Flow) or logits.relu or not 1 <= len(logits.layers) <= 2:
        return None
    return logits.layers


def _of_images() -> Array:
    """Stands for what depends on the image: not to be asked for."""
    raise _OtherwiseError


def _follow(jaxpr: Jaxpr, consts: Any, operands: list[Any]) -> list[Any]:
    """Every output: the activation's flow, or a function that computes a constant."""
    known: dict[Any, Any] = {
        var: (lambda const=const: const)
        for var, const in zip(jaxpr.constvars, consts, strict=True)
    }
    known |= dict(zip(jaxpr.invars, operands, strict=True))

    def read(var: Any) -> Any:
        if isinstance(var, Literal):
            aval: Any = var.aval
            return lambda: jnp.asarray(var.val, aval.dtype)
        return known[var]

    for eqn in jaxpr.eqns:
        if not eqn.outvars:  # a print
            continue
        inputs = [read(var) for var in eqn.invars]
        inner = nested(eqn)
        flows = any(isinstance(one, _Flow) for one in inputs)
        if not flows:
            outputs = _lazily(eqn, inputs)
        elif inner is not None:
            outputs = _follow(inner.jaxpr, inner.consts, inputs)
        else:
            outputs = [_through(eqn, inputs)]
        known |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(var) for var in jaxpr.outvars]


def _lazily(eqn: Any, inputs: list[Callable[[], Array]]) -> list[Callable[[], Array]]:
    """What does not depend on the activation is computed only where a layer needs it."""

    @cache
    def outputs() -> Any:
        params = eqn.primitive.get_bind_params(eqn.params)
        out = eqn.primitive.bind(*(one() for one in inputs), **params)
        return out if eqn.primitive.multiple_results else [out]

    return [lambda i=i: outputs()[i] for i in range(len(eqn.outvars))]


def _through(eqn: Any, inputs: list[Any]) -> _Flow:
    """The flow after one primitive."""
    name, out = eqn.primitive.name, eqn.outvars[0].aval
    flows = [isinstance(one, _Flow) for one in inputs]
    flow = inputs[flows.index(True)]
    same = out.shape == eqn.invars[flows.index(True)].aval.shape and len(out.shape) == 2
    if out.dtype not in (np.float32, np.float64):
        raise _OtherwiseError
    if name == "convert_element_type":
        return flow
    if (name in NOTHING or name == "reshape") and same and len(inputs) == 1:
        return flow
    if name == "dot_general" and flows == [True, False]:
        return _dense(flow, eqn.params["dimension_numbers"], inputs[1])
    if sum(flows) != 1 or len(inputs) != 2 or not same:
        raise _OtherwiseError
    other = inputs[1 - flows.index(True)]
    if name in ("add", "add_any"):
        return _biased(flow, jnp.broadcast_to(other(), out.shape))
    if name == "sub" and flows[0]:
        return _biased(flow, -jnp.broadcast_to(other(), out.shape))
    if name == "max" and len(flow.layers) == 1 and not flow.relu and not np.any(other()):
        return flow._replace(relu=True)
    raise _OtherwiseError


def _dense(flow: _Flow, dimension_numbers: Any, weight: Callable[[], Array]) -> _Flow:
    (left, right), batch = dimension_numbers
    if tuple(left) != (1,) or any(batch) or len(flow.layers) != flow.relu:
        raise _OtherwiseError
    matrix = weight()
    if matrix.ndim != 2:
        raise _OtherwiseError
    matrix = matrix if tuple(right) == (0,) else matrix.T
    return _Flow((*flow.layers, Dense(matrix, jnp.zeros(matrix.shape[1], matrix.dtype))))


def _biased(flow: _Flow, by: Array) -> _Flow:
    if not flow.layers or flow.relu or not np.array_equal(by[0], by[1]):
        raise _OtherwiseError
    *before, (weight, bias) = flow.layers
    return _Flow((*before, Dense(weight, bias + by[0])))
