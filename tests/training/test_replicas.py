"""Replicas: alone and among others, stacked, leaky, diverging, and on real digits."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from jaxsel import data, models
from jaxsel.training import Recipe, Replica, assess, chosen, group_of, train_replicas
from tests.training.small import bytes_of, furthest, small

RECIPE = Recipe(
    epochs=2, batch_size=24, learning_rate=0.05, drops=(1,), augment="crop_flip", padding=1
)
REPLICAS = [Replica(0, -2.0), Replica(1, 0.5), Replica(1, 0.5, 0.3), Replica(0, 0.0, 0.1)]


def trained(replicas, **settings):
    return train_replicas(small, bytes_of(60), bytes_of(30, 1), replicas, RECIPE, **settings)


def bits(one):
    arrays = [np.asarray(x).tobytes() for x in jax.tree.leaves(nnx.state(one.network))]
    return arrays, {name: values.tobytes() for name, values in one.curves.items()}


@pytest.fixture(scope="module")
def together():
    return trained(REPLICAS)


@pytest.mark.parametrize("k", range(len(REPLICAS)))
def test_a_replica_among_others_is_the_replica_alone_to_the_bit(together, k):
    (alone,) = trained(REPLICAS[k : k + 1])
    assert bits(alone) == bits(together[k])


def test_stacked_replicas_are_those_trained_one_by_one(together):
    stacked = trained(REPLICAS, layout=chosen(stacked=True))
    assert [one.replica for one in stacked] == REPLICAS
    for a, b in zip(stacked, together, strict=True):
        # Six steps in float32; after one, in other tests, it is 1e-6.
        assert furthest(a.curves["train_loss"], b.curves["train_loss"]) < 1e-4


def test_seed_alpha_and_slope_each_make_another_network(together):
    base = bits(trained([Replica(1, 0.5)])[0])[0]
    for other in (Replica(2, 0.5), Replica(1, 0.6), Replica(1, 0.5, 0.3)):
        assert bits(trained([other])[0])[0] != base


def test_a_trained_network_has_the_slope_of_its_replica(together):
    assert [float(one.network.slope) for one in together] == pytest.approx([0, 0, 0.3, 0.1])


def test_a_network_without_a_slope_is_refused_one():
    def build(seed):
        return models.build("mlp", seed=seed, n_inputs=72, widths=(4,), n_classes=4)

    with pytest.raises(ValueError, match="MLP has no slope"):
        train_replicas(build, bytes_of(60), bytes_of(30), [Replica(0, 0.0, 0.1)], RECIPE)


def test_slope_0_is_the_relu_whatever_the_network_was_built_with():
    def leaky(seed):
        network = small(seed)
        network.slope = 0.5
        return network

    (one,) = train_replicas(leaky, bytes_of(60), bytes_of(30, 1), [Replica(1, 0.5)], RECIPE)
    assert bits(one) == bits(trained([Replica(1, 0.5)])[0])


def test_labels_beyond_the_logits_are_refused():
    images = bytes_of(60)
    more = dataclasses.replace(images, labels=images.labels + 1, class_names=tuple("abcde"))
    with pytest.raises(ValueError, match="labels up to 4, but 4 logits"):
        train_replicas(small, more, bytes_of(30), [Replica(0)], RECIPE)


def test_a_network_without_sites_has_nothing_to_regularise():
    class Silent(nnx.Module):
        def __init__(self):
            self.head = nnx.Linear(72, 4, rngs=nnx.Rngs(0))

        def __call__(self, images, tap):
            return self.head(images.reshape(len(images), -1))

    def build(seed):
        return Silent()

    with pytest.raises(ValueError, match="without sites has no units"):
        train_replicas(build, bytes_of(60), bytes_of(30), [Replica(0, 1.0)], RECIPE)
    (plain,) = train_replicas(build, bytes_of(60), bytes_of(30), [Replica(0)], RECIPE)
    assert plain.curves["train_index"].shape == (2, 0)


@pytest.mark.parametrize(
    "layer, told",
    [
        (lambda rngs: nnx.BatchNorm(3, rngs=rngs), "more is Flax's BatchNorm"),
        (lambda rngs: nnx.Dropout(0.5, rngs=rngs), "this one has more.rngs"),
    ],
    ids=["BatchNorm", "Dropout"],
)
def test_layers_that_would_go_wrong_are_refused(layer, told):
    """Flax's BatchNorm would count what fills a batch up; Dropout has a state of its own."""

    def build(seed):
        network = small(seed)
        network.more = layer(nnx.Rngs(seed))
        return network

    with pytest.raises(ValueError, match=told):
        train_replicas(build, bytes_of(60), bytes_of(30), [Replica(0)], RECIPE)


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="no replica"):
        trained([])


def test_validation_numbers_are_those_of_the_network_of_that_epoch():
    """Of the last epoch if it is the best: evaluated again by `assess`."""
    train, validation = bytes_of(60), bytes_of(30, 1)
    recipe = Recipe(epochs=1, batch_size=24, learning_rate=0.05, drops=(), augment="none")
    group = group_of(small, train, validation, REPLICAS, recipe)
    found = train_replicas(small, train, validation, REPLICAS, recipe)
    for one, seen in zip(found, assess(group, found, validation), strict=True):
        assert one.best_epoch == 1
        assert seen["accuracy"] == one.curves["validation_accuracy"][0]
        assert seen["loss"] == pytest.approx(one.curves["validation_loss"][0], rel=1e-6)
        np.testing.assert_allclose(seen["index"], one.curves["validation_index"][0], rtol=1e-5)


def test_a_replica_that_diverges_keeps_its_best_epoch_and_disturbs_no_other():
    recipe = Recipe(epochs=3, batch_size=24, learning_rate=0.05, drops=(), augment="none")
    train, validation = bytes_of(60), bytes_of(30, 1)
    fine = [Replica(0, 0.0)]
    (alone,) = train_replicas(small, train, validation, fine, recipe)
    with pytest.warns(UserWarning, match="seed1_alpha1e.38 became NaN or infinite"):
        both = train_replicas(small, train, validation, [Replica(1, 1e38), *fine], recipe)
    assert bits(both[1]) == bits(alone)
    assert not np.isfinite(both[0].curves["train_loss"]).all()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(nnx.state(both[0].network)))


def test_selectivity_follows_alpha_on_real_digits():
    """Index down by a tenth of its size and more from alpha to alpha; accuracy falls at +5.

    Means over three seeds. Measured 0.042, 0.056, 0.085, 0.133, 0.260, 0.420 from -30 to 0, and
    accuracy 0.96 for all of these, 0.59 at +5.
    """
    images = data.digits()
    train, validation, test = data.stratified(images, (0.6, 0.15, 0.25), 0)
    alphas, seeds = (-30.0, -10.0, -3.0, -1.0, -0.3, 0.0, 5.0), (0, 1, 2)

    def build(seed):
        return models.build("mlp", seed=seed, n_inputs=64, widths=(64, 64))

    recipe = Recipe(epochs=40, batch_size=64, learning_rate=0.01, drops=(30,), augment="none")
    replicas = [Replica(seed, alpha) for alpha in alphas for seed in seeds]
    found = train_replicas(build, train, validation, replicas, recipe)
    seen = assess(group_of(build, train, validation, replicas, recipe), found, test)
    index = np.reshape([np.mean(one["index"]) for one in seen], (7, 3)).mean(axis=1)
    accuracy = np.reshape([one["accuracy"] for one in seen], (7, 3)).mean(axis=1)
    assert (index[1:6] > 1.1 * index[:5]).all(), index
    assert accuracy[:6].min() > 0.93, accuracy
    assert accuracy[6] < accuracy[5] - 0.15, accuracy
