"""`delta`: a function's finite change, computed without subtracting nearly equal numbers.

Deleting one unit changes a loss by some 1e-4 of itself. Running a network twice and
subtracting loses most digits in float32. `delta` walks the function's jaxpr instead and
carries, beside every value, its change, with one rule per primitive (`rules.py`).
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from .rules import RULES
from .step import Step, is_real

# Primitives that only hold a function: the walk goes on inside.
NESTED = {
    "jit",
    "pjit",
    "closed_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "checkpoint",
    "remat2",
}


def delta(f: Callable[[Any], Any], *, strict: bool = False) -> Callable[[Any, Any], Any]:
    """The change of a function's value for a finite change of its argument.

    `delta(f)(x, dx)` is `f(x + dx) - f(x)` with a relative error of a few roundings of the
    *change*, however small it is beside `f(x)`. Like `jax.jvp`, but not infinitesimal.
    What does not depend on a changed leaf is computed once, also under `vmap` over `dx`.

    Args:
        f: any JAX function of one argument, a tree of arrays; its value is a tree of
            floating-point arrays.
        strict: refuse a primitive without a rule instead of falling back.

    Returns:
        A function of `x` and `dx`: trees of the same structure and shapes. A leaf of `dx`
        may be None: it does not change. It may be of lower precision than `x`: then what
        does not depend on it is computed as exactly as `x` is, and only the changes are
        rounded. The result has the structure of `f(x)`; where nothing changes it is
        exactly 0. It composes with `jit`, `vmap`, `grad` and itself. The table of
        primitives and rules is in `jaxsel/delta/rules.py`. A change below 1e-38 is 0 in
        float32, also beside a float64 value. Digits that `f` itself cancels are lost here
        too: a variance as mean of squares less square of mean (Flax's `LayerNorm` unless
        `use_fast_variance=False`) has such a change.

    Raises:
        ValueError: with `strict`, a primitive without a rule, which is named; complex
            numbers in what moves.
        TypeError: `f` returns integers or truth values, or `dx` does not fit `x`.

    Warns:
        UserWarning: a primitive without a rule was differenced: `f(x + dx) - f(x)`.

    >>> layer = lambda x: jax.nn.relu(2 * x + 1)
    >>> delta(layer)(jnp.array([1e8, -1.0]), jnp.array([1e-3, 1e-3])).tolist()
    [0.0020000000949949026, 0.0]

    A model from elsewhere, and a change so small that only the derivative can check it:

    >>> from flax import linen as nn
    >>> block = nn.Sequential([nn.Dense(8), nn.gelu, nn.Dense(8), nn.softmax])
    >>> weights = block.init(jax.random.key(0), jnp.ones(4))
    >>> network = lambda x: block.apply(weights, x)
    >>> x, dx = jnp.ones(4), jnp.array([0.0, 1e-5, 0.0, 0.0])
    >>> slope = jax.jvp(network, (x,), (dx,))[1]
    >>> right = lambda change: bool(jnp.allclose(change, slope, rtol=1e-3, atol=0))
    >>> right(delta(network, strict=True)(x, dx)), right(network(x + dx) - network(x))
    (True, False)
    """

    def change(x: Any, dx: Any) -> Any:
        values, structure = jax.tree.flatten(x)
        changes, its_structure = jax.tree.flatten(dx, is_leaf=lambda leaf: leaf is None)
        if structure != its_structure:
            raise TypeError(f"dx has the structure {its_structure}, x has {structure}")
        values = [jnp.asarray(value) for value in values]
        changes = [None if d is None else jnp.asarray(d) for d in changes]
        for value, d in zip(values, changes, strict=True):
            if d is not None and not _fits(d, value):
                raise TypeError(
                    f"dx has a leaf {d.dtype}{list(d.shape)} where x has "
                    f"{value.dtype}{list(value.shape)}"
                )
        closed, shapes = jax.make_jaxpr(f, return_shape=True)(x)
        moved = [d.dtype for d in changes if d is not None]
        precision = jnp.result_type(*moved) if moved else None
        walk = _Walk(precision, strict)
        leaves = []
        for value, d in walk.through(closed.jaxpr, closed.consts, values, changes):
            if not jnp.issubdtype(value.dtype, jnp.floating):
                raise TypeError(f"the function returns {value.dtype}: it has no change")
            dtype = value.dtype if precision is None else precision
            leaves.append(jnp.zeros(value.shape, dtype) if d is None else d)
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    return change


def _fits(d: jax.Array, value: jax.Array) -> bool:
    """The same shape, floating, and no more precise than the value."""
    if d.shape != value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        return False
    return jnp.issubdtype(d.dtype, jnp.floating) and d.dtype.itemsize <= value.dtype.itemsize


class _Walk(NamedTuple):
    """What holds on the whole way: precision of the changes, and whether to be strict."""

    precision: Any
    strict: bool

    def through(
        self, jaxpr: Jaxpr, consts: Sequence[Any], values: Sequence[Any], changes: Sequence[Any]
    ) -> list[tuple[Any, Any]]:
        """Value and change of every output; a change of None is exactly none."""
        known = {var: (const, None) for var, const in zip(jaxpr.constvars, consts, strict=True)}
        known |= dict(zip(jaxpr.invars, zip(values, changes, strict=True), strict=True))

        def read(var: Any) -> tuple[Any, Any]:
            if not isinstance(var, Literal):
                return known[var]
            aval: Any = var.aval
            return jnp.asarray(var.val, aval.dtype), None

        for eqn in jaxpr.eqns:
            operands = [read(var) for var in eqn.invars]
            moved = any(d is not None for _, d in operands)
            inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
            if moved and eqn.primitive.name in NESTED and inner is not None:
                inside, its_consts = (inner, ())
                if isinstance(inner, ClosedJaxpr):
                    inside, its_consts = inner.jaxpr, inner.consts
                outputs = self.through(inside, its_consts, *zip(*operands, strict=True))
            else:
                outputs = self.over(eqn, operands, moved)
            known |= dict(zip(eqn.outvars, outputs, strict=True))
        return [read(var) for var in jaxpr.outvars]

    def over(self, eqn: Any, operands: list[tuple[Any, Any]], moved: bool):
        """One primitive: its outputs and, where an operand moved, their changes."""
        step, name = Step(eqn, operands, self.precision), eqn.primitive.name
        if not moved:
            return [(out, None) for out in step.outputs]
        if not all(map(is_real, (*step.values, *step.outputs))):
            raise ValueError(f"delta is for real numbers: {name!r} has complex ones")
        if step.only_discrete():
            return list(zip(step.outputs, step.raw(*step.new_values), strict=True))
        changes = RULES[name](step) if name in RULES else None
        if changes is None:
            if self.strict:
                raise ValueError(
                    f"delta has no rule for the primitive {name!r}, as it is used here: it "
                    f"knows {', '.join(sorted(RULES))}"
                )
            warnings.warn(f"delta has no rule for {name!r}: differenced", stacklevel=2)
            changes = step.difference()
        return list(zip(step.outputs, changes, strict=True))
