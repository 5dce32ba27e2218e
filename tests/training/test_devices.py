"""One, two and eight devices, replicas and batches spread over them, against one device.

The CPU counts as eight devices in a process of its own (`on_devices.py`): there, every array is
compared relative to its largest entry.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# float64: the bound asked for; a mistake is some 1e-2. float32: some ten roundings of sums over
# a batch, in another order; measured 3e-6.
ALLOWED = {"float64": 1e-10, "float32": 1e-5}


@pytest.fixture(
    scope="module", params=[pytest.param("float64", marks=pytest.mark.slow), "float32"]
)
def found(request):
    run = subprocess.run(
        [sys.executable, "-m", "tests.training.on_devices", request.param],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return request.param, json.loads(run.stdout.splitlines()[-1])


def test_a_batch_on_many_devices_has_the_loss_gradient_and_statistics_of_one(found):
    """Of 27 images: shares are filled up, and classes are missing on some devices."""
    precision, numbers = found
    differences = {k: v for k, v in numbers["shared batches"].items() if k != "per shard"}
    assert len(differences) == 4
    assert max(differences.values()) < ALLOWED[precision]


def test_a_regulariser_of_each_devices_own_images_would_be_noticed(found):
    _, numbers = found
    assert numbers["shared batches"]["per shard"] > 0.1


def test_replicas_are_the_same_however_they_are_run(found):
    """Stacked or not, spread over devices or not: float64 after 20 steps, float32 after 1."""
    precision, numbers = found
    assert len(numbers["layouts"]) == {"float64": 9, "float32": 3}[precision]
    worst = {layout: max(each) for layout, each in numbers["layouts"].items()}
    assert max(worst.values()) < ALLOWED[precision], worst
