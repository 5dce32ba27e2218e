"""A training that is killed at any moment goes on to the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxsel import checkpoint
from tests.training.killed import EPOCHS

ROOT = Path(__file__).parents[2]
KILLS = 20


def started(folder, cache):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.killed", str(folder), str(cache)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


def ended(folder):
    """What a finished run leaves: every array of its last checkpoint, and its curves."""
    arrays = checkpoint.named(checkpoint.read(folder / f"epoch{EPOCHS:05d}")[1])
    return {k: v.tobytes() for k, v in arrays.items()}, (folder / "curves.jsonl").read_bytes()


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    """Half of them while a checkpoint is being written: it spends half of its time on them."""
    cache = tmp_path / "compiled"
    undisturbed = started(tmp_path / "whole", cache)
    assert undisturbed.communicate()[1] == ""
    moments, in_save, done = random.Random(0), 0, 0
    for _ in range(KILLS):
        run = started(tmp_path / "killed", cache)
        for _ in range(moments.randint(1, 5)):  # the first says that it has gone on
            assert run.stdout.readline(), run.stderr.read()
        time.sleep(moments.uniform(0, 0.2))
        run.send_signal(signal.SIGKILL)
        run.communicate()
        done += run.returncode == -signal.SIGKILL
        in_save += any((tmp_path / "killed").glob(".epoch*"))
    assert done >= KILLS / 2, "it was finished before most of the kills: make it longer"
    assert in_save, "no kill fell into a save"
    last = started(tmp_path / "killed", cache)
    last.communicate()
    assert ended(tmp_path / "killed") == ended(tmp_path / "whole")
