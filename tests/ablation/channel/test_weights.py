"""The weights, units and replacements of one call are not those of the next."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxsel import ablate_units
from tests.references import brute_force

from .networks import N_CLASSES, Small, conv, head, numbers, truth_of


def test_weights_changed_between_two_calls_are_never_the_old_ones(dataset):
    network = Small()
    for scale in (1, 2):
        network.second[...] = scale * network.second[...]
        effects = ablate_units(network, dataset, "first")
        truth = truth_of(network, dataset, "first")
        brute_force.assert_exact(effects, truth, dataset.labels)


def test_networks_of_one_structure_keep_to_their_own_weights(small, dataset, truth):
    """The second uses the first one's programs, with its own arrays; then the first again."""
    other = Small(seed=5)
    right = truth_of(other, dataset, "first")
    assert np.abs(right.change - truth.change).max() > 0.1
    for network, expected in ((small, truth), (other, right), (small, truth)):
        effects = ablate_units(network, dataset, "first")
        brute_force.assert_exact(effects, expected, dataset.labels)


def test_networks_that_differ_in_no_array_are_not_taken_for_each_other(dataset):
    """The slope of the ReLU is a number of the object's own."""
    for slope in (0.0, 0.5):
        network = Small(slope=slope)
        truth = truth_of(network, dataset, "first")
        effects = ablate_units(network, dataset, "first")
        brute_force.assert_exact(effects, truth, dataset.labels)


def test_replacements_and_units_of_one_call_are_not_those_of_the_next(small, dataset):
    for unit, value in ((1, 0.0), (2, 0.0), (2, 0.7)):
        effects = ablate_units(
            small, dataset, "first", units=np.array([unit]), replacement=value
        )
        truth = truth_of(small, dataset, "first", np.arange(5)[None] == unit, value)
        brute_force.assert_exact(effects, truth, dataset.labels)


def test_plain_functions_see_the_arrays_that_they_close_over_as_they_are_now(dataset):
    arrays = {"kernel": numbers(3, 3, 2, 4), "bias": numbers(N_CLASSES)}

    def model(images, tap):
        x = jax.nn.relu(conv(tap("in", jax.nn.relu(images)), arrays["kernel"]))
        return head(x) + jnp.asarray(arrays["bias"], x.dtype)

    for change in (
        {},
        {"kernel": numbers(3, 3, 2, 4, seed=8)},
        {"bias": numbers(N_CLASSES, seed=8)},
    ):
        arrays |= change
        effects = ablate_units(model, dataset, "in")
        truth = truth_of(model, dataset, "in")
        brute_force.assert_exact(effects, truth, dataset.labels)
