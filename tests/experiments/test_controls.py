"""Controls of planted networks: activity alone, or selectivity as well, is told apart."""

from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.kanda import claims, control_claims
from experiments.kanda.confounds import confounds
from experiments.kanda.elsewhere import Elsewhere, halves, not_selected, ranks
from experiments.kanda.measure import measure
from jaxsel import Dataset, statistics

N_CLASSES, N_UNITS, N_EACH = 6, 80, 10
OWN = np.arange(N_UNITS) % N_CLASSES
LABELS = np.repeat(np.arange(N_CLASSES), N_EACH)
IS_OWN = LABELS[:, None] == OWN


def bars(text: str, total: int):
    return lambda done: None


def measured(model: Any, responses, folder):
    images = np.concatenate([responses, 2 * np.eye(N_CLASSES)[LABELS]], axis=1)
    dataset = Dataset(images.astype(np.float32), LABELS, tuple("abcdef"))
    units = measure(model, dataset, ("in",), pairs=folder, progress=bars)["in"]
    return dataset, units


def of_activity_alone(rng, folder):
    """The more often a unit responds, the more it lifts the right class's logit."""
    rate = rng.uniform(0.05, 1, N_UNITS)
    responses = (rng.random(IS_OWN.shape) < rate) * rng.uniform(0.8, 1.2, IS_OWN.shape)
    weights = jnp.asarray(rng.uniform(0.5, 1.5, (N_UNITS, 1)) / N_UNITS, np.float32)

    def model(images, tap):
        return images[:, N_UNITS:] * (tap("in", images[:, :N_UNITS]) @ weights)

    return model, *measured(model, responses, folder)


def of_selectivity(rng, folder):
    """Equally active units: the more one prefers its class, the less it helps that class."""
    preference = rng.uniform(0, 1, N_UNITS)
    pattern = (1 - preference) + preference * N_CLASSES * IS_OWN
    responses = (pattern + 0.01) * rng.uniform(0.7, 1.3, IS_OWN.shape)
    weights = np.eye(N_CLASSES)[OWN] * (0.3 - preference)[:, None]

    def model(images, tap):
        return (
            tap("in", images[:, :N_UNITS]) @ jnp.asarray(weights, np.float32) / 20
            + images[:, N_UNITS:]
        )

    return model, *measured(model, responses, folder)


def test_a_correlation_that_activity_makes_is_gone_when_it_is_held_constant(rng, tmp_path):
    model, dataset, units = of_activity_alone(rng, tmp_path)
    behind = confounds(model, dataset, units, rng)
    for index in ("csi", "sparseness"):
        assert behind.correlation(index).high < -0.4
        held = behind.correlation(index, *behind.held)
        assert held.low < 0 < held.high
    assert behind.held == ("mean_response", "percentage_of_zeros", "outgoing_norm")


def test_chance_alone_is_not_above_chance(rng, tmp_path):
    model, dataset, units = of_activity_alone(rng, tmp_path)
    of = confounds(model, dataset, units, rng).of
    assert np.median(of["csi"]) > 0.1
    # Standard errors over 80 units, which share no noise: means within three of 0.
    for name in ("csi_cross_validated", "csi_above_chance"):
        assert abs(of[name].mean()) < 3 * of[name].std() / np.sqrt(N_UNITS)
    assert np.mean(of["csi"] > of["csi_shuffled_95"]) < 0.15  # 5 %, by a binomial's 4 SD


def test_a_correlation_that_selectivity_makes_stays(rng, tmp_path):
    model, dataset, units = of_selectivity(rng, tmp_path)
    behind = confounds(model, dataset, units, rng)
    for index in ("csi", "csi_cross_validated", "csi_above_chance"):
        assert behind.correlation(index).high < -0.4, index
    # The norm of the weights follows from the preference here, and is not held constant.
    held = behind.correlation("csi", "mean_response", "percentage_of_zeros")
    assert held.high < -0.4
    assert np.mean(behind.of["csi"] > behind.of["csi_shuffled_95"]) > 0.7


def test_an_unknown_norm_is_said_and_left_out(rng, tmp_path):
    _, dataset, units = of_activity_alone(rng, tmp_path)

    def mixing(images, tap):
        x = tap("in", images[:, :N_UNITS])
        return images[:, N_UNITS:] * ((x + jnp.roll(x, 1, axis=1)) @ jnp.ones((N_UNITS, 1)))

    behind = confounds(mixing, dataset, units, rng)
    assert "mixed before they meet weights" in behind.why_no_norm
    assert behind.held == ("mean_response", "percentage_of_zeros")


def test_halves_keep_a_true_correlation_and_single_images_have_none(rng, tmp_path):
    _, _, units = of_selectivity(rng, tmp_path)
    found, whole = halves(units, rng)["csi"], ranks(units, units)["csi"]
    assert found.n == whole.n == N_UNITS
    assert whole.rho - 0.05 < found.rho < -0.4  # noise of halves can only weaken it, on average


def test_images_that_were_not_selected_are_others_and_as_many():
    chosen = np.flatnonzero(np.arange(60) % 10 < 3)
    images = np.repeat(np.arange(60, dtype=np.float32)[:, None], 2, axis=1)
    found: Any = SimpleNamespace(test=Dataset(images, LABELS, tuple("abcdef")), chosen=chosen)
    others = not_selected(found, np.random.default_rng(0))
    assert others is not None
    rows = others.inputs(slice(None))[:, 0].astype(int)
    assert len(rows) == len(chosen)
    assert not set(rows) & set(chosen)
    np.testing.assert_array_equal(np.bincount(others.labels), np.full(6, 3))
    found.chosen = np.arange(60)
    assert not_selected(found, np.random.default_rng(0)) is None


# --- what is said ----------------------------------------------------------------------------


def rank(rho, n=100):
    return statistics.of_rho(rho, n)


def networks(*rhos):
    return [
        Elsewhere(
            "same" if i == 0 else f"network_{i + 1}",
            "",
            {"in": {"csi": rank(rho), "sparseness": rank(-rho)}},
        )
        for i, rho in enumerate(rhos)
    ]


def test_networks_are_the_sample_of_a_test_over_networks():
    agreeing = control_claims.over_networks(networks(-0.4, -0.5, -0.45, -0.42), ["in"])
    assert [one.verdict for one in agreeing] == [claims.HOLDS, claims.DOES_NOT]
    assert "over 4 networks (-0.40, -0.50, -0.45, -0.42)" in agreeing[0].why
    apart = control_claims.over_networks(networks(-0.6, 0.5, -0.4, 0.4), ["in"])
    assert {one.verdict for one in apart} == {claims.CANNOT}
    assert control_claims.over_networks(networks(-0.4), ["in"]) == []


@pytest.mark.parametrize(
    "trained, before, verdict",
    [
        (-0.5, 0.0, claims.HOLDS),
        (0.5, 0.0, claims.DOES_NOT),
        (-0.3, -0.3, claims.CANNOT),
        (0.1, 0.6, claims.CANNOT),  # lower than before, but not below 0
        (0.3, 0.8, claims.DOES_NOT),
    ],
)
def test_training_is_compared_with_the_untrained_network(trained, before, verdict):
    found = control_claims.more_than_untrained(rank(trained), rank(before), "csi", "in")
    assert found.verdict == verdict
