"""What identifies a network, a data set or settings: a SHA-256 that is the same elsewhere.

The same in another process, at another place in memory, on another day; another one when
anything that counts has changed. So a result on disk can say what it is the result of.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.interpreters import partial_eval

from .data.dataset import Dataset
from .data.encoded import EncodedImages
from .delta.transform import nested
from .intact import intact_jaxpr, traceable
from .sites import Model

# Of the images that are read at a time.
MOST_BYTES = 2**24
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def of_network(model: Model, image_shape: tuple[int, ...], site: str | None = None) -> str:
    """Identifies what a network computes from images, up to a site or to the logits.

    That is every operation of the intact pass that counts, and the bits of the arrays in it.
    What comes after the site, and what is computed for nothing, is left out.

    Args:
        model: called as `model(images, tap)`.
        image_shape: the shape of one image.
        site: where the computation ends; by default the logits.

    Returns:
        64 hexadecimal digits. Another release of JAX may write the same network as other
        operations, which gives others.

    Raises:
        KeyError: a site that this network does not have.
        ValueError: a network that calls back to Python, where anything may be computed.

    >>> double = lambda images, tap: tap("double", images * 2) + 1
    >>> also = lambda x, tap: tap("double", x * 2)
    >>> of_network(double, (3,), "double") == of_network(also, (3,), "double")
    True
    >>> of_network(double, (3,)) == of_network(also, (3,))
    False
    """
    network = traceable(model)
    closed = intact_jaxpr(network, image_shape, site)
    images = _known(_digest("images", *image_shape))
    return _of_function(closed, [*map(_once, jax.tree.leaves(network)), images])


def of_images(dataset: Dataset, progress: Callable[[int], None] | None = None) -> str:
    """Identifies the images of a data set and what turns them into input; not the labels.

    Every image is read once, as it is stored: encoded ones are not decoded. Memory does not
    grow with their number.

    Args:
        dataset: any.
        progress: called with the number of images read.

    Returns:
        64 hexadecimal digits. The preprocessing counts by its name, its code and what it
        holds, and by what it makes of the first and the last image.

    Raises:
        TypeError: images that are no numbers.

    >>> images, labels = np.zeros((2, 8), np.uint8), np.array([0, 1])
    >>> whole = Dataset(images, labels, ("cat", "dog"))
    >>> of_images(whole) == of_images(whole.take(np.array([0, 1])))
    True
    >>> of_images(whole) == of_images(Dataset(images, labels, ("cat", "dog"), np.sqrt))
    False
    """
    n = len(dataset)
    content = hashlib.sha256()
    for done, part in _stored(dataset.images, n):
        content.update(part)
        if progress is not None:
            progress(done)
    ends = [dataset.inputs(slice(row, row + 1)) for row in (0, n - 1)]
    return _digest("images", n, content.hexdigest(), of(dataset.preprocess), *map(of, ends))


def of(value: Any) -> str:
    """Identifies settings: numbers, text, arrays, functions, and tables and lists of them.

    A function counts by its name, its code and the values that it holds; what it reads from
    its module does not.

    >>> of({"units": 3, "mean": np.zeros(2)}) == of({"mean": np.zeros(2), "units": 3})
    True
    >>> of(np.zeros(2)) == of(np.zeros(2, np.float32)), of(0.0) == of(-0.0), of(1) == of("1")
    (False, False, False)
    """
    return _of(value, ())


def _of(value: Any, above: tuple[int, ...]) -> str:
    """`of`, inside the values that have these numbers: some hold themselves."""
    if id(value) in above:
        return _digest("itself", above[::-1].index(id(value)))

    def inside(*values: Any) -> list[str]:
        return [_of(one, (*above, id(value))) for one in values]

    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if hasattr(value, "__array__") and not isinstance(value, type):  # of NumPy, JAX, others
        return _of_array(value)
    if isinstance(value, ClosedJaxpr | Jaxpr):
        return _of_function(value)
    if isinstance(value, Mapping):
        return _digest(name, *sorted(_digest(*inside(*item)) for item in value.items()))
    if isinstance(value, set | frozenset):
        return _digest(name, *sorted(inside(*value)))
    if isinstance(value, list | tuple):
        return _digest(name, *inside(*value))
    if isinstance(value, partial):
        return _digest(name, *inside(value.func, value.args, value.keywords))
    if isinstance(value, MethodType):
        return _digest(name, *inside(value.__self__, value.__func__))
    if isinstance(value, FunctionType):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        held = inside(value.__code__, value.__defaults__, value.__kwdefaults__, cells)
        return _digest(name, value.__module__, value.__qualname__, *held)
    if isinstance(value, CodeType):
        return _digest(name, *inside(value.co_code, value.co_consts, value.co_names))
    if is_dataclass(value) and not isinstance(value, type):
        return _digest(name, *inside({f.name: getattr(value, f.name) for f in fields(value)}))
    if callable(value) and hasattr(value, "__dict__") and not isinstance(value, type | Enum):
        return _digest(name, *inside(vars(value), kind.__call__))
    return _digest(name, ADDRESS.sub("", repr(value)))


def _of_array(array: Any) -> str:
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return _digest(array.dtype, _of_array(jax.random.key_data(array)))
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise TypeError(f"an array of {array.dtype} cannot be identified: it has no numbers")
    content = hashlib.sha256(_bytes(array)).hexdigest()
    return _digest("array", array.dtype.str, array.dtype, array.shape, content)


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of an array, without a copy where they lie one after the other."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return None


def _digest(*parts: Any) -> str:
    """Of parts whose text says all; their lengths keep them apart."""
    texts = [str(part) for part in parts]
    return hashlib.sha256("".join(f"{len(t)}:{t}" for t in texts).encode()).hexdigest()


def _stored(images: Any, n: int) -> Iterable[tuple[int, Any]]:
    """How many images are done, and their bytes, in parts that do not change the sum."""
    first = images[:1]
    if isinstance(first, EncodedImages):
        for row in range(n):
            one = images[row : row + 1]
            content = one.read(int(one.indices[0]))
            yield row + 1, hashlib.sha256(one.mode.encode() + content).digest()
        return
    first = np.asarray(first)
    if first.dtype.kind not in "biuf":
        raise TypeError(f"images must be numbers; found {first.dtype}")
    yield 0, f"{first.dtype.str}{first.shape[1:]}".encode()
    step = max(MOST_BYTES // max(first.nbytes, 1), 1)
    for start in range(0, n, step):
        part = np.asarray(images[start : start + step])
        yield start + len(part), _bytes(part)


def _of_function(function: Any, operands: list[Callable[[], str]] | None = None) -> str:
    """Every output as the tree of operations and operands that it is the result of."""
    jaxpr, consts = getattr(function, "jaxpr", function), getattr(function, "consts", ())
    if operands is None:
        numbered = enumerate(var.aval for var in jaxpr.invars)
        operands = [_known(_digest("operand", *one)) for one in numbered]
    known = dict(zip(jaxpr.constvars, map(_once, consts), strict=True))
    known |= dict(zip(jaxpr.invars, operands, strict=True))
    all_of_them = [True] * len(jaxpr.outvars)
    alive, _ = partial_eval.dce_jaxpr(jaxpr, all_of_them, instantiate=True)
    return _digest("function", *_walked(alive, known))


def _walked(jaxpr: Jaxpr, known: dict[Any, Callable[[], str]]) -> list[str]:
    """What identifies the outputs; an array is read only if it is an operand of something."""

    def read(var: Any) -> str:
        return _digest(var.aval, of(var.val)) if isinstance(var, Literal) else known[var]()

    for eqn in jaxpr.eqns:
        if not eqn.outvars:  # a print
            continue
        name, operands = eqn.primitive.name, [read(var) for var in eqn.invars]
        if "callback" in name:
            raise ValueError(
                f"this network calls back to Python ({name}): what that computes cannot be "
                "identified"
            )
        inner = nested(eqn)
        if inner is not None:
            own = dict(zip(inner.jaxpr.constvars, map(_once, inner.consts), strict=True))
            own |= dict(zip(inner.jaxpr.invars, [_known(one) for one in operands], strict=True))
            out = _walked(inner.jaxpr, own)
        else:
            parts = [name, of(eqn.params), *operands]
            avals = [str(var.aval) for var in eqn.outvars]
            out = [_digest(*parts, place, aval) for place, aval in enumerate(avals)]
        known |= dict(zip(eqn.outvars, map(_known, out), strict=True))
    return [read(var) for var in jaxpr.outvars]


def _once(array: Any) -> Callable[[], str]:
    """The digest of an array, computed when it is first asked for."""
    return cache(partial(_of_array, array))


def _known(digest: str) -> Callable[[], str]:
    return lambda: digest
