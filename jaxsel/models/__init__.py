"""The networks, by name, and how they come back from a checkpoint."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from .. import checkpoint
from .alexnet_digits import AlexNetDigits as AlexNetDigits
from .mlp import MLP as MLP

NETWORKS = {"alexnet_digits": AlexNetDigits, "mlp": MLP}


def build(name: str, *, seed: int = 0, **settings: Any) -> nnx.Module:
    """A new network with random parameters.

    Args:
        name: `alexnet_digits` or `mlp`.
        seed: of the initial parameters.
        **settings: what the network's class takes, such as `n_classes`.

    Returns:
        The network; it has `sites` and is called as `model(images, tap)`.

    Raises:
        ValueError: an unknown name.

    >>> build("mlp", widths=(4,)).sites
    ('fc1',)
    """
    hashable = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    return _built(_network(name), jax.random.key(seed), tuple(sorted(hashable.items())))


def load(path: Path | str) -> nnx.Module:
    """The network of a checkpoint that `python -m ports` wrote, checked against its manifest.

    Args:
        path: the checkpoint's folder.

    Returns:
        The network, as `build` makes it, with the parameters of the checkpoint.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: arrays that do not match the manifest or the network.

    >>> import tempfile
    >>> network = build("mlp", n_inputs=4, widths=(3,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     arrays = nnx.to_pure_dict(nnx.state(network))
    ...     settings = {"n_inputs": 4, "widths": [3]}
    ...     manifest = {"network": "mlp", "settings": settings}
    ...     _ = checkpoint.write(Path(folder) / "mlp", arrays, manifest)
    ...     load(Path(folder) / "mlp").sites
    ('fc1',)
    """
    manifest, arrays = checkpoint.read(Path(path))
    network = _network(manifest["network"])
    settings = manifest["settings"]
    try:
        empty = nnx.eval_shape(lambda: network(rngs=nnx.Rngs(0), **settings))
    except TypeError as error:
        raise ValueError(
            f"{path}: the network does not take the settings {settings}"
        ) from error
    graph, state = nnx.split(empty)
    expected = checkpoint.named(nnx.to_pure_dict(state))
    found = checkpoint.named(arrays)
    for name in sorted(expected.keys() | found.keys()):
        shapes = [tree[name].shape if name in tree else None for tree in (expected, found)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{path}: {name} has shape {shapes[1]}, the network needs {shapes[0]}"
            )
    nnx.replace_by_pure_dict(state, jax.tree.map(jax.numpy.asarray, arrays))
    return nnx.merge(graph, state)


# One compiled program per kind of network: built eagerly, a network takes seconds.
@partial(jax.jit, static_argnums=(0, 2))
def _built(network, key, settings):
    return network(rngs=nnx.Rngs(key), **dict(settings))


def _network(name: str) -> type:
    if not isinstance(name, str) or name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}: possible are {', '.join(NETWORKS)}")
    return NETWORKS[name]
