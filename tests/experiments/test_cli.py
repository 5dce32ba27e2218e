"""The command line that all experiments share."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, signal, sys, time
from dataclasses import dataclass
from experiments import cli

@dataclass(frozen=True)
class Config:
    {config}

def interrupt():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)

class Interrupts:
    def __del__(self):
        interrupt()

def work(seconds=10):
    for _ in range(100 * seconds):
        time.sleep(0.01)
    print("went on")

def main(config):
    {main}

sys.argv = ["program"]
cli.run(main, Config, "")
"""


def run(main, config="pass"):
    main = main.strip().replace("\n", "\n    ")
    command = [sys.executable, "-c", PROGRAM.format(main=main, config=config)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


SWALLOWED = {
    "in a destructor": """
Interrupts()
work()
""",
    "by a library that catches everything": """
try:
    interrupt()
except BaseException:
    pass
work()
""",
    "three times": """
try:
    interrupt()
except BaseException:
    pass
for _ in range(2):
    try:
        work()
    except BaseException:
        pass
work()
""",
}


@pytest.mark.parametrize("main", SWALLOWED.values(), ids=SWALLOWED.keys())
def test_an_interrupt_that_something_swallows_is_not_lost(main):
    found = run(main)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "interrupted: no result was written\n"


def test_what_is_kept_of_a_run_that_was_interrupted_is_said():
    found = run("interrupt()", "resume: str = 'kept'")
    assert found.stderr == (
        "interrupted: no result was written; the same command goes on from kept\n"
    )


def test_cleaning_up_after_an_interrupt_is_not_interrupted():
    found = run("""
try:
    interrupt()
    work()
finally:
    try:
        open("/no/such/file")
    except OSError:
        work(seconds=1)
    work(seconds=1)
    interrupt()
    print("cleaned")
""")
    assert (found.returncode, found.stdout) == (1, "went on\nwent on\ncleaned\n")
    assert found.stderr == "interrupted: no result was written\n"
