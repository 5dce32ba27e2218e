"""Who may import whom, read from the source without importing it."""

import ast
import builtins
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    str(path.relative_to(ROOT))
    for folder in ("jaxsel", "ports", "experiments")
    for path in (ROOT / folder).rglob("*.py")
)
OURS = {"jaxsel", "ports", "experiments", "tests"}

# Where a library may be imported; nowhere else.
ONLY_IN = {
    "torch": ("experiments/benchmarks/",),
    "matplotlib": ("jaxsel/plotting/", "jaxsel/report/", "experiments/"),
    "orbax": ("jaxsel/checkpoint.py",),
}

# What a part may import besides the standard library and itself; nothing else.
MATHEMATICS = {"jax", "numpy", "jaxtyping"}
ALLOWED = {
    "jaxsel/metrics/": MATHEMATICS | {"scipy"},
    "jaxsel/delta/": MATHEMATICS,
    "jaxsel/similarity/": MATHEMATICS | {"scipy", "threadpoolctl"},
    "jaxsel/statistics": MATHEMATICS | {"scipy"},
}


def imported(source, file):
    """Full names of the modules that a file imports anywhere, relative ones resolved."""
    package = list(Path(file).parent.parts)
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            # `from package import module`: the module may be what is imported.
            parts = [*base, node.module] if node.module else base
            names |= {".".join([*parts, alias.name]) for alias in node.names}
    return names


def imports_of(file):
    return imported((ROOT / file).read_text(), file)


def library(name):
    return name.split(".")[0]


def within(name, part):
    """Whether a module's name lies in a part such as `jaxsel/delta/`."""
    return f"{name}.".startswith(part.removesuffix(".py").rstrip("/").replace("/", ".") + ".")


@pytest.mark.parametrize(
    "statement, found",
    [
        ("import torch", "torch"),
        ("import numpy, torch.nn as nn", "torch.nn"),
        ("from torch import nn", "torch.nn"),
        ("def f():\n    import torch", "torch"),
        ("if x:\n    from torch.nn import Linear", "torch.nn.Linear"),
        ("from . import units", "jaxsel.ablation.units"),
        ("from .units import f", "jaxsel.ablation.units.f"),
        ("from .. import data", "jaxsel.data"),
        ("from ..data.npz import npz", "jaxsel.data.npz.npz"),
        ("from ... import ports", "ports"),
    ],
)
def test_every_way_to_import_is_seen(statement, found):
    assert found in imported(statement, "jaxsel/ablation/groups.py")


def test_parts_that_the_rules_name_are_there():
    """A rule about a folder that was renamed would hold for nothing."""
    named = [*ALLOWED, "jaxsel/checkpoint.py", "jaxsel/plotting/", "ports/"]
    assert [part for part in named if not any(f.startswith(part) for f in FILES)] == []


@pytest.mark.parametrize("file", [f for f in FILES if f.startswith("jaxsel/")])
def test_the_library_imports_nothing_of_its_users(file):
    assert {n for n in imports_of(file) if library(n) in OURS - {"jaxsel"}} == set()


@pytest.mark.parametrize("name", ONLY_IN)
def test_a_library_is_imported_in_its_place_only(name):
    users = [f for f in FILES if name in {library(n) for n in imports_of(f)}]
    assert [f for f in users if not f.startswith(ONLY_IN[name])] == []


def test_orbax_has_one_user():
    """So that the rule about it is known to see imports in the real files."""
    assert [f for f in FILES if "orbax" in {library(n) for n in imports_of(f)}] == [
        "jaxsel/checkpoint.py"
    ]


@pytest.mark.parametrize("file", [f for f in FILES if f.startswith(tuple(ALLOWED))])
def test_mathematics_needs_arrays_only(file):
    part = next(part for part in ALLOWED if file.startswith(part))
    allowed = ALLOWED[part] | sys.stdlib_module_names
    foreign = {
        name
        for name in imports_of(file)
        if library(name) not in allowed and not within(name, part)
    }
    assert foreign == set()


@pytest.mark.parametrize("file", FILES)
def test_names_are_bound_in_the_file_that_uses_them(file):
    """What linters are not asked, as they take axes such as " units" for names."""
    tree = ast.parse((ROOT / file).read_text())
    bound = {*dir(builtins), "__file__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.add(node.name)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not used - bound
