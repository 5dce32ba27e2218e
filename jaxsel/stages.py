"""A function in stages: what can be computed before the later arguments are known.

An ablation knows the network first, then an image, then the unit. What depends on the network
alone is computed once, what depends on the image once per image, and only the rest per unit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal

from .delta.transform import nested
from .folding import folded, folds
from .unrolled import unrolled, unrolls


def stages(f: Callable, *arguments: Any) -> list[Callable]:
    """One function per argument: each does what needs no later argument.

    Args:
        f: a function of trees of arrays, that returns as many results as it has arguments.
            Result i may depend on the first i arguments only.
        arguments: its arguments, or their shapes and types.

    Returns:
        As many functions as arguments. The first takes the first argument and returns what
        the later ones need of it, a list of arrays, and the first result. The second takes
        that list and the second argument, and so on. The last returns the last result.

    Raises:
        ValueError: a result that depends on later arguments.

    >>> add, multiply = stages(lambda x, y: (-x, (x + 1) * y), 2.0, 3.0)
    >>> known, result = add(2.0)
    >>> [float(array) for array in known], float(result), float(multiply(known, 5.0))
    ([3.0], -2.0, 15.0)
    """
    closed, shapes = jax.make_jaxpr(evaluated(f), return_shape=True)(*arguments)
    jaxpr, last = closed.jaxpr, len(arguments) - 1
    level: dict[Any, int] = dict.fromkeys(jaxpr.constvars, 0)
    inputs: list[list[Any]] = []
    rest = list(jaxpr.invars)
    for stage, argument in enumerate(arguments):
        n = len(jax.tree.leaves(argument))
        inputs.append(rest[:n])
        level |= dict.fromkeys(rest[:n], stage)
        rest = rest[n:]
    for eqn in jaxpr.eqns:
        known = [level[var] for var in eqn.invars if not isinstance(var, Literal)]
        level |= dict.fromkeys(eqn.outvars, max(known, default=0))
    results = _results(jaxpr, shapes)
    # What nothing needs is left out; what a later stage needs is handed over.
    wanted: dict[Any, int] = {}
    for stage, (_, variables) in enumerate(results):
        for var in variables:
            if not isinstance(var, Literal):
                wanted[var] = max(wanted.get(var, 0), stage)
                if level[var] > stage:
                    raise ValueError(f"result {stage} depends on argument {level[var]}")
    steps: list[list[Any]] = [[] for _ in arguments]
    for eqn in reversed(jaxpr.eqns):
        if any(var in wanted for var in eqn.outvars):
            at = level[eqn.outvars[0]]
            steps[at].insert(0, eqn)
            for var in eqn.invars:
                if not isinstance(var, Literal):
                    wanted[var] = max(wanted.get(var, 0), at)
    handed = [
        [var for var, needed in wanted.items() if level[var] == stage < needed]
        for stage in range(last)
    ]

    def at_stage(stage: int) -> Callable:
        def run(*operands: Any) -> Any:
            *earlier, argument = operands
            known = dict(zip(inputs[stage], jax.tree.leaves(argument), strict=True))
            for names, arrays in zip(handed[:stage], earlier, strict=True):
                known |= dict(zip(names, arrays, strict=True))
            if stage == 0:
                known |= dict(zip(jaxpr.constvars, closed.consts, strict=True))
            _run(steps[stage], known)
            structure, variables = results[stage]
            result = jax.tree.unflatten(structure, [_read(known, var) for var in variables])
            if stage == last:
                return result
            return [jnp.asarray(known[var]) for var in handed[stage]], result

        return run

    return [at_stage(stage) for stage in range(len(arguments))]


def _results(jaxpr: Jaxpr, shapes: Any) -> list[tuple[Any, list[Any]]]:
    """Structure and variables of every result."""
    found, rest = [], list(jaxpr.outvars)
    for result in shapes:
        n = len(jax.tree.leaves(result))
        found.append((jax.tree.structure(result), rest[:n]))
        rest = rest[n:]
    return found


def evaluated(f: Callable) -> Callable:
    """The same function in one level, its slow convolutions written as fast ones.

    See `folding.py` and `unrolled.py`.

    >>> evaluated(lambda x: 2 * x)(jnp.ones(2)).tolist()
    [2.0, 2.0]
    """

    def run(*arguments: Any) -> Any:
        closed, shapes = jax.make_jaxpr(f, return_shape=True)(*arguments)
        out = _through(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), out)

    return run


def _through(jaxpr: Jaxpr, consts: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
    known = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= dict(zip(jaxpr.invars, operands, strict=True))
    _run(jaxpr.eqns, known)
    return [_read(known, var) for var in jaxpr.outvars]


def _run(eqns: Sequence[Any], known: dict[Any, Any]) -> None:
    """Each equation in turn; what it gives is known from then on."""
    for eqn in eqns:
        operands = [_read(known, var) for var in eqn.invars]
        inner = nested(eqn)
        if inner is not None:
            out = _through(inner.jaxpr, inner.consts, operands)
        elif unrolls(eqn):
            out = [unrolled(eqn, *operands)]
        elif folds(eqn):
            out = [folded(eqn, *operands)]
        else:
            out = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
            out = out if eqn.primitive.multiple_results else [out]
        known |= dict(zip(eqn.outvars, out, strict=True))


def _read(known: dict[Any, Any], var: Any) -> Any:
    if not isinstance(var, Literal):
        return known[var]
    aval: Any = var.aval
    return jnp.asarray(var.val, aval.dtype)


def largest_array(f: Callable, *arguments: Any) -> int:
    """Bytes of the largest array that a function computes on its way.

    >>> largest_array(lambda x: jnp.sum(jnp.ones((10, 1)) * x), jnp.ones(4))
    160
    """
    jaxpr = jax.make_jaxpr(evaluated(f))(*arguments).jaxpr
    arrays = [var.aval for eqn in jaxpr.eqns for var in eqn.outvars]
    return max((array.size * array.dtype.itemsize for array in arrays), default=1)
