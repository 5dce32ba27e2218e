"""What an experiment was asked for: on its page, in its folder's name, and refused."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxsel import fingerprint

# Where and with what it is computed, which does not decide what comes out.
NOT_DECIDING = {
    *("preset", "out", "group", "memory", "stacked", "parallel", "over", "launcher", "slurm"),
    *("distributed", "coordinator", "processes", "process"),
}


def asked(config: Any) -> dict[str, Any]:
    """Everything that decides the result, without the paths of this machine."""
    found = {}
    for name, value in _deciding(config).items():
        found[name] = list(map(_named, value)) if isinstance(value, tuple) else _named(value)
    kind, _, place = (found.get("data") or "").partition(":")
    if place and kind != "tfds":
        found["data"] = f"{kind}:{Path(place).name}"
    return found


def folder_of(config: Any, experiment: str) -> Path:
    """Where results go: `--out`, or a name that the settings make.

    Args:
        config: the settings.
        experiment: such as `truong`.
    """
    if config.out is not None:
        return config.out
    whole = {name: str(value) for name, value in _deciding(config).items()}
    return Path("results") / experiment / f"{config.preset}-{fingerprint.of(whole)[:8]}"


def refuse_below_1(config: Any, *names: str) -> None:
    """Settings that count something.

    Raises:
        ValueError: one of them is less than 1.
    """
    for name in names:
        if (value := getattr(config, name)) is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1; found {value}")


def _deciding(config: Any) -> dict[str, Any]:
    settings = dataclasses.asdict(config).items()
    return {name: value for name, value in settings if name not in NOT_DECIDING}


def _named(value: Any) -> Any:
    """A file by its last name, a checkpoint by what is in it, too."""
    if not isinstance(value, Path):
        return value
    digest = value / "manifest.sha256"
    return f"{value.name} ({digest.read_text()[:8]})" if digest.is_file() else value.name
