"""The groups benchmark on a tiny head: peers right, numbers in their places."""

import json
import sys

import numpy as np
import pytest
import torch

from experiments import cli
from experiments.benchmarks import groups, peers
from jaxsel import ablate_groups

from .test_ablation_benchmark import tiny


@pytest.mark.parametrize("n_layers", [1, 2])
def test_both_loops_find_the_losses_of_plain_masks(n_layers):
    head, keep = tiny(n_layers), np.random.default_rng(1).random((4, 12)) < 0.4
    plain = ablate_groups(head.model, head.dataset, {"site": keep}, engine="masks")
    for run in (groups.masked_loop, groups.gathered_loop):
        for kind in (torch.float32, torch.float64):
            # Losses of some nats, 20 of them, in two float32 sums.
            np.testing.assert_allclose(
                run(peers.Cached(head, kind), keep), plain.loss.sum(axis=1), rtol=1e-5
            )


@pytest.mark.parametrize("kind", groups.KINDS)
def test_every_method_gets_its_place_and_jaxsel_is_right(kind, capsys):
    row = groups.measure(
        groups.in_memory(tiny(2)), kind, groups.Config(trials=1, repeats=1, timed_groups=3)
    )
    assert len(row["seconds_a_pair"]) == 4
    assert all(len(times) == 1 and times[0] > 0 for times in row["seconds_a_pair"].values())
    assert max(row["errors"].values()) < 1e-5
    assert 3 <= row["units_kept"] <= 6
    json.dumps(row)
    assert capsys.readouterr().out.count("|") == 16


@pytest.mark.parametrize("kind, kept", [("random", 3), ("mixture", 3)])
def test_a_quarter_of_the_units_is_kept(kind, kept):
    keep, _ = groups.masks_and_call(tiny(1), kind, 2)
    np.testing.assert_array_equal(keep.sum(axis=1), np.full(22, kept))


def test_units_are_removed_one_after_the_other():
    keep, call = groups.masks_and_call(tiny(1), "removal", 2)
    counts = keep.sum(axis=1)
    np.testing.assert_array_equal(counts, np.arange(12, -1, -1))
    assert (keep[1:] <= keep[:-1]).all()
    effects = ablate_groups(tiny(1).model, tiny(1).dataset, {"site": keep})
    np.testing.assert_array_equal(call("gathered").effects.loss, effects.loss)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--weights", "x"], "--weights needs --data, such as npz:mnist.npz"),
        (["--kinds", "all"], "kinds are random, mixture, removal; found all"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(arguments, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["groups", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(groups.main, groups.Config, "")
    assert stop.value.code == f"error: {message}"
