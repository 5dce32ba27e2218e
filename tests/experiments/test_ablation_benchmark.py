"""The ablation benchmark on a tiny head: peers right, truth right, numbers in their places."""

import itertools
import json
import sys

import numpy as np
import pytest

from experiments import cli
from experiments.benchmarks import ablation, peers
from experiments.benchmarks.heads import Head, Responses, remaining_flop
from jaxsel import Dataset
from tests.references import mlp


def tiny(n_layers):
    rng = np.random.default_rng(3)
    widths = (12, 9, 5) if n_layers == 2 else (12, 5)
    layers = [
        tuple(rng.normal(size=size).astype(np.float32) for size in ((n_in, n_out), n_out))
        for n_in, n_out in itertools.pairwise(widths)
    ]
    responses = np.maximum(rng.normal(size=(20, 12)), 0).astype(np.float32)
    dataset = Dataset(responses, rng.integers(0, 5, 20), tuple("abcde"))
    return Head("tiny", dataset, layers)


def brute_force(head):
    """`mlp.ablate` counts its sites after a layer of its own: an identity here."""
    n = head.n_units
    layers = [(np.eye(n), np.zeros(n)), *head.layers]
    change, _, _ = mlp.ablate(layers, head.dataset.images, head.dataset.labels, 0, range(n))
    return change.T


@pytest.mark.parametrize("n_layers", [1, 2])
def test_peers_and_truth_find_what_brute_force_finds(n_layers):
    head, units = tiny(n_layers), np.arange(12)
    expected = brute_force(head)
    np.testing.assert_allclose(peers.truth(head, units), expected, rtol=0, atol=1e-13)
    cached = peers.Cached(head)
    for run in (peers.masks, peers.rank_one, peers.captum_ablation):
        for chunk in (1, 5):
            # Two float32 losses of a few nats are subtracted.
            np.testing.assert_allclose(run(cached, units, chunk), expected, rtol=0, atol=1e-5)
    some = np.array([2, 7])
    np.testing.assert_allclose(
        peers.captum_ablation(cached, some, 1), expected[some], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("n_layers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_every_method_gets_a_row_and_jaxsel_is_right(n_layers, capsys):
    rows = ablation.measure(tiny(n_layers), ablation.Config(repeats=1))
    *methods, speed = rows
    assert [row["method"] for row in methods][:2] == ["jaxsel", "jaxsel, mean replacement"]
    assert len(methods) == 2 + 1 + 2 * len(ablation.CHUNKS) + 1
    assert all(len(row["seconds"]) == 1 and row["seconds"][0] > 0 for row in methods)
    ours, plain = methods[0], methods[2]
    assert ours["checked_units"] == 12
    assert ours["error_of_sum_worst"] <= 1e-6
    assert ours["times_ours"] == 1
    assert plain["relative_error_median"] < 1e-3
    assert speed["product_flop_per_second"] > 0
    json.dumps(rows)
    assert capsys.readouterr().out.count("| tiny | 20 |") == len(methods)


def test_remaining_operations_are_those_of_moving_rows_and_possible_columns():
    """Unit 0 responds and can lift column 1 over its threshold; column 2 stays off."""
    first = np.array([[1.0, -1.0, 1.0], [5.0, 5.0, 5.0]], np.float32)
    bias = np.array([0.0, -0.5, -3.0], np.float32)
    second = np.ones((3, 4), np.float32)
    dataset = Dataset(np.array([[1.0, 0.0]], np.float32), np.array([0]), tuple("abcd"))
    head = Head("by hand", dataset, [(first, bias), (second, np.zeros(4, np.float32))])
    # z = (1, -1.5, -2): without unit 0 it is (0, -0.5, -3).
    assert remaining_flop(head, 1) == 2 * 1 * 1 * 4
    wider = Head("by hand", dataset, [(first, bias + np.float32([0, 1, 0])), head.layers[1]])
    assert remaining_flop(wider, 1) == 2 * 1 * 2 * 4


def test_made_up_responses_are_the_same_however_they_are_asked_for():
    responses = Responses(10, 50, 0.15, 3.0)
    np.testing.assert_array_equal(
        responses[slice(2, 5)], np.stack([responses[np.array([i])][0] for i in (2, 3, 4)])
    )
    many = Responses(200, 500, 0.15, 3.0)[slice(0, 200)]
    # 100,000 draws: a standard error of .0011.
    assert abs((many > 0).mean() - 0.15) < 0.005


def test_weights_without_images_are_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ablation", "--weights", "x"])
    with pytest.raises(SystemExit) as stop:
        cli.run(ablation.main, ablation.Config, "")
    assert stop.value.code == "error: --weights needs --data, such as npz:mnist.npz"
