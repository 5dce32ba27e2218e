"""Networks from elsewhere as models: callables of images and a tap.

A model names its sites itself, `x = tap("conv1", x)`. Where a network cannot be given that
line, or takes its parameters or single images as arguments, one of these stands in. Each gives
a tree of the network's arrays, so that a compiled program serves other weights too. Arrays that
a function holds beside these are constants of the program and must not change.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.extend.core import Primitive
from jax.interpreters import batching
from jaxtyping import Array, Float, PyTree

from .sites import Model, Tap, untouched


def with_parameters(apply: Callable, parameters: PyTree) -> Model:
    """A function of parameters, images and a tap, with its parameters.

    Args:
        apply: called as `apply(parameters, images, tap)`.
        parameters: a tree of arrays.

    >>> def apply(parameters, images, tap):
    ...     return tap("hidden", jax.nn.relu(images)) @ parameters["w"]
    >>> model = with_parameters(apply, {"w": jnp.ones((2, 3))})
    >>> model(jnp.ones((1, 2)), untouched).tolist()
    [[2.0, 2.0, 2.0]]
    """
    return jax.tree_util.Partial(apply, parameters)


def linen(
    module: nn.Module, variables: PyTree, sites: Sequence[str] | None = None, **settings: Any
) -> Model:
    """A Flax Linen module. Its sites are what its submodules return.

    A site is called by the submodule's path: `Conv_0`, `Block_2/BatchNorm_1`; where a
    submodule is called again, the later ones are `Conv_0#2` and so on. An activation function
    that is no module comes after the site. Where it is a ReLU, ablation with replacement 0 is
    the same before it as after it; responses and other replacements are not. Layers that were
    given `dtype=jnp.float32` cast their input: without it the intact network is float64.
    Submodules inside `nn.remat`, `nn.jit` or `nn.scan` cannot be sites: leave them out.

    Args:
        module: whose `__call__` takes a batch of images.
        variables: its parameters and, with BatchNorm, its statistics.
        sites: which submodules; by default all that return one floating-point array.
        settings: further arguments of the module, such as `train=False`.

    Raises:
        KeyError: when it is called, `sites` that the module does not have.

    >>> network = nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)])
    >>> model = linen(network, network.init(jax.random.key(0), jnp.ones((1, 4))))
    >>> from .forward import forward
    >>> list(forward(model, jnp.ones((1, 4)))[1])
    ['layers_0', 'layers_2']
    """
    wanted = (sites,) if isinstance(sites, str) else sites

    def apply(variables: PyTree, images: Array, tap: Tap = untouched) -> Array:
        calls: Counter[str] = Counter()
        named: list[str] = []

        def tapped(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
            out = call(*args, **kwargs)
            name = "/".join(context.module.path)
            if context.method_name != "__call__" or not name or not _is_activation(out):
                return out
            calls[name] += 1
            site = name if calls[name] == 1 else f"{name}#{calls[name]}"
            named.append(site)
            return tap(site, out) if wanted is None or site in wanted else out

        with nn.intercept_methods(tapped):
            out: Any = module.apply(variables, images, **settings)
        if unknown := [site for site in wanted or () if site not in named]:
            raise KeyError(f"unknown site {', '.join(unknown)}: there are {', '.join(named)}")
        return out

    return jax.tree_util.Partial(apply, variables)


def in_turn(
    layers: Any, sites: Mapping[int, str] | None = None, *, one_image: bool = False
) -> Model:
    """Layers that are called one after the other, such as an `nnx.Sequential`.

    Their arrays are those of now: what is trained later needs a new model. They must be in
    evaluation mode: `network.eval()` for NNX, `eqx.nn.inference_mode` for Equinox.

    Args:
        layers: callables, or an object that has them as `layers`: an `nnx.Sequential`, or an
            Equinox module whose `__call__` goes through them.
        sites: which layers' outputs are sites, and their names, by position from 0; by
            default all but the last: `layer0`, `layer1` and so on.
        one_image: the layers take a single image, its channels first, as Equinox's do. Taps
            see batches of images, channels last.

    >>> model = in_turn([lambda x: 2 * x, jax.nn.relu, jnp.square], {1: "relu"})
    >>> from .forward import forward
    >>> logits, activations = forward(model, jnp.array([[-1.0, 3.0]]))
    >>> logits.tolist(), activations["relu"].tolist()
    ([[0.0, 36.0]], [[0.0, 6.0]])
    """
    layers = list(getattr(layers, "layers", layers))
    if sites is None:
        sites = {i: f"layer{i}" for i in range(len(layers) - 1)}
    if unknown := sorted(set(sites) - set(range(len(layers)))):
        raise ValueError(f"there are the layers 0 to {len(layers) - 1}; found {unknown}")
    arrays, together = apart(layers)

    def apply(arrays: list, images: Array, tap: Tap = untouched) -> Array:
        x = jnp.moveaxis(images, -1, 1) if one_image else images
        for i, layer in enumerate(together(arrays)):
            x = jax.vmap(layer)(x) if one_image else layer(x)
            if i in sites:
                x = _channels_last(tap, sites[i], x) if one_image else tap(sites[i], x)
        return x

    return jax.tree_util.Partial(apply, arrays)


def per_image(model: Callable, *, channels_first: bool = True) -> Model:
    """A model of single images, called as `model(image, tap)`, such as an Equinox module.

    Args:
        model: a tree whose array leaves are the parameters, or a function. Its taps see
            single activations here, and batches of them outside, and must not stand inside a
            `jit` or another `vmap`. Its arrays are those of now.
        channels_first: whether it takes channels, height, width, and names sites so; images
            and activations outside have channels last.

    >>> model = per_image(lambda image, tap: tap("sum", image.sum(axis=(1, 2))))
    >>> model(jnp.ones((5, 2, 2, 3)), untouched).shape
    (5, 3)
    """
    arrays, together = apart(model)

    def apply(arrays: list, images: Array, tap: Tap = untouched) -> Array:
        def batched(site: str, x: Array) -> Array:
            return _channels_last(tap, site, x) if channels_first else tap(site, x)

        def named(site: str, x: Array) -> Array:
            return _tap.bind(x, site=site, call=batched)

        x = jnp.moveaxis(images, -1, 1) if channels_first else images
        return jax.vmap(partial(_called, together(arrays), named))(x)

    return jax.tree_util.Partial(apply, arrays)


def _called(model: Callable, tap: Tap, image: Array) -> Array:
    return model(image, tap)


# A tap inside `vmap`: when it is batched, the batch goes through the tap outside.
_tap = Primitive("tap")


def _tap_batch(operands: Any, axes: Any, *, site: str, call: Tap) -> tuple[Array, int]:
    return call(site, jnp.moveaxis(operands[0], axes[0], 0)), 0


def _no_batch(*operands: Any, **params: Any) -> Any:
    raise TypeError(
        f"the tap {params['site']!r} must be called with something that depends on the image, "
        "outside of what the network compiles itself"
    )


batching.primitive_batchers[_tap] = _tap_batch
_tap.def_impl(_no_batch)
_tap.def_abstract_eval(_no_batch)


def _channels_last(tap: Tap, site: str, x: Float[Array, "images channels ..."]) -> Array:
    return jnp.moveaxis(tap(site, jnp.moveaxis(x, 1, -1)), -1, 1)


def apart(tree: PyTree) -> tuple[list, Callable[[list], PyTree]]:
    """The arrays of a tree, and the function that puts them back."""
    leaves, structure = jax.tree.flatten(tree)
    is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    arrays = [leaf if known else None for leaf, known in zip(leaves, is_array, strict=True)]
    others = [None if known else leaf for leaf, known in zip(leaves, is_array, strict=True)]

    def together(arrays: list) -> PyTree:
        both = zip(arrays, others, is_array, strict=True)
        return jax.tree.unflatten(structure, [a if known else o for a, o, known in both])

    return arrays, together


def _is_activation(out: Any) -> bool:
    return isinstance(out, jax.Array) and jnp.issubdtype(out.dtype, jnp.floating)
