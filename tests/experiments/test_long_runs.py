"""The benchmarks of long runs and of signs, in small: what they say is what happened."""

import json

import numpy as np
import pytest

from experiments.benchmarks import long_runs, signs


@pytest.mark.slow
def test_verdicts_are_counted_against_brute_force(tmp_path, monkeypatch, capsys):
    """With every sign turned round, all that are worth deciding are wrong."""
    signs.main(signs.Config(cases=64, images=8, out=tmp_path / "signs.json"))
    found = json.loads((tmp_path / "signs.json").read_text())["found"]
    assert found.keys() == signs.KINDS.keys()
    for counts in found.values():
        assert counts["units"] >= 21
        assert counts["wrong"] == counts["undecided"] == 0
    turned = {"harms": "improves", "improves": "harms"}
    verdict = signs.UnitEffects.verdict
    monkeypatch.setattr(
        signs.UnitEffects, "verdict", lambda self: [turned.get(v, v) for v in verdict(self)]
    )
    counts = signs.compared(signs.drawn("dense", 8, np.random.default_rng(0)))
    assert counts["wrong"] >= counts["worth_deciding"] > 0
    assert "dense" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["dense", "generic", "channel"])
def test_the_brute_force_of_the_signs_is_the_network(kind):
    """In 80-bit numbers and in JAX: the losses agree to float32."""
    from jaxsel import cross_entropy

    case = signs.drawn(kind, 5, np.random.default_rng(1))
    images, labels = case.dataset.images, case.dataset.labels
    logits = signs.network(case.weights, images, lambda site, x: x)
    expected = np.asarray(cross_entropy(logits, labels), np.float64)
    found = signs.losses(case.weights, images.astype(np.longdouble), labels)
    size = 1 + np.abs(np.asarray(logits)).max()
    np.testing.assert_allclose(np.float64(found), expected, rtol=1e-4, atol=1e-4 * size)


def test_noise_is_the_same_however_it_is_read():
    noise = long_runs.Noise(10, (2, 3))
    assert len(noise) == 10
    np.testing.assert_array_equal(noise[2:5], noise[np.array([2, 3, 4])])
    assert not (noise[0:1] == noise[1:2]).any()


@pytest.mark.slow
def test_a_run_of_the_memory_test_says_its_peak(tmp_path, monkeypatch):
    config = long_runs.Config(
        tmp_path, "digits", n_images=(8,), kills=0, plans=False, out=tmp_path / "long.json"
    )
    monkeypatch.setattr(long_runs, "MEMORY_OF", ("dense",))
    long_runs.main(config)
    found = json.loads((tmp_path / "long.json").read_text())
    assert 100 < found["memory"]["dense"]["8"] < 2000
