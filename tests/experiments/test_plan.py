"""Plans of experiments: every step is there, nothing is written, sums are right."""

import time

import numpy as np
import pytest

from experiments import plan, quickstart
from jaxsel import Dataset
from jaxsel.ablation import Plan


def test_what_is_timed_is_the_second_run_and_grows_with_the_images(monkeypatch):
    now, sizes = [0.0], []

    def work(some):
        now[0] += 2.0 * len(some) + (0 if sizes else 7.0)
        sizes.append(len(some))

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    dataset = Dataset(np.zeros((1000, 2), np.float32), np.zeros(1000, int), ("a", "b"))
    assert plan.timed(work, dataset) == (7.0, 2000.0)
    assert sizes == [plan.SAMPLE] * 2


def test_sites_between_those_tried_are_interpolated_by_their_operations(monkeypatch):
    """Seconds of a pair are its operations; the middle site of five is tried, two are not."""
    flop = {"a": 100.0, "b": 80.0, "c": 60.0, "d": 30.0, "e": 10.0, "fc": 5.0}
    tried = []

    def plan_units(model, dataset, site, *, memory, run):
        tried.extend([site] if run else [])
        engine, seconds = "dense" if site == "fc" else "channel", 20 * flop[site] + 3.0
        known = (20 * flop[site], 8, 64 if run else 0, 3.0, seconds if run else 0.0)
        return Plan(site, engine, 20, *known)

    monkeypatch.setattr(plan, "plan_units", plan_units)
    steps = plan.ablations(lambda images, tap: images, None, list(flop))
    assert tried == ["a", "c", "e", "fc"]
    assert [step.seconds for step in steps] == [
        pytest.approx(20 * flop[site] + 3.0) for site in flop
    ]
    assert [step.program_bytes for step in steps] == [64, None, 64, None, 64, 64]


@pytest.mark.slow
def test_the_plan_of_a_quickstart_names_its_steps_and_writes_nothing(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    quickstart.main(quickstart.Config(plan=True, sites=("fc7",)))
    lines = capsys.readouterr().out.splitlines()
    assert list(tmp_path.iterdir()) == []
    steps = [line.split("  ")[0] for line in lines]
    assert steps[0] == "step"
    assert steps[1] == "training, 50 epochs at most"
    assert [step for step in steps if step.startswith("ablating")] == [
        f"ablating the units of {site}"
        for site in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    ]
    assert steps[-4:-1] == [
        "first-order estimates",
        "mixing units of fc7",
        "controls: the sites in focus 1 times again",
    ]
    assert all(line.endswith((" s", " min", "time")) for line in lines)


@pytest.mark.parametrize("memory", [0, -1, float("nan")])
def test_a_limit_of_no_memory_is_refused(memory):
    with pytest.raises(ValueError, match="memory must be more than 0 GiB; found"):
        quickstart.main(quickstart.Config(memory=memory))
