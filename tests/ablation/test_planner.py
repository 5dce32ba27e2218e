"""Plans: what is counted is right, what is timed is what the engine does."""

import time

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import signs
from jaxsel import Dataset, adapters, plan_units
from jaxsel.ablation import planner
from jaxsel.ablation.checks import check_units
from jaxsel.ablation.work import flop_after


def case_of(kind, n_images=100):
    case = signs.drawn(kind, n_images, np.random.default_rng(2))
    arrays = [jnp.asarray(weight) for weight in case.weights]
    return adapters.with_parameters(signs.network, arrays), case.dataset


# Multiplications and additions of one image after the site, by hand.
FLOP = {
    "dense": 2 * (96 * 48 + 48 * 7),
    "generic": 2 * (64 * 48 + 48 * 32 + 32 * 7),
    "channel": 2 * (16 * 9 * 32 * 8 + 8 * 7),
}


@pytest.mark.parametrize("kind", signs.KINDS)
def test_a_plan_counts_pairs_operations_and_bytes(kind):
    model, dataset = case_of(kind)
    units = np.arange(5)
    plan = plan_units(model, dataset, "in", engine=kind, units=units, calibration=0.01)
    assert (plan.site, plan.engine, plan.pairs) == ("in", kind, 500)
    assert plan.flop == 500 * FLOP[kind]
    assert plan.result_bytes == 3 * 8 * 5 * 7
    assert plan.program_bytes > 0
    assert plan.seconds > plan.compile_seconds >= 0


def test_time_grows_with_the_images_and_compiling_does_not(monkeypatch):
    """An engine that takes 3 s to compile and half a second an image, by a clock of its own."""
    now, compiled = [0.0], []

    def started(engine, ablations, precision, sizes):
        class Found:
            blocks = ()

        def run(batch):
            now[0] += 0.5 * len(batch.labels) + (0 if compiled else 3.0)
            compiled.append(len(batch.labels))
            return Found

        return run

    monkeypatch.setattr(planner, "started", started)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    model, dataset = case_of("dense", 100)
    plan = plan_units(model, dataset, "in", calibration=20.0)
    assert plan.compile_seconds == pytest.approx(3)
    assert plan.seconds == pytest.approx(3 + 50)
    # 16 images to compile and three times 16 to time: not more than were asked for.
    assert compiled == [16, 16, 16, 16]


def test_a_data_set_of_a_few_images_is_planned_all_the_same():
    model, dataset = case_of("dense", 3)
    assert plan_units(model, dataset, "in").pairs == 3 * 96


def test_nothing_is_run_where_only_counts_are_asked_for(monkeypatch):
    monkeypatch.setattr(planner, "started", None)
    model, dataset = case_of("channel")
    plan = plan_units(model, dataset, "in", run=False)
    assert (plan.engine, plan.pairs, plan.seconds) == ("channel", 3200, 0)


def test_what_cannot_be_ablated_cannot_be_planned():
    dataset = Dataset(np.ones((2, 3), np.float32), np.zeros(2, int), ("a", "b"))
    with pytest.raises(KeyError, match="unknown site other"):
        plan_units(lambda images, tap: tap("in", images), dataset, "other")
    with pytest.raises(ValueError, match="in has the units 0 to 2; found 3 to 3"):
        plan_units(lambda images, tap: tap("in", images), dataset, "in", units=np.array([3]))
    with pytest.raises(
        ValueError, match=r"units must .* of a mask\); found bool of shape \(3,\)"
    ):
        check_units(np.ones(3, bool), 3, "in")
    for wrong in ({"engine": "fast"}, {"precision": "short"}, {"chunk": 0}, {"memory": 0}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"{name} must be"):
            plan_units(lambda images, tap: tap("in", images), dataset, "in", **wrong)


def test_operations_of_another_path_around_the_site_do_not_count():
    def model(images, tap):
        x = tap("in", images @ jnp.ones((5, 3)))
        return x @ jnp.ones((3, 2)) + images @ jnp.ones((5, 2))

    assert flop_after(model, (5,), "in") == 2 * 3 * 2
