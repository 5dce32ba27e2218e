"""The small AlexNet against PyTorch in float64, site by site."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsel import forward, models
from jaxsel.data import digits
from jaxsel.intact import intact_pass
from tests.references import alexnet_digits as reference
from tests.references import parameters


@pytest.fixture(scope="module")
def model():
    """Random biases: with the usual zeros a missing one would go unseen."""
    return parameters.with_random_biases(models.build("alexnet_digits", seed=4))


@pytest.fixture(scope="module")
def images():
    return digits().inputs(slice(0, 6))


def test_every_site_agrees_with_pytorch(model, images):
    logits, activations = intact_pass(model, images)
    expected, at_sites = reference.forward(parameters.as_dictionary(model), images)
    assert list(activations) == list(at_sites)  # same sites, same order
    np.testing.assert_allclose(logits, expected, rtol=1e-12, atol=1e-12)
    for site, activation in activations.items():
        # Float64 sums of at most 512 terms.
        np.testing.assert_allclose(
            activation, at_sites[site], rtol=1e-12, atol=1e-12, err_msg=site
        )


def test_float32_agrees_with_pytorch(model, images):
    logits, activations = jax.jit(forward)(model, images)
    expected, at_sites = reference.forward(parameters.as_dictionary(model), images)
    for name, found, right in [("logits", logits, expected)] + [
        (site, activation, at_sites[site]) for site, activation in activations.items()
    ]:
        # Seven layers of sums of up to 512 terms: some tens of roundings of 2**-24.
        np.testing.assert_allclose(
            found, right, rtol=0, atol=4e-6 * np.abs(right).max(), err_msg=name
        )


def test_every_parameter_matters(model, images):
    """A layer or a bias that is never used would have no gradient."""
    graph, state = nnx.split(model)
    gradient = jax.grad(
        lambda state: forward(nnx.merge(graph, state), jnp.asarray(images))[0][:, 0].sum()
    )(state)
    unused = [path for path, leaf in jax.tree.leaves_with_path(gradient) if not jnp.any(leaf)]
    assert unused == []


def test_other_images_are_refused(model):
    with pytest.raises(ValueError, match="8x8x1 numbers; found 8x8x3"):
        forward(model, jnp.zeros((1, 8, 8, 3)))
