"""Universes: all of them, once each, with the verdict of the analysis that they name."""

import itertools
import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments.kanda import analysis, multiverse
from experiments.kanda.claims import CANNOT, DOES_NOT, HOLDS
from experiments.kanda.measure import measure
from experiments.kanda.reading import Reading
from experiments.kanda.settings import Config
from jaxsel import Dataset, evaluate
from tests.experiments.test_kanda import mlp as mlp

# As many as there are combinations of the options that a claim depends on, of one site of
# vectors and of maps, with all images and the best.
COUNTS = {
    "costs": (8, 8),
    "correlation": (16, 48),
    "needless": (48, 144),
    "category": (48, 144),
    "mixture": (24, 72),
}


def bars(text: str, total: int):
    return lambda done: None


WEIGHTS = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32) / 4


def network(images, tap):
    maps = tap("maps", images)
    return tap("in", maps.mean(axis=(1, 2)) + maps[:, 0, 0]) @ jnp.asarray(WEIGHTS)


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    images = np.maximum(rng.normal(size=(24, 3, 3, 12)), 0).astype(np.float32)
    test = Dataset(images, np.arange(24) % 4, tuple("abcd"))
    evaluation = evaluate(network, test)
    return SimpleNamespace(
        model=network,
        test=test,
        evaluation=evaluation,
        best=np.arange(16),
        focus=("maps", "in"),
    )


@pytest.fixture(scope="module")
def every(found):
    return multiverse.multiverse(Config(), found, bars)


def test_each_combination_is_there_once(every):
    assert len(set(every)) == len(every)
    counts = Counter((one.claim, one.site) for one in every)
    for claim, (of_vectors, of_maps) in COUNTS.items():
        assert (counts[claim, "in"], counts[claim, "maps"]) == (of_vectors, of_maps)


def test_a_universe_says_what_its_own_analysis_says(found, every):
    """Measured anew, one reading at a time."""
    ways = itertools.product(("mean", "centre"), ("zero", "mean"), ("csi", "sparseness"))
    for reduce, replacement, index in ways:
        reading = Reading(reduce=reduce, replacement=replacement, index=index, above=0.25)
        units = measure(network, found.test, ("maps",), reading=reading, progress=bars)["maps"]
        for claim, test in multiverse.TESTS.items():
            options = multiverse.OPTIONS[claim]
            wanted: dict[str, Any] = {"site": "maps", "selection": "all", "claim": claim}
            for name in ("reduce", "replacement", "index"):
                wanted[name] = getattr(reading, name) if name in options else ""
            wanted["above"] = "0.25" if "above" in options else ""
            for measured in ("loss", "accuracy"):
                (one,) = (
                    one
                    for one in every
                    if one.measure == measured
                    and all(getattr(one, name) == value for name, value in wanted.items())
                )
                assert one.verdict == test(units, measured), one


def units(loss_ratio, index, top1=None) -> Any:
    n = len(loss_ratio)
    top1 = np.zeros((n, 2), int) if top1 is None else top1
    baseline = SimpleNamespace(images=np.array([50, 50]))
    verdicts = ["improves" if ratio < 0 else "harms" for ratio in loss_ratio]
    effects = SimpleNamespace(
        top1_change=top1, baseline=baseline, verdict=lambda: verdicts, loss_ratio=None
    )
    index = np.asarray(index, float)
    return SimpleNamespace(
        loss_ratio=np.asarray(loss_ratio, float),
        live=np.ones(n, bool),
        csi=index,
        reading=Reading(),
        selective=index > np.median(index),
        effects=effects,
        best_class=np.zeros(n, int),
    )


def test_verdicts_flip_with_the_sign_of_the_effect():
    ratios, index = np.linspace(0.5, 5, 30), np.linspace(1, 0, 30)
    assert multiverse.costs(units(ratios, index), "loss") == HOLDS
    assert multiverse.costs(units(-ratios, index), "loss") == DOES_NOT
    assert multiverse.correlation(units(ratios, index), "loss") == HOLDS
    assert multiverse.correlation(units(-ratios, index), "loss") == DOES_NOT
    assert multiverse.needless(units(-ratios, index), "loss") == HOLDS
    assert multiverse.needless(units(ratios, index), "loss") == DOES_NOT
    nothing = units(np.zeros(30), index)
    assert multiverse.costs(nothing, "accuracy") == CANNOT


def test_what_is_lost_in_accuracy_is_in_percent_of_the_images():
    top1 = np.array([[-3, 1], [0, 2], [0, 0]])
    lost = multiverse.lost(units(np.zeros(3), [0, 0, 1], top1), "accuracy")
    np.testing.assert_allclose(lost, [2, -2, 0])


def test_the_page_and_the_table_hold_every_universe(mlp, tmp_path):
    out = tmp_path / "run"
    config = Config(**mlp, trials=2, multiverse=True, controls=False, out=out)
    analysis.run(config)
    table = pq.read_table(out / "multiverse.parquet").to_pydict()
    assert len(table["claim"]) == 2 * sum(of_vectors for of_vectors, _ in COUNTS.values())
    assert set(table["verdict"]) <= {HOLDS, DOES_NOT, CANNOT}
    summary = json.loads((out / "summary.json").read_text())
    n = sum(
        claim == "costs" and site == "fc1" and verdict == HOLDS
        for claim, site, verdict in zip(
            table["claim"], table["site"], table["verdict"], strict=True
        )
    )
    assert summary["multiverse.fc1.costs.holds"]["value"] == n
    page = (out / "multiverse.html").read_text(encoding="utf-8")
    assert "<code>multiverse.fc1.costs.holds</code>" in page
    assert not (out / "controls.html").exists()
