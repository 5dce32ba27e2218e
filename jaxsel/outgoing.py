"""How strongly the units of a site are connected to what follows: the norm of their weights.

The jaxpr of what follows the site is run, equation by equation, up to the first weights; a
derivative says which unit each of their inputs comes from.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal
from jax.interpreters import partial_eval
from jaxtyping import Float

from .data.dataset import Dataset
from .delta.transform import nested
from .forward import forward
from .intact import full_precision, traceable
from .sites import Model, replaced

# Small, so that what normalises across channels is the identity, and above every ReLU's 0.
RESPONSE = 1e-3
PRODUCTS = {"dot_general", "conv_general_dilated"}
UNITS_MIXED = 0.01  # what one unit's number may be off
# What a value is to the site: nothing, its responses up to a factor, or behind weights.
APART, RESPONSES, BEHIND = range(3)


def outgoing_norm(model: Model, dataset: Dataset, site: str) -> Float[np.ndarray, " units"]:
    r"""The norm of each unit's outgoing weights.

    $$\|w_u\| = \sqrt{\sum_{k} g_{ku}^2 \sum_j W_{kj}^2}$$

    over the inputs k of the layers with weights W that the site leads to directly. A shortcut
    around them ends where what they make is added: in a residual network, a unit's weights are
    those of the block that follows. $g_{ku}$ is by how much the input changes with a (small)
    response of the unit: 1 as a rule, and the scale of a BatchNorm in between.

    Args:
        model: called as `model(images, tap)`, in evaluation mode.
        dataset: for the shape of its images.
        site: where the units are.

    Returns:
        One number per unit, of the weights' unit; 0 for a unit that nothing follows.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: the responses of several units are mixed otherwise than by weights, or
            multiplied with each other.

    >>> weights = np.array([[3.0, 4.0], [0.0, 1.0]], np.float32)
    >>> dataset = Dataset(np.ones((1, 2), np.float32), np.array([0]), ("cat", "dog"))
    >>> outgoing_norm(lambda x, tap: tap("in", x) @ weights, dataset, "in").tolist()
    [5.0, 1.0]
    """
    network = traceable(model)
    images = jnp.zeros((1, *dataset.inputs(slice(0, 1)).shape[1:]), np.float32)
    shape = jax.eval_shape(lambda x: forward(network, x, sites=(site,))[1][site], images)

    def after(images, activation):
        return network(images, replaced(site, activation))

    closed: Any = jax.make_jaxpr(after)(images, shape)
    jaxpr, used = partial_eval.dce_jaxpr(closed.jaxpr, [True])
    if not used[1]:
        return np.zeros(shape.shape[-1])
    products: list[tuple[Any, int]] = []

    def inputs(activation):
        found: list[tuple[Any, int, Any, Any]] = []
        given = [images, activation] if used[0] else [activation]
        standing = [APART, RESPONSES] if used[0] else [RESPONSES]
        _follow(jaxpr, closed.consts, given, standing, found)
        products[:] = [(eqn, place) for eqn, place, _, _ in found]
        return [data for *_, data, _ in found], [kernel for *_, kernel in found]

    @jax.jit
    def derivatives(ones):
        _, along, kernels = jax.linearize(inputs, RESPONSE * ones, has_aux=True)
        return along(ones), along(ones * numbers), along(ones * codes), kernels

    n_units = shape.shape[-1]
    numbers = jnp.arange(1, n_units + 1, dtype=shape.dtype)
    # The mean of several units' numbers may be another's number, but never its code as well.
    drawn = np.random.default_rng(0).random(n_units)
    codes = jnp.asarray(1 + drawn, shape.dtype)
    with full_precision():
        ones = jnp.ones(shape.shape, shape.dtype)
        gains, numbered, coded, kernels = derivatives(ones)
    squares = np.zeros(n_units)
    for (eqn, place), kernel, *along in zip(
        products, kernels, gains, numbered, coded, strict=True
    ):
        of_inputs, axes = _squares(eqn, place, np.asarray(kernel, np.float64))
        gain, number, code = (
            np.moveaxis(np.asarray(one, np.float64), axes, range(-len(axes), 0))
            .reshape(-1, of_inputs.size)
            .mean(axis=0)
            for one in along
        )
        moves = gain != 0
        exact = number[moves] / gain[moves] - 1
        unit = np.clip(exact.round(), 0, n_units - 1).astype(int)
        off = np.abs(exact - unit) + np.abs(code[moves] / gain[moves] - 1 - drawn[unit])
        if not (off < UNITS_MIXED).all():
            raise ValueError(f"units of {site} are mixed before they meet weights")
        np.add.at(squares, unit, gain[moves] ** 2 * of_inputs.ravel()[moves])
    return np.sqrt(squares)


def _follow(
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    given: Sequence[Any],
    standing: Sequence[int],
    found: list[tuple[Any, int, Any, Any]],
) -> tuple[list[Any], list[int]]:
    """Run a jaxpr, and note the products of the responses with weights, and what they are."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values |= dict(zip(jaxpr.invars, given, strict=True))
    known = dict(zip(jaxpr.invars, standing, strict=True))

    def read(var: Any) -> tuple[Any, int]:
        if isinstance(var, Literal):
            return var.val, APART
        return values[var], known.get(var, APART)

    for eqn in jaxpr.eqns:
        operands, which = zip(*map(read, eqn.invars), strict=True) if eqn.invars else ((), ())
        inner, out_of = nested(eqn), max(which, default=APART)
        if inner is not None:
            outputs, of_each = _follow(inner.jaxpr, inner.consts, operands, which, found)
        else:
            params = eqn.primitive.get_bind_params(eqn.params)
            out = eqn.primitive.bind(*operands, **params)
            outputs = list(out) if eqn.primitive.multiple_results else [out]
            if out_of == RESPONSES and eqn.primitive.name in PRODUCTS:
                if all(which):
                    raise ValueError("responses are multiplied with each other")
                place = which.index(RESPONSES)
                found.append((eqn, place, operands[place], operands[1 - place]))
                out_of = BEHIND
            of_each = [out_of] * len(outputs)
        values |= dict(zip(eqn.outvars, outputs, strict=True))
        known |= dict(zip(eqn.outvars, of_each, strict=True))
    ends = [read(var) for var in jaxpr.outvars]
    return [value for value, _ in ends], [way for _, way in ends]


def _squares(eqn: Any, place: int, kernel: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Summed squared weights of every input, and the axes of the data that these lie along."""
    numbers = eqn.params["dimension_numbers"]
    if eqn.primitive.name == "dot_general":
        contracted, batch = numbers
        if any(batch):
            raise ValueError("weights that differ from image to image")
        axes, of_kernel = contracted[place], contracted[1 - place]
        kernel = np.moveaxis(kernel, of_kernel, range(len(of_kernel)))
        return np.square(kernel).sum(axis=tuple(range(len(of_kernel), kernel.ndim))), axes
    if place == 1:
        raise ValueError("responses stand for the kernel of a convolution")
    groups = eqn.params["feature_group_count"]
    out, into = numbers.rhs_spec[:2]
    kernel = np.moveaxis(kernel, (out, into), (0, 1))
    kernel = kernel.reshape(groups, -1, kernel.shape[1], int(np.prod(kernel.shape[2:])))
    return np.square(kernel).sum(axis=(1, 3)).ravel(), (numbers.lhs_spec[1],)
