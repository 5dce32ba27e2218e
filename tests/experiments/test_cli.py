"""The command line that all experiments share."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, signal, sys, time
from dataclasses import dataclass
from experiments import cli

@dataclass(frozen=True)
class Config:
    seconds: float = 20

class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

def main(config):
    Swallows()
    time.sleep(config.seconds)
    print("went on")

sys.argv = ["program"]
cli.run(main, Config, "")
"""


def test_an_interrupt_that_falls_into_a_callback_is_not_lost():
    """Python only prints what is raised in a destructor or in the garbage collector."""
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "interrupted: no result was written\n"
