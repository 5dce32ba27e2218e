"""`delta`: a function's finite change, computed without subtracting nearly equal numbers.

Deleting one unit changes a loss by some 1e-4 of itself. Running a network twice and
subtracting loses most digits in float32. `delta` walks the function's jaxpr instead and
carries, beside every value, its change, with one rule per primitive (`rules.py`).
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from .channel import OneChannel, mixed, narrowed, the_channel
from .products import check_precision, precision_of
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


def nested(eqn: Any) -> ClosedJaxpr | None:
    """The function that an equation only holds, if it is such a one."""
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    if eqn.primitive.name not in NESTED or inner is None:
        return None
    return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())


def dependents(jaxpr: Jaxpr, variables: Iterable[Any]) -> Iterator[tuple[Any, list[bool]]]:
    """The equations that depend on some variables, also those inside nested functions.

    Args:
        jaxpr: of a function.
        variables: of it.

    Yields:
        An equation that is no nested function itself, and which of its operands depend.

    >>> jaxpr = jax.make_jaxpr(lambda x, y: jnp.sin(x) * jnp.cos(y))(1.0, 2.0).jaxpr
    >>> [(str(eqn.primitive), which) for eqn, which in dependents(jaxpr, jaxpr.invars[:1])]
    [('sin', [True]), ('mul', [True, False])]
    """
    reached = set(variables)
    for eqn in jaxpr.eqns:
        which = [not isinstance(var, Literal) and var in reached for var in eqn.invars]
        if not any(which):
            continue
        reached |= set(eqn.outvars)
        inner = nested(eqn)
        if inner is None:
            yield eqn, which
        else:
            own = zip(inner.jaxpr.invars, which, strict=True)
            yield from dependents(inner.jaxpr, [var for var, depends in own if depends])


def delta(
    f: Callable[[Any], Any], *, strict: bool = False, products: str = "float32"
) -> Callable[[Any, Any], Any]:
    """The change of a function's value for a finite change of its argument.

    `delta(f)(x, dx)` is `f(x + dx) - f(x)` with a relative error of a few roundings of the
    *change*, however small it is beside `f(x)`. Like `jax.jvp`, but not infinitesimal.
    What does not depend on a changed leaf is computed once, also under `vmap` over `dx`.

    Args:
        f: any JAX function of one argument, a tree of arrays; its value is a tree of
            floating-point arrays.
        strict: refuse a primitive without a rule instead of falling back.
        products: what the operands of matrix products and convolutions of changes are
            rounded to: `tensorfloat32` or `bfloat16`; `float32` and `float64` leave them
            as they are.

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
            numbers in what moves; a precision that is not known.
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
        moved = [d.dtype for d in changes if d is not None]
        precision = jnp.result_type(*moved) if moved else None
        return _walked(f, x, values, changes, _Walk(precision, strict, products))[1]

    check_precision(products)
    return change


def change_at(
    name: str,
    change: Callable[[jax.Array], Any],
    f: Callable[[Any], Any],
    *,
    strict: bool = False,
    products: str = "float32",
) -> Callable[[Any], tuple[Any, Any]]:
    """`f`, and what it changes by when a value inside it changes.

    The network is walked once: what is before the value is computed once, also where a path
    around it needs it later.

    Args:
        name: of the value, given by `jax.ad_checkpoint.checkpoint_name` inside `f`.
        change: from the value to its change, an array or a `OneChannel`: in float64 if
            `products` is that, otherwise in float32.
        f: as in `delta`.
        strict: likewise.
        products: likewise.

    Returns:
        A function of `x`: the value of `f`, and its change.

    >>> from jax.ad_checkpoint import checkpoint_name
    >>> f = lambda x: jnp.square(checkpoint_name(2 * x, "double"))
    >>> value, change = change_at("double", lambda double: -double, f, strict=True)(1.0)
    >>> float(value), float(change)
    (4.0, -4.0)
    """

    def walked(x: Any) -> tuple[Any, Any]:
        values = [jnp.asarray(value) for value in jax.tree.leaves(x)]
        walk = _Walk(jnp.dtype(precision_of(products)), strict, products, {name: change})
        return _walked(f, x, values, [None] * len(values), walk)

    return walked


def _walked(f: Callable, x: Any, values: list, changes: list, walk: "_Walk") -> tuple[Any, Any]:
    """Value and change of a function."""
    closed, shapes = jax.make_jaxpr(f, return_shape=True)(x)
    before, leaves = [], []
    for value, d in walk.through(closed.jaxpr, closed.consts, values, changes):
        if not jnp.issubdtype(value.dtype, jnp.floating):
            raise TypeError(f"the function returns {value.dtype}: it has no change")
        dtype = value.dtype if walk.precision is None else walk.precision
        before.append(value)
        leaves.append(jnp.zeros(value.shape, dtype) if d is None else _widened(value, d))
    structure = jax.tree.structure(shapes)
    return jax.tree.unflatten(structure, before), jax.tree.unflatten(structure, leaves)


def _widened(value: Any, d: Any) -> Any:
    """A change of one channel as one of the whole array."""
    return d.whole(value.shape) if isinstance(d, OneChannel) else d


def _fits(d: jax.Array, value: jax.Array) -> bool:
    """The same shape, floating, and no more precise than the value."""
    if d.shape != value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        return False
    return jnp.issubdtype(d.dtype, jnp.floating) and d.dtype.itemsize <= value.dtype.itemsize


class _Walk(NamedTuple):
    """What holds on the whole way.

    Attributes:
        precision: of the changes.
        strict: whether a primitive without a rule is refused.
        products: precision of the operands of products.
        named: changes that begin inside, by the name of the value.
    """

    precision: Any
    strict: bool
    products: str = "float32"
    named: Mapping[str, Callable[[jax.Array], Any]] = {}

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
            inner = nested(eqn)
            if self.begins(eqn):
                ((value, _),) = operands
                outputs = [(value, self.named[eqn.params["name"]](value))]
            elif inner is not None and (moved or self.begins_inside(inner.jaxpr)):
                changed = list(zip(*operands, strict=True)) or [(), ()]
                outputs = self.through(inner.jaxpr, inner.consts, *changed)
            else:
                outputs = self.over(eqn, operands, moved)
            known |= dict(zip(eqn.outvars, outputs, strict=True))
        return [read(var) for var in jaxpr.outvars]

    def begins(self, eqn: Any) -> bool:
        """Whether a change begins with the value that an equation names."""
        return eqn.primitive.name == "name" and eqn.params["name"] in self.named

    def begins_inside(self, jaxpr: Jaxpr) -> bool:
        """Whether a change begins somewhere in a function."""
        if not self.named:
            return False
        inside = ((eqn, nested(eqn)) for eqn in jaxpr.eqns)
        return any(
            self.begins(eqn) or (inner is not None and self.begins_inside(inner.jaxpr))
            for eqn, inner in inside
        )

    def over(self, eqn: Any, operands: list[tuple[Any, Any]], moved: bool):
        """One primitive: its outputs and, where an operand moved, their changes."""
        step, name = Step(eqn, operands, self.precision, self.products), eqn.primitive.name
        if not moved:
            return [(out, None) for out in step.outputs]
        if any(isinstance(d, OneChannel) for d in step.changes):
            changes = self.over_one_channel(eqn, step, operands)
            if changes is not None:
                return list(zip(step.outputs, changes, strict=True))
            return self.over(eqn, [(x, _widened(x, d)) for x, d in operands], moved)
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

    def over_one_channel(self, eqn: Any, step: Step, operands: list[tuple[Any, Any]]):
        """The changes of the outputs, if it is enough to look at one channel."""
        one = the_channel(step.changes)
        if one is None or eqn.primitive.name not in RULES:
            return None
        cut = narrowed(eqn, operands, one)
        if cut is None:
            change = mixed(eqn, step, one)
            return None if change is None else [change]
        changes = RULES[eqn.primitive.name](Step(eqn, cut[0], self.precision, self.products))
        return None if changes is None else [cut[1](change) for change in changes]
