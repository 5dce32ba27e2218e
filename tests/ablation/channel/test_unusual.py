"""Networks that are right and unusual, and networks that lose the digits of a change."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsel import ablate_units
from jaxsel.adapters import in_turn
from jaxsel.mixing import mixes_images
from tests.references import brute_force

from .networks import N_CLASSES, conv, head, numbers, truth_of


def test_a_network_that_drops_a_batch_of_one_gets_the_generic_engine(dataset):
    """Without its axes of size 1, a single image has no axis of images."""

    def model(images, tap):
        x = tap("in", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
        pooled = jnp.squeeze(x.mean((1, 2), keepdims=True))
        return pooled @ jnp.asarray(numbers(4, N_CLASSES), x.dtype)

    effects = ablate_units(model, dataset, "in")
    assert effects.engine == "generic"
    brute_force.assert_exact(effects, truth_of(model, dataset, "in"), dataset.labels)
    with pytest.raises(ValueError, match="engine='generic' takes batches"):
        ablate_units(model, dataset, "in", engine="channel")


@pytest.mark.parametrize("engine", ["channel", "generic"])
def test_random_numbers_of_the_networks_own_do_not_move(dataset, engine):
    def model(images, tap):
        x = tap("in", jax.nn.relu(conv(images, numbers(3, 3, 2, 4))))
        return head(x * jax.random.bernoulli(jax.random.key(0), 0.5, x.shape[1:]))

    effects = ablate_units(model, dataset, "in", engine=engine)
    brute_force.assert_exact(effects, truth_of(model, dataset, "in"), dataset.labels)


class WithFunction(eqx.Module):
    """A tree of arrays and of a function."""

    kernel: jax.Array
    activation: object

    def __call__(self, images, tap):
        return head(conv(tap("in", self.activation(images)), self.kernel))


@pytest.mark.parametrize("engine", ["channel", "generic"])
def test_a_network_may_hold_functions_among_its_arrays(dataset, engine):
    for seed in (0, 1):
        model = WithFunction(jnp.asarray(numbers(3, 3, 2, 4, seed=seed)), jax.nn.relu)
        effects = ablate_units(model, dataset, "in", engine=engine)
        assert effects.precision == "float32 changes of float64 values"
        brute_force.assert_exact(effects, truth_of(model, dataset, "in"), dataset.labels)


@pytest.mark.parametrize("engine", ["channel", "generic"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_network_that_computes_in_less_than_float32_is_refused(dataset, engine, dtype):
    """Its own products would leave two or three digits, which no error estimate knows of."""

    def model(images, tap):
        x = tap("in", jax.nn.relu(images)).astype(dtype)
        x = jax.nn.relu(conv(x, numbers(3, 3, 2, 4).astype(dtype)))
        return head(x.astype(np.float32))

    with pytest.raises(ValueError, match=f"follows in computes in {dtype.__name__}: "):
        ablate_units(model, dataset, "in", engine=engine)


def with_batch_norm(use_running_average):
    layer = nnx.BatchNorm(4, use_running_average=use_running_average, rngs=nnx.Rngs(0))
    return in_turn([lambda x: conv(x, numbers(3, 3, 2, 4)), layer, jax.nn.relu, head])


def test_a_network_in_training_mode_is_refused_and_in_evaluation_mode_is_not(dataset):
    """BatchNorm's statistics of the batch: images alone would give other numbers."""
    with pytest.raises(ValueError, match="put it into evaluation mode"):
        ablate_units(with_batch_norm(False), dataset, "layer2")
    assert ablate_units(with_batch_norm(False), dataset, "layer2", engine="generic")
    assert ablate_units(with_batch_norm(True), dataset, "layer2").engine == "channel"


MIXING = {
    "a mean over the batch": lambda x: x - x.mean(0),
    "a maximum over all": lambda x: x / x.max(),
    "attention between images": lambda x: jnp.einsum("nhwc,mhwc->nm", x, x) @ x[:, 0, 0],
    "order in the batch": lambda x: jnp.cumsum(x, 0),
    "the mean of a flattened batch": lambda x: x + x.reshape(-1, x.shape[-1]).mean(0),
}
ALONE = {
    "a mean over places": lambda x: x - x.mean((1, 2), keepdims=True),
    "places flattened with the images": lambda x: (x.reshape(-1, 2) @ jnp.ones((2, 2))).reshape(
        x.shape
    ),
    "channels first": lambda x: jnp.moveaxis(jnp.moveaxis(x, -1, 1) * 2, 1, -1),
    "attention between places": lambda x: jnp.einsum(
        "nabcd,ncdk->nabk", jax.nn.softmax(jnp.einsum("nabk,ncdk->nabcd", x, x)), x
    ),
    "a sum that nothing uses": lambda x: (x.sum(0), x)[1],
}


@pytest.mark.parametrize("layer", [*MIXING.values(), *ALONE.values()], ids=[*MIXING, *ALONE])
def test_what_mixes_the_images_of_a_batch_is_found(layer):
    mixing = layer in MIXING.values()
    assert mixes_images(lambda images, tap: head(layer(images)), (5, 6, 2)) == mixing
