"""Dead units: closed forms, invariances and real responses."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsel.metrics import dead_units


@pytest.mark.parametrize(
    "responses, dead",
    [
        ([0, 0, 0], True),
        ([0, 0, 1e-30], False),
        ([0, -1, 0], False),
        ([-1, -2, -3], False),
        ([0, np.nan, 0], False),
        ([np.nan, np.nan], False),
        ([-0.0, 0.0], True),
        ([0], True),
        ([2], False),
    ],
    ids=str,
)
def test_closed_forms(responses, dead):
    assert dead_units(jnp.array(responses, jnp.float32)[:, None]).tolist() == [dead]


def test_one_firing_image_of_many_is_found(rng):
    responses = np.zeros((500, 20), np.float32)
    alive = rng.choice(20, 7, replace=False)
    responses[rng.integers(500, size=7), alive] = rng.gamma(1, size=7)
    assert np.flatnonzero(~np.asarray(dead_units(responses))).tolist() == sorted(alive)


def test_scale_is_irrelevant_an_offset_is_not():
    responses = jnp.array([[0.0, 3.0], [0.0, 0.0]])
    assert dead_units(-5 * responses).tolist() == [True, False]
    assert dead_units(responses + 1).tolist() == [False, False]


@pytest.mark.data
def test_real_responses_have_eight_silent_units(data_folder):
    """Fc7 of VGG-16 on 144 photographs; counted outside jaxsel."""
    responses = np.load(data_folder / "vgg16_fc7/fc7_relu_144x4096.npy")
    assert int(dead_units(responses).sum()) == 8
