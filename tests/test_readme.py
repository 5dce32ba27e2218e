"""The README's example runs as it stands."""

import re
from pathlib import Path


def test_the_python_example_runs():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["csi"].shape == (100,)
    assert len(names["effects"].verdict()) == 100
