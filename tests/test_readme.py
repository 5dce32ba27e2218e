"""The README's examples run as they stand."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def names_of(example):
    names: dict = {}
    exec(example, names)
    return names


def test_the_python_examples_run():
    text = README.read_text(encoding="utf-8")
    analysis, training = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = names_of(analysis)
    assert names["csi"].shape == (100,)
    assert len(names["effects"].verdict()) == 100
    names = names_of(training)
    assert [str(one.replica) for one in names["found"]] == [
        *("seed0_alpha-3", "seed1_alpha-3", "seed0_alpha0", "seed1_alpha0"),
    ]
