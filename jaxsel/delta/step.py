"""One application of a primitive to values that may change: all that a rule may look at."""

from functools import cached_property
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from .products import PRODUCTS, UNROUNDED, rounded


class Step:
    """A primitive, its operands before the change, and what each of them changes by.

    Attributes:
        params: the primitive's parameters.
        values: operands before the change.
        changes: what each operand changes by; None for one that does not. A truth value or
            an integer has no change: here stands its new value.
        dtype: precision of the changes, that of the values or lower; None if none moves.
        products: precision of the operands of products.
    """

    def __init__(
        self,
        eqn: Any,
        operands: list[tuple[Any, Any]],
        precision: Any,
        products: str = "float32",
    ):
        self.products = products
        self.primitive = eqn.primitive
        self.params = eqn.params
        self.values = [x for x, _ in operands]
        self.changes = [d for _, d in operands]
        moved = [d.dtype for d in self.changes if d is not None and not is_discrete(d)]
        if not moved and precision is not None:
            # Truth values or integers moved alone: the change begins here.
            results = [out.aval.dtype for out in eqn.outvars if is_floating(out.aval)]
            moved = [min((precision, *results), key=lambda dtype: jnp.dtype(dtype).itemsize)]
        self.dtype = jnp.result_type(*moved) if moved else None

    @cached_property
    def outputs(self) -> list[Any]:
        """The outputs before the change."""
        return self.raw(*self.values)

    @cached_property
    def new_values(self) -> list[Any]:
        """The operands after the change, rounded to the precision of the values."""
        return [
            x if d is None else d if is_discrete(x) else (x + d).astype(x.dtype)
            for x, d in zip(self.values, self.changes, strict=True)
        ]

    def raw(self, *operands: Any) -> list[Any]:
        """The primitive applied to other operands, as they are."""
        return self._bind(self.params, operands)

    def bind(self, *operands: Any, **params: Any) -> list[Any]:
        """The primitive applied to other operands, in the precision of the changes."""
        params = self.params | params
        if params.get("preferred_element_type") is not None:
            params["preferred_element_type"] = self.dtype
        narrow = [self.narrow(operand) for operand in operands]
        if self.products not in UNROUNDED and self.primitive.name in PRODUCTS:
            narrow = [rounded(operand, self.products) for operand in narrow]
            params |= {"precision": None, "preferred_element_type": self.dtype}
        return self._bind(params, narrow)

    def narrow(self, operand: Any) -> Any:
        """An array in the precision of the changes; truth values and integers as they are."""
        return operand if is_discrete(operand) else operand.astype(self.dtype)

    def difference(self) -> list[Array]:
        """f(x + dx) - f(x), or the new value: what is left where no rule is known."""
        after = self.raw(*self.new_values)
        return [
            new if is_discrete(new) else self.narrow(gap(new, old))
            for new, old in zip(after, self.outputs, strict=True)
        ]

    def only_discrete(self) -> bool:
        """Whether truth values or integers alone moved, into nothing but the same."""
        moved = [d for d in self.changes if d is not None]
        return all(map(is_discrete, (*moved, *self.outputs)))

    def moved_parts(self) -> list[Array]:
        """The changes, as zeros where there is none."""
        return [
            jnp.zeros(x.shape, self.dtype) if d is None else d
            for x, d in zip(self.values, self.changes, strict=True)
        ]

    def _bind(self, params: dict[str, Any], operands: Any) -> list[Any]:
        out = self.primitive.bind(*operands, **self.primitive.get_bind_params(params))
        return list(out) if self.primitive.multiple_results else [out]


def is_discrete(array: Any) -> bool:
    """Whether an array holds truth values or integers, which have no finite change."""
    return jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool


def is_floating(array: Any) -> bool:
    """Whether an array holds floating-point numbers; the keys of random numbers are none."""
    return jnp.issubdtype(array.dtype, jnp.floating)


def is_real(array: Any) -> bool:
    """Whether an array holds real numbers, integers or truth values."""
    return is_discrete(array) or is_floating(array)


def gap(a: Array, b: Array) -> Array:
    """a - b; between two infinities of the same sign there is none."""
    return jnp.where(a == b, 0, a - b)


def exact_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b rounded, and what the rounding left out (Knuth's two-sum); 0 at infinities."""
    total = a + b
    virtual = total - a
    rest = (a - (total - virtual)) + (b - virtual)
    return total, jnp.where(jnp.isfinite(total), rest, 0)


def scaled(factor: Array, change: Array) -> Array:
    """factor * change, where an infinite factor times no change is none."""
    return jnp.where((change == 0) & jnp.isinf(factor), 0, factor * change)
