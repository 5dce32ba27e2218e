"""Parameters of a network, for references and for tests that must not miss a bias."""

import jax
import numpy as np
from flax import nnx


def with_random_biases(model, *, gain=1.0, seed=0):
    """The network with kernels `gain` times as large and normal biases.

    Fresh networks have biases of 0: a forgotten one would go unseen, and a network without
    any active unit would give all classes the same logit.
    """
    rng = np.random.default_rng(seed)
    graph, state = nnx.split(model)

    def changed(path, leaf):
        if "bias" in jax.tree_util.keystr(path):
            return leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32)
        return leaf * np.float32(gain)

    return nnx.merge(graph, jax.tree.map_with_path(changed, state))


def as_dictionary(model):
    """The parameters as nested dictionaries of arrays."""
    return nnx.to_pure_dict(nnx.state(model))


def dense_layers(model):
    """Pairs of weight and bias of a fully connected network: what `mlp.forward` takes."""
    return [(np.asarray(one.kernel[...]), np.asarray(one.bias[...])) for one in model.layers]
